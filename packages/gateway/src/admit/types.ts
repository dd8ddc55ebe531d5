import type { Nanos, Refusal } from '@runpurse/core';
import type { BudgetConfig, BoundName } from '../config/config.ts';
import type { PolicyPhase } from '../policy/policy.ts';
import type { NanosText, Usage } from '../store/entry.ts';

/** Who a call is charged to: identity from the virtual key first, then what the caller claims. */
export interface Subject {
  readonly workspaceId: string;
  readonly keyId: string;
  readonly runId: string;
  /** The caller named no run: the run is this one call. */
  readonly implicitRun: boolean;
  readonly sessionId?: string | undefined;
  readonly workflowId?: string | undefined;
  readonly agentId?: string | undefined;
  readonly agentName?: string | undefined;
  readonly memberId?: string | undefined;
  readonly customerId?: string | undefined;
  readonly stepId?: string | undefined;
  readonly parentStepId?: string | undefined;
  readonly toolCallId?: string | undefined;
  readonly graphNode?: string | undefined;
  readonly stepKind?: string | undefined;
  readonly iteration?: number | undefined;
  /** As stated by the caller; undefined lets the gateway see for itself whether this is a retry. */
  readonly attempt?: number | undefined;
  readonly properties?: Readonly<Record<string, string>> | undefined;
  /** Names this call in its run: it is made and charged once, however often it is sent. */
  readonly idempotencyKey?: string | undefined;
}

/** A call that asks to be let through. */
export interface CallRequest {
  readonly subject: Subject;
  readonly kind: 'model' | 'tool';
  /** Model (without provider prefix) or tool name. */
  readonly name: string;
  readonly provider?: string | undefined;
  /** Models that may answer instead of `name`: policy is asked about each. Null: one without a name. */
  readonly otherNames?: readonly (string | null)[] | undefined;
  readonly source: 'gateway' | 'self_reported';
  /** Reservation id; made by `gateway.ids.next('req')` or `('auth')`. */
  readonly id: string;
  /** Worst case; undefined: unknown price. */
  readonly hold: Nanos | undefined;
  /** Why no worst case exists, when the model's price is known but the call has no bound; what a hard budget refuses it with. */
  readonly unbounded?: Refusal | undefined;
  /**
   * Makes the call fit `available` (tokenizer instead of bytes, a smaller output limit when `mayClamp`).
   * Returns the new worst case, at most `available`, or undefined. Called only when `hold` does not fit.
   */
  readonly fit?: ((available: Nanos, mayClamp: boolean) => Nanos | undefined) | undefined;
  /** An event that asks stays in the ledger whatever the answer, and without a refusal beside it would read as a call that was made. */
  readonly leavesEvent?: boolean | undefined;
  /** Fingerprint of the call's content: equal calls have equal ones. Asked only where a bound or an earlier failure needs it. */
  readonly fingerprint?: (() => string) | undefined;
}

/** An admitted call: its worst case is held, its intent durable. Ends exactly once, by `Admission.settle`. */
export interface Reservation {
  readonly id: string;
  readonly subject: Subject;
  readonly kind: 'model' | 'tool';
  readonly name: string;
  readonly provider?: string | undefined;
  readonly attempt: number;
  readonly source: 'gateway' | 'self_reported';
  readonly at: number;
  readonly hold: Nanos;
  /** The price was unknown and no hard budget applied: it settles with cost unknown. */
  readonly priceUnknown: boolean;
}

export type AdmissionResult =
  | { readonly type: 'admitted'; readonly reservation: Reservation; readonly audits: readonly string[] }
  | { readonly type: 'refused'; readonly refusal: Refusal };

export interface Outcome {
  readonly status: 'completed' | 'failed' | 'aborted' | 'released';
  /** Actual cost. `undefined`: nobody knows; then the hold is charged and marked unconfirmed (or stays unknown without price). */
  readonly cost: Nanos | undefined;
  readonly usage?: Usage | undefined;
  readonly model?: string | undefined;
  readonly price?: { readonly source: string; readonly version: string } | undefined;
  readonly error?: string | undefined;
  /** Set when a call was made but its outcome never arrived. */
  readonly unconfirmed?: true | undefined;
}

/** What a settlement did, for response headers. */
export interface Settled {
  readonly charged: Nanos | undefined;
  readonly overage: Nanos;
}

/** A budget as enforced, wherever it came from. */
export interface Budget {
  readonly budgetId: string;
  readonly config: BudgetConfig;
  /** `config` for runpurse.yaml, `api` for the CLI and API, `run` for a run's own cap. */
  readonly origin: 'config' | 'api' | 'run';
}

/** One counter of one budget for one scope id, as it stands. */
export interface BudgetState {
  readonly budget: Budget;
  readonly scopeId: string;
  readonly limit: Nanos;
  readonly settled: Nanos;
  readonly held: Nanos;
  readonly overage: Nanos;
  /** max(0, limit − settled − held). */
  readonly remaining: Nanos;
  /** `ok`, the highest threshold reached (`"75"`), or `exceeded`. */
  readonly state: string;
}

/** A run's own bounds; what is undefined is unbounded. */
export type RunBounds = Readonly<Partial<Record<BoundName, number | undefined>>>;

export interface StartRun {
  readonly subject: Subject;
  readonly limit?: Nanos | undefined;
  readonly bounds?: RunBounds | undefined;
}

export interface EndRun {
  readonly status: 'completed' | 'failed' | 'stopped';
  readonly reason?: string | undefined;
  readonly revenue?: Nanos | undefined;
  readonly outbound?: Nanos | undefined;
  readonly fees?: Nanos | undefined;
}

/** What is known of a run at admission. */
export interface RunView {
  readonly workspaceId: string;
  readonly runId: string;
  readonly sessionId: string | undefined;
  readonly workflowId: string | undefined;
  readonly agentId: string | undefined;
  readonly customerId: string | undefined;
  readonly memberId: string | undefined;
  readonly status: 'running' | 'completed' | 'failed' | 'stopped' | 'paused';
  readonly startedAt: number;
  readonly counts: { readonly requests: number; readonly toolCalls: number; readonly retries: number; readonly steps: number };
  readonly spent: Nanos;
}

/**
 * The cap that holds (DESIGN §5). All decisions are taken in one turn of the event loop, so no two calls read the same
 * balance; `admit` resolves only when the hold's intent is durable. Rejects with StoreError when it can't be written
 * (nothing is held then, nothing may be called).
 */
export interface Admission {
  admit(call: CallRequest): Promise<AdmissionResult>;
  /** The same questions without holding or logging anything. */
  check(call: CallRequest): AdmissionResult;
  /** Ends a reservation. The second and every later call returns undefined and changes nothing. */
  settle(reservationId: string, outcome: Outcome): Settled | undefined;
  /** An open reservation by id. */
  reservation(id: string): Reservation | undefined;
  /** The open reservation of a tool call id, or of a self-reported model call's step, in a run. */
  findOpen(workspaceId: string, runId: string, kind: 'model' | 'tool', key: string, attempt?: number): Reservation | undefined;
  /** Id of the model call the gateway carried for this step (or with this request id), open or ended; for charging once. */
  carried(workspaceId: string, runId: string, by: { requestId?: string | undefined; stepId?: string | undefined }): string | undefined;
  /** True when this tool call was admitted before, open or ended: the same question again is not charged again. */
  toolCallKnown(workspaceId: string, runId: string, toolCallId: string): boolean;
  /** A charge nobody asked for beforehand (usage reported after the fact): booked in full, as overage where it passes a limit. */
  charge(call: CallRequest, outcome: Outcome): Promise<string>;
  /**
   * Holds a call that its sender reports and asks nobody about: its worst case, also where it passes a limit.
   * @param told how it ended, without a figure: it soon ends so at its hold, unless `settle` knows better before. Without: it is under way
   */
  takeOn(call: CallRequest, told?: Outcome): Promise<Reservation>;
  /** Waits no longer for the end of a call than for what comes late: its run is over. */
  expireSoon(reservationId: string): void;

  /** Begins a run or finds it; a second start with the same facts is a no-op, a contradiction is refused. */
  startRun(start: StartRun): Promise<{ type: 'started' | 'exists'; run: RunView } | { type: 'refused'; refusal: Refusal }>;
  /** What nobody asked for is soon ended with it; whoever asks, settles before or after. */
  endRun(
    subject: Pick<Subject, 'workspaceId' | 'runId' | 'keyId'>,
    end: EndRun,
  ): Promise<{ type: 'ended' | 'exists' } | { type: 'refused'; refusal: Refusal }>;
  /** Stop, pause or resume, by hand. */
  controlRun(
    subject: Pick<Subject, 'workspaceId' | 'runId' | 'keyId'>,
    op: 'stop' | 'pause' | 'resume',
    reason: string | undefined,
  ): Promise<{ type: 'done'; status: string } | { type: 'refused'; refusal: Refusal }>;
  /** Adds revenue, outbound payments or fees to a run that exists, ended or not. */
  bookFinance(
    subject: Pick<Subject, 'workspaceId' | 'runId' | 'keyId'>,
    amounts: { revenue?: Nanos | undefined; outbound?: Nanos | undefined; fees?: Nanos | undefined },
  ): Promise<void>;
  /** Notes a step for the steps bound and counts; no decision. */
  noteStep(workspaceId: string, runId: string, stepId: string): void;
  run(workspaceId: string, runId: string): RunView | undefined;

  /** Budgets that apply to a subject, as they stand; for views, headers and `/v1/check`. */
  budgetStates(subject: Partial<Subject> & { workspaceId: string }): readonly BudgetState[];
  /** Where run and session stand after a call, for response headers. */
  standing(reservation: Pick<Reservation, 'subject'>): Standing;
  /** Every budget enforced now; `reloadBudgets` re-reads those of the API and CLI. */
  budgets(): readonly Budget[];
  reloadBudgets(): void;
  /** Logs a decision entry (refusals are logged by `admit` itself). */
  logDecision(decision: LoggedDecision): void;
  /** Ends authorizations that timed out and forgets what is idle; runs by itself every second. */
  sweep(): void;
  /** Open reservations, for /metrics and tests. */
  readonly openCount: number;
}

/** The figures of `x-runpurse-run-cost-usd`, `-run-remaining-usd`, `-session-remaining-usd` and `-budget-state`. */
export interface Standing {
  readonly runSpent: Nanos;
  /** The least that any run budget leaves; undefined without one. */
  readonly runRemaining?: Nanos;
  readonly sessionRemaining?: Nanos;
  /** `ok`, the highest threshold any matching budget has reached, or `exceeded`. */
  readonly state: string;
}

export interface LoggedDecision {
  readonly subject: Partial<Subject> & { workspaceId: string; keyId: string };
  readonly phase: PolicyPhase;
  readonly outcome: 'allowed' | 'denied' | 'audited' | 'skipped';
  readonly code?: string | undefined;
  readonly reason: string;
  readonly rule?: string | undefined;
  readonly ruleRevision?: string | undefined;
  readonly about?: string | undefined;
  /** The call was made all the same, unasked or against a no. */
  readonly violation?: true | undefined;
}

export type { NanosText };
