import { hash } from 'node:crypto';
import type { Store, StoredKey } from '../store/store.ts';

/** The virtual keys, by their secret. */
export interface KeyRing {
  /** The key of an `Authorization: Bearer …` or `x-api-key` secret; undefined when unknown or revoked. */
  find(secret: string): StoredKey | undefined;
  /** Forgets what is cached; called when keys changed. */
  reload(): void;
}

/** How a secret is stored and looked up: sha-256, hex. The secret itself is never kept. */
export function hashSecret(secret: string): string {
  return hash('sha256', secret, 'hex');
}

/**
 * Keys read from the store on first use and kept until keys change. They are found by the hash of the whole secret, so how
 * long a look-up takes tells a guesser nothing about how near a guess was.
 */
export function createKeyRing(store: Pick<Store, 'peekKeyByHash'>): KeyRing {
  const known = new Map<string, StoredKey>();
  return {
    find(secret) {
      const hashed = hashSecret(secret);
      const kept = known.get(hashed);
      if (kept !== undefined) return kept;
      const key = store.peekKeyByHash(hashed);
      if (key === undefined || key.revokedAt !== undefined) return undefined;
      known.set(hashed, key);
      return key;
    },
    reload() {
      known.clear();
    },
  };
}
