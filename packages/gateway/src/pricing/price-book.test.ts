import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { calcPrice, findProvider } from '@pydantic/genai-prices';
import { describe, expect, it } from '@jest/globals';
import { parseUsd } from '@runpurse/core';
import { createPriceBook } from './price-book.ts';
import { PRICE_SOURCE } from './price-source.ts';
import { usageOf } from './fixtures/usage.ts';

const NOW = Date.parse('2026-11-24T12:00:00Z');
const book = createPriceBook({ now: () => NOW });
const usd = (text: string): bigint => parseUsd(text) ?? 0n;
const MILLION_IN = usageOf({ inputTokens: 1_000_000 });

describe('where a price comes from', () => {
  it('is the installed price source, by name and version', () => {
    const installed = join(dirname(createRequire(import.meta.url).resolve('@pydantic/genai-prices')), '..', 'package.json');
    expect(PRICE_SOURCE).toEqual({
      source: '@pydantic/genai-prices',
      version: (JSON.parse(readFileSync(installed, 'utf8')) as { version: string }).version,
    });
    expect(book.find({ name: 'openai', kind: 'openai' }, 'gpt-4o-mini')).toMatchObject(PRICE_SOURCE);
  });

  it.each([
    ['a provider by its own name', { name: 'openai', kind: 'openai' }, 'gpt-4o-mini'],
    ['`price_as` before the name', { name: 'my-proxy', kind: 'openai', priceAs: 'openai' }, 'gpt-4o-mini'],
    ['where a provider of another name lives', { name: 'main', kind: 'openai', baseUrl: 'https://api.openai.com/v1' }, 'gpt-4o-mini'],
    ['a dated snapshot', { name: 'openai', kind: 'openai' }, 'gpt-4o-mini-2024-07-18'],
    ['an embedding model', { name: 'openai', kind: 'openai' }, 'text-embedding-3-small'],
    ['another vendor through an aggregator', { name: 'openrouter', kind: 'openai' }, 'anthropic/claude-opus-5'],
  ])('%s is priced', (_, provider, model) => expect(book.find(provider, model)).toBeDefined());

  it.each([
    ['a model nobody lists', { name: 'openai', kind: 'openai' }, 'house-model-7b'],
    [
      "a local server that speaks OpenAI's wire, though it names a model of OpenAI's",
      { name: 'local', kind: 'openai', baseUrl: 'http://127.0.0.1:11434/v1' },
      'gpt-4o-mini',
    ],
    [
      'a server called like a provider that lives elsewhere',
      { name: 'openai-local', kind: 'openai', baseUrl: 'http://127.0.0.1:11434/v1' },
      'gpt-4o-mini',
    ],
    ['`price_as` a provider that does not exist', { name: 'openai', kind: 'openai', priceAs: 'nobody' }, 'gpt-4o-mini'],
    ['a model the source lists without any price', { name: 'google', kind: 'openai' }, 'gemma-3'],
    ['a model sold by the hour of sound', { name: 'openai', kind: 'openai' }, 'whisper-1'],
    ['no model', { name: 'openai', kind: 'openai' }, ''],
    ['a name of absurd length', { name: 'openai', kind: 'openai' }, 'gpt-4o'.repeat(100)],
  ])('%s has no price, rather than a price of 0', (_, provider, model) => expect(book.find(provider, model)).toBeUndefined());

  it('makes each card once', () => {
    const provider = { name: 'openai', kind: 'openai' };
    expect(book.find(provider, 'gpt-4o')).toBe(book.find(provider, 'gpt-4o'));
  });

  it('prices every model of the sandbox', () => {
    const sandbox = book.find({ name: 'sandbox', kind: 'sandbox' }, 'whatever');
    expect(sandbox).toMatchObject({ source: 'sandbox', outputTokensMax: 16_384, inputTokensMax: 200_000 });
    expect(sandbox?.cost(usageOf({ inputTokens: 1_000_000, outputTokens: 1_000_000 }))).toBe(usd('3'));
  });
});

describe('the operator', () => {
  const rows = [
    { model: 'gpt-4o*', input_mtok_usd: usd('9'), output_mtok_usd: usd('9') },
    { model: 'gpt-4o-mini', input_mtok_usd: usd('8'), output_mtok_usd: usd('8') },
    { provider: 'openai', model: 'gpt-4o-mini', input_mtok_usd: usd('7'), output_mtok_usd: usd('7') },
    {
      provider: 'sandbox',
      model: 'pricey',
      input_mtok_usd: usd('6'),
      output_mtok_usd: usd('6'),
      max_output_tokens: 10,
      max_input_tokens: 20,
    },
    { model: 'llama-local', input_mtok_usd: 0n, output_mtok_usd: 0n },
    {
      model: 'odd',
      input_mtok_usd: usd('1'),
      output_mtok_usd: usd('2'),
      request_usd: usd('0.005'),
      web_search_usd: usd('0.02'),
      cache_write_5m_mtok_usd: usd('1.25'),
      audio_output_mtok_usd: usd('4'),
    },
  ];
  const owned = createPriceBook({ now: () => NOW, overrides: rows, fallback: { input_mtok_usd: usd('20'), output_mtok_usd: usd('60') } });
  const costOf = (name: string, model: string): bigint | undefined =>
    owned.find({ name, kind: name === 'sandbox' ? 'sandbox' : 'openai' }, model)?.cost(MILLION_IN);

  it.each([
    ['a row for provider and model before all', 'openai', 'gpt-4o-mini', '7'],
    ['a row for the model before a pattern', 'azure', 'gpt-4o-mini', '8'],
    ['a pattern before the source', 'openai', 'gpt-4o', '9'],
    ['a row before the sandbox’s own price', 'sandbox', 'pricey', '6'],
  ])('%s', (_, provider, model, price) => expect(costOf(provider, model)).toBe(usd(price)));

  it('declares a local model free, and only so it is', () => expect(costOf('ollama', 'llama-local')).toBe(0n));

  it('may state sizes', () =>
    expect(owned.find({ name: 'sandbox', kind: 'sandbox' }, 'pricey')).toMatchObject({ outputTokensMax: 10, inputTokensMax: 20 }));

  it('may price requests, searches, cache writes and sound; what is left out falls to the dearer class', () => {
    const odd = owned.find({ name: 'any', kind: 'openai' }, 'odd');
    expect(
      odd?.cost(usageOf({ webSearches: 2, cacheWrite1hTokens: 1_000_000, audioOutputTokens: 1_000_000, audioInputTokens: 1_000_000 })),
    ).toBe(usd('7.295'));
  });

  it('names a row’s version by its content', () => {
    const version = owned.find({ name: 'openai', kind: 'openai' }, 'gpt-4o-mini')?.version;
    expect(version).toMatch(/^[0-9a-f]{12}$/);
    expect(version).not.toBe(owned.find({ name: 'azure', kind: 'openai' }, 'gpt-4o-mini')?.version);
  });

  it('has a fallback price for models nobody prices', () => {
    expect(owned.fallback).toMatchObject({ source: 'fallback_price' });
    expect(owned.fallback?.cost(MILLION_IN)).toBe(usd('20'));
    expect(book.fallback).toBeUndefined();
  });
});

describe('the model that answered', () => {
  const openai = { name: 'openai', kind: 'openai' };

  it('is priced, not the one that was asked for', () => {
    expect(book.findAnswered(openai, 'gpt-4o', 'gpt-4o-2024-05-13')?.cost(MILLION_IN)).toBe(usd('5'));
    expect(book.findAnswered(openai, 'gpt-4o', 'gpt-4o-mini')?.cost(MILLION_IN)).toBe(usd('0.15'));
  });

  it('is priced as the one asked for when nobody prices it, or the reply names none', () => {
    expect(book.findAnswered(openai, 'gpt-4o', 'gpt-4o-house-edition')?.cost(MILLION_IN)).toBe(usd('2.5'));
    expect(book.findAnswered(openai, 'gpt-4o', undefined)?.cost(MILLION_IN)).toBe(usd('2.5'));
  });

  it('keeps the operator’s price for a snapshot of the model he priced', () => {
    const owned = createPriceBook({
      now: () => NOW,
      overrides: [{ model: 'gpt-4o', input_mtok_usd: usd('1'), output_mtok_usd: usd('1') }],
    });
    expect(owned.findAnswered(openai, 'gpt-4o', 'gpt-4o-2024-11-20')?.cost(MILLION_IN)).toBe(usd('1'));
  });
});

describe('against the source’s own arithmetic, in doubles', () => {
  const USAGES = [
    { input_tokens: 1000, output_tokens: 500 },
    { input_tokens: 150_000, cache_read_tokens: 100_000, output_tokens: 2000 },
    { input_tokens: 400_000, cache_read_tokens: 50_000, cache_write_tokens: 20_000, output_tokens: 30_000 },
  ];
  const COMPARED = [
    'anthropic',
    'openai',
    'google',
    'deepseek',
    'mistral',
    'x-ai',
    'groq',
    'openrouter',
    'together',
    'azure',
    'cohere',
    'moonshotai',
  ];
  /** Classes our usage does not know, or prices at the dearer class on purpose. */
  const OWN_WAY = ['output_image_mtok', 'output_video_mtok', 'output_reasoning_mtok', 'output_citation_mtok', 'input_text_messages_kcount'];

  it.each(COMPARED)('%s: every model costs the same, within rounding', (providerId) => {
    let compared = 0;
    for (const model of findProvider({ providerId })?.models ?? []) {
      const card = book.find({ name: providerId, kind: 'openai' }, model.id);
      if (card === undefined) continue;
      for (const usage of USAGES) {
        const theirs = calcPrice(usage, model.id, { providerId, timestamp: new Date(NOW) });
        // A sample id may match another entry first; both sides then price that one.
        if (theirs === null || OWN_WAY.some((key) => key in theirs.model_price)) continue;
        const has = (key: string): boolean => key in theirs.model_price;
        // What the source has no price for it prices as input; so do we.
        const written = usage.cache_write_tokens ?? 0;
        const ours = card.cost(
          usageOf({
            inputTokens: usage.input_tokens - (usage.cache_read_tokens ?? 0) - written,
            cacheReadTokens: usage.cache_read_tokens ?? 0,
            cacheWrite5mTokens: written,
            outputTokens: has('output_mtok') ? usage.output_tokens : 0,
          }),
        );
        const difference = Math.abs(Number(ours) / 1e9 - theirs.total_price);
        if (difference > 1e-6 * Math.max(1, theirs.total_price))
          throw new Error(`${model.id}: ${ours} nanos here, ${theirs.total_price} USD there`);
        compared += 1;
      }
    }
    expect(compared).toBeGreaterThan(10);
  });
});

describe('sizes', () => {
  it.each([
    ['openai', 'gpt-4o-mini', 16_384, 128_000],
    ['openai', 'gpt-5', 128_000, 400_000],
    ['openai', 'gpt-5-chat-latest', 16_384, 400_000],
    ['openai', 'o3-mini', 100_000, 200_000],
    ['openai', 'ft:gpt-4o-mini-2024-07-18:acme::x', 16_384, undefined],
    ['anthropic', 'claude-sonnet-4-5-20250929', 64_000, 1_000_000],
    ['anthropic', 'claude-opus-4-1-20250805', 32_000, 200_000],
    ['anthropic', 'claude-opus-5', 128_000, 1_000_000],
    ['openrouter', 'anthropic/claude-opus-4.6', 128_000, 1_000_000],
    ['google', 'gemini-2.5-pro', 65_536, 1_048_576],
    // Nobody states an output limit: the context window bounds it.
    ['moonshotai', 'kimi-k2.5', 262_144, 262_144],
  ])('%s/%s', (provider, model, output, context) => {
    const card = book.find({ name: provider, kind: 'openai' }, model);
    expect(card?.outputTokensMax).toBe(output);
    expect(card?.inputTokensMax).toBe(context);
  });
});
