import type { RunOptions } from '@runpurse/core';
import { beginPart, endOnAbort, endRun, type Host, type Live, type Part } from './live.ts';
import type { ModelStep } from './model.ts';
import type { Strangers } from './tools.ts';
import { contextOf, defined, type Context } from './translate.ts';

/** One agent as it is attached. */
export interface AttachedAgent {
  readonly host: Host;
  readonly id: string;
  /** Whether its models' calls go through the gateway; read off each model's address when it is not stated. */
  readonly carried: boolean | undefined;
}

/** One execution of an agent: `generate` or `stream`, and what resumes it. */
export interface Execution extends Part {
  /** The RequestContext it began with, and the agent's signal. */
  readonly context: object | undefined;
  signal?: AbortSignal | undefined;
  step?: ModelStep | undefined;
  /** Of `generateLegacy` and `streamLegacy`, which end with a tool that throws. */
  isLegacy?: boolean | undefined;
  readonly strangers: Strangers;
}

/** Begins an execution, of an agent or of tools without one, in the run around it or in a run of its own. Throws when that may not begin. */
export async function beginExecution(
  { host, id }: Pick<AttachedAgent, 'host'> & Partial<AttachedAgent>,
  context: Context | undefined,
  known: Pick<RunOptions, 'sessionId' | 'runId'> = {},
): Promise<Execution> {
  const part = await beginPart(host, { ...defined({ agentId: id }), ...host.defaults, ...defined(known), ...contextOf(context) }, true);
  const { live, place, isOwner } = part;
  const execution: Execution = {
    live,
    place: isOwner ? {} : { ...place, ...defined({ agentId: id }) },
    isOwner,
    context,
    strangers: { holds: new Map() },
  };
  if (isOwner) forgotten.register(execution, live, execution);
  return execution;
}

/**
 * An execution nobody can go on with has ended without saying so: a stream that was given up, a processor of Mastra's own
 * that threw. Its run is closed when its memory is reclaimed; what ends in an orderly way does not wait for this.
 */
const forgotten = new FinalizationRegistry<Live>((live) => {
  const error = 'it was given up, or ended without saying how';
  void endRun(live, { type: 'failed', error }).catch((fault: unknown) => live.host.onFault(fault));
});

/** What has ended in an orderly way may go, though its run lasts: background tasks are still under way in it. */
export function conclude(execution: Execution): void {
  forgotten.unregister(execution);
}

/** Ends an execution's own run as failed. */
export async function failExecution({ live, isOwner }: Execution, error: unknown): Promise<void> {
  if (isOwner) await endRun(live, { type: 'failed', error });
}

/** Ends it soon after an abort: Mastra tells of the end of a cancelled run, but not while something in it never ends. */
export function watchAbort(execution: Execution, signal: AbortSignal | undefined): void {
  if (signal === undefined || signal === execution.signal) return;
  execution.signal = signal;
  if (execution.isOwner) endOnAbort(execution.live, signal, END_AFTER_ABORT_MS);
}

const END_AFTER_ABORT_MS = 1_000;
