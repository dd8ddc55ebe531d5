import type { BudgetStateShape, SessionShape } from '@runpurse/core';
import type { RunRow } from '../store/store.ts';
import { costOf, marginOf, usdOrNull, type FinanceNanos } from './money.ts';
import { summarizeRun } from './summarize-run.ts';
import { timeOrNull, timeText } from './time.ts';

export interface FoldSessionOptions {
  /** The budgets that apply to the session, as they stand now. */
  readonly budgets: readonly BudgetStateShape[];
}

/** A session over all its runs, in the order they began. Undefined when it has none. */
export function foldSession(rows: readonly RunRow[], { budgets }: FoldSessionOptions): SessionShape | undefined {
  const runs = rows.toSorted((a, b) => a.startedAt - b.startedAt || (a.runId < b.runId ? -1 : 1));
  const [first] = runs;
  if (first?.sessionId === undefined) return undefined;
  const finance = sumFinance(runs);
  return {
    session_id: first.sessionId,
    workflow_id: firstStated(runs, 'workflowId'),
    agent_id: firstStated(runs, 'agentId'),
    customer_id: firstStated(runs, 'customerId'),
    workspace_id: first.workspaceId,
    started_at: timeText(first.startedAt),
    ended_at: timeOrNull(endOf(runs)),
    runs: runs.map(summarizeRun),
    cost: costOf(finance),
    revenue_usd: usdOrNull(finance.revenueNanos),
    margin: marginOf(
      finance,
      runs.flatMap((run) => run.unknownNames ?? []),
    ),
    budgets: [...budgets],
    counts: {
      requests: sum(runs, 'requests'),
      tool_calls: sum(runs, 'toolCalls'),
      retries: sum(runs, 'retries'),
      steps: sum(runs, 'steps'),
      runs: runs.length,
    },
  };
}

/** Revenue is unknown only while no run reported any. */
export function sumFinance(rows: readonly FinanceNanos[]): FinanceNanos {
  const total = (amount: (row: FinanceNanos) => bigint): bigint => rows.reduce((nanos, row) => nanos + amount(row), 0n);
  return {
    modelNanos: total((row) => row.modelNanos),
    toolNanos: total((row) => row.toolNanos),
    retryNanos: total((row) => row.retryNanos),
    revenueNanos: rows.some((row) => row.revenueNanos !== undefined) ? total((row) => row.revenueNanos ?? 0n) : undefined,
    outboundNanos: total((row) => row.outboundNanos),
    feesNanos: total((row) => row.feesNanos),
  };
}

/** When the last run ended; undefined while one goes on. */
function endOf(runs: readonly RunRow[]): number | undefined {
  let last: number | undefined;
  for (const run of runs) {
    if (run.endedAt === undefined) return undefined;
    if (last === undefined || run.endedAt > last) last = run.endedAt;
  }
  return last;
}

function firstStated(runs: readonly RunRow[], field: 'workflowId' | 'agentId' | 'customerId'): string | null {
  return runs.find((run) => run[field] !== undefined)?.[field] ?? null;
}

function sum(runs: readonly RunRow[], field: 'requests' | 'toolCalls' | 'retries' | 'steps'): number {
  return runs.reduce((count, run) => count + run[field], 0);
}
