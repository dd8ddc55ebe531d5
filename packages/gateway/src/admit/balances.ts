import type { Nanos } from '@runpurse/core';
import type { BudgetBook, BudgetMatch } from './budget-book.ts';
import { availableUnder, type Counter, type Counters } from './counters.ts';
import type { OpenReservation } from './reservation.ts';
import type { RunState } from './run-state.ts';
import type { Charged } from './scope-id.ts';
import type { SpendMemory } from './spend-memory.ts';
import type { BudgetState, Standing, Subject } from './types.ts';
import { utcDay } from './windows.ts';

/** The subject with what its run already knows filled in: a call that leaves its session out still counts to it. */
export function inherit(subject: Subject, run: RunState): Subject {
  if (hasAllOf(subject, run)) return subject;
  return {
    ...subject,
    sessionId: subject.sessionId ?? run.sessionId,
    workflowId: subject.workflowId ?? run.workflowId,
    agentId: subject.agentId ?? run.agentId,
    customerId: subject.customerId ?? run.customerId,
    memberId: subject.memberId ?? run.memberId,
  };
}

/** True when the run knows nothing that the subject does not say itself. */
function hasAllOf(subject: Subject, run: RunState): boolean {
  return (
    (subject.sessionId !== undefined || run.sessionId === undefined) &&
    (subject.workflowId !== undefined || run.workflowId === undefined) &&
    (subject.agentId !== undefined || run.agentId === undefined) &&
    (subject.customerId !== undefined || run.customerId === undefined) &&
    (subject.memberId !== undefined || run.memberId === undefined)
  );
}

/** A run's matching budgets, kept while nothing changes that could match others. */
export interface MatchedBudgets {
  readonly generation: number;
  readonly day: string;
  readonly subject: Subject;
  readonly limit: Nanos | undefined;
  readonly matches: readonly BudgetMatch[];
}

/** Budgets and their counters together: where every limit stands. */
export interface Balances {
  /** The budgets that apply to a call of a run. */
  matches(subject: Subject, run: RunState, now: number): readonly BudgetMatch[];
  /** Whose spend a call's is, in an object the run's calls share while they count in the same scopes. */
  chargedOf(subject: Subject, run: RunState): Charged;
  counterOf(match: BudgetMatch, run: RunState | undefined, workspaceId: string, now: number): Counter | undefined;
  /** Each counter once, however many budgets look at it. */
  countersOf(matches: readonly BudgetMatch[], run: RunState, now: number): Counter[];
  /** What a call may still cost under a budget; `freed` is a hold that this call takes over. */
  roomUnder(match: BudgetMatch, run: RunState, now: number, freed: OpenReservation | undefined): Nanos;
  stateOf(match: BudgetMatch, run: RunState | undefined, workspaceId: string, now: number): BudgetState;
  standing(subject: Subject, run: RunState | undefined, now: number): Standing;
  /** Puts an open reservation's hold on every counter that counts it and lacks it. */
  placeHold(reservation: OpenReservation): void;
  /** Budgets changed: all counters are read anew, with the holds of the calls in flight. */
  rebuild(open: Iterable<OpenReservation>): void;
}

export function createBalances(parts: { readonly counters: Counters; readonly book: BudgetBook; readonly memory: SpendMemory }): Balances {
  const { counters, book, memory } = parts;

  const matchesOf: Balances['matches'] = (subject, run, now) => {
    const day = utcDay(now);
    const known = run.matched;
    if (
      known !== undefined &&
      known.generation === book.generation &&
      known.day === day &&
      known.limit === run.limit &&
      hasSameScopes(known.subject, subject)
    )
      return known.matches;
    const matches = book.match(subject, run.limit, now);
    run.matched = { generation: book.generation, day, subject, limit: run.limit, matches };
    return matches;
  };

  const counterOf: Balances['counterOf'] = (match, run, workspaceId, now) => {
    if (match.counterKey === undefined) return undefined;
    const { scope, window } = match.budget.config;
    return counters.get(match.counterKey, () => {
      if (scope === 'request') return 0n;
      if (scope === 'run' && window === 'lifetime' && run !== undefined) return run.spent;
      return memory.spent(scope, workspaceId, match.scopeId, window, now);
    });
  };

  const stateOf: Balances['stateOf'] = (match, run, workspaceId, now) => {
    const { settled, held, overage } = counterOf(match, run, workspaceId, now) ?? { settled: 0n, held: 0n, overage: 0n };
    const remaining = match.limit - settled - held;
    const above = settled > match.limit ? settled - match.limit : 0n;
    return {
      budget: match.budget,
      scopeId: match.scopeId,
      limit: match.limit,
      settled,
      held,
      overage: overage > above ? overage : above,
      remaining: remaining > 0n ? remaining : 0n,
      state: stateName(remaining <= 0n ? EXCEEDED : highestThreshold(match, settled)),
    };
  };

  const placeHold = (reservation: OpenReservation): void => {
    const { run } = reservation;
    const matches = book.match(inherit(reservation.subject, run), run.limit, reservation.at);
    for (const counter of countersOf(matches, run, reservation.at)) {
      if (reservation.counters.includes(counter)) continue;
      counter.held += reservation.hold;
      counter.openHolds += 1;
      reservation.counters.push(counter);
    }
    reservation.matches = matches;
  };

  const countersOf: Balances['countersOf'] = (matches, run, now) => {
    const found: Counter[] = [];
    for (const match of matches) {
      const counter = counterOf(match, run, run.workspaceId, now);
      if (counter !== undefined && !found.includes(counter)) found.push(counter);
    }
    return found;
  };

  return {
    matches: matchesOf,
    chargedOf: (subject, run) => (run.matched !== undefined && hasSameScopes(run.matched.subject, subject) ? run.matched.subject : subject),
    counterOf,
    countersOf,
    stateOf,
    placeHold,
    roomUnder(match, run, now, freed) {
      const counter = counterOf(match, run, run.workspaceId, now);
      if (counter === undefined) return match.limit;
      const room = availableUnder({ counter, limit: match.limit });
      return freed?.counters.includes(counter) === true ? room + freed.hold : room;
    },
    standing(subject, run, now) {
      let runRemaining: Nanos | undefined;
      let sessionRemaining: Nanos | undefined;
      let reached = 0;
      for (const match of run === undefined ? book.match(subject, undefined, now) : matchesOf(subject, run, now)) {
        if (match.counterKey === undefined) continue;
        const counter = counterOf(match, run, subject.workspaceId, now);
        const left = counter === undefined ? match.limit : availableUnder({ counter, limit: match.limit });
        reached = Math.max(reached, left <= 0n ? EXCEEDED : highestThreshold(match, counter?.settled ?? 0n));
        const { action, scope } = match.budget.config;
        if (action === 'alert_only') continue;
        const remaining = left > 0n ? left : 0n;
        if (scope === 'run' && (runRemaining === undefined || remaining < runRemaining)) runRemaining = remaining;
        if (scope === 'session' && (sessionRemaining === undefined || remaining < sessionRemaining)) sessionRemaining = remaining;
      }
      return {
        runSpent: run?.spent ?? 0n,
        state: stateName(reached),
        ...(runRemaining === undefined ? {} : { runRemaining }),
        ...(sessionRemaining === undefined ? {} : { sessionRemaining }),
      };
    },
    rebuild(open) {
      counters.clear();
      for (const reservation of open) {
        reservation.counters = [];
        placeHold(reservation);
      }
    },
  };
}

/** True when the two count in the same scopes, so that the same budgets match. */
function hasSameScopes(one: Subject, other: Subject): boolean {
  return (
    one.sessionId === other.sessionId &&
    one.agentId === other.agentId &&
    one.workflowId === other.workflowId &&
    one.customerId === other.customerId &&
    one.keyId === other.keyId &&
    one.memberId === other.memberId
  );
}

/** The highest threshold reached, in percent; 0 when none is. */
function highestThreshold(match: BudgetMatch, settled: Nanos): number {
  let reached = 0;
  for (const { percent, amount } of match.marks) {
    if (settled < amount) break;
    reached = percent;
  }
  return reached;
}

/** Above every threshold. */
const EXCEEDED = 101;

function stateName(reached: number): string {
  if (reached === 0) return 'ok';
  return reached === EXCEEDED ? 'exceeded' : String(reached);
}
