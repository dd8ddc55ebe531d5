import type { BudgetStateShape, DecisionShape, RequestShape, RunShape, ToolShape } from '@runpurse/core';
import type { DecisionEntry } from '../store/entry.ts';
import type { Sequenced } from '../store/store.ts';
import { costOf, marginOf, usdOrNull } from './money.ts';
import { costOfCall, isReleased, nameOfSeen, requestsOf, seenTools, toolsOf } from './run-calls.ts';
import { readRunLog, type LoggedCall } from './run-log.ts';
import { costLine, unknownName } from './run-rules.ts';
import { stepsOf } from './run-steps.ts';
import { timeOrNull, timeText } from './time.ts';

export interface FoldRunOptions {
  /** The budgets that apply to the run, as they stand now. */
  readonly budgets: readonly BudgetStateShape[];
}

/**
 * A run as the API shows it, from all its ledger entries. Duplicate events and events that arrive late or out of order give
 * the same shape. Undefined when the entries begin no run.
 */
export function foldRun(entries: readonly Sequenced[], { budgets }: FoldRunOptions): RunShape | undefined {
  const log = readRunLog(entries);
  if (log === undefined) return undefined;
  const { run } = log;
  const requests = requestsOf(log);
  const tools = toolsOf(log);
  const steps = stepsOf(log);
  const made = log.calls.filter((call) => !isReleased(call));
  const cost = costLines(made);
  const unknown = [
    ...made.filter(isUnpriced).map((call) => unknownName(call.reserve.kind, call.reserve.name)),
    ...[...seenTools(log).values()].map((events) => unknownName('tool', nameOfSeen(events))),
  ];
  return {
    run_id: run.runId,
    session_id: run.sessionId ?? null,
    workflow_id: run.workflowId ?? null,
    agent_id: run.agentId ?? null,
    customer_id: run.customerId ?? null,
    workspace_id: run.workspaceId,
    status: run.status,
    status_reason: run.statusReason ?? null,
    started_at: timeText(run.startedAt),
    ended_at: timeOrNull(run.endedAt),
    steps,
    requests,
    tools,
    decisions: log.decisions.map(({ entry }) => decisionShape(entry)),
    cost: costOf(cost),
    revenue_usd: usdOrNull(run.revenueNanos),
    margin: marginOf({ ...cost, revenueNanos: run.revenueNanos, outboundNanos: run.outboundNanos, feesNanos: run.feesNanos }, unknown),
    budgets: [...budgets],
    counts: {
      requests: requests.filter(isMade).length,
      tool_calls: tools.filter(isMade).length,
      retries: made.filter((call) => call.reserve.attempt > 1).length,
      steps: steps.length,
    },
  };
}

/** Refused calls are shown but were not made. */
function isMade(call: RequestShape | ToolShape): boolean {
  return call.status !== 'refused' && call.status !== 'denied';
}

function costLines(calls: readonly LoggedCall[]): { modelNanos: bigint; toolNanos: bigint; retryNanos: bigint } {
  const lines = { model: 0n, tool: 0n, retry: 0n };
  for (const call of calls) lines[costLine(call.reserve)] += costOfCall(call) ?? 0n;
  return { modelNanos: lines.model, toolNanos: lines.tool, retryNanos: lines.retry };
}

function isUnpriced(call: LoggedCall): boolean {
  return call.settle?.cost === null;
}

function decisionShape(entry: DecisionEntry): DecisionShape {
  return {
    decision_id: entry.id,
    at: timeText(entry.at),
    phase: entry.phase,
    outcome: entry.outcome,
    code: entry.code ?? null,
    reason: entry.reason,
    rule: entry.rule ?? null,
    rule_revision: entry.ruleRevision ?? null,
    subject: entry.subject ?? null,
    step_id: entry.stepId ?? null,
  };
}
