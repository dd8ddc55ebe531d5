import type { BudgetStateShape, RunShape, SessionShape } from '@runpurse/core';

/** Runs and sessions in a person's words. */

export function headLines(run: RunShape): readonly string[] {
  const place = [
    `workspace ${run.workspace_id}`,
    ...(run.session_id === null ? [] : [`session ${run.session_id}`]),
    ...(run.workflow_id === null ? [] : [`workflow ${run.workflow_id}`]),
    ...(run.customer_id === null ? [] : [`customer ${run.customer_id}`]),
  ];
  return [
    `${run.agent_id === null ? '' : `${run.agent_id}.`}${run.run_id}  (${place.join(', ')})`,
    `status: ${run.status}${run.status_reason === null ? '' : `: ${run.status_reason}`}`,
    `time: ${run.started_at}${run.ended_at === null ? '' : ` to ${run.ended_at}`}`,
  ];
}

export function costLines(of: Pick<RunShape | SessionShape, 'cost' | 'revenue_usd' | 'margin'>): readonly string[] {
  const { cost, margin } = of;
  return [
    `model cost: $${cost.model_usd}`,
    `tool cost: $${cost.tool_usd}`,
    `retry cost: $${cost.retry_usd}`,
    `total cost: $${cost.total_usd}`,
    ...(of.revenue_usd === null
      ? ['known margin: none, no revenue was reported']
      : [
          `revenue: $${of.revenue_usd}`,
          `known margin: ${signed(margin.known_usd ?? '0')}${margin.percent === null ? '' : ` (${margin.percent}%)`}`,
        ]),
    ...(margin.unknown.length === 0 ? [] : [`not in these figures, for want of a price: ${margin.unknown.join(', ')}`]),
  ];
}

/** A dollar amount that may be negative. */
export function signed(usd: string): string {
  return usd.startsWith('-') ? `-$${usd.slice(1)}` : `$${usd}`;
}

export function budgetLines(budgets: readonly BudgetStateShape[]): readonly string[] {
  return budgets.map((budget) => {
    const window = budget.window === 'lifetime' ? '' : ` this ${budget.window}`;
    const state = budget.state === 'ok' ? '' : budget.state === 'exceeded' ? ', nothing left' : `, past ${budget.state}%`;
    const held = budget.held_usd === '0' ? '' : `, $${budget.held_usd} held`;
    return `${budget.scope} budget remaining${window}: $${budget.remaining_usd} of $${budget.limit_usd} (${budget.id}${held}${state})`;
  });
}

interface Moment {
  readonly at: string;
  readonly lines: readonly string[];
}

/** What happened, in order, one line a step; refusals with their reason and what to do. */
export function traceLines(run: RunShape): readonly string[] {
  const moments: Moment[] = [
    ...run.requests
      .filter(({ status }) => status !== 'refused')
      .map((call) => ({
        at: call.started_at,
        lines: callLines('llm.request', `${call.provider === null ? '' : `${call.provider}/`}${call.model}`, call),
      })),
    ...run.tools
      .filter(({ status }) => status !== 'denied')
      .map((call) => ({ at: call.started_at, lines: callLines('tool.call', call.tool, call) })),
    ...run.decisions.map((decision) => ({ at: decision.at, lines: decisionLines(decision) })),
  ];
  const trace = moments.sort((a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : 0)).flatMap(({ lines }) => lines);
  const end = run.status === 'running' ? [] : [`-> run.${run.status}${run.status_reason === null ? '' : `: ${run.status_reason}`}`];
  return [...trace, ...end];
}

interface Call {
  readonly attempt: number;
  readonly status: string;
  readonly cost_usd: string | null;
  readonly held_usd: string;
  readonly overage_usd: string;
  readonly unconfirmed: boolean;
  readonly graph_node: string | null;
  readonly source: string;
  readonly error: string | null;
}

function callLines(kind: string, name: string, call: Call): readonly string[] {
  const amount = call.status === 'open' ? `open, holds $${call.held_usd}` : call.cost_usd === null ? 'cost unknown' : `$${call.cost_usd}`;
  const notes = [
    ...(call.graph_node === null ? [] : [`node ${call.graph_node}`]),
    ...(call.status === 'failed' || call.status === 'aborted' ? [call.status] : []),
    ...(call.unconfirmed ? ['its answer was lost: charged at the most it could cost'] : []),
    ...(call.overage_usd === '0' ? [] : [`$${call.overage_usd} above what was held`]),
    ...(call.source === 'self_reported' && kind === 'llm.request' ? ['reported, not carried'] : []),
    ...(call.error === null ? [] : [call.error]),
  ];
  return [
    `-> ${call.attempt > 1 ? `retry ${call.attempt - 1} of ` : ''}${kind} ${name}  ${amount}${notes.length === 0 ? '' : `  (${notes.join('; ')})`}`,
  ];
}

function decisionLines(decision: RunShape['decisions'][number]): readonly string[] {
  const by =
    decision.rule === null ? '' : ` by ${decision.rule}${decision.rule_revision === null ? '' : ` (revision ${decision.rule_revision})`}`;
  if (decision.outcome !== 'denied')
    return [`   policy ${decision.outcome}${decision.subject === null ? '' : ` ${decision.subject}`}${by}: ${decision.reason}`];
  return [
    `xx REFUSED ${decision.subject ?? decision.phase}${by}${decision.code === null ? '' : ` [${decision.code}]`}`,
    `   ${decision.reason}`,
  ];
}

/** Whether the run kept to policy, in one line. */
export function policyLine(run: RunShape): string {
  const denied = run.decisions.filter(({ outcome }) => outcome === 'denied').length;
  return denied === 0 ? 'policy: passed' : `policy: ${denied} ${denied === 1 ? 'call was' : 'calls were'} refused`;
}
