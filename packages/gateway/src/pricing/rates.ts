import type { Nanos } from '@runpurse/core';

/** Prices of one tier: nano-dollars per million units (tokens, searches, requests). */
export interface Rates {
  readonly input: bigint;
  readonly cacheRead: bigint;
  readonly cacheWrite5m: bigint;
  readonly cacheWrite1h: bigint;
  readonly audioInput: bigint;
  readonly output: bigint;
  readonly audioOutput: bigint;
  readonly webSearch: bigint;
  /** Charged once for a call, however small. */
  readonly request: bigint;
}

/** Rates that hold for calls with MORE input tokens than `above`, for every token of the call. */
export interface RateTier {
  readonly above: number;
  readonly rates: Rates;
}

const DECIMAL = /^(\d+)(?:\.(\d+))?(?:e([+-]\d+))?$/;

/**
 * A price in dollars per million, as its decimal text reads, in nanos per million: exact up to 9 decimals. Longer texts
 * are doubles' renderings of recurring fractions (`0.08333333333333334`) and are rounded up at the ninth.
 */
export function nanosPerMillion(usd: number): bigint {
  const match = DECIMAL.exec(String(usd));
  if (match === null) throw new RangeError(`not a price: ${usd}`);
  const [, whole = '0', fraction = '', exponent = '0'] = match;
  const scale = 9 - fraction.length + Number(exponent);
  const digits = BigInt(whole + fraction);
  if (scale >= 0) return digits * 10n ** BigInt(scale);
  const divisor = 10n ** BigInt(-scale);
  return (digits + divisor - 1n) / divisor;
}

/** Dollars per thousand (searches, requests), in nanos per million. */
export function nanosPerMillionFromThousand(usd: number): bigint {
  return nanosPerMillion(usd) * 1000n;
}

/** A dollar amount for one unit, in nanos per million units. */
export function perMillion(unit: Nanos): bigint {
  return unit * 1_000_000n;
}

/** The largest of some rates. */
export function dearest(...rates: readonly bigint[]): bigint {
  return rates.reduce((most, rate) => (rate > most ? rate : most), 0n);
}
