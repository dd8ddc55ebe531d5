import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Worker } from 'node:worker_threads';
import type { ReserveEntry } from '../entry.ts';
import { StoreError, type RunFilter, type RunRow, type Sequenced, type SpendRow, type Store } from '../store.ts';
import { pollAdmin } from './admin.ts';
import { readAdminTables } from './admin-tables.ts';
import { FILES, lockDirectory, openForReading, type Durability } from './database.ts';
import { createGroupCommit } from './group-commit.ts';
import type { FolderOptions, FromFolder, FromWriter, Question, ToFolder, ToWriter, WriterOptions } from './messages.ts';
import { createRecentEventIds } from './recent-event-ids.ts';
import { createQuestions, firstMessage, startThread } from './threads.ts';
import { createViewQueries } from './view-queries.ts';

export interface SqliteStoreOptions {
  /** Made when it does not exist. One gateway process at a time uses it. */
  readonly directory: string;
  /** `full`: what is appended survives power loss. `relaxed`: it survives a killed process. */
  readonly durability: Durability;
  /** Bound on the ledger file; a write past it fails like a full disk. The views add about half of that. */
  readonly maxSizeMb?: number | undefined;
  /** For the note in the directory that says since when it is in use. */
  readonly clock?: { now(): number } | undefined;
}

/** The embedded store, with what only a file has. */
export interface SqliteStore extends Store {
  /** Changes the bound on the ledger's size while it runs; undefined lifts it. */
  resize(maxSizeMb: number | undefined): void;
}

/**
 * The views are folded when the ledger was quiet for a moment; under load when they are this far or this long behind, since
 * many entries of one run cost little more than one.
 */
const FOLD_IDLE_MS = 50;
const FOLD_LAG_ENTRIES = 10_000;
const FOLD_LAG_MS = 1_000;
/** Further behind than this they hold the ledger back, so that what waits to be folded does not fill the memory. */
const FOLD_LAG_ENTRIES_MAX = 100_000;
const FOLD_RETRY_MS = 1_000;

/** Opens the ledger in a directory: takes its lock, brings the schema up to date and folds the views to the ledger's end. */
export async function openSqliteStore(options: SqliteStoreOptions): Promise<SqliteStore> {
  const { directory } = options;
  mkdirSync(directory, { recursive: true });
  const lock = lockDirectory(directory, options.clock?.now() ?? Date.now());
  const workers: Worker[] = [];
  try {
    const writerOptions: WriterOptions = { directory, durability: options.durability, maxSizeMb: options.maxSizeMb };
    const writer = startThread('writer-thread', writerOptions);
    workers.push(writer);
    const { lastSeq } = await firstMessage<Extract<FromWriter, { kind: 'ready' }>>(writer);
    const folderOptions: FolderOptions = { directory, lastSeq };
    const folder = startThread('views-thread', folderOptions);
    workers.push(folder);
    await firstMessage(folder);
    return createStore(directory, lastSeq, writer, folder, () => lock.release());
  } catch (error) {
    await Promise.all(workers.map((worker) => worker.terminate()));
    lock.release();
    throw error;
  }
}

function createStore(directory: string, lastSeqAtOpen: number, writer: Worker, folder: Worker, release: () => void): SqliteStore {
  const ledgerDatabase = openForReading(join(directory, FILES.ledger));
  const viewsDatabase = openForReading(join(directory, FILES.views));
  const adminDatabase = openForReading(join(directory, FILES.admin));
  const views = createViewQueries(viewsDatabase, ledgerDatabase);
  const admin = readAdminTables(adminDatabase);
  const recentEventIds = createRecentEventIds();
  const left = views.openReservations();
  const tell = (message: ToWriter): void => writer.postMessage(message);
  const tellFolder = (message: ToFolder): void => folder.postMessage(message);
  const [writerEnded, folderEnded] = [writer, folder].map((worker) => new Promise((resolve) => worker.once('exit', resolve)));
  let foldedSeq = lastSeqAtOpen;
  let foldAskedSeq = lastSeqAtOpen;
  /** The views can't be written at the moment, or their thread is gone. */
  let foldsFail = false;
  let foldTimer: NodeJS.Timeout | undefined;
  /** Since when there is something to fold that nobody was asked to. */
  let behindSince: number | undefined;
  let closed = false;
  let closing: Promise<void> | undefined;

  const askFold = (): void => {
    clearTimeout(foldTimer);
    foldTimer = undefined;
    if (closed || commit.settledSeq <= foldAskedSeq) return;
    behindSince = undefined;
    foldAskedSeq = commit.settledSeq;
    tellFolder({ kind: 'fold', through: foldAskedSeq });
  };
  /** One fold is under way at most; the next one starts when it reports. */
  const considerFold = (): void => {
    if (foldedSeq < foldAskedSeq) return;
    if (commit.settledSeq <= foldedSeq) return;
    const now = performance.now();
    behindSince ??= now;
    if (commit.settledSeq - foldedSeq >= FOLD_LAG_ENTRIES || now - behindSince >= FOLD_LAG_MS) askFold();
    else if (foldTimer === undefined) foldTimer = setTimeout(askFold, FOLD_IDLE_MS).unref();
    else foldTimer.refresh();
  };
  const onFolded = (seq: number): void => {
    foldedSeq = Math.max(foldedSeq, seq);
    foldsFail = false;
    recentEventIds.forgetThrough(foldedSeq);
    considerFold();
    commit.goOn();
  };
  /** The views can't be written, on a full disk for one: the ledger goes on, and they catch up later. */
  const onFoldFailed = (): void => {
    foldsFail = true;
    commit.goOn();
    clearTimeout(foldTimer);
    foldTimer = setTimeout(() => {
      foldAskedSeq = foldedSeq;
      askFold();
    }, FOLD_RETRY_MS).unref();
  };

  const commit = createGroupCommit({
    lastSeq: lastSeqAtOpen,
    sink: {
      write: (ranges, lines) => tell({ kind: 'write', ranges, lines }),
      probe: () => tell({ kind: 'probe' }),
    },
    onAttempt: considerFold,
    isHeldBack: () => !foldsFail && commit.settledSeq - foldedSeq > FOLD_LAG_ENTRIES_MAX,
  });

  const fromWriter = createQuestions((id, message: (id: number) => ToWriter) => tell(message(id)));
  const fromFolder = createQuestions((id, message: { readonly question: Question; readonly args: readonly unknown[] }) =>
    tellFolder({ kind: 'ask', id, through: commit.settledSeq, ...message }),
  );
  /** Asks the views once everything appended so far was tried, so that a read sees all earlier appends. */
  const ask = async (question: Question, ...args: readonly unknown[]): Promise<unknown> => {
    await commit.attempted();
    return fromFolder.ask({ question, args });
  };

  const lose = (which: string, error: Error | undefined): void => {
    if (closed) return;
    const lost = new StoreError(`The store's ${which} thread ended unexpectedly; restart the gateway.`, error);
    if (which === 'writer') {
      commit.die(lost);
      fromWriter.fail(lost);
    }
    foldsFail ||= which === 'views';
    fromFolder.fail(lost);
  };
  writer.on('message', (message: FromWriter) => {
    if (message.kind === 'written') commit.written(message.error);
    else if (message.kind === 'answer') fromWriter.answer(message);
  });
  writer.on('error', (error: Error) => lose('writer', error));
  writer.on('exit', () => lose('writer', undefined));
  folder.on('message', (message: FromFolder) => {
    if (message.kind === 'folded') onFolded(message.seq);
    else if (message.kind === 'not-folded') onFoldFailed();
    else if (message.kind === 'answer') fromFolder.answer(message);
  });
  folder.on('error', (error: Error) => lose('views', error));
  folder.on('exit', () => lose('views', undefined));

  const listeners: (() => void)[] = [];
  const adminPoll = pollAdmin(adminDatabase, admin, () => listeners.forEach((listener) => listener()));

  const close = async (): Promise<void> => {
    // What could not be written by now is lost with the process: the next start charges the holds.
    await commit.attempted();
    closed = true;
    clearTimeout(foldTimer);
    adminPoll.stop();
    const gone = new StoreError('The store is closed.');
    commit.die(gone);
    fromWriter.fail(gone);
    fromFolder.fail(gone);
    // The threads that write go last: who closes a file last brings its WAL home and leaves one file behind.
    for (const database of [viewsDatabase, ledgerDatabase, adminDatabase]) database.close();
    tellFolder({ kind: 'close' });
    await folderEnded;
    tell({ kind: 'close' });
    await writerEnded;
    release();
  };

  return {
    append(entries) {
      const durable = commit.append(entries);
      recentEventIds.note(entries, commit.lastSeq, durable);
      return durable;
    },
    appendBehind(entries) {
      commit.appendBehind(entries);
      recentEventIds.note(entries, commit.lastSeq, undefined);
    },
    together: (work) => commit.together(work),
    flush: () => commit.flush(),
    get lastSeq() {
      return commit.lastSeq;
    },
    get foldedSeq() {
      return foldedSeq;
    },
    get failing() {
      return commit.failing || foldsFail;
    },
    openReservations: (): readonly ReserveEntry[] => left,
    peekRun: views.run,
    peekRunEntries: views.runEntries,
    peekSpent: views.spent,
    peekSession: views.session,
    peekKeyByHash: admin.keyByHash,
    knownEventIds: (workspaceId, eventIds) => recentEventIds.addKnown(workspaceId, eventIds, views.knownEventIds(workspaceId, eventIds)),
    run: async (workspaceId, runId) => (await ask('run', workspaceId, runId)) as RunRow | undefined,
    runs: async (filter: RunFilter) => (await ask('runs', filter)) as { rows: RunRow[]; nextCursor: string | undefined },
    entries: async (filter) => (await ask('entries', filter)) as Sequenced[],
    spend: async (workspaceId, scope, spendOptions) => (await ask('spend', workspaceId, scope, spendOptions)) as SpendRow[],
    spendByDay: async (workspaceId, fromDay, toDay) =>
      (await ask('spendByDay', workspaceId, fromDay, toDay)) as (SpendRow & { day: string })[],
    putKey: async (key) => void (await fromWriter.ask((id) => ({ kind: 'put-key', id, key }))),
    keys: admin.keys,
    putBudget: async (budget) => void (await fromWriter.ask((id) => ({ kind: 'put-budget', id, budget }))),
    deleteBudget: async (budgetId) => (await fromWriter.ask((id) => ({ kind: 'delete-budget', id, budgetId }))) === true,
    budgets: admin.budgets,
    onAdminChange: (listener) => void listeners.push(listener),
    rebuild: async () => (await ask('rebuild')) as { entries: number; differences: string[] },
    resize: (maxSizeMb) => tell({ kind: 'resize', maxSizeMb }),
    close: () => (closing ??= close()),
  };
}
