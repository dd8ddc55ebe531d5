import type { Nanos } from '@runpurse/core';
import type { Entry } from '../store/entry.ts';
import type { RunRow, SessionTotals, Store } from '../store/store.ts';
import { stepOfEvent } from '../views/run-rules.ts';
import type { MatchedBudgets } from './balances.ts';
import type { CallRequest, Outcome, RunBounds, RunView, Subject } from './types.ts';

export interface RunCounts {
  requests: number;
  toolCalls: number;
  retries: number;
}

/** What admission keeps of a run while it is in use. Comes back from the ledger when it was evicted. */
export interface RunState {
  readonly key: string;
  readonly workspaceId: string;
  readonly runId: string;
  readonly implicit: boolean;
  keyId: string;
  sessionId: string | undefined;
  workflowId: string | undefined;
  agentId: string | undefined;
  customerId: string | undefined;
  memberId: string | undefined;
  status: RunView['status'];
  statusReason: string | undefined;
  /** Paused by a budget: goes on by itself once the budget has room. */
  pausedByBudget: boolean;
  readonly startedAt: number;
  /** The run's start entry is durable; until then every call of it brings one along. */
  startDurable: boolean;
  spent: Nanos;
  readonly counts: RunCounts;
  // The sets below are made with their first member: most runs are short, and many have none of some.
  steps: Set<string> | undefined;
  /** Fingerprint of the last call and how often it came in a row. */
  lastFingerprint: string | undefined;
  repeats: number;
  /** Attempt number of calls that failed, by step and fingerprint: the same call again is a retry. */
  failedAttempts: Map<string, number> | undefined;
  /** How many reservations are open; and by tool call id or self-reported step the ids of those settled by an event. */
  openCount: number;
  openByCall: Map<string, readonly string[]> | undefined;
  /** Model calls the gateway carried: step id → request id, and all request ids. */
  carriedSteps: Map<string, string> | undefined;
  readonly carriedRequests: Set<string>;
  /** Tool calls already admitted by tool call id: a repeated question is answered the same, not charged again. */
  toolCalls: Set<string> | undefined;
  /** Calls under way or charged, idempotency key → request id: the same key is not called again. */
  calledOnce: Map<string, string> | undefined;
  /** The run's own cap and bounds. */
  limit: Nanos | undefined;
  bounds: RunBounds;
  /** The budgets that match this run's calls, as last looked up. */
  matched: MatchedBudgets | undefined;
  lastSeq: number;
  lastUsedAt: number;
}

/** What the session bounds need: totals over the session's runs. */
export interface SessionState {
  readonly key: string;
  readonly startedAt: number;
  readonly counts: RunCounts;
  stepsCount: number;
  lastUsedAt: number;
  lastSeq: number;
}

const FAILED_ATTEMPTS_KEPT = 64;
/** Above this many runs in memory, quiet ones leave after seconds instead of minutes; they come back from the ledger when used. */
const RUNS_AT_EASE = 5_000;
const IDLE_UNDER_PRESSURE_MS = 2_000;
/** A sweep looks at a part of the runs, so that it never holds up a call for long. */
const SWEPT_PART = 8;
const SWEPT_LEAST = 500;

/** Remembers that a call failed, so that the same call again is seen as its retry; keeps the last few. */
export function rememberFailure(run: RunState, callKey: string, attempt: number): void {
  const failed = (run.failedAttempts ??= new Map<string, number>());
  failed.delete(callKey);
  failed.set(callKey, attempt);
  if (failed.size > FAILED_ATTEMPTS_KEPT) {
    const oldest = failed.keys().next();
    if (oldest.done !== true) failed.delete(oldest.value);
  }
}

/** How often the call would have come in a row; a retry of a failed one is no repeat. */
export function repeatsWith(run: RunState, call: CallRequest, attempt: number): number {
  return call.fingerprint !== undefined && attempt === 1 && run.lastFingerprint === call.fingerprint() ? run.repeats + 1 : 1;
}

export function noteRepeat(run: RunState, call: CallRequest, attempt: number): void {
  if (call.fingerprint === undefined || attempt > 1) return;
  run.repeats = repeatsWith(run, call, attempt);
  run.lastFingerprint = call.fingerprint();
}

/** The key under which a failed call is remembered. */
export function failureKey(stepId: string | undefined, fingerprint: string): string {
  return `${stepId ?? ''}\u0000${fingerprint}`;
}

/** True when the run has ended for good. */
export function isOver(run: Pick<RunState, 'status'>): boolean {
  return run.status === 'completed' || run.status === 'failed' || run.status === 'stopped';
}

/** True for a call that came to nothing and cost nothing: it may be sent again under its idempotency key. */
export function isCostless(status: Outcome['status'], charged: Nanos | undefined): boolean {
  return status !== 'completed' && charged === 0n;
}

/** Lets the idempotency key of a call be used again. */
export function forgetCall(run: RunState, requestId: string): void {
  for (const [key, id] of run.calledOnce ?? []) if (id === requestId) run.calledOnce?.delete(key);
}

/** A run that a budget paused goes on. */
export function resumeRun(run: RunState): void {
  run.status = 'running';
  run.statusReason = undefined;
  run.pausedByBudget = false;
}

export function viewRun(run: RunState): RunView {
  return {
    workspaceId: run.workspaceId,
    runId: run.runId,
    sessionId: run.sessionId,
    workflowId: run.workflowId,
    agentId: run.agentId,
    customerId: run.customerId,
    memberId: run.memberId,
    status: run.status,
    startedAt: run.startedAt,
    counts: { requests: run.counts.requests, toolCalls: run.counts.toolCalls, retries: run.counts.retries, steps: run.steps?.size ?? 0 },
    spent: run.spent,
  };
}

/** The runs and sessions in memory. `find` never makes one. */
export interface RunRegistry {
  find(workspaceId: string, runId: string): RunState | undefined;
  add(run: RunState): void;
  /** The session's state, read back when needed; undefined when no bound looks at sessions. */
  boundedSession(workspaceId: string, sessionId: string, now: number): SessionState | undefined;
  /** Runs in memory. */
  values(): IterableIterator<RunState>;
  evict(options: {
    readonly now: number;
    readonly idleMs: number;
    readonly foldedSeq: number;
    readonly onEvict: (run: RunState) => void;
  }): void;
  readonly size: number;
}

const scoped = (workspaceId: string, id: string): string => `${workspaceId}\u0000${id}`;

export function createRunRegistry(
  store: Pick<Store, 'peekRun' | 'peekRunEntries' | 'peekSession'>,
  hasSessionBounds: boolean,
): RunRegistry {
  const runs = new Map<string, RunState>();
  const sessions = new Map<string, SessionState>();
  let cursor = runs.values();

  const boundedSession = (workspaceId: string, sessionId: string, now: number): SessionState | undefined => {
    if (!hasSessionBounds) return undefined;
    const key = scoped(workspaceId, sessionId);
    let state = sessions.get(key);
    if (state === undefined) {
      const totals = store.peekSession(workspaceId, sessionId);
      state = sessionFrom(key, totals, now);
      sessions.set(key, state);
    }
    state.lastUsedAt = now;
    return state;
  };

  return {
    find(workspaceId, runId) {
      const key = scoped(workspaceId, runId);
      const known = runs.get(key);
      if (known !== undefined) return known;
      const row = store.peekRun(workspaceId, runId);
      if (row === undefined) return undefined;
      const run = runFrom(
        key,
        row,
        store.peekRunEntries(workspaceId, runId).map((sequenced) => sequenced.entry),
      );
      runs.set(key, run);
      return run;
    },
    add(run) {
      runs.set(run.key, run);
    },
    boundedSession,
    values: () => runs.values(),
    evict({ now, idleMs, foldedSeq, onEvict }) {
      const idle = runs.size > RUNS_AT_EASE ? Math.min(idleMs, IDLE_UNDER_PRESSURE_MS) : idleMs;
      const most = Math.max(SWEPT_LEAST, Math.ceil(runs.size / SWEPT_PART));
      for (let looked = 0; looked < most; looked += 1) {
        const next = cursor.next();
        if (next.done === true) {
          cursor = runs.values();
          break;
        }
        const run = next.value;
        const quiet = run.lastUsedAt < now - (isOver(run) ? 0 : idle);
        if (!quiet || run.openCount > 0 || run.lastSeq > foldedSeq) continue;
        runs.delete(run.key);
        onEvict(run);
      }
      for (const state of sessions.values()) {
        if (state.lastUsedAt < now - idleMs && state.lastSeq <= foldedSeq) sessions.delete(state.key);
      }
    },
    get size() {
      return runs.size;
    },
  };
}

/** The state of a run that begins with this subject. */
export function newRunState(subject: Subject, now: number): RunState {
  return {
    ...blank(scoped(subject.workspaceId, subject.runId), subject.workspaceId, subject.runId, subject.implicitRun, now),
    keyId: subject.keyId,
    sessionId: subject.sessionId,
    workflowId: subject.workflowId,
    agentId: subject.agentId,
    customerId: subject.customerId,
    memberId: subject.memberId,
  };
}

function blank(key: string, workspaceId: string, runId: string, implicit: boolean, startedAt: number): RunState {
  return {
    key,
    workspaceId,
    runId,
    implicit,
    keyId: '',
    sessionId: undefined,
    workflowId: undefined,
    agentId: undefined,
    customerId: undefined,
    memberId: undefined,
    status: 'running',
    statusReason: undefined,
    pausedByBudget: false,
    startedAt,
    startDurable: false,
    spent: 0n,
    counts: { requests: 0, toolCalls: 0, retries: 0 },
    steps: undefined,
    lastFingerprint: undefined,
    repeats: 0,
    failedAttempts: undefined,
    openCount: 0,
    openByCall: undefined,
    carriedSteps: undefined,
    carriedRequests: new Set(),
    toolCalls: undefined,
    calledOnce: undefined,
    limit: undefined,
    bounds: {},
    matched: undefined,
    lastSeq: 0,
    lastUsedAt: startedAt,
  };
}

/** A run that comes back: totals from its row, what only admission needs from its entries. */
function runFrom(key: string, row: RunRow, entries: readonly Entry[]): RunState {
  const run: RunState = {
    ...blank(key, row.workspaceId, row.runId, row.implicit, row.startedAt),
    keyId: row.keyId,
    sessionId: row.sessionId,
    workflowId: row.workflowId,
    agentId: row.agentId,
    customerId: row.customerId,
    memberId: row.memberId,
    status: row.status,
    statusReason: row.statusReason,
    startDurable: true,
    pausedByBudget: row.status === 'paused' && isBudgetPause(row.statusReason),
    spent: row.modelNanos + row.toolNanos + row.retryNanos,
    counts: { requests: row.requests, toolCalls: row.toolCalls, retries: row.retries },
    limit: row.limitNanos,
    bounds: row.bounds ?? {},
  };
  for (const entry of entries) {
    if (entry.type === 'settle' && isCostless(entry.status, entry.cost === null ? undefined : BigInt(entry.cost)))
      forgetCall(run, entry.id);
    if (entry.type === 'run' || entry.type === 'settle' || entry.type === 'threshold') continue;
    const stepId = entry.type === 'event' ? stepOfEvent(entry) : entry.type === 'reserve' ? entry.stepId : undefined;
    if (stepId !== undefined) (run.steps ??= new Set()).add(stepId);
    if (entry.type !== 'reserve') continue;
    if (entry.idempotencyKey !== undefined) (run.calledOnce ??= new Map()).set(entry.idempotencyKey, entry.id);
    if (entry.kind === 'tool') {
      if (entry.toolCallId !== undefined) (run.toolCalls ??= new Set()).add(entry.toolCallId);
    } else if (entry.source === 'gateway') {
      run.carriedRequests.add(entry.id);
      if (entry.stepId !== undefined) (run.carriedSteps ??= new Map()).set(entry.stepId, entry.id);
    }
  }
  return run;
}

function sessionFrom(key: string, totals: SessionTotals | undefined, now: number): SessionState {
  return {
    key,
    startedAt: totals?.startedAt ?? now,
    counts: { requests: totals?.requests ?? 0, toolCalls: totals?.toolCalls ?? 0, retries: totals?.retries ?? 0 },
    stepsCount: totals?.steps ?? 0,
    lastUsedAt: now,
    lastSeq: 0,
  };
}

const BUDGET_PAUSE = 'Budget ';

/** The reason text of a pause that a budget made; told apart from a person's by its beginning. */
export function budgetPauseReason(budgetName: string): string {
  return `${BUDGET_PAUSE}${budgetName} has no room for the next call`;
}

function isBudgetPause(reason: string | undefined): boolean {
  return reason?.startsWith(BUDGET_PAUSE) ?? false;
}
