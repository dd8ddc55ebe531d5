import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { openTestApi, type TestApi } from './test-api.ts';

let api: TestApi;
const DAY_MS = 86_400_000;

async function run(
  facts: { readonly run_id: string; readonly [name: string]: string },
  costs: Readonly<Record<string, string>>,
  revenue?: string,
): Promise<void> {
  await api.post('/v1/runs', facts);
  for (const [tool, usd] of Object.entries(costs)) {
    await api.post('/v1/tools/authorize', { run_id: facts.run_id, tool, tool_call_id: tool, estimated_cost_usd: usd });
    await api.post('/v1/tools/settle', { run_id: facts.run_id, tool_call_id: tool, cost_usd: usd });
  }
  await api.post(`/v1/runs/${facts.run_id}/end`, { status: 'completed', ...(revenue === undefined ? {} : { revenue_usd: revenue }) });
}

beforeAll(async () => {
  api = await openTestApi();
  // The article's session: five runs, $0.182, sold for $0.10.
  const costs = { classify: '0.018', search: '0.034', draft: '0.041', escalate: '0.067', summarize: '0.022' };
  for (const [name, usd] of Object.entries(costs))
    await run(
      { run_id: name, session_id: 'customer_492', agent_id: 'support', workflow_id: 'desk' },
      { [name]: usd },
      name === 'summarize' ? '0.10' : undefined,
    );
  api.clock.turn(DAY_MS);
  await run({ run_id: 'report', session_id: 'research', agent_id: 'researcher', workflow_id: 'desk' }, { web: '1.51' }, '5');
  await run({ run_id: 'unsold', agent_id: 'intern' }, { web: '0.5' });
});
afterAll(() => api.close());

const rows = (
  body: Readonly<Record<string, unknown>>,
): readonly {
  readonly id: string;
  readonly cost: { readonly total_usd: string };
  readonly margin: { readonly known_usd: string | null; readonly percent: string | null };
}[] => body['data'] as never;

describe('spend and margin', () => {
  it("show the article's session and its loss", async () => {
    expect((await api.get('/v1/sessions/customer_492')).body).toMatchObject({
      cost: { total_usd: '0.182' },
      revenue_usd: '0.1',
      margin: { known_usd: '-0.082', percent: '-82.0', unknown: [] },
      counts: { runs: 5, tool_calls: 5 },
    });
  });

  it.each([
    [
      'agent',
      [
        ['researcher', '1.51'],
        ['intern', '0.5'],
        ['support', '0.182'],
      ],
    ],
    ['workflow', [['desk', '1.692']]],
    [
      'tool',
      [
        ['web', '2.01'],
        ['escalate', '0.067'],
        ['draft', '0.041'],
        ['search', '0.034'],
        ['summarize', '0.022'],
        ['classify', '0.018'],
      ],
    ],
    ['workspace', [['acme', '2.192']]],
    [
      'session',
      [
        ['research', '1.51'],
        ['customer_492', '0.182'],
      ],
    ],
  ])('by %s, the most expensive first', async (by, expected) => {
    const { body } = await api.get(`/v1/spend?by=${by}`);
    expect(rows(body).map(({ id, cost }) => [id, cost.total_usd])).toEqual(expected);
  });

  it('sum up in total', async () => {
    expect((await api.get('/v1/spend?by=agent')).body['total']).toMatchObject({
      cost: { total_usd: '2.192' },
      revenue_usd: '5.1',
      counts: { runs: 7 },
    });
  });

  it('cut at days, the last one included', async () => {
    const [first, second] = ['2026-11-24', '2026-11-25'];
    expect(rows((await api.get(`/v1/spend?by=workspace&from=${first}&to=${first}`)).body)[0]?.cost.total_usd).toBe('0.182');
    expect(rows((await api.get(`/v1/spend?by=workspace&from=${second}`)).body)[0]?.cost.total_usd).toBe('2.01');
    expect(rows((await api.get(`/v1/spend?by=day&from=${first}&to=${second}`)).body).map(({ id, cost }) => [id, cost.total_usd])).toEqual([
      [first, '0.182'],
      [second, '2.01'],
    ]);
  });

  it('put the greatest loss first and what earned nothing last', async () => {
    const { body } = await api.get('/v1/margin?by=agent');
    expect(rows(body).map(({ id, margin }) => [id, margin.known_usd, margin.percent])).toEqual([
      ['support', '-0.082', '-82.0'],
      ['researcher', '3.49', '69.8'],
      ['intern', null, null],
    ]);
  });

  it('find the loss among more units than one page shows', async () => {
    expect(rows((await api.get('/v1/margin?by=agent&limit=1')).body).map(({ id }) => id)).toEqual(['support']);
  });

  it('are read for one workflow, agent and workspace', async () => {
    expect((await api.get('/v1/workflows/desk')).body).toMatchObject({
      scope: 'workflow',
      cost: { total_usd: '1.692' },
      revenue_usd: '5.1',
      counts: { runs: 6 },
    });
    expect((await api.get('/v1/agents/support')).body).toMatchObject({ scope: 'agent', margin: { known_usd: '-0.082' } });
    expect((await api.get('/v1/workspaces/acme')).body).toMatchObject({ scope: 'workspace', id: 'acme', cost: { total_usd: '2.192' } });
    expect((await api.get('/v1/workspaces/other', { key: api.keys.other })).body).toMatchObject({ id: 'other', cost: { total_usd: '0' } });
  });
});

describe('the cockpit reads of existing clients', () => {
  it.each(['scope', 'usage-summary', 'daily-costs', 'cost-by-model', 'budget-status', 'recent-requests'])(
    '%s has the documented head',
    async (name) => {
      const { status, body } = await api.get(`/api/v1/cockpit/${name}`);
      expect([status, body['degraded'], body['data_source']]).toEqual([200, false, 'live']);
    },
  );

  it('usage is in cents, of the key alone', async () => {
    expect((await api.get('/api/v1/cockpit/usage-summary?period=7d')).body).toMatchObject({
      total_cost_cents: 219.2,
      vs_previous_period: { cost_pct: null },
    });
    expect((await api.get('/api/v1/cockpit/usage-summary', { key: api.keys.bound })).body).toMatchObject({ total_cost_cents: 0 });
    expect((await api.get('/api/v1/cockpit/scope', { key: api.keys.bound })).body).toMatchObject({
      entity: { type: 'agent', id: 'writer' },
      virtual_key: { rate_limit_rpm: 100 },
    });
  });

  it('health needs no key', async () => {
    expect((await api.get('/api/v1/cockpit/health', { key: null })).status).toBe(200);
  });
});
