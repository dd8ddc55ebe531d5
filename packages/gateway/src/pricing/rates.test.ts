import { describe, expect, it } from '@jest/globals';
import { nanosPerMillion, nanosPerMillionFromThousand, perMillion } from './rates.ts';

describe('a price in dollars becomes nanos per million, by its decimal text', () => {
  it.each([
    [0, 0n],
    [3, 3_000_000_000n],
    [0.15, 150_000_000n],
    [0.075, 75_000_000n],
    [0.01875, 18_750_000n],
    // 1.1 * 1e9 is 1100000000.0000002 in doubles.
    [1.1, 1_100_000_000n],
    [0.000000001, 1n],
    [1e-7, 100n],
    [1.5e-8, 15n],
    [1e21, 1_000_000_000_000_000_000_000_000_000_000n],
    // A third, as a double's text has it: rounded up at the ninth decimal.
    [0.08333333333333334, 83_333_334n],
  ])('%p', (usd, nanos) => expect(nanosPerMillion(usd)).toBe(nanos));

  it('takes a price per thousand a thousandfold', () => expect(nanosPerMillionFromThousand(10)).toBe(10_000_000_000_000n));

  it('takes the price of one a millionfold', () => expect(perMillion(2_500_000n)).toBe(2_500_000_000_000n));

  it.each([Number.NaN, Number.POSITIVE_INFINITY, -1])('refuses %p', (usd) => expect(() => nanosPerMillion(usd)).toThrow(RangeError));
});
