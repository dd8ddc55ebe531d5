import { afterAll, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { StoreError } from '../store/store.ts';
import { createApi } from './index.ts';
import { openTestApi, type TestApi } from './test-api.ts';

let api: TestApi;
beforeAll(async () => {
  api = await openTestApi({ budgets: [{ name: 'all', scope: 'workspace', id: '*', limit_usd: '1' }] });
});
afterAll(() => api.close());

describe('what needs no key', () => {
  it.each(['/healthz', '/readyz', '/openapi.json', '/api/v1/cockpit/health'])('%s', async (path) => {
    expect((await api.get(path, { key: null })).status).toBe(200);
  });
});

describe('a failing ledger', () => {
  it('makes the gateway not ready, and every read and write 503', async () => {
    const failing = {
      ...api.gateway,
      store: new Proxy(api.gateway.store, {
        get: (store, name) =>
          name === 'failing'
            ? true
            : name === 'run' || name === 'runs' || name === 'spend' || name === 'entries'
              ? () => Promise.reject(new StoreError('disk full'))
              : (Reflect.get(store, name) as unknown),
      }),
    };
    const app = createApi(failing);
    const headers = { authorization: `Bearer ${api.keys.plain}` };
    for (const path of ['/readyz', '/v1/runs', '/v1/runs/x', '/v1/sessions/x', '/v1/spend?by=agent', '/v1/events', '/metrics']) {
      const response = await app.request(path, { headers });
      expect([path, response.status, ((await response.json()) as { error: { code: string } }).error.code]).toEqual([
        path,
        503,
        'ledger_unavailable',
      ]);
    }
    expect((await app.request('/healthz')).status).toBe(200);
  });
});

describe('a fault of ours', () => {
  it('is logged with its cause and answered without it', async () => {
    const onFault = jest.fn();
    const broken = {
      ...api.gateway,
      admission: new Proxy(api.gateway.admission, {
        get: (admission, name) =>
          name === 'budgets'
            ? () => {
                throw new Error('inner secret');
              }
            : (Reflect.get(admission, name) as unknown),
      }),
    };
    const response = await createApi(broken, { onFault }).request('/v1/budgets', {
      headers: { authorization: `Bearer ${api.keys.plain}` },
    });
    const text = await response.text();
    expect(response.status).toBe(500);
    expect(text).not.toContain('inner secret');
    expect(onFault).toHaveBeenCalledWith(expect.objectContaining({ message: 'inner secret' }), expect.anything());
  });
});

describe('/metrics', () => {
  it('shows the spend, holds and refusals of the workspace of the key, counted once however often scraped', async () => {
    await api.get('/metrics');
    await api.post('/v1/tools/authorize', { run_id: 'm_1', tool: 't', tool_call_id: 'a', estimated_cost_usd: '0.25' });
    await api.post('/v1/tools/settle', { run_id: 'm_1', tool_call_id: 'a', cost_usd: '0.25' });
    await api.post('/v1/tools/authorize', { run_id: 'm_1', tool: 't', tool_call_id: 'b', estimated_cost_usd: '0.5' });
    await api.post('/v1/tools/authorize', { run_id: 'm_1', tool: 't', tool_call_id: 'c', estimated_cost_usd: '0.5' });
    await Promise.all([api.get('/metrics'), api.get('/metrics')]);
    const { text, headers } = await api.get('/metrics');
    expect(headers.get('content-type')).toMatch(/^text\/plain; version=0\.0\.4/);
    const lines = text.split('\n');
    expect(lines).toEqual(
      expect.arrayContaining([
        'runpurse_tool_calls_total{workspace="acme"} 1',
        'runpurse_spend_usd_total{line="tool",workspace="acme"} 0.25',
        'runpurse_refusals_total{code="budget_exceeded",workspace="acme"} 1',
        'runpurse_budget_held_usd{budget="config_0",workspace="acme"} 0.5',
        'runpurse_budget_remaining_usd{budget="config_0",workspace="acme"} 0.25',
        'runpurse_open_reservations 1',
        'runpurse_store_failing 0',
      ]),
    );
    expect((await api.get('/metrics', { key: api.keys.other })).text).not.toContain('acme');
  });
});

describe('GET /v1/models', () => {
  it("is OpenAI's list, under both names of the protocol", async () => {
    const { body } = await api.get('/v1/models');
    expect(body).toMatchObject({ object: 'list' });
    expect(body['data']).toContainEqual({ id: 'sandbox/echo', object: 'model', created: 0, owned_by: 'sandbox' });
    expect((await api.get('/ai/models')).body).toEqual(body);
    expect((await api.get('/ai/models', { key: null })).status).toBe(401);
  });
});
