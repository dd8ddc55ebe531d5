import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { startGateway, type RunningGateway } from '@runpurse/conformance';
import type { RunShape } from '@runpurse/core';
import app from '../src/index.ts';
import { openZap, type Row, type Zap } from './zap.ts';

/** A Zap that is replayed from the top: after an outage, after a hold ran out, with a cache that is slow, against a run that is over. */

const MODEL = { kind: 'model', name: 'openai/mini', call_id: 'draft' };
const USED = { input_tokens: 10, output_tokens: 5 };
const TOOL = { kind: 'tool', name: 'lookup', call_id: 'crm' };

let gateway: RunningGateway;
let zap: Zap;
let away: Zap;
let count = 0;
const fresh = (): string => `run-${(count += 1)}`;
const run = async (runId: string): Promise<RunShape> => (await gateway.readRun(runId)) as RunShape;

beforeAll(async () => {
  gateway = await startGateway({
    config: {
      store: { authorization_ttl_s: 0.3 },
      providers: [
        { name: 'sandbox', kind: 'sandbox' },
        { name: 'openai', kind: 'openai', base_url: 'http://127.0.0.1:9/v1', api_key: 'sk-x', models: ['mini'] },
      ],
      prices: [
        {
          provider: 'openai',
          model: 'mini',
          input_mtok_usd: '0',
          output_mtok_usd: '0',
          request_usd: '0.01',
          max_input_tokens: 8000,
          max_output_tokens: 100,
        },
      ],
      fallback_price: { input_mtok_usd: '1', output_mtok_usd: '1' },
      tools: [{ name: 'lookup', price_usd: '0.002' }],
      budgets: [{ scope: 'run', limit_usd: '0.5' }],
    } as never,
  });
  zap = openZap({ baseUrl: gateway.url, apiKey: gateway.apiKey });
  away = openZap({ baseUrl: 'http://127.0.0.1:9', apiKey: gateway.apiKey });
});
afterAll(() => gateway.remove());

async function untilNothingIsOpen(runId: string): Promise<RunShape> {
  for (;;) {
    const shape = await run(runId);
    if (![...shape.requests, ...shape.tools].some(({ status }) => status === 'open')) return shape;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

describe.each([
  ['model', MODEL, USED, '0.01'],
  ['tool', TOOL, {}, '0.002'],
] as const)('a %s call', (_kind, call, used, price) => {
  it('that was recorded before it was authorized, since the gateway was away, is held and charged no second time', async () => {
    const run_id = fresh();
    await zap.create('start_run', { run_id, limit_usd: price });
    const told = { run_id, ...call, ...used };
    expect(await away.create('authorize_spend', { run_id, ...call })).toMatchObject({ allowed: true, decision: 'unavailable' });
    expect(await zap.create('record_cost', told)).toMatchObject({ recorded: true, already_recorded: false });
    expect(await zap.create('authorize_spend', { run_id, ...call })).toMatchObject({ allowed: true, decision: 'allowed' });
    expect(await zap.create('record_cost', told)).toMatchObject({ recorded: true, already_recorded: true });
    const { cost, counts, requests, tools } = await untilNothingIsOpen(run_id);
    expect([cost.total_usd, counts.retries, requests.length + tools.length]).toEqual([price, 0, 1]);
  });

  it.each(['recorded late', 'never recorded'])('whose hold ran out, %s, is held and charged no second time by a replay', async (how) => {
    const run_id = fresh();
    const told = { run_id, ...call, ...used };
    await zap.create('authorize_spend', { run_id, ...call });
    await untilNothingIsOpen(run_id);
    if (how === 'recorded late') expect(await zap.create('record_cost', told)).toMatchObject({ recorded: true });
    expect(await zap.create('authorize_spend', { run_id, ...call })).toMatchObject({ allowed: true, decision: 'allowed' });
    expect(await zap.create('record_cost', told)).toMatchObject({ recorded: true, total_usd: price });
    const { cost, counts, requests, tools } = await untilNothingIsOpen(run_id);
    expect([cost.total_usd, cost.retry_usd, counts.retries, requests.length + tools.length]).toEqual([price, '0', 0, 1]);
  });
});

describe('End Run', () => {
  it('says that its revenue was not booked where the run was over already, and with what', async () => {
    const run_id = fresh();
    await zap.create('start_run', { run_id, limit_usd: '0.001' });
    await zap.create('authorize_spend', { run_id, ...TOOL }).catch(() => undefined);
    expect(await zap.create('end_run', { run_id, revenue_usd: '1' })).toMatchObject({
      status: 'failed',
      revenue_usd: null,
      recorded: false,
      already_recorded: true,
      warning: expect.stringMatching(/over before.*failed.*Revenue of \$1 was not booked: none stands/),
    });
  });

  it('told by contradicting copies of one instant says of all but one that they were not recorded', async () => {
    const run_id = fresh();
    await zap.create('start_run', { run_id });
    const ends = await Promise.all(['1', '2', '3.0'].map((revenue_usd) => zap.create('end_run', { run_id, revenue_usd })));
    const { revenue_usd } = await run(run_id);
    expect(ends.filter(({ recorded }) => recorded === true)).toHaveLength(1);
    for (const { recorded, warning } of ends) if (recorded === false) expect(warning).toContain(`$${String(revenue_usd)} stands`);
    expect(await zap.create('end_run', { run_id, revenue_usd: `${String(revenue_usd)}.00` })).toMatchObject({
      recorded: true,
      warning: '',
    });
  });

  it('after an operator stopped the run, books its revenue and says that the status stays', async () => {
    const run_id = fresh();
    await zap.create('start_run', { run_id });
    await gateway.post(`/v1/runs/${run_id}/stop`, {});
    for (let replay = 0; replay < 2; replay += 1)
      expect(await zap.create('end_run', { run_id, revenue_usd: '3' })).toMatchObject({
        status: 'stopped',
        revenue_usd: '3',
        recorded: true,
        already_recorded: true,
        warning: 'The run was over before, as stopped, and stays so. Revenue of $3 is booked.',
      });
    expect(await zap.create('end_run', { run_id })).toMatchObject({ recorded: false, warning: expect.stringContaining('as stopped') });
  });
});

describe('Record a Cost', () => {
  it('says what was booked, and that the gateway’s own price stands for a stated one', async () => {
    const run_id = fresh();
    const record = (more: object): Promise<Row> => zap.create('record_cost', { run_id, kind: 'tool', ...more });
    for (const already_recorded of [false, true]) {
      expect(await record({ name: 'lookup', call_id: 'a', cost_usd: '9' })).toMatchObject({
        name: 'lookup',
        cost_usd: '0.002',
        already_recorded,
        warning: expect.stringMatching(/^\$0\.002 was booked for lookup, not the stated \$9: the gateway’s own price.* stands\.$/),
      });
      expect(await record({ name: 'lookup', call_id: 'b', cost_usd: '0.0020' })).toMatchObject({ cost_usd: '0.002', warning: '' });
      expect(await record({ name: 'ads', call_id: 'c' })).toMatchObject({ name: 'ads', cost_usd: null, warning: '' });
      expect(await record({ name: 'ads', call_id: 'd', cost_usd: '0.01', status: 'failed' })).toMatchObject({ cost_usd: '0.01' });
      expect(await record({ name: 'ads', call_id: 'd', cost_usd: '0.04' })).toMatchObject({ cost_usd: '0.04' });
      expect(await record({ ...MODEL, ...USED })).toMatchObject({ name: 'mini', cost_usd: '0.01', warning: '' });
    }
  });

  it('under a Call ID that was authorized as another tool is an error, also when the run could not be read before', async () => {
    const run_id = fresh();
    let unread = 1;
    // What stands before the gateway fails the first read.
    const proxy = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        const { method = 'GET', url = '/', headers } = request;
        if (method === 'GET' && unread-- > 0) return response.writeHead(503).end();
        const asked = { method, headers: { authorization: String(headers.authorization), 'content-type': 'application/json' } };
        return void fetch(`${gateway.url}${url}`, method === 'GET' ? asked : { ...asked, body: Buffer.concat(chunks) }).then(
          async (answer) => response.writeHead(answer.status, { 'content-type': 'application/json' }).end(await answer.text()),
        );
      });
    });
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
    const behind = openZap({ baseUrl: `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`, apiKey: gateway.apiKey });
    await zap.create('authorize_spend', { run_id, ...TOOL });
    await expect(behind.create('record_cost', { run_id, ...TOOL, name: 'mail', cost_usd: '0.4' })).rejects.toThrow(
      /Call ID .*crm.* of run .* was authorized as tool lookup: it was charged as that \(\$0.002\).* Give each call a Call ID of its own/,
    );
    expect((await run(run_id)).tools).toMatchObject([{ tool: 'lookup', cost_usd: '0.002' }]);
    proxy.closeAllConnections();
    proxy.close();
  });
});

describe('Zapier’s cache', () => {
  type Perform = (z: object, bundle: object) => Promise<unknown>;
  const over = (perform: unknown, cache: unknown): Perform => {
    const own = perform as Perform;
    return (z, bundle) =>
      own(new Proxy(z, { get: (target, name) => (name === 'cache' ? cache : (Reflect.get(target, name) as unknown)) }), bundle);
  };
  const never = { get: () => new Promise(() => undefined), set: () => new Promise(() => undefined) };
  const ask = (cache: unknown, inputData: object): Promise<Row> =>
    zap.run<Row>(over(app.creates['chat_completion']?.operation.perform, cache), { inputData });

  it('that never answers holds up neither an answer nor a trigger', async () => {
    const question = { run_id: fresh(), model: 'sandbox/echo', prompt: 'x', call_id: 'c' };
    expect(await ask(never, question)).toMatchObject({ replayed: false });
    const receive = (app.triggers['run_ended']?.operation as { readonly perform?: unknown }).perform;
    const notice = { id: 'ntc_1', type: 'run.ended', created_at: 'x', data: { run: null } };
    expect(await zap.run(over(receive, never), { inputData: {}, targetUrl: 'x', cleanedRequest: notice })).toHaveLength(1);
  }, 10_000);

  it('that does not have the answer yet, seconds after it was paid, is asked again later', async () => {
    const question = { run_id: fresh(), model: 'sandbox/echo', prompt: 'x', call_id: 'c' };
    await zap.create('chat_completion', question);
    const none = { get: () => Promise.resolve(null), set: () => Promise.resolve(true) };
    await expect(ask(none, question)).rejects.toMatchObject({ name: 'ThrottledError' });
    const later = jest.spyOn(Date, 'now').mockReturnValue(Date.now() + 60_000);
    await expect(ask(none, question)).rejects.toThrow(/made and paid before/);
    later.mockRestore();
    expect(await zap.create('chat_completion', question)).toMatchObject({ replayed: true });
    expect((await run(question.run_id)).requests).toHaveLength(1);
  });
});

describe('an input', () => {
  it.each(['.', '..', ' .. '])('that is %j is no id: an address could not hold it', async (run_id) => {
    for (const step of ['start_run', 'end_run'])
      await expect(zap.create(step, { run_id })).rejects.toThrow(/Run ID must not be \\"\.\.?\\"/);
    await expect(zap.search('find_session', { session_id: run_id })).rejects.toThrow(/Session ID must not be/);
  });

  it.each([
    ['1e-7', 1e-7, '0.0000001'],
    ['.5', 0.5, '0.5'],
    ['5.', 5, '5'],
    ['1E-3', 1e-3, '0.001'],
  ])('that is the amount %j is read as the number it is', async (text, number, usd) => {
    for (const limit_usd of [text, number]) {
      const run_id = fresh();
      await zap.create('start_run', { run_id, limit_usd });
      expect((await run(run_id)).budgets.map((budget) => budget.limit_usd)).toContain(usd);
    }
  });

  it.each(['1e99', '0x10', 'e5', '.', '1e-'])('that is %j is no amount', async (limit_usd) => {
    await expect(zap.create('start_run', { run_id: fresh(), limit_usd })).rejects.toThrow(/Cap must be an amount in dollars/);
  });

  it('of more tokens than any call has is told, not stored as unknown', async () => {
    const run_id = fresh();
    const told = { run_id, ...MODEL, ...USED };
    await expect(zap.create('record_cost', { ...told, input_tokens: '99999999999' })).rejects.toThrow(
      /Input Tokens must be a whole number from 0 to 1000000000, not/,
    );
    expect(await gateway.readRun(run_id)).toBeUndefined();
    await zap.create('record_cost', { ...told, input_tokens: 1_000_000_000 });
    const asked = { run_id: fresh(), ...MODEL };
    const most = /Most Output Tokens must be a whole number from 1 to 1000000000, not/;
    await expect(zap.create('authorize_spend', { ...asked, max_output_tokens: 1_000_000_001 })).rejects.toThrow(most);
    await expect(zap.create('authorize_spend', { ...asked, max_input_tokens: 1e12 })).rejects.toThrow(/Most Input Tokens must be/);
    const question = { run_id: asked.run_id, model: 'sandbox/echo', prompt: 'x' };
    await expect(zap.create('chat_completion', { ...question, max_tokens: '1000000001' })).rejects.toThrow(most);
    expect(await gateway.readRun(asked.run_id)).toBeUndefined();
  });

  it.each(['1e400', '-1e400'])('that is the temperature %j is no number anybody could send', async (temperature) => {
    const question = { run_id: fresh(), model: 'sandbox/echo', prompt: 'x', temperature };
    await expect(zap.create('chat_completion', question)).rejects.toThrow(/Temperature must be a number such as 0.7, not/);
  });
});
