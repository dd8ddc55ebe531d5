import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { openTestApi, type TestApi } from './test-api.ts';

let api: TestApi;
beforeAll(async () => {
  api = await openTestApi({
    tools: [
      { name: 'lookup', price_usd: '0.002' },
      { name: 'polite', price_usd: '0.003', charge_on_failure: false },
    ],
    budgets: [{ name: 'run cap', scope: 'run', id: '*', limit_usd: '0.50' }],
    policy: { tools: { deny: ['forbidden'] } },
    rate: { requests_per_minute: 10_000 },
  });
});
afterAll(() => api.close());

describe("a run's life", () => {
  it('begins once: a second start with the same facts is the same run', async () => {
    const facts = {
      run_id: 'life_1',
      session_id: 's1',
      workflow_id: 'w1',
      agent_id: 'a1',
      customer_id: 'c1',
      limit_usd: '0.10',
      bounds: { max_steps: 5, max_retries: 0 },
    };
    const first = await api.post('/v1/runs', facts);
    expect(first.status).toBe(201);
    expect(first.body).toMatchObject({
      run_id: 'life_1',
      session_id: 's1',
      workflow_id: 'w1',
      agent_id: 'a1',
      customer_id: 'c1',
      workspace_id: 'acme',
      status: 'running',
    });
    expect(first.body['budgets']).toMatchObject([
      { scope: 'run', limit_usd: '0.5' },
      { scope: 'run', limit_usd: '0.1', remaining_usd: '0.1' },
    ]);
    const second = await api.post('/v1/runs', facts);
    expect([second.status, second.body]).toEqual([200, first.body]);
    // As headers and events read an id: spaces around it don't make another run, and a cap set here holds there.
    const spaced = await api.post('/v1/runs', { ...facts, run_id: ' life_1 ' });
    expect([spaced.status, spaced.body]).toEqual([200, first.body]);
  });

  it('gets an id from the gateway when it brings none', async () => {
    const { status, body } = await api.post('/v1/runs', {});
    expect([status, body['run_id']]).toEqual([201, expect.stringMatching(/^run_/)]);
  });

  it('keeps its session: another one is a conflict that names both', async () => {
    const { status, error } = await api.post('/v1/runs', { run_id: 'life_1', session_id: 's2' });
    expect([status, error.code]).toEqual([409, 'context_conflict']);
    expect(error.message).toMatch(/session s1.*session s2/);
  });

  it('ends with its revenue, known margin and status, and answers the same when ended again', async () => {
    await api.post('/v1/runs', { run_id: 'life_2' });
    await api.post('/v1/tools/authorize', { run_id: 'life_2', tool: 'lookup', tool_call_id: 't1' });
    await api.post('/v1/tools/settle', { run_id: 'life_2', tool_call_id: 't1' });
    const end = { status: 'completed', revenue_usd: '0.010', fees_usd: '0.001' };
    const ended = await api.post('/v1/runs/life_2/end', end);
    expect(ended.body).toMatchObject({
      status: 'completed',
      revenue_usd: '0.01',
      cost: { tool_usd: '0.002', total_usd: '0.002' },
      margin: { known_usd: '0.007', percent: '70.0', unknown: [] },
    });
    expect((await api.post('/v1/runs/life_2/end', end)).body).toEqual(ended.body);
    expect((await api.get('/v1/runs/life_2')).body).toEqual(ended.body);
  });

  it('books revenue that comes after the end, once', async () => {
    await api.post('/v1/runs', { run_id: 'life_3' });
    await api.post('/v1/runs/life_3/end', { status: 'completed' });
    for (let again = 0; again < 2; again += 1) {
      expect((await api.post('/v1/runs/life_3/end', { status: 'completed', revenue_usd: '0.10' })).body['revenue_usd']).toBe('0.1');
    }
  });

  it('can not end twice in different ways', async () => {
    await api.post('/v1/runs', { run_id: 'life_4' });
    await api.post('/v1/runs/life_4/end', { status: 'failed', reason: 'tool broke' });
    const { status, error } = await api.post('/v1/runs/life_4/end', { status: 'completed' });
    expect([status, error.code]).toEqual([409, 'run_ended']);
    expect((await api.get('/v1/runs/life_4')).body).toMatchObject({ status: 'failed', status_reason: 'tool broke' });
  });

  it.each([
    ['pause', 'paused', 409, 'run_paused'],
    ['stop', 'stopped', 409, 'run_ended'],
  ])('%s makes it %s, and its next call is answered %i %s', async (operation, state, status, code) => {
    const runId = `life_${operation}`;
    await api.post('/v1/runs', { run_id: runId });
    expect((await api.post(`/v1/runs/${runId}/${operation}`, { reason: 'by hand' })).body).toMatchObject({
      status: state,
      status_reason: 'by hand',
    });
    const refused = await api.post('/v1/tools/authorize', { run_id: runId, tool: 'lookup' });
    expect([refused.status, refused.error.code]).toEqual([status, code]);
  });

  it('goes on when resumed', async () => {
    expect((await api.call('POST', '/v1/runs/life_pause/resume')).body).toMatchObject({ status: 'running' });
    expect((await api.post('/v1/tools/authorize', { run_id: 'life_pause', tool: 'lookup' })).status).toBe(200);
  });

  it('takes ids with any printable character', async () => {
    const runId = 'a/b c?d#é💥';
    await api.post('/v1/runs', { run_id: runId });
    expect((await api.get(`/v1/runs/${encodeURIComponent(runId)}`)).body['run_id']).toBe(runId);
  });
});

describe('a tool call', () => {
  it('holds the price of the configuration, whatever the caller estimates, and charges it', async () => {
    const held = await api.post('/v1/tools/authorize', { run_id: 'tool_1', tool: 'lookup', tool_call_id: 'c1', estimated_cost_usd: '0.4' });
    expect([held.status, held.body['held_usd'], held.body['price_unknown']]).toEqual([200, '0.002', false]);
    const settled = await api.post('/v1/tools/settle', { reservation_id: held.body['reservation_id'], cost_usd: '0.3' });
    expect(settled.body).toMatchObject({ status: 'settled', charged_usd: '0.002', run_id: 'tool_1', tool: 'lookup' });
  });

  it('asked about twice is held once', async () => {
    const ask = { run_id: 'tool_2', tool: 'lookup', tool_call_id: 'c1' };
    const first = await api.post('/v1/tools/authorize', ask);
    const second = await api.post('/v1/tools/authorize', ask);
    expect(second.body['reservation_id']).toBe(first.body['reservation_id']);
    expect((second.body['budgets'] as readonly { held_usd: string }[])[0]?.held_usd).toBe('0.002');
    expect((await api.post('/v1/tools/authorize', { ...ask, tool: 'other' })).error).toMatchObject({
      code: 'conflict',
      param: 'tool_call_id',
    });
  });

  it('settled twice is charged once, by reservation or by call id', async () => {
    const { body } = await api.post('/v1/tools/authorize', {
      run_id: 'tool_3',
      tool: 'free-form',
      tool_call_id: 'c1',
      estimated_cost_usd: '0.01',
    });
    const settle = { run_id: 'tool_3', tool_call_id: 'c1', cost_usd: '0.004' };
    expect((await api.post('/v1/tools/settle', settle)).body).toMatchObject({ status: 'settled', charged_usd: '0.004' });
    expect((await api.post('/v1/tools/settle', settle)).body).toMatchObject({ status: 'already_settled', charged_usd: '0.004' });
    expect((await api.post('/v1/tools/settle', { run_id: 'tool_3', reservation_id: body['reservation_id'] })).body).toMatchObject({
      status: 'already_settled',
    });
    expect((await api.post('/v1/tools/authorize', { run_id: 'tool_3', tool: 'free-form', tool_call_id: 'c1' })).error.code).toBe(
      'conflict',
    );
    expect((await api.get('/v1/runs/tool_3')).body['cost']).toMatchObject({ tool_usd: '0.004', total_usd: '0.004' });
  });

  it('settled again after a thousand other calls is still settled already', async () => {
    const call = { run_id: 'tool_many', tool: 'free-form', estimated_cost_usd: '0.000001' };
    await api.post('/v1/tools/authorize', { ...call, tool_call_id: 'first' });
    const settle = (id: string) => api.post('/v1/tools/settle', { run_id: 'tool_many', tool_call_id: id, cost_usd: '0.000001' });
    await settle('first');
    for (let count = 0; count < 520; count += 1) {
      await api.post('/v1/tools/authorize', { ...call, tool_call_id: `c${count}` });
      await settle(`c${count}`);
    }
    expect((await settle('first')).body).toMatchObject({ status: 'already_settled', charged_usd: '0.000001' });
    expect((await settle('never')).error.code).toBe('not_found');
  });

  it.each([
    ['released', 'polite', '0'],
    ['failed', 'polite', '0'],
    ['failed', 'lookup', '0.002'],
    ['completed', 'polite', '0.003'],
  ])('that %s charges tool %s $%s', async (status, tool, charged) => {
    const runId = `tool_${status}_${tool}`;
    await api.post('/v1/tools/authorize', { run_id: runId, tool, tool_call_id: 'c' });
    expect((await api.post('/v1/tools/settle', { run_id: runId, tool_call_id: 'c', status })).body['charged_usd']).toBe(charged);
  });

  it('of unknown price is let through with an unknown cost, never $0', async () => {
    const held = await api.post('/v1/tools/authorize', { run_id: 'tool_4', tool: 'mystery', tool_call_id: 'c' });
    expect(held.body).toMatchObject({ held_usd: '0', price_unknown: true });
    expect((await api.post('/v1/tools/settle', { run_id: 'tool_4', tool_call_id: 'c' })).body['charged_usd']).toBeNull();
    expect((await api.get('/v1/runs/tool_4')).body).toMatchObject({ margin: { unknown: ['tool:mystery'] }, tools: [{ cost_usd: null }] });
  });

  it('beyond the budget is refused with the amounts and what to do', async () => {
    const { status, error } = await api.post('/v1/tools/authorize', { run_id: 'tool_5', tool: 'dear', estimated_cost_usd: '0.51' });
    expect(status).toBe(402);
    expect(error).toMatchObject({
      code: 'budget_exceeded',
      type: 'budget_error',
      blocked_by: 'run cap',
      limit_usd: '0.5',
      needed_usd: '0.51',
      remaining_usd: '0.5',
    });
    expect(error.message).toMatch(/To go on: Raise the budget/);
  });

  it('a policy denies is refused with the rule', async () => {
    const { status, error } = await api.post('/v1/tools/authorize', { run_id: 'tool_6', tool: 'forbidden' });
    expect([status, error.code]).toEqual([403, 'policy_denied']);
    expect((await api.get('/v1/runs/tool_6')).body).toMatchObject({
      decisions: [{ outcome: 'denied', code: 'policy_denied', subject: 'forbidden' }],
    });
  });

  it('of another workspace can not be settled', async () => {
    const { body } = await api.post('/v1/tools/authorize', { run_id: 'tool_7', tool: 'lookup', tool_call_id: 'c' });
    expect((await api.post('/v1/tools/settle', { reservation_id: body['reservation_id'] }, { key: api.keys.other })).status).toBe(404);
    expect((await api.post('/v1/tools/settle', { reservation_id: body['reservation_id'] })).body['status']).toBe('settled');
  });
});

describe('lists', () => {
  it('of runs page without gap or repeat, newest first, and filter', async () => {
    for (let n = 0; n < 7; n += 1) {
      api.clock.turn(1000);
      await api.post('/v1/runs', { run_id: `list_${n}`, agent_id: n % 2 === 0 ? 'even' : 'odd', session_id: 'listed' });
    }
    const seen: string[] = [];
    let cursor = '';
    do {
      const { body } = await api.get(`/v1/runs?session_id=listed&limit=3${cursor}`);
      seen.push(...(body['data'] as readonly { run_id: string }[]).map((run) => run.run_id));
      cursor = body['next_cursor'] === null ? '' : `&cursor=${String(body['next_cursor'])}`;
    } while (cursor !== '');
    expect(seen).toEqual(['list_6', 'list_5', 'list_4', 'list_3', 'list_2', 'list_1', 'list_0']);
    const even = await api.get('/v1/runs?session_id=listed&agent_id=even');
    expect(even.body['data']).toHaveLength(4);
    const from = new Date(api.clock.now() - 1000).toISOString();
    expect((await api.get(`/v1/runs?session_id=listed&started_from=${from}`)).body['data']).toHaveLength(2);
    expect((await api.get('/v1/runs?session_id=listed&status=failed')).body['data']).toEqual([]);
  });
});
