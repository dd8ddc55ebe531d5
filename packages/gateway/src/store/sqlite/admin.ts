import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Store } from '../store.ts';
import { readAdminTables, writeAdminTables, type AdminTables } from './admin-tables.ts';
import { FILES, migrate, openForReading, openForWriting, type Database } from './database.ts';
import { ADMIN_SCHEMA } from './schema.ts';
import { createViewQueries, type ViewQueries } from './view-queries.ts';

/**
 * A data directory as the command line opens it, also while a gateway runs on it: keys and budgets are read and written,
 * everything else is read as far as it is folded. Takes no lock.
 */
export type SqliteAdmin = Pick<
  Store,
  | 'putKey'
  | 'keys'
  | 'peekKeyByHash'
  | 'putBudget'
  | 'deleteBudget'
  | 'budgets'
  | 'openReservations'
  | 'run'
  | 'runs'
  | 'entries'
  | 'spend'
  | 'spendByDay'
  | 'close'
>;

export function openSqliteAdmin(directory: string): SqliteAdmin {
  mkdirSync(directory, { recursive: true });
  const path = join(directory, FILES.admin);
  const database = openForWriting(path, 'FULL');
  migrate(database, path, ADMIN_SCHEMA);
  const reads = readAdminTables(database);
  const writes = writeAdminTables(database);
  const views = openViewsIfAny(directory);
  return {
    putKey: async (key) => writes.putKey(key),
    keys: reads.keys,
    peekKeyByHash: reads.keyByHash,
    putBudget: async (budget) => writes.putBudget(budget),
    deleteBudget: async (budgetId) => writes.deleteBudget(budgetId),
    budgets: reads.budgets,
    openReservations: () => views?.queries.openReservations() ?? [],
    run: async (workspaceId, runId) => views?.queries.run(workspaceId, runId),
    runs: async (filter) => views?.queries.runs(filter) ?? { rows: [], nextCursor: undefined },
    entries: async (filter) => views?.queries.entries(filter) ?? [],
    spend: async (workspaceId, scope, options) => views?.queries.spend(workspaceId, scope, options) ?? [],
    spendByDay: async (workspaceId, fromDay, toDay) => views?.queries.spendByDay(workspaceId, fromDay, toDay) ?? [],
    async close() {
      for (const each of [database, ...(views?.databases ?? [])]) each.close();
    },
  };
}

/** A directory where no gateway ever ran has keys at most. */
function openViewsIfAny(directory: string): { readonly queries: ViewQueries; readonly databases: readonly Database[] } | undefined {
  const [views, ledger] = [join(directory, FILES.views), join(directory, FILES.ledger)];
  if (!existsSync(views) || !existsSync(ledger)) return undefined;
  const databases = [openForReading(views), openForReading(ledger)] as const;
  return { queries: createViewQueries(...databases), databases };
}

const POLL_MS = 250;

/** Calls `onChange` when another connection, such as the command line's, changed a key or a budget. */
export function pollAdmin(database: Database, tables: AdminTables, onChange: () => void): { stop(): void } {
  const content = (): string => JSON.stringify([tables.keys(), tables.budgets()]);
  const version = database.prepare<[], number>('PRAGMA data_version').pluck();
  let lastVersion = version.get();
  let lastContent = content();
  const timer = setInterval(() => {
    const newVersion = version.get();
    if (newVersion === lastVersion) return;
    lastVersion = newVersion;
    const newContent = content();
    if (newContent === lastContent) return;
    lastContent = newContent;
    onChange();
  }, POLL_MS).unref();
  return { stop: () => clearInterval(timer) };
}
