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

  it('of a model under a Step ID with spaces around it is the one under the Step ID alone', async () => {
    const run_id = 'spaces of a step';
    await player.action('startRun', { run_id });
    await player.action('createChatCompletion', chat(run_id, { step_id: 'answer' }));
    expect((await errorOf(player.action('createChatCompletion', chat(run_id, { step_id: ' answer ' })))).type).toBe('DuplicateDataError');
    expect((await run(run_id)).counts.requests).toBe(1);
  });

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

describe('a tool’s cost', () => {
  it('is told as it was booked: at the gateway’s own price before the stated one, and unknown where nobody says it', async () => {
    const run_id = 'booked';
    const record = (tool: string, spend_id: string, more: Bundle = {}): Promise<Bundle> =>
      player.action('recordToolCost', { run_id, tool, spend_id, ...more });
    for (const replayed of [false, true]) {
      expect(await record('order_lookup', 'priced', { cost_usd: 9 })).toMatchObject({ tool: 'order_lookup', cost_usd: '0.003', replayed });
      expect(await record('ads', 'stated', { cost_usd: 0.02 })).toMatchObject({ tool: 'ads', cost_usd: '0.02', replayed });
      expect(await record('ads', 'unknown')).toMatchObject({ tool: 'ads', cost_usd: null, replayed });
    }
    await record('ads', 'again', { status: 'failed', cost_usd: 0.01 });
    expect(await record('ads', 'again', { cost_usd: 0.04, attempt: 2 })).toMatchObject({ tool: 'ads', cost_usd: '0.04' });
  });

  it.each([
    ['order_lookup', undefined, '$0.003'],
    ['ads', 0.5, '$0.5'],
    ['ads', undefined, 'at an unknown price'],
  ])('under the Spend ID of %s (%s) is told to be charged as that, also when it is replayed', async (asked, cost_usd, price) => {
    const run_id = `another tool ${asked} ${cost_usd}`;
    const spend = { run_id, spend_id: 'lookup' };
    await player.action('authorizeSpend', { ...spend, tool: asked });
    for (let replay = 0; replay < 2; replay += 1) {
      const error = await errorOf(player.action('recordToolCost', { ...spend, tool: 'mail', cost_usd }));
      expect([error.type, error.message]).toEqual([
        'DataError',
        `Spend ID lookup was authorized as tool ${asked}: it was charged as that (${price}), and nothing was recorded for tool mail. Give each spend an ID of its own.`,
      ]);
    }
    expect((await run(run_id)).tools.map(({ tool }) => tool)).toEqual([asked]);
  });

  it('is looked up as the gateway keeps its Spend ID and its tool: without the spaces around them', async () => {
    const spend = (spend_id: string, tool: string) => ({ run_id: 'spaces', spend_id, tool });
    await player.action('authorizeSpend', spend(' one ', ' order_lookup '));
    expect(await player.action('recordToolCost', spend(' one ', ' order_lookup '))).toMatchObject({
      tool: 'order_lookup',
      cost_usd: '0.003',
    });
    await player.action('authorizeSpend', spend(' two ', ' order_lookup '));
    expect((await errorOf(player.action('recordToolCost', spend(' two ', 'mail')))).message).toContain(
      'Spend ID two was authorized as tool order_lookup: it was charged as that ($0.003)',
    );
  });

  it('has a Spend ID without a comma, at which Make takes a filter’s value apart', async () => {
    for (const module of ['authorizeSpend', 'recordToolCost']) {
      const error = await errorOf(player.action(module, { run_id: 'comma', tool: 'ads', spend_id: 'a,b' }));
      expect([module, error.type]).toEqual([module, 'BundleValidationError']);
    }
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
