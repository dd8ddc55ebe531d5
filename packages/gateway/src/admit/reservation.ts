import type { Nanos } from '@runpurse/core';
import type { Counter } from './counters.ts';
import type { BudgetMatch } from './budget-book.ts';
import type { RunState } from './run-state.ts';
import type { Reservation } from './types.ts';

/** A reservation while it is open: what it holds and where. */
export interface OpenReservation extends Reservation {
  readonly run: RunState;
  readonly hold: Nanos;
  /** The counters that hold it and that it settles on; made anew when budgets change. */
  counters: Counter[];
  /** The budgets it was checked against, for thresholds. */
  matches: readonly BudgetMatch[];
  readonly fingerprint: (() => string) | undefined;
  /** Settled by an event or by its time-out, not by the model path. */
  readonly isAwaited: boolean;
  /** Key in the run's openByCall, if any. */
  readonly callKey: string | undefined;
}
