import { expect, it } from '@jest/globals';
import { usageOfTotals } from '../index.ts';

const none = {
  cache_read_tokens: 0,
  cache_write_5m_tokens: 0,
  cache_write_1h_tokens: 0,
  reasoning_tokens: 0,
  audio_input_tokens: 0,
  audio_output_tokens: 0,
};

it.each([
  [
    'parts are taken out of their totals',
    { input: 1000, cacheRead: 600, cacheWrite: 100, audioInput: 50, output: 80, reasoning: 30, audioOutput: 20 },
    {
      ...none,
      input_tokens: 250,
      cache_read_tokens: 600,
      cache_write_5m_tokens: 100,
      audio_input_tokens: 50,
      output_tokens: 60,
      reasoning_tokens: 30,
      audio_output_tokens: 20,
    },
  ],
  ['a total nobody stated is unknown', { input: 10 }, { ...none, input_tokens: 10, output_tokens: null }],
  [
    'parts larger than their total leave nothing, not less',
    { input: 10, cacheRead: 50, output: 1 },
    { ...none, input_tokens: 0, cache_read_tokens: 50, output_tokens: 1 },
  ],
  ['zero is zero', { input: 0, output: 0 }, { ...none, input_tokens: 0, output_tokens: 0 }],
])('%s', (_title, totals, usage) => {
  expect(usageOfTotals(totals)).toEqual(usage);
});

it.each([
  {},
  { cacheRead: 5 },
  { input: null, output: undefined },
  { input: NaN, output: -1 },
  { input: Number.MAX_SAFE_INTEGER, output: 2e9 },
])('%j is no usage', (totals) => {
  expect(usageOfTotals(totals)).toBeUndefined();
});
