import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
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
let providerFails: { status: number; message: string } | undefined;
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

beforeAll(async () => {
  provider = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk: Buffer) => (body += chunk.toString()));
    request.on('end', () => {
      const asked = JSON.parse(body) as Record<string, unknown>;
      providerCalls.push({ body: asked, headers: request.headers });
      response.setHeader('content-type', 'application/json');
      if (providerFails !== undefined) {
        response.statusCode = providerFails.status;
        response.end(JSON.stringify({ error: { message: providerFails.message, type: 'server_error', param: null, code: null } }));
        return;
      }
      const message = { role: 'assistant', content: `answer ${providerCalls.length}` };
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

  it('would rather refuse a replay than pay twice when the first answer is not kept', async () => {
    const run_id = fresh();
    await zap.create('chat_completion', { run_id, ...ask });
    const elsewhere = openZap({ baseUrl: gateway.url, apiKey: gateway.apiKey });
    expect((await failure(elsewhere.create('chat_completion', { run_id, ...ask }))).message).toMatch(
      /made and paid before \(req_.*\$0\.01\).*another Call ID/,
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
    expect((await failure(zap.create('chat_completion', replay))).message).toContain('made and paid before');
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
