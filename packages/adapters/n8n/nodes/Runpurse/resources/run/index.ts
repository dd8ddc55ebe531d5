import type { Resource } from '../operation.ts';
import { end } from './end.ts';
import { get } from './get.ts';
import { start } from './start.ts';
import { stop } from './stop.ts';

export const run: Resource = { value: 'run', name: 'Run', operations: [end, get, start, stop] };
