import type { Nanos, Refusal } from '@runpurse/core';
import type { GatewayConfig } from '../config/config.ts';
import type { Policy, RuleMatch } from '../policy/policy.ts';
import { inherit, type Balances } from './balances.ts';
import { budgetName, counterKey, type BudgetMatch } from './budget-book.ts';
import { findBoundHit } from './bounds.ts';
import type { Counter, Counters } from './counters.ts';
import { phaseOf } from './entries.ts';
import { policyFacts } from './policy-facts.ts';
import type { RateCap } from './rate-cap.ts';
import {
  boundRefusal,
  budgetRefusal,
  madeAlreadyRefusal,
  policyRefusal,
  priceRefusal,
  rateRefusal,
  runStateRefusal,
  sessionConflict,
} from './refusals.ts';
import type { OpenReservation } from './reservation.ts';
import { failureKey, type RunRegistry, type RunState } from './run-state.ts';
import type { SpendMemory } from './spend-memory.ts';
import type { CallRequest } from './types.ts';

/** What `decide` found: a refusal, or how to hold the call. Nothing is changed yet. */
export type Decided = DecidedRefused | DecidedFits;

export interface DecidedRefused {
  readonly type: 'refused';
  readonly refusal: Refusal;
  /** A budget with action `pause` is what the call does not fit. */
  readonly pause: boolean;
  readonly matches: readonly RuleMatch[];
}

export interface DecidedFits {
  readonly type: 'fits';
  readonly hold: Nanos;
  readonly attempt: number;
  readonly priceUnknown: boolean;
  readonly budgets: readonly BudgetMatch[];
  readonly counters: Counter[];
  readonly matches: readonly RuleMatch[];
  /** The run was paused by a budget that now has room. */
  readonly resumes: boolean;
  /** Nobody asked, so no budget is: it is over and only booked (no event will end it), or under way. */
  readonly unasked?: 'over' | 'under_way';
}

export interface DecideParts {
  readonly config: GatewayConfig;
  readonly policy: Policy;
  readonly rate: RateCap;
  readonly balances: Balances;
  readonly counters: Counters;
  readonly memory: SpendMemory;
  readonly registry: RunRegistry;
}

/** A question about a call: whose it is, when, and whether asking counts against the rate cap. */
export interface Question {
  readonly call: CallRequest;
  readonly run: RunState;
  /** A self-reported hold for the same step that this call replaces. */
  readonly takeover: OpenReservation | undefined;
  readonly now: number;
  readonly isDry: boolean;
}

/** The order in which a call is judged: made already, run state, rate, policy, bounds, price, budgets. The first no is the answer. */
export function decide(parts: DecideParts, question: Question): Decided {
  const { config, policy, rate, balances, registry } = parts;
  const { call, run, now, isDry } = question;
  const { subject } = call;

  if (run.sessionId !== undefined && subject.sessionId !== undefined && run.sessionId !== subject.sessionId)
    return refused(sessionConflict(run, subject.sessionId));
  const made = subject.idempotencyKey === undefined ? undefined : run.calledOnce?.get(subject.idempotencyKey);
  if (made !== undefined) return refused(madeAlreadyRefusal(run, made));
  const resumes = run.status === 'paused' && run.pausedByBudget;
  if (run.status !== 'running' && !resumes) return refused(runStateRefusal(run));

  if (!isDry) {
    const wait = rate.take(subject.keyId, now);
    if (wait !== undefined) return refused(rateRefusal(subject.keyId, config.rate.requests_per_minute, wait));
  }

  const effective = inherit(subject, run);
  const attempt = attemptOf(call, run);
  let matches: readonly RuleMatch[] = [];
  const phase = phaseOf(call);
  if (policy.hasRules(phase)) {
    const spent = () => sessionSpent(parts, run, effective.sessionId, now);
    const judge = (asked: CallRequest) =>
      policy.evaluate(phase, policyFacts({ call: asked, subject: effective, run, attempt, sessionSpent: spent, now }));
    const verdict = judge(call);
    matches = verdict.matches;
    if (verdict.type === 'denied') return refused(policyRefusal(call, verdict.by), matches);
    for (const name of call.otherNames ?? []) {
      const other = judge({ ...call, name: name ?? '' });
      if (other.type === 'denied') return refused(policyRefusal(call, other.by), other.matches);
    }
  }

  const boundedSession = effective.sessionId === undefined ? undefined : registry.boundedSession(run.workspaceId, effective.sessionId, now);
  const hit = findBoundHit({
    configured: config.bounds,
    call,
    attempt,
    run,
    session: boundedSession,
    sessionId: effective.sessionId,
    now,
  });
  if (hit !== undefined) return refused(boundRefusal(call, hit), matches);

  const budgets = balances.matches(effective, run, now);
  const hard = budgets.filter((match) => match.budget.config.action !== 'alert_only');
  const [firstHard] = hard;
  if (call.hold === undefined && call.kind === 'model' && firstHard !== undefined)
    return refused(priceRefusal(call, budgetName(firstHard.budget)), matches);

  const fitted = fitHold(parts, question, hard);
  if (fitted.type === 'refused') return { ...fitted, matches };
  return {
    type: 'fits',
    hold: fitted.hold,
    attempt,
    priceUnknown: call.hold === undefined,
    budgets,
    counters: balances.countersOf(budgets, run, now),
    matches,
    resumes,
  };
}

/** The hold that fits under every hard budget: as asked, counted exactly or clamped; never a shrunken one. */
function fitHold(
  parts: DecideParts,
  question: Question,
  hard: readonly BudgetMatch[],
): DecidedRefused | { readonly type: 'fits'; readonly hold: Nanos } {
  const { balances } = parts;
  const { call, run, takeover, now } = question;
  const hold = call.hold ?? 0n;
  if (hold === 0n) return { type: 'fits', hold };

  const misfits: Misfit[] = [];
  for (const match of hard) {
    const room = balances.roomUnder(match, run, now, takeover);
    if (room < hold) misfits.push({ match, room });
  }
  const tightest = leastRoom(misfits);
  if (tightest === undefined) return { type: 'fits', hold };

  const strict = misfits.filter(({ match }) => match.budget.config.on_exceed !== 'clamp');
  const fitted = tightest.room > 0n ? call.fit?.(tightest.room, strict.length === 0) : undefined;
  if (fitted !== undefined && fitted <= tightest.room) return { type: 'fits', hold: fitted };

  // Named is the one that must change: one that pauses the run, else one that doesn't clamp, else the tightest.
  const pausing = misfits.find(({ match }) => match.budget.config.action === 'pause');
  const { match } = pausing ?? leastRoom(strict) ?? tightest;
  const counter = balances.counterOf(match, run, run.workspaceId, now);
  const freed = counter !== undefined && takeover?.counters.includes(counter) === true ? takeover.hold : 0n;
  const paused = pausing !== undefined;
  const refusal = budgetRefusal({
    call,
    match,
    needed: hold,
    settled: counter?.settled ?? 0n,
    held: (counter?.held ?? 0n) - freed,
    paused,
    now,
  });
  return { type: 'refused', refusal, pause: paused, matches: [] };
}

interface Misfit {
  readonly match: BudgetMatch;
  readonly room: Nanos;
}

function leastRoom(misfits: readonly Misfit[]): Misfit | undefined {
  return misfits.reduce<Misfit | undefined>(
    (least, misfit) => (least === undefined || misfit.room < least.room ? misfit : least),
    undefined,
  );
}

function refused(refusal: Refusal, matches: readonly RuleMatch[] = []): DecidedRefused {
  return { type: 'refused', refusal, pause: false, matches };
}

/** As the caller states it; else a call identical to one that failed in the same step is its retry. */
export function attemptOf(call: CallRequest, run: RunState): number {
  const { attempt, stepId } = call.subject;
  if (attempt !== undefined) return attempt;
  const failed =
    call.fingerprint === undefined || run.failedAttempts === undefined
      ? undefined
      : run.failedAttempts.get(failureKey(stepId, call.fingerprint()));
  return failed === undefined ? 1 : failed + 1;
}

function sessionSpent(parts: DecideParts, run: RunState, sessionId: string | undefined, now: number): Nanos {
  if (sessionId === undefined) return 0n;
  const counter = parts.counters.peek(counterKey('session', run.workspaceId, sessionId, ''));
  return counter?.settled ?? parts.memory.spent('session', run.workspaceId, sessionId, 'lifetime', now);
}
