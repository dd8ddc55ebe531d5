import { describe, expect, it } from '@jest/globals';
import { parseUsd } from '@runpurse/core';
import { createPriceBook } from './price-book.ts';
import type { PriceCard, WorstCase } from './price-card.ts';
import { createRandom, type Random } from './fixtures/random.ts';
import { usageOf } from './fixtures/usage.ts';

const NOW = Date.parse('2026-11-24T12:00:00Z');
const book = createPriceBook({ now: () => NOW });

function card(provider: string, model: string): PriceCard {
  const found = book.find({ name: provider, kind: provider === 'sandbox' ? 'sandbox' : 'openai' }, model);
  if (found === undefined) throw new Error(`${provider}/${model} has no price`);
  return found;
}

const usd = (text: string): bigint => parseUsd(text) ?? 0n;

describe('cost', () => {
  it.each([
    ['input and output', 'openai', 'gpt-4o-mini', { inputTokens: 1000, outputTokens: 500 }, '0.00045'],
    [
      'cached input at its own rate, once',
      'openai',
      'gpt-4o-mini',
      { inputTokens: 4000, cacheReadTokens: 16_000, outputTokens: 1000 },
      '0.0024',
    ],
    [
      'reasoning is part of the output and not added to it',
      'openai',
      'gpt-5',
      { inputTokens: 1200, outputTokens: 3000, reasoningTokens: 2560 },
      '0.0315',
    ],
    [
      'the long-context rates, from the first token',
      'openai',
      'gpt-5.5',
      { inputTokens: 500_000, cacheReadTokens: 500_000, outputTokens: 100_000 },
      '10',
    ],
    ['the base rates at the very start of the next tier', 'openai', 'gpt-5.5', { inputTokens: 271_999 }, '1.359995'],
    ['the next tier one token later', 'openai', 'gpt-5.5', { inputTokens: 272_000 }, '2.72'],
    ['cached tokens count towards the tier', 'openai', 'gpt-5.5', { inputTokens: 1, cacheReadTokens: 271_999 }, '0.272009'],
    [
      'cache writes of five minutes and of an hour',
      'anthropic',
      'claude-sonnet-4-6',
      { inputTokens: 1000, cacheReadTokens: 10_000, cacheWrite5mTokens: 2000, cacheWrite1hTokens: 3000, outputTokens: 500 },
      '0.039',
    ],
    [
      'cache writes OpenAI bills',
      'openai',
      'gpt-6-sol',
      { inputTokens: 2000, cacheReadTokens: 8000, cacheWrite5mTokens: 10_000, outputTokens: 1000 },
      '0.0406',
    ],
    [
      'an hour of cache at twice the input where the source has one write price',
      'google',
      'claude-opus-4-7',
      { cacheWrite1hTokens: 1_000_000 },
      '10',
    ],
    [
      'sound at its own rates',
      'openai',
      'gpt-audio',
      { inputTokens: 500, audioInputTokens: 1000, outputTokens: 100, audioOutputTokens: 600 },
      '0.07265',
    ],
    [
      'sound where only our additions price it',
      'openai',
      'gpt-4o-audio-preview',
      { audioInputTokens: 1000, audioOutputTokens: 1000 },
      '0.12',
    ],
    [
      'sound where nobody prices it at the text rate, never 0',
      'openai',
      'gpt-4.1',
      { audioInputTokens: 1000, audioOutputTokens: 1000 },
      '0.01',
    ],
    ['web searches', 'anthropic', 'claude-sonnet-4-6', { webSearches: 3 }, '0.03'],
    ['web searches where the source has no price, at the dearest', 'openai', 'o1', { webSearches: 1 }, '0.035'],
    ['a fee for each request', 'perplexity', 'sonar', { inputTokens: 1000, outputTokens: 1000 }, '0.014'],
    ['cached input without a price of its own at the full rate', 'openai', 'gpt-4-turbo', { cacheReadTokens: 1000 }, '0.01'],
    [
      'the sandbox',
      'sandbox',
      'anything',
      { inputTokens: 1000, cacheReadTokens: 1000, cacheWrite5mTokens: 1000, cacheWrite1hTokens: 1000, outputTokens: 1000 },
      '0.00635',
    ],
  ])('%s', (_, provider, model, usage, expected) => {
    expect(card(provider, model).cost(usageOf(usage))).toBe(usd(expected));
  });

  it('is unknown, not 0, when the usage leaves out what is priced', () => {
    expect(card('openai', 'gpt-4o-mini').cost(usageOf({ inputTokens: undefined, outputTokens: 5 }))).toBeUndefined();
    expect(card('openai', 'gpt-4o-mini').cost(usageOf({ inputTokens: 5, outputTokens: undefined }))).toBeUndefined();
  });

  it('is rounded up to a whole nano, once', () => {
    // 0.005 USD per million cached tokens are 5 nanos each; 0.0833… are 83.333334.
    expect(card('openai', 'gpt-5-nano').cost(usageOf({ cacheReadTokens: 1 }))).toBe(5n);
    expect(card('openrouter', 'google/gemini-3-flash-preview').cost(usageOf({ cacheWrite5mTokens: 1 }))).toBe(84n);
    expect(card('openrouter', 'google/gemini-3-flash-preview').cost(usageOf({ cacheWrite5mTokens: 3 }))).toBe(251n);
  });

  it('takes the tier of service in percent, on tokens and not on searches', () => {
    const usage = usageOf({ inputTokens: 1000, outputTokens: 1000, webSearches: 1 });
    expect(card('openai', 'gpt-5').cost(usage, { ratePercent: 200 })).toBe(usd('0.0325'));
    expect(card('openai', 'gpt-5').cost(usage, { ratePercent: 50 })).toBe(usd('0.015625'));
    expect(card('openai', 'gpt-5').cost(usage, { fees: usd('0.03') })).toBe(usd('0.05125'));
  });
});

describe('prices that depend on the time', () => {
  const at = (time: string, model: string): bigint | undefined =>
    createPriceBook({ now: () => Date.parse(time) })
      .find({ name: 'deepseek', kind: 'openai' }, model)
      ?.cost(usageOf({ inputTokens: 1_000_000 }));

  it('follow the hour', () => {
    const peak = at('2026-11-24T02:00:00Z', 'deepseek-v4-pro');
    const night = at('2026-11-24T20:00:00Z', 'deepseek-v4-pro');
    expect(peak).toBeDefined();
    expect(peak).toBeGreaterThan(night ?? 0n);
  });

  it('follow the day', () => {
    const google = (time: string): bigint | undefined =>
      createPriceBook({ now: () => Date.parse(time) })
        .find({ name: 'google', kind: 'openai' }, 'gemini-3.6-flash')
        ?.cost(usageOf({ inputTokens: 1_000_000 }));
    expect(google('2026-12-31T23:59:59Z')).toBe(usd('0.75'));
    expect(google('2027-01-01T00:00:00Z')).toBe(usd('1.5'));
  });

  it('are held at the dearest that may hold before the call is settled', () => {
    const eve = createPriceBook({ now: () => Date.parse('2026-12-31T23:59:59Z') }).find(
      { name: 'google', kind: 'openai' },
      'gemini-3.6-flash',
    );
    expect(
      eve?.worstCase({
        inputTokens: 1_000_000,
        outputTokens: 0,
        webSearches: 0,
        audioOutput: false,
        cacheWrite: 'none',
        audioInputTokens: 0,
      }),
    ).toBe(usd('1.5'));
  });
});

const MODELS: readonly (readonly [string, string])[] = [
  ['openai', 'gpt-4o-mini'],
  ['openai', 'gpt-5.5'],
  ['openai', 'gpt-6-sol'],
  ['openai', 'gpt-audio'],
  ['openai', 'gpt-4o-audio-preview'],
  ['openai', 'text-embedding-3-small'],
  ['anthropic', 'claude-sonnet-4-5'],
  ['anthropic', 'claude-opus-5'],
  ['anthropic', 'claude-fable-5-1'],
  ['google', 'gemini-2.5-pro'],
  ['google', 'gemini-2.5-flash'],
  ['google', 'gemini-3.6-flash'],
  ['deepseek', 'deepseek-v4-pro'],
  ['perplexity', 'sonar-deep-research'],
  ['openrouter', 'google/gemini-3-flash-preview'],
  ['x-ai', 'grok-4.5'],
  ['sandbox', 'anything'],
];
const SEED = Number(process.env['RUNPURSE_SEED'] ?? Date.now() % 1_000_000);

function randomBounds(random: Random): WorstCase {
  return {
    inputTokens: random.integer(0, random.pick([10, 5000, 300_000, 1_200_000])),
    outputTokens: random.integer(0, random.pick([1, 500, 128_000])),
    webSearches: random.chance(0.3) ? random.integer(0, 5) : 0,
    audioOutput: random.chance(0.3),
    audioInputTokens: random.chance(0.5) ? undefined : random.integer(0, 100_000),
    cacheWrite: random.pick(['none', '5m', '1h', undefined]),
    ratePercent: random.pick([undefined, 50, 100, 170, 250]),
    fees: random.pick([undefined, 0n, 30_000_000n]),
  };
}

describe(`worst case (seed ${SEED})`, () => {
  it.each(MODELS)('%s/%s: no usage within the bounds costs more, at any hour of the next day', (provider, model) => {
    const random = createRandom(SEED);
    for (let round = 0; round < 400; round += 1) {
      const bounds = randomBounds(random);
      const start = NOW + random.integer(0, 90) * 86_400_000 + random.integer(0, 86_400_000);
      let now = start;
      const priced = createPriceBook({ now: () => now }).find(
        { name: provider, kind: provider === 'sandbox' ? 'sandbox' : 'openai' },
        model,
      );
      if (priced === undefined) throw new Error('no price');
      const worst = priced.worstCase(bounds);
      now = start + random.integer(0, 86_400_000);

      let left = random.chance(0.5) ? bounds.inputTokens : random.integer(0, bounds.inputTokens);
      const take = (most: number): number => {
        const taken = random.chance(0.3) ? Math.min(left, most) : random.integer(0, Math.min(left, most));
        left -= taken;
        return taken;
      };
      const usage = usageOf({
        audioInputTokens: take(bounds.audioInputTokens ?? left),
        cacheWrite1hTokens: bounds.cacheWrite === undefined || bounds.cacheWrite === '1h' ? take(left) : 0,
        cacheWrite5mTokens: bounds.cacheWrite === 'none' ? 0 : take(left),
        cacheReadTokens: take(left),
        inputTokens: take(left),
        outputTokens: random.chance(0.5) ? bounds.outputTokens : random.integer(0, bounds.outputTokens),
        webSearches: random.integer(0, bounds.webSearches),
      });
      const spoken = bounds.audioOutput ? random.integer(0, usage.outputTokens ?? 0) : 0;
      const cost = priced.cost(
        { ...usage, outputTokens: (usage.outputTokens ?? 0) - spoken, audioOutputTokens: spoken },
        { ratePercent: bounds.ratePercent, fees: bounds.fees },
      );
      if (cost === undefined || cost > worst)
        throw new Error(
          `seed ${SEED}, round ${round}: ${cost} > ${worst} for ${JSON.stringify({ usage, bounds: { ...bounds, fees: String(bounds.fees) } })}`,
        );
    }
  });

  it.each(MODELS)('%s/%s: outputTokensWithin is its exact inverse', (provider, model) => {
    const random = createRandom(SEED + 1);
    const priced = card(provider, model);
    for (let round = 0; round < 400; round += 1) {
      const bounds = randomBounds(random);
      const available = BigInt(random.integer(0, random.pick([1000, 1_000_000_000, 100_000_000_000])));
      const tokens = priced.outputTokensWithin(available, bounds);
      const worst = (outputTokens: number): bigint => priced.worstCase({ ...bounds, outputTokens });
      const fits = tokens === undefined ? worst(1) > available : worst(tokens) <= available && worst(tokens + 1) > available;
      if (!fits)
        throw new Error(
          `seed ${SEED + 1}, round ${round}: ${tokens} tokens within ${available} for ${JSON.stringify({ ...bounds, fees: String(bounds.fees) })}`,
        );
    }
  });

  it('takes the dearest class of input: an hour of cache where it may be written, plain input where it may not', () => {
    const bounds: WorstCase = { inputTokens: 1_000_000, outputTokens: 0, webSearches: 0, audioOutput: false, audioInputTokens: 0 };
    const claude = card('anthropic', 'claude-opus-5');
    expect(claude.worstCase(bounds)).toBe(usd('10'));
    expect(claude.worstCase({ ...bounds, cacheWrite: '5m' })).toBe(usd('6.25'));
    expect(claude.worstCase({ ...bounds, cacheWrite: 'none' })).toBe(usd('5'));
  });

  it('takes the tier the input reaches', () => {
    const bounds: WorstCase = {
      inputTokens: 271_999,
      outputTokens: 1000,
      webSearches: 0,
      audioOutput: false,
      audioInputTokens: 0,
      cacheWrite: 'none',
    };
    expect(card('openai', 'gpt-5.5').worstCase(bounds)).toBe(usd('1.389995'));
    expect(card('openai', 'gpt-5.5').worstCase({ ...bounds, inputTokens: 272_000 })).toBe(usd('2.765'));
  });

  it('lets a free model generate without end', () => {
    const free = createPriceBook({
      now: () => NOW,
      overrides: [{ model: 'llama', input_mtok_usd: 0n, output_mtok_usd: 0n }],
    }).find({ name: 'local', kind: 'openai' }, 'llama');
    expect(free?.outputTokensWithin(0n, { inputTokens: 100, outputTokens: 0, webSearches: 0, audioOutput: false })).toBe(
      Number.MAX_SAFE_INTEGER,
    );
    expect(free?.cost(usageOf({ inputTokens: 100, outputTokens: 100 }))).toBe(0n);
  });
});
