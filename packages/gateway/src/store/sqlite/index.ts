export { openSqliteAdmin, type SqliteAdmin } from './admin.ts';
export { openSqliteStore, type SqliteStore, type SqliteStoreOptions } from './open.ts';
