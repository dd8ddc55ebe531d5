import { rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Database } from './database.ts';
import { decodeGaps } from './postings.ts';
import { createLedgerFold, createViewsFile } from './views-file.ts';

/** Differences spelled out; the rest is counted. */
const DIFFERENCES_SHOWN = 1_000;

/** The view tables with the columns that make a row's identity; every other column is a figure that must agree. */
const TABLES = [
  { table: 'run', key: ['workspace', 'run'] },
  { table: 'run_part', key: ['workspace', 'run', 'part', 'id'] },
  { table: 'spend', key: ['workspace', 'scope', 'id', 'day'] },
  { table: 'open_reservation', key: ['id'] },
  { table: 'event_id', key: ['workspace', 'id'] },
] as const;

/**
 * Proves the views: folds the whole ledger into a fresh file, compares every figure with what stands, and where they
 * differ puts the fresh views in the place of the standing ones. The views must be folded up to `through`.
 */
export function rebuildViews(
  directory: string,
  views: Database,
  ledger: Database,
  through: number,
): { entries: number; differences: string[] } {
  const path = join(directory, 'views-rebuild.db');
  const fresh = createViewsFile(path);
  let entries: number;
  try {
    entries = createLedgerFold(fresh, ledger).foldThrough(through);
    fresh.pragma('wal_checkpoint(TRUNCATE)');
  } finally {
    fresh.close();
  }
  views.prepare('ATTACH DATABASE ? AS fresh').run(path);
  try {
    const differences = createDifferences();
    for (const { table, key } of TABLES) compareTable(views, table, key, differences);
    comparePostings(views, differences);
    if (differences.count > 0) replaceViews(views);
    return { entries, differences: differences.list() };
  } finally {
    views.exec('DETACH DATABASE fresh');
    for (const suffix of ['', '-wal', '-shm']) rmSync(`${path}${suffix}`, { force: true });
  }
}

interface Differences {
  add(text: string): void;
  readonly count: number;
  list(): string[];
}

function createDifferences(): Differences {
  const shown: string[] = [];
  let count = 0;
  return {
    add(text) {
      count += 1;
      if (shown.length < DIFFERENCES_SHOWN) shown.push(text);
    },
    get count() {
      return count;
    },
    list: () => (count > shown.length ? [...shown, `and ${count - shown.length} more`] : shown),
  };
}

type Row = Readonly<Record<string, unknown>>;

/** Rows that stand in one of the two only, or with other figures. */
function compareTable(views: Database, table: string, key: readonly string[], differences: Differences): void {
  const onlyIn = (one: string, other: string): IterableIterator<Row> =>
    views.prepare<[], Row>(`SELECT * FROM ${one}.${table} EXCEPT SELECT * FROM ${other}.${table}`).safeIntegers().iterate();
  const counterpart = views
    .prepare<unknown[], Row>(`SELECT * FROM fresh.${table} WHERE ${key.map((column) => `${column} = ?`).join(' AND ')}`)
    .safeIntegers();
  const standing = views
    .prepare<unknown[], number>(`SELECT count(*) FROM main.${table} WHERE ${key.map((column) => `${column} = ?`).join(' AND ')}`)
    .pluck();
  for (const row of [...onlyIn('main', 'fresh')]) {
    const values = key.map((column) => row[column]);
    const rebuilt = counterpart.get(...values);
    const name = `${table} ${values.join('/')}`;
    if (rebuilt === undefined) differences.add(`${name}: stood in the views, is not in the ledger`);
    else
      for (const column of Object.keys(row))
        if (row[column] !== rebuilt[column])
          differences.add(`${name}: ${column} was ${String(row[column])}, the ledger says ${String(rebuilt[column])}`);
  }
  for (const row of [...onlyIn('fresh', 'main')]) {
    const values = key.map((column) => row[column]);
    if (standing.get(...values) === 0) differences.add(`${table} ${values.join('/')}: was missing from the views`);
  }
}

interface PostingRow {
  readonly workspace: string;
  readonly kind: string;
  readonly id: string;
  readonly first_seq: number;
  readonly gaps: string;
}

/** The lists of entries are compared as lists: where their blocks were cut depends on when they were folded. */
function comparePostings(views: Database, differences: Differences): void {
  const lists = views
    .prepare<[], Omit<PostingRow, 'first_seq' | 'gaps'>>(
      'SELECT DISTINCT workspace, kind, id FROM main.posting UNION SELECT DISTINCT workspace, kind, id FROM fresh.posting',
    )
    .all();
  const blocks = (database: 'main' | 'fresh') =>
    views.prepare<[string, string, string], PostingRow>(
      `SELECT * FROM ${database}.posting WHERE workspace = ? AND kind = ? AND id = ? ORDER BY first_seq`,
    );
  const [standing, rebuilt] = [blocks('main'), blocks('fresh')];
  const seqs = (rows: PostingRow[]): string => rows.flatMap((row) => decodeGaps(row.first_seq, row.gaps)).join(',');
  for (const { workspace, kind, id } of lists) {
    if (seqs(standing.all(workspace, kind, id)) !== seqs(rebuilt.all(workspace, kind, id))) {
      differences.add(`posting ${workspace}/${kind}/${id}: lists other entries than the ledger`);
    }
  }
}

function replaceViews(views: Database): void {
  views
    .transaction(() => {
      for (const table of [...TABLES.map((row) => row.table), 'posting', 'progress']) {
        views.exec(`DELETE FROM main.${table}; INSERT INTO main.${table} SELECT * FROM fresh.${table}`);
      }
    })
    .immediate();
}
