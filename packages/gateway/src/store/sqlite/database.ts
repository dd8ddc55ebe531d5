import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Sqlite from 'better-sqlite3';
import { DirectoryInUseError, StoreError } from '../store.ts';

export type Database = Sqlite.Database;

/**
 * The files of a data directory. `ledger` is the truth; `views` can be deleted and folded again; `admin` holds keys and
 * budgets, which the command line writes too; `lock` is held by the one gateway process.
 */
export const FILES = { ledger: 'ledger.db', views: 'views.db', admin: 'admin.db', lock: 'lock.db', owner: 'gateway.pid' } as const;

export type Durability = 'full' | 'relaxed';

/** How long a connection waits for another process's short write before it gives up. */
const BUSY_TIMEOUT_MS = 5_000;

/** Opens a file for writing, in WAL mode. `synchronous` FULL flushes each commit to the disk, NORMAL each checkpoint. */
export function openForWriting(path: string, synchronous: 'FULL' | 'NORMAL'): Database {
  const database = new Sqlite(path, { timeout: BUSY_TIMEOUT_MS });
  database.pragma('journal_mode = WAL');
  database.pragma(`synchronous = ${synchronous}`);
  return database;
}

/** Opens a file that a writer keeps in WAL mode; never writes to it. */
export function openForReading(path: string): Database {
  return new Sqlite(path, { readonly: true, fileMustExist: true, timeout: BUSY_TIMEOUT_MS });
}

/** One step of a file's schema: what brings a database of the version before to this one. Steps are never edited. */
export type SchemaStep = string;

/** Brings a file to the newest schema, each step in a transaction of its own. Refuses a file made by a newer Runpurse. */
export function migrate(database: Database, path: string, steps: readonly SchemaStep[]): void {
  const version = schemaVersion(database);
  if (version > steps.length) {
    throw new StoreError(
      `${path} was written by a newer version of Runpurse (schema ${version}, this one knows ${steps.length}). Start that version, or restore a copy made before the upgrade.`,
    );
  }
  for (let next = version; next < steps.length; next += 1) {
    const step = steps[next];
    if (step === undefined) break;
    database
      .transaction(() => {
        // Another process may have taken the step while this one waited for the write lock.
        if (schemaVersion(database) !== next) return;
        database.exec(step);
        database.pragma(`user_version = ${next + 1}`);
      })
      .immediate();
  }
}

export function schemaVersion(database: Database): number {
  const version: unknown = database.pragma('user_version', { simple: true });
  return typeof version === 'number' ? version : 0;
}

/** Held for as long as the process lives; the operating system lets go of it however the process ends. */
export interface DirectoryLock {
  release(): void;
}

/**
 * Makes sure that one gateway process at most uses a data directory. An exclusive SQLite transaction on a file of its own
 * is a lock of the operating system: kill -9 frees it, nothing is left to clean up.
 */
export function lockDirectory(directory: string, startedAt: number): DirectoryLock {
  const database = new Sqlite(join(directory, FILES.lock), { timeout: 0 });
  try {
    database.exec('BEGIN EXCLUSIVE');
  } catch (error) {
    database.close();
    if (!isBusy(error)) throw error;
    throw new DirectoryInUseError(
      `Data directory ${directory} is in use by another gateway process${describeOwner(directory)}. Stop that one first, or start this one with another --data directory.`,
      error,
    );
  }
  writeFileSync(join(directory, FILES.owner), JSON.stringify({ pid: process.pid, since: new Date(startedAt).toISOString() }));
  return {
    release() {
      database.exec('ROLLBACK');
      database.close();
    },
  };
}

/** For the message only: the lock, not this text, decides who owns the directory. */
function describeOwner(directory: string): string {
  try {
    const owner: unknown = JSON.parse(readFileSync(join(directory, FILES.owner), 'utf8'));
    if (typeof owner !== 'object' || owner === null || !('pid' in owner) || !('since' in owner)) return '';
    return ` (process ${String(owner.pid)}, running since ${String(owner.since)})`;
  } catch {
    return '';
  }
}

function isBusy(error: unknown): boolean {
  return errorCode(error).startsWith('SQLITE_BUSY');
}

/** SQLite's name of an error, such as `SQLITE_FULL`; empty for others. Read by shape: the class may have been loaded twice. */
export function errorCode(error: unknown): string {
  const code: unknown = typeof error === 'object' && error !== null && 'code' in error ? error.code : undefined;
  return typeof code === 'string' && code.startsWith('SQLITE_') ? code : '';
}
