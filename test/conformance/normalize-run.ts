import { formatUsd, parseUsd, type RequestShape, type RunShape, type StepShape, type ToolShape } from '@runpurse/core';

/**
 * A run as every adapter must yield it: nothing in it depends on the framework, the clock or chance.
 * - Ids become labels in order (`step-1`, the run's own `run`); times are left out.
 * - Order: model calls by start; the tools that follow one, by name (they may run side by side); steps as what they carry.
 * - Free text becomes `"said"`. `source` (who measured) and `graph_node` (only graphs have nodes) are left out, and so are
 *   the amounts held before a call, which depend on the size of the framework's own prompt.
 * - A failed call that cost nothing has no usage and no price, whether that was said with zeros or with nothing.
 * - A cost that nobody confirmed is at most what was held: it reads `"bound"`, in sums `"0.006 + bound"`. It is never 0.
 */
export function normalizeRun(run: RunShape): Record<string, unknown> {
  const requests = run.requests.toSorted(byStart);
  const round = (startedAt: string): number => requests.filter((request) => request.started_at < startedAt).length;
  const tools = run.tools.toSorted((a, b) => round(a.started_at) - round(b.started_at) || a.tool.localeCompare(b.tool) || byStart(a, b));
  const steps = orderSteps(run.steps, requests, tools, round);
  const runLabel = (id: string): string => (id === run.run_id ? 'run' : id);
  const stepIds = steps.map(({ step_id }) => step_id);
  const stepLabel = (id: string | null): string | null =>
    id === null ? null : stepIds.includes(id) ? `step-${stepIds.indexOf(id) + 1}` : 'step-unknown';

  const bounded = [
    ...requests.filter(isBounded).map((call) => ({ ...call, line: call.attempt > 1 ? 'retry' : 'model' })),
    ...tools.filter(isBounded).map((call) => ({ ...call, line: call.attempt > 1 ? 'retry' : 'tool' })),
  ];
  const sum = (amount: string, sign: '+' | '-', isPart: (call: (typeof bounded)[number]) => boolean): string =>
    withoutBounds(
      amount,
      sign,
      bounded.filter(isPart).map(({ cost_usd }) => cost_usd),
    );
  const any = (): boolean => true;

  return {
    session_id: run.session_id,
    workflow_id: run.workflow_id,
    agent_id: run.agent_id,
    customer_id: run.customer_id,
    status: run.status,
    status_reason: said(run.status_reason),
    ended: run.ended_at !== null,
    steps: steps.map((step) => ({
      step_id: stepLabel(step.step_id),
      parent_step_id: stepLabel(step.parent_step_id),
      name: step.name,
      kind: step.kind,
      agent_id: step.agent_id,
      status: step.status,
      cost_usd: sum(step.cost_usd, '+', ({ step_id }) => step_id === step.step_id),
    })),
    requests: requests.map((request) => ({
      step_id: stepLabel(request.step_id),
      parent_step_id: stepLabel(request.parent_step_id),
      agent_id: request.agent_id,
      attempt: request.attempt,
      provider: request.provider,
      model: request.model,
      status: request.status,
      usage: isForNothing(request) ? null : request.usage,
      cost_usd: isBounded(request) ? 'bound' : request.cost_usd,
      overage_usd: request.overage_usd,
      unconfirmed: request.unconfirmed,
      price_source: request.unconfirmed || isForNothing(request) ? null : (request.price?.source ?? null),
      error: said(request.error),
    })),
    tools: tools.map((tool) => ({
      step_id: stepLabel(tool.step_id),
      parent_step_id: stepLabel(tool.parent_step_id),
      agent_id: tool.agent_id,
      tool: tool.tool,
      attempt: tool.attempt,
      status: tool.status,
      cost_usd: isBounded(tool) ? 'bound' : tool.cost_usd,
      overage_usd: tool.overage_usd,
      unconfirmed: tool.unconfirmed,
      error: said(tool.error),
    })),
    decisions: run.decisions.map((decision) => ({
      phase: decision.phase,
      outcome: decision.outcome,
      code: decision.code,
      rule: decision.rule,
      subject: decision.subject,
      step_id: stepLabel(decision.step_id),
    })),
    cost: {
      model_usd: sum(run.cost.model_usd, '+', ({ line }) => line === 'model'),
      tool_usd: sum(run.cost.tool_usd, '+', ({ line }) => line === 'tool'),
      retry_usd: sum(run.cost.retry_usd, '+', ({ line }) => line === 'retry'),
      total_usd: sum(run.cost.total_usd, '+', any),
    },
    revenue_usd: run.revenue_usd,
    margin: run.margin,
    budgets: run.budgets.map((budget) => ({
      ...budget,
      id: runLabel(budget.id),
      settled_usd: sum(budget.settled_usd, '+', any),
      remaining_usd: sum(budget.remaining_usd, '-', any),
    })),
    counts: run.counts,
  };
}

/** A step stands where the first thing it carries stands; one that carries nothing, by its start. */
function orderSteps(
  steps: readonly StepShape[],
  requests: readonly RequestShape[],
  tools: readonly ToolShape[],
  round: (startedAt: string) => number,
): readonly StepShape[] {
  const place = (step: StepShape): number => {
    const request = requests.findIndex(({ step_id }) => step_id === step.step_id);
    if (request !== -1) return request;
    const tool = tools.findIndex(({ step_id }) => step_id === step.step_id);
    const inRound = tool === -1 ? 0.9 : 0.5 + (0.4 * tool) / tools.length;
    return round(step.started_at) - 1 + inRound;
  };
  return steps.toSorted((a, b) => place(a) - place(b) || byStart(a, b));
}

function byStart(a: { readonly started_at: string }, b: { readonly started_at: string }): number {
  return a.started_at < b.started_at ? -1 : a.started_at > b.started_at ? 1 : 0;
}

function isForNothing(request: RequestShape): boolean {
  return request.status === 'failed' && request.cost_usd === '0';
}

/** Charged at a bound: unconfirmed, more than nothing, and not more than was held. */
function isBounded<Call extends RequestShape | ToolShape>(call: Call): call is Call & { readonly cost_usd: string } {
  if (!call.unconfirmed || call.cost_usd === null) return false;
  const cost = parseUsd(call.cost_usd) ?? 0n;
  return cost > 0n && cost <= (parseUsd(call.held_usd) ?? 0n);
}

/** A sum with its bounded parts taken out and named. `sign`: how they stand in it. */
function withoutBounds(amount: string, sign: '+' | '-', parts: readonly string[]): string {
  if (parts.length === 0) return amount;
  const bounds = parts.reduce((total, part) => total + (parseUsd(part) ?? 0n), 0n);
  const known = (parseUsd(amount) ?? 0n) + (sign === '+' ? -bounds : bounds);
  return `${formatUsd(known)} ${sign} bound`;
}

/** Free text differs between frameworks; that there is some does not. */
function said(text: string | null): 'said' | null {
  return text === null ? null : 'said';
}
