import type { Nanos } from '@runpurse/core';
import type { GatewayConfig } from '../config/config.ts';
import type { Clock, Ids } from '../gateway.ts';
import { auditsOf, decisionsOf } from '../policy/index.ts';
import type { Policy, RuleMatch } from '../policy/policy.ts';
import type { Entry } from '../store/entry.ts';
import type { Store } from '../store/store.ts';
import { createBalances, inherit } from './balances.ts';
import { createBudgetBook, counterKey } from './budget-book.ts';
import { availableUnder, createMemoryCounters, type Counters } from './counters.ts';
import { attemptOf, decide, type DecidedFits, type DecidedRefused } from './decide.ts';
import { decisionEntry, definedContext, phaseOf, reserveEntry, runEntry } from './entries.ts';
import { createRateCap } from './rate-cap.ts';
import { createReservations } from './reservations.ts';
import { createRunLedger } from './run-ledger.ts';
import { createRunLife } from './run-life.ts';
import { budgetPauseReason, createRunRegistry, newRunState, resumeRun, viewRun, type RunState } from './run-state.ts';
import { createSpendMemory } from './spend-memory.ts';
import type { Admission, CallRequest, Outcome, Reservation, Subject } from './types.ts';

export interface AdmissionParts {
  readonly config: GatewayConfig;
  readonly store: Store;
  readonly policy: Policy;
  readonly clock: Clock;
  readonly ids: Ids;
  /** Default: in this process's memory. */
  readonly counters?: Counters;
}

const SWEEP_MS = 1000;
/** A sweep looks at a part of the counters, so that it never holds up a call for long. */
const SWEPT_PART = 8;
const SWEPT_LEAST = 500;
/** `rate_limited` is logged once a second per key, so that a runaway loop can't fill the ledger with it. */
const RATE_LOG_MS = 1000;

/** Makes the admission engine over a store whose open reservations were recovered (`recoverReservations`). See README.md beside this. */
export function createAdmission(parts: AdmissionParts): Admission & { readonly close: () => void } {
  const { config, store, policy, clock, ids } = parts;
  const counters = parts.counters ?? createMemoryCounters();
  const registry = createRunRegistry(
    store,
    config.bounds.some((bound) => bound.scope === 'session'),
  );
  const book = createBudgetBook(config.budgets);
  const memory = createSpendMemory(store);
  const rate = createRateCap(config.rate.requests_per_minute);
  const balances = createBalances({ counters, book, memory });
  const ledger = createRunLedger(store);
  const heldMs = config.store.authorization_ttl_s * 1000;
  const reservations = createReservations({ clock, bounds: config.bounds, heldMs, counters, balances, memory, registry, ledger });
  const runLife = createRunLife({ clock, store, registry, ledger, book, balances, reservations });
  const deciding = { config, policy, rate, balances, counters, memory, registry };
  const rateLoggedAt = new Map<string, number>();

  book.reload(store.budgets());

  const runOf = (subject: Subject, now: number): { readonly run: RunState; readonly isNew: boolean } => {
    const known = subject.implicitRun ? undefined : registry.find(subject.workspaceId, subject.runId);
    return { run: known ?? newRunState(subject, now), isNew: known === undefined };
  };

  const matchEntries = (call: CallRequest, subject: Subject, matches: readonly RuleMatch[], now: number): Entry[] => {
    if (matches.length === 0) return [];
    return decisionsOf({ matches })
      .filter(({ outcome }) => outcome !== 'denied')
      .map(({ match, outcome }) =>
        decisionEntry(
          ids.next('dec'),
          {
            subject,
            phase: phaseOf(call),
            outcome,
            reason: match.reason,
            rule: match.rule,
            ruleRevision: match.revision,
            about: call.name,
          },
          now,
        ),
      );
  };

  const logRefusal = (call: CallRequest, run: RunState, isNew: boolean, decided: DecidedRefused, now: number): void => {
    const { refusal } = decided;
    const { subject } = call;
    if (refusal.code === 'rate_limited' && call.leavesEvent !== true) {
      if (now - (rateLoggedAt.get(subject.keyId) ?? 0) < RATE_LOG_MS) return;
      rateLoggedAt.set(subject.keyId, now);
    }
    const revision = refusal.details?.['rule_revision'];
    const entries: Entry[] = [
      ...matchEntries(call, subject, decided.matches, now),
      decisionEntry(
        ids.next('dec'),
        {
          subject,
          phase: phaseOf(call),
          outcome: 'denied',
          code: refusal.code,
          reason: refusal.message,
          rule: refusal.blockedBy,
          ruleRevision: typeof revision === 'string' ? revision : undefined,
          about: call.name,
        },
        now,
      ),
    ];
    if (subject.implicitRun) {
      store.appendBehind(entries);
      return;
    }
    if (isNew) registry.add(run);
    const contradicts = run.sessionId !== undefined && run.sessionId !== subject.sessionId;
    runLife.adopt(run, contradicts ? { ...subject, sessionId: undefined } : subject, now);
    if (decided.pause && run.status === 'running') {
      run.status = 'paused';
      run.statusReason = budgetPauseReason(refusal.blockedBy ?? 'of this run');
      run.pausedByBudget = true;
      entries.push(runEntry(run, 'pause', now, { reason: run.statusReason }));
    }
    ledger.appendBehind(run, entries, now);
  };

  /** Holds a call that is made whatever is said to it; `price` is what a crash charges it, undefined without a known price. */
  const takeOn = async (
    call: CallRequest,
    unasked: 'over' | 'under_way',
    price: Nanos | undefined,
    told?: Outcome,
  ): Promise<Reservation> => {
    const now = clock.now();
    const { subject } = call;
    const { run, isNew } = runOf(subject, now);
    if (isNew) registry.add(run);
    const contradicts = run.sessionId !== undefined && run.sessionId !== subject.sessionId;
    runLife.adopt(run, contradicts ? { ...subject, sessionId: undefined } : subject, now);
    const budgets = book.match(inherit(subject, run), run.limit, now);
    const decided: DecidedFits = {
      type: 'fits',
      hold: call.hold ?? 0n,
      attempt: attemptOf(call, run),
      priceUnknown: price === undefined,
      budgets,
      counters: balances.countersOf(budgets, run, now),
      matches: [],
      resumes: false,
      unasked,
    };
    const reservation = reservations.hold(call, run, decided, now);
    if (told !== undefined) reservations.expireSoon(reservation, told);
    try {
      await ledger.append(run, [reserveEntry({ ...reservation, hold: price ?? 0n })], now);
    } catch (fault) {
      reservations.undo(reservation);
      throw fault;
    }
    return reservation;
  };

  const sweep = (): void => {
    const now = clock.now();
    const idleMs = config.store.idle_run_s * 1000;
    reservations.expire(now);
    memory.trim(store.foldedSeq);
    registry.evict({
      now,
      idleMs,
      foldedSeq: store.foldedSeq,
      onEvict: (run) => counters.drop(counterKey('run', run.workspaceId, run.runId, '')),
    });
    counters.evict(now - idleMs, store.foldedSeq, Math.max(SWEPT_LEAST, Math.ceil(counters.size / SWEPT_PART)));
    rate.sweep(now);
    for (const [keyId, at] of rateLoggedAt) if (at < now - 60_000) rateLoggedAt.delete(keyId);
  };
  const timer = setInterval(sweep, SWEEP_MS);
  timer.unref();

  return {
    async admit(call) {
      const now = clock.now();
      const { subject } = call;
      const { run, isNew } = runOf(subject, now);
      const takeover = reservations.takeoverOf(call, run);
      const decided = decide(deciding, { call, run, takeover, now, isDry: false });
      if (decided.type === 'refused') {
        logRefusal(call, run, isNew, decided, now);
        return { type: 'refused', refusal: decided.refusal };
      }
      if (takeover !== undefined) reservations.settle(takeover.id, { status: 'released', cost: 0n });
      if (isNew) registry.add(run);
      runLife.adopt(run, subject, now);
      const reservation = reservations.hold(call, run, decided, now);
      const entries = matchEntries(call, reservation.subject, decided.matches, now);
      entries.push(reserveEntry(reservation));
      if (decided.resumes) {
        resumeRun(run);
        entries.unshift(runEntry(run, 'resume', now, { reason: 'the budget has room again' }));
      }
      try {
        await ledger.append(run, entries, now);
      } catch (fault) {
        reservations.undo(reservation);
        throw fault;
      }
      return { type: 'admitted', reservation, audits: auditsOf(decided) };
    },

    check(call) {
      const now = clock.now();
      const { run } = runOf(call.subject, now);
      const decided = decide(deciding, { call, run, takeover: reservations.takeoverOf(call, run), now, isDry: true });
      if (decided.type === 'refused') return { type: 'refused', refusal: decided.refusal };
      const { kind, name, provider, source, id } = call;
      const reservation: Reservation = {
        id,
        kind,
        name,
        provider,
        source,
        subject: inherit(call.subject, run),
        attempt: decided.attempt,
        at: now,
        hold: decided.hold,
        priceUnknown: decided.priceUnknown,
      };
      return { type: 'admitted', reservation, audits: auditsOf(decided) };
    },

    async charge(call, outcome) {
      // Written as a hold of what it cost: a crash before the settlement then charges that, and not nothing.
      const reservation = await takeOn({ ...call, hold: 0n }, 'over', outcome.cost);
      reservations.settle(reservation.id, outcome);
      return reservation.id;
    },

    takeOn: (call, told) => takeOn(call, told === undefined ? 'under_way' : 'over', call.hold, told),
    expireSoon(id) {
      const reservation = reservations.open.get(id);
      if (reservation !== undefined) reservations.expireSoon(reservation);
    },

    settle: (id, outcome) => reservations.settle(id, outcome),
    reservation: (id) => reservations.open.get(id),
    findOpen(workspaceId, runId, kind, key, attempt) {
      const ids = registry.find(workspaceId, runId)?.openByCall?.get(`${kind}:${key}`) ?? [];
      const open = ids.flatMap((id) => reservations.open.get(id) ?? []);
      const stated = attempt === undefined ? undefined : open.findLast((one) => one.attempt === attempt);
      // Which attempt it is may have been the gateway's finding.
      return stated ?? open.findLast(({ subject }) => attempt === undefined || subject.attempt === undefined);
    },
    carried(workspaceId, runId, by) {
      const run = registry.find(workspaceId, runId);
      if (by.requestId !== undefined && run?.carriedRequests.has(by.requestId) === true) return by.requestId;
      return by.stepId === undefined ? undefined : run?.carriedSteps?.get(by.stepId);
    },
    toolCallKnown: (workspaceId, runId, toolCallId) => registry.find(workspaceId, runId)?.toolCalls?.has(toolCallId) ?? false,

    startRun: runLife.startRun,
    endRun: runLife.endRun,
    controlRun: runLife.controlRun,
    bookFinance: runLife.bookFinance,
    noteStep(workspaceId, runId, stepId) {
      const run = registry.find(workspaceId, runId);
      if (run !== undefined)
        reservations.noteStep(
          run,
          { workspaceId, keyId: run.keyId, runId, implicitRun: run.implicit, sessionId: run.sessionId, stepId },
          clock.now(),
        );
    },
    run(workspaceId, runId) {
      const run = registry.find(workspaceId, runId);
      return run === undefined ? undefined : viewRun(run);
    },

    budgetStates(subject) {
      const now = clock.now();
      const run = subject.runId === undefined ? undefined : registry.find(subject.workspaceId, subject.runId);
      const effective = run === undefined ? subject : { ...subject, ...definedContext(run), ...definedContext(subject) };
      return book
        .match(effective, run?.limit, now)
        .filter((match) => match.counterKey !== undefined)
        .map((match) => balances.stateOf(match, run, subject.workspaceId, now));
    },
    standing(reservation) {
      const { subject, run } = reservation as Pick<Reservation, 'subject'> & { readonly run?: RunState };
      return balances.standing(subject, run ?? registry.find(subject.workspaceId, subject.runId), clock.now());
    },
    budgets: () => book.all(),
    reloadBudgets() {
      if (!book.reload(store.budgets())) return;
      const now = clock.now();
      balances.rebuild(reservations.open.values());
      for (const run of registry.values()) {
        if (run.status !== 'paused' || !run.pausedByBudget) continue;
        const subject: Subject = {
          workspaceId: run.workspaceId,
          keyId: run.keyId,
          runId: run.runId,
          implicitRun: false,
          ...definedContext(run),
        };
        const isStuck = book.match(subject, run.limit, now).some((match) => {
          const counter = match.budget.config.action === 'pause' ? balances.counterOf(match, run, run.workspaceId, now) : undefined;
          return counter !== undefined && availableUnder({ counter, limit: match.limit }) <= 0n;
        });
        if (isStuck) continue;
        resumeRun(run);
        ledger.appendBehind(run, [runEntry(run, 'resume', now, { reason: 'the budget was raised' })], now);
      }
    },
    logDecision(decision) {
      const now = clock.now();
      const { subject } = decision;
      const run =
        subject.runId === undefined || subject.implicitRun === true ? undefined : registry.find(subject.workspaceId, subject.runId);
      const entry = decisionEntry(ids.next('dec'), decision, now);
      if (run === undefined) store.appendBehind([entry]);
      else ledger.appendBehind(run, [entry], now);
    },
    sweep,
    get openCount() {
      return reservations.open.size;
    },
    close() {
      clearInterval(timer);
    },
  };
}
