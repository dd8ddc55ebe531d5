import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { OpenStore } from '../conformance.ts';
import { openSqliteStore, type SqliteStoreOptions } from './open.ts';

/** A directory for a test's store, taken away with it. */
export async function temporaryDirectory(): Promise<string> {
  return mkdtemp(join(tmpdir(), 'runpurse-store-'));
}

/** The embedded store as the conformance suite opens it. */
export async function openInDirectory(directory: string, options: Partial<SqliteStoreOptions> = {}): Promise<OpenStore> {
  const store = await openSqliteStore({ directory, durability: 'relaxed', ...options });
  return {
    store,
    async reopen() {
      await store.close();
      return openInDirectory(directory, options);
    },
    async dispose() {
      await store.close();
      await rm(directory, { recursive: true, force: true });
    },
  };
}
