import type { Bundle, ZObject } from 'zapier-platform-core';
import type { RunShape } from '@runpurse/core';
import { read } from './attach.ts';
import { isUnavailable } from './errors.ts';

/** One try of a call, as its run knows it: a call's id is its step, so a replayed step finds what it did before. */
export interface Try {
  readonly status: 'open' | 'completed' | 'failed';
  readonly attempt: number;
  /** For a message: which call, and what it cost. */
  readonly requestId: string;
  readonly costUsd: string | null;
}

/** The run as it stands; undefined when there is none yet. */
export function readRun(z: ZObject, bundle: Bundle, runId: string): Promise<RunShape | undefined> {
  return read<RunShape>(z, bundle, `/v1/runs/${encodeURIComponent(runId)}`);
}

/** The same, and undefined when the gateway can't be reached: what asks or reports next says so, by the failure policy. */
export async function readRunIfReachable(z: ZObject, bundle: Bundle, runId: string): Promise<RunShape | undefined> {
  try {
    return await readRun(z, bundle, runId);
  } catch (error) {
    if (isUnavailable(error)) return undefined;
    throw error;
  }
}

/** The tries of a call that were made, oldest first; refused ones were not. */
export function triesOf(run: RunShape | undefined, kind: 'model' | 'tool', callId: string): readonly Try[] {
  if (run === undefined) return [];
  const calls =
    kind === 'model'
      ? run.requests.filter(({ step_id }) => step_id === callId).map((one) => ({ ...one, id: one.request_id }))
      : run.tools.filter(({ tool_call_id }) => tool_call_id === callId).map((one) => ({ ...one, id: one.tool_call_id }));
  return calls
    .filter(({ status }) => status !== 'refused' && status !== 'denied')
    .map(({ status, attempt, id, cost_usd }) => ({
      status: status === 'open' || status === 'completed' ? status : 'failed',
      attempt,
      requestId: id,
      costUsd: cost_usd,
    }));
}

/** Which try the next one is: the one that is open, else one more than failed. */
export function attemptOf(tries: readonly Try[]): number {
  return tries.find(({ status }) => status === 'open')?.attempt ?? tries.filter(({ status }) => status === 'failed').length + 1;
}
