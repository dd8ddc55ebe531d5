import { AsyncLocalStorage } from 'node:async_hooks';
import {
  REFUSALS,
  RefusedError,
  runEndOf,
  type Decision,
  type GatewayClient,
  type Run,
  type RunOptions,
  type RunpurseError,
} from '@runpurse/core';
import type { Failure } from '@runpurse/core/language-model';

/** What belongs to the attachment and not to a run: whom runs report to. */
export interface Host {
  readonly client: GatewayClient;
  /** Address of the gateway. */
  readonly gateway: string;
  readonly onFault: (fault: unknown) => void;
  /** What runs state that state nothing else. */
  readonly defaults: RunOptions;
  /** Agents and workflows that are attached, by their kind of span and id. */
  readonly attached: Set<string>;
  /** Runs of attached agents and workflows, by the trace they happen in. */
  readonly traced: Map<string, Live>;
}

/** Notes in which of Mastra's traces a run happens, and tells the gateway, so that one is found from the other. */
export function linkTrace(live: Live, traceId: string | undefined): void {
  const { traced } = live.host;
  if (traceId === undefined || traced.get(traceId) === live) return;
  traced.set(traceId, live);
  live.atEnd.push(() => traced.delete(traceId));
  live.run.record({ type: 'trace.linked', event_phase: 'state', policy_stage: 'audit_only', metadata: { trace_id: traceId } });
}

/** One run while it lasts. */
export interface Live {
  readonly host: Host;
  readonly run: Run;
  /** Calls under way, and how to report one whose run ends first. */
  readonly open: Map<object, () => void>;
  /** How often a tool call id was used: some providers number them anew in each answer. */
  readonly toolUses: Map<string, number>;
  /** Tool calls that wait to be resumed, by the id the model gave them. */
  readonly suspended: Map<string, Hold>;
  /** Why the newest model call failed, as it was thrown. */
  failure?: Failure | undefined;
  /** Done when the run ends, so that nothing of it stays behind. */
  readonly atEnd: (() => void)[];
  isEnded: boolean;
}

/** A tool call that may run. */
export interface Hold {
  readonly id: string;
  /** Reports how the call ended; the first end counts. */
  settle(failure: Failure | undefined): void;
}

/** Where in a run something happens: in which agent, inside which step. */
export interface Place {
  readonly agentId?: string | undefined;
  readonly parentStepId?: string | undefined;
}

/** The run around the code that runs now, and where in it that is: inside a tool call, a workflow's step or `run(…)`. */
export interface Frame {
  readonly live: Live;
  readonly place: Place;
  /** The tool call as the model named it, when the code runs inside one. */
  readonly toolCallId?: string | undefined;
}

export const frames = new AsyncLocalStorage<Frame>();

export function makeLive(host: Host, run: Run): Live {
  return { host, run, open: new Map(), toolUses: new Map(), suspended: new Map(), atEnd: [], isEnded: false };
}

/** The frame around us, when its run still lasts. */
export function frameNow(): Frame | undefined {
  const frame = frames.getStore();
  return frame?.live.isEnded === false ? frame : undefined;
}

/** How a run ended, as its own code saw it. */
export type Ending = { readonly type: 'completed' } | { readonly type: 'stopped' } | { readonly type: 'failed'; readonly error: unknown };

/** Ends the run, once. What is still under way in it is reported as aborted: its own end may never come. */
export async function endRun(live: Live, ending: Ending): Promise<void> {
  if (live.isEnded) return;
  live.isEnded = true;
  for (const done of live.atEnd) done();
  for (const abandon of [...live.open.values()]) guarded(live.host, abandon, undefined);
  await live.run.end(runEndOf(ending.type === 'failed' ? (ending.error ?? 'failed') : undefined, ending.type === 'stopped'));
}

/** What stands in the way of a call: a refusal or, under the failure policy `closed`, the gateway that is away. */
export function obstacleOf(decision: Decision): RunpurseError | undefined {
  if (decision.proceed) return undefined;
  return decision.type === 'denied' ? new RefusedError(decision.refusal) : decision.error;
}

/** Why a tripwire of ours tripped, as its `metadata` says it; `refusalOf(metadata)` reads it too. */
export interface RunpurseTripwire {
  /** The refusal's code, or `gateway_unavailable`. */
  readonly code: string;
  readonly message: string;
  readonly status?: number | undefined;
  /** Name of the budget, bound or rule that decided. */
  readonly blockedBy?: string | undefined;
  readonly runId: string;
}

export function tripwireOf({ run: { runId } }: Live, error: RunpurseError): RunpurseTripwire {
  const { code, message } = error;
  if (!RefusedError.isInstance(error)) return { code, message, runId };
  const { blockedBy, code: refused } = error.refusal;
  return { code, message, status: REFUSALS[refused].status, blockedBy, runId };
}

/** A fault of ours ends here: the host gets `otherwise`. */
export function guarded<Result>({ onFault }: Pick<Host, 'onFault'>, work: () => Result, otherwise: Result): Result {
  try {
    return work();
  } catch (fault) {
    onFault(fault);
    return otherwise;
  }
}
