import { describe, expect, it } from '@jest/globals';
import { runShape, type RunShape } from '@runpurse/core';
import type { Entry, EventEntry, ReserveEntry, RunEntry, SettleEntry } from '../store/entry.ts';
import { createRandom, randomEntries } from '../store/conformance/random-entries.ts';
import { foldRun } from './index.ts';

const AT = Date.UTC(2026, 10, 24, 12);
const RUN = { workspaceId: 'acme', keyId: 'key_1', runId: 'run_1' } as const;

const start: RunEntry = { type: 'run', at: AT, op: 'start', status: 'running', ...RUN, sessionId: 'session_1', agentId: 'support' };
const end = (status: 'completed' | 'failed' | 'stopped', fields: Partial<RunEntry> = {}): RunEntry => ({
  type: 'run',
  at: AT + 900,
  op: 'end',
  status,
  ...RUN,
  ...fields,
});
const reserve = (id: string, fields: Partial<ReserveEntry> = {}): ReserveEntry => ({
  type: 'reserve',
  at: AT + 10,
  id,
  kind: 'model',
  name: 'gpt-4o-mini',
  provider: 'openai',
  attempt: 1,
  source: 'gateway',
  hold: '40000000',
  ...RUN,
  ...fields,
});
const settle = (id: string, cost: string | null, fields: Partial<SettleEntry> = {}): SettleEntry => ({
  type: 'settle',
  at: AT + 20,
  id,
  workspaceId: 'acme',
  runId: 'run_1',
  status: 'completed',
  cost,
  ...fields,
});
const event = (eventType: string, fields: Partial<EventEntry> = {}): EventEntry => ({
  type: 'event',
  at: AT + 30,
  eventAt: AT + 30,
  eventId: `evt_${eventType}_${fields.stepId ?? fields.toolCallId ?? ''}`,
  eventType,
  source: 'test',
  ...RUN,
  event: {},
  ...fields,
});

function fold(...entries: Entry[]): RunShape {
  const run = foldRun(
    entries.map((entry, index) => ({ seq: index + 1, entry })),
    { budgets: [] },
  );
  if (run === undefined) throw new Error('the entries begin no run');
  return run;
}

describe('a run’s shape', () => {
  it('is the article’s: four model requests, two tools, one retry, $0.086', () => {
    const run = fold(
      start,
      reserve('r1', { stepId: 's1' }),
      settle('r1', '12000000'),
      reserve('t1', { kind: 'tool', name: 'customer_lookup', toolCallId: 'c1', stepId: 's2', hold: '0', provider: undefined }),
      settle('t1', '0'),
      reserve('r2', { stepId: 's3' }),
      settle('r2', '18000000'),
      reserve('t2', { kind: 'tool', name: 'refund_policy_check', toolCallId: 'c2', stepId: 's4', hold: '0', provider: undefined }),
      settle('t2', '0'),
      reserve('r3', { stepId: 's5' }),
      settle('r3', '25000000', { status: 'failed', error: 'tool response was no JSON' }),
      reserve('r4', { stepId: 's5', attempt: 2 }),
      settle('r4', '31000000'),
      end('completed', { revenue: '100000000' }),
    );
    expect(run.cost).toEqual({ model_usd: '0.055', tool_usd: '0', retry_usd: '0.031', total_usd: '0.086' });
    expect(run.counts).toEqual({ requests: 4, tool_calls: 2, retries: 1, steps: 5 });
    expect(run.margin).toEqual({ known_usd: '0.014', percent: '14.0', unknown: [] });
    expect(run.requests.map(({ request_id, attempt, cost_usd }) => [request_id, attempt, cost_usd])).toEqual([
      ['r1', 1, '0.012'],
      ['r2', 1, '0.018'],
      ['r3', 1, '0.025'],
      ['r4', 2, '0.031'],
    ]);
    expect(run.steps.map(({ step_id, kind, name, status, cost_usd }) => [step_id, kind, name, status, cost_usd])).toEqual([
      ['s1', 'llm_call', 'gpt-4o-mini', 'completed', '0.012'],
      ['s2', 'tool_call', 'customer_lookup', 'completed', '0'],
      ['s3', 'llm_call', 'gpt-4o-mini', 'completed', '0.018'],
      ['s4', 'tool_call', 'refund_policy_check', 'completed', '0'],
      ['s5', 'llm_call', 'gpt-4o-mini', 'completed', '0.056'],
    ]);
    expect(run).toMatchObject({
      status: 'completed',
      session_id: 'session_1',
      agent_id: 'support',
      started_at: '2026-11-24T12:00:00.000Z',
      ended_at: '2026-11-24T12:00:00.900Z',
    });
    expect(runShape.parse(run)).toEqual(run);
  });

  it('is none while no entry begins the run', () => {
    expect(foldRun([], { budgets: [] })).toBeUndefined();
    expect(
      foldRun([{ seq: 1, entry: { type: 'decision', at: AT, id: 'd', ...RUN, phase: 'model_request', outcome: 'denied', reason: 'no' } }], {
        budgets: [],
      }),
    ).toBeUndefined();
  });

  const requests: readonly { readonly what: string; readonly entries: readonly Entry[]; readonly shape: object }[] = [
    {
      what: 'is open, with its hold and no cost, until it is settled',
      entries: [reserve('r')],
      shape: { status: 'open', cost_usd: null, held_usd: '0.04', overage_usd: '0', ended_at: null },
    },
    {
      what: 'has what went above its hold as overage',
      entries: [reserve('r'), settle('r', '50000000')],
      shape: { cost_usd: '0.05', held_usd: '0.04', overage_usd: '0.01' },
    },
    {
      what: 'has no cost when nobody knows its price',
      entries: [reserve('r'), settle('r', null)],
      shape: { status: 'completed', cost_usd: null },
    },
    { what: 'tells free from unknown', entries: [reserve('r'), settle('r', '0')], shape: { cost_usd: '0' } },
    {
      what: 'is marked when its answer was lost',
      entries: [reserve('r'), settle('r', '40000000', { status: 'aborted', unconfirmed: true, error: 'lost' })],
      shape: { status: 'aborted', unconfirmed: true, error: 'lost' },
    },
    {
      what: 'names the model that answered and what priced it',
      entries: [reserve('r'), settle('r', '1', { model: 'gpt-4o-mini-2024', price: { source: 'genai-prices', version: '1' } })],
      shape: { model: 'gpt-4o-mini-2024', price: { source: 'genai-prices', version: '1' } },
    },
    {
      what: 'shows usage in disjoint classes, unknown as null',
      entries: [
        reserve('r'),
        settle('r', '1', {
          usage: {
            inputTokens: 7,
            cacheReadTokens: 3,
            cacheWrite5mTokens: 0,
            cacheWrite1hTokens: 0,
            outputTokens: undefined,
            reasoningTokens: 0,
            audioInputTokens: 0,
            audioOutputTokens: 0,
            webSearches: 0,
          },
        }),
      ],
      shape: {
        usage: {
          input_tokens: 7,
          cache_read_tokens: 3,
          cache_write_5m_tokens: 0,
          cache_write_1h_tokens: 0,
          output_tokens: null,
          reasoning_tokens: 0,
          audio_input_tokens: 0,
          audio_output_tokens: 0,
          web_searches: 0,
        },
      },
    },
    {
      what: 'is charged by its first settlement alone',
      entries: [reserve('r'), settle('r', '1000000'), settle('r', '9000000', { status: 'failed' })],
      shape: { status: 'completed', cost_usd: '0.001' },
    },
    {
      what: 'has its step from an event about it when it named none',
      entries: [reserve('r'), event('llm.call.started', { stepId: 's9', parentStepId: 'p', reservationId: 'r' })],
      shape: { step_id: 's9', parent_step_id: 'p' },
    },
  ];
  it.each(requests)('a request $what', ({ entries, shape }) => {
    expect(fold(start, ...entries).requests).toEqual([expect.objectContaining(shape)]);
  });

  it('leaves out a call that was released, and its cost', () => {
    const run = fold(
      start,
      reserve('r', { source: 'self_reported', stepId: 's1' }),
      settle('r', '0', { status: 'released' }),
      reserve('r2', { stepId: 's1' }),
      settle('r2', '5000000'),
    );
    expect(run.requests.map((request) => request.request_id)).toEqual(['r2']);
    expect(run.counts).toEqual({ requests: 1, tool_calls: 0, retries: 0, steps: 1 });
  });

  it('shows a refused call with its step, charges nothing for it and does not count it', () => {
    const run = fold(start, {
      type: 'decision',
      at: AT + 5,
      id: 'dec_1',
      ...RUN,
      phase: 'model_request',
      outcome: 'denied',
      code: 'budget_exceeded',
      reason: 'no room',
      rule: 'run:*',
      subject: 'gpt-4o-mini',
      stepId: 's1',
    });
    expect(run.requests).toEqual([
      expect.objectContaining({
        request_id: 'dec_1',
        status: 'refused',
        model: 'gpt-4o-mini',
        cost_usd: '0',
        held_usd: '0',
        error: 'no room',
      }),
    ]);
    expect(run.steps).toEqual([expect.objectContaining({ step_id: 's1', status: 'denied', kind: 'llm_call', cost_usd: '0' })]);
    expect(run.decisions).toEqual([
      expect.objectContaining({ decision_id: 'dec_1', outcome: 'denied', code: 'budget_exceeded', rule: 'run:*' }),
    ]);
    expect(run.counts).toEqual({ requests: 0, tool_calls: 0, retries: 0, steps: 1 });
  });

  it('shows a denied tool once, however often it was asked for and reported', () => {
    const denied: Entry = {
      type: 'decision',
      at: AT + 5,
      id: 'dec_1',
      ...RUN,
      phase: 'tool_call',
      outcome: 'denied',
      reason: 'not allowed',
      subject: 'refund',
      stepId: 's1',
      toolCallId: 'c1',
    };
    const run = fold(
      start,
      event('tool.call.requested', { toolCallId: 'c1', stepId: 's1' }),
      denied,
      { ...denied, id: 'dec_2' },
      event('tool.call.failed', { toolCallId: 'c1', stepId: 's1' }),
    );
    expect(run.tools).toEqual([expect.objectContaining({ tool_call_id: 'c1', tool: 'refund', status: 'denied', cost_usd: '0' })]);
    expect(run.decisions).toHaveLength(2);
    expect(run.margin.unknown).toEqual([]);
    expect(run.counts).toEqual({ requests: 0, tool_calls: 0, retries: 0, steps: 1 });
  });

  it('shows a tool that was denied and then admitted as admitted', () => {
    const denied: Entry = {
      type: 'decision',
      at: AT + 5,
      id: 'dec_1',
      ...RUN,
      phase: 'tool_call',
      outcome: 'denied',
      reason: 'no room',
      subject: 'search',
      toolCallId: 'c1',
    };
    const run = fold(start, denied, reserve('t', { kind: 'tool', name: 'search', toolCallId: 'c1' }), settle('t', '2000000'));
    expect(run.tools).toEqual([expect.objectContaining({ tool_call_id: 'c1', status: 'completed', cost_usd: '0.002' })]);
    expect(run.counts.tool_calls).toBe(1);
  });

  it('shows a tool that only events speak of as self-reported, its cost unknown', () => {
    const run = fold(
      start,
      event('tool.call.requested', { toolCallId: 'c1', stepId: 's1', eventAt: AT + 1, event: { name: 'search' } }),
      event('tool.call.failed', {
        toolCallId: 'c1',
        stepId: 's1',
        eventAt: AT + 8,
        event: { metadata: { tool_name: 'web_search', message: 'timed out' } },
      }),
    );
    expect(run.tools).toEqual([
      expect.objectContaining({
        tool_call_id: 'c1',
        tool: 'search',
        source: 'self_reported',
        status: 'failed',
        error: 'timed out',
        cost_usd: null,
        started_at: '2026-11-24T12:00:00.001Z',
        ended_at: '2026-11-24T12:00:00.008Z',
      }),
    ]);
    expect(run.margin.unknown).toEqual(['tool:search']);
    expect(run.counts).toMatchObject({ tool_calls: 1, steps: 1 });
  });

  it('adds nothing for events about calls that have a reservation', () => {
    const calls: Entry[] = [
      start,
      reserve('r', { stepId: 's1' }),
      settle('r', '5000000'),
      reserve('t', { kind: 'tool', name: 'search', toolCallId: 'c1', stepId: 's2', at: AT + 11 }),
      settle('t', '2000000'),
    ];
    const about = [
      event('llm.call.started', { stepId: 's1', reservationId: 'r' }),
      event('llm.call.completed', { stepId: 's1', reservationId: 'r', event: { metadata: { cost_usd: '99' } } }),
      event('tool.call.requested', { stepId: 's2', toolCallId: 'c1' }),
      event('tool.call.completed', { stepId: 's2', toolCallId: 'c1', reservationId: 't' }),
    ];
    expect(fold(...calls, ...about)).toEqual(fold(...calls));
  });

  it('takes no cost from a model call that only events speak of', () => {
    const run = fold(start, event('llm.call.completed', { stepId: 's1', event: { metadata: { cost_usd: '99' } } }));
    expect([run.requests, run.cost.total_usd, run.counts.requests]).toEqual([[], '0', 0]);
    expect(run.steps).toEqual([expect.objectContaining({ step_id: 's1', kind: 'llm_call', status: 'completed' })]);
  });

  describe('steps of nested agents and handoffs', () => {
    const nested = [
      event('step.started', {
        stepId: 'agent_2',
        parentStepId: 's2',
        eventAt: AT + 12,
        event: { step_kind: 'planning', name: 'researcher' },
      }),
      event('step.completed', { stepId: 'agent_2', eventAt: AT + 40, event: { step_kind: 'planning' } }),
      event('handoff.requested', { stepId: 'h1', eventAt: AT + 50, event: { name: 'to billing' } }),
    ];
    it('stand where their events say, and the parent before what it holds', () => {
      const run = fold(start, reserve('r', { stepId: 's3', parentStepId: 'agent_2', at: AT + 12 }), settle('r', '5000000'), ...nested);
      expect(run.steps.map(({ step_id, parent_step_id, kind, name, status }) => [step_id, parent_step_id, kind, name, status])).toEqual([
        ['agent_2', 's2', 'planning', 'researcher', 'completed'],
        ['s3', 'agent_2', 'llm_call', 'gpt-4o-mini', 'completed'],
        ['h1', null, 'handoff', 'to billing', 'open'],
      ]);
    });

    it.each([
      ['completed', 'completed'],
      ['failed', 'failed'],
      ['stopped', 'failed'],
    ] as const)('that nobody ended end with a run that is %s', (status, expected) => {
      const run = fold(start, ...nested, end(status));
      expect(run.steps.find((step) => step.step_id === 'h1')).toMatchObject({ status: expected, ended_at: '2026-11-24T12:00:00.900Z' });
    });

    it('do not count graph nodes, which have no kind', () => {
      const run = fold(
        start,
        event('step.started', { stepId: 'node', graphNode: 'agent', event: { step_kind: 'unknown' } }),
        event('step.started', { stepId: 'node_2', event: {} }),
      );
      expect([run.steps, run.counts.steps]).toEqual([[], 0]);
    });

    it('fail by an event that makes no step of its own', () => {
      const run = fold(
        start,
        event('step.started', { stepId: 'a', event: { step_kind: 'planning' } }),
        event('step.failed', { stepId: 'a', eventAt: AT + 60, event: { step_kind: 'unknown' } }),
      );
      expect(run.steps).toEqual([expect.objectContaining({ step_id: 'a', status: 'failed', kind: 'planning' })]);
    });
  });

  it('keeps a call open that is still in flight when its run ends', () => {
    expect(fold(start, reserve('r', { stepId: 's1' }), end('stopped')).steps).toEqual([
      expect.objectContaining({ status: 'open', ended_at: null }),
    ]);
  });

  it('is the same whatever order its events arrive in and however often', () => {
    for (const seed of [1, 2, 3, 4, 5, Math.floor(Math.random() * 1e9)]) {
      const random = createRandom(seed);
      const entries = randomEntries(random, 250).filter((entry) => entry.workspaceId === 'acme' && entry.runId === 'run_0');
      const isEvent = (entry: Entry): entry is EventEntry => entry.type === 'event';
      // The first entry that is the run's own stays first, and with it what it states; events may come anywhere after it.
      const [first, ...rest] = [start, ...entries].map((entry): Entry =>
        isEvent(entry) ? { ...entry, sessionId: undefined, agentId: undefined, workflowId: undefined, customerId: undefined } : entry,
      );
      if (first === undefined) throw new Error('there is always a start');
      const events = rest.filter(isEvent);
      const disturbed: Entry[] = rest.filter((entry) => !isEvent(entry));
      for (const each of [...events, ...events.filter(() => random.chance(0.5))])
        disturbed.splice(random.below(disturbed.length + 1), 0, each);
      expect({ seed, run: fold(first, ...disturbed) }).toEqual({ seed, run: fold(first, ...rest) });
    }
  });

  it('shows the budgets it is given', () => {
    const budget = {
      scope: 'run',
      id: 'run_1',
      window: 'lifetime',
      action: 'block',
      limit_usd: '1',
      settled_usd: '0',
      held_usd: '0',
      overage_usd: '0',
      remaining_usd: '1',
      state: 'ok',
    } as const;
    expect(foldRun([{ seq: 1, entry: start }], { budgets: [budget] })?.budgets).toEqual([budget]);
  });
});
