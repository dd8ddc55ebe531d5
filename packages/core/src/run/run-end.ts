import { refusalOf } from '../decisions/refusal-of.ts';
import { messageOf } from '../errors/error-text.ts';
import type { RunEnd } from './run.ts';

/** How a run ended whose work threw `error`, or nothing: completed, stopped by its caller, or failed for the reason given. */
export function runEndOf(error: unknown, isCancelled = false): RunEnd {
  if (isCancelled) return { status: 'stopped', reason: 'cancelled' };
  if (error === undefined) return { status: 'completed' };
  return { status: 'failed', reason: refusalOf(error)?.message ?? messageOf(error) ?? plainText(error), error };
}

/** Whether the work failed because this run was paused, and none inside it: it goes on once it is resumed at the gateway. */
export function isPausedRun(runId: string, error: unknown): boolean {
  const refusal = refusalOf(error);
  return refusal?.code === 'run_paused' && refusal.details?.['run_id'] === runId;
}

/** Of what is no error and no text; an object tells nothing by its text, and its own conversion may throw. */
function plainText(error: unknown): string {
  return typeof error === 'object' && error !== null ? 'failed' : String(error);
}
