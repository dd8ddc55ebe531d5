import type { Resource } from '../operation.ts';
import { get } from './get.ts';

export const session: Resource = { value: 'session', name: 'Session', operations: [get] };
