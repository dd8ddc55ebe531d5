import type { ZObject } from 'zapier-platform-core';

/** Zapier's cache is a convenience: where it is missing, fails or is slow, a step does without it. */
const PATIENCE_MS = 1_000;

type Cache = ZObject['cache'];

/** What the cache said to `ask`; undefined when it said nothing in time. */
export async function cached<Said>(z: ZObject, ask: (cache: Cache) => Promise<Said>): Promise<Said | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => (timer = setTimeout(() => resolve(undefined), PATIENCE_MS)));
  try {
    return await Promise.race([ask(z.cache), late]);
  } catch {
    return undefined;
  } finally {
    clearTimeout(timer);
  }
}
