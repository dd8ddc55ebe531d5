import { afterEach, describe, expect, it } from '@jest/globals';
import { formatUsd } from '@runpurse/core';
import type { CallRequest } from '../admit/types.ts';
import { decisionsIn, errorIn, openTestStage, type TestStage } from './test-stage.ts';

let stage: TestStage;
afterEach(() => stage.close());
const open = async (...args: Parameters<typeof openTestStage>): Promise<TestStage> => (stage = await openTestStage(...args));

const TOOL_CONFIG = {
  tools: [
    { name: 'lookup', price_usd: '0.10' },
    { name: 'fragile', price_usd: '0.10', charge_on_failure: false },
  ],
};
const requested = (tool: string, more: object = {}): object => ({
  type: 'tool.call.requested',
  run_id: 'r1',
  tool_call_id: 't1',
  step_id: 's1',
  metadata: { tool_name: tool },
  ...more,
});
const ended = (type: string, tool: string, more: object = {}): object => ({
  type,
  run_id: 'r1',
  tool_call_id: 't1',
  step_id: 's1',
  metadata: { tool_name: tool },
  ...more,
});
const MODEL = { model: 'm', provider: 'sandbox' };
const started = (metadata: object = {}, more: object = {}): object => ({
  type: 'llm.call.started',
  run_id: 'r1',
  step_id: 's1',
  metadata: { ...MODEL, ...metadata },
  ...more,
});
const completed = (metadata: object = {}, more: object = {}): object => ({
  type: 'llm.call.completed',
  run_id: 'r1',
  step_id: 's1',
  metadata: { ...MODEL, ...metadata },
  ...more,
});
const USAGE = { usage: { input_tokens: 1000, output_tokens: 500 } };
const modelCall = (more: Partial<CallRequest> = {}): CallRequest => ({
  kind: 'model',
  name: 'm',
  provider: 'sandbox',
  source: 'gateway',
  id: 'req_1',
  hold: 1_000_000n,
  subject: { workspaceId: 'acme', keyId: 'key-1', runId: 'r1', implicitRun: false, stepId: 's1' },
  ...more,
});

describe('a run', () => {
  it('begins with its cap and bounds, and ends with status, reason and finance', async () => {
    const { send, run, gateway } = await open(TOOL_CONFIG);
    await send({ type: 'run.started', run_id: 'r1', session_id: 's', metadata: { limit_usd: '0.15', bounds: { max_tool_calls: 5 } } });
    expect((await send(requested('lookup'))).body['allowed']).toBe(true);
    const second = await send(requested('lookup', { tool_call_id: 't2' }), { enforce: true });
    expect([second.status, errorIn(second)['code']]).toEqual([402, 'budget_exceeded']);
    await send(ended('tool.call.completed', 'lookup'));
    await send({
      type: 'run.failed',
      run_id: 'r1',
      metadata: { message: 'no room', revenue_usd: '5', outbound_usd: '1', fees_usd: '0.5' },
    });
    expect(await run('r1')).toMatchObject({
      status: 'failed',
      status_reason: 'no room',
      session_id: 's',
      revenue_usd: '5',
      margin: { known_usd: '3.4' },
    });
    expect(gateway.admission.run('acme', 'r1')?.status).toBe('failed');
  });

  it('begins with any first event, and is told later what it did not know', async () => {
    const { send, run } = await open();
    await send({ type: 'checkpoint.created', run_id: 'r1' });
    await send({ type: 'step.started', run_id: 'r1', session_id: 's', customer_id: 'c' });
    expect(await run('r1')).toMatchObject({ status: 'running', session_id: 's', customer_id: 'c' });
  });

  it('that ended can not begin again, nor go on; one that is paused says what to do', async () => {
    const { send, turn, gateway, decisions } = await open();
    await send([
      { type: 'run.started', run_id: 'r1' },
      { type: 'run.completed', run_id: 'r1' },
    ]);
    turn(1000);
    expect(errorIn(await send({ type: 'run.started', run_id: 'r1' }, { enforce: true }))['code']).toBe('run_ended');
    expect((await send({ type: 'run.started', run_id: 'r1', timestamp: '2027-01-01T00:00:00Z' })).body['allowed']).toBe(false);
    expect(errorIn(await send({ type: 'handoff.requested', run_id: 'r1' }, { enforce: true }))['code']).toBe('run_ended');
    expect(await decisions('r1')).toHaveLength(3);
    await send({ type: 'run.started', run_id: 'r2' });
    await gateway.admission.controlRun({ workspaceId: 'acme', keyId: 'key-1', runId: 'r2' }, 'pause', undefined);
    expect(errorIn(await send({ type: 'step.started', run_id: 'r2' }, { enforce: true }))).toMatchObject({
      code: 'run_paused',
      message: expect.stringContaining('/resume'),
    });
    expect((await send({ type: 'step.completed', run_id: 'r2' }, { enforce: true })).status).toBe(202);
  });

  it('that a rule denies does not begin, and its event is kept all the same', async () => {
    const { send, events, gateway } = await open({
      policy: { rules: [{ id: 'closed', phase: 'run_update', effect: 'block', reason: 'We are closed' }] },
    });
    const event = { type: 'run.started', run_id: 'r1', event_id: 'e1' };
    const result = await send(event, { enforce: true });
    expect([result.status, errorIn(result)['blocked_by']]).toEqual([403, 'closed']);
    expect(gateway.admission.run('acme', 'r1')).toBeUndefined();
    expect(await events()).toMatchObject([{ eventType: 'run.started', event: { run_id: 'r1' } }]);
    expect((await send(event, { enforce: true })).status).toBe(403);
    stage = await stage.restart();
    expect((await stage.send(event, { enforce: true })).status).toBe(403);
    expect(await stage.events()).toHaveLength(1);
  });

  it('stopped by hand and then reported as over keeps its status, and its amounts count once', async () => {
    const { send, run, gateway } = await open();
    await send({ type: 'run.started', run_id: 'r1' });
    await gateway.admission.controlRun({ workspaceId: 'acme', keyId: 'key-1', runId: 'r1' }, 'stop', 'enough');
    await send({ type: 'run.failed', run_id: 'r1', metadata: { revenue_usd: '2' } });
    await send({ type: 'run.failed', run_id: 'r1', metadata: { revenue_usd: '2' } });
    expect(await run('r1')).toMatchObject({ status: 'stopped', status_reason: 'enough', revenue_usd: '2' });
  });

  it('gets revenue, payments and fees also after its end', async () => {
    const { send, run } = await open();
    await send([
      { type: 'run.started', run_id: 'r1' },
      { type: 'run.completed', run_id: 'r1', metadata: { revenue_usd: '1' } },
    ]);
    await send({ type: 'finance.recorded', run_id: 'r1', metadata: { revenue_usd: '0.5', fees_usd: '0.1' } });
    expect(await run('r1')).toMatchObject({ status: 'completed', revenue_usd: '1.5', margin: { known_usd: '1.4' } });
  });

  it('counts a step once, however many events speak of it', async () => {
    const { send, run, gateway } = await open();
    await send([
      { type: 'step.started', run_id: 'r1', step_id: 'a', step_kind: 'handoff' },
      { type: 'step.completed', run_id: 'r1', step_id: 'a', step_kind: 'handoff' },
      { type: 'step.started', run_id: 'r1', step_id: 'node', graph_node: 'plan' },
      { type: 'handoff.requested', run_id: 'r1', step_id: 'b' },
    ]);
    expect(gateway.admission.run('acme', 'r1')?.counts.steps).toBe(2);
    expect((await run('r1')).counts.steps).toBe(2);
  });
});

describe('a tool call', () => {
  it.each<[string, object, object, object]>([
    [
      'completed, with a configured price',
      requested('lookup'),
      ended('tool.call.completed', 'lookup'),
      { status: 'completed', cost_usd: '0.1' },
    ],
    [
      'failed, with a configured price',
      requested('lookup'),
      ended('tool.call.failed', 'lookup', { metadata: { tool_name: 'lookup', message: 'boom' } }),
      { status: 'failed', cost_usd: '0.1', error: 'boom' },
    ],
    ['failed, where failures are free', requested('fragile'), ended('tool.call.failed', 'fragile'), { status: 'failed', cost_usd: '0' }],
    [
      'completed, with a reported cost',
      requested('other'),
      ended('tool.call.completed', 'other', { metadata: { cost_usd: '0.3' } }),
      { status: 'completed', cost_usd: '0.3' },
    ],
    [
      'completed, with the float of the protocol',
      requested('other'),
      ended('tool.call.completed', 'other', { metadata: { cost: 0.25 } }),
      { status: 'completed', cost_usd: '0.25' },
    ],
    ['completed, with no price at all', requested('other'), ended('tool.call.completed', 'other'), { status: 'completed', cost_usd: null }],
    [
      'completed, estimated and not reported',
      requested('other', { metadata: { tool_name: 'other', estimated_cost_cents: 20 } }),
      ended('tool.call.completed', 'other'),
      { status: 'completed', cost_usd: '0.2', unconfirmed: true },
    ],
    [
      'reported as its result alone',
      requested('lookup'),
      ended('tool.result.received', 'lookup'),
      { status: 'completed', cost_usd: '0.1' },
    ],
    [
      'never asked for',
      { type: 'checkpoint.created', run_id: 'r1' },
      ended('tool.call.completed', 'lookup'),
      { status: 'completed', cost_usd: '0.1' },
    ],
  ])('%s', async (_title, first, second, expected) => {
    const { send, run, gateway } = await open(TOOL_CONFIG);
    await send(first);
    await send(second);
    const { tools } = await run('r1');
    expect(tools).toEqual([expect.objectContaining({ tool_call_id: 't1', source: 'self_reported', ...expected })]);
    expect(gateway.admission.openCount).toBe(0);
  });

  it('holds its price until it ends, so that the next one finds it taken', async () => {
    const { send } = await open({ ...TOOL_CONFIG, budgets: [{ scope: 'run', limit_usd: '0.15' }] });
    expect((await send(requested('lookup'))).body['allowed']).toBe(true);
    expect((await send(requested('lookup', { tool_call_id: 't2' }))).body['allowed']).toBe(false);
  });

  it('asked for twice with one id is held and counted once; a further attempt is a retry', async () => {
    const { send, run, gateway } = await open(TOOL_CONFIG);
    await send([requested('lookup'), requested('lookup')]);
    await send(requested('lookup'));
    expect(gateway.admission.openCount).toBe(1);
    await send(ended('tool.call.failed', 'lookup'));
    await send([requested('lookup', { attempt: 2 }), ended('tool.call.completed', 'lookup', { attempt: 2 })]);
    expect(await run('r1')).toMatchObject({ cost: { tool_usd: '0.1', retry_usd: '0.1', total_usd: '0.2' }, counts: { retries: 1 } });
  });

  it('paid for and asked about again, as a resumed graph does, is not charged again', async () => {
    const { send, turn, run } = await open(TOOL_CONFIG);
    await send([requested('lookup'), ended('tool.call.completed', 'lookup')]);
    turn(60_000);
    expect((await send(requested('lookup'), { enforce: true })).status).toBe(202);
    await send(ended('tool.call.completed', 'lookup'));
    expect(await run('r1')).toMatchObject({ cost: { total_usd: '0.1' }, counts: { tool_calls: 1 } });
  });

  it('authorized over the API is settled by its event, and charged no second time', async () => {
    const { send, run, gateway } = await open(TOOL_CONFIG);
    await send({ type: 'run.started', run_id: 'r1' });
    await gateway.admission.admit(
      modelCall({
        kind: 'tool',
        name: 'lookup',
        source: 'self_reported',
        id: 'auth_1',
        hold: 100_000_000n,
        subject: { ...modelCall().subject, toolCallId: 't1' },
      }),
    );
    await send(ended('tool.call.completed', 'lookup'));
    await send(ended('tool.result.received', 'lookup'));
    expect(await run('r1')).toMatchObject({ cost: { total_usd: '0.1' }, counts: { tool_calls: 1 } });
  });

  it('that nobody can settle is asked about without a hold', async () => {
    const { send, gateway } = await open({ ...TOOL_CONFIG, budgets: [{ scope: 'workspace', limit_usd: '0.05' }] });
    const result = await send(requested('lookup', { run_id: undefined }), { enforce: true });
    expect(errorIn(result)['code']).toBe('budget_exceeded');
    expect((await send(requested('other', { run_id: undefined }), { enforce: true })).status).toBe(202);
    expect(gateway.admission.openCount).toBe(0);
  });
});

describe('a model call that the gateway does not carry', () => {
  it('is held at its worst case, then settled at what its usage costs', async () => {
    const { send, run, gateway } = await open({ budgets: [{ scope: 'run', limit_usd: '1' }] });
    const result = await send(started({ input_tokens_max: 2000, max_output_tokens: 1000 }));
    expect(result.body['allowed']).toBe(true);
    expect(gateway.admission.findOpen('acme', 'r1', 'model', 's1')?.hold).toBeGreaterThanOrEqual(4_000_000n);
    await send(completed(USAGE));
    expect(await run('r1')).toMatchObject({
      cost: { model_usd: '0.002', total_usd: '0.002' },
      requests: [
        {
          source: 'self_reported',
          status: 'completed',
          model: 'm',
          provider: 'sandbox',
          cost_usd: '0.002',
          overage_usd: '0',
          unconfirmed: false,
          usage: { input_tokens: 1000, output_tokens: 500 },
        },
      ],
    });
  });

  it.each(['gpt-4o-mini', 'gpt-4o-mini-2024-07-18'])('answered by %s is priced by whom it was asked of', async (answered) => {
    const { send, run } = await open({ providers: [{ name: 'openai', kind: 'openai', models: ['gpt-4o-mini'] }] });
    await send(started({ model: 'gpt-4o-mini', provider: undefined, input_tokens_max: 2000, max_output_tokens: 1000 }));
    await send(completed({ model: answered, provider: undefined, ...USAGE }));
    expect((await run('r1')).requests).toMatchObject([{ provider: 'openai', cost_usd: '0.00045', unconfirmed: false }]);
  });

  it.each<[string, object, object, object]>([
    [
      'without usage is charged its hold, unconfirmed',
      started({ input_tokens_max: 1000, max_output_tokens: 100 }),
      completed(),
      { status: 'completed', unconfirmed: true, usage: null },
    ],
    [
      'that failed with usage is charged that',
      started(),
      { ...completed(USAGE), type: 'llm.call.failed' },
      { status: 'failed', cost_usd: '0.002' },
    ],
    ['that was aborted is shown so', started(), completed({ ...USAGE, status: 'aborted' }), { status: 'aborted', cost_usd: '0.002' }],
    [
      'reported only afterwards is charged in full',
      { type: 'checkpoint.created', run_id: 'r1' },
      completed(USAGE),
      { status: 'completed', cost_usd: '0.002', overage_usd: '0' },
    ],
    [
      'of a provider in its name is priced',
      { type: 'checkpoint.created', run_id: 'r1' },
      completed({ model: 'sandbox/m', provider: undefined, ...USAGE }),
      { model: 'm', provider: 'sandbox', cost_usd: '0.002' },
    ],
    [
      'of unknown price stays unknown',
      { type: 'checkpoint.created', run_id: 'r1' },
      completed({ model: 'nobody-prices-this', provider: 'nobody', ...USAGE }),
      { cost_usd: null },
    ],
    [
      'of unknown price with a reported cost is charged that, unconfirmed',
      { type: 'checkpoint.created', run_id: 'r1' },
      completed({ model: 'nobody-prices-this', provider: 'nobody', cost_usd: '0.7' }),
      { cost_usd: '0.7', unconfirmed: true },
    ],
  ])('%s', async (_title, first, second, expected) => {
    const { send, run } = await open();
    await send(first);
    await send(second);
    expect((await run('r1')).requests).toEqual([expect.objectContaining(expected)]);
  });

  it('of unknown price is refused 422 under a hard budget, before it is made', async () => {
    const { send } = await open({ budgets: [{ scope: 'run', limit_usd: '1' }] });
    const result = await send(started({ model: 'nobody-prices-this', provider: 'nobody' }), { enforce: true });
    expect([result.status, errorIn(result)['code']]).toEqual([422, 'price_unknown']);
  });

  it('is two calls when one step makes two, and one when the same end is told twice', async () => {
    const { send, run } = await open();
    const at = (second: number): object => ({ timestamp: `2026-11-24T12:00:0${second}Z` });
    await send([completed(USAGE, at(1)), completed(USAGE, at(2)), completed(USAGE, at(2))]);
    expect(await run('r1')).toMatchObject({ cost: { total_usd: '0.004' }, counts: { requests: 2 } });
  });
});

describe('a model call that the gateway carries', () => {
  it('is charged by the gateway alone: an event about its step or its request id links to it', async () => {
    const { send, run, events, gateway } = await open();
    await send({ type: 'run.started', run_id: 'r1' });
    await gateway.admission.admit(modelCall());
    const early = await send(started());
    gateway.admission.settle('req_1', { status: 'completed', cost: 700n });
    await send([completed(USAGE), completed({ ...USAGE, request_id: 'req_1' }, { step_id: 'elsewhere' })]);
    expect(early.body['allowed']).toBe(true);
    expect(await run('r1')).toMatchObject({ cost: { total_usd: '0.0000007' }, counts: { requests: 1 }, requests: [{ source: 'gateway' }] });
    expect((await events('r1')).slice(1)).toMatchObject([
      { reservationId: 'req_1', event: { event_source_trust: 'gateway_observed' } },
      { reservationId: 'req_1' },
      { reservationId: 'req_1' },
    ]);
  });

  it('takes over the hold that an event asked for', async () => {
    const { send, run, gateway } = await open({ budgets: [{ scope: 'run', limit_usd: '0.01' }] });
    await send(started({ input_tokens_max: 1000, max_output_tokens: 1000 }));
    const admitted = await gateway.admission.admit(modelCall({ hold: 9_000_000n }));
    expect(admitted.type).toBe('admitted');
    gateway.admission.settle('req_1', { status: 'completed', cost: 1_000_000n });
    await send(completed(USAGE));
    expect(await run('r1')).toMatchObject({ cost: { total_usd: '0.001' }, counts: { requests: 1 } });
  });

  it('leaves an earlier try, which went past the gateway, its hold and its cost', async () => {
    const { send, run, gateway } = await open({ budgets: [{ scope: 'run', limit_usd: '0.02' }] });
    await send(started({ input_tokens_max: 1000, max_output_tokens: 1000 }, { attempt: 1 }));
    const held = gateway.admission.findOpen('acme', 'r1', 'model', 's1')?.hold ?? 0n;
    const { subject } = modelCall();
    await gateway.admission.admit(modelCall({ hold: 9_000_000n, subject: { ...subject, attempt: 2 } }));
    await send({ ...completed({}, { attempt: 1 }), type: 'llm.call.failed' });
    gateway.admission.settle('req_1', { status: 'completed', cost: 1_000_000n });
    await send(completed(USAGE, { attempt: 2 }));
    expect(gateway.admission.openCount).toBe(0);
    expect(await run('r1')).toMatchObject({
      requests: [
        { attempt: 1, status: 'failed', cost_usd: formatUsd(held), unconfirmed: true, source: 'self_reported' },
        { attempt: 2, status: 'completed', cost_usd: '0.001', source: 'gateway' },
      ],
      cost: { retry_usd: '0.001', total_usd: formatUsd(held + 1_000_000n) },
    });
  });

  it('announced as carried is asked about, holds nothing and costs nothing by its events', async () => {
    const { send, run, gateway } = await open({ policy: { models: { deny: ['big-*'] } } });
    expect((await send(started({ carried: true }), { enforce: true })).status).toBe(202);
    expect((await send(started({ carried: true, model: 'big-1' }, { step_id: 's2' }), { enforce: true })).status).toBe(403);
    expect(gateway.admission.openCount).toBe(0);
    await send(completed({ ...USAGE, carried: true }));
    expect((await run('r1')).cost.total_usd).toBe('0');
  });
});

describe('a loop', () => {
  it('of identical tool calls is seen by their input hash', async () => {
    const { send } = await open({ bounds: [{ scope: 'run', max_repeats: 2 }] });
    const tries = [];
    for (const id of ['t1', 't2', 't3'])
      tries.push(decisionsIn(await send(requested('lookup', { tool_call_id: id, input_hash: 'same' })))[0]?.['reason']);
    expect(tries).toEqual(['policy_disabled_allowed', 'policy_disabled_allowed', 'budget_exceeded']);
  });
});

describe('a rule over facts', () => {
  it('sees what the gateway counted, in run updates as in calls', async () => {
    const { send, decisions } = await open({
      ...TOOL_CONFIG,
      policy: {
        rules: [
          { id: 'dear', phase: 'run_update', when: 'cost.run_usd > 0.05 && counts.tool_calls >= 1 && session.id == "s"', effect: 'block' },
        ],
      },
    });
    await send([requested('lookup', { session_id: 's' }), ended('tool.call.completed', 'lookup')]);
    const result = await send({ type: 'handoff.requested', run_id: 'r1', step_id: 'h' });
    expect(result.body['allowed']).toBe(false);
    expect(await decisions('r1')).toMatchObject([
      { phase: 'run_update', rule: 'dear', ruleRevision: '1', outcome: 'denied', code: 'policy_denied', stepId: 'h' },
    ]);
  });

  it('that fails at run time refuses, and says which rule and why', async () => {
    const { send } = await open({
      policy: { rules: [{ id: 'broken', phase: 'tool_call', when: 'agent.id.startsWith("a")', effect: 'audit' }] },
    });
    const result = await send(requested('lookup'), { enforce: true });
    expect(result.status).toBe(403);
    expect(errorIn(result)).toMatchObject({
      code: 'policy_denied',
      blocked_by: 'broken',
      message: expect.stringContaining('Rule "broken" could not be evaluated'),
    });
  });
});

describe('a rule that skips', () => {
  it('mutes the audits of the same call in log and warnings, and opens no gate', async () => {
    const rules = [
      { id: 'watch', phase: 'tool_call', effect: 'audit' },
      { id: 'quiet', revision: 2, phase: 'tool_call', effect: 'skip' },
    ] as const;
    const { send, decisions } = await open({ policy: { tools: { deny: ['refund'] }, rules: [...rules] } });
    const result = await send([requested('lookup'), requested('refund', { tool_call_id: 't2' })]);
    expect(decisionsIn(result).map((decision) => [decision['allowed'], decision['warnings']])).toEqual([
      [true, []],
      [false, []],
    ]);
    expect((await decisions('r1')).map(({ outcome, rule, ruleRevision }) => [outcome, rule, ruleRevision])).toEqual([
      ['skipped', 'quiet', '2'],
      ['denied', 'tools.deny', '1'],
    ]);
  });
});

describe('a step that is one model call', () => {
  const PRICED = {
    prices: [{ provider: 'sandbox', model: 'm', input_mtok_usd: '1', output_mtok_usd: '10' }],
    budgets: [{ scope: 'run' as const, limit_usd: '0.01' }],
  };
  const bounds = { one_call: true, input_tokens_max: 5_000, max_output_tokens: 500 };

  it('asked for again while it is open does not stand in its own way, and is held once', async () => {
    const { send, gateway } = await open(PRICED);
    for (let time = 0; time < 2; time += 1) expect((await send(started(bounds), { enforce: true })).status).toBe(202);
    expect(gateway.admission.openCount).toBe(1);
  });

  it('told before it is asked for, as when nobody answered at first, is held and charged no second time', async () => {
    const { send, gateway, run, turn } = await open(PRICED);
    await send(completed({ ...USAGE, one_call: true }, { event_id: 'end' }));
    turn(1_000);
    expect((await send(started({ ...bounds, max_output_tokens: 1 }), { enforce: true })).status).toBe(202);
    await send(completed({ ...USAGE, one_call: true }, { event_id: 'end' }));
    await send(completed({ ...USAGE, one_call: true }, { event_id: 'end again' }));
    expect(gateway.admission.openCount).toBe(0);
    expect(await run('r1')).toMatchObject({ requests: [{ cost_usd: '0.006' }], cost: { total_usd: '0.006' } });
  });
});

describe('two attempts of a call under way at once', () => {
  it.each([
    ['tool', 1, 2],
    ['tool', 2, 1],
    ['model', 1, 2],
    ['model', 2, 1],
  ] as const)('are each settled by their own end: of a %s call, %i before %i', async (kind, first, second) => {
    const order = [first, second];
    const { send, gateway, run } = await open(TOOL_CONFIG);
    const timestamp = (attempt: number) => new Date(Date.UTC(2026, 10, 24, 12, 0, attempt)).toISOString();
    const ask = (attempt: number) =>
      kind === 'tool' ? requested('other', { attempt }) : started({ one_call: true }, { attempt, timestamp: timestamp(attempt) });
    const end = (attempt: number) =>
      kind === 'tool'
        ? ended('tool.call.completed', 'other', { attempt, metadata: { tool_name: 'other', cost_usd: `0.0${attempt}` } })
        : completed(
            { one_call: true, usage: { input_tokens: attempt * 1000, output_tokens: 0 } },
            { attempt, timestamp: timestamp(attempt) },
          );
    for (const attempt of [1, 2]) await send(ask(attempt));
    for (const attempt of order) await send(end(attempt));
    // Told once more, without an id.
    for (const attempt of order) await send(end(attempt));
    expect(gateway.admission.openCount).toBe(0);
    const { tools, requests } = await run('r1');
    if (kind === 'tool')
      expect(tools.map(({ attempt, cost_usd }) => [attempt, cost_usd])).toEqual([
        [1, '0.01'],
        [2, '0.02'],
      ]);
    else
      expect(requests.map(({ attempt, usage }) => [attempt, usage?.input_tokens])).toEqual([
        [1, 1000],
        [2, 2000],
      ]);
  });
});
