import type { Nanos } from '@runpurse/core';

/**
 * The running balance of one scope id in one window, such as session `s1` for its lifetime or workspace `acme` in 2026-11.
 * Invariant at every instant: `settled + held ≤ limit + overage` for each hard limit it is checked against.
 */
export interface Counter {
  readonly key: string;
  settled: Nanos;
  held: Nanos;
  /** Part of `settled` that came above its hold. */
  overage: Nanos;
  /** Open holds on it; it leaves memory only at zero. */
  openHolds: number;
  /** Ledger sequence of its last change; it leaves memory only when that is folded into the views. */
  lastSeq: number;
  lastUsedAt: number;
}

/** One limit a hold must fit under. */
export interface Limit {
  readonly counter: Counter;
  readonly limit: Nanos;
}

/** What is left under a limit; negative after overage. */
export function availableUnder(limit: Limit): Nanos {
  return limit.limit - limit.counter.settled - limit.counter.held;
}

/**
 * Balances by key. The one place where holds are made and ended; the embedded implementation is this map, the shared one
 * (Redis) keeps the same three verbs in one script per admission.
 */
export interface Counters {
  /** The counter, loaded from the ledger's views when memory has none. */
  get(key: string, load: () => Nanos): Counter;
  peek(key: string): Counter | undefined;
  /** All or nothing, in one step: holds `amount` on every counter if it fits under every limit; else the tightest limit. */
  reserve(counters: readonly Counter[], limits: readonly Limit[], amount: Nanos, now: number): Limit | undefined;
  /** Ends a hold: `charged` (may be above `held`) becomes settled. */
  settle(counters: readonly Counter[], held: Nanos, charged: Nanos, now: number, seq: number): void;
  /** Forgets counters that nobody used since `before`, hold nothing and are folded. Looks at `most` of them a call. */
  evict(before: number, foldedSeq: number, most: number): number;
  drop(key: string): void;
  clear(): void;
  readonly size: number;
}

/** Counters in this process's memory. */
export function createMemoryCounters(): Counters {
  const counters = new Map<string, Counter>();
  let cursor = counters.values();
  return {
    get(key, load) {
      let counter = counters.get(key);
      if (counter === undefined) {
        counter = { key, settled: load(), held: 0n, overage: 0n, openHolds: 0, lastSeq: 0, lastUsedAt: 0 };
        counters.set(key, counter);
      }
      return counter;
    },
    peek: (key) => counters.get(key),
    reserve(held, limits, amount, now) {
      if (amount > 0n) {
        let tightest: Limit | undefined;
        let least = amount;
        for (const limit of limits) {
          const available = availableUnder(limit);
          if (available < least) {
            least = available;
            tightest = limit;
          }
        }
        if (tightest !== undefined) return tightest;
      }
      for (const counter of held) {
        counter.held += amount;
        counter.openHolds += 1;
        counter.lastUsedAt = now;
      }
      return undefined;
    },
    settle(settled, held, charged, now, seq) {
      const overage = charged > held ? charged - held : 0n;
      for (const counter of settled) {
        counter.held -= held;
        counter.settled += charged;
        counter.overage += overage;
        counter.openHolds -= 1;
        counter.lastSeq = seq;
        counter.lastUsedAt = now;
      }
    },
    evict(before, foldedSeq, most) {
      let evicted = 0;
      for (let looked = 0; looked < most; looked += 1) {
        const next = cursor.next();
        if (next.done === true) {
          cursor = counters.values();
          break;
        }
        const counter = next.value;
        if (counter.openHolds === 0 && counter.lastUsedAt < before && counter.lastSeq <= foldedSeq) {
          counters.delete(counter.key);
          evicted += 1;
        }
      }
      return evicted;
    },
    drop(key) {
      counters.delete(key);
    },
    clear() {
      counters.clear();
      cursor = counters.values();
    },
    get size() {
      return counters.size;
    },
  };
}
