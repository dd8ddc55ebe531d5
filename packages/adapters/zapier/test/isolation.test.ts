import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { startGateway, type RunningGateway } from '@runpurse/conformance';
import type { RunShape } from '@runpurse/core';
import { benchAdapter } from './bench.ts';
import { openZap, type Row, type Zap } from './zap.ts';

/** Many Zap runs at once, replays in between, secrets everywhere, and a gateway that is away. */

let gateway: RunningGateway;
let zap: Zap;
beforeAll(async () => {
  gateway = await startGateway({
    config: {
      providers: [{ name: 'sandbox', kind: 'sandbox', scripts: { flat: [{ text: 'ok', usage: { input_tokens: 1, output_tokens: 1 } }] } }],
      prices: [
        {
          provider: 'sandbox',
          model: 'flat',
          input_mtok_usd: '0',
          output_mtok_usd: '0',
          request_usd: '0.01',
          max_input_tokens: 8000,
          max_output_tokens: 100,
        },
      ],
      tools: [{ name: 'lookup', price_usd: '0.002' }],
      budgets: [{ scope: 'run', limit_usd: '0.05' }],
      rate: { requests_per_minute: 1_000_000 },
    } as never,
  });
  zap = openZap({ baseUrl: gateway.url, apiKey: gateway.apiKey }, '4711');
});
afterAll(() => gateway.remove());

const read = async (runId: string): Promise<RunShape> => {
  const run = await gateway.readRun(runId);
  if (run === undefined) throw new Error(`there is no run ${runId}`);
  return run;
};

describe('one Zap, many runs', () => {
  it('fifty at once: nothing of one lands on another', async () => {
    const play = async (index: number): Promise<void> => {
      const run_id = `trigger-${index}`;
      const session_id = `customer-${index}`;
      await zap.create('start_run', { run_id, session_id });
      for (let call = 0; call < 1 + (index % 3); call += 1)
        await zap.create('chat_completion', { run_id, model: 'sandbox/flat', prompt: `question ${call}` });
      await zap.create('authorize_spend', { run_id, kind: 'tool', name: 'lookup', call_id: 'look' });
      await zap.create('record_cost', { run_id, kind: 'tool', name: 'lookup', call_id: 'look' });
      await zap.create('end_run', { run_id, status: 'completed', revenue_usd: `0.${index + 10}` });
    };
    await Promise.all(Array.from({ length: 50 }, (_, index) => play(index)));
    for (let index = 0; index < 50; index += 1) {
      const run = await read(`trigger-${index}`);
      expect(run).toMatchObject({
        session_id: `customer-${index}`,
        workflow_id: 'zap_4711',
        status: 'completed',
        cost: { model_usd: `0.0${1 + (index % 3)}`, tool_usd: '0.002' },
        counts: { requests: 1 + (index % 3), tool_calls: 1 },
        revenue_usd: String(Number(`0.${index + 10}`)),
      });
    }
  });

  it('two people, branches side by side, and every step replayed: the right runs, each charged once', async () => {
    const twice = async (key: string, inputs: object): Promise<Row> => {
      const first = await zap.create(key, inputs);
      await zap.create(key, inputs);
      return first;
    };
    const play = async (person: string): Promise<void> => {
      const run_id = `record-of-${person}`;
      await twice('start_run', { run_id, session_id: person });
      const branch = async (name: string): Promise<void> => {
        await twice('authorize_spend', { run_id, kind: 'tool', name: 'lookup', call_id: name });
        await twice('record_cost', { run_id, kind: 'tool', name: 'lookup', call_id: name });
        await twice('chat_completion', { run_id, model: 'sandbox/flat', prompt: `summarize ${name}` });
      };
      await Promise.all(['crm', 'tickets'].map(branch));
      await twice('end_run', { run_id, status: 'completed', revenue_usd: '0.1' });
    };
    await Promise.all(['ada', 'grace'].map(play));
    for (const person of ['ada', 'grace']) {
      expect(await read(`record-of-${person}`)).toMatchObject({
        session_id: person,
        cost: { model_usd: '0.02', tool_usd: '0.004', retry_usd: '0', total_usd: '0.024' },
        revenue_usd: '0.1',
        counts: { requests: 2, tool_calls: 2, retries: 0 },
      });
    }
  });

  it('one cap for all branches: side by side they spend no more than it allows', async () => {
    const run_id = 'capped';
    await zap.create('start_run', { run_id, limit_usd: '0.03' });
    const asked = Array.from({ length: 8 }, (_, index) =>
      zap.create('chat_completion', { run_id, model: 'sandbox/flat', prompt: `branch ${index}`, on_refusal: 'continue' }),
    );
    const allowed = (await Promise.all(asked)).filter((said) => said['allowed'] === true);
    expect(allowed).toHaveLength(3);
    expect((await read(run_id)).cost.total_usd).toBe('0.03');
  });
});

describe('secrets', () => {
  const SECRET = 'hunter2-correct-horse-battery';
  const TOKEN = 'sk-live-5e1f0c2d9a8b7c6d5e4f3a2b1c0d';

  it('planted in prompts, details, errors and reasons reach no event and no file of the gateway', async () => {
    const run_id = 'secretive';
    await zap.create('start_run', { run_id, name: 'password reset' });
    await zap.create('authorize_spend', { run_id, kind: 'tool', name: 'lookup', call_id: 'c', details: `password ${SECRET}` });
    await zap.create('record_cost', {
      run_id,
      kind: 'tool',
      name: 'lookup',
      call_id: 'c',
      error: `login failed: Authorization: Bearer ${TOKEN}`,
    });
    await zap.create('chat_completion', { run_id, model: 'sandbox/flat', prompt: `My password is ${SECRET}`, instructions: SECRET });
    await zap.create('end_run', { run_id, status: 'failed', reason: `api_key=${TOKEN}` });
    await read(run_id);
    const files = readdirSync(gateway.dataFolder).map((name) => [name, readFileSync(join(gateway.dataFolder, name), 'latin1')] as const);
    expect(files.length).toBeGreaterThan(2);
    for (const [, content] of files) {
      for (const secret of [SECRET, TOKEN, gateway.apiKey]) expect(content.includes(secret)).toBe(false);
    }
  });

  it('and the connection’s key stand in no error', async () => {
    const errors: string[] = [];
    for (const baseUrl of ['http://127.0.0.1:1', gateway.url, `https://me:${SECRET}@example.com`]) {
      const wrong = openZap({ baseUrl, apiKey: TOKEN, failurePolicy: 'closed' });
      for (const [key, inputs] of [
        ['start_run', { run_id: 'x' }],
        ['authorize_spend', { run_id: 'x', kind: 'tool', name: 'lookup', call_id: 'c' }],
        ['record_cost', { run_id: 'x', kind: 'tool', name: 'lookup', call_id: 'c' }],
        ['chat_completion', { run_id: 'x', model: 'sandbox/flat', prompt: SECRET }],
        ['end_run', { run_id: 'x' }],
      ] as const)
        errors.push(await wrong.create(key, inputs).then(JSON.stringify, (error: Error) => `${error.message}${error.stack ?? ''}`));
    }
    expect(errors).toHaveLength(15);
    for (const text of errors) {
      expect(text).not.toContain(TOKEN);
      // Below this line Zapier itself shows the user what went into the step.
      expect(text.split('What happened:')[0]).not.toContain(SECRET);
    }
  });
});

describe('a gateway that is away', () => {
  const inputs: readonly (readonly [string, object])[] = [
    ['start_run', { run_id: 'away' }],
    ['authorize_spend', { run_id: 'away', kind: 'tool', name: 'lookup', call_id: 'c' }],
    ['record_cost', { run_id: 'away', kind: 'tool', name: 'lookup', call_id: 'c', cost_usd: '0.01' }],
    ['end_run', { run_id: 'away', status: 'completed' }],
  ];

  it.each(inputs)('lets %s go on under the policy open, and says so', async (key, given) => {
    const away = openZap({ baseUrl: 'http://127.0.0.1:1', apiKey: 'rp_x', failurePolicy: 'open' });
    const said = await away.create(key, given);
    expect(said).toMatchObject({ run_id: 'away', warning: expect.stringMatching(/could not be (?:reached|asked)/) });
    expect(said['warning']).not.toContain('sent again');
    if (key === 'record_cost' || key === 'end_run') expect(said['recorded']).toBe(false);
    else expect(said).toMatchObject({ allowed: true, decision: 'unavailable' });
  });

  it.each([...inputs, ['chat_completion', { run_id: 'away', model: 'sandbox/flat', prompt: 'x' }] as const])(
    'fails %s under the policy closed, in words',
    async (key, given) => {
      const away = openZap({ baseUrl: 'http://127.0.0.1:1', apiKey: 'rp_x', failurePolicy: 'closed' });
      const error = await away.create(key, given).then(
        () => undefined,
        (fault: Error) => fault,
      );
      expect([error?.name, error?.message]).toEqual(['AppError', expect.stringMatching(/could not be (?:reached|asked)/)]);
      // Failed, not halted: Zapier may play it again.
      expect(error?.message).toContain('gateway_unavailable');
    },
  );

  it('makes no model call it could not count, under either policy', async () => {
    const away = openZap({ baseUrl: 'http://127.0.0.1:1', apiKey: 'rp_x', failurePolicy: 'open' });
    await expect(away.create('chat_completion', { run_id: 'away', model: 'sandbox/flat', prompt: 'x' })).rejects.toThrow(
      /could not be reached/,
    );
  });
});

describe('the rate cap', () => {
  it('throttles the step instead of failing it: Zapier tries again by itself', async () => {
    const slow = await startGateway({ config: { rate: { requests_per_minute: 1 } } });
    const throttled = openZap({ baseUrl: slow.url, apiKey: slow.apiKey });
    await throttled.create('chat_completion', { run_id: 'r', model: 'sandbox/any', prompt: 'one' });
    const error = await throttled.create('chat_completion', { run_id: 'r', model: 'sandbox/any', prompt: 'two' }).then(
      () => undefined,
      (fault: Error) => fault,
    );
    expect(error?.name).toBe('ThrottledError');
    expect(JSON.parse(error?.message ?? '')).toMatchObject({
      message: expect.stringContaining('within a minute'),
      delay: expect.any(Number),
    });
    const spend = { run_id: 'r', kind: 'tool', name: 'lookup' };
    await throttled.create('authorize_spend', { ...spend, call_id: 'one', on_refusal: 'continue' }).catch(() => undefined);
    await expect(throttled.create('authorize_spend', { ...spend, call_id: 'two', on_refusal: 'continue' })).rejects.toMatchObject({
      name: 'ThrottledError',
    });
    expect((await slow.readRun('r'))?.status).toBe('running');
    await slow.remove();
  });
});

it('what the steps take can be measured', async () => {
  const { adapter, ...added } = await benchAdapter({ rounds: 3 });
  expect([adapter, Object.keys(added).length]).toEqual(['zapier', 3]);
  for (const milliseconds of Object.values(added)) expect(Math.abs(milliseconds)).toBeLessThan(2_000);
}, 60_000);
