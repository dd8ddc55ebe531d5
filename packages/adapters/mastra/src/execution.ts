import { endRun, frameNow, guarded, makeLive, obstacleOf, type Host, type Live, type Place } from './live.ts';
import type { ModelStep } from './model.ts';
import { contextOf, defined, type Context } from './translate.ts';

/** One agent as it is attached. */
export interface AttachedAgent {
  readonly host: Host;
  readonly id: string;
  /** Whether its models' calls go through the gateway; read off each model's address when it is not stated. */
  readonly carried: boolean | undefined;
  /** Addresses of models that Mastra wraps, by `modelKey`. */
  readonly endpoints: ReadonlyMap<string, string>;
}

/** One execution of an agent: `generate` or `stream`, and what resumes it. */
export interface Execution {
  readonly live: Live;
  readonly place: Place;
  /** The run is this execution's own and ends with it; otherwise it belongs to the run around it. */
  readonly isOwner: boolean;
  /** The RequestContext it began with, and the agent's signal. */
  readonly context: object | undefined;
  signal?: AbortSignal | undefined;
  step?: ModelStep | undefined;
}

/** Begins an execution, in the run around it or in a run of its own. Throws when that run may not begin. */
export async function beginExecution(agent: AttachedAgent, context: Context | undefined, sessionId?: string): Promise<Execution> {
  const around = frameNow();
  if (around !== undefined) {
    const { live, place } = around;
    return { live, place: { agentId: agent.id, parentStepId: place.parentStepId }, isOwner: false, context };
  }
  const live = makeLive(
    agent.host,
    agent.host.client.run({ agentId: agent.id, ...agent.host.defaults, ...defined({ sessionId }), ...contextOf(context) }),
  );
  const obstacle = obstacleOf(await live.run.start());
  if (obstacle !== undefined) throw Object.assign(obstacle, { live });
  const execution: Execution = { live, place: {}, isOwner: true, context };
  forgotten.register(execution, live);
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

/** Ends an execution's own run as failed. */
export async function failExecution({ live, isOwner }: Execution, error: unknown): Promise<void> {
  if (isOwner) await endRun(live, { type: 'failed', error });
}

/** Ends it soon after an abort: Mastra tells of the end of a cancelled run, but not while something in it never ends. */
export function watchAbort(execution: Execution, signal: AbortSignal | undefined): void {
  if (signal === undefined || signal === execution.signal) return;
  execution.signal = signal;
  if (!execution.isOwner) return;
  const { live } = execution; // not the execution: a signal may be kept for long
  const end = (): void => {
    setTimeout(() => void guarded(live.host, () => endRun(live, { type: 'stopped' }), undefined), END_AFTER_ABORT_MS).unref();
  };
  signal.addEventListener('abort', end, { once: true });
  live.atEnd.push(() => signal.removeEventListener('abort', end));
}

const END_AFTER_ABORT_MS = 1_000;
