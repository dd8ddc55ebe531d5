import { formatUsd, UNTOLD_ENDS, type Nanos } from '@runpurse/core';
import type { BoundConfig } from '../config/config.ts';
import type { Clock } from '../gateway.ts';
import type { Entry } from '../store/entry.ts';
import { inherit, type Balances } from './balances.ts';
import type { Counters, Limit } from './counters.ts';
import type { DecidedFits } from './decide.ts';
import { watchesRepeats } from './bounds.ts';
import { runEntry, settleEntry, thresholdEntry } from './entries.ts';
import { createOpenTable, type OpenReservation, type OpenTable } from './reservation.ts';
import type { RunLedger } from './run-ledger.ts';
import { failureKey, forgetCall, isCostless, noteRepeat, rememberFailure, type RunRegistry, type RunState } from './run-state.ts';
import type { SpendMemory } from './spend-memory.ts';
import type { CallRequest, Outcome, Settled, Subject } from './types.ts';

export interface ReservationParts {
  readonly clock: Clock;
  /** The configured bounds. */
  readonly bounds: readonly BoundConfig[];
  /** How long an authorized call is held. */
  readonly heldMs: number;
  readonly counters: Counters;
  readonly balances: Balances;
  readonly memory: SpendMemory;
  readonly registry: RunRegistry;
  readonly ledger: RunLedger;
}

/** The open reservations: held once, ended once. */
export interface Reservations {
  readonly open: Pick<OpenTable, 'get' | 'values' | 'size'>;
  /** The open ones of a run. Looks at all that are open, for what is seldom asked. */
  openOf(run: RunState): Iterable<OpenReservation>;
  /** A self-reported hold for the same step gives way to the call that the gateway carries. */
  takeoverOf(call: CallRequest, run: RunState): OpenReservation | undefined;
  /** Holds what `decide` found to fit, in the same turn. */
  hold(call: CallRequest, run: RunState, decided: DecidedFits, now: number): OpenReservation;
  /** As if the call had never asked: its intent could not be written. */
  undo(reservation: OpenReservation): void;
  /** Ends a reservation; undefined when it has ended before. */
  settle(id: string, outcome: Outcome): Settled | undefined;
  noteStep(run: RunState, subject: Subject, now: number): void;
  /** Ends the calls that are due. */
  expire(now: number): void;
  /** Makes a call due as soon as what is told late and out of order will have come, if it is not due before. `untold`: how it ends then. */
  expireSoon(reservation: OpenReservation, untold?: Outcome): void;
}

/** How far behind each other reports of one call and of its run may come: in batches, out of order, sent again. */
const LATE_MS = 60_000;
const UNTOLD: Outcome = { status: 'aborted', cost: undefined, error: UNTOLD_ENDS.expired };

export function createReservations(parts: ReservationParts): Reservations {
  const { clock, bounds, heldMs, counters, balances, memory, registry, ledger } = parts;
  const open = createOpenTable();

  /** Counts a call in or, when it was never made, out again, for its run and session. */
  const count = (reservation: OpenReservation, by: 1 | -1): void => {
    const { run, subject } = reservation;
    const session =
      subject.sessionId === undefined ? undefined : registry.boundedSession(run.workspaceId, subject.sessionId, reservation.at);
    for (const counts of session === undefined ? [run.counts] : [run.counts, session.counts]) {
      if (reservation.kind === 'model') counts.requests += by;
      else counts.toolCalls += by;
      if (reservation.attempt > 1) counts.retries += by;
    }
    if (session !== undefined) session.lastSeq = Number.MAX_SAFE_INTEGER;
  };

  const noteStep = (run: RunState, subject: Subject, now: number): void => {
    if (subject.stepId === undefined || run.steps?.has(subject.stepId) === true) return;
    (run.steps ??= new Set()).add(subject.stepId);
    const session = subject.sessionId === undefined ? undefined : registry.boundedSession(run.workspaceId, subject.sessionId, now);
    if (session !== undefined) session.stepsCount += 1;
  };

  const remove = (reservation: OpenReservation): void => {
    open.remove(reservation);
    const { callKey, run } = reservation;
    run.openCount -= 1;
    if (callKey === undefined) return;
    const others = (run.openByCall?.get(callKey) ?? []).filter((id) => id !== reservation.id);
    if (others.length === 0) run.openByCall?.delete(callKey);
    else run.openByCall?.set(callKey, others);
  };

  /** Adds an entry for every threshold that this charge crossed. */
  const addThresholds = (entries: Entry[], reservation: OpenReservation, charged: Nanos, now: number): void => {
    if (charged <= 0n) return;
    for (const match of reservation.matches) {
      const counter = match.counterKey === undefined ? undefined : counters.peek(match.counterKey);
      if (counter === undefined || match.limit <= 0n) continue;
      const before = counter.settled - charged;
      for (const { percent, amount } of match.marks) {
        if (counter.settled < amount) break;
        if (before < amount) entries.push(thresholdEntry(reservation, match, percent, counter, now));
      }
    }
  };

  const settleOpen = (reservation: OpenReservation, outcome: Outcome): Settled => {
    const now = clock.now();
    const { run, subject } = reservation;
    remove(reservation);
    // Nobody knows the cost: the worst case is charged; without a price it stays unknown.
    const isReleased = outcome.status === 'released';
    const isAtHold = !isReleased && outcome.cost === undefined && !reservation.priceUnknown;
    const charged = isReleased ? 0n : (outcome.cost ?? (isAtHold ? reservation.hold : undefined));
    const booked = charged ?? 0n;

    run.spent += booked;
    run.lastUsedAt = now;
    counters.settle(reservation.counters, reservation.hold, booked, now, Number.MAX_SAFE_INTEGER);
    if (isReleased) count(reservation, -1);
    if (subject.idempotencyKey !== undefined && isCostless(outcome.status, charged)) forgetCall(run, reservation.id);
    if (outcome.status === 'failed' && reservation.fingerprint !== undefined) {
      rememberFailure(run, failureKey(subject.stepId, reservation.fingerprint()), reservation.attempt);
    }
    const entries: Entry[] = [settleEntry(reservation, outcome, charged, isAtHold || outcome.unconfirmed === true, now)];
    addThresholds(entries, reservation, booked, now);
    if (run.implicit && run.status === 'running') {
      run.status = outcome.status === 'completed' ? 'completed' : 'failed';
      entries.push(runEntry(run, 'end', now, outcome.error === undefined ? {} : { reason: outcome.error }));
    }
    const seq = ledger.appendBehind(run, entries, now);
    for (const counter of reservation.counters) counter.lastSeq = seq;
    memory.note({ seq, at: reservation.at, charged: booked, subject: balances.chargedOf(subject, run) });
    return { charged, overage: booked > reservation.hold ? booked - reservation.hold : 0n };
  };

  return {
    open,
    *openOf(run) {
      if (run.openCount === 0) return;
      for (const reservation of open.values()) if (reservation.run === run) yield reservation;
    },
    takeoverOf(call, run) {
      if (call.kind !== 'model' || call.source !== 'gateway' || call.subject.stepId === undefined) return undefined;
      const id = run.openByCall?.get(`model:${call.subject.stepId}`)?.at(-1);
      const asked = id === undefined ? undefined : open.get(id);
      // An earlier try went past the gateway, and its end is still to be told.
      const isOfEarlierTry = asked !== undefined && (call.subject.attempt ?? 1) > asked.attempt;
      return isOfEarlierTry ? undefined : asked;
    },
    noteStep,
    hold(call, run, decided, now) {
      const subject = inherit(call.subject, run);
      const limits: Limit[] = [];
      for (const match of decided.unasked === undefined ? decided.budgets : []) {
        const counter = match.budget.config.action === 'alert_only' ? undefined : balances.counterOf(match, run, run.workspaceId, now);
        if (counter !== undefined) limits.push({ counter, limit: match.limit });
      }
      const blocked = counters.reserve(decided.counters, limits, decided.hold, now);
      if (blocked !== undefined)
        throw new Error(`a hold of $${formatUsd(decided.hold)} no longer fits: decide and hold must share one turn`);

      const callKey = decided.unasked === 'over' ? undefined : callKeyOf(call);
      const reservation: OpenReservation = {
        id: call.id,
        subject,
        kind: call.kind,
        name: call.name,
        provider: call.provider,
        attempt: decided.attempt,
        source: call.source,
        at: now,
        hold: decided.hold,
        priceUnknown: decided.priceUnknown,
        run,
        counters: decided.counters,
        matches: decided.budgets,
        fingerprint: call.fingerprint,
        dueAt: callKey !== undefined || call.kind === 'tool' ? now + heldMs : Infinity,
        untold: UNTOLD,
        isReported: decided.unasked !== undefined,
        callKey,
      };
      open.add(reservation);
      run.openCount += 1;
      if (callKey !== undefined) (run.openByCall ??= new Map()).set(callKey, [...(run.openByCall.get(callKey) ?? []), call.id]);
      if (call.kind === 'tool') {
        if (subject.toolCallId !== undefined) (run.toolCalls ??= new Set()).add(subject.toolCallId);
      } else if (call.source === 'gateway') {
        run.carriedRequests.add(call.id);
        if (subject.stepId !== undefined) (run.carriedSteps ??= new Map()).set(subject.stepId, call.id);
      }
      if (subject.idempotencyKey !== undefined) (run.calledOnce ??= new Map()).set(subject.idempotencyKey, call.id);
      count(reservation, 1);
      noteStep(run, subject, now);
      if (watchesRepeats(run, bounds)) noteRepeat(run, call, decided.attempt);
      return reservation;
    },

    undo(reservation) {
      remove(reservation);
      counters.settle(reservation.counters, reservation.hold, 0n, clock.now(), 0);
      count(reservation, -1);
      const { run, subject } = reservation;
      if (reservation.kind === 'tool' && subject.toolCallId !== undefined) run.toolCalls?.delete(subject.toolCallId);
      run.carriedRequests.delete(reservation.id);
      forgetCall(run, reservation.id);
      if (subject.stepId !== undefined && run.carriedSteps?.get(subject.stepId) === reservation.id) run.carriedSteps.delete(subject.stepId);
    },

    settle(id, outcome) {
      const reservation = open.get(id);
      return reservation === undefined ? undefined : settleOpen(reservation, outcome);
    },

    expire(now) {
      for (const reservation of open.values()) if (reservation.dueAt <= now) settleOpen(reservation, reservation.untold);
    },

    expireSoon(reservation, untold = reservation.untold) {
      reservation.dueAt = Math.min(reservation.dueAt, clock.now() + LATE_MS);
      reservation.untold = untold;
    },
  };
}

/** The name by which an event will end this call, if one will. */
function callKeyOf(call: CallRequest): string | undefined {
  const { stepId, toolCallId } = call.subject;
  if (call.kind === 'tool') return toolCallId === undefined ? undefined : `tool:${toolCallId}`;
  return call.source === 'self_reported' && stepId !== undefined ? `model:${stepId}` : undefined;
}
