import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { openTestApi, type TestApi } from './test-api.ts';

let api: TestApi;
beforeAll(async () => {
  api = await openTestApi({ budgets: [{ name: 'everyone', scope: 'run', id: '*', limit_usd: '100' }] });
});
afterAll(() => api.close());

const ids = (data: unknown): string[] => (data as readonly { budget_id: string }[]).map((budget) => budget.budget_id);
const authorize = (runId: string, usd: string, key?: string) =>
  api.post('/v1/tools/authorize', { run_id: runId, tool: 't', estimated_cost_usd: usd }, key === undefined ? {} : { key });

describe('budgets by API', () => {
  it('hold from the answer on, for the workspace of the key that made them and no other', async () => {
    const made = await api.post('/v1/budgets', { name: 'tight', scope: 'run', id: 'b_1', limit_usd: '0.10' }, { key: api.keys.admin });
    expect([made.status, made.body]).toEqual([
      201,
      {
        budget_id: expect.stringMatching(/^bud_/),
        name: 'tight',
        origin: 'api',
        workspace_id: 'acme',
        scope: 'run',
        id: 'b_1',
        window: 'lifetime',
        limit_usd: '0.1',
        action: 'block',
        on_exceed: 'refuse',
        thresholds: [50, 75, 90, 100],
      },
    ]);
    expect((await authorize('b_1', '0.11')).error).toMatchObject({ code: 'budget_exceeded', blocked_by: 'tight' });
    expect((await authorize('b_1', '0.11', api.keys.other)).status).toBe(200);
    expect(ids((await api.get('/v1/budgets')).body['data'])).toEqual(['config_0', made.body['budget_id']]);
    expect(ids((await api.get('/v1/budgets', { key: api.keys.other })).body['data'])).toEqual(['config_0']);
  });

  it('raised by id keep what was spent, and let a paused run go on', async () => {
    const made = await api.post(
      '/v1/budgets',
      { scope: 'run', id: 'b_2', limit_usd: '0.10', action: 'pause_all' },
      { key: api.keys.admin },
    );
    expect(made.body['action']).toBe('pause');
    await api.post('/v1/tools/authorize', { run_id: 'b_2', tool: 't', tool_call_id: 'c', estimated_cost_usd: '0.08' });
    await api.post('/v1/tools/settle', { run_id: 'b_2', tool_call_id: 'c', cost_usd: '0.08' });
    expect((await authorize('b_2', '0.05')).status).toBe(402);
    expect((await api.get('/v1/runs/b_2')).body['status']).toBe('paused');
    const raised = await api.post(
      '/v1/budgets',
      { budget_id: made.body['budget_id'], scope: 'run', id: 'b_2', limit_usd: '0.20', action: 'pause' },
      { key: api.keys.admin },
    );
    expect([raised.status, raised.body['limit_usd']]).toEqual([200, '0.2']);
    const { body } = await api.get('/v1/runs/b_2');
    expect(body).toMatchObject({ status: 'running' });
    expect((body['budgets'] as readonly object[])[1]).toMatchObject({ settled_usd: '0.08', remaining_usd: '0.12' });
    expect((await authorize('b_2', '0.05')).status).toBe(200);
  });

  it('deleted no longer hold', async () => {
    const { body } = await api.post('/v1/budgets', { scope: 'run', id: 'b_3', limit_usd: '0.01' }, { key: api.keys.admin });
    expect((await authorize('b_3', '0.02')).status).toBe(402);
    expect((await api.call('DELETE', `/v1/budgets/${String(body['budget_id'])}`, { key: api.keys.admin })).body).toEqual({
      budget_id: body['budget_id'],
      deleted: true,
    });
    expect((await authorize('b_3', '0.02')).status).toBe(200);
  });

  it('of another workspace are neither seen, changed nor deleted', async () => {
    const { body } = await api.post('/v1/budgets', { scope: 'run', id: 'b_4', limit_usd: '1' }, { key: api.keys.admin });
    const id = String(body['budget_id']);
    expect((await api.call('DELETE', `/v1/budgets/${id}`, { key: api.keys.other })).error.code).toBe('not_found');
    expect(
      (await api.post('/v1/budgets', { budget_id: id, scope: 'run', id: 'b_4', limit_usd: '9' }, { key: api.keys.other })).error.code,
    ).toBe('not_found');
  });

  it("that hold for every workspace are the operator's alone", async () => {
    await api.gateway.store.putBudget({ budgetId: 'bud_global', body: { scope: 'run', id: 'b_5', limit_usd: '1' }, updatedAt: 0 });
    api.gateway.admission.reloadBudgets();
    const answer = await api.call('DELETE', '/v1/budgets/bud_global', { key: api.keys.admin });
    expect([answer.status, answer.error.message]).toEqual([409, expect.stringMatching(/every workspace.*operator/)]);
  });

  const keyed = (more: object, key = api.keys.admin) =>
    api.post('/v1/budgets', { scope: 'run', id: 'b_7', limit_usd: '1', idempotency_key: 'nightly', ...more }, { key });
  const listed = async (id: string) =>
    ((await api.get('/v1/budgets')).body['data'] as { id: string; limit_usd: string }[]).filter((budget) => budget.id === id);

  it('made again under an idempotency key are replaced, at the same instant too, and in this workspace alone', async () => {
    const made = await Promise.all(Array.from({ length: 8 }, () => keyed({})));
    expect(new Set(made.map(({ body }) => body['budget_id'])).size).toBe(1);
    expect(await listed('b_7')).toHaveLength(1);
    const again = await keyed({ limit_usd: '2' });
    expect([again.status, again.body['budget_id']]).toEqual([200, made[0]?.body['budget_id']]);
    expect(await listed('b_7')).toMatchObject([{ limit_usd: '2' }]);
    const other = await keyed({ idempotency_key: 'weekly' });
    expect([other.status, other.body['budget_id'] === again.body['budget_id']]).toEqual([201, false]);
    await api.call('DELETE', `/v1/budgets/${String(again.body['budget_id'])}`, { key: api.keys.admin });
    expect((await keyed({})).status).toBe(201);
  });

  it('are not both replaced by id and named by a key', async () => {
    const { body } = await keyed({ id: 'b_8', idempotency_key: 'once' });
    const answer = await keyed({ id: 'b_8', budget_id: body['budget_id'], limit_usd: '9' });
    expect([answer.status, answer.error.code, answer.error.message]).toEqual([400, 'invalid_request', expect.stringContaining('not both')]);
    expect(await listed('b_8')).toMatchObject([{ limit_usd: '1' }]);
  });

  it('make sense of a duplicate request by the id alone: two posts without id are two budgets', async () => {
    const body = { scope: 'run', id: 'b_6', limit_usd: '1' };
    const first = await api.post('/v1/budgets', body, { key: api.keys.admin });
    const second = await api.post('/v1/budgets', body, { key: api.keys.admin });
    expect(first.body['budget_id']).not.toBe(second.body['budget_id']);
  });
});
