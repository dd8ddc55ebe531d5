import type { StoredKey } from '../store/store.ts';

/** The virtual keys, by their secret. */
export interface KeyRing {
  /** The key of an `Authorization: Bearer …` or `x-api-key` secret; undefined when unknown or revoked. */
  find(secret: string): StoredKey | undefined;
  /** Forgets what is cached; called when keys changed. */
  reload(): void;
}
