import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { RunningGateway } from '@runpurse/conformance';
import type { RunShape } from '@runpurse/core';
import { errorOf } from './error-of.ts';
import { app, chat, connect, startTestGateway } from './gateway.ts';
import type { Empties, Parameter } from './renderer/parameters.ts';
import type { Bundle, Player } from './renderer/play.ts';

/** A scenario played again after an outage or a failure, and fields of which a cap or a cost depends. */

const MODEL = { model: 'sandbox/echo', spend_id: 'draft' };
const USED = { prompt_tokens: 10, completion_tokens: 5 };
const PRICE = '0.00002';
const ALL_EMPTIES: readonly Empties[] = ['omitted', 'null', 'text'];

let gateway: RunningGateway;
let player: Player;
beforeAll(async () => {
  gateway = await startTestGateway({ store: { authorization_ttl_s: 0.3 } });
  player = await connect(gateway);
});
afterAll(() => gateway.remove());

const run = async (runId: string): Promise<RunShape> => (await gateway.readRun(runId)) as RunShape;

async function untilNothingIsOpen(runId: string): Promise<RunShape> {
  for (;;) {
    const shape = await run(runId);
    if (![...shape.requests, ...shape.tools].some(({ status }) => status === 'open')) return shape;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

describe('a call', () => {
  it.each([
    [
      'model',
      'authorizeModelCall',
      'recordModelCall',
      { ...MODEL, input_tokens_max: 10, max_output_tokens: 10 },
      { ...MODEL, ...USED },
      PRICE,
    ],
    [
      'tool',
      'authorizeSpend',
      'recordToolCost',
      { tool: 'customer_lookup', spend_id: 's' },
      { tool: 'customer_lookup', spend_id: 's' },
      '0.002',
    ],
  ] as const)(
    'of a %s that was recorded before it was authorized, since the gateway was away, is charged once',
    async (kind, authorize, record, asked, told, price) => {
      const run_id = `late ${kind}`;
      expect(await player.action(record, { run_id, ...told })).toMatchObject({ replayed: false });
      expect(await player.action(authorize, { run_id, ...asked })).toMatchObject({ decision: 'allowed' });
      expect(await player.action(record, { run_id, ...told })).toMatchObject({ replayed: true });
      const { cost, counts, requests, tools } = await untilNothingIsOpen(run_id);
      expect([cost.total_usd, counts.retries, requests.length + tools.length]).toEqual([price, 0, 1]);
    },
  );

  it.each(ALL_EMPTIES)('with an Attempt left empty (%s) is the one with Attempt 1', async (empties) => {
    const run_id = `first attempt ${empties}`;
    const by = await connect(gateway, { empties });
    const steps: readonly (readonly [string, string, Bundle])[] = [
      ['authorizeSpend', 'recordToolCost', { run_id, tool: 'order_lookup', spend_id: 's' }],
      ['authorizeModelCall', 'recordModelCall', { run_id, ...MODEL }],
    ];
    for (const [authorize, record, call] of steps) {
      const told = { ...call, ...(record === 'recordModelCall' ? USED : {}) };
      await by.action(authorize, call);
      expect(await by.action(authorize, { ...call, attempt: 1 })).toMatchObject({ decision: 'allowed', replayed: true });
      await by.action(record, { ...told, attempt: 1 });
      expect(await by.action(record, told)).toMatchObject({ replayed: true });
    }
    expect(await run(run_id)).toMatchObject({ counts: { requests: 1, tool_calls: 1, retries: 0 } });
  });

  it('that failed and is made again is told to be an Attempt, and then recorded', async () => {
    const run_id = 'again';
    for (const [authorize, record, call] of [
      ['authorizeSpend', 'recordToolCost', { run_id, tool: 'order_lookup', spend_id: 's' }],
      ['authorizeModelCall', 'recordModelCall', { run_id, ...MODEL, ...USED }],
    ] as const) {
      const { prompt_tokens, completion_tokens, ...asked } = { prompt_tokens: undefined, completion_tokens: undefined, ...call };
      await player.action(authorize, asked);
      await player.action(record, { ...call, status: 'failed' });
      expect(await player.action(authorize, asked)).toMatchObject({ replayed: true });
      const error = await errorOf(player.action(record, call));
      expect([error.type, error.message]).toEqual(['DataError', expect.stringMatching(/cost or outcome.*state its Attempt, from 2 on/)]);
      await player.action(authorize, { ...asked, attempt: 2 });
      expect(await player.action(record, { ...call, attempt: 2 })).toMatchObject({ replayed: false });
    }
    expect(await run(run_id)).toMatchObject({
      tools: [{ status: 'failed' }, { status: 'completed', attempt: 2 }],
      requests: [{ status: 'failed' }, { status: 'completed', attempt: 2 }],
    });
  });

  it.each(ALL_EMPTIES)(
    'of a model that failed, nobody knows at what usage (%s), is charged at its hold, and at nothing when it is said',
    async (empties) => {
      const run_id = `failed ${empties}`;
      const by = await connect(gateway, { empties });
      const asked = { run_id, model: 'sandbox/echo', input_tokens_max: 1000, max_output_tokens: 1000 };
      const told = { run_id, model: 'sandbox/echo', status: 'failed' };
      for (const spend_id of ['unknown', 'half', 'free']) await by.action('authorizeModelCall', { ...asked, spend_id });
      await by.action('recordModelCall', { ...told, spend_id: 'unknown' });
      await by.action('recordModelCall', { ...told, spend_id: 'half', prompt_tokens: 7 });
      await by.action('recordModelCall', { ...told, spend_id: 'free', prompt_tokens: 0, completion_tokens: 0 });
      expect((await run(run_id)).requests.map(({ step_id, cost_usd }) => [step_id, cost_usd])).toEqual([
        ['unknown', '0.004'],
        ['half', '0.004'],
        ['free', '0'],
      ]);
    },
  );

  it('under way whose twin asks the model at the same instant is one, and the twin ends as a duplicate', async () => {
    const run_id = 'twins';
    await player.action('startRun', { run_id });
    const copies = await Promise.allSettled(
      Array.from({ length: 4 }, () => player.action('createChatCompletion', chat(run_id, { step_id: 'answer' }))),
    );
    const errors = copies.flatMap((copy) => (copy.status === 'rejected' ? [copy.reason as { type: string; message: string }] : []));
    expect(errors.map(({ type }) => type)).toEqual(Array.from({ length: 3 }, () => 'DuplicateDataError'));
    for (const { message } of errors) expect(message).toMatch(/under way, or was answered before|was answered before, or is under way/);
    expect((await run(run_id)).requests.filter(({ status }) => status !== 'refused')).toHaveLength(1);
  });
});

describe('a field', () => {
  const texts = app.components
    .filter(({ kind, id }) => kind === 'module' && id !== 'makeApiCall')
    .flatMap(({ id, code }) => ((code['mappableParams'] ?? []) as readonly Parameter[]).map((parameter) => ({ id, parameter })));
  const named = texts.filter(({ parameter }) => parameter.type === 'text').map((one) => [`${one.id}.${one.parameter.name}`, one] as const);

  it.each(named)('%s takes nothing blank, no control characters and no dots that an address would lose', (_title, { parameter }) => {
    const pattern = new RegExp(parameter.validate?.pattern ?? '');
    for (const bad of [' ', '\u00a0', '\ufeff \u3000', 'a\nb', 'a\tb', 'a\u0000b', 'a\u0085b', 'a\u007f', '\u0001', 'ada\n', '.', '..'])
      expect([bad, pattern.test(bad)]).toEqual([bad, false]);
    for (const good of ['', 'a', 'a b', '...', '.a', 'é日😀', '\'"<>&?#/%']) expect([good, pattern.test(good)]).toEqual([good, true]);
  });

  it('that is no id is refused before anything is sent', async () => {
    const before = player.log.length;
    for (const run_id of [' ', 'a\nb', '..'])
      for (const play of [
        player.action('startRun', { run_id, limit_usd: 0.001 }),
        player.action('createChatCompletion', chat(run_id)),
        player.action('createChatCompletion', chat('fine', { session_id: run_id })),
        player.action('getRun', { run_id }),
      ])
        expect((await errorOf(play)).type).toBe('BundleValidationError');
    expect(player.log.length).toBe(before);
  });

  it.each(['Infinity', Infinity, 1e21])('of an amount or a count takes no %j', async (most) => {
    for (const given of [{ limit_usd: most }, { max_requests: most }])
      expect((await errorOf(player.action('startRun', { run_id: 'endless', ...given }))).type).toBe('BundleValidationError');
    const tokens = { prompt_tokens: most, completion_tokens: 1 };
    expect((await errorOf(player.action('recordModelCall', { run_id: 'endless', ...MODEL, ...tokens }))).type).toBe(
      'BundleValidationError',
    );
    expect(await gateway.readRun('endless')).toBeUndefined();
  });
});

it.each(['session', 'workflow', 'agent', 'customer'])('a search by %s without its ID finds no other runs', async (by) => {
  await player.action('startRun', { run_id: 'anybody’s', session_id: 'ada' });
  for (const empties of ALL_EMPTIES) {
    const searching = await connect(gateway, { empties });
    expect([empties, (await errorOf(searching.search('searchRuns', { by }))).type]).toEqual([empties, 'DataError']);
    expect((await searching.search('searchRuns', { by: 'all' })).length).toBeGreaterThan(0);
  }
});
