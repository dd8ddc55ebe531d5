import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { startGateway, type RunningGateway } from '@runpurse/conformance';
import type { RunShape } from '@runpurse/core';
import type { Bundle, ZObject } from 'zapier-platform-core';
import { exchange } from '../src/attach.ts';
import app from '../src/index.ts';
import { openZap, type Row, type Zap } from './zap.ts';

/** Every step of the app, as Zapier runs it, against a running gateway. */

let gateway: RunningGateway;
let zap: Zap;
let providerCalls: { readonly body: Record<string, unknown>; readonly headers: NodeJS.Dict<string | string[]> }[] = [];
let provider: Server;
/** What the provider answers next instead of an answer. */
let providerFails: { status: number; message: string } | 'no answer' | undefined;
let providerSays: string | undefined;
let providerWaitsMs = 0;
let count = 0;
const fresh = (): string => `run-${(count += 1)}`;
const run = async (runId: string): Promise<RunShape> => {
  const shape = await gateway.readRun(runId);
  if (shape === undefined) throw new Error(`there is no run ${runId}`);
  return shape;
};
const failure = (step: Promise<unknown>): Promise<Error> =>
  step.then(
    (result) => {
      throw new Error(`succeeded: ${JSON.stringify(result)}`);
    },
    (error: unknown) => error as Error,
  );

/** When an answer that is not in Zapier's cache will not come into it any more. */
const aMinuteLater = async <Result>(step: () => Promise<Result>): Promise<Result> => {
  const clock = jest.spyOn(Date, 'now').mockReturnValue(Date.now() + 60_000);
  return step().finally(() => clock.mockRestore());
};

beforeAll(async () => {
  provider = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk: Buffer) => (body += chunk.toString()));
    request.on('end', () => {
      const asked = JSON.parse(body) as Record<string, unknown>;
      providerCalls.push({ body: asked, headers: request.headers });
      response.setHeader('content-type', 'application/json');
      if (providerFails === 'no answer') {
        request.socket.destroy();
        return;
      }
      if (providerFails !== undefined) {
        response.statusCode = providerFails.status;
        response.end(JSON.stringify({ error: { message: providerFails.message, type: 'server_error', param: null, code: null } }));
        return;
      }
      const message = { role: 'assistant', content: providerSays ?? `answer ${providerCalls.length}` };
      const answer = {
        id: 'c',
        object: 'chat.completion',
        model: asked['model'],
        choices: [{ index: 0, finish_reason: 'stop', message }],
        usage: { prompt_tokens: 10, completion_tokens: 5, total_tokens: 15 },
      };
      setTimeout(() => response.end(JSON.stringify(answer)), providerWaitsMs);
    });
  });
  await new Promise<void>((resolve) => provider.listen(0, '127.0.0.1', resolve));
  gateway = await startGateway({
    config: {
      providers: [
        {
          name: 'openai',
          kind: 'openai',
          base_url: `http://127.0.0.1:${(provider.address() as AddressInfo).port}/v1`,
          api_key: 'sk-provider',
          models: ['mini'],
        },
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
      tools: [{ name: 'lookup', price_usd: '0.002' }],
      budgets: [
        { name: 'cap-per-run', scope: 'run', limit_usd: '0.05' },
        { name: 'session-cap', scope: 'session', limit_usd: '5' },
      ],
      policy: { tools: { deny: ['refund'] } },
      rate: { requests_per_minute: 100_000 },
    } as never,
  });
  zap = openZap({ baseUrl: gateway.url, apiKey: gateway.apiKey });
});
afterAll(async () => {
  await gateway.remove();
  provider.closeAllConnections();
  provider.close();
});
beforeEach(() => {
  providerCalls = [];
  providerFails = undefined;
  providerSays = undefined;
  providerWaitsMs = 0;
});

describe('the connection', () => {
  it('is tested by asking the gateway whose key it is, and is labelled by workspace and key', async () => {
    const tested = await zap.run<Row>(app.authentication.test);
    expect(tested).toEqual({ workspace: 'workspace-1', key: 'conformance', agent: '' });
    expect(await zap.run(app.authentication.connectionLabel, { inputData: tested })).toBe('workspace-1: conformance');
    const slashes = openZap({ baseUrl: `${gateway.url}/v1/`, apiKey: ` ${gateway.apiKey} ` });
    expect(await slashes.run(app.authentication.test)).toEqual(tested);
  });

  it.each<[string, { baseUrl?: string; apiKey?: string }, string, RegExp]>([
    ['a wrong key', { apiKey: 'rp_wrong' }, 'ExpiredAuthError', /does not accept this key.*reconnect/s],
    ['no key', { apiKey: ' ' }, 'ExpiredAuthError', /no virtual key/],
    ['no address', { baseUrl: 'runpurse.example.com' }, 'AppError', /must begin with https/],
    ['an address without TLS', { baseUrl: 'http://runpurse.example.com' }, 'AppError', /must begin with https.*the key travels along/],
    ['a password in the address', { baseUrl: 'https://me:hunter2@runpurse.example.com' }, 'AppError', /hold no user or password/],
    [
      'an address where nothing listens',
      { baseUrl: 'http://127.0.0.1:1' },
      'AppError',
      /could not be reached at http:\/\/127\.0\.0\.1:1 \(ECONNREFUSED\).*reached from the internet/,
    ],
  ])('says in words what is wrong with %s', async (_what, wrong, name, words) => {
    const error = await failure(openZap({ baseUrl: gateway.url, apiKey: gateway.apiKey, ...wrong }).run(app.authentication.test));
    expect([error.name, error.message]).toEqual([name, expect.stringMatching(words)]);
  });

  it('reads what to do without the gateway in any case, and takes no other word for going on', async () => {
    const closed = { ...zap.auth, base_url: 'http://127.0.0.1:1', failure_policy: 'Closed' };
    const start = app.creates['start_run']?.operation.perform;
    expect((await failure(zap.run(start, { authData: closed, inputData: { run_id: 'x' } }))).message).toContain('gateway_unavailable');
    for (const perform of [app.authentication.test, start]) {
      const error = await failure(zap.run(perform, { authData: { ...zap.auth, failure_policy: 'stop' }, inputData: { run_id: 'x' } }));
      expect(error.message).toContain('When the Gateway Can’t Be Reached must be open or closed, not \\"stop\\"');
    }
  });

  it('says when something else than a gateway answers, and follows it nowhere', async () => {
    const led: string[] = [];
    const other = createServer((request, response) => {
      led.push(request.url ?? '');
      if (request.url === '/moved/api/v1/cockpit/scope') response.writeHead(302, { location: '/elsewhere' }).end();
      else response.end('<html>hello</html>');
    });
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
    const at = `http://127.0.0.1:${(other.address() as AddressInfo).port}`;
    try {
      for (const baseUrl of [at, `${at}/moved`]) {
        const error = await failure(openZap({ baseUrl, apiKey: gateway.apiKey }).run(app.authentication.test));
        expect(error.message).toMatch(/not (?:from )?a Runpurse gateway/);
      }
      expect(led).toEqual(['/api/v1/cockpit/scope', '/moved/api/v1/cockpit/scope']);
    } finally {
      other.closeAllConnections();
      other.close();
    }
  });
});

describe('Start Run', () => {
  it('begins a run with its place and cap, and a replay comes back to it', async () => {
    const run_id = fresh();
    const inputs = { run_id, session_id: 'customer-1', agent_id: 'support', customer_id: 'c-1', limit_usd: '$0.03', max_requests: '2' };
    const started = await zap.create('start_run', inputs);
    expect(started).toMatchObject({
      id: run_id,
      run_id,
      status: 'running',
      session_id: 'customer-1',
      remaining_usd: '0.03',
      allowed: true,
    });
    expect(await zap.create('start_run', inputs)).toEqual(started);
    expect(await run(run_id)).toMatchObject({ agent_id: 'support', customer_id: 'c-1', status: 'running' });
  });

  it('makes an id when none is given, and knows the Zap as the workflow', async () => {
    const inZap = openZap({ baseUrl: gateway.url, apiKey: gateway.apiKey }, '4711');
    const first = await inZap.create('start_run', {});
    const second = await inZap.create('start_run', { workflow_id: 'refunds' });
    expect(first['run_id']).toMatch(/^run_/);
    expect(second['run_id']).not.toBe(first['run_id']);
    expect([first['workflow_id'], second['workflow_id']]).toEqual(['zap_4711', 'refunds']);
  });

  it.each([
    ['a cap that is no amount', { limit_usd: 'fifty cents' }, /Cap must be an amount in dollars/],
    ['a cap with a decimal comma', { limit_usd: '0,50' }, /Cap must be an amount in dollars such as 0\.50, not .*0,50/],
    ['a cap with a decimal comma and three digits', { limit_usd: '0,500' }, /Cap must be an amount/],
    ['a cap mapped to a list', { limit_usd: [5] }, /Cap must be an amount in dollars such as 0\.50, not .*5/],
    ['a cap mapped to a line item', { limit_usd: { usd: 5 } }, /Cap must be an amount/],
    ['a negative cap', { limit_usd: -1 }, /Cap must be an amount/],
    ['a bound that is no number', { max_requests: 'many' }, /Most Model Calls must be a whole number from 1 on/],
    ['a bound of nothing', { max_tool_calls: 0 }, /Most Tool Calls must be/],
    ['a run that belongs to another session', { session_id: 'other' }, /belongs to session/],
  ])('refuses %s in words', async (_what, more, words) => {
    const run_id = fresh();
    await zap.create('start_run', { run_id, session_id: 'one' });
    expect((await failure(zap.create('start_run', { run_id, session_id: 'one', ...more }))).message).toMatch(words);
  });
});

describe('Authorize Spend', () => {
  it('holds the price of a tool, once however often it is replayed', async () => {
    const run_id = fresh();
    const step = { run_id, kind: 'tool', name: 'lookup', call_id: 'c1', session_id: 's1' };
    const first = await zap.create('authorize_spend', step);
    expect(first).toEqual({
      id: 'c1',
      call_id: 'c1',
      run_id,
      name: 'lookup',
      allowed: true,
      decision: 'allowed',
      reason: '',
      warning: '',
      remaining_usd: '0.048',
      budget_state: 'ok',
    });
    expect(await zap.create('authorize_spend', step)).toEqual(first);
    expect((await run(run_id)).tools).toMatchObject([{ tool_call_id: 'c1', status: 'open', held_usd: '0.002' }]);
  });

  it('holds what the user estimates where the gateway has no price', async () => {
    const run_id = fresh();
    await zap.create('authorize_spend', { run_id, kind: 'tool', name: 'search', call_id: 'c1', estimated_cost_usd: 0.01 });
    expect((await run(run_id)).tools).toMatchObject([{ tool: 'search', held_usd: '0.01' }]);
    const error = await failure(
      zap.create('authorize_spend', { run_id, kind: 'tool', name: 'search', call_id: 'c2', estimated_cost_usd: '0.045' }),
    );
    expect([error.name, error.message]).toEqual([
      'HaltedError',
      expect.stringContaining('Stopped by Runpurse (budget_exceeded): Budget "cap-per-run"'),
    ]);
  });

  it('halts the Zap when refused, and ends the run, since no later step could', async () => {
    const run_id = fresh();
    const error = await failure(zap.create('authorize_spend', { run_id, kind: 'tool', name: 'refund', call_id: 'c1' }));
    expect([error.name, error.message]).toEqual([
      'HaltedError',
      expect.stringMatching(
        /^Stopped by Runpurse \(policy_denied\): Policy rule "tools\.deny" refused the call of tool refund before it was made/,
      ),
    ]);
    expect(await run(run_id)).toMatchObject({
      status: 'failed',
      status_reason: expect.stringContaining('tools.deny'),
      cost: { total_usd: '0' },
      tools: [{ status: 'denied' }],
    });
  });

  it('goes on when the user says so, and hands on the reason', async () => {
    const run_id = fresh();
    const said = await zap.create('authorize_spend', { run_id, kind: 'tool', name: 'refund', call_id: 'c1', on_refusal: 'continue' });
    expect(said).toMatchObject({ allowed: false, decision: 'policy_denied', reason: expect.stringContaining('deny list') });
    expect((await run(run_id)).status).toBe('running');
  });

  it('asks for a model call of another app, and what it used is priced by the gateway', async () => {
    const run_id = fresh();
    const step = { run_id, kind: 'model', name: 'openai/mini', call_id: 'm1' };
    expect(await zap.create('authorize_spend', { ...step, max_output_tokens: 100, max_input_tokens: 500 })).toMatchObject({
      allowed: true,
      remaining_usd: '0.04',
    });
    const recorded = await zap.create('record_cost', { ...step, input_tokens: 20, cached_tokens: 5, output_tokens: 7 });
    expect(recorded).toMatchObject({ recorded: true, already_recorded: false, model_usd: '0.01', requests: 1 });
    expect(await zap.create('record_cost', { ...step, input_tokens: 20, cached_tokens: 5, output_tokens: 7 })).toMatchObject({
      already_recorded: true,
      model_usd: '0.01',
    });
    expect((await run(run_id)).requests).toMatchObject([
      { source: 'self_reported', usage: { input_tokens: 15, cache_read_tokens: 5, output_tokens: 7 } },
    ]);
    for (let index = 2; index <= 5; index += 1) await zap.create('authorize_spend', { ...step, call_id: `m${index}` });
    expect((await failure(zap.create('authorize_spend', { ...step, call_id: 'm6' }))).message).toContain('budget_exceeded');
  });

  it('asked by copies of the same instant, or again when its cost was recorded, is one call with one hold', async () => {
    const run_id = fresh();
    // Room for one call and a half.
    await zap.create('start_run', { run_id, limit_usd: '0.015' });
    const step = { run_id, kind: 'model', name: 'openai/mini', call_id: 'm1', max_output_tokens: 100 };
    const copies = await Promise.all(Array.from({ length: 3 }, () => zap.create('authorize_spend', step)));
    expect(copies.map(({ allowed }) => allowed)).toEqual([true, true, true]);
    expect(await run(run_id)).toMatchObject({ status: 'running', requests: [{ status: 'open', held_usd: '0.01' }] });
    const told = { ...step, input_tokens: 20, output_tokens: 7 };
    await zap.create('record_cost', told);
    expect(await zap.create('authorize_spend', step)).toMatchObject({ allowed: true });
    expect(await zap.create('record_cost', told)).toMatchObject({ already_recorded: true });
    expect(await run(run_id)).toMatchObject({ cost: { total_usd: '0.01' }, requests: [{ status: 'completed' }] });
  });

  it.each([
    ['a model call', { kind: 'model', name: 'openai/mini', max_output_tokens: 10 }, { max_output_tokens: 90 }],
    ['a call of another model', { kind: 'model', name: 'openai/mini' }, { name: 'openai/other' }],
    ['a tool call', { kind: 'tool', name: 'search', estimated_cost_usd: '0.01' }, { estimated_cost_usd: '0.04' }],
    ['a tool call of other details', { kind: 'tool', name: 'search', details: 'cats' }, { details: 'dogs' }],
    ['a call of another tool', { kind: 'tool', name: 'search' }, { name: 'lookup' }],
  ])('refuses a Call ID that %s had before', async (_what, first, other) => {
    const run_id = fresh();
    const step = { run_id, call_id: 'c1', ...first };
    await zap.create('authorize_spend', step);
    // Not for a Filter: the step is set up wrongly.
    for (const on_refusal of ['halt', 'continue']) {
      const error = await failure(zap.create('authorize_spend', { ...step, ...other, on_refusal }));
      expect([error.name, error.message]).toEqual([
        'AppError',
        expect.stringMatching(/Call ID \\"c1\\" of run run-\d+ was used for another call.*Nothing was held or charged.*Call ID of its own/),
      ]);
    }
    const { requests, tools, status } = await run(run_id);
    expect([requests.length + tools.length, status]).toEqual([1, 'running']);
  });

  it.each(['stop', 'pause'])('asks anew about a call of a run that was told to %s', async (order) => {
    const run_id = fresh();
    const step = { run_id, kind: 'model', name: 'openai/mini', call_id: 'm1', max_output_tokens: 10 };
    await zap.create('authorize_spend', step);
    await gateway.post(`/v1/runs/${run_id}/${order}`, {});
    const error = await failure(zap.create('authorize_spend', step));
    expect([error.name, error.message]).toEqual(['HaltedError', expect.stringMatching(/run_(?:ended|paused)/)]);
  });

  it('asked again for less after it was refused, is the same call', async () => {
    const run_id = fresh();
    const step = { run_id, kind: 'tool', name: 'search', call_id: 'c1', on_refusal: 'continue' };
    const ask = (estimated_cost_usd: string): Promise<Row> => zap.create('authorize_spend', { ...step, estimated_cost_usd });
    expect(await ask('0.06')).toMatchObject({ allowed: false, decision: 'budget_exceeded' });
    for (let copy = 0; copy < 2; copy += 1) expect(await ask('0.04')).toMatchObject({ allowed: true, remaining_usd: '0.01' });
    expect((await failure(ask('0.03'))).message).toContain('was used for another call');
    expect((await run(run_id)).tools).toMatchObject([{ status: 'open', held_usd: '0.04', attempt: 1 }]);
  });

  it.each([
    ['run_id', 'Run ID is empty'],
    ['call_id', 'Call ID is empty'],
    ['name', 'name is empty'],
  ])('asks for %s: a call of no run would stand under no cap', async (field, words) => {
    const step = { run_id: fresh(), kind: 'tool', name: 'lookup', call_id: 'c', [field]: '' };
    expect((await failure(zap.create('authorize_spend', step))).message).toContain(words);
    expect((await failure(zap.create('record_cost', step))).message).toMatch(/is empty/);
    if (field === 'run_id') expect((await failure(zap.create('end_run', step))).message).toContain(words);
  });

  it('refuses an estimate it can not read rather than hold nothing', async () => {
    const run_id = fresh();
    const error = await failure(
      zap.create('authorize_spend', { run_id, kind: 'tool', name: 'search', call_id: 'c', estimated_cost_usd: '1 cent' }),
    );
    expect(error.message).toContain('Estimated Cost must be an amount');
    expect(await gateway.readRun(run_id)).toBeUndefined();
  });
});

describe('Record a Cost', () => {
  it('settles what was authorized, and charges a replay nothing', async () => {
    const run_id = fresh();
    const step = { run_id, kind: 'tool', name: 'search', call_id: 'c1' };
    await zap.create('authorize_spend', { ...step, estimated_cost_usd: '0.01' });
    const first = await zap.create('record_cost', { ...step, cost_usd: '0.004' });
    expect(first).toMatchObject({
      id: 'c1',
      recorded: true,
      already_recorded: false,
      tool_usd: '0.004',
      tool_calls: 1,
      remaining_usd: '0.046',
    });
    expect(await zap.create('record_cost', { ...step, cost_usd: '0.004' })).toEqual({ ...first, already_recorded: true });
    // The very same call asked for and made once more would be a new one, with a Call ID of its own.
    await zap.create('record_cost', { ...step, call_id: 'c2', cost_usd: '0.004' });
    expect((await run(run_id)).cost.tool_usd).toBe('0.008');
  });

  it('takes the gateway’s own price over what is reported, and leaves an unknown cost unknown', async () => {
    const run_id = fresh();
    await zap.create('record_cost', { run_id, kind: 'tool', name: 'lookup', call_id: 'c1', cost_usd: '9' });
    const said = await zap.create('record_cost', { run_id, kind: 'tool', name: 'mystery', call_id: 'c2' });
    expect(said).toMatchObject({ tool_usd: '0.002', margin_unknown: 'tool:mystery' });
  });

  it('records a failure without the secrets its error quotes, and a success after it as a further try', async () => {
    const run_id = fresh();
    const step = { run_id, kind: 'tool', name: 'lookup', call_id: 'c1' };
    await zap.create('authorize_spend', step);
    await zap.create('record_cost', { ...step, error: 'HTTP 401: Authorization: Bearer sk-live-0123456789abcdef0123' });
    const failed = await run(run_id);
    expect(failed.tools).toMatchObject([{ status: 'failed', attempt: 1 }]);
    expect(JSON.stringify(failed)).not.toContain('sk-live-0123456789abcdef0123');
    await zap.create('authorize_spend', step);
    await zap.create('record_cost', step);
    expect(await run(run_id)).toMatchObject({ cost: { tool_usd: '0.002', retry_usd: '0.002' }, counts: { retries: 1 } });
  });

  const MODEL = { kind: 'model', name: 'openai/mini', input_tokens: 20, output_tokens: 7 };
  const TOOL = { kind: 'tool', name: 'lookup' };

  it.each([
    ['a model', MODEL, false],
    ['a model, asked for before,', MODEL, true],
    ['a tool', TOOL, false],
    ['a tool, asked for before,', TOOL, true],
  ])('of %s by copies of the same instant is charged once, and a retry is a further try', async (_what, call, isAsked) => {
    const run_id = fresh();
    const copies = async (more: object): Promise<void> => {
      const { kind, name } = call;
      if (isAsked) await zap.create('authorize_spend', { run_id, kind, name, call_id: 'c1' });
      const told = { run_id, call_id: 'c1', ...call, ...more };
      const said = await Promise.all(Array.from({ length: 3 }, () => zap.create('record_cost', told)));
      expect(said).toMatchObject(said.map(() => ({ recorded: true, warning: '' })));
      expect(await zap.create('record_cost', told)).toMatchObject({ recorded: true, already_recorded: true });
    };
    const madeCalls = async (): Promise<unknown> => {
      const { requests, tools } = await run(run_id);
      return [...requests, ...tools].map(({ status, attempt }) => [status, attempt]);
    };
    await copies({ status: 'failed' });
    expect(await madeCalls()).toEqual([['failed', 1]]);
    await copies({});
    expect(await madeCalls()).toEqual([
      ['failed', 1],
      ['completed', 2],
    ]);
    expect(await run(run_id)).toMatchObject({ counts: { retries: 1 }, cost: { retry_usd: call === MODEL ? '0.01' : '0.002' } });
  });

  it.each([
    ['other tokens', MODEL, { output_tokens: 8 }, '0.01'],
    ['other cached tokens', MODEL, { cached_tokens: 3 }, '0.01'],
    ['no tokens', MODEL, { input_tokens: '', output_tokens: '' }, '0.01'],
    ['another outcome', MODEL, { status: 'failed' }, '0.01'],
    ['another cost', { kind: 'tool', name: 'search', cost_usd: '0.003' }, { cost_usd: '0.004' }, '0.003'],
    ['another outcome of a tool', TOOL, { status: 'failed' }, '0.002'],
    ['another tool', TOOL, { name: 'search' }, '0.002'],
  ])('with %s under the same Call ID is told, and adds nothing', async (_what, call, other, total) => {
    const words = /Call ID \\"c1\\" of run run-\d+ was (?:recorded before, and otherwise|used for another call).*Call ID of its own/;
    const run_id = fresh();
    const step = { run_id, call_id: 'c1', ...call };
    await zap.create('record_cost', step);
    expect((await failure(zap.create('record_cost', { ...step, ...other }))).message).toMatch(words);
    expect(await zap.create('record_cost', step)).toMatchObject({ recorded: true, already_recorded: true });
    expect((await run(run_id)).cost.total_usd).toBe(total);

    const atOnce = fresh();
    const copies = await Promise.allSettled(
      [step, { ...step, ...other }].map((inputs) => zap.create('record_cost', { ...inputs, run_id: atOnce })),
    );
    expect(copies.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
    for (const copy of copies) if (copy.status === 'rejected') expect((copy.reason as Error).message).toMatch(words);
    const { requests, tools } = await run(atOnce);
    expect(requests.length + tools.length).toBe(1);
  });

  it('of another tool leaves the call alone that is open under the Call ID', async () => {
    const run_id = fresh();
    await zap.create('authorize_spend', { run_id, kind: 'tool', name: 'lookup', call_id: 'c1' });
    const error = await failure(zap.create('record_cost', { run_id, kind: 'tool', name: 'search', call_id: 'c1', cost_usd: '0.01' }));
    expect(error.message).toMatch(/Call ID \\"c1\\" of run run-\d+ was used for another call/);
    expect((await run(run_id)).tools).toMatchObject([{ tool: 'lookup', status: 'open', held_usd: '0.002' }]);
  });

  it.each([
    ['colons', ['ids:x', 'y'], ['ids', 'x:y']],
    ['many characters', ['ids-long', 'x'.repeat(300)], ['ids-long', `${'x'.repeat(299)}y`]],
    ['lines', ['ids-lines', 'a\nb'], ['ids-lines', 'a\nc']],
  ])('tells calls apart whose ids hold %s, and knows each when it comes back', async (_what, ...calls) => {
    for (const [run_id, call_id] of calls) {
      const step = { ...MODEL, run_id, call_id };
      expect(await zap.create('record_cost', step)).toMatchObject({ already_recorded: false });
      expect(await zap.create('record_cost', step)).toMatchObject({ already_recorded: true });
    }
    const runs = await Promise.all([...new Set(calls.map(([run_id]) => run_id))].map((run_id) => run(String(run_id))));
    expect(runs.flatMap(({ requests }) => requests)).toHaveLength(2);
  });

  it('settles a second try that failed like the first', async () => {
    const run_id = fresh();
    const step = { run_id, kind: 'tool', name: 'lookup', call_id: 'c1' };
    for (const attempt of [1, 2]) {
      await zap.create('authorize_spend', step);
      expect(await zap.create('record_cost', { ...step, status: 'failed' })).toMatchObject({ already_recorded: false });
      expect((await run(run_id)).tools.at(-1)).toMatchObject({ attempt, status: 'failed' });
    }
    expect(await zap.create('record_cost', { ...step, status: 'failed' })).toMatchObject({ already_recorded: true });
  });

  it('of a call that was held too long, and charged at its hold for it, adds nothing', async () => {
    const slow = await startGateway({
      config: { store: { authorization_ttl_s: 0.2 }, tools: [{ name: 'lookup', price_usd: '0.002' }] },
    });
    try {
      const waiting = openZap({ baseUrl: slow.url, apiKey: slow.apiKey });
      const ask = { run_id: 'r', kind: 'model', name: 'sandbox/any', call_id: 'm', max_output_tokens: 10 };
      const told = [
        { ...ask, input_tokens: 5, output_tokens: 2 },
        { run_id: 'r', ...TOOL, call_id: 't' },
      ];
      for (const step of [ask, { run_id: 'r', ...TOOL, call_id: 't' }]) await waiting.create('authorize_spend', step);
      const shape = async (): Promise<RunShape> => (await slow.readRun('r')) as RunShape;
      while ([...(await shape()).requests, ...(await shape()).tools].some(({ status }) => status === 'open'))
        await new Promise((resolve) => setTimeout(resolve, 100));
      const { cost } = await shape();
      for (const step of [...told, ...told]) expect(await waiting.create('record_cost', step)).toMatchObject({ recorded: true });
      expect(await shape()).toMatchObject({ cost, counts: { requests: 1, tool_calls: 1, retries: 0 } });
    } finally {
      await slow.remove();
    }
  });

  it('refuses an amount that is none instead of recording nothing', async () => {
    const error = await failure(
      zap.create('record_cost', { run_id: fresh(), kind: 'tool', name: 'search', call_id: 'c1', cost_usd: 'one cent' }),
    );
    expect(error.message).toMatch(/Cost must be an amount in dollars such as 0\.50, not .*one cent/);
  });
});

describe('Chat Completion', () => {
  const ask = { model: 'openai/mini', prompt: 'Where is my order?' };

  it('asks the model through the gateway and hands on answer, cost and what is left', async () => {
    const run_id = fresh();
    const said = await zap.create('chat_completion', {
      run_id,
      ...ask,
      session_id: 'customer-7',
      instructions: 'Be brief.',
      max_tokens: 50,
      temperature: 0,
      json_output: true,
    });
    expect(said).toMatchObject({
      run_id,
      text: 'answer 1',
      finish_reason: 'stop',
      model: 'mini',
      input_tokens: 10,
      output_tokens: 5,
      cost_usd: '0.01',
      run_cost_usd: '0.01',
      run_remaining_usd: '0.04',
      session_remaining_usd: expect.any(String),
      request_id: expect.stringMatching(/^req_/),
      allowed: true,
      replayed: false,
    });
    expect(providerCalls).toMatchObject([
      {
        body: {
          model: 'mini',
          max_tokens: 50,
          temperature: 0,
          response_format: { type: 'json_object' },
          messages: [
            { role: 'system', content: 'Be brief.' },
            { role: 'user', content: 'Where is my order?' },
          ],
        },
      },
    ]);
    expect(Object.keys(providerCalls[0]?.headers ?? {}).filter((name) => /alephant|runpurse/.test(name))).toEqual([]);
  });

  it('takes images, whole conversations, tools and prompts full of curly braces', async () => {
    const run_id = fresh();
    await zap.create('chat_completion', {
      run_id,
      model: 'openai/mini',
      prompt: 'What is {{bundle.inputData.this}}?',
      images: ['https://example.com/a.png'],
      max_tokens: 9,
    });
    const messages = [{ role: 'user', content: 'Hi' }];
    const tools = [{ type: 'function', function: { name: 'f', parameters: {} } }];
    await zap.create('chat_completion', { run_id, model: 'openai/mini', messages: JSON.stringify(messages), tools: JSON.stringify(tools) });
    expect(providerCalls.map(({ body }) => body['messages'])).toEqual([
      [
        {
          role: 'user',
          content: [
            { type: 'text', text: 'What is {{bundle.inputData.this}}?' },
            { type: 'image_url', image_url: { url: 'https://example.com/a.png' } },
          ],
        },
      ],
      messages,
    ]);
    expect(providerCalls[1]?.body['tools']).toEqual(tools);
  });

  it.each([
    ['no question', { prompt: '' }, 'Fill in Prompt'],
    ['messages that are no JSON', { messages: '[{' }, 'Messages is no JSON'],
    ['tools that are no list', { tools: '{}' }, 'Tools must be a JSON list'],
    ['no model', { model: '' }, 'Model is empty'],
    ['no run', { run_id: ' ' }, 'Run ID is empty'],
    ['a limit that is no number', { max_tokens: 'few' }, 'Most Output Tokens must be'],
    ['a model nobody serves', { model: 'openai/unheard-of/x' }, 'unheard-of'],
  ])('says what is wrong with %s, and asks nobody', async (_what, more, words) => {
    expect((await failure(zap.create('chat_completion', { run_id: fresh(), ...ask, ...more }))).message).toContain(words);
    expect(providerCalls).toEqual([]);
  });

  it('answers a replayed step from its first time: one call, one charge', async () => {
    const run_id = fresh();
    const first = await zap.create('chat_completion', { run_id, ...ask });
    const again = await zap.create('chat_completion', { run_id, ...ask });
    expect(again).toEqual({ ...first, replayed: true });
    expect(providerCalls).toHaveLength(1);
    // Asked on purpose, with a Call ID of its own, it is another call.
    expect(await zap.create('chat_completion', { run_id, ...ask, call_id: 'second time' })).toMatchObject({
      text: 'answer 2',
      run_cost_usd: '0.02',
    });
  });

  it('asks the model once for twins of the same instant: one is answered, the others come back for its answer', async () => {
    const run_id = fresh();
    providerWaitsMs = 300;
    const twins = await Promise.allSettled(
      Array.from({ length: 4 }, () => zap.create('chat_completion', { run_id, ...ask, call_id: '顧客 7' })),
    );
    const answered = twins.filter((twin) => twin.status === 'fulfilled');
    expect(answered).toHaveLength(1);
    for (const twin of twins.filter((one) => one.status === 'rejected'))
      expect(twin.reason).toMatchObject({ name: 'ThrottledError', message: expect.stringContaining('under way already') });
    expect(await zap.create('chat_completion', { run_id, ...ask, call_id: '顧客 7' })).toMatchObject({ text: 'answer 1', replayed: true });
    expect(providerCalls).toHaveLength(1);
    expect(await run(run_id)).toMatchObject({ counts: { requests: 1, retries: 0 }, cost: { total_usd: '0.01' } });
  });

  it('refuses a Call ID that another question had, and hands out no answer of it', async () => {
    const run_id = fresh();
    const step = { run_id, ...ask, call_id: 'c' };
    await zap.create('chat_completion', step);
    for (const other of [{ prompt: 'Where is my money?' }, { temperature: 1 }, { max_tokens: 5 }]) {
      const error = await failure(zap.create('chat_completion', { ...step, ...other }));
      expect(error.message).toMatch(
        /Call ID \\"c\\" of run run-\d+ was used for another question.*not made or charged.*Call ID of its own/,
      );
    }
    expect(await zap.create('chat_completion', step)).toMatchObject({ text: 'answer 1', replayed: true });
    expect(providerCalls).toHaveLength(1);
    expect((await run(run_id)).cost.total_usd).toBe('0.01');
  });

  it('gives of twins that ask different questions each its own answer or none', async () => {
    const run_id = fresh();
    providerWaitsMs = 300;
    const questions = ['Who?', 'Where?', 'Why?'];
    const once = (): Promise<PromiseSettledResult<Row>[]> =>
      Promise.allSettled(questions.map((prompt) => zap.create('chat_completion', { run_id, ...ask, prompt, call_id: 'c' })));
    const first = await once();
    expect(first.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    // Zapier brings the others back.
    const again = await once();
    expect(again.map(({ status }) => status)).toEqual(first.map(({ status }) => status));
    for (const twin of again)
      if (twin.status === 'rejected') expect((twin.reason as Error).message).toContain('was used for another question');
    expect(providerCalls).toHaveLength(1);
  });

  it('knows another question by its hash where the answer is too long to be kept', async () => {
    const run_id = fresh();
    providerSays = 'x'.repeat(120_000);
    const step = { run_id, ...ask, call_id: 'c' };
    await zap.create('chat_completion', step);
    expect((await failure(zap.create('chat_completion', step))).message).toContain('made and paid before');
    expect((await failure(zap.create('chat_completion', { ...step, prompt: 'x' }))).message).toContain('was used for another question');
    expect(providerCalls).toHaveLength(1);
  });

  it('says in words that a call was charged without an answer, instead of making it again', async () => {
    const run_id = fresh();
    providerFails = 'no answer';
    await failure(zap.create('chat_completion', { run_id, ...ask, call_id: 'c' }));
    providerFails = undefined;
    expect((await failure(zap.create('chat_completion', { run_id, ...ask, call_id: 'c' }))).message).toMatch(
      /made and paid before \(req_.*\$0\.01\).*Call ID of its own/,
    );
    expect(providerCalls).toHaveLength(1);
  });

  it('would rather refuse a replay than pay twice when the first answer is not kept', async () => {
    const run_id = fresh();
    await zap.create('chat_completion', { run_id, ...ask });
    const elsewhere = openZap({ baseUrl: gateway.url, apiKey: gateway.apiKey });
    expect((await failure(aMinuteLater(() => elsewhere.create('chat_completion', { run_id, ...ask })))).message).toMatch(
      /made and paid before \(req_.*\$0\.01\).*Call ID of its own/,
    );
    expect(providerCalls).toHaveLength(1);
    expect((await run(run_id)).cost.total_usd).toBe('0.01');
  });

  it('says what an answer that takes too long means, and never pays for it again', async () => {
    const run_id = fresh();
    providerWaitsMs = 400;
    const impatient = (z: ZObject, bundle: Bundle): Promise<unknown> =>
      exchange(z, bundle, {
        method: 'POST',
        path: '/v1/chat/completions',
        body: { model: 'openai/mini', max_tokens: 5, messages: [{ role: 'user', content: 'x' }] },
        headers: { 'alephant-run-id': run_id, 'alephant-step-id': 'slow' },
        timeoutMs: 150,
        slowText: 'too slow, and paid',
      });
    expect((await failure(zap.run(impatient))).message).toContain('too slow, and paid');
    // While it is under way Zapier is asked to come back; then it is known to be paid.
    const replay = { run_id, ...ask, call_id: 'slow' };
    const waiting = await failure(zap.create('chat_completion', replay));
    expect([waiting.name, waiting.message]).toEqual(['ThrottledError', expect.stringContaining('under way already')]);
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect((await failure(aMinuteLater(() => zap.create('chat_completion', replay)))).message).toContain('made and paid before');
    expect(providerCalls).toHaveLength(1);
    expect((await run(run_id)).cost.total_usd).toBe('0.01');
  });

  it('counts a try after the provider failed as a retry', async () => {
    const run_id = fresh();
    providerFails = { status: 500, message: 'overloaded' };
    const error = await failure(zap.create('chat_completion', { run_id, ...ask, call_id: 'c' }));
    expect([error.name, error.message]).toEqual(['AppError', expect.stringContaining('overloaded')]);
    providerFails = undefined;
    await zap.create('chat_completion', { run_id, ...ask, call_id: 'c' });
    expect(await run(run_id)).toMatchObject({
      status: 'running',
      requests: [
        { status: 'failed', attempt: 1 },
        { status: 'completed', attempt: 2 },
      ],
      cost: { model_usd: '0', retry_usd: '0.01' },
    });
  });

  it('halts before a call that would pass the cap, and the provider is not asked', async () => {
    const run_id = fresh();
    await zap.create('start_run', { run_id, limit_usd: '0.015' });
    await zap.create('chat_completion', { run_id, ...ask });
    const error = await failure(zap.create('chat_completion', { run_id, ...ask, prompt: 'And now?' }));
    expect([error.name, error.message]).toEqual([
      'HaltedError',
      expect.stringMatching(/Stopped by Runpurse \(budget_exceeded\).*To go on: /),
    ]);
    expect(providerCalls).toHaveLength(1);
    expect(await run(run_id)).toMatchObject({ status: 'failed', cost: { total_usd: '0.01' } });
    const ended = await failure(zap.create('chat_completion', { run_id, ...ask, prompt: 'And after the end?' }));
    expect(ended.message).toContain('run_ended');
  });

  it('goes on when the user says so, with nothing said and nothing charged', async () => {
    const run_id = fresh();
    await zap.create('start_run', { run_id, limit_usd: '0.005' });
    const said = await zap.create('chat_completion', { run_id, ...ask, on_refusal: 'continue' });
    expect(said).toMatchObject({
      allowed: false,
      decision: 'budget_exceeded',
      text: '',
      cost_usd: '0',
      reason: expect.stringContaining('refused'),
    });
    expect(providerCalls).toEqual([]);
    expect((await run(run_id)).status).toBe('running');
  });
});

describe('a call that was refused', () => {
  it('is no try: replayed once there is room it is a first call, not a retry', async () => {
    const run_id = fresh();
    const blocker = { run_id, kind: 'tool', name: 'search', call_id: 'big' };
    await zap.create('authorize_spend', { ...blocker, estimated_cost_usd: '0.045' });
    const spend = { run_id, kind: 'tool', name: 'search', call_id: 'small', estimated_cost_usd: '0.02', on_refusal: 'continue' };
    const chat = { run_id, model: 'openai/mini', prompt: 'x', call_id: 'chat', on_refusal: 'continue' };
    expect(await zap.create('authorize_spend', spend)).toMatchObject({ allowed: false });
    expect(await zap.create('chat_completion', chat)).toMatchObject({ allowed: false });
    await zap.create('record_cost', { ...blocker, cost_usd: '0.001' });
    expect(await zap.create('authorize_spend', spend)).toMatchObject({ allowed: true });
    await zap.create('record_cost', { ...spend, cost_usd: '0.02' });
    expect(await zap.create('chat_completion', chat)).toMatchObject({ allowed: true });
    expect(await run(run_id)).toMatchObject({ counts: { retries: 0 }, cost: { model_usd: '0.01', tool_usd: '0.021', retry_usd: '0' } });
  });

  it.each([
    ['ends its run where its price is unknown under a cap', 'unpriced', 'price_unknown', 'failed'],
    ['leaves a run that is only paused to be resumed', 'flat', 'budget_exceeded', 'paused'],
  ])('%s', async (_title, model, code, status) => {
    const price = { input_mtok_usd: '0', output_mtok_usd: '0', request_usd: '0.01', max_input_tokens: 8000, max_output_tokens: 100 };
    const own = await startGateway({
      config: {
        providers: [{ name: 'theirs', kind: 'openai', base_url: 'http://127.0.0.1:9/v1', api_key: 'sk', models: ['flat', 'unpriced'] }],
        prices: [{ provider: 'theirs', model: 'flat', ...price }],
        budgets: [{ scope: 'run', limit_usd: '0.005', action: 'pause' }],
      } as never,
    });
    try {
      const theirs = openZap({ baseUrl: own.url, apiKey: own.apiKey });
      const error = await failure(theirs.create('chat_completion', { run_id: 'r', model: `theirs/${model}`, prompt: 'x' }));
      expect([error.name, error.message]).toEqual(['HaltedError', expect.stringContaining(code)]);
      expect((await own.readRun('r'))?.status).toBe(status);
    } finally {
      await own.remove();
    }
  });
});

describe('a choice mapped from an earlier step', () => {
  it.each([
    ['authorize_spend', { kind: 'Webhook', name: 'lookup', call_id: 'c' }, 'Kind of Call must be tool or model, not "Webhook"'],
    ['record_cost', { kind: 'Webhook', name: 'lookup', call_id: 'c' }, 'Kind of Call must be tool or model, not "Webhook"'],
    ['record_cost', { name: 'lookup', call_id: 'c', status: 'error' }, 'Outcome must be completed or failed, not "error"'],
    ['end_run', { status: 'crashed' }, 'Outcome must be completed or failed or stopped, not "crashed"'],
  ])('of %s is refused when it is none: %j', async (key, inputs, words) => {
    const run_id = fresh();
    expect(JSON.parse((await failure(zap.create(key, { run_id, ...inputs }))).message)).toMatchObject({ message: `${words}.` });
    expect(await gateway.readRun(run_id)).toBeUndefined();
  });

  it('is read in any case, and empty is the first', async () => {
    const run_id = fresh();
    await zap.create('authorize_spend', { run_id, kind: 'Model', name: 'openai/mini', call_id: 'm', max_output_tokens: 10 });
    await zap.create('record_cost', { run_id, kind: '', name: 'lookup', call_id: 't', status: ' Failed ' });
    expect(await run(run_id)).toMatchObject({ requests: [{ step_id: 'm' }], tools: [{ tool_call_id: 't', status: 'failed' }] });
    expect(await zap.create('end_run', { run_id, status: '' })).toMatchObject({ status: 'completed' });
  });
});

describe('an input that can not be read', () => {
  const list = ['a', 'b'];
  const place = { run_id: 'unread', call_id: 'c', kind: 'tool', name: 'lookup' };
  const ask = { run_id: 'unread', model: 'openai/mini', prompt: 'x' };
  it.each<[string, object, string]>([
    ['chat_completion', { ...ask, temperature: '0,7' }, 'Temperature must be a number such as 0.7, not "0,7"'],
    ['chat_completion', { ...ask, temperature: 'warm' }, 'Temperature must be a number'],
    ['chat_completion', { ...ask, temperature: '0x1' }, 'Temperature must be a number'],
    ['chat_completion', { ...ask, images: 'a picture of a cat' }, 'Image Addresses must be'],
    ['chat_completion', { ...ask, images: ['https://example.com/a.png', 'b.png'] }, 'Image Addresses must be'],
    ['chat_completion', { ...ask, images: [{ url: 'https://example.com/a.png' }] }, 'Image Addresses must be'],
    ['chat_completion', { ...ask, json_output: 'ja' }, 'Answer in JSON must be yes or no, not "ja"'],
    ['chat_completion', { ...ask, tools: { type: 'function' } }, 'Tools must be a JSON list'],
    ['chat_completion', { ...ask, messages: 5 }, 'Messages must be a JSON list'],
    ['chat_completion', { ...ask, max_tokens: '1e2' }, 'Most Output Tokens must be a whole number'],
    ['chat_completion', { ...ask, max_tokens: '1 000' }, 'Most Output Tokens must be a whole number'],
    ['chat_completion', { ...ask, max_tokens: [9] }, 'Most Output Tokens must be one value, not a list'],
    ['chat_completion', { ...ask, prompt: list }, 'Prompt must be one value, not a list'],
    ['chat_completion', { ...ask, instructions: { a: 1 } }, 'Instructions must be one value, not a list'],
    ['chat_completion', { ...ask, on_refusal: 'go on' }, 'When Refused must be halt or continue, not "go on"'],
    ['chat_completion', { ...ask, call_id: list }, 'Call ID must be one value'],
    ['chat_completion', { ...ask, parent_step_id: list }, 'Parent Call ID must be one value'],
    ['authorize_spend', { ...place, on_refusal: 'ignore' }, 'When Refused must be halt or continue, not "ignore"'],
    ['authorize_spend', { ...place, on_refusal: true }, 'When Refused must be'],
    ['authorize_spend', { ...place, details: list }, 'Details must be one value'],
    ['authorize_spend', { ...place, session_id: list }, 'Session ID must be one value'],
    ['record_cost', { ...place, error: list }, 'Error must be one value'],
    ['record_cost', { ...place, error: 'x', status: 'oops' }, 'Outcome must be completed or failed, not "oops"'],
    ['record_cost', { ...place, kind: 'model', name: 'openai/mini', input_tokens: list }, 'Input Tokens must be one value'],
    ['start_run', { run_id: 'unread', workflow_id: list }, 'Workflow must be one value'],
    ['start_run', { run_id: list }, 'Run ID must be one value'],
    ['start_run', { run_id: 'unread', name: list }, 'Name must be one value'],
    ['start_run', { run_id: 'unread', name: 'x'.repeat(257) }, 'Name must have at most 256 characters, and has 257'],
    ['authorize_spend', { ...place, name: 'x'.repeat(257) }, 'name must have at most 256 characters'],
    ['end_run', { run_id: 'unread', reason: list }, 'Reason must be one value'],
  ])('by %s is told by its field’s name, and nothing is done: %j', async (key, inputs, words) => {
    const { message } = await failure(zap.create(key, inputs));
    expect((JSON.parse(message) as Row)['message']).toContain(words);
    expect(providerCalls).toEqual([]);
    expect(await gateway.readRun('unread')).toBeUndefined();
  });

  it.each([
    ['find_run', { status: 'done' }, 'Status must be running or completed or failed or stopped or paused, not "done"'],
    ['find_run', { session_id: list }, 'Session ID must be one value'],
    ['find_session', { session_id: list }, 'Session ID must be one value'],
    ['budget_status', { level: 'run', scope_id: list }, 'ID must be one value'],
    ['budget_status', { level: 'constructor', scope_id: 'x' }, 'choose Level'],
  ])('by %s finds nothing: %j', async (key, inputs, words) => {
    expect((JSON.parse((await failure(zap.search(key, inputs))).message) as Row)['message']).toContain(words);
  });

  it('is none where people write it otherwise: choices in any case, yes and no, whole numbers as text', async () => {
    const run_id = fresh();
    await zap.create('start_run', { run_id, limit_usd: '0.015' });
    const step = { run_id, model: 'openai/mini', images: [' https://example.com/a.png ', ''], on_refusal: 'Continue' };
    await zap.create('chat_completion', { ...step, json_output: 'Yes', temperature: ' 0.5 ', max_tokens: '9.0' });
    expect(providerCalls[0]?.body).toMatchObject({
      response_format: { type: 'json_object' },
      temperature: 0.5,
      max_tokens: 9,
      messages: [{ content: [{ image_url: { url: 'https://example.com/a.png' } }] }],
    });
    expect(await zap.create('chat_completion', { ...step, json_output: 'no', prompt: 'y' })).toMatchObject({ allowed: false });
    expect(await zap.create('authorize_spend', { run_id, name: 'refund', call_id: 'c', on_refusal: ' CONTINUE' })).toMatchObject({
      allowed: false,
      decision: 'policy_denied',
    });
    expect(await zap.search('find_run', { status: 'Running', session_id: '' })).toMatchObject([{ status: 'running' }]);
    expect(await zap.search('budget_status', { level: 'Run', scope_id: run_id })).toMatchObject([{ level: 'run' }, {}]);
  });
});

describe('End Run', () => {
  it('books revenue once, however often it is replayed, and says the margin', async () => {
    const run_id = fresh();
    await zap.create('chat_completion', { run_id, model: 'openai/mini', prompt: 'x' });
    const end = { run_id, status: 'completed', revenue_usd: '$1,000.10', fees_usd: '0.09' };
    const first = await zap.create('end_run', end);
    expect(first).toMatchObject({
      run_id,
      status: 'completed',
      total_usd: '0.01',
      revenue_usd: '1000.1',
      margin_usd: '1000',
      recorded: true,
      already_recorded: false,
    });
    expect(await zap.create('end_run', end)).toEqual({ ...first, already_recorded: true });
  });

  it.each([
    ['failed', 'the customer hung up'],
    ['stopped', 'by hand'],
  ])('ends it as %s, with the reason', async (status, reason) => {
    const run_id = fresh();
    await zap.create('start_run', { run_id });
    expect(await zap.create('end_run', { run_id, status, reason })).toMatchObject({ status, status_reason: reason });
  });
});

describe('the searches', () => {
  it('find a run by its id, or the newest that fits', async () => {
    const [first, second] = [fresh(), fresh()];
    for (const run_id of [first, second]) await zap.create('start_run', { run_id, session_id: 'find-me', agent_id: 'finder' });
    await zap.create('end_run', { run_id: first, status: 'failed', reason: 'x' });
    expect(await zap.search('find_run', { run_id: first })).toMatchObject([{ id: first, status: 'failed', remaining_usd: '0.05' }]);
    expect(await zap.search('find_run', { session_id: 'find-me' })).toMatchObject([{ id: second }]);
    expect(await zap.search('find_run', { agent_id: 'finder', status: 'failed' })).toMatchObject([{ id: first }]);
    expect(await zap.search('find_run', { run_id: 'nobody' })).toEqual([]);
    expect((await failure(zap.search('find_run', {}))).message).toContain('at least one field');
  });

  it('find a session over its runs', async () => {
    const session_id = 'sold-below-cost';
    for (let index = 0; index < 2; index += 1) {
      const run_id = fresh();
      await zap.create('chat_completion', { run_id, session_id, model: 'openai/mini', prompt: 'x' });
      await zap.create('end_run', { run_id, status: index === 0 ? 'failed' : 'completed', revenue_usd: '0.005' });
    }
    expect(await zap.search('find_session', { session_id })).toMatchObject([
      {
        id: session_id,
        runs: 2,
        failed_runs: 1,
        total_usd: '0.02',
        revenue_usd: '0.01',
        margin_usd: '-0.01',
        margin_percent: '-100.0',
        remaining_usd: '4.98',
      },
    ]);
    expect(await zap.search('find_session', { session_id: 'nobody' })).toEqual([]);
  });

  it('find what the tightest budget leaves', async () => {
    const run_id = fresh();
    await zap.create('chat_completion', { run_id, session_id: 'budgeted', model: 'openai/mini', prompt: 'x' });
    expect(await zap.search('budget_status', { level: 'run', scope_id: run_id })).toMatchObject([
      { level: 'run', scope_id: run_id, cap_usd: '0.05', spent_usd: '0.01', remaining_usd: '0.04', within_budget: true },
      { level: 'session', scope_id: 'budgeted' },
    ]);
    expect(await zap.search('budget_status', { level: 'session', scope_id: 'budgeted' })).toMatchObject([
      { level: 'session', cap_usd: '5' },
    ]);
    expect(await zap.search('budget_status', { level: 'session', scope_id: 'nobody' })).toEqual([]);
    expect((await failure(zap.search('budget_status', { level: 'moon', scope_id: 'x' }))).message).toContain('choose Level');
  });
});

describe('the dropdowns', () => {
  it.each([
    ['list_models', 'openai/mini'],
    ['list_tools', 'lookup'],
    ['list_workflows', 'for-the-list'],
    ['list_agents', 'listed-agent'],
    ['list_runs', 'run-listed'],
  ])('%s offers %s', async (key, id) => {
    await zap.create('record_cost', {
      run_id: 'run-listed',
      workflow_id: 'for-the-list',
      agent_id: 'listed-agent',
      kind: 'tool',
      name: 'lookup',
      call_id: 'c',
    });
    const listed = await zap.run<Row[]>((app.triggers[key] as unknown as { operation: { perform: unknown } }).operation.perform);
    expect(listed).toContainEqual({ id, label: expect.stringContaining(id) });
  });

  it('fit the kind of call that is chosen', async () => {
    const [, , nameField, , costFields] = (app.creates['authorize_spend']?.operation.inputFields ?? []) as unknown as unknown[];
    for (const [kind, list, cost] of [
      ['tool', 'list_tools', 'estimated_cost_usd'],
      ['model', 'list_models', 'max_output_tokens'],
    ]) {
      expect(await zap.run(nameField, { inputData: { kind } })).toMatchObject([{ key: 'name', dynamic: `${list}.id.label` }]);
      expect(await zap.run(costFields, { inputData: { kind } })).toMatchObject([{ key: cost }, ...(kind === 'model' ? [{}] : [])]);
    }
  });
});
