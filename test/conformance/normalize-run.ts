import type { RequestShape, RunShape, StepShape, ToolShape } from '@runpurse/core';

/**
 * A run as every adapter must yield it: nothing in it depends on the framework, the clock or chance.
 * - Ids become labels in order (`step-1`, `request-1`, `tool-1`, the run's own `run`); times are left out.
 * - Order: model calls by start; the tools that follow one, by name (they may run side by side); steps as what they carry.
 * - `source` (who measured) and `graph_node` (only graphs have nodes) are left out; free text becomes `"said"`.
 */
export function normalizeRun(run: RunShape): Record<string, unknown> {
  const requests = run.requests.toSorted(byStart);
  const round = (startedAt: string): number => requests.filter((request) => request.started_at < startedAt).length;
  const tools = run.tools.toSorted((a, b) => round(a.started_at) - round(b.started_at) || a.tool.localeCompare(b.tool) || byStart(a, b));
  const steps = orderSteps(run.steps, requests, tools, round);
  const label = labels({
    run: [run.run_id],
    step: steps.map((step) => step.step_id),
    request: requests.map((request) => request.request_id),
    tool: tools.map((tool) => tool.tool_call_id),
  });

  return {
    session_id: run.session_id,
    workflow_id: run.workflow_id,
    agent_id: run.agent_id,
    customer_id: run.customer_id,
    status: run.status,
    status_reason: said(run.status_reason),
    ended: run.ended_at !== null,
    steps: steps.map((step) => ({
      step_id: label('step', step.step_id),
      parent_step_id: label('step', step.parent_step_id),
      name: step.name,
      kind: step.kind,
      agent_id: step.agent_id,
      status: step.status,
      cost_usd: step.cost_usd,
    })),
    requests: requests.map((request) => ({
      step_id: label('step', request.step_id),
      parent_step_id: label('step', request.parent_step_id),
      agent_id: request.agent_id,
      attempt: request.attempt,
      provider: request.provider,
      model: request.model,
      status: request.status,
      usage: request.usage,
      cost_usd: request.cost_usd,
      held_usd: request.held_usd,
      overage_usd: request.overage_usd,
      unconfirmed: request.unconfirmed,
      price_source: request.price?.source ?? null,
      error: said(request.error),
    })),
    tools: tools.map((tool) => ({
      step_id: label('step', tool.step_id),
      parent_step_id: label('step', tool.parent_step_id),
      agent_id: tool.agent_id,
      tool: tool.tool,
      attempt: tool.attempt,
      status: tool.status,
      cost_usd: tool.cost_usd,
      held_usd: tool.held_usd,
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
      step_id: label('step', decision.step_id),
    })),
    cost: run.cost,
    revenue_usd: run.revenue_usd,
    margin: run.margin,
    budgets: run.budgets.map((budget) => ({ ...budget, id: budget.id === run.run_id ? 'run' : budget.id })),
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

type LabelKind = 'run' | 'step' | 'request' | 'tool';

function labels(ids: Readonly<Record<LabelKind, readonly string[]>>): (kind: LabelKind, id: string | null) => string | null {
  return (kind, id) => {
    if (id === null) return null;
    const at = ids[kind].indexOf(id);
    return at === -1 ? `${kind}-unknown` : `${kind}-${at + 1}`;
  };
}

/** Free text differs between frameworks; that there is some does not. */
function said(text: string | null): 'said' | null {
  return text === null ? null : 'said';
}
