import type { RunSummaryShape } from '@runpurse/core';
import type { RunRow } from '../store/store.ts';
import { costOf, marginOf, usdOrNull } from './money.ts';
import { timeOrNull, timeText } from './time.ts';

/** A run in a list, from its row: the same figures as its full shape. */
export function summarizeRun(row: RunRow): RunSummaryShape {
  return {
    run_id: row.runId,
    session_id: row.sessionId ?? null,
    workflow_id: row.workflowId ?? null,
    agent_id: row.agentId ?? null,
    customer_id: row.customerId ?? null,
    workspace_id: row.workspaceId,
    status: row.status,
    status_reason: row.statusReason ?? null,
    started_at: timeText(row.startedAt),
    ended_at: timeOrNull(row.endedAt),
    cost: costOf(row),
    revenue_usd: usdOrNull(row.revenueNanos),
    margin: marginOf(row, row.unknownNames ?? []),
    counts: { requests: row.requests, tool_calls: row.toolCalls, retries: row.retries, steps: row.steps },
  };
}
