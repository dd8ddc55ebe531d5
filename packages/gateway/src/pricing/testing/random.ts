/** Repeatable randomness for property tests: a failure names the seed that makes it again. */
export interface Random {
  readonly seed: number;
  /** A whole number from `from` to `to`, both included; small ones come up more often. */
  integer(from: number, to: number): number;
  pick<T>(values: readonly T[]): T;
  chance(probability: number): boolean;
}

/** mulberry32 */
export function createRandom(seed: number): Random {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
  return {
    seed,
    integer: (from, to) => from + Math.floor((next() < 0.5 ? next() : next() ** 4) * (to - from + 1)),
    pick<T>(values: readonly T[]): T {
      if (values.length === 0) throw new RangeError('nothing to pick from');
      return values[Math.floor(next() * values.length)] as T;
    },
    chance: (probability) => next() < probability,
  };
}
