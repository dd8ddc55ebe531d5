import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** What a fault trial tried, and everything that went against a promise. */
export interface Report {
  readonly name: string;
  readonly tried: string;
  /** One line for each broken promise; empty is what we want. */
  readonly lost: readonly string[];
}

/** A data directory on the disk of the checkout: a temporary folder may be memory, which is no test of durability. */
export function scratchDirectory(name: string): { readonly path: string; remove(): void } {
  const parent = join(dirname(dirname(import.meta.dirname)), '.runpurse');
  mkdirSync(parent, { recursive: true });
  const folder = mkdtempSync(join(parent, `faults-${name}-`));
  return { path: join(folder, 'data'), remove: () => rmSync(folder, { recursive: true, force: true }) };
}

/** Random numbers that a printed seed repeats (mulberry32). */
export function seededRandom(seed: number): { whole(least: number, most: number): number } {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  return { whole: (least, most) => least + Math.floor(next() * (most - least + 1)) };
}

export function sleep(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** Waits until `holds` says so; false when it did not in time. */
export async function until(holds: () => boolean | Promise<boolean>, milliseconds: number): Promise<boolean> {
  const deadline = Date.now() + milliseconds;
  while (Date.now() < deadline) {
    if (await holds()) return true;
    await sleep(5);
  }
  return false;
}
