import { formatUsd, type Nanos, type Refusal } from '@runpurse/core';
import type { GatewayConfig } from '../config/config.ts';
import type { Clock, Ids } from '../gateway.ts';
import type { Policy, RuleMatch } from '../policy/policy.ts';
import type { ContextFields, DecisionEntry, Entry, ReserveEntry, RunEntry, SettleEntry, ThresholdEntry } from '../store/entry.ts';
import type { Store } from '../store/store.ts';
import { createBudgetBook, counterKey, type BudgetMatch } from './budget-book.ts';
import { findBoundHit } from './bounds.ts';
import { availableUnder, createMemoryCounters, type Counter, type Counters, type Limit } from './counters.ts';
import { policyFacts } from './policy-facts.ts';
import { createRateCap } from './rate-cap.ts';
import { budgetRefusal, boundRefusal, policyRefusal, priceRefusal, rateRefusal, runStateRefusal, sessionConflict } from './refusals.ts';
import type { OpenReservation } from './reservation.ts';
import { budgetPauseReason, createRunRegistry, newRunState, rememberFailure, viewRun, type RunState } from './run-state.ts';
import { createSpendMemory } from './spend-memory.ts';
import type { Admission, AdmissionResult, BudgetState, CallRequest, LoggedDecision, Outcome, Reservation, Settled, Standing, Subject } from './types.ts';
import { budgetName } from './budget-book.ts';

export interface AdmissionParts {
  readonly config: GatewayConfig;
  readonly store: Store;
  readonly policy: Policy;
  readonly clock: Clock;
  readonly ids: Ids;
  readonly counters?: Counters;
}

const SWEEP_MS = 1000;
/** The refusal `rate_limited` is logged once a second per key, so that a runaway loop can't fill the ledger with it. */
const RATE_LOG_MS = 1000;

/** What `decide` found: a refusal, or how to hold the call. Nothing is changed yet. */
type Decided =
  | { readonly type: 'refused'; readonly refusal: Refusal; readonly pause: boolean; readonly matches: readonly RuleMatch[] }
  | {
      readonly type: 'fits';
      readonly hold: Nanos;
      readonly attempt: number;
      readonly priceUnknown: boolean;
      readonly budgets: readonly BudgetMatch[];
      readonly counters: Counter[];
      readonly matches: readonly RuleMatch[];
      readonly resumes: boolean;
    };

/** Makes the admission engine over a store: recovers what a crash left open, then decides. See README.md beside this. */
export function createAdmission(parts: AdmissionParts): Admission & { readonly close: () => void } {
  const { config, store, policy, clock, ids } = parts;
  const counters = parts.counters ?? createMemoryCounters();
  const registry = createRunRegistry(store);
  const book = createBudgetBook(config.budgets);
  const memory = createSpendMemory(store);
  const rate = createRateCap(config.rate.requests_per_minute);
  const rateLoggedAt = new Map<string, number>();
  /** Every open reservation, oldest first. */
  const open = new Map<string, OpenReservation>();
  book.reload(store.budgets());
  const usesSessions = config.bounds.some((bound) => bound.scope === 'session');

  // --- counters ---------------------------------------------------------------------------------------------------

  const counterOf = (match: BudgetMatch, run: RunState | undefined, workspaceId: string, now: number): Counter | undefined => {
    if (match.counterKey === undefined) return undefined;
    const { scope, window } = match.budget.config;
    return counters.get(match.counterKey, () => {
      if (scope === 'request') return 0n;
      if (scope === 'run' && window === 'lifetime' && run !== undefined) return run.spent;
      return memory.spent(scope, workspaceId, match.scopeId, window, now);
    });
  };

  const stateOf = (match: BudgetMatch, counter: { settled: Nanos; held: Nanos; overage: Nanos }): BudgetState => {
    const remaining = match.limit - counter.settled - counter.held;
    const above = counter.settled > match.limit ? counter.settled - match.limit : 0n;
    return {
      budget: match.budget,
      scopeId: match.scopeId,
      limit: match.limit,
      settled: counter.settled,
      held: counter.held,
      overage: counter.overage > above ? counter.overage : above,
      remaining: remaining > 0n ? remaining : 0n,
      state: remaining <= 0n ? 'exceeded' : highestThreshold(match, counter.settled),
    };
  };

  // --- runs -------------------------------------------------------------------------------------------------------

  /** The subject with what the run already knows filled in. */
  const inherit = (subject: Subject, run: RunState): Subject => ({
    ...subject,
    sessionId: subject.sessionId ?? run.sessionId,
    workflowId: subject.workflowId ?? run.workflowId,
    agentId: subject.agentId ?? run.agentId,
    customerId: subject.customerId ?? run.customerId,
    memberId: subject.memberId ?? run.memberId,
  });

  /** First stated attribution stays with the run. A session named late takes over what the run has spent and holds. */
  const adopt = (run: RunState, subject: Subject, now: number): void => {
    run.lastUsedAt = now;
    run.workflowId ??= subject.workflowId;
    run.agentId ??= subject.agentId;
    run.customerId ??= subject.customerId;
    run.memberId ??= subject.memberId;
    if (run.sessionId !== undefined || subject.sessionId === undefined) return;
    run.sessionId = subject.sessionId;
    if (run.spent === 0n && run.open.size === 0) return;
    for (const reservation of run.open.values()) placeHold(reservation);
    for (const match of book.match(inherit(subject, run), run.limit, now)) {
      const { scope, window } = match.budget.config;
      const counter = scope === 'session' && window === 'lifetime' ? counterOf(match, run, run.workspaceId, now) : undefined;
      if (counter === undefined) continue;
      counter.settled += run.spent;
      counter.lastSeq = store.lastSeq;
      break;
    }
  };

  /** Puts an open reservation's hold on every counter that counts it and lacks it. */
  const placeHold = (reservation: OpenReservation): void => {
    const { run } = reservation;
    const matches = book.match(inherit(reservation.subject, run), run.limit, reservation.at);
    for (const match of matches) {
      const counter = counterOf(match, run, run.workspaceId, reservation.at);
      if (counter === undefined || reservation.counters.includes(counter)) continue;
      counter.held += reservation.hold;
      counter.openHolds += 1;
      reservation.counters.push(counter);
    }
    reservation.matches = matches;
  };

  const startEntry = (run: RunState, now: number): RunEntry => ({
    type: 'run',
    at: now,
    op: 'start',
    status: 'running',
    workspaceId: run.workspaceId,
    keyId: run.keyId,
    runId: run.runId,
    ...definedContext(run),
    ...(run.implicit ? { implicitRun: true as const } : {}),
    ...(run.limit === undefined ? {} : { limit: run.limit.toString() }),
    ...(Object.keys(run.bounds).length === 0 ? {} : { bounds: { ...run.bounds } }),
  });

  const runEntry = (run: RunState, op: RunEntry['op'], more: Partial<RunEntry> = {}): RunEntry => ({
    type: 'run',
    at: clock.now(),
    op,
    status: run.status,
    workspaceId: run.workspaceId,
    keyId: run.keyId,
    runId: run.runId,
    ...more,
  });

  /** Entries that must be in the ledger before anything else of a run is. */
  const introduce = (run: RunState, now: number): RunEntry[] => (run.startDurable ? [] : [startEntry(run, now)]);

  const appendFor = async (run: RunState, entries: readonly Entry[], now: number): Promise<void> => {
    const all = [...introduce(run, now), ...entries];
    const appended = store.append(all);
    run.lastSeq = store.lastSeq;
    await appended;
    run.startDurable = true;
  };

  /** Returns the sequence number of the first of `entries`. */
  const appendBehindFor = (run: RunState, entries: readonly Entry[], now: number): number => {
    store.appendBehind([...introduce(run, now), ...entries]);
    run.startDurable = true;
    run.lastSeq = store.lastSeq;
    return store.lastSeq - entries.length + 1;
  };

  const sessionOf = (run: RunState, subject: Subject, now: number) =>
    usesSessions && subject.sessionId !== undefined ? registry.session(run.workspaceId, subject.sessionId, now) : undefined;

  // --- deciding ---------------------------------------------------------------------------------------------------

  const attemptOf = (call: CallRequest, run: RunState): number => {
    const { attempt, stepId } = call.subject;
    if (attempt !== undefined) return attempt;
    if (call.fingerprint === undefined) return 1;
    const failed = run.failedAttempts.get(failureKey(stepId, call.fingerprint));
    return failed === undefined ? 1 : failed + 1;
  };

  const decide = (call: CallRequest, run: RunState, takeover: OpenReservation | undefined, now: number, dry: boolean): Decided => {
    const { subject } = call;
    const refuse = (refusal: Refusal, matches: readonly RuleMatch[] = [], pause = false): Decided => ({ type: 'refused', refusal, pause, matches });

    if (run.sessionId !== undefined && subject.sessionId !== undefined && run.sessionId !== subject.sessionId) {
      return refuse(sessionConflict(run, subject.sessionId));
    }
    const resumes = run.status === 'paused' && run.pausedByBudget;
    if (run.status !== 'running' && !resumes) return refuse(runStateRefusal(run));

    if (!dry) {
      const wait = rate.take(subject.keyId, now);
      if (wait !== undefined) return refuse(rateRefusal(subject.keyId, config.rate.requests_per_minute, wait));
    }

    const effective = inherit(subject, run);
    const attempt = attemptOf(call, run);
    const budgets = book.match(effective, run.limit, now);

    const phase = call.kind === 'model' ? 'model_request' : 'tool_call';
    let matches: readonly RuleMatch[] = [];
    if (policy.hasRules(phase)) {
      const sessionSpent =
        effective.sessionId === undefined
          ? 0n
          : (counters.peek(counterKey('session', run.workspaceId, effective.sessionId, ''))?.settled ??
            memory.spent('session', run.workspaceId, effective.sessionId, 'lifetime', now));
      const verdict = policy.evaluate(phase, policyFacts({ call, subject: effective, run, attempt, sessionSpent, now }));
      matches = verdict.matches;
      if (verdict.type === 'denied') return refuse(policyRefusal(call, verdict.by), matches);
    }

    const hit = findBoundHit({
      configured: config.bounds,
      call,
      attempt,
      run,
      session: sessionOf(run, effective, now),
      sessionId: effective.sessionId,
      now,
    });
    if (hit !== undefined) return refuse(boundRefusal(call, hit), matches);

    const hard = budgets.filter((match) => match.budget.config.action !== 'alert_only');
    const firstHard = hard[0];
    if (call.hold === undefined && firstHard !== undefined && call.kind === 'model') return refuse(priceRefusal(call, budgetName(firstHard.budget)), matches);

    const held: Counter[] = [];
    for (const match of budgets) {
      const counter = counterOf(match, run, run.workspaceId, now);
      if (counter !== undefined && !held.includes(counter)) held.push(counter);
    }

    let hold = call.hold ?? 0n;
    if (hold > 0n) {
      // What the taken-over hold occupies is free for this call.
      const freed = (counter: Counter | undefined): Nanos => (takeover !== undefined && counter !== undefined && takeover.counters.includes(counter) ? takeover.hold : 0n);
      const roomUnder = (match: BudgetMatch): Nanos => {
        const counter = counterOf(match, run, run.workspaceId, now);
        return counter === undefined ? match.limit : availableUnder({ counter, limit: match.limit }) + freed(counter);
      };
      let tightest: BudgetMatch | undefined;
      let room = hold;
      let mayClamp = true;
      for (const match of hard) {
        const left = roomUnder(match);
        if (left >= hold) continue;
        if (match.budget.config.on_exceed !== 'clamp') mayClamp = false;
        if (tightest === undefined || left < room) {
          room = left;
          tightest = match;
        }
      }
      if (tightest !== undefined) {
        const fitted = room > 0n ? call.fit?.(room, mayClamp) : undefined;
        if (fitted === undefined || fitted > room) {
          const counter = counterOf(tightest, run, run.workspaceId, now);
          const pause = hard.some((match) => match.budget.config.action === 'pause' && roomUnder(match) < hold);
          return refuse(
            budgetRefusal({
              call,
              match: tightest,
              needed: hold,
              settled: counter?.settled ?? 0n,
              held: (counter?.held ?? 0n) - freed(counter),
              paused: pause,
              now,
            }),
            matches,
            pause,
          );
        }
        hold = fitted;
      }
    }
    return { type: 'fits', hold, attempt, priceUnknown: call.hold === undefined, budgets, counters: held, matches, resumes };
  };

  // --- logging ----------------------------------------------------------------------------------------------------

  const decisionEntry = (decision: LoggedDecision, now: number): DecisionEntry => {
    const { subject } = decision;
    return {
      type: 'decision',
      at: now,
      id: ids.next('dec'),
      workspaceId: subject.workspaceId,
      keyId: subject.keyId,
      ...(subject.runId === undefined || subject.implicitRun === true ? {} : { runId: subject.runId }),
      ...definedContext(subject),
      phase: decision.phase,
      outcome: decision.outcome,
      ...(decision.code === undefined ? {} : { code: decision.code }),
      reason: decision.reason,
      ...(decision.rule === undefined ? {} : { rule: decision.rule }),
      ...(decision.ruleRevision === undefined ? {} : { ruleRevision: decision.ruleRevision }),
      ...(decision.about === undefined ? {} : { subject: decision.about }),
    };
  };

  const matchEntries = (call: CallRequest, subject: Subject, matches: readonly RuleMatch[], now: number): DecisionEntry[] =>
    matches
      .filter((match) => match.effect !== 'block')
      .map((match) =>
        decisionEntry(
          {
            subject,
            phase: call.kind === 'model' ? 'model_request' : 'tool_call',
            outcome: OUTCOME_OF_EFFECT[match.effect],
            reason: match.reason,
            rule: match.rule,
            ruleRevision: match.revision,
            about: call.name,
          },
          now,
        ),
      );

  const logRefusal = (call: CallRequest, run: RunState, isNew: boolean, decided: Decided & { type: 'refused' }, now: number): void => {
    const { refusal } = decided;
    if (refusal.code === 'rate_limited') {
      const last = rateLoggedAt.get(call.subject.keyId) ?? 0;
      if (now - last < RATE_LOG_MS) return;
      rateLoggedAt.set(call.subject.keyId, now);
    }
    const revision = refusal.details?.['rule_revision'];
    const denial = decisionEntry(
      {
        subject: call.subject,
        phase: call.kind === 'model' ? 'model_request' : 'tool_call',
        outcome: 'denied',
        code: refusal.code,
        reason: refusal.message,
        rule: refusal.blockedBy,
        ruleRevision: typeof revision === 'string' ? revision : undefined,
        about: call.name,
      },
      now,
    );
    const entries: Entry[] = [...matchEntries(call, call.subject, decided.matches, now), denial];
    if (call.subject.implicitRun) {
      store.appendBehind(entries);
      return;
    }
    if (isNew) registry.add(run);
    adopt(run, run.sessionId === undefined || run.sessionId === call.subject.sessionId ? call.subject : { ...call.subject, sessionId: undefined }, now);
    if (decided.pause && run.status === 'running') {
      run.status = 'paused';
      run.statusReason = budgetPauseReason(refusal.blockedBy ?? 'of this run');
      run.pausedByBudget = true;
      entries.push(runEntry(run, 'pause', { reason: run.statusReason }));
    }
    appendBehindFor(run, entries, now);
  };

  // --- holding and ending -----------------------------------------------------------------------------------------

  const hold = (call: CallRequest, run: RunState, decided: Decided & { type: 'fits' }, now: number): OpenReservation => {
    const subject = inherit(call.subject, run);
    const limits: Limit[] = [];
    for (const match of decided.budgets) {
      const counter = match.budget.config.action === 'alert_only' ? undefined : counterOf(match, run, run.workspaceId, now);
      if (counter !== undefined) limits.push({ counter, limit: match.limit });
    }
    const blocked = counters.reserve(decided.counters, limits, decided.hold, now);
    if (blocked !== undefined) throw new Error(`hold of ${formatUsd(decided.hold)} no longer fits ${blocked.counter.key}: decide and reserve must share one turn`);

    const callKey = callKeyOf(call);
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
      awaited: callKey !== undefined || call.kind === 'tool',
      callKey,
    };
    open.set(call.id, reservation);
    run.open.set(call.id, reservation);
    if (callKey !== undefined) run.openByCall.set(callKey, call.id);
    if (call.kind === 'tool') {
      if (subject.toolCallId !== undefined) run.toolCalls.add(subject.toolCallId);
    } else if (call.source === 'gateway') {
      run.carriedRequests.add(call.id);
      if (subject.stepId !== undefined) run.carriedSteps.set(subject.stepId, call.id);
    }
    count(reservation, 1);
    if (call.fingerprint !== undefined && decided.attempt === 1) {
      run.repeats = run.lastFingerprint === call.fingerprint ? run.repeats + 1 : 1;
      run.lastFingerprint = call.fingerprint;
    }
    noteStepOf(run, subject, now);
    return reservation;
  };

  const noteStepOf = (run: RunState, subject: Subject, now: number): void => {
    if (subject.stepId === undefined || run.steps.has(subject.stepId)) return;
    run.steps.add(subject.stepId);
    const session = sessionOf(run, subject, now);
    if (session !== undefined) session.stepsCount += 1;
  };

  /** Counts a call in (or, when it was never made, out again) for run and session. */
  const count = (reservation: OpenReservation, by: 1 | -1): void => {
    const { run, subject } = reservation;
    const session = sessionOf(run, subject, reservation.at);
    for (const counts of session === undefined ? [run.counts] : [run.counts, session.counts]) {
      if (reservation.kind === 'model') counts.requests += by;
      else counts.toolCalls += by;
      if (reservation.attempt > 1) counts.retries += by;
    }
    if (session !== undefined) session.lastSeq = store.lastSeq;
  };

  const reserveEntry = (reservation: OpenReservation): ReserveEntry => {
    const { subject } = reservation;
    const note = noteOf(subject);
    return {
      type: 'reserve',
      at: reservation.at,
      id: reservation.id,
      kind: reservation.kind,
      name: reservation.name,
      ...(reservation.provider === undefined ? {} : { provider: reservation.provider }),
      attempt: reservation.attempt,
      source: reservation.source,
      hold: reservation.hold.toString(),
      workspaceId: subject.workspaceId,
      keyId: subject.keyId,
      runId: subject.runId,
      ...definedContext(subject),
      ...(subject.implicitRun ? { implicitRun: true as const } : {}),
      ...(note === undefined ? {} : { note }),
    };
  };

  /** Takes an open reservation out of every index. */
  const remove = (reservation: OpenReservation): void => {
    open.delete(reservation.id);
    reservation.run.open.delete(reservation.id);
    if (reservation.callKey !== undefined && reservation.run.openByCall.get(reservation.callKey) === reservation.id) {
      reservation.run.openByCall.delete(reservation.callKey);
    }
  };

  /** As if the call had never asked: its intent could not be written. */
  const undo = (reservation: OpenReservation): void => {
    remove(reservation);
    counters.settle(reservation.counters, reservation.hold, 0n, clock.now(), 0);
    count(reservation, -1);
    const { run, subject } = reservation;
    if (subject.toolCallId !== undefined && reservation.kind === 'tool') run.toolCalls.delete(subject.toolCallId);
    run.carriedRequests.delete(reservation.id);
    if (subject.stepId !== undefined && run.carriedSteps.get(subject.stepId) === reservation.id) run.carriedSteps.delete(subject.stepId);
  };

  const thresholdEntries = (reservation: OpenReservation, charged: Nanos, now: number): ThresholdEntry[] => {
    const entries: ThresholdEntry[] = [];
    if (charged <= 0n) return entries;
    for (const match of reservation.matches) {
      const counter = match.counterKey === undefined ? undefined : counters.peek(match.counterKey);
      if (counter === undefined || match.limit <= 0n) continue;
      const before = counter.settled - charged;
      for (const percent of match.budget.config.thresholds) {
        const mark = match.limit * BigInt(percent);
        if (before * 100n >= mark || counter.settled * 100n < mark) continue;
        entries.push({
          type: 'threshold',
          at: now,
          workspaceId: reservation.subject.workspaceId,
          runId: reservation.subject.runId,
          budgetId: match.budget.budgetId,
          scope: match.budget.config.scope,
          scopeId: match.scopeId,
          window: match.budget.config.window,
          percent,
          limit: match.limit.toString(),
          spent: counter.settled.toString(),
        });
      }
    }
    return entries;
  };

  const settleOpen = (reservation: OpenReservation, outcome: Outcome): Settled => {
    const now = clock.now();
    const { run, subject } = reservation;
    remove(reservation);
    const isReleased = outcome.status === 'released';
    // Nobody knows the cost: the worst case is charged; without a price it stays unknown.
    const unconfirmed = !isReleased && outcome.cost === undefined && !reservation.priceUnknown;
    const charged = isReleased ? 0n : (outcome.cost ?? (unconfirmed ? reservation.hold : undefined));
    const booked = charged ?? 0n;

    const settle: SettleEntry = {
      type: 'settle',
      at: now,
      id: reservation.id,
      workspaceId: subject.workspaceId,
      runId: subject.runId,
      status: outcome.status,
      cost: charged === undefined ? null : charged.toString(),
      ...(outcome.model === undefined || outcome.model === reservation.name ? {} : { model: outcome.model }),
      ...(outcome.usage === undefined ? {} : { usage: outcome.usage }),
      ...(outcome.price === undefined ? {} : { price: outcome.price }),
      ...(unconfirmed || outcome.unconfirmed === true ? { unconfirmed: true as const } : {}),
      ...(outcome.error === undefined ? {} : { error: outcome.error }),
    };
    run.spent += booked;
    run.lastUsedAt = now;
    counters.settle(reservation.counters, reservation.hold, booked, now, Number.MAX_SAFE_INTEGER);
    const entries: Entry[] = [settle, ...thresholdEntries(reservation, booked, now)];
    if (isReleased) count(reservation, -1);
    if (outcome.status === 'failed' && reservation.fingerprint !== undefined) {
      rememberFailure(run, failureKey(reservation.subject.stepId, reservation.fingerprint), reservation.attempt);
    }
    if (run.implicit && run.status === 'running') {
      run.status = outcome.status === 'completed' ? 'completed' : 'failed';
      entries.push(runEntry(run, 'end', outcome.error === undefined ? {} : { reason: outcome.error }));
    }
    const seq = appendBehindFor(run, entries, now);
    for (const counter of reservation.counters) counter.lastSeq = seq;
    memory.note({ seq, at: reservation.at, charged: booked, workspaceId: subject.workspaceId, ids: scopeIds(subject) });
    return { charged, overage: booked > reservation.hold ? booked - reservation.hold : 0n };
  };

  // --- sweeping ---------------------------------------------------------------------------------------------------

  const sweep = (): void => {
    const now = clock.now();
    for (const reservation of open.values()) {
      if (reservation.at > now - config.store.authorization_ttl_s * 1000) break;
      if (reservation.awaited) settleOpen(reservation, { status: 'aborted', cost: undefined, error: 'authorized, but its end was never reported' });
    }
    const foldedSeq = store.foldedSeq;
    memory.trim(foldedSeq);
    const idleMs = config.store.idle_run_s * 1000;
    registry.evict({ now, idleMs, foldedSeq, onEvict: (run) => counters.drop(counterKey('run', run.workspaceId, run.runId, '')) });
    counters.evict(now - idleMs, foldedSeq, 20_000);
    rate.sweep(now);
    for (const [keyId, at] of rateLoggedAt) if (at < now - 60_000) rateLoggedAt.delete(keyId);
  };
  const timer = setInterval(sweep, SWEEP_MS);
  timer.unref();

  // --- recovery ---------------------------------------------------------------------------------------------------

  for (const lost of store.openReservations()) {
    const charged = BigInt(lost.hold);
    const now = clock.now();
    const settle: SettleEntry = {
      type: 'settle',
      at: now,
      id: lost.id,
      workspaceId: lost.workspaceId,
      runId: lost.runId,
      status: 'aborted',
      cost: lost.hold,
      unconfirmed: true,
      error: 'the gateway stopped before the answer was recorded; charged at its hold',
    };
    const entries: Entry[] = [settle];
    const seq = store.lastSeq + 1;
    if (lost.implicitRun === true) {
      entries.push({ type: 'run', at: now, op: 'end', status: 'failed', reason: settle.error, workspaceId: lost.workspaceId, keyId: lost.keyId, runId: lost.runId });
    }
    store.appendBehind(entries);
    memory.note({ seq, at: lost.at, charged, workspaceId: lost.workspaceId, ids: scopeIds(lost) });
  }

  const settleById = (id: string, outcome: Outcome): Settled | undefined => {
    const reservation = open.get(id);
    return reservation === undefined ? undefined : settleOpen(reservation, outcome);
  };

  const findRun = (subject: { workspaceId: string; runId: string }): RunState | undefined => registry.find(subject.workspaceId, subject.runId);

  const unknownRun = (runId: string): { type: 'refused'; refusal: Refusal } => ({
    type: 'refused',
    refusal: { code: 'not_found', message: `There is no run ${runId} in this workspace. Check the id and the key's workspace.`, details: { run_id: runId } },
  });

  return {
    async admit(call): Promise<AdmissionResult> {
      const now = clock.now();
      const { subject } = call;
      const found = subject.implicitRun ? undefined : findRun(subject);
      const run = found ?? newRunState(subject, now);
      const isNew = found === undefined;
      const takeover = takeoverOf(call, run);
      const decided = decide(call, run, takeover, now, false);
      if (decided.type === 'refused') {
        logRefusal(call, run, isNew, decided, now);
        return { type: 'refused', refusal: decided.refusal };
      }
      if (takeover !== undefined) settleOpen(takeover, { status: 'released', cost: 0n });
      if (isNew) registry.add(run);
      adopt(run, subject, now);
      const reservation = hold(call, run, decided, now);
      const entries: Entry[] = [];
      if (decided.resumes) {
        run.status = 'running';
        run.statusReason = undefined;
        run.pausedByBudget = false;
        entries.push(runEntry(run, 'resume', { reason: 'the budget has room again' }));
      }
      entries.push(...matchEntries(call, reservation.subject, decided.matches, now), reserveEntry(reservation));
      try {
        await appendFor(run, entries, now);
      } catch (fault) {
        undo(reservation);
        throw fault;
      }
      return { type: 'admitted', reservation, audits: decided.matches.filter((match) => match.effect === 'audit').map((match) => match.rule) };
    },

    check(call) {
      const now = clock.now();
      const run = findRun(call.subject) ?? newRunState(call.subject, now);
      const decided = decide(call, run, takeoverOf(call, run), now, true);
      if (decided.type === 'refused') return { type: 'refused', refusal: decided.refusal };
      const reservation: Reservation = {
        id: call.id,
        subject: inherit(call.subject, run),
        kind: call.kind,
        name: call.name,
        provider: call.provider,
        attempt: decided.attempt,
        source: call.source,
        at: now,
        hold: decided.hold,
        priceUnknown: decided.priceUnknown,
      };
      return { type: 'admitted', reservation, audits: [] };
    },

    settle: settleById,
    reservation: (id) => open.get(id),
    findOpen(workspaceId, runId, kind, key) {
      const id = registry.find(workspaceId, runId)?.openByCall.get(`${kind}:${key}`);
      return id === undefined ? undefined : open.get(id);
    },
    carried(workspaceId, runId, by) {
      const run = registry.find(workspaceId, runId);
      if (run === undefined) return undefined;
      if (by.requestId !== undefined && run.carriedRequests.has(by.requestId)) return by.requestId;
      return by.stepId === undefined ? undefined : run.carriedSteps.get(by.stepId);
    },
    toolCallKnown: (workspaceId, runId, toolCallId) => registry.find(workspaceId, runId)?.toolCalls.has(toolCallId) ?? false,

    async charge(call, outcome) {
      const now = clock.now();
      const { subject } = call;
      const found = subject.implicitRun ? undefined : findRun(subject);
      const run = found ?? newRunState(subject, now);
      if (found === undefined) registry.add(run);
      adopt(run, run.sessionId !== undefined && run.sessionId !== subject.sessionId ? { ...subject, sessionId: undefined } : subject, now);
      const budgets = book.match(inherit(subject, run), run.limit, now);
      const held: Counter[] = [];
      for (const match of budgets) {
        const counter = counterOf(match, run, run.workspaceId, now);
        if (counter !== undefined && !held.includes(counter)) held.push(counter);
      }
      const reservation = hold(
        { ...call, hold: 0n },
        run,
        { type: 'fits', hold: 0n, attempt: attemptOf(call, run), priceUnknown: outcome.cost === undefined, budgets, counters: held, matches: [], resumes: false },
        now,
      );
      try {
        await appendFor(run, [reserveEntry(reservation)], now);
      } catch (fault) {
        undo(reservation);
        throw fault;
      }
      settleOpen(reservation, outcome);
      return reservation.id;
    },

    async startRun({ subject, limit, bounds }) {
      const now = clock.now();
      const found = findRun(subject);
      if (found !== undefined) {
        if (subject.sessionId !== undefined && found.sessionId !== undefined && subject.sessionId !== found.sessionId) {
          return { type: 'refused', refusal: sessionConflict(found, subject.sessionId) };
        }
        if (found.status !== 'running' && found.status !== 'paused') return { type: 'refused', refusal: runStateRefusal(found) };
        if (limit !== undefined && found.limit !== undefined && limit > found.limit) {
          return {
            type: 'refused',
            refusal: {
              code: 'conflict',
              message: `Run ${found.runId} began with a cap of $${formatUsd(found.limit)}; a run's own cap can only be tightened, not raised to $${formatUsd(limit)}. To go on: start a new run, or leave the cap out and let the operator's budget decide.`,
              param: 'limit_usd',
              details: { run_id: found.runId, limit_usd: formatUsd(found.limit) },
            },
          };
        }
        const tightens = limit !== undefined && limit !== found.limit;
        const newBounds = tighten(found.bounds, bounds);
        const seesMore = found.sessionId === undefined && subject.sessionId !== undefined;
        adopt(found, subject, now);
        if (tightens || newBounds !== undefined || seesMore) {
          if (tightens) {
            found.limit = limit;
            for (const reservation of found.open.values()) placeHold(reservation);
          }
          if (newBounds !== undefined) found.bounds = newBounds;
          await appendFor(
            found,
            [
              runEntry(found, 'cap', {
                ...definedContext(found),
                ...(found.limit === undefined ? {} : { limit: found.limit.toString() }),
                ...(newBounds === undefined ? {} : { bounds: { ...newBounds } as Record<string, number> }),
              }),
            ],
            now,
          );
        } else if (!found.startDurable) {
          await appendFor(found, [], now);
        }
        return { type: 'exists', run: viewRun(found) };
      }
      const run = newRunState(subject, now);
      run.limit = limit;
      run.bounds = bounds ?? {};
      registry.add(run);
      await appendFor(run, [], now);
      return { type: 'started', run: viewRun(run) };
    },

    async endRun(subject, end) {
      const run = findRun(subject);
      if (run === undefined) return unknownRun(subject.runId);
      const isOver = run.status === 'completed' || run.status === 'failed' || run.status === 'stopped';
      if (isOver) {
        if (run.status === end.status || run.status === 'stopped') return { type: 'exists' };
        return { type: 'refused', refusal: runStateRefusal(run) };
      }
      run.status = end.status;
      run.statusReason = end.reason;
      run.pausedByBudget = false;
      await appendFor(
        run,
        [
          runEntry(run, 'end', {
            ...(end.reason === undefined ? {} : { reason: end.reason }),
            ...amountFields(end),
          }),
        ],
        clock.now(),
      );
      return { type: 'ended' };
    },

    async controlRun(subject, op, reason) {
      const run = findRun(subject);
      if (run === undefined) return unknownRun(subject.runId);
      const isOver = run.status === 'completed' || run.status === 'failed' || run.status === 'stopped';
      const status = STATUS_AFTER[op];
      if (isOver) return run.status === status ? { type: 'done', status } : { type: 'refused', refusal: runStateRefusal(run) };
      if (run.status === status && !run.pausedByBudget) return { type: 'done', status };
      run.status = status;
      run.statusReason = op === 'resume' ? undefined : (reason ?? `${op === 'stop' ? 'stopped' : 'paused'} by request`);
      run.pausedByBudget = false;
      await appendFor(run, [runEntry(run, op, run.statusReason === undefined ? {} : { reason: run.statusReason })], clock.now());
      return { type: 'done', status };
    },

    async bookFinance(subject, amounts) {
      const run = findRun(subject);
      if (run === undefined) return;
      await appendFor(run, [runEntry(run, 'finance', amountFields(amounts))], clock.now());
    },

    noteStep(workspaceId, runId, stepId) {
      const run = registry.find(workspaceId, runId);
      if (run !== undefined) noteStepOf(run, { workspaceId, keyId: run.keyId, runId, implicitRun: run.implicit, sessionId: run.sessionId, stepId }, clock.now());
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
        .map((match) => stateOf(match, counterOf(match, run, subject.workspaceId, now) ?? { settled: 0n, held: 0n, overage: 0n }));
    },

    standing(reservation): Standing {
      const run = findRun(reservation.subject);
      const standing: { runSpent: Nanos; runRemaining?: Nanos; sessionRemaining?: Nanos; state: string } = { runSpent: run?.spent ?? 0n, state: 'ok' };
      const now = clock.now();
      let worst = -1;
      for (const match of book.match(reservation.subject, run?.limit, now)) {
        const counter = counterOf(match, run, reservation.subject.workspaceId, now);
        if (counter === undefined) continue;
        const { remaining, state } = stateOf(match, counter);
        const { scope } = match.budget.config;
        const isHard = match.budget.config.action !== 'alert_only';
        if (isHard && scope === 'run' && (standing.runRemaining === undefined || remaining < standing.runRemaining)) standing.runRemaining = remaining;
        if (isHard && scope === 'session' && (standing.sessionRemaining === undefined || remaining < standing.sessionRemaining)) standing.sessionRemaining = remaining;
        const rank = state === 'exceeded' ? 101 : state === 'ok' ? 0 : Number(state);
        if (rank > worst) {
          worst = rank;
          standing.state = state;
        }
      }
      return standing;
    },

    budgets: () => book.all(),
    reloadBudgets() {
      if (!book.reload(store.budgets())) return;
      const now = clock.now();
      // Counters exist for the budgets there were: all are read anew, with the holds of the calls in flight.
      counters.clear();
      for (const reservation of open.values()) {
        reservation.counters = [];
        placeHold(reservation);
      }
      for (const run of registry.values()) {
        if (!run.pausedByBudget || run.status !== 'paused') continue;
        const subject: Subject = { workspaceId: run.workspaceId, keyId: run.keyId, runId: run.runId, implicitRun: false, ...definedContext(run) };
        const stuck = book.match(subject, run.limit, now).some((match) => {
          const counter = match.budget.config.action === 'pause' ? counterOf(match, run, run.workspaceId, now) : undefined;
          return counter !== undefined && availableUnder({ counter, limit: match.limit }) <= 0n;
        });
        if (stuck) continue;
        run.status = 'running';
        run.statusReason = undefined;
        run.pausedByBudget = false;
        appendBehindFor(run, [runEntry(run, 'resume', { reason: 'the budget was raised' })], now);
      }
    },
    logDecision(decision) {
      const now = clock.now();
      const { subject } = decision;
      const run = subject.runId === undefined || subject.implicitRun === true ? undefined : registry.find(subject.workspaceId, subject.runId);
      if (run === undefined) store.appendBehind([decisionEntry(decision, now)]);
      else appendBehindFor(run, [decisionEntry(decision, now)], now);
    },
    sweep,
    get openCount() {
      return open.size;
    },
    close() {
      clearInterval(timer);
    },
  };
}

/** A self-reported hold for the same step gives way to the call that the gateway carries. */
function takeoverOf(call: CallRequest, run: RunState): OpenReservation | undefined {
  if (call.kind !== 'model' || call.source !== 'gateway' || call.subject.stepId === undefined) return undefined;
  const id = run.openByCall.get(`model:${call.subject.stepId}`);
  return id === undefined ? undefined : run.open.get(id);
}

/** The name by which an event will settle this call, if one will. */
function callKeyOf(call: CallRequest): string | undefined {
  const { stepId, toolCallId } = call.subject;
  if (call.kind === 'tool') return toolCallId === undefined ? undefined : `tool:${toolCallId}`;
  return call.source === 'self_reported' && stepId !== undefined ? `model:${stepId}` : undefined;
}

const failureKey = (stepId: string | undefined, fingerprint: string): string => `${stepId ?? ''}\u0000${fingerprint}`;

const OUTCOME_OF_EFFECT = { allow: 'allowed', audit: 'audited', skip: 'skipped', block: 'denied' } as const;

const STATUS_AFTER = { stop: 'stopped', pause: 'paused', resume: 'running' } as const;

function highestThreshold(match: BudgetMatch, settled: Nanos): string {
  let reached = 0;
  for (const percent of match.budget.config.thresholds) {
    if (settled * 100n >= match.limit * BigInt(percent) && percent > reached) reached = percent;
  }
  return reached === 0 ? 'ok' : String(reached);
}

/** The tighter of two sets of bounds; undefined when nothing gets tighter. */
function tighten<Bounds extends Partial<Record<string, number>>>(current: Bounds, wanted: Bounds | undefined): Bounds | undefined {
  if (wanted === undefined) return undefined;
  let isTighter = false;
  const next: Record<string, number | undefined> = { ...current };
  for (const [name, limit] of Object.entries(wanted)) {
    const has = next[name];
    if (limit === undefined || (has !== undefined && has <= limit)) continue;
    next[name] = limit;
    isTighter = true;
  }
  return isTighter ? (next as Bounds) : undefined;
}

type Attributed = Partial<Pick<ContextFields, 'sessionId' | 'workflowId' | 'agentId' | 'memberId' | 'customerId' | 'stepId' | 'parentStepId' | 'toolCallId' | 'graphNode'>>;

/** The attribution fields that are set, and no others: rows stay short. */
function definedContext(from: Attributed): Attributed {
  const fields: { -readonly [Key in keyof Attributed]: Attributed[Key] } = {};
  if (from.sessionId !== undefined) fields.sessionId = from.sessionId;
  if (from.workflowId !== undefined) fields.workflowId = from.workflowId;
  if (from.agentId !== undefined) fields.agentId = from.agentId;
  if (from.memberId !== undefined) fields.memberId = from.memberId;
  if (from.customerId !== undefined) fields.customerId = from.customerId;
  if (from.stepId !== undefined) fields.stepId = from.stepId;
  if (from.parentStepId !== undefined) fields.parentStepId = from.parentStepId;
  if (from.toolCallId !== undefined) fields.toolCallId = from.toolCallId;
  if (from.graphNode !== undefined) fields.graphNode = from.graphNode;
  return fields;
}

function noteOf(subject: Subject): Readonly<Record<string, unknown>> | undefined {
  const { agentName, stepKind, iteration, properties } = subject;
  if (agentName === undefined && stepKind === undefined && iteration === undefined && properties === undefined) return undefined;
  return {
    ...(agentName === undefined ? {} : { agent_name: agentName }),
    ...(stepKind === undefined ? {} : { step_kind: stepKind }),
    ...(iteration === undefined ? {} : { iteration }),
    ...(properties === undefined ? {} : { properties }),
  };
}

function scopeIds(subject: Omit<ContextFields, 'stepId'>): Parameters<ReturnType<typeof createSpendMemory>['note']>[0]['ids'] {
  return {
    run: subject.runId,
    session: subject.sessionId,
    workflow: subject.workflowId,
    agent: subject.agentId,
    member: subject.memberId,
    customer: subject.customerId,
    workspace: subject.workspaceId,
    key: subject.keyId,
  };
}

function amountFields(amounts: { revenue?: Nanos | undefined; outbound?: Nanos | undefined; fees?: Nanos | undefined }): Partial<RunEntry> {
  return {
    ...(amounts.revenue === undefined ? {} : { revenue: amounts.revenue.toString() }),
    ...(amounts.outbound === undefined ? {} : { outbound: amounts.outbound.toString() }),
    ...(amounts.fees === undefined ? {} : { fees: amounts.fees.toString() }),
  };
}

