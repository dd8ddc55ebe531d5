import type { Entry } from '../store/entry.ts';
import type { Store } from '../store/store.ts';
import { startEntry } from './entries.ts';
import type { RunState } from './run-state.ts';

/** Writes a run's entries, its start before anything else of it. Until the start is durable every write brings it along; folds take the first. */
export interface RunLedger {
  append(run: RunState, entries: readonly Entry[], now: number): Promise<void>;
  /** Nobody waits. Returns the sequence number of the first of `entries`. */
  appendBehind(run: RunState, entries: readonly Entry[], now: number): number;
}

export function createRunLedger(store: Pick<Store, 'append' | 'appendBehind' | 'lastSeq'>): RunLedger {
  const introduced = (run: RunState, entries: readonly Entry[], now: number): readonly Entry[] =>
    run.startDurable ? entries : [startEntry(run, now), ...entries];
  return {
    append(run, entries, now) {
      const appended = store.append(introduced(run, entries, now));
      run.lastSeq = store.lastSeq;
      if (run.startDurable) return appended;
      return appended.then(() => {
        run.startDurable = true;
      });
    },
    appendBehind(run, entries, now) {
      store.appendBehind(introduced(run, entries, now));
      // The queue keeps what is appended behind until it is durable, in order.
      run.startDurable = true;
      run.lastSeq = store.lastSeq;
      return store.lastSeq - entries.length + 1;
    },
  };
}
