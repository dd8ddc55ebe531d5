import { parseUsd, type Nanos } from '@runpurse/core';
import type { RunView } from '../admit/types.ts';
import type { Gateway } from '../gateway.ts';
import type { RunMemory } from './call-memory.ts';
import type { ReadEvent } from './read-events.ts';
import type { ReportedCall } from './reported-call.ts';
import type { Verdict } from './verdict.ts';

/** What taking an event did. All of it is decided in one turn; only durability is waited for. */
export interface Taken {
  /** The reservation this event speaks about. */
  readonly reservationId: string | undefined;
  readonly verdict: Verdict | Promise<Verdict>;
  /** Durable writes under way. */
  readonly writes: readonly Promise<unknown>[];
  /** It ended a reservation, which can't be undone should the store fail. */
  readonly settled: boolean;
  /** False when the event asked to begin a run and was refused: there is no such run. */
  readonly begun: boolean;
  /** Makes ingest forget what it remembered of this, should the store not take it. */
  readonly forget?: () => void;
}

/** Everything an event is taken with. */
export interface Taking {
  readonly gateway: Gateway;
  readonly read: ReadEvent;
  /** The run as it stands; undefined without run id. */
  readonly run: RunView | undefined;
  readonly memory: RunMemory;
  /** Somebody waits for the answer (`?enforce=true`). */
  readonly enforce: boolean;
  /** The sender asks nobody: what it says begins, does, whatever is answered. */
  readonly reportsOnly: boolean;
  readonly readCall: (kind: 'model' | 'tool') => ReportedCall;
}

/** An event that changes nothing but the log. */
export const nothing = (verdict: Verdict, reservationId?: string): Taken => ({
  reservationId,
  verdict,
  writes: [],
  settled: false,
  begun: true,
});

/**
 * A question that arrives after its own end, by its sender's clock: reports came out of order and nobody waits for it.
 * It is logged and decides nothing.
 */
export function isLate({ enforce, read }: Taking, endedAt: number | undefined): boolean {
  return !enforce && endedAt !== undefined && read.eventAt <= endedAt;
}

export function hasEnded(run: RunView | undefined): boolean {
  return run !== undefined && run.status !== 'running' && run.status !== 'paused';
}

/** A decimal dollar amount, checked when the event was read. */
export function amount(text: string | undefined): Nanos | undefined {
  return text === undefined ? undefined : parseUsd(text);
}
