import type { Refusal } from '@runpurse/core';
import { NO_KEY, secretFrom, UNKNOWN_KEY, type KeyRing } from '../identify/index.ts';
import type { StoredKey } from '../store/store.ts';

/** Who asks: the virtual key in `Authorization: Bearer …` or `x-api-key`. */
export function findCaller(keys: KeyRing, headers: Headers): StoredKey | Refusal {
  const secret = secretFrom(headers.get('authorization') ?? undefined, headers.get('x-api-key') ?? undefined);
  return secret === undefined ? NO_KEY : (keys.find(secret) ?? UNKNOWN_KEY);
}
