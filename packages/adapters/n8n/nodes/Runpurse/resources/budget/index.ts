import type { Resource } from '../operation.ts';
import { create } from './create.ts';
import { status } from './status.ts';

export const budget: Resource = { value: 'budget', name: 'Budget', operations: [create, status] };
