import { describe, expect, it } from '@jest/globals';
import { marginOf, percentText } from './index.ts';

const finance = {
  modelNanos: 0n,
  toolNanos: 0n,
  retryNanos: 0n,
  revenueNanos: undefined as bigint | undefined,
  outboundNanos: 0n,
  feesNanos: 0n,
};

describe('the known margin', () => {
  it.each([
    [
      'is revenue less model, tool and retry cost, payments and fees',
      {
        revenueNanos: 1_000_000_000n,
        modelNanos: 300_000_000n,
        toolNanos: 100_000_000n,
        retryNanos: 50_000_000n,
        outboundNanos: 20_000_000n,
        feesNanos: 10_000_000n,
      },
      { known_usd: '0.52', percent: '52.0' },
    ],
    [
      'is negative when a session costs more than it was sold for',
      { revenueNanos: 100_000_000n, modelNanos: 182_000_000n },
      { known_usd: '-0.082', percent: '-82.0' },
    ],
    ['is not known without revenue, whatever was spent', { modelNanos: 5n }, { known_usd: null, percent: null }],
    ['has no percentage of a revenue of nothing', { revenueNanos: 0n, modelNanos: 5n }, { known_usd: '-0.000000005', percent: null }],
  ])('%s', (_what, amounts, expected) => {
    expect(marginOf({ ...finance, ...amounts }, [])).toEqual({ ...expected, unknown: [] });
  });

  it('names once, in order, what it can not speak for', () => {
    expect(marginOf(finance, ['tool:search', 'model:x', 'tool:search']).unknown).toEqual(['model:x', 'tool:search']);
  });

  it.each([
    [349n, 500n, '69.8'],
    [1n, 3n, '33.3'],
    [2n, 3n, '66.7'],
    [5n, 10_000n, '0.1'],
    [-5n, 10_000n, '-0.1'],
    [-4n, 10_000n, '0.0'],
    [7n, 7n, '100.0'],
    [1n, 0n, null],
  ])('%d of %d is %s percent', (part, whole, text) => {
    expect(percentText(part, whole)).toBe(text);
  });
});
