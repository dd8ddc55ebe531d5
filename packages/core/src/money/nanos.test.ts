import { describe, expect, it } from '@jest/globals';
import { formatUsd, parseUsd } from '../index.ts';

describe('amounts', () => {
  it.each<readonly [string, bigint]>([
    ['0', 0n],
    ['0.086', 86_000_000n],
    ['0.50', 500_000_000n],
    ['20', 20_000_000_000n],
    ['0.000000001', 1n],
    ['-82.5', -82_500_000_000n],
    ['999999999999.999999999', 999_999_999_999_999_999_999n],
  ])('%s reads exactly', (text, nanos) => {
    expect(parseUsd(text)).toBe(nanos);
    expect(parseUsd(formatUsd(nanos))).toBe(nanos);
  });

  it.each(['', ' 1', '1 ', '1.', '.5', '+1', '1e3', '1,5', '0.0000000001', '1234567890123', 'NaN', '--1', '0x1', '١'])(
    '%j is none',
    (text) => {
      expect(parseUsd(text)).toBeUndefined();
    },
  );

  it('add up where floats do not: ten times 0.1 is 1', () => {
    const dime = parseUsd('0.1') ?? 0n;
    expect(formatUsd(dime * 10n)).toBe('1');
  });
});
