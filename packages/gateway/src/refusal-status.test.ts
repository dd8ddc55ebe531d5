import { mkdtempSync, rmSync } from 'node:fs';
import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { createGateway } from './create-gateway.ts';
import { hashSecret } from './identify/index.ts';
import { startServer, type RunningServer } from './server.ts';

/** What the provider answers next, and what it was last sent. */
let answers: { status: number; headers?: Record<string, string> };
let seen: IncomingHttpHeaders | undefined;
let provider: Server;
let gateway: Awaited<ReturnType<typeof createGateway>>;
let server: RunningServer;
const directory = mkdtempSync(join(tmpdir(), 'runpurse-refusal-status-'));

beforeAll(async () => {
  provider = createServer((request, response) => {
    seen = request.headers;
    request.resume();
    response.writeHead(answers.status, { 'content-type': 'application/json', ...answers.headers });
    response.end(JSON.stringify({ error: { message: 'the provider says so', code: 'theirs' } }));
  }).listen(0, '127.0.0.1');
  await once(provider, 'listening');
  const url = `http://127.0.0.1:${(provider.address() as AddressInfo).port}/v1`;
  gateway = await createGateway({
    directory,
    config: {
      providers: [{ name: 'theirs', kind: 'openai', base_url: url, api_key: 'sk-theirs', models: ['m', 'forbidden'] }],
      fallback_price: { input_mtok_usd: '1', output_mtok_usd: '1' },
      policy: { models: { deny: ['forbidden'] }, tools: { deny: ['refund'] } },
      budgets: [{ scope: 'session', id: 'poor', limit_usd: '0.000000001' }],
    },
  });
  await gateway.store.putKey({
    keyId: 'key_1',
    hash: hashSecret('rp_test'),
    prefix: 'rp_te',
    workspaceId: 'w',
    agentId: undefined,
    memberId: undefined,
    label: undefined,
    admin: false,
    createdAt: 0,
    revokedAt: undefined,
  });
  server = await startServer(gateway);
});
afterAll(async () => {
  await server.close(100);
  await gateway.close();
  provider.closeAllConnections();
  provider.close();
  rmSync(directory, { recursive: true, force: true });
});

interface Asked {
  readonly path?: string;
  readonly key?: string;
  readonly asks?: string | undefined;
  readonly body?: object;
  readonly headers?: Record<string, string>;
}

async function call({ path = '/v1/chat/completions', key = 'rp_test', asks, body, headers }: Asked) {
  const response = await fetch(server.url + path, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${key}`,
      'content-type': 'application/json',
      ...(asks === undefined ? {} : { 'runpurse-refusal-status': asks }),
      ...headers,
    },
    body: JSON.stringify(body ?? { model: 'theirs/m', max_tokens: 5, messages: [{ role: 'user', content: 'Hello' }] }),
  });
  const { error } = (await response.json()) as { error: { code: string } };
  return { status: response.status, code: error.code, retryAfter: response.headers.get('retry-after') };
}

const chat = (model: string) => ({ body: { model, max_tokens: 5, messages: [{ role: 'user', content: 'Hello' }] } });
const tool = { path: '/v1/tools/authorize', body: { run_id: 'r', tool: 'refund' } };
const enforced = {
  path: '/v1/agent/events?enforce=true',
  body: { source: 'alephant', type: 'tool.call.requested', run_id: 'r', tool_call_id: 'c', metadata: { tool_name: 'refund' } },
};
const budget = { path: '/v1/budgets', body: { scope: 'run', limit_usd: '1' } };

describe('a caller that says which status a refusal shall have', () => {
  const rows: readonly (readonly [title: string, asked: Asked, plain: number, asking: number, code: string])[] = [
    ['a model that policy denies', chat('theirs/forbidden'), 403, 422, 'policy_denied'],
    ['a tool that policy denies', tool, 403, 422, 'policy_denied'],
    ['an event that policy denies', enforced, 403, 422, 'policy_denied'],
    ['an action for admins', budget, 403, 422, 'not_permitted'],
    ['a budget that is spent', { headers: { 'alephant-session-id': 'poor' } }, 402, 402, 'budget_exceeded'],
    ['a key nobody knows, which IS a broken account', { key: 'rp_gone' }, 401, 401, 'invalid_key'],
    ['that key elsewhere', { ...tool, key: 'rp_gone' }, 401, 401, 'invalid_key'],
    ['a request that is wrong', { path: '/v1/runs', body: { run_id: 7 } }, 400, 400, 'invalid_request'],
  ];
  it.each(rows)('gets it for %s, and the same words', async (_title, asked, plain, asking, code) => {
    expect(await call(asked)).toMatchObject({ status: plain, code });
    expect(await call({ ...asked, asks: '422' })).toMatchObject({ status: asking, code });
  });

  it.each([401, 403, 429])("gets it for a provider's %i too: the provider's account is not the caller's", async (status) => {
    answers = { status, headers: { 'retry-after': '9', 'www-authenticate': 'Bearer realm="theirs"' } };
    expect(await call({})).toMatchObject({ status, code: 'theirs' });
    expect(await call({ asks: '402' })).toEqual({ status: 402, code: 'theirs', retryAfter: '9' });
  });

  it('tells no provider of it', async () => {
    answers = { status: 400 };
    await call({ asks: '422' });
    expect(Object.keys(seen ?? {}).filter((name) => name.startsWith('runpurse'))).toEqual([]);
  });

  it.each(['200', '403', '', 'nonsense'])('is not heard when it asks for %j', async (asks) => {
    expect(await call({ ...tool, asks })).toMatchObject({ status: 403 });
  });

  it('gets it for the rate cap, with the seconds to wait', async () => {
    const asked = { ...chat('theirs/forbidden'), headers: { 'alephant-run-id': 'many' } };
    answers = { status: 400 };
    for (let count = 0; count < 110; count += 1) await call({ ...asked, ...chat('theirs/m') });
    expect(await call(asked)).toMatchObject({ status: 429, code: 'rate_limited' });
    const limited = await call({ ...asked, asks: '422' });
    expect(limited).toMatchObject({ status: 422, code: 'rate_limited' });
    expect(Number(limited.retryAfter)).toBeGreaterThan(0);
  });
});
