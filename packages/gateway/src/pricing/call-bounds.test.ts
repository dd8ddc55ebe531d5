import { describe, expect, it } from '@jest/globals';
import { parseUsd } from '@runpurse/core';
import type { ModelCall } from '../wires/index.ts';
import { boundsOf, outputLimitWithin } from './call-bounds.ts';
import { createPriceBook } from './price-book.ts';
import type { PriceCard } from './price-card.ts';
import { createRandom } from './fixtures/random.ts';

const book = createPriceBook({
  now: () => Date.parse('2026-11-24T12:00:00Z'),
  overrides: [{ model: 'house', input_mtok_usd: 1_000_000_000n, output_mtok_usd: 2_000_000_000n }],
});

function card(provider: string, model: string): PriceCard {
  const found = book.find({ name: provider, kind: provider === 'sandbox' ? 'sandbox' : 'openai' }, model);
  if (found === undefined) throw new Error(model);
  return found;
}

function callOf(some: Partial<ModelCall>): ModelCall {
  return {
    model: 'm',
    stream: false,
    inputTokensMax: 1000,
    outputTokensLimit: 100,
    choices: 1,
    webSearchesMax: 0,
    wantsStreamUsage: false,
    audioOutput: false,
    ...some,
  };
}

const MINI = card('openai', 'gpt-4o-mini');

describe('the bounds of a call', () => {
  it.each<[string, Partial<ModelCall>, PriceCard, { inputTokens: number; outputTokens: number }]>([
    ['its own limit', {}, MINI, { inputTokens: 1000, outputTokens: 100 }],
    ['the model’s limit where it sets none', { outputTokensLimit: undefined }, MINI, { inputTokens: 1000, outputTokens: 16_384 }],
    ['the model’s limit where its own is beyond', { outputTokensLimit: 1_000_000 }, MINI, { inputTokens: 1000, outputTokens: 16_384 }],
    ['every choice', { choices: 3, outputTokensExtra: 5 }, MINI, { inputTokens: 1000, outputTokens: 315 }],
    ['the context window, beyond which no input goes', { inputTokensMax: 10_000_000 }, MINI, { inputTokens: 128_000, outputTokens: 100 }],
    ['the context window, where input cannot be seen', { inputUnbounded: true }, MINI, { inputTokens: 128_000, outputTokens: 100 }],
    ['the context window for each turn of the provider’s tools', { turnsMax: 4 }, MINI, { inputTokens: 512_000, outputTokens: 100 }],
    [
      'the model’s limit for each turn',
      { turnsMax: 4, outputTokensLimit: undefined },
      MINI,
      { inputTokens: 512_000, outputTokens: 65_536 },
    ],
    [
      'a batch of embeddings, longer than any one input',
      { choices: 0, inputTokensMax: 300_000, outputTokensLimit: undefined },
      card('openai', 'text-embedding-3-small'),
      { inputTokens: 300_000, outputTokens: 0 },
    ],
    ['a model of no stated size, by the call’s own limit', {}, card('local', 'house'), { inputTokens: 1000, outputTokens: 100 }],
  ])('%s', (_, some, priced, expected) => expect(boundsOf(callOf(some), priced)).toMatchObject({ type: 'bounded', bounds: expected }));

  it('take a tokenizer’s count where it is lower', () => {
    expect(boundsOf(callOf({}), MINI, { inputTokens: 300 })).toMatchObject({ bounds: { inputTokens: 300 } });
    expect(boundsOf(callOf({}), MINI, { inputTokens: 3000 })).toMatchObject({ bounds: { inputTokens: 1000 } });
    expect(boundsOf(callOf({ inputUnbounded: true }), MINI, { inputTokens: 300 })).toMatchObject({ bounds: { inputTokens: 128_000 } });
  });

  it.each<[string, Partial<ModelCall>, string | undefined]>([
    ['what the call asks for has none', { unbounded: { param: 'tools', reason: 'the provider runs it' } }, 'tools'],
    ['nobody states the model’s output limit', { outputTokensLimit: undefined }, 'max_tokens'],
    ['unseen input meets a model of unknown context window', { inputUnbounded: true }, undefined],
  ])('do not exist where %s, and the refusal says so', (_, some, param) => {
    expect(boundsOf(callOf(some), card('local', 'house'))).toMatchObject({ type: 'unbounded', refusal: { code: 'price_unknown', param } });
  });
});

describe('the output limit that fits', () => {
  it('is the largest for one choice whose worst case fits', () => {
    // 1,000 tokens in cost 0.00015; 0.00085 are left, of 0.0000006 each, for two choices.
    expect(outputLimitWithin(callOf({ choices: 2, outputTokensLimit: undefined }), MINI, parseUsd('0.001') ?? 0n)).toBe(708);
    expect(outputLimitWithin(callOf({}), MINI, parseUsd('0.0001') ?? 0n)).toBeUndefined();
    expect(outputLimitWithin(callOf({ choices: 2, outputTokensLeast: 708 }), MINI, parseUsd('0.001') ?? 0n)).toBe(708);
    expect(outputLimitWithin(callOf({ choices: 2, outputTokensLeast: 709 }), MINI, parseUsd('0.001') ?? 0n)).toBeUndefined();
    expect(outputLimitWithin(callOf({ choices: 0 }), MINI, parseUsd('1') ?? 0n)).toBeUndefined();
  });

  it('always fits, and one more never does (random)', () => {
    const seed = Number(process.env['RUNPURSE_SEED'] ?? Date.now() % 1_000_000);
    const random = createRandom(seed);
    for (let round = 0; round < 2000; round += 1) {
      const priced = random.pick([MINI, card('openai', 'gpt-5.5'), card('sandbox', 'x'), card('google', 'gemini-2.5-pro')]);
      const call = callOf({
        choices: random.integer(1, 4),
        inputTokensMax: random.integer(1, 500_000),
        outputTokensExtra: random.pick([undefined, 50]),
        cacheWrite: random.pick([undefined, '5m']),
      });
      const available = BigInt(random.integer(0, 5_000_000_000));
      const limit = outputLimitWithin(call, priced, available);
      const worst = (outputTokensLimit: number): bigint => {
        const bounded = boundsOf({ ...call, outputTokensLimit }, { ...priced, outputTokensMax: undefined });
        return bounded.type === 'bounded' ? priced.worstCase(bounded.bounds) : -1n;
      };
      const fits = limit === undefined ? worst(1) > available : worst(limit) <= available && worst(limit + 1) > available;
      if (!fits) throw new Error(`seed ${seed}, round ${round}: ${limit} within ${available}`);
    }
  });
});
