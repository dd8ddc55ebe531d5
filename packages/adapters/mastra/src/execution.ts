import { beginTurn, type Told } from './background.ts';
import { beginPart, endOnAbort, endRun, type Host, type Part } from './live.ts';
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
  /** What keeps its run open, of a turn that is told of background tasks. */
  readonly turn: object | undefined;
}

/** Begins an execution, of an agent or of tools without one, in the run around it or in a run of its own. Throws when that may not begin. */
export async function beginExecution(
  { host, id }: Pick<AttachedAgent, 'host'> & Partial<AttachedAgent>,
  context: Context | undefined,
  { sessionId, told }: { readonly sessionId?: string | undefined; readonly told?: Told | undefined } = {},
): Promise<Execution> {
  // In a RequestContext that many calls share Mastra keeps the thread of one of them.
  const { runId, sessionId: session, customerId } = told?.live.run.context ?? {};
  const options = {
    ...defined({ agentId: id }),
    ...host.defaults,
    ...defined({ sessionId }),
    ...contextOf(context),
    ...defined({ runId, sessionId: session, customerId }),
  };
  const { live, place, isOwner } = await beginPart(host, options, true);
  const turn = told?.live === live ? beginTurn(told) : undefined;
  const execution: Execution = {
    live,
    place: isOwner ? {} : { ...place, ...defined({ agentId: id }) },
    // Who began the run has left it to the turns that go on with it.
    get isOwner() {
      return isOwner || (turn !== undefined && live.background.isAnswered);
    },
    context,
    strangers: { holds: new Map() },
    turn,
  };
  if (isOwner || turn !== undefined) forgotten.register(execution, { live, isOwner, turn }, execution);
  return execution;
}

/**
 * An execution nobody can go on with has ended without saying so: a stream that was given up, a processor of Mastra's own
 * that threw. Its run is closed when its memory is reclaimed; what ends in an orderly way does not wait for this.
 */
const forgotten = new FinalizationRegistry<Pick<Execution, 'live' | 'isOwner' | 'turn'>>(({ live, isOwner, turn }) => {
  if (turn !== undefined) live.background.turns.delete(turn);
  if (!isOwner && !live.background.isAnswered) return;
  const error = 'it was given up, or ended without saying how';
  void endRun(live, { type: 'failed', error }).catch((fault: unknown) => live.host.onFault(fault));
});

/** What has ended in an orderly way may go, though its run lasts: background tasks are still under way in it. */
export function conclude(execution: Execution): void {
  const { live, turn } = execution;
  forgotten.unregister(execution);
  if (turn !== undefined) live.background.turns.delete(turn);
}

/** Ends an execution's own run as failed. */
export async function failExecution(execution: Execution, error: unknown): Promise<void> {
  conclude(execution);
  if (execution.isOwner) await endRun(execution.live, { type: 'failed', error });
}

/** Ends it soon after an abort: Mastra tells of the end of a cancelled run, but not while something in it never ends. */
export function watchAbort(execution: Execution, signal: AbortSignal | undefined): void {
  if (signal === undefined || signal === execution.signal) return;
  execution.signal = signal;
  if (execution.isOwner) endOnAbort(execution.live, signal, END_AFTER_ABORT_MS);
}

const END_AFTER_ABORT_MS = 1_000;
