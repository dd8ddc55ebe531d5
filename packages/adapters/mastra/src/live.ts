import { AsyncLocalStorage } from 'node:async_hooks';
import {
  REFUSALS,
  RefusedError,
  runEndOf,
  usableId,
  type Decision,
  type GatewayClient,
  type Run,
  type RunOptions,
  type RunpurseError,
  type Step,
} from '@runpurse/core';
import type { Failure } from '@runpurse/core/language-model';
import type { Background } from './background.ts';

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
  /** Runs that last, by their id: whoever states it belongs to them. */
  readonly runs: Map<string, Live>;
  /** Runs by Mastra's ids of their background tasks: those that last, and the latest that did not complete. */
  readonly tasks: Map<string, Live>;
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
  /** Tool calls that began here: the step around each, and the id the model gave it. */
  readonly toolCalls: Set<string>;
  /** Tool calls that wait to be resumed. */
  readonly suspended: Set<SuspendedCall>;
  /** A workflow's steps, by what they are known by there. */
  readonly heldSteps: Map<string, HeldStep>;
  readonly background: Background;
  /** Begun by an agent's execution: what goes on under the run's id, resumed or after an approval, ends it like that. */
  readonly isAgents: boolean;
  /** Why the newest model call failed, or a workflow's step was refused, as it was thrown. */
  failure?: Failure | undefined;
  /** Done when the run ends, so that nothing of it stays behind. */
  readonly atEnd: ((ending: Ending) => void)[];
  isEnded: boolean;
}

/** A tool call that may run. */
export interface Hold {
  readonly id: string;
  /** The call waits to be resumed, and says why or not. */
  suspension?: { readonly hasPayload: boolean } | undefined;
  /** Reports how the call ended; the first end counts. */
  settle(failure: Failure | undefined): void;
  /** Reports that the tool did not run after all, or that another call goes on with it: this one costs nothing. */
  release(why: string): void;
}

/** A tool call that waits to be resumed. */
export interface SuspendedCall {
  readonly hold: Hold;
  readonly tool: string;
  /** As the model gave it. */
  readonly toolCallId: string;
  readonly parentStepId: string | undefined;
  /** Said why, as Mastra then proves when it resumes the call. */
  readonly hasPayload: boolean;
}

/** The calls of a workflow's step. */
export interface HeldStep {
  /** Those that wait to be resumed, and what each was given. */
  readonly waiting: Map<Step, unknown>;
  /** One was asked for in this process: none that doesn't wait here was asked for in another. */
  isAskedHere: boolean;
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
  /** The tool call the code runs inside of, and what it is known by on each layer of a tool. */
  readonly call?: { readonly key: unknown; readonly tool: string; readonly hold: Hold } | undefined;
}

export const frames = new AsyncLocalStorage<Frame>();

/** The frame around us, when its run still lasts and is told to the same gateway. */
export function frameNow({ client }: Host): Frame | undefined {
  const frame = frames.getStore();
  return frame?.live.isEnded === false && frame.live.host.client === client ? frame : undefined;
}

/** Part of a run: the whole of it, or what happens in a run that somebody else ends. */
export interface Part {
  readonly live: Live;
  readonly place: Place;
  /** The run ends with this part of it. */
  readonly isOwner: boolean;
}

/** Begins a part of the run around us, of the one that lasts under the id stated, or else of a new one. Throws when that may not begin. */
export async function beginPart(host: Host, options: RunOptions, isAgents = false): Promise<Part> {
  const around = frameNow(host);
  const lasting = around?.live ?? runUnder(host, options);
  const live = await started(lasting ?? makeLive(host, options, isAgents));
  return { live, place: around?.place ?? {}, isOwner: lasting === undefined || (around === undefined && lasting.isAgents) };
}

/** Begins a run, whatever is around us. Throws when it may not begin. */
export async function beginRun(host: Host, options: RunOptions): Promise<Live> {
  return started(makeLive(host, options, false));
}

async function started(live: Live): Promise<Live> {
  const obstacle = obstacleOf(await live.run.start());
  if (obstacle === undefined) return live;
  forget(live);
  throw Object.assign(obstacle, { runId: live.run.runId });
}

/** The run that lasts under this id, unless it belongs to another session or customer: then the gateway says so. */
function runUnder({ runs }: Host, options: RunOptions): Live | undefined {
  const live = runs.get(usableId(options.runId) ?? '');
  const differs = (['sessionId', 'customerId'] as const).some((field) => {
    const [theirs, ours] = [usableId(live?.run.context[field]), usableId(options[field])];
    return theirs !== undefined && ours !== undefined && theirs !== ours;
  });
  return differs ? undefined : live;
}

function makeLive(host: Host, options: RunOptions, isAgents: boolean): Live {
  const run = host.client.run(options);
  const live: Live = {
    host,
    run,
    open: new Map(),
    toolCalls: new Set(),
    suspended: new Set(),
    heldSteps: new Map(),
    background: { tasks: new Map(), turns: new Set(), isAnswered: false },
    isAgents,
    atEnd: [],
    isEnded: false,
  };
  if (!host.runs.has(run.runId)) host.runs.set(run.runId, live);
  return live;
}

function forget(live: Live): void {
  const { host, run } = live;
  if (host.runs.get(run.runId) === live) host.runs.delete(run.runId);
}

/** How a run ended, as its own code saw it. */
export type Ending = { readonly type: 'completed' } | { readonly type: 'stopped' } | { readonly type: 'failed'; readonly error: unknown };

/** Ends the run, once. What is still under way in it is reported as aborted: its own end may never come. */
export async function endRun(live: Live, ending: Ending): Promise<void> {
  if (live.isEnded) return;
  live.isEnded = true;
  forget(live);
  for (const done of live.atEnd) done(ending);
  for (const abandon of [...live.open.values()]) guarded(live.host, abandon, undefined);
  const error = ending.type === 'failed' ? (ending.error ?? 'failed') : undefined;
  await live.run.end(runEndOf(error, ending.type === 'stopped'));
}

/** The failure that Mastra tells of by its message alone: the newest of the run, if it is that one. */
export function failureSaid({ failure }: Live, message: string): unknown {
  return failure?.error instanceof Error && failure.error.message === message ? failure.error : message;
}

/** Ends the run as stopped this long after an abort. Gives back how to leave off. */
export function endOnAbort(live: Live, signal: AbortSignal, afterMs: number): () => void {
  const end = (): void => {
    setTimeout(() => void guarded(live.host, () => endRun(live, { type: 'stopped' }), undefined), afterMs).unref();
  };
  const leaveOff = (): void => signal.removeEventListener('abort', end);
  signal.addEventListener('abort', end, { once: true });
  live.atEnd.push(leaveOff);
  return leaveOff;
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

export function tripwireOf(runId: string, error: RunpurseError): RunpurseTripwire {
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
