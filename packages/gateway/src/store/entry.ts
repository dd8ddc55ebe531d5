import type { RunStatus } from '@runpurse/core';

/**
 * The ledger's rows. Append-only: a run, a session, a balance is always a fold of these. Times are epoch milliseconds,
 * amounts are nano-dollars as decimal integer text (JSON has no bigint). Absent fields are left out.
 */
export type Entry = ReserveEntry | SettleEntry | EventEntry | DecisionEntry | RunEntry | ThresholdEntry;

/** Amount in nano-dollars as integer text, such as `"86000000"`. */
export type NanosText = string;

export interface ContextFields {
  /** Workspace the caller's key is bound to. Run and session ids are unique inside a workspace only. */
  readonly workspaceId: string;
  readonly keyId: string;
  readonly runId: string;
  readonly sessionId?: string | undefined;
  readonly workflowId?: string | undefined;
  readonly agentId?: string | undefined;
  readonly memberId?: string | undefined;
  readonly customerId?: string | undefined;
  readonly stepId?: string | undefined;
  readonly parentStepId?: string | undefined;
  readonly toolCallId?: string | undefined;
  readonly graphNode?: string | undefined;
}

/** Written durably BEFORE a call is made: the worst case is held. Exactly one settle follows for each reserve. */
export interface ReserveEntry extends ContextFields {
  readonly type: 'reserve';
  readonly at: number;
  /** Reservation id; for model calls also the request id (`x-runpurse-request-id`). */
  readonly id: string;
  readonly kind: 'model' | 'tool';
  /** The model asked for (without provider prefix), or the tool's name. */
  readonly name: string;
  readonly provider?: string | undefined;
  readonly attempt: number;
  readonly source: 'gateway' | 'self_reported';
  readonly hold: NanosText;
  /** Nobody knows what it may cost: the hold is 0 and says nothing. */
  readonly priceUnknown?: true | undefined;
  /** True when the run exists only for this call: the caller named no run. */
  readonly implicitRun?: true | undefined;
  /** The caller's name for this call in its run; the same again is not made again. */
  readonly idempotencyKey?: string | undefined;
  /** Extra attribution the trace shows: agent name, step kind, iteration, properties … */
  readonly note?: Readonly<Record<string, unknown>> | undefined;
}

/** The end of a reservation. `cost` null: the price is unknown (never 0). */
export interface SettleEntry {
  readonly type: 'settle';
  readonly at: number;
  readonly id: string;
  readonly workspaceId: string;
  readonly runId: string;
  /** `released`: the call was never made or the hold was taken over by another reservation; the call is not listed. */
  readonly status: 'completed' | 'failed' | 'aborted' | 'released';
  readonly cost: NanosText | null;
  /** The model that answered, when it differs from the one asked for. */
  readonly model?: string | undefined;
  readonly usage?: LoggedUsage | undefined;
  readonly price?: { readonly source: string; readonly version: string } | undefined;
  /** The provider's answer was lost; the hold was charged. */
  readonly unconfirmed?: true | undefined;
  readonly error?: string | undefined;
}

/** Usage in disjoint classes (DESIGN §4). `undefined` input or output: the provider did not say. */
export interface Usage {
  /** Input tokens neither read from nor written to a cache. */
  readonly inputTokens: number | undefined;
  readonly cacheReadTokens: number;
  readonly cacheWrite5mTokens: number;
  readonly cacheWrite1hTokens: number;
  /** All output tokens but audio. */
  readonly outputTokens: number | undefined;
  /** Part of outputTokens, for show. */
  readonly reasoningTokens: number;
  readonly audioInputTokens: number;
  readonly audioOutputTokens: number;
  readonly webSearches: number;
}

/** Usage as a row holds it: a class of which there was nothing is left out, for most calls that is most of them. */
export type LoggedUsage = Pick<Usage, 'inputTokens' | 'outputTokens'> & Partial<Usage>;

const NOTHING: Omit<Usage, 'inputTokens' | 'outputTokens'> = {
  cacheReadTokens: 0,
  cacheWrite5mTokens: 0,
  cacheWrite1hTokens: 0,
  reasoningTokens: 0,
  audioInputTokens: 0,
  audioOutputTokens: 0,
  webSearches: 0,
};

/** What a row's usage says, every class of it. */
export function usageOf(logged: LoggedUsage): Usage {
  return { ...NOTHING, ...logged };
}

/** Usage as it is written into a row. */
export function loggedUsage(usage: Usage): LoggedUsage {
  const logged: { -readonly [Class in keyof Usage]?: Usage[Class] } & {
    inputTokens: Usage['inputTokens'];
    outputTokens: Usage['outputTokens'];
  } = {
    inputTokens: usage.inputTokens,
    outputTokens: usage.outputTokens,
  };
  for (const name in NOTHING) {
    const tokens = usage[name as keyof typeof NOTHING];
    if (tokens !== 0) logged[name as keyof typeof NOTHING] = tokens;
  }
  return logged;
}

/** An agent event as accepted (normalized by core); the run's log. */
export interface EventEntry extends Omit<ContextFields, 'runId'> {
  readonly type: 'event';
  readonly at: number;
  /** When the event happened by the sender's clock. */
  readonly eventAt: number;
  readonly runId?: string | undefined;
  readonly eventId: string;
  /** True when the sender gave the event id: only those are deduplicated. */
  readonly dedupe?: true | undefined;
  /** Canonical event type, `tool.call.requested` and so on. */
  readonly eventType: string;
  readonly source: string;
  readonly attempt?: number | undefined;
  /** The reservation (carried model call, authorized tool) that this event speaks about, when there is one. */
  readonly reservationId?: string | undefined;
  /** The rest of the normalized event: name, step_kind, phase, stage, confidence, metadata (redacted). */
  readonly event: Readonly<Record<string, unknown>>;
}

/** A decision of policy, budget, bound or run state. Refusals always; allows only when a rule audited or skipped. */
export interface DecisionEntry extends Omit<ContextFields, 'runId'> {
  readonly type: 'decision';
  readonly at: number;
  readonly id: string;
  readonly runId?: string | undefined;
  readonly phase: 'model_request' | 'tool_call' | 'run_update' | 'endpoint_call';
  readonly outcome: 'allowed' | 'denied' | 'audited' | 'skipped';
  /** Refusal code when denied. */
  readonly code?: string | undefined;
  readonly reason: string;
  /** Rule or budget name. */
  readonly rule?: string | undefined;
  readonly ruleRevision?: string | undefined;
  /** The model or tool decided on. */
  readonly subject?: string | undefined;
  readonly attempt?: number | undefined;
  /** The call was made all the same: its own entries say what it cost. */
  readonly violation?: true | undefined;
}

/** A run's life. `start` is written with the first request or event of a run too. */
export interface RunEntry extends ContextFields {
  readonly type: 'run';
  readonly at: number;
  readonly op: 'start' | 'end' | 'stop' | 'pause' | 'resume' | 'finance' | 'cap';
  /** Status after this entry. */
  readonly status: RunStatus;
  readonly reason?: string | undefined;
  readonly implicitRun?: true | undefined;
  /** Amounts ADDED to the run's revenue, outbound payments, fees. */
  readonly revenue?: NanosText | undefined;
  readonly outbound?: NanosText | undefined;
  readonly fees?: NanosText | undefined;
  /** The run's own cap and bounds, set at its start (or raised/lowered by `cap`); they only tighten. */
  readonly limit?: NanosText | undefined;
  readonly bounds?: Readonly<Record<string, number>> | undefined;
}

/** A budget's counter crossed 50, 75, 90 or 100 percent. Once per counter and threshold. */
export interface ThresholdEntry {
  readonly type: 'threshold';
  readonly at: number;
  readonly workspaceId: string;
  readonly runId?: string | undefined;
  readonly budgetId: string;
  readonly scope: string;
  readonly scopeId: string;
  readonly window: string;
  readonly percent: number;
  readonly limit: NanosText;
  readonly spent: NanosText;
  /** Held by calls in flight at that moment, if any. */
  readonly held?: NanosText | undefined;
}
