import type { Bundle, ZObject } from 'zapier-platform-core';
import { isUntold, type RequestShape, type RunShape, type ToolShape } from '@runpurse/core';
import { read } from './attach.ts';
import { isUnavailable } from './errors.ts';
import { keyOf } from './translate.ts';

/** One try of a call, as its run knows it: a call's id is its step, so a replayed step finds what it did before. */
export interface Try {
  /** `lost`: charged at its hold, since nobody told its end in time. */
  readonly status: 'open' | 'completed' | 'failed' | 'lost';
  readonly attempt: number;
  /** For a message: which call, and what it cost. */
  readonly requestId: string;
  /** The model or tool it was booked as. */
  readonly name: string;
  readonly costUsd: string | null;
  readonly endedAt: string | null;
  /** A model call as a step told it; undefined where the gateway carried it, and knows better. */
  readonly told: Pick<RequestShape, 'model' | 'usage'> | undefined;
}

/** A call, as its steps name it. */
export interface Call {
  readonly runId: string;
  readonly callId: string;
  readonly kind: 'model' | 'tool';
  /** The model's or the tool's. */
  readonly name: string;
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

/** The tries of a call that were made, oldest first; refused ones were not. A call of another tool is another call. */
export function triesOf(run: RunShape | undefined, call: Call): readonly Try[] {
  const made = call.kind === 'model' ? requestsOf(run, call) : toolsOf(run, call).filter((tool) => isOf(tool, call));
  return made.map((one) => ({
    status: one.status === 'open' || one.status === 'completed' ? one.status : isUntold(one) ? 'lost' : 'failed',
    attempt: one.attempt,
    requestId: 'tool' in one ? one.tool_call_id : one.request_id,
    name: 'tool' in one ? one.tool : one.model,
    costUsd: one.cost_usd,
    endedAt: one.ended_at,
    told: 'tool' in one || one.source === 'gateway' ? undefined : one,
  }));
}

/** The call of another tool that was made under this id, if any. */
export function anotherTools(run: RunShape | undefined, call: Call): ToolShape | undefined {
  return call.kind === 'tool' ? toolsOf(run, call).findLast((tool) => !isOf(tool, call)) : undefined;
}

function requestsOf(run: RunShape | undefined, { callId }: Call): readonly RequestShape[] {
  return (run?.requests ?? []).filter(({ step_id, status }) => step_id === callId && status !== 'refused');
}

function toolsOf(run: RunShape | undefined, { callId }: Call): readonly ToolShape[] {
  return (run?.tools ?? []).filter(({ tool_call_id, status }) => tool_call_id === callId && status !== 'denied');
}

/** Another sender may have named no tool. */
function isOf({ tool }: ToolShape, { name }: Call): boolean {
  return tool === name || tool === '' || tool === 'unknown';
}

/** Which try is asked about: the one whose end is still to be told, else one more than failed. */
export function attemptOf(tries: readonly Try[]): number {
  return untoldOf(tries)?.attempt ?? tries.filter(({ status }) => status !== 'completed').length + 1;
}

/** The try whose end is still to be told: open, or charged already for want of it. */
export function untoldOf(tries: readonly Try[]): Try | undefined {
  const last = tries.at(-1);
  return tries.find(({ status }) => status === 'open') ?? (last?.status === 'lost' ? last : undefined);
}

/**
 * The id under which the gateway is asked about a call: copies of a step, also of the same instant, ask under one and get one
 * answer; what contradicts the first is refused. None where the answer may be another one by now: in a run that was stopped or
 * paused. A call that was refused is asked about anew, perhaps for less.
 */
export function questionIdOf(run: RunShape | undefined, call: Call, attempt: number): string | undefined {
  if (run !== undefined && run.status !== 'running') return undefined;
  const phase = call.kind === 'model' ? 'model_request' : 'tool_call';
  const refusals = run?.decisions.filter((one) => one.outcome === 'denied' && one.phase === phase && one.step_id === call.callId);
  return eventId(call, attempt, 'question', refusals?.length ?? 0);
}

/** The same for a call's end: told again it is charged once. */
export function endIdOf(call: Call, attempt: number): string {
  return eventId(call, attempt, 'end');
}

function eventId({ runId, kind, callId }: Call, ...of: readonly (string | number)[]): string {
  return `zapier_${keyOf(runId, kind, callId, ...of)}`;
}

export const ANOTHER_CALL =
  'used for another call before: of another model or tool, or with other limits, details or place. Nothing was held or charged.';

/** Why a step that names a call by an id that stands for another one is refused. */
export function usedBefore({ callId, runId }: Pick<Call, 'callId' | 'runId'>, how: string): string {
  return `Call ID ${JSON.stringify(callId)} of run ${runId} was ${how} Give each call a Call ID of its own, in a loop with the iteration number.`;
}
