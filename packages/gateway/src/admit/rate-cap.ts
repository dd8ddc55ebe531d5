/**
 * The always-on cap of calls per minute and key: at most `perMinute` calls in ANY 60 seconds. An exact sliding window: a
 * ring of the last `perMinute` times, grown as needed.
 */
export interface RateCap {
  /** Takes a place. `undefined` when there was one, else the whole seconds until the next is free (at least 1). */
  take(keyId: string, now: number): number | undefined;
  /** Forgets keys that were quiet for a minute. */
  sweep(now: number): void;
}

const WINDOW_MS = 60_000;

interface Ring {
  times: Float64Array;
  /** Index of the oldest time. */
  start: number;
  count: number;
}

export function createRateCap(perMinute: number): RateCap {
  const rings = new Map<string, Ring>();

  const grow = (ring: Ring): void => {
    const times = new Float64Array(Math.min(perMinute, ring.times.length * 2));
    for (let index = 0; index < ring.count; index += 1) times[index] = ring.times[(ring.start + index) % ring.times.length] ?? 0;
    ring.times = times;
    ring.start = 0;
  };

  return {
    take(keyId, now) {
      let ring = rings.get(keyId);
      if (ring === undefined) {
        ring = { times: new Float64Array(Math.min(perMinute, 128)), start: 0, count: 0 };
        rings.set(keyId, ring);
      }
      while (ring.count > 0 && (ring.times[ring.start] ?? 0) <= now - WINDOW_MS) {
        ring.start = (ring.start + 1) % ring.times.length;
        ring.count -= 1;
      }
      if (ring.count >= perMinute) {
        const oldest = ring.times[ring.start] ?? now;
        return Math.max(1, Math.ceil((oldest + WINDOW_MS - now) / 1000));
      }
      if (ring.count === ring.times.length) grow(ring);
      ring.times[(ring.start + ring.count) % ring.times.length] = now;
      ring.count += 1;
      return undefined;
    },
    sweep(now) {
      for (const [keyId, ring] of rings) {
        const newest = ring.times[(ring.start + ring.count - 1) % ring.times.length] ?? 0;
        if (ring.count === 0 || newest <= now - WINDOW_MS) rings.delete(keyId);
      }
    },
  };
}
