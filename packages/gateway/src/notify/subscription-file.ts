import { chmodSync, existsSync } from 'node:fs';
import { join } from 'node:path';
import { migrate, openForWriting, type SchemaStep } from '../store/sqlite/database.ts';
import type { Parked, Subscription, SubscriptionState } from './subscription.ts';

/** Beside the ledger: webhooks, their secrets, and how far each was told. */
export const NOTICES_FILE = 'notices.db';

export function hasSubscriptions(directory: string): boolean {
  return existsSync(join(directory, NOTICES_FILE));
}

/** Steps are never edited. */
const SCHEMA: readonly SchemaStep[] = [
  `
  CREATE TABLE subscription (
    id TEXT PRIMARY KEY,
    workspace TEXT NOT NULL,
    body TEXT NOT NULL,
    secret TEXT NOT NULL,
    cursor INTEGER NOT NULL,
    failures INTEGER NOT NULL DEFAULT 0,
    failing_since INTEGER,
    last_at INTEGER,
    last_status INTEGER,
    last_error TEXT
  ) STRICT;
  CREATE INDEX subscription_by_workspace ON subscription (workspace);
  CREATE TABLE parked (
    subscription TEXT NOT NULL REFERENCES subscription (id) ON DELETE CASCADE,
    seq INTEGER NOT NULL,
    notice TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    first_at INTEGER NOT NULL,
    next_at INTEGER NOT NULL,
    PRIMARY KEY (subscription, seq)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX parked_by_time ON parked (subscription, next_at);
  `,
];

/** What one attempt came to. */
export interface Tried {
  readonly seq: number;
  readonly noticeId: string;
  readonly outcome: 'delivered' | 'dropped' | { readonly nextAt: number; readonly attempts: number; readonly firstAt: number };
}

export interface LastDelivery {
  readonly at: number;
  readonly status: number | null;
  readonly error: string | undefined;
}

export interface Standing {
  readonly cursor: number;
  /** Failed deliveries in a row. */
  readonly failures: number;
  readonly failingSince: number | undefined;
  readonly parked: number;
}

/**
 * Webhooks on disk. A cursor moves only together with what became of the notices it passes, so whatever ends the process
 * loses none; what was under way is sent again with the same id.
 */
export interface SubscriptionFile {
  all(): readonly Subscription[];
  count(workspaceId: string): number;
  states(workspaceId: string): readonly SubscriptionState[];
  find(id: string): { readonly subscription: Subscription; readonly secret: string } | undefined;
  standing(id: string): Standing | undefined;
  /** Durable against power loss before it returns. */
  add(subscription: Subscription, secret: string, cursor: number): void;
  /** Its key, description and secret change; what it was told stays. */
  renew(subscription: Subscription, secret: string): void;
  remove(id: string): boolean;
  due(id: string, now: number, most: number): readonly Parked[];
  /** When the next parked notice is due; undefined: none is parked. */
  nextDue(id: string): number | undefined;
  /** One transaction: the attempts' outcomes, the cursor, and the circuit. */
  record(id: string, tried: readonly Tried[], cursor: number | undefined, last: LastDelivery | undefined, isBackOnline: boolean): void;
  moveCursor(id: string, cursor: number): void;
  /** No cursor stands beyond the ledger's end: after power loss its tail may be gone. */
  clamp(lastSeq: number): void;
  close(): void;
}

interface Row {
  readonly id: string;
  readonly body: string;
  readonly secret: string;
  readonly failing_since: number | null;
  readonly last_at: number | null;
  readonly last_status: number | null;
  readonly last_error: string | null;
  readonly parked: number;
}

export function openSubscriptionFile(directory: string): SubscriptionFile {
  const path = join(directory, NOTICES_FILE);
  // A cursor that a power loss sets back sends a few notices twice; a subscription itself must not be lost.
  const database = openForWriting(path, 'NORMAL');
  chmodSync(path, 0o600);
  database.pragma('foreign_keys = ON');
  migrate(database, path, SCHEMA);
  const durably = <Result>(work: () => Result): Result => {
    database.pragma('synchronous = FULL');
    try {
      return database.transaction(work).immediate();
    } finally {
      database.pragma('synchronous = NORMAL');
    }
  };
  const parse = (body: string): Subscription => JSON.parse(body) as Subscription;

  const all = database.prepare<[], string>('SELECT body FROM subscription ORDER BY rowid').pluck();
  const count = database.prepare<[string], number>('SELECT count(*) FROM subscription WHERE workspace = ?').pluck();
  const states = database.prepare<[string], Row>(
    'SELECT *, (SELECT count(*) FROM parked WHERE subscription = id) AS parked FROM subscription WHERE workspace = ? ORDER BY rowid',
  );
  const find = database.prepare<[string], { body: string; secret: string }>('SELECT body, secret FROM subscription WHERE id = ?');
  const standing = database.prepare<[string], { cursor: number; failures: number; failing_since: number | null; parked: number }>(
    'SELECT cursor, failures, failing_since, (SELECT count(*) FROM parked WHERE subscription = id) AS parked FROM subscription WHERE id = ?',
  );
  const insert = database.prepare('INSERT INTO subscription (id, workspace, body, secret, cursor) VALUES (?, ?, ?, ?, ?)');
  const renew = database.prepare('UPDATE subscription SET body = ?, secret = ? WHERE id = ?');
  const remove = database.prepare('DELETE FROM subscription WHERE id = ?');
  const due = database.prepare<
    [string, number, number],
    { seq: number; notice: string; attempts: number; first_at: number; next_at: number }
  >('SELECT seq, notice, attempts, first_at, next_at FROM parked WHERE subscription = ? AND next_at <= ? ORDER BY next_at, seq LIMIT ?');
  const nextDue = database.prepare<[string], number | null>('SELECT min(next_at) FROM parked WHERE subscription = ?').pluck();
  const park = database.prepare(
    'INSERT OR REPLACE INTO parked (subscription, seq, notice, attempts, first_at, next_at) VALUES (?, ?, ?, ?, ?, ?)',
  );
  const unpark = database.prepare('DELETE FROM parked WHERE subscription = ? AND seq = ?');
  const allDueNow = database.prepare('UPDATE parked SET next_at = ? WHERE subscription = ? AND next_at > ?');
  const moveCursor = database.prepare('UPDATE subscription SET cursor = ? WHERE id = ?');
  const succeeded = database.prepare(
    'UPDATE subscription SET failures = 0, failing_since = NULL, last_at = ?, last_status = ?, last_error = NULL WHERE id = ?',
  );
  const failed = database.prepare(
    'UPDATE subscription SET failures = failures + 1, failing_since = coalesce(failing_since, ?), last_at = ?, last_status = ?, last_error = ? WHERE id = ?',
  );
  const clamp = database.prepare('UPDATE subscription SET cursor = ? WHERE cursor > ?');

  return {
    all: () => all.all().map(parse),
    count: (workspaceId) => count.get(workspaceId) ?? 0,
    states: (workspaceId) =>
      states.all(workspaceId).map((row) => ({
        subscription: parse(row.body),
        lastDelivery: row.last_at === null ? undefined : { at: row.last_at, status: row.last_status, error: row.last_error ?? undefined },
        failingSince: row.failing_since ?? undefined,
        parked: row.parked,
      })),
    find(id) {
      const row = find.get(id);
      return row === undefined ? undefined : { subscription: parse(row.body), secret: row.secret };
    },
    standing(id) {
      const row = standing.get(id);
      if (row === undefined) return undefined;
      return { cursor: row.cursor, failures: row.failures, failingSince: row.failing_since ?? undefined, parked: row.parked };
    },
    add(subscription, secret, cursor) {
      durably(() => insert.run(subscription.id, subscription.workspaceId, JSON.stringify(subscription), secret, cursor));
    },
    renew(subscription, secret) {
      durably(() => renew.run(JSON.stringify(subscription), secret, subscription.id));
    },
    remove: (id) => durably(() => remove.run(id).changes > 0),
    due: (id, now, most) =>
      due.all(id, now, most).map((row) => ({
        seq: row.seq,
        noticeId: row.notice,
        attempts: row.attempts,
        firstAt: row.first_at,
        nextAt: row.next_at,
      })),
    nextDue: (id) => nextDue.get(id) ?? undefined,
    record(id, tried, cursor, last, isBackOnline) {
      database
        .transaction(() => {
          for (const { seq, noticeId, outcome } of tried) {
            if (typeof outcome === 'string') unpark.run(id, seq);
            else park.run(id, seq, noticeId, outcome.attempts, outcome.firstAt, outcome.nextAt);
          }
          if (cursor !== undefined) moveCursor.run(cursor, id);
          if (last === undefined) return;
          if (last.error === undefined) succeeded.run(last.at, last.status, id);
          else failed.run(last.at, last.at, last.status, last.error, id);
          if (isBackOnline) allDueNow.run(last.at, id, last.at);
        })
        .immediate();
    },
    moveCursor(id, cursor) {
      moveCursor.run(cursor, id);
    },
    clamp(lastSeq) {
      clamp.run(lastSeq, lastSeq);
    },
    close: () => database.close(),
  };
}
