import type { Entry } from '../entry.ts';
import { StoreError } from '../store.ts';

/** Sends a batch or a probe to the writer; `written` is called with the outcome. One is on its way at most. */
export interface CommitSink {
  write(ranges: readonly number[], lines: string): void;
  probe(): void;
}

export interface GroupCommitOptions {
  readonly lastSeq: number;
  readonly sink: CommitSink;
  /** Called after every attempt, with the number up to which every entry is durable or was refused. */
  readonly onAttempt: (settledSeq: number) => void;
  /** True while the next batch must wait for what lags behind the ledger; `goOn` ends the wait. */
  readonly isHeldBack?: () => boolean;
}

/**
 * Group commit. Entries that arrive while a batch is being made durable wait together and go as the next batch: the flush
 * to disk costs each of them a fraction. A batch is written whole or not at all.
 */
export interface GroupCommit {
  append(entries: readonly Entry[]): Promise<void>;
  appendBehind(entries: readonly Entry[]): void;
  /** All that `work` appends goes into one batch. `work` must not wait. */
  together<Result>(work: () => Result): Result;
  flush(): Promise<void>;
  /** Resolves when all appended so far was tried at least once, durable or not. Never rejects. */
  attempted(): Promise<void>;
  /** The outcome of the batch or probe on its way. */
  written(error: string | undefined): void;
  /** Looks again whether the next batch may go. */
  goOn(): void;
  /** The writer is gone: everything that waits rejects, now and from now on. */
  die(error: StoreError): void;
  readonly lastSeq: number;
  readonly settledSeq: number;
  readonly failing: boolean;
  readonly idle: boolean;
}

/** Bounds of one batch; more goes into the next. */
const BATCH_LINES_MAX = 5_000;
const BATCH_CHARACTERS_MAX = 8_000_000;

/** While each turn of the event loop brings more, the next batch waits for it, up to this many entries or turns. */
const WORTH_A_FLUSH = 128;
const TURNS_WAITED_MAX = 8;

const RETRY_FIRST_MS = 50;
const RETRY_LAST_MS = 2_000;

interface Batch {
  lines: string[];
  characters: number;
  ranges: number[];
  /** Entries that nobody waits for, as seq and line: they are tried again when the batch fails. */
  kept: Line[];
  lastSeq: number;
  /** Shared by everyone whose entries are in the batch; made when the first of them waits. */
  durable: PromiseWithResolvers<void> | undefined;
  tried: PromiseWithResolvers<void> | undefined;
}

interface Line {
  readonly seq: number;
  readonly text: string;
}

export function createGroupCommit({ lastSeq: lastSeqAtOpen, sink, onAttempt, isHeldBack = () => false }: GroupCommitOptions): GroupCommit {
  let lastSeq = lastSeqAtOpen;
  let settledSeq = lastSeqAtOpen;
  let attemptedSeq = lastSeqAtOpen;
  let filling: Batch = newBatch();
  /** Full batches before `filling`. */
  const full: Batch[] = [];
  let onItsWay: Batch | 'probe' | undefined;
  let kept: Line[] = [];
  let failing = false;
  let death: StoreError | undefined;
  let scheduled = false;
  /** Inside of `together` a batch grows past its bounds rather than be divided. */
  let isTogether = false;
  let retryMs = RETRY_FIRST_MS;
  let retryTimer: NodeJS.Timeout | undefined;
  const flushes: { readonly seq: number; readonly resolvers: PromiseWithResolvers<void> }[] = [];

  const add = (entries: readonly Entry[], behind: boolean): Batch => {
    if (!isTogether && (filling.lines.length >= BATCH_LINES_MAX || filling.characters >= BATCH_CHARACTERS_MAX)) {
      full.push(filling);
      filling = newBatch();
    }
    const batch = filling;
    const first = lastSeq + 1;
    // All of them before any is queued: an entry that can't be written as JSON leaves nothing half done.
    const texts = entries.map((entry) => JSON.stringify(entry));
    for (const text of texts) {
      lastSeq += 1;
      batch.lines.push(text);
      batch.characters += text.length;
      if (behind) batch.kept.push({ seq: lastSeq, text });
    }
    addRange(batch.ranges, first, entries.length);
    batch.lastSeq = lastSeq;
    // While the store fails only entries that someone waits for are tried at once; the others wait for the retry.
    if (!failing || !behind) schedule();
    return batch;
  };

  /** Not at once: requests that came in with the same turn of the event loop share the batch. */
  const schedule = (): void => {
    if (scheduled || onItsWay !== undefined) return;
    scheduled = true;
    let seen = filling.lines.length;
    let turns = 0;
    const sendWhenQuiet = (): void => {
      turns += 1;
      if (filling.lines.length > seen && filling.lines.length < WORTH_A_FLUSH && turns < TURNS_WAITED_MAX) {
        seen = filling.lines.length;
        setImmediate(sendWhenQuiet);
        return;
      }
      scheduled = false;
      if (onItsWay === undefined) send();
    };
    setImmediate(sendWhenQuiet);
  };

  const takeNext = (): Batch | undefined => {
    const next = full.shift();
    if (next !== undefined) return next;
    if (filling.lines.length === 0) return undefined;
    const batch = filling;
    filling = newBatch();
    return batch;
  };

  const send = (): void => {
    if (death !== undefined || isHeldBack()) return;
    let batch = takeNext();
    if (batch === undefined && kept.length === 0) return;
    clearTimeout(retryTimer);
    retryTimer = undefined;
    batch ??= newBatch();
    attemptedSeq = batch.lastSeq = Math.max(batch.lastSeq, attemptedSeq);
    if (kept.length > 0) {
      // What a failed batch left behind goes first, so that the ledger keeps the order of the appends.
      const ranges: number[] = [];
      for (const line of kept) addRange(ranges, line.seq, 1);
      for (let index = 0; index < batch.ranges.length; index += 2) addRange(ranges, batch.ranges[index] ?? 0, batch.ranges[index + 1] ?? 0);
      batch.ranges = ranges;
      batch.lines = [...kept.map((line) => line.text), ...batch.lines];
      batch.kept = [...kept, ...batch.kept];
      kept = [];
    }
    onItsWay = batch;
    sink.write(batch.ranges, batch.lines.join('\n'));
  };

  const retryLater = (): void => {
    retryTimer ??= setTimeout(() => {
      retryTimer = undefined;
      if (onItsWay !== undefined || death !== undefined || !failing) return;
      if (kept.length > 0 || filling.lines.length > 0 || full.length > 0) return send();
      onItsWay = 'probe';
      sink.probe();
    }, retryMs).unref();
    retryMs = Math.min(retryMs * 2, RETRY_LAST_MS);
  };

  const settleFlushes = (): void => {
    while (flushes[0] !== undefined && flushes[0].seq <= settledSeq) flushes.shift()?.resolvers.resolve();
  };

  const everything = (): Batch[] => [
    ...(onItsWay === undefined || onItsWay === 'probe' ? [] : [onItsWay]),
    ...full,
    ...(filling.lines.length > 0 ? [filling] : []),
  ];

  return {
    append(entries) {
      if (death !== undefined) return Promise.reject(death);
      if (entries.length === 0) return Promise.resolve();
      const batch = add(entries, false);
      batch.durable ??= Promise.withResolvers();
      return batch.durable.promise;
    },
    appendBehind(entries) {
      if (death === undefined && entries.length > 0) add(entries, true);
    },
    together(work) {
      isTogether = true;
      try {
        return work();
      } finally {
        isTogether = false;
      }
    },
    flush() {
      if (death !== undefined) return Promise.reject(death);
      if (settledSeq >= lastSeq) return Promise.resolve();
      const resolvers = Promise.withResolvers<void>();
      flushes.push({ seq: lastSeq, resolvers });
      return resolvers.promise;
    },
    attempted() {
      const last = everything().at(-1);
      if (last === undefined || death !== undefined) return Promise.resolve();
      last.tried ??= Promise.withResolvers();
      return last.tried.promise;
    },
    written(error) {
      const batch = onItsWay;
      onItsWay = undefined;
      if (batch === undefined) return;
      failing = error !== undefined;
      if (batch !== 'probe') {
        if (error === undefined) batch.durable?.resolve();
        else {
          kept = batch.kept;
          batch.durable?.reject(new StoreError(`The ledger could not be written: ${error}`));
        }
        const [firstKept] = kept;
        settledSeq = firstKept === undefined ? batch.lastSeq : firstKept.seq - 1;
        batch.tried?.resolve();
        onAttempt(settledSeq);
        settleFlushes();
      }
      if (failing) retryLater();
      else retryMs = RETRY_FIRST_MS;
      if (full.length > 0) send();
      // What waited for this batch goes on first: what that brings shares the next one.
      else if (!failing || filling.durable !== undefined) schedule();
    },
    goOn() {
      // While the store fails the retry's timer sends; without one it was the retry itself that had to wait.
      if (onItsWay === undefined && !scheduled && retryTimer === undefined) send();
    },
    die(error) {
      death = error;
      failing = true;
      clearTimeout(retryTimer);
      for (const batch of everything()) {
        batch.durable?.reject(error);
        batch.tried?.resolve();
      }
      full.length = 0;
      filling = newBatch();
      onItsWay = undefined;
      for (const { resolvers } of flushes.splice(0)) resolvers.reject(error);
    },
    get lastSeq() {
      return lastSeq;
    },
    get settledSeq() {
      return settledSeq;
    },
    get failing() {
      return failing;
    },
    get idle() {
      return onItsWay === undefined && kept.length === 0 && full.length === 0 && filling.lines.length === 0;
    },
  };
}

function newBatch(): Batch {
  return { lines: [], characters: 0, ranges: [], kept: [], lastSeq: 0, durable: undefined, tried: undefined };
}

/** Adds `count` numbers from `first` to a list of ranges (first, count, first, count …). */
function addRange(ranges: number[], first: number, count: number): void {
  const end = ranges.length;
  const lastFirst = ranges[end - 2];
  const lastCount = ranges[end - 1];
  if (lastFirst !== undefined && lastCount !== undefined && lastFirst + lastCount === first) ranges[end - 1] = lastCount + count;
  else ranges.push(first, count);
}
