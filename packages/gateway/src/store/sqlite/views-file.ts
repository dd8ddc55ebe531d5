import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { FILES, openForWriting, schemaVersion, type Database } from './database.ts';
import { createFolder, type Folder, type LedgerRow } from './fold.ts';
import { VIEWS_SCHEMA, VIEWS_VERSION } from './schema.ts';

/** Entries folded in one transaction. */
const CHUNK_ENTRIES = 10_000;
const CHECKPOINT_PAGES = 4_000;

/** Folds the ledger into a views file, from where it stands. */
export interface LedgerFold {
  /** Folds what is durable up to `through`; `onChunk` hears how far it came. Returns how many entries it folded. */
  foldThrough(through: number, onChunk?: (seq: number) => void): number;
}

export function createLedgerFold(views: Database, ledger: Database): LedgerFold {
  const folder: Folder = createFolder(views);
  const folded = views.prepare<[], number>('SELECT folded_seq FROM progress').pluck();
  const rowsAfter = ledger.prepare<[number, number, number], LedgerRow>(
    'SELECT seq, body FROM ledger WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?',
  );
  return {
    foldThrough(through, onChunk) {
      let count = 0;
      for (let from = folded.get() ?? 0; ;) {
        const rows = rowsAfter.all(from, through, CHUNK_ENTRIES);
        const last = rows.at(-1);
        if (last === undefined) return count;
        folder.fold(rows);
        count += rows.length;
        from = last.seq;
        onChunk?.(from);
      }
    },
  };
}

/** Makes an empty views file at `path`, whatever was there. */
export function createViewsFile(path: string): Database {
  for (const suffix of ['', '-wal', '-shm']) rmSync(`${path}${suffix}`, { force: true });
  return openViews(path);
}

/**
 * Opens the views. They are worth nothing without their ledger: a file of another schema, or one that knows entries which
 * the ledger lost (power loss with relaxed durability), is dropped and folded again.
 */
export function openViewsFile(directory: string, lastSeq: number): Database {
  const path = join(directory, FILES.views);
  const views = openViews(path);
  const folded = views.prepare<[], number>('SELECT folded_seq FROM progress').pluck().get() ?? 0;
  if (folded <= lastSeq) return views;
  views.close();
  return createViewsFile(path);
}

function openViews(path: string): Database {
  let views = openForWriting(path, 'NORMAL');
  if (schemaVersion(views) !== VIEWS_VERSION && schemaVersion(views) !== 0) {
    views.close();
    for (const suffix of ['', '-wal', '-shm']) rmSync(`${path}${suffix}`, { force: true });
    views = openForWriting(path, 'NORMAL');
  }
  if (schemaVersion(views) === 0) {
    const database = views;
    database
      .transaction(() => {
        database.exec(VIEWS_SCHEMA);
        database.pragma(`user_version = ${VIEWS_VERSION}`);
      })
      .immediate();
  }
  views.pragma(`wal_autocheckpoint = ${CHECKPOINT_PAGES}`);
  return views;
}
