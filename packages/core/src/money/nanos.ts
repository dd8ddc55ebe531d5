/**
 * Money in Runpurse: an integer number of nano-dollars (1e-9 USD) in a `bigint`. One token of the cheapest priced
 * model costs several nanos, so sums are exact; a float never holds an amount.
 */
export type Nanos = bigint;

const NANOS_PER_USD = 1_000_000_000n;
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
  const negative = nanos < 0n;
  const digits = (negative ? -nanos : nanos).toString().padStart(10, '0');
  const whole = digits.slice(0, -9);
  const fraction = digits.slice(-9).replace(/0+$/, '');
  return `${negative ? '-' : ''}${whole}${fraction === '' ? '' : `.${fraction}`}`;
}
