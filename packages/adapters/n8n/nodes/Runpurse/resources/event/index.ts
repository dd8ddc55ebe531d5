import type { Resource } from '../operation.ts';
import { record } from './record.ts';

export const event: Resource = { value: 'event', name: 'Event', operations: [record] };
