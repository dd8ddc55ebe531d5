import type { Resource } from '../operation.ts';
import { authorize } from './authorize.ts';
import { settle } from './settle.ts';

export const spend: Resource = { value: 'spend', name: 'Spend', operations: [authorize, settle] };
