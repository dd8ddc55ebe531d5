import { refusalOf } from '../decisions/refusal-of.ts';
import type { RunEnd } from './run.ts';

/** How a run ended whose work threw `error`, or nothing: completed, stopped by its caller, or failed for the reason given. */
export function runEndOf(error: unknown, isCancelled = false): RunEnd {
  if (isCancelled) return { status: 'stopped', reason: 'cancelled' };
  if (error === undefined) return { status: 'completed' };
  return { status: 'failed', reason: refusalOf(error)?.message ?? (error instanceof Error ? error.message : String(error)) };
}
