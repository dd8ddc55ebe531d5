import { describe, expect, it } from '@jest/globals';
import { runShape, type RunShape } from '@runpurse/core';
import { normalizeRun } from './normalize-run.ts';

type Request = RunShape['requests'][number];
type Tool = RunShape['tools'][number];
type Step = RunShape['steps'][number];

/** The nth second of the run. */
const at = (second: number): string => `2026-11-24T12:00:${String(second).padStart(2, '0')}.000Z`;

const STEP: Step = {
  step_id: 's',
  parent_step_id: null,
  name: null,
  kind: 'llm_call',
  graph_node: null,
  agent_id: 'a',
  status: 'completed',
  cost_usd: '0.01',
  started_at: at(0),
  ended_at: null,
};
const REQUEST: Request = {
  request_id: 'r',
  step_id: 's',
  parent_step_id: null,
  graph_node: null,
  agent_id: 'a',
  attempt: 1,
  provider: 'p',
  model: 'm',
  status: 'completed',
  source: 'gateway',
  usage: null,
  cost_usd: '0.01',
  held_usd: '0.02',
  overage_usd: '0',
  unconfirmed: false,
  price: null,
  error: null,
  started_at: at(0),
  ended_at: null,
};
const TOOL: Tool = {
  tool_call_id: 't',
  step_id: 's',
  parent_step_id: null,
  graph_node: null,
  agent_id: 'a',
  tool: 'x',
  attempt: 1,
  status: 'completed',
  source: 'gateway',
  cost_usd: '0.002',
  held_usd: '0.002',
  overage_usd: '0',
  unconfirmed: false,
  error: null,
  started_at: at(0),
  ended_at: null,
};

function run(parts: Partial<RunShape>): RunShape {
  return runShape.parse({
    run_id: 'the-run',
    session_id: null,
    workflow_id: null,
    agent_id: 'a',
    customer_id: null,
    workspace_id: 'w',
    status: 'completed',
    status_reason: null,
    started_at: at(0),
    ended_at: at(9),
    steps: [],
    requests: [],
    tools: [],
    decisions: [],
    cost: { model_usd: '0', tool_usd: '0', retry_usd: '0', total_usd: '0' },
    revenue_usd: null,
    margin: { known_usd: null, percent: null, unknown: [] },
    budgets: [],
    counts: { requests: 0, tool_calls: 0, retries: 0, steps: 0 },
    ...parts,
  });
}

describe('a normalized run', () => {
  it('is the same whichever of two tools side by side came first', () => {
    const round = (first: number, second: number) =>
      run({
        requests: [
          { ...REQUEST, request_id: 'r1', step_id: 'm1', started_at: at(0) },
          { ...REQUEST, request_id: 'r2', step_id: 'm2', started_at: at(5) },
        ],
        tools: [
          { ...TOOL, tool_call_id: 'c1', step_id: 'x1', tool: 'apples', started_at: at(first) },
          { ...TOOL, tool_call_id: 'c2', step_id: 'x2', tool: 'pears', started_at: at(second) },
        ],
        steps: [
          { ...STEP, step_id: 'm2', started_at: at(5) },
          { ...STEP, step_id: 'x2', kind: 'tool_call', name: 'pears', started_at: at(second) },
          { ...STEP, step_id: 'x1', kind: 'tool_call', name: 'apples', started_at: at(first) },
          { ...STEP, step_id: 'm1', started_at: at(0) },
        ],
      });
    expect(normalizeRun(round(1, 2))).toEqual(normalizeRun(round(2, 1)));
    expect(normalizeRun(round(1, 2))).toMatchObject({
      steps: [{ step_id: 'step-1', kind: 'llm_call' }, { name: 'apples' }, { name: 'pears' }, { step_id: 'step-4', kind: 'llm_call' }],
      tools: [
        { tool: 'apples', step_id: 'step-2' },
        { tool: 'pears', step_id: 'step-3' },
      ],
    });
  });

  it.each([
    { what: 'ids', other: { run_id: 'another', requests: [{ ...REQUEST, request_id: 'another', step_id: null }] } },
    { what: 'times', other: { started_at: at(7), ended_at: at(8), requests: [{ ...REQUEST, step_id: null, started_at: at(7) }] } },
    { what: 'who measured', other: { requests: [{ ...REQUEST, step_id: null, source: 'self_reported' as const }] } },
    { what: 'the node', other: { requests: [{ ...REQUEST, step_id: null, graph_node: 'agent' }] } },
    { what: 'the size of the prompt', other: { requests: [{ ...REQUEST, step_id: null, held_usd: '0.05' }] } },
  ])('does not depend on $what', ({ other }) => {
    const plain: Partial<RunShape> = { requests: [{ ...REQUEST, step_id: null }] };
    expect(normalizeRun(run({ ...plain, ...other }))).toEqual(normalizeRun(run(plain)));
  });

  it.each<{ readonly what: string; readonly other: Partial<Request> }>([
    { what: 'cost', other: { cost_usd: '0.011' } },
    { what: 'unknown cost', other: { cost_usd: null } },
    { what: 'attempt', other: { attempt: 2 } },
    { what: 'status', other: { status: 'failed' } },
    { what: 'agent', other: { agent_id: 'b' } },
    { what: 'parent', other: { parent_step_id: 'nowhere' } },
    { what: 'overage', other: { overage_usd: '0.001' } },
    { what: 'an error', other: { error: 'boom' } },
  ])('differs when a call’s $what does', ({ other }) => {
    expect(normalizeRun(run({ requests: [{ ...REQUEST, ...other }] }))).not.toEqual(normalizeRun(run({ requests: [REQUEST] })));
  });

  it('names the part of a sum that nobody confirmed, and keeps the rest exact', () => {
    const unconfirmed = run({
      requests: [
        { ...REQUEST, step_id: 'm1' },
        { ...REQUEST, step_id: 'm2', unconfirmed: true, cost_usd: '0.013', started_at: at(1) },
      ],
      steps: [{ ...STEP, step_id: 'm2', cost_usd: '0.013', started_at: at(1) }],
      cost: { model_usd: '0.023', tool_usd: '0.002', retry_usd: '0', total_usd: '0.025' },
      budgets: [
        {
          scope: 'run',
          id: 'the-run',
          window: 'lifetime',
          action: 'block',
          limit_usd: '0.5',
          settled_usd: '0.025',
          held_usd: '0',
          overage_usd: '0',
          remaining_usd: '0.475',
          state: 'ok',
        },
      ],
    });
    expect(normalizeRun(unconfirmed)).toMatchObject({
      requests: [{ cost_usd: '0.01' }, { cost_usd: 'bound', unconfirmed: true }],
      steps: [{ cost_usd: '0 + bound' }],
      cost: { model_usd: '0.01 + bound', tool_usd: '0.002', retry_usd: '0', total_usd: '0.012 + bound' },
      budgets: [{ id: 'run', settled_usd: '0.012 + bound', remaining_usd: '0.488 - bound' }],
    });
  });

  it.each(['0', '0.021'])('does not take an unconfirmed cost of %s for a bound when $0.02 was held', (cost_usd) => {
    expect(normalizeRun(run({ requests: [{ ...REQUEST, unconfirmed: true, cost_usd }] }))).toMatchObject({ requests: [{ cost_usd }] });
  });
});
