const FIRST_MS = 5_000;
const FACTOR = 3;
const LAST_MS = 3_600_000;
/** A notice is tried for this long after its first attempt. */
export const GIVE_UP_MS = 24 * 3_600_000;

/** How long to wait after this many failed attempts: 5 s, 15 s, 45 s … 1 h, a fifth more or less so that receivers are not all met at once. */
export function backoffMs(attempts: number, random: () => number): number {
  const plain = Math.min(LAST_MS, FIRST_MS * FACTOR ** Math.min(attempts - 1, 20));
  return Math.round(plain * (0.8 + 0.4 * random()));
}
