import type { Resource } from '../operation.ts';
import { complete } from './complete.ts';

export const chat: Resource = { value: 'chat', name: 'Chat', operations: [complete] };
