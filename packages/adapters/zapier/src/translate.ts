import { createHash } from 'node:crypto';
import type { BudgetStateShape, RunShape, RunSummaryShape, SessionShape } from '@runpurse/core';

/** Between the gateway's shapes and what Zapier shows in one line per field. Pure. */

type Row = Readonly<Record<string, string | number | boolean | null>>;

/** The same inputs give the same key, in whatever order their fields stand. */
export function keyOf(...parts: readonly unknown[]): string {
  return createHash('sha256')
    .update(JSON.stringify(parts.map(sorted)))
    .digest('hex')
    .slice(0, 32);
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, item]) => [name, sorted(item)]),
  );
}

/** A run, one value a field. */
export function runRow(run: RunShape | RunSummaryShape): Row {
  return {
    id: run.run_id,
    run_id: run.run_id,
    session_id: run.session_id,
    workflow_id: run.workflow_id,
    agent_id: run.agent_id,
    customer_id: run.customer_id,
    status: run.status,
    status_reason: run.status_reason,
    started_at: run.started_at,
    ended_at: run.ended_at,
    ...moneyRow(run),
    ...('budgets' in run ? tightest(run.budgets) : {}),
    steps: run.counts.steps,
  };
}

export function sessionRow(session: SessionShape): Row {
  return {
    id: session.session_id,
    session_id: session.session_id,
    workflow_id: session.workflow_id,
    agent_id: session.agent_id,
    customer_id: session.customer_id,
    started_at: session.started_at,
    ended_at: session.ended_at,
    runs: session.counts.runs,
    failed_runs: session.runs.filter(({ status }) => status === 'failed').length,
    ...moneyRow(session),
    ...tightest(session.budgets),
  };
}

type Money = Pick<RunSummaryShape, 'cost' | 'revenue_usd' | 'margin' | 'counts'>;

function moneyRow({ cost, revenue_usd, margin, counts }: Omit<Money, 'counts'> & { readonly counts: Omit<Money['counts'], 'steps'> }): Row {
  return {
    total_usd: cost.total_usd,
    model_usd: cost.model_usd,
    tool_usd: cost.tool_usd,
    retry_usd: cost.retry_usd,
    revenue_usd,
    margin_usd: margin.known_usd,
    margin_percent: margin.percent,
    margin_unknown: margin.unknown.join(', '),
    requests: counts.requests,
    tool_calls: counts.tool_calls,
    retries: counts.retries,
  };
}

/** What the tightest of the budgets leaves; null without one. */
export function tightest(budgets: readonly BudgetStateShape[]): Row {
  const [first] = byRemaining(budgets);
  return { remaining_usd: first?.remaining_usd ?? null, budget_state: first?.state ?? 'ok' };
}

/** The tightest first. Compared as numbers only to put them in order; what is shown stays exact. */
export function byRemaining(budgets: readonly BudgetStateShape[]): readonly BudgetStateShape[] {
  return budgets.toSorted((a, b) => Number(a.remaining_usd) - Number(b.remaining_usd));
}

export function budgetRow(budget: BudgetStateShape): Row {
  return {
    id: `${budget.scope}:${budget.id}:${budget.window}:${budget.limit_usd}`,
    level: budget.scope,
    scope_id: budget.id,
    window: budget.window,
    action: budget.action,
    cap_usd: budget.limit_usd,
    spent_usd: budget.settled_usd,
    reserved_usd: budget.held_usd,
    remaining_usd: budget.remaining_usd,
    state: budget.state,
    within_budget: budget.state !== 'exceeded',
  };
}

/** A notice of the gateway (docs/protocol.md), as its trigger hands it on. */
export interface Notice {
  readonly id: string;
  readonly type: string;
  readonly created_at: string;
  readonly data: Readonly<Record<string, unknown>>;
}

export function noticeRow({ id, type, created_at, data }: Notice): Row {
  const head = { id, created_at };
  switch (type) {
    case 'run.ended': {
      const run = data['run'] as RunShape | null;
      return { ...(run === null ? {} : runRow(run)), ...head, denied_calls: run === null ? 0 : denials(run) };
    }
    case 'budget.threshold': {
      const { id: budgetId, name, ...budget } = data['budget'] as Record<string, string>;
      return {
        ...head,
        threshold_percent: data['threshold_percent'] as number,
        budget_id: budgetId ?? null,
        budget_name: name ?? budgetId ?? null,
        ...budget,
        run_id: (data['run_id'] as string | undefined) ?? null,
        session_id: (data['session_id'] as string | undefined) ?? null,
      };
    }
    default: {
      const told = data as Record<string, string | null | undefined>;
      return {
        ...head,
        run_id: told['run_id'] ?? null,
        session_id: told['session_id'] ?? null,
        workflow: told['workflow'] ?? null,
        agent: told['agent'] ?? null,
        step_id: told['step_id'] ?? null,
        tool_call_id: told['tool_call_id'] ?? null,
        kind: told['kind'] ?? null,
        call: told['model'] ?? told['tool'] ?? null,
        code: told['code'] ?? null,
        message: told['message'] ?? null,
        blocked_by: told['budget'] ?? told['rule'] ?? null,
      };
    }
  }
}

function denials(run: RunShape): number {
  return run.decisions.filter(({ outcome }) => outcome === 'denied').length;
}
