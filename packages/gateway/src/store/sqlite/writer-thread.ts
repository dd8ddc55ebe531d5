import { join } from 'node:path';
import { parentPort, workerData } from 'node:worker_threads';
import { writeAdminTables } from './admin-tables.ts';
import { FILES, errorCode, migrate, openForWriting, type Database } from './database.ts';
import type { FromWriter, ToWriter, WriterOptions } from './messages.ts';
import { ADMIN_SCHEMA, LEDGER_SCHEMA } from './schema.ts';

/** The thread that owns the only connections which write the ledger and the admin tables. */

/** Rows of one INSERT: more at once cost less each. */
const ROWS_PER_INSERT = 16;
/** Pages in the WAL before it is copied into the database; a copy stops the commits for a moment. */
const CHECKPOINT_PAGES = 4_000;
/** More than a page, so that a full database has no room for it. */
const PROBE_BYTES = 16_384;

const say = (message: FromWriter): void => parentPort?.postMessage(message);

function openLedger(options: WriterOptions): {
  write(ranges: readonly number[], lines: string): void;
  probe(): void;
  resize(maxSizeMb: number | undefined): void;
  lastSeq: number;
  close(): void;
} {
  const path = join(options.directory, FILES.ledger);
  const database = openForWriting(path, options.durability === 'full' ? 'FULL' : 'NORMAL');
  migrate(database, path, LEDGER_SCHEMA);
  database.pragma(`wal_autocheckpoint = ${CHECKPOINT_PAGES}`);
  const begin = database.prepare('BEGIN IMMEDIATE');
  const commit = database.prepare('COMMIT');
  const insertOne = database.prepare('INSERT INTO ledger (seq, body) VALUES (?, ?)');
  const insertMany = database.prepare(`INSERT INTO ledger (seq, body) VALUES ${Array(ROWS_PER_INSERT).fill('(?, ?)').join(', ')}`);
  const fillProbe = database.prepare('INSERT OR REPLACE INTO probe (one, filler) VALUES (1, randomblob(?))');
  const lastSeq = database.prepare<[], number>('SELECT coalesce(max(seq), 0) FROM ledger').pluck().get() ?? 0;
  let walSuspect = false;

  const insertLines = (ranges: readonly number[], lines: string): void => {
    const bodies = lines.split('\n');
    let at = 0;
    for (let range = 0; range < ranges.length; range += 2) {
      let seq = ranges[range] ?? 0;
      const end = at + (ranges[range + 1] ?? 0);
      while (end - at >= ROWS_PER_INSERT) {
        const row: (number | string | undefined)[] = [];
        for (let count = 0; count < ROWS_PER_INSERT; count += 1) row.push(seq++, bodies[at++]);
        insertMany.run(row);
      }
      while (at < end) insertOne.run(seq++, bodies[at++]);
    }
  };

  const durably = (work: () => void): void => {
    if (walSuspect) {
      // A commit that failed half-way may have left its frames in the WAL; emptying it makes sure that they never count.
      const [outcome] = database.pragma('wal_checkpoint(TRUNCATE)') as { readonly busy: number }[];
      if (outcome?.busy !== 0) throw new Error('a write that failed half-way could not be cleared away yet');
      walSuspect = false;
    }
    begin.run();
    let committing = false;
    try {
      work();
      committing = true;
      commit.run();
    } catch (error) {
      walSuspect = committing;
      if (database.inTransaction) database.exec('ROLLBACK');
      throw error;
    }
  };

  const resize = (maxSizeMb: number | undefined): void => limitSize(database, maxSizeMb);
  resize(options.maxSizeMb);
  return {
    lastSeq,
    write: (ranges, lines) => durably(() => insertLines(ranges, lines)),
    probe: () => durably(() => fillProbe.run(PROBE_BYTES)),
    resize,
    close: () => database.close(),
  };
}

const LARGEST_PAGE_COUNT = 4_294_967_294;

function limitSize(database: Database, maxSizeMb: number | undefined): void {
  const pageBytes = Number(database.pragma('page_size', { simple: true }));
  const pages = maxSizeMb === undefined ? LARGEST_PAGE_COUNT : Math.max(1, Math.floor((maxSizeMb * 1024 * 1024) / pageBytes));
  database.pragma(`max_page_count = ${pages}`);
}

function describe(error: unknown): string {
  const code = errorCode(error);
  const message = error instanceof Error ? error.message : String(error);
  return code === '' ? message : `${message} (${code})`;
}

function start(options: WriterOptions): void {
  const adminPath = join(options.directory, FILES.admin);
  const adminDatabase = openForWriting(adminPath, 'FULL');
  migrate(adminDatabase, adminPath, ADMIN_SCHEMA);
  const admin = writeAdminTables(adminDatabase);
  const ledger = openLedger(options);

  const attempt = (work: () => void): void => {
    try {
      work();
      say({ kind: 'written', error: undefined });
    } catch (error) {
      say({ kind: 'written', error: describe(error) });
    }
  };
  const answer = (id: number, work: () => unknown): void => {
    try {
      say({ kind: 'answer', id, value: work() });
    } catch (error) {
      say({ kind: 'answer', id, error: describe(error) });
    }
  };
  parentPort?.on('message', (message: ToWriter) => {
    switch (message.kind) {
      case 'write':
        return attempt(() => ledger.write(message.ranges, message.lines));
      case 'probe':
        return attempt(() => ledger.probe());
      case 'resize':
        return ledger.resize(message.maxSizeMb);
      case 'put-key':
        return answer(message.id, () => admin.putKey(message.key));
      case 'put-budget':
        return answer(message.id, () => admin.putBudget(message.budget));
      case 'delete-budget':
        return answer(message.id, () => admin.deleteBudget(message.budgetId));
      case 'close':
        ledger.close();
        adminDatabase.close();
        parentPort?.close();
        return undefined;
    }
  });
  say({ kind: 'ready', lastSeq: ledger.lastSeq });
}

try {
  start(workerData as WriterOptions);
} catch (error) {
  say({ kind: 'refused', error: describe(error) });
}
