import { z } from 'zod';

/** A decimal dollar amount on the wire, such as `"0.086"`. */
export const usd = z.string().regex(/^-?\d+(\.\d{1,9})?$/);
const time = z.iso.datetime();
const id = z.string();

export const RUN_STATUSES = ['running', 'completed', 'failed', 'stopped', 'paused'] as const;
export type RunStatus = (typeof RUN_STATUSES)[number];

/** Tokens and units a call used, in disjoint classes: no token is counted in two of them. `null` is unknown, never 0. */
export const usageShape = z.object({
  input_tokens: z.number().int().nullable(),
  cache_read_tokens: z.number().int(),
  cache_write_5m_tokens: z.number().int(),
  cache_write_1h_tokens: z.number().int(),
  output_tokens: z.number().int().nullable(),
  /** Part of `output_tokens`. */
  reasoning_tokens: z.number().int(),
  audio_input_tokens: z.number().int(),
  audio_output_tokens: z.number().int(),
  web_searches: z.number().int(),
});

/** One model call. `source` says who measured it: the gateway that carried it, or the adapter that reported it. */
export const requestShape = z.object({
  request_id: id,
  step_id: id.nullable(),
  parent_step_id: id.nullable(),
  graph_node: z.string().nullable(),
  agent_id: id.nullable(),
  attempt: z.number().int(),
  provider: z.string().nullable(),
  model: z.string(),
  status: z.enum(['open', 'completed', 'failed', 'aborted', 'refused']),
  source: z.enum(['gateway', 'self_reported']),
  usage: usageShape.nullable(),
  /** `null` while open or when the price is unknown. */
  cost_usd: usd.nullable(),
  held_usd: usd,
  overage_usd: usd,
  /** True when the provider's answer was lost and the worst case was charged. */
  unconfirmed: z.boolean(),
  price: z.object({ source: z.string(), version: z.string() }).nullable(),
  error: z.string().nullable(),
  started_at: time,
  ended_at: time.nullable(),
});

/** One tool call: authorized through the gateway, or seen in an agent's events. */
export const toolShape = z.object({
  tool_call_id: id,
  step_id: id.nullable(),
  parent_step_id: id.nullable(),
  graph_node: z.string().nullable(),
  agent_id: id.nullable(),
  tool: z.string(),
  attempt: z.number().int(),
  status: z.enum(['open', 'completed', 'failed', 'denied']),
  source: z.enum(['gateway', 'self_reported']),
  cost_usd: usd.nullable(),
  held_usd: usd,
  overage_usd: usd,
  unconfirmed: z.boolean(),
  error: z.string().nullable(),
  started_at: time,
  ended_at: time.nullable(),
});

/** A place in the run: all that carries one step id. A step without id is not listed. */
export const stepShape = z.object({
  step_id: id,
  parent_step_id: id.nullable(),
  name: z.string().nullable(),
  kind: z.string(),
  graph_node: z.string().nullable(),
  agent_id: id.nullable(),
  status: z.enum(['open', 'completed', 'failed', 'denied']),
  cost_usd: usd,
  started_at: time,
  ended_at: time.nullable(),
});

/** A decision of a policy, a budget or a bound, in the order taken. */
export const decisionShape = z.object({
  decision_id: id,
  at: time,
  phase: z.enum(['model_request', 'tool_call', 'run_update', 'endpoint_call']),
  outcome: z.enum(['allowed', 'denied', 'audited', 'skipped']),
  code: z.string().nullable(),
  reason: z.string(),
  rule: z.string().nullable(),
  rule_revision: z.string().nullable(),
  subject: z.string().nullable(),
  step_id: id.nullable(),
});

/** A budget as it stands for this run: its limit and what is settled, held and left of it. */
export const budgetStateShape = z.object({
  scope: z.string(),
  id,
  window: z.enum(['lifetime', 'day', 'month']),
  action: z.enum(['block', 'alert_only', 'pause']),
  limit_usd: usd,
  settled_usd: usd,
  held_usd: usd,
  overage_usd: usd,
  remaining_usd: usd,
  /** The highest threshold reached, in percent, or `ok`; `exceeded` when nothing is left. */
  state: z.string(),
});

/** Cost in disjoint lines: total = model + tool + retry. What could not be priced is counted in `unknown`, never as 0. */
export const costShape = z.object({
  model_usd: usd,
  tool_usd: usd,
  retry_usd: usd,
  total_usd: usd,
});

/** revenue − model − tool − retry − outbound payments − fees. `unknown` lists what the figure can't speak for. */
export const marginShape = z.object({
  /** `null` when no revenue was reported. */
  known_usd: usd.nullable(),
  /** margin / revenue in percent with one decimal, such as `"-82.0"`; `null` without revenue. */
  percent: z.string().nullable(),
  unknown: z.array(z.string()),
});

export const countsShape = z.object({
  requests: z.number().int(),
  tool_calls: z.number().int(),
  retries: z.number().int(),
  steps: z.number().int(),
});

/** A run as every adapter yields it: one attempt at a task, with its cost, decisions and margin. */
export const runShape = z.object({
  run_id: id,
  session_id: id.nullable(),
  workflow_id: id.nullable(),
  agent_id: id.nullable(),
  customer_id: id.nullable(),
  workspace_id: id,
  status: z.enum(RUN_STATUSES),
  /** Why the run failed, was stopped or paused. */
  status_reason: z.string().nullable(),
  started_at: time,
  ended_at: time.nullable(),
  steps: z.array(stepShape),
  requests: z.array(requestShape),
  tools: z.array(toolShape),
  decisions: z.array(decisionShape),
  cost: costShape,
  revenue_usd: usd.nullable(),
  margin: marginShape,
  budgets: z.array(budgetStateShape),
  counts: countsShape,
});
export type RunShape = z.infer<typeof runShape>;
export type RequestShape = z.infer<typeof requestShape>;
export type ToolShape = z.infer<typeof toolShape>;
export type StepShape = z.infer<typeof stepShape>;
export type DecisionShape = z.infer<typeof decisionShape>;
export type BudgetStateShape = z.infer<typeof budgetStateShape>;
export type UsageShape = z.infer<typeof usageShape>;

/** A run in a list or inside its session. */
export const runSummaryShape = runShape.omit({
  steps: true,
  requests: true,
  tools: true,
  decisions: true,
  budgets: true,
});
export type RunSummaryShape = z.infer<typeof runSummaryShape>;

/** A session: a user's, customer's or task's context over its runs. */
export const sessionShape = z.object({
  session_id: id,
  workflow_id: id.nullable(),
  agent_id: id.nullable(),
  customer_id: id.nullable(),
  workspace_id: id,
  started_at: time,
  ended_at: time.nullable(),
  runs: z.array(runSummaryShape),
  cost: costShape,
  revenue_usd: usd.nullable(),
  margin: marginShape,
  budgets: z.array(budgetStateShape),
  counts: countsShape.extend({ runs: z.number().int() }),
});
export type SessionShape = z.infer<typeof sessionShape>;
