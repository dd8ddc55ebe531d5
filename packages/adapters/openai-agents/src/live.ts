import { AsyncLocalStorage } from 'node:async_hooks';
import { getCurrentSpan, getCurrentTrace, NoopTrace } from '@openai/agents';
import type { Run, RunOptions } from '@runpurse/core';
import type { Call } from './carry.ts';
import { traces } from './traces.ts';
import { isSameRun, type Failure, type RunpurseContext } from './translate.ts';

/** An attachment, as the parts that stand in the SDK know it. */
export interface Host {
  /** The run the code that runs right now belongs to; one of its own for this call when nobody knows better, which then ends with it. */
  liveFor(agentName: string | undefined): { readonly live: Live; readonly endAfter?: EndAfter | undefined };
  end(live: Live, failure?: Failure): Promise<void>;
  /** Faults of ours end here. */
  guard<Value>(work: () => Value): Value | undefined;
  /** Throws for what can't be guarded where nothing may run unasked, under the failure policy `closed`. */
  insist(unguarded: readonly string[]): void;
  readonly isClosed: boolean;
}
export type EndAfter = (failure: Failure | undefined) => Promise<void>;

/** One run of ours while it lasts. */
export interface Live {
  readonly run: Run;
  /** What it was opened as, in its user's own words, with the id it got if none was stated. */
  readonly options: RunOptions;
  /** The attachment it belongs to: a process may have several. */
  readonly host: Host;
  /** Address of the gateway it is kept by. */
  readonly gateway: string;
  /** Model calls under way. */
  readonly calls: Set<Call>;
  /** Tool calls asked about and not yet settled. */
  readonly holds: Set<Hold>;
  /** Tool calls that were never made, as `unreadableCallsOf` tells them. */
  readonly unreadable: string[];
  /** Agents behind tools that wait to be resumed, as `waitingIn` tells them. */
  readonly waitingTools: Set<string>;
  /** The SDK's traces it was seen in. */
  readonly traces: Set<string>;
  /** Inputs of failed model calls: the same one again is a retry. */
  readonly failed: WeakMap<object, { readonly stepId: string; readonly attempts: number }>;
  /** What went wrong with the last model call. */
  failure?: Failure | undefined;
  /** What went wrong with a `run()` that is part of it. */
  taskFailure?: Failure | undefined;
  isEnded: boolean;
}

/** A tool call that was allowed and is not settled. */
export interface Hold {
  readonly live: Live;
  /** What the call is known by in its run, and what the model calls it. */
  readonly id: string;
  readonly toolCall: { readonly name: string; readonly callId: string; readonly arguments: string };
  /** The SDK's span and run context that it is made in. */
  readonly span: object | null;
  readonly context: object;
  /** Asked for and charged by the run that was interrupted in it. */
  readonly isPaid: boolean;
  /** Ends a run that was opened for this call alone. */
  readonly endAfter: EndAfter | undefined;
  isStarted: boolean;
}

/** Where in a run the code that runs right now stands. */
export interface Frame {
  readonly live?: Live | undefined;
  /** What `runpurse.with(…)` states for the runs inside. */
  readonly stated?: RunpurseContext | undefined;
  /** The tool call around it. */
  readonly parentStepId?: string | undefined;
  /** The agent at work, as far as it can be known without tracing. */
  agentName?: string | undefined;
  readonly call?: Call | undefined;
}

export const frames = new AsyncLocalStorage<Frame>();

const hosts = new Set<Host>();

/** From now on tools that no run is around are asked for here. */
export function attachHost(host: Host): void {
  for (const other of hosts) if (other.isClosed) hosts.delete(other);
  hosts.add(host);
}

export function newestHost(): Host | undefined {
  return [...hosts].findLast(({ isClosed }) => !isClosed);
}

/** The id all traces share while tracing is off. */
const NO_TRACE = new NoopTrace().traceId;

/** The SDK's trace around, if it keeps one. */
export function traceHere(): ReturnType<typeof getCurrentTrace> {
  const trace = getCurrentTrace();
  return trace?.traceId === NO_TRACE ? null : trace;
}

/** The run the code that runs right now belongs to: that of its frame or its trace, unless what is stated names another. */
export function liveHere(traceId = traceHere()?.traceId): Live | undefined {
  const { live, stated } = frames.getStore() ?? {};
  const trace = traces.get(traceId ?? '');
  // What an ended run left behind stays with it, and is refused; what its background begins anew is another run.
  const isOver = live?.isEnded === true && trace?.inside.get(getCurrentSpan()?.spanId ?? '')?.isWhole === true;
  const inFrame = live === undefined || isOver ? [] : [live];
  return [...inFrame, ...(trace?.lives ?? [])].find(({ options }) => isSameRun(options, stated));
}

/** Of runs begun inside a run: what is stated but the id, which is taken. */
export function statedInside(stated: RunpurseContext | undefined): RunpurseContext | undefined {
  return stated && { ...stated, runId: undefined };
}

export function makeLive(run: Run, options: RunOptions, host: Host, gateway: string): Live {
  return {
    run,
    options: { ...options, runId: options.runId ?? run.runId },
    host,
    gateway,
    calls: new Set(),
    holds: new Set(),
    unreadable: [],
    waitingTools: new Set(),
    traces: new Set(),
    failed: new WeakMap(),
    isEnded: false,
  };
}
