import type { SchemaStep } from './database.ts';

/** The ledger: rows are added, never changed. `probe` is one scratch row by which a failing store finds out that it can write again. */
export const LEDGER_SCHEMA: readonly SchemaStep[] = [
  `
  CREATE TABLE ledger (
    seq INTEGER PRIMARY KEY,
    body TEXT NOT NULL
  ) STRICT;
  CREATE TRIGGER ledger_is_never_updated BEFORE UPDATE ON ledger
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
  CREATE TRIGGER ledger_is_never_deleted BEFORE DELETE ON ledger
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
  CREATE TABLE probe (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    filler BLOB NOT NULL
  ) STRICT;
  `,
];

/** Virtual keys and the budgets made by hand. */
export const ADMIN_SCHEMA: readonly SchemaStep[] = [
  `
  CREATE TABLE virtual_key (
    key_id TEXT PRIMARY KEY,
    hash TEXT NOT NULL UNIQUE,
    body TEXT NOT NULL
  ) STRICT;
  CREATE TABLE budget (
    budget_id TEXT PRIMARY KEY,
    body TEXT NOT NULL
  ) STRICT;
  `,
];

/**
 * What is folded from the ledger. Any change here needs no migration: a views file of another version is dropped and
 * folded again.
 */
export const VIEWS_VERSION = 1;

export const VIEWS_SCHEMA = `
  CREATE TABLE progress (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    folded_seq INTEGER NOT NULL
  ) STRICT;
  INSERT INTO progress VALUES (1, 0);

  CREATE TABLE run (
    workspace TEXT NOT NULL,
    run TEXT NOT NULL,
    key TEXT NOT NULL,
    session TEXT,
    workflow TEXT,
    agent TEXT,
    member TEXT,
    customer TEXT,
    status TEXT NOT NULL,
    status_reason TEXT,
    implicit INTEGER NOT NULL,
    begun INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at INTEGER,
    model_nanos INTEGER NOT NULL,
    tool_nanos INTEGER NOT NULL,
    retry_nanos INTEGER NOT NULL,
    revenue_nanos INTEGER,
    outbound_nanos INTEGER NOT NULL,
    fees_nanos INTEGER NOT NULL,
    unknown_costs INTEGER NOT NULL,
    unconfirmed_costs INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    tool_calls INTEGER NOT NULL,
    reserved_tools INTEGER NOT NULL,
    retries INTEGER NOT NULL,
    steps INTEGER NOT NULL,
    limit_nanos INTEGER,
    bounds TEXT,
    unknown_names TEXT,
    priced_unknown TEXT,
    touched TEXT,
    PRIMARY KEY (workspace, run)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX run_by_start ON run (workspace, started_at, run);
  CREATE INDEX run_by_session ON run (workspace, session, started_at, run) WHERE session IS NOT NULL;
  CREATE INDEX run_by_agent ON run (workspace, agent, started_at, run) WHERE agent IS NOT NULL;
  CREATE INDEX run_by_workflow ON run (workspace, workflow, started_at, run) WHERE workflow IS NOT NULL;
  CREATE INDEX run_by_customer ON run (workspace, customer, started_at, run) WHERE customer IS NOT NULL;

  CREATE TABLE run_part (
    workspace TEXT NOT NULL,
    run TEXT NOT NULL,
    part TEXT NOT NULL,
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (workspace, run, part, id)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE spend (
    workspace TEXT NOT NULL,
    scope TEXT NOT NULL,
    id TEXT NOT NULL,
    day TEXT NOT NULL,
    model_nanos INTEGER NOT NULL,
    tool_nanos INTEGER NOT NULL,
    retry_nanos INTEGER NOT NULL,
    revenue_nanos INTEGER,
    outbound_nanos INTEGER NOT NULL,
    fees_nanos INTEGER NOT NULL,
    unknown_costs INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    tool_calls INTEGER NOT NULL,
    retries INTEGER NOT NULL,
    runs INTEGER NOT NULL,
    PRIMARY KEY (workspace, scope, id, day)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE open_reservation (
    id TEXT PRIMARY KEY,
    body TEXT NOT NULL
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE event_id (
    workspace TEXT NOT NULL,
    id TEXT NOT NULL,
    PRIMARY KEY (workspace, id)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE posting (
    workspace TEXT NOT NULL,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    first_seq INTEGER NOT NULL,
    gaps TEXT NOT NULL,
    PRIMARY KEY (workspace, kind, id, first_seq)
  ) STRICT, WITHOUT ROWID;
`;
