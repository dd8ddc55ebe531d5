import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { openTestApi, type TestApi } from './test-api.ts';

let api: TestApi;
let receiver: Server;
let address: string;
let received: { readonly id: string; readonly type: string; readonly data: Record<string, unknown> }[];

beforeEach(async () => {
  api = await openTestApi({
    budgets: [{ name: 'cap', scope: 'run', limit_usd: '1' }],
    tools: [{ name: 'lookup', price_usd: '0.6' }],
    policy: { tools: { deny: ['refund'] } },
  });
  received = [];
  receiver = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk: Buffer) => (body += chunk.toString()));
    request.on('end', () => {
      received.push(JSON.parse(body) as (typeof received)[number]);
      response.end();
    });
  });
  await new Promise<void>((resolve) => receiver.listen(0, '127.0.0.1', resolve));
  address = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/`;
});
afterEach(async () => {
  await api.close();
  receiver.closeAllConnections();
  receiver.close();
});

async function until(what: () => boolean): Promise<void> {
  for (const deadline = Date.now() + 20_000; !what();) {
    if (Date.now() > deadline) throw new Error(`waited in vain; received ${JSON.stringify(received)}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

const EVENTS = ['run.ended', 'budget.threshold', 'call.refused'];

/** A run that crosses thresholds, is refused a tool and a cost, and ends. */
async function play(runId: string, key?: string, workflow = 'wf'): Promise<void> {
  const options = key === undefined ? {} : { key };
  await api.post('/v1/runs', { run_id: runId, workflow_id: workflow, agent_id: 'writer', session_id: `s-${runId}` }, options);
  const authorize = (tool: string, id: string) => api.post('/v1/tools/authorize', { run_id: runId, tool, tool_call_id: id }, options);
  await authorize('refund', 't1');
  const { body } = await authorize('lookup', 't2');
  await api.post('/v1/tools/settle', { reservation_id: body['reservation_id'], status: 'completed' }, options);
  await authorize('lookup', 't3');
  await api.post(`/v1/runs/${runId}/end`, { status: 'completed', revenue_usd: '2' }, options);
}

describe('webhooks', () => {
  it('are told what happens in their own workspace, narrowed to workflow and agent, and list the same notices', async () => {
    const all = await api.post('/v1/webhooks', { url: address, events: EVENTS, workflow: 'wf', agent: 'writer', description: 'alerts' });
    expect(all).toMatchObject({
      status: 201,
      body: {
        id: expect.stringMatching(/^whk_/),
        url: address,
        events: EVENTS,
        workflow: 'wf',
        agent: 'writer',
        description: 'alerts',
        secret: expect.stringMatching(/^whsec_[A-Za-z0-9+/]{32}$/),
        created_at: '2026-11-24T12:00:00.000Z',
      },
    });
    await play('r1');
    await play('r2', undefined, 'another workflow');
    await play('r1', api.keys.other);
    await until(() => received.length >= 4);
    const types = received.map(({ type }) => type).sort();
    expect(types).toEqual(['budget.threshold', 'call.refused', 'call.refused', 'run.ended']);
    const listed = (await api.get('/v1/notices?workflow=wf')).body['data'] as { id: string }[];
    expect(listed.map(({ id }) => id).sort()).toEqual(received.map(({ id }) => id).sort());
    expect(listed).toEqual(expect.arrayContaining(received));
    expect(received).toEqual(
      expect.arrayContaining([
        expect.objectContaining({
          type: 'run.ended',
          data: {
            run: expect.objectContaining({
              workspace_id: 'acme',
              run_id: 'r1',
              revenue_usd: '2',
              budgets: [expect.objectContaining({ scope: 'run' })],
            }),
          },
        }),
        expect.objectContaining({
          type: 'budget.threshold',
          data: {
            budget: {
              id: expect.any(String),
              name: 'cap',
              level: 'run',
              scope_id: 'r1',
              window: 'lifetime',
              cap_usd: '1',
              spent_usd: '0.6',
              reserved_usd: '0',
              remaining_usd: '0.4',
              state: '50',
            },
            threshold_percent: 50,
            run_id: 'r1',
            session_id: 's-r1',
          },
        }),
        expect.objectContaining({
          type: 'call.refused',
          data: expect.objectContaining({ tool: 'refund', code: 'policy_denied', rule: 'tools.deny' }),
        }),
        expect.objectContaining({
          type: 'call.refused',
          data: expect.objectContaining({ tool: 'lookup', code: 'budget_exceeded', budget: 'cap' }),
        }),
      ]),
    );
  });

  it('are listed without their secret, and removed by any key of the workspace but no other', async () => {
    const { body } = await api.post('/v1/webhooks', { url: address, events: ['run.ended'] }, { key: api.keys.bound });
    const again = await api.post('/v1/webhooks', { url: `${address}again`, events: ['run.ended', 'run.ended'] });
    expect(again.body).toMatchObject({ events: ['run.ended'] });
    const listed = await api.get('/v1/webhooks');
    expect(listed.body['data']).toEqual([
      { id: body['id'], url: address, events: ['run.ended'], created_at: expect.any(String), pending: 0 },
      { id: again.body['id'], url: `${address}again`, events: ['run.ended'], created_at: expect.any(String), pending: 0 },
    ]);
    expect(listed.text).not.toContain('whsec_');
    const path = `/v1/webhooks/${String(body['id'])}`;
    expect((await api.call('DELETE', path, { key: api.keys.other })).status).toBe(404);
    expect(await api.call('DELETE', path)).toMatchObject({ status: 204, text: '' });
    expect((await api.call('DELETE', path)).error.message).toContain('There is no webhook');
    expect((await api.call('DELETE', `${path}?missing_ok=true`)).status).toBe(204);
    expect((await api.get('/v1/webhooks', { key: api.keys.other })).body).toEqual({ data: [] });
    await play('r1');
    await until(() => received.length >= 1);
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(received).toHaveLength(1);
  });

  it('say what waits and since when a receiver fails', async () => {
    receiver.removeAllListeners('request');
    receiver.on('request', (_request, response) => response.writeHead(503).end());
    await api.post('/v1/webhooks', { url: address, events: ['run.ended'] });
    await play('r1');
    let listed: Record<string, unknown> = {};
    for (let round = 0; round < 100 && listed['failing_since'] === undefined; round += 1) {
      [listed = {}] = (await api.get('/v1/webhooks')).body['data'] as Record<string, unknown>[];
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    expect(listed).toMatchObject({ pending: 1, failing_since: expect.any(String), last_delivery: { status: 503, error: 'answered 503' } });
  });

  it.each<[string, object, string]>([
    ['no address', { events: ['run.ended'] }, 'url'],
    ['an address that is none', { url: 'hook', events: ['run.ended'] }, 'whole address'],
    ['the place where a cloud keeps its credentials', { url: 'http://169.254.169.254/', events: ['run.ended'] }, 'takes no webhooks'],
    ['an event nobody knows', { url: 'http://r/', events: ['run.began'] }, 'run.ended, budget.threshold, call.refused'],
    ['no event', { url: 'http://r/', events: [] }, 'events'],
    ['a field nobody knows', { url: 'http://r/', events: ['run.ended'], secret: 'x' }, 'secret'],
  ])('refuses %s', async (_what, body, words) => {
    const { status, error } = await api.post('/v1/webhooks', body);
    expect([status, error.message]).toEqual([400, expect.stringContaining(words)]);
  });

  it('asked for twice are one, with the later secret, and miss nothing', async () => {
    const body = { url: address, events: ['run.ended', 'call.refused'], workflow: 'wf' };
    const first = await api.post('/v1/webhooks', body);
    await play('twice-1');
    const again = await api.post('/v1/webhooks', { ...body, events: ['call.refused', 'run.ended'], description: 'again' });
    expect([first.status, again.status]).toEqual([201, 200]);
    expect(again.body).toMatchObject({ id: first.body['id'], created_at: first.body['created_at'], description: 'again' });
    expect(again.body['secret']).not.toBe(first.body['secret']);
    await play('twice-2');
    // A delivery that the change cut off is made again, under the same id.
    const told = () => new Set(received.map(({ id }) => id)).size;
    await until(() => told() === 6);
    expect((await api.get('/v1/webhooks')).body['data']).toMatchObject([{ id: first.body['id'], description: 'again' }]);
    for (const change of [{ workflow: 'other' }, { events: ['run.ended'] }, { url: `${address}other` }])
      expect((await api.post('/v1/webhooks', { ...body, ...change })).status).toBe(201);
    const other = await api.post('/v1/webhooks', body, { key: api.keys.other });
    expect(other.status).toBe(201);
  });

  it('asked for again with another key live as long as that one', async () => {
    const body = { url: address, events: ['run.ended'] };
    await api.post('/v1/webhooks', body, { key: api.keys.bound });
    await api.post('/v1/webhooks', body);
    const bound = api.gateway.store.keys().find(({ agentId }) => agentId === 'writer');
    if (bound === undefined) throw new Error('no such key');
    await api.gateway.store.putKey({ ...bound, revokedAt: Date.now() });
    await play('outlived');
    await until(() => received.length === 1);
    expect((await api.get('/v1/webhooks')).body['data']).toHaveLength(1);
  });

  it('are a hundred to a workspace at most', async () => {
    for (let count = 0; count < 100; count += 1)
      expect((await api.post('/v1/webhooks', { url: `${address}${count}`, events: ['run.ended'] })).status).toBe(201);
    const { status, error } = await api.post('/v1/webhooks', { url: address, events: ['run.ended'] });
    expect([status, error.message]).toEqual([400, expect.stringContaining('100 webhooks')]);
    expect((await api.post('/v1/webhooks', { url: address, events: ['run.ended'] }, { key: api.keys.other })).status).toBe(201);
  });

  it('and notices need a key', async () => {
    for (const [method, path] of [
      ['GET', '/v1/webhooks'],
      ['POST', '/v1/webhooks'],
      ['DELETE', '/v1/webhooks/x'],
      ['GET', '/v1/notices'],
    ] as const)
      expect((await api.call(method, path, { key: null })).status).toBe(401);
  });
});

describe('GET /v1/notices', () => {
  it('pages from the newest to the oldest, each once, narrowed by type, workflow and agent', async () => {
    for (let count = 0; count < 7; count += 1) await play(`r${count}`, undefined, count % 2 === 0 ? 'even' : 'odd');
    const read = async (query: string): Promise<string[]> => {
      const seen: string[] = [];
      for (let after: string | null = ''; after !== null;) {
        const page = await api.get(`/v1/notices?limit=2&${query}${after === '' ? '' : `&after=${after}`}`);
        expect(page.status).toBe(200);
        for (const notice of page.body['data'] as { data: { run: { run_id: string } } }[]) seen.push(notice.data.run.run_id);
        after = page.body['next'] as string | null;
      }
      return seen;
    };
    expect(await read('type=run.ended')).toEqual(['r6', 'r5', 'r4', 'r3', 'r2', 'r1', 'r0']);
    expect(await read('type=run.ended&workflow=even&agent=')).toEqual(['r6', 'r4', 'r2', 'r0']);
    expect(await read('type=run.ended&agent=nobody')).toEqual([]);
    expect((await api.get('/v1/notices', { key: api.keys.other })).body).toEqual({ data: [], next: null });
    expect((await api.get('/v1/notices?after=x')).status).toBe(400);
  });
});
