/**
 * Money in Runpurse: an integer number of nano-dollars (1e-9 USD) in a `bigint`. One token of the cheapest priced
 * model costs several nanos, so sums are exact; a float never holds an amount.
 */
export type Nanos = bigint;

const NANOS_PER_USD = 1_000_000_000n;
const ZERO = '0'.charCodeAt(0);
const USD_TEXT = /^(-?)(\d{1,12})(?:\.(\d{1,9}))?$/;

/**
 * Reads a decimal dollar amount as it stands in configuration and on the wire (`"0.50"`).
 * Returns `undefined` for anything else: exponents, signs other than a leading minus, more than 9 decimals.
 */
export function parseUsd(text: string): Nanos | undefined {
  const match = USD_TEXT.exec(text);
  if (match === null) return undefined;
  const [, sign, whole = '0', fraction = ''] = match;
  const nanos = BigInt(whole) * NANOS_PER_USD + BigInt(fraction.padEnd(9, '0'));
  return sign === '-' ? -nanos : nanos;
}

/** The decimal dollar string of an amount, without trailing zeros: 86_000_000n reads `"0.086"`, 20e9 reads `"20"`. */
export function formatUsd(nanos: Nanos): string {
  const digits = (nanos < 0n ? -nanos : nanos).toString().padStart(10, '0');
  const point = digits.length - 9;
  let end = digits.length;
  while (end > point && digits.charCodeAt(end - 1) === ZERO) end -= 1;
  const usd = end === point ? digits.slice(0, point) : `${digits.slice(0, point)}.${digits.slice(point, end)}`;
  return nanos < 0n ? `-${usd}` : usd;
}
