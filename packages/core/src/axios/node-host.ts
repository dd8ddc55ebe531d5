import { randomBytes } from 'node:crypto';
import type { Ids, Timers } from '../client/transport.ts';

/** Node's clock. A sleeping retry never keeps a finished process alive. */
export const nodeTimers: Timers = {
  now: () => Date.now(),
  sleep: (ms) => new Promise((resolve) => setTimeout(resolve, ms).unref()),
};

/** Sortable unique ids: 48 bits of milliseconds, then 80 random ones. */
export const nodeIds: Ids = {
  next: (prefix) => `${prefix}_${Date.now().toString(16).padStart(12, '0')}${randomBytes(10).toString('hex')}`,
};
