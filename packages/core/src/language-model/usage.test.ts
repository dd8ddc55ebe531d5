import { describe, expect, it } from '@jest/globals';
import { usageOf, type ModelUsage, type ProviderMetadata } from './usage.ts';

describe('a model’s usage in our classes', () => {
  it.each<[string, ModelUsage | undefined, ProviderMetadata | undefined, object | undefined]>([
    ['none told', undefined, undefined, undefined],
    [
      'classes of V3 and V4',
      { inputTokens: { total: 100, noCache: 60, cacheRead: 30, cacheWrite: 10 }, outputTokens: { total: 20, text: 15, reasoning: 5 } },
      undefined,
      { input_tokens: 60, cache_read_tokens: 30, cache_write_5m_tokens: 10, output_tokens: 20, reasoning_tokens: 5 },
    ],
    [
      'totals of V2',
      { inputTokens: 100, cachedInputTokens: 30, outputTokens: 20, reasoningTokens: 5 },
      undefined,
      { input_tokens: 70, cache_read_tokens: 30, output_tokens: 20, reasoning_tokens: 5 },
    ],
    [
      'Anthropic’s of V2, whose input leaves the cache out',
      { inputTokens: 100, cachedInputTokens: 30, outputTokens: 20 },
      { anthropic: { cacheCreationInputTokens: 10 } },
      { input_tokens: 100, cache_read_tokens: 30, cache_write_5m_tokens: 10, output_tokens: 20 },
    ],
    [
      'a cache write that lasts an hour',
      {
        inputTokens: { noCache: 60, cacheWrite: 10 },
        outputTokens: { total: 20 },
        raw: { input_tokens: 60, output_tokens: 20, cache_creation: { ephemeral_1h_input_tokens: 4 } },
      },
      undefined,
      { input_tokens: 60, cache_write_5m_tokens: 6, cache_write_1h_tokens: 4, output_tokens: 20 },
    ],
    [
      'a total of 0 that the reply never stated is unknown, not 0',
      { inputTokens: { total: 0 }, outputTokens: { total: 20 }, raw: { completion_tokens: 20 } },
      undefined,
      { input_tokens: null, output_tokens: 20 },
    ],
  ])('%s', (_, usage, metadata, expected) => {
    const reported = usageOf(usage, metadata);
    if (expected === undefined) expect(reported).toBeUndefined();
    else expect(reported).toMatchObject(expected);
  });
});
