import { formatUsd, type Refusal } from '@runpurse/core';
import { BOUND_NAMES } from '../config/config.ts';
import type { Clock } from '../gateway.ts';
import type { Store } from '../store/store.ts';
import { inherit, type Balances } from './balances.ts';
import type { BudgetBook } from './budget-book.ts';
import { amountFields, capEntry, runEntry } from './entries.ts';
import { runStateRefusal, sessionConflict, unknownRunRefusal } from './refusals.ts';
import type { Reservations } from './reservations.ts';
import type { RunLedger } from './run-ledger.ts';
import { isOver, newRunState, viewRun, type RunRegistry, type RunState } from './run-state.ts';
import type { Admission, RunBounds, Subject } from './types.ts';

export interface RunLifeParts {
  readonly clock: Clock;
  readonly store: Pick<Store, 'lastSeq'>;
  readonly registry: RunRegistry;
  readonly ledger: RunLedger;
  readonly book: BudgetBook;
  readonly balances: Balances;
  readonly reservations: Pick<Reservations, 'openOf' | 'expireSoon'>;
}

/** How runs begin, end, stop, pause and go on. */
export interface RunLife extends Pick<Admission, 'startRun' | 'endRun' | 'controlRun' | 'bookFinance'> {
  /** First stated attribution stays with the run. A session named late takes over what the run has spent and holds. */
  adopt(run: RunState, subject: Subject, now: number): void;
}

const STATUS_AFTER = { stop: 'stopped', pause: 'paused', resume: 'running' } as const;

export function createRunLife(parts: RunLifeParts): RunLife {
  const { clock, store, registry, ledger, book, balances } = parts;
  const { openOf, expireSoon } = parts.reservations;
  const find = (subject: { readonly workspaceId: string; readonly runId: string }): RunState | undefined =>
    registry.find(subject.workspaceId, subject.runId);
  const refused = (refusal: Refusal): { readonly type: 'refused'; readonly refusal: Refusal } => ({ type: 'refused', refusal });

  const adopt: RunLife['adopt'] = (run, subject, now) => {
    run.lastUsedAt = now;
    run.workflowId ??= subject.workflowId;
    run.agentId ??= subject.agentId;
    run.customerId ??= subject.customerId;
    run.memberId ??= subject.memberId;
    if (run.sessionId !== undefined || subject.sessionId === undefined) return;
    run.sessionId = subject.sessionId;
    if (run.spent === 0n && run.openCount === 0) return;
    for (const reservation of openOf(run)) balances.placeHold(reservation);
    for (const match of book.match(inherit(subject, run), run.limit, now)) {
      const { scope, window } = match.budget.config;
      const counter = scope === 'session' && window === 'lifetime' ? balances.counterOf(match, run, run.workspaceId, now) : undefined;
      if (counter === undefined) continue;
      counter.settled += run.spent;
      counter.lastSeq = store.lastSeq;
      break;
    }
  };

  /** A run that exists is started again: the same is a no-op, more is added, tighter caps are taken, looser refused. */
  const restart = async (
    run: RunState,
    { subject, limit, bounds }: Parameters<Admission['startRun']>[0],
    now: number,
  ): ReturnType<Admission['startRun']> => {
    if (subject.sessionId !== undefined && run.sessionId !== undefined && subject.sessionId !== run.sessionId)
      return refused(sessionConflict(run, subject.sessionId));
    if (isOver(run)) return refused(runStateRefusal(run));
    if (limit !== undefined && run.limit !== undefined && limit > run.limit) {
      return refused({
        code: 'conflict',
        message: `Run ${run.runId} began with a cap of $${formatUsd(run.limit)}; a run's own cap can only be tightened, not raised to $${formatUsd(limit)}. To go on: start a new run, or leave the cap out and let the operator's budget decide.`,
        param: 'limit_usd',
        details: { run_id: run.runId, limit_usd: formatUsd(run.limit) },
      });
    }
    const hasTighterCap = limit !== undefined && limit !== run.limit;
    const tighterBounds = tighten(run.bounds, bounds);
    const namesSession = run.sessionId === undefined && subject.sessionId !== undefined;
    adopt(run, subject, now);
    if (hasTighterCap) {
      run.limit = limit;
      for (const reservation of openOf(run)) balances.placeHold(reservation);
    }
    if (tighterBounds !== undefined) run.bounds = tighterBounds;
    if (hasTighterCap || tighterBounds !== undefined || namesSession) await ledger.append(run, [capEntry(run, now)], now);
    else if (!run.startDurable) await ledger.append(run, [], now);
    return { type: 'exists', run: viewRun(run) };
  };

  /** Changes a run's status; as it was when the ledger does not take it, so that the same can be asked again. */
  const change = async (
    run: RunState,
    to: Pick<RunState, 'status' | 'statusReason'>,
    write: (now: number) => Promise<void>,
  ): Promise<void> => {
    const { status, statusReason, pausedByBudget } = run;
    Object.assign(run, to, { pausedByBudget: false });
    try {
      await write(clock.now());
    } catch (fault) {
      Object.assign(run, { status, statusReason, pausedByBudget });
      throw fault;
    }
  };

  return {
    adopt,

    async startRun(start) {
      const now = clock.now();
      const known = find(start.subject);
      if (known !== undefined) return restart(known, start, now);
      const run = newRunState(start.subject, now);
      run.limit = start.limit;
      run.bounds = start.bounds ?? {};
      registry.add(run);
      await ledger.append(run, [], now);
      return { type: 'started', run: viewRun(run) };
    },

    async endRun(subject, end) {
      const run = find(subject);
      if (run === undefined) return refused(unknownRunRefusal(subject.runId));
      for (const reservation of openOf(run)) if (reservation.isReported) expireSoon(reservation);
      if (isOver(run)) return run.status === end.status || run.status === 'stopped' ? { type: 'exists' } : refused(runStateRefusal(run));
      const entry = (now: number) =>
        runEntry(run, 'end', now, { ...(end.reason === undefined ? {} : { reason: end.reason }), ...amountFields(end) });
      await change(run, { status: end.status, statusReason: end.reason }, (now) => ledger.append(run, [entry(now)], now));
      return { type: 'ended' };
    },

    async controlRun(subject, op, reason) {
      const run = find(subject);
      if (run === undefined) return refused(unknownRunRefusal(subject.runId));
      const status = STATUS_AFTER[op];
      if (isOver(run)) return run.status === status ? { type: 'done', status } : refused(runStateRefusal(run));
      if (run.status === status && !run.pausedByBudget) return { type: 'done', status };
      const statusReason = op === 'resume' ? undefined : (reason ?? `${status} by request`);
      const entry = (now: number) => runEntry(run, op, now, statusReason === undefined ? {} : { reason: statusReason });
      await change(run, { status, statusReason }, (now) => ledger.append(run, [entry(now)], now));
      return { type: 'done', status };
    },

    async bookFinance(subject, amounts) {
      const run = find(subject);
      if (run === undefined) return;
      const now = clock.now();
      await ledger.append(run, [runEntry(run, 'finance', now, amountFields(amounts))], now);
    },
  };
}

/** The tighter of two sets of bounds; undefined when nothing gets tighter. */
function tighten(current: RunBounds, wanted: RunBounds | undefined): RunBounds | undefined {
  if (wanted === undefined) return undefined;
  const next: { -readonly [Name in keyof RunBounds]: RunBounds[Name] } = { ...current };
  let isTighter = false;
  for (const name of BOUND_NAMES) {
    const known = current[name];
    const limit = wanted[name];
    if (limit === undefined || (known !== undefined && known <= limit)) continue;
    next[name] = limit;
    isTighter = true;
  }
  return isTighter ? next : undefined;
}
