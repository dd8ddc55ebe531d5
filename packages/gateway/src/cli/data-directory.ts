import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { FILES, lockDirectory, openForReading } from '../store/sqlite/database.ts';
import { openSqliteAdmin, openSqliteStore, type SqliteAdmin } from '../store/sqlite/index.ts';
import { StoreError } from '../store/store.ts';
import { CliError } from './cli-error.ts';

/** The data directory (each has an admin file once a gateway ran or a key was minted), or a clear word that nothing is there. */
export function existingDirectory(data: string): string {
  const directory = resolve(data);
  if (!existsSync(join(directory, FILES.admin)))
    throw new CliError(`${directory} is no data directory of a gateway. Name the right one with --data, or start a gateway first.`);
  return directory;
}

/** Opens a data directory for the time of `use`, also while a gateway runs on it. */
export async function withAdmin<Result>(
  data: string,
  options: { readonly create: boolean },
  use: (admin: SqliteAdmin) => Result | Promise<Result>,
): Promise<Result> {
  const directory = options.create ? resolve(data) : existingDirectory(data);
  const admin = openSqliteAdmin(directory);
  try {
    return await use(admin);
  } finally {
    await admin.close();
  }
}

const CATCH_UP_MS = 2_000;
const CATCH_UP_POLL_MS = 20;

/** Opens a data directory to read runs and spend: all that is in the ledger is folded first. */
export async function withViews<Result>(data: string, use: (admin: SqliteAdmin) => Result | Promise<Result>): Promise<Result> {
  await catchUp(existingDirectory(data));
  return withAdmin(data, { create: false }, use);
}

/** A running gateway folds within moments; what a stopped or killed one left is folded here. */
async function catchUp(directory: string): Promise<void> {
  const giveUpAt = Date.now() + CATCH_UP_MS;
  while (isBehind(directory)) {
    if (!gatewayRuns(directory)) {
      const store = await openSqliteStore({ directory, durability: 'full' });
      await store.close();
      return;
    }
    if (Date.now() > giveUpAt) return;
    await new Promise((resolve) => setTimeout(resolve, CATCH_UP_POLL_MS));
  }
}

function isBehind(directory: string): boolean {
  const [ledgerPath, viewsPath] = [join(directory, FILES.ledger), join(directory, FILES.views)];
  if (!existsSync(ledgerPath)) return false;
  if (!existsSync(viewsPath)) return true;
  const [ledger, views] = [openForReading(ledgerPath), openForReading(viewsPath)];
  try {
    const last = ledger.prepare<[], number | null>('SELECT max(seq) FROM ledger').pluck().get() ?? 0;
    return last > (views.prepare<[], number>('SELECT folded_seq FROM progress').pluck().get() ?? 0);
  } finally {
    ledger.close();
    views.close();
  }
}

/** The lock says it, whoever wrote the note beside it. */
export function gatewayRuns(directory: string): boolean {
  if (!existsSync(join(directory, FILES.lock))) return false;
  try {
    lockDirectory(directory, Date.now()).release();
    return false;
  } catch (error) {
    if (error instanceof StoreError) return true;
    throw error;
  }
}

/** The workspace a read is about: the one named, else the only one the keys know. */
export function workspaceOf(admin: SqliteAdmin, named: string | undefined): string {
  if (named !== undefined) return named;
  const workspaces = [...new Set(admin.keys().map((key) => key.workspaceId))];
  const [only] = workspaces;
  if (only === undefined) throw new CliError('There is no key yet, so no workspace. Name one with --workspace.', 2);
  if (workspaces.length > 1) throw new CliError(`There are several workspaces: ${workspaces.join(', ')}. Name one with --workspace.`, 2);
  return only;
}
