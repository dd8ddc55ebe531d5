import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { openSqliteAdmin, type SqliteAdmin } from '../store/sqlite/index.ts';
import { CliError } from './cli-error.ts';

/** A file every data directory has once a gateway ran or a key was minted. */
const MARK = 'admin.db';

/** The data directory, or a clear word that nothing is there. */
export function existingDirectory(data: string): string {
  const directory = resolve(data);
  if (!existsSync(join(directory, MARK)))
    throw new CliError(`${directory} is no data directory of a gateway. Name the right one with --data, or start a gateway first.`);
  return directory;
}

/** Opens a data directory for the time of `use`, also while a gateway runs on it. */
export async function withAdmin<Result>(data: string, options: { readonly create: boolean }, use: (admin: SqliteAdmin) => Result | Promise<Result>): Promise<Result> {
  const directory = options.create ? resolve(data) : existingDirectory(data);
  const admin = openSqliteAdmin(directory);
  try {
    return await use(admin);
  } finally {
    await admin.close();
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
