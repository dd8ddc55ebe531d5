import type { AgentContext, StepKind } from '../attribution/context.ts';
import type { Decision } from '../decisions/decision.ts';
import type { AgentEventInput } from '../events/agent-event.ts';
import type { ReportedUsage } from '../events/metadata.ts';

/** Bounds a run sets for itself; they can only tighten what the operator set. */
export interface RunBounds {
  readonly max_runtime_s?: number | undefined;
  readonly max_steps?: number | undefined;
  /** Model calls. */
  readonly max_requests?: number | undefined;
  readonly max_tool_calls?: number | undefined;
  readonly max_retries?: number | undefined;
  /** Identical calls in a row. */
  readonly max_repeats?: number | undefined;
}

/** What a run belongs to. Without `runId` one is made. */
export interface RunOptions extends AgentContext {
  /** What the run is called in the trace. */
  readonly name?: string | undefined;
  /** The run's own cap, a decimal dollar string such as `"0.50"`. */
  readonly limitUsd?: string | undefined;
  readonly bounds?: RunBounds | undefined;
}

/** Where in the run a call stands; what is left out is the run's own. A nested agent states its `agentId` here. */
export interface CallPlace {
  /** Each model call, tool call, nested agent and handoff has its own. Made when left out where a result tells it. */
  readonly stepId?: string | undefined;
  readonly parentStepId?: string | undefined;
  readonly graphNode?: string | undefined;
  readonly agentId?: string | undefined;
  readonly agentName?: string | undefined;
  readonly handoffId?: string | undefined;
  readonly iteration?: number | undefined;
  /** 1 (default) for the first try; more makes the call's cost the run's `retry` line. */
  readonly attempt?: number | undefined;
}

export interface StepStart extends CallPlace {
  readonly name: string;
  readonly kind: StepKind;
}

/** A step that is neither a model call nor a tool call: a nested agent, a handoff, a stage. Ends once; later ends are ignored. */
export interface Step {
  readonly stepId: string;
  complete(): void;
  fail(error: unknown): void;
}

/** For a host that plays a step again in another process, perhaps at the same instant. */
export interface Told {
  /**
   * The id under which the gateway is told. Told again it counts once, with other content it is refused. So that copies are alike
   * they state no time: the gateway takes its own. Of a model call it says that its step holds no other.
   */
  readonly eventId?: string | undefined;
}

export interface ModelCall extends CallPlace, Told {
  readonly stepId: string;
  readonly model: string;
  readonly provider?: string | undefined;
  /** The output limit that will be sent, if any: it bounds the hold. */
  readonly maxOutputTokens?: number | undefined;
  /** An upper bound on the input; its bytes will do. */
  readonly inputTokensMax?: number | undefined;
  /**
   * True when the call goes through the gateway with `run.headers({ stepId })`: then the gateway itself admits, prices and
   * refuses it, and nothing is asked beforehand (an Alephant gateway is asked, its event policies see nothing else).
   */
  readonly carried: boolean;
}

export interface ModelResult extends CallPlace, Told {
  readonly stepId: string;
  readonly model: string;
  readonly provider?: string | undefined;
  /** Undefined when the provider did not say: the hold is charged then, not zero. */
  readonly usage?: ReportedUsage | undefined;
  /** What went wrong, if the call failed. Its message is sent, redacted and cut. */
  readonly error?: unknown;
  /** `completed`, or `failed` with an `error`, unless stated. */
  readonly status?: 'completed' | 'failed' | 'aborted' | undefined;
  /** `x-runpurse-request-id` of a carried call, when seen. */
  readonly requestId?: string | undefined;
  /** As in ModelCall; a carried call is already charged, this report adds no cost. */
  readonly carried?: boolean | undefined;
}

export interface ToolCall extends CallPlace, Told {
  readonly tool: string;
  /** Unique in the run; the key its hold and its settlement share. */
  readonly toolCallId: string;
  readonly stepId: string;
  /** Never sent: only its hash is, so that the gateway sees identical calls in a row. */
  readonly input?: unknown;
  /** What it may cost at most, if somebody knows: held where the gateway has no price of its own. */
  readonly estimatedCostUsd?: string | undefined;
}

export interface ToolResult extends Told {
  readonly toolCallId: string;
  readonly status: 'completed' | 'failed';
  /** What the tool cost, if it knows. A price configured in the gateway wins. */
  readonly costUsd?: string | undefined;
  readonly error?: unknown;
  /** It was allowed and did not run after all: another said no, or it was cancelled first. It costs nothing. */
  readonly neverRan?: boolean | undefined;
  /** Needed only when the call was not authorized by this handle. */
  readonly tool?: string | undefined;
  readonly place?: CallPlace | undefined;
}

export interface RunEnd {
  readonly status: 'completed' | 'failed' | 'stopped';
  readonly reason?: string | undefined;
  /** What was thrown, of a run that failed: it tells a run that is paused at the gateway from one that is over. */
  readonly error?: unknown;
  readonly revenueUsd?: string | undefined;
  /** Payments the run made to others. */
  readonly outboundUsd?: string | undefined;
  readonly feesUsd?: string | undefined;
}

/** Amounts booked on a run, ended or not. */
export type RunFinance = Pick<RunEnd, 'revenueUsd' | 'outboundUsd' | 'feesUsd'>;

/**
 * One attempt at a task, as an adapter reports it: all an adapter needs. Nothing here throws or rejects for a fault of
 * ours; decisions come back as values (`decision.proceed`, or `orThrow(decision)`).
 *
 * Order of use: `start` → for each model call `authorizeModel`, the call with `headers({ stepId })`, `recordModel` → for
 * each tool call `authorizeTool`, the call, `settleTool` → `end`.
 */
export interface Run {
  readonly runId: string;
  readonly sessionId: string | undefined;
  readonly context: AgentContext;
  /** Says that the run begins, with its cap and bounds. A denied run must not begin. Called twice it answers as at first. */
  start(): Promise<Decision>;
  /** Headers for a model call: what the run belongs to and where in it the call stands. */
  headers(
    place?: CallPlace & { readonly stepKind?: StepKind | undefined; readonly toolCallId?: string | undefined },
  ): Record<string, string>;
  /** Begins a nested agent, a handoff or a stage. */
  step(step: StepStart): Step;
  authorizeModel(call: ModelCall): Promise<Decision>;
  /** After the call, however it ended. Of a call that was denied, report nothing. */
  recordModel(result: ModelResult): void;
  /**
   * An id of its own for a tool call of this run: the one its model gave it, on one line, and with a number where the run
   * has it already, for models repeat theirs. Shared by all handles of the run in this client.
   */
  toolCallId(given?: string): string;
  /** Asks policy and budget, and holds the tool's price under its `toolCallId`. */
  authorizeTool(call: ToolCall): Promise<Decision>;
  /** Once per authorized call; settling twice is ignored. */
  settleTool(result: ToolResult): void;
  /** Any other event; ids of the run are filled in. */
  record(event: AgentEventInput): void;
  /** Books revenue, payments or fees, also after the end. */
  finance(amounts: RunFinance): void;
  /** Says that the run waits for a person, and delivers that; what comes of it is another run of the session. */
  pause(message: string): Promise<void>;
  /**
   * Ends the run and delivers its events (one attempt; what fails is retried in the background). The second end is ignored.
   * One that failed because it is paused at the gateway is no end: it stays open for whoever resumes it there.
   */
  end(end: RunEnd): Promise<void>;
}
