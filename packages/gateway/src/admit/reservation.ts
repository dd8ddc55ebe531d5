import type { Nanos } from '@runpurse/core';
import type { Counter } from './counters.ts';
import type { BudgetMatch } from './budget-book.ts';
import type { RunState } from './run-state.ts';
import type { Outcome, Reservation } from './types.ts';

/** A reservation while it is open: what it holds and where. */
export interface OpenReservation extends Reservation {
  readonly run: RunState;
  readonly hold: Nanos;
  /** The counters that hold it and that it settles on; made anew when budgets change. */
  counters: Counter[];
  /** The budgets it was checked against, for thresholds. */
  matches: readonly BudgetMatch[];
  readonly fingerprint: (() => string) | undefined;
  /** When it ends though no event ended it, and how. Never on the model path, which ends its calls itself. */
  dueAt: number;
  untold: Outcome;
  /** Nobody asked for it. */
  readonly isReported: boolean;
  /** Key in the run's openByCall, if any. */
  readonly callKey: string | undefined;
}

/** The open reservations by id, oldest first. */
export interface OpenTable {
  get(id: string): OpenReservation | undefined;
  /** Ids are unique. */
  add(reservation: OpenReservation): void;
  /** Of one that is in it. */
  remove(reservation: OpenReservation): void;
  values(): Iterable<OpenReservation>;
  readonly size: number;
}

/**
 * An object, not a `Map`: thousands of members come and go each second. V8's Map then outgrows its table again and again, and
 * each table it left refers to the next. One that reached the old generation kept all later ones, and every call in them,
 * from being collected young: three times as much was promoted per call, and a young collection took twice as long.
 */
export function createOpenTable(): OpenTable {
  const byId = Object.create(null) as Record<string, OpenReservation>;
  let size = 0;
  return {
    get: (id) => byId[id],
    add(reservation) {
      byId[reservation.id] = reservation;
      size += 1;
    },
    remove({ id }) {
      delete byId[id];
      size -= 1;
    },
    values: () => Object.values(byId),
    get size() {
      return size;
    },
  };
}
