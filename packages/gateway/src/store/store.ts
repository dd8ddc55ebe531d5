import type { Entry, ReserveEntry } from './entry.ts';

/** Spend scopes a charge is booked under. `workspace` ids are the workspace itself; others are unique per workspace. */
export const SPEND_SCOPES = [
  'workspace',
  'key',
  'member',
  'customer',
  'agent',
  'workflow',
  'session',
  'run',
  'model',
  'provider',
  'tool',
] as const;
export type SpendScope = (typeof SPEND_SCOPES)[number];

/** A run's row in the views: identity, state and totals. Money in nanos. */
export interface RunRow {
  readonly workspaceId: string;
  readonly runId: string;
  readonly keyId: string;
  readonly sessionId: string | undefined;
  readonly workflowId: string | undefined;
  readonly agentId: string | undefined;
  readonly memberId: string | undefined;
  readonly customerId: string | undefined;
  readonly status: 'running' | 'completed' | 'failed' | 'stopped' | 'paused';
  readonly statusReason: string | undefined;
  readonly implicit: boolean;
  readonly startedAt: number;
  /** When it ended; undefined while running or paused. */
  readonly endedAt: number | undefined;
  readonly modelNanos: bigint;
  readonly toolNanos: bigint;
  readonly retryNanos: bigint;
  readonly revenueNanos: bigint | undefined;
  readonly outboundNanos: bigint;
  readonly feesNanos: bigint;
  /** Settled calls whose price is unknown, and charges at the hold that nobody confirmed. */
  readonly unknownCosts: number;
  readonly unconfirmedCosts: number;
  /** What the unknown costs are of, such as `model:gpt-9`: sorted, each once. */
  readonly unknownNames?: readonly string[] | undefined;
  readonly requests: number;
  readonly toolCalls: number;
  readonly retries: number;
  readonly steps: number;
  /** The run's own cap and bounds as last set. */
  readonly limitNanos: bigint | undefined;
  readonly bounds: Readonly<Record<string, number>> | undefined;
}

/** Settled spend of one scope id, summed over the asked days. Days are those of the reservation, in UTC. */
export interface SpendRow {
  readonly id: string;
  readonly modelNanos: bigint;
  readonly toolNanos: bigint;
  readonly retryNanos: bigint;
  readonly revenueNanos: bigint | undefined;
  readonly outboundNanos: bigint;
  readonly feesNanos: bigint;
  readonly unknownCosts: number;
  readonly requests: number;
  readonly toolCalls: number;
  readonly retries: number;
  readonly runs: number;
}

/** A session's totals over its runs. */
export interface SessionTotals {
  readonly startedAt: number;
  readonly spentNanos: bigint;
  readonly requests: number;
  readonly toolCalls: number;
  readonly retries: number;
  readonly steps: number;
  /** The sequence these totals are folded up to. */
  readonly asOfSeq: number;
}

export interface StoredKey {
  readonly keyId: string;
  /** sha-256 of the secret, hex. */
  readonly hash: string;
  /** First characters, for lists. */
  readonly prefix: string;
  readonly workspaceId: string;
  readonly agentId: string | undefined;
  readonly memberId: string | undefined;
  readonly label: string | undefined;
  readonly admin: boolean;
  readonly createdAt: number;
  readonly revokedAt: number | undefined;
}

/** A budget made by the API or the CLI; the ones of runpurse.yaml are not stored. `body` is as it would stand in runpurse.yaml. */
export interface StoredBudget {
  readonly budgetId: string;
  readonly body: Readonly<Record<string, unknown>>;
  readonly updatedAt: number;
}

export interface EntryFilter {
  readonly workspaceId: string;
  readonly runId?: string | undefined;
  readonly sessionId?: string | undefined;
  readonly agentId?: string | undefined;
  /** Entry types (`event`, `decision`, …) and/or canonical event types. */
  readonly types?: readonly string[] | undefined;
  /** Exclusive lower bound. */
  readonly afterSeq?: number | undefined;
  /** Exclusive upper bound, for newest-first paging. */
  readonly beforeSeq?: number | undefined;
  readonly order?: 'asc' | 'desc' | undefined;
  readonly limit: number;
}

export interface Sequenced {
  readonly seq: number;
  readonly entry: Entry;
}

export interface RunFilter {
  readonly workspaceId: string;
  readonly sessionId?: string | undefined;
  readonly agentId?: string | undefined;
  readonly workflowId?: string | undefined;
  readonly customerId?: string | undefined;
  readonly status?: string | undefined;
  readonly startedFrom?: number | undefined;
  readonly startedTo?: number | undefined;
  /** Newest first; opaque cursor of the last row seen. */
  readonly cursor?: string | undefined;
  readonly limit: number;
}

/**
 * Where the ledger lives. One writer; every read answers with all that was appended before it (read your writes).
 * Two implementations share one conformance suite: embedded SQLite now, PostgreSQL past one machine.
 */
export interface Store {
  /** Resolves when the entries are durable (group commit), in order. Rejects with a StoreError when they are not. */
  append(entries: readonly Entry[]): Promise<void>;
  /**
   * Same queue, nobody waits: for settlements behind the reply. Kept and tried again while the store fails, so an end is
   * lost only with the process (then recovery charges the hold).
   */
  appendBehind(entries: readonly Entry[]): void;
  /**
   * What `work` appends, in this one turn, becomes durable in one transaction or not at all (but what is appended behind
   * is tried again): for a batch of events and all that they do.
   */
  together<Result>(work: () => Result): Result;
  /** Resolves when all appended so far is durable. */
  flush(): Promise<void>;
  /** Last sequence number handed out; last one folded into the views. What is evicted from memory must be folded. */
  readonly lastSeq: number;
  readonly foldedSeq: number;
  /** True while the last write failed, or the views could not be folded: reads are behind or refused. */
  readonly failing: boolean;

  /** Reservations without a settle, as found at open: a crash left them. */
  openReservations(): readonly ReserveEntry[];

  // Answers at once from the folded views: for the admission path, on what was evicted from memory or never seen.
  peekRun(workspaceId: string, runId: string): RunRow | undefined;
  /** Step ids and tool-call state are re-read from these when a run comes back to memory. */
  peekRunEntries(workspaceId: string, runId: string): readonly Sequenced[];
  /**
   * Settled spend of a scope id between two UTC days inclusive (`YYYY-MM-DD`), or for all time, with the sequence number
   * that the figure is folded up to, read in the same transaction: the caller adds what it settled after that.
   */
  peekSpent(
    workspaceId: string,
    scope: SpendScope,
    id: string,
    fromDay?: string,
    toDay?: string,
  ): { readonly nanos: bigint; readonly asOfSeq: number };
  /** A session's folded totals over its runs (spend of ALL its runs, whenever they named the session), or undefined when never seen. */
  peekSession(workspaceId: string, sessionId: string): SessionTotals | undefined;
  /** A key by the sha-256 of its secret, read from disk, so that a key minted by another process works at once. */
  peekKeyByHash(hash: string): StoredKey | undefined;
  /** Which of these event ids the workspace has already accepted (folded or not). */
  knownEventIds(workspaceId: string, eventIds: readonly string[]): ReadonlySet<string>;

  // Reads for the API.
  run(workspaceId: string, runId: string): Promise<RunRow | undefined>;
  runs(filter: RunFilter): Promise<{ readonly rows: readonly RunRow[]; readonly nextCursor: string | undefined }>;
  entries(filter: EntryFilter): Promise<readonly Sequenced[]>;
  spend(
    workspaceId: string,
    scope: SpendScope,
    options: { fromDay?: string | undefined; toDay?: string | undefined; id?: string | undefined; limit: number },
  ): Promise<readonly SpendRow[]>;
  /** Workspace totals per UTC day, for charts. */
  spendByDay(workspaceId: string, fromDay: string, toDay: string): Promise<readonly (SpendRow & { day: string })[]>;

  // Keys and budgets: written by the CLI too, from another process; `onAdminChange` fires when either changed.
  putKey(key: StoredKey): Promise<void>;
  keys(): readonly StoredKey[];
  putBudget(budget: StoredBudget): Promise<void>;
  deleteBudget(budgetId: string): Promise<boolean>;
  budgets(): readonly StoredBudget[];
  onAdminChange(listener: () => void): void;

  /** Drops every view and folds the ledger again; says which figures differed from before (none, or there is a bug). */
  rebuild(): Promise<{ readonly entries: number; readonly differences: readonly string[] }>;
  close(): Promise<void>;
}

/** A store that could not write or read; the model path answers 503 `ledger_unavailable`. */
export class StoreError extends Error {
  constructor(message: string, cause?: unknown) {
    super(message, { cause });
    this.name = 'StoreError';
  }
}

/** Another gateway process holds the data directory. */
export class DirectoryInUseError extends StoreError {
  constructor(message: string, cause?: unknown) {
    super(message, cause);
    this.name = 'DirectoryInUseError';
  }
}
