import type { EventEntry } from '../store/entry.ts';
import type { Store } from '../store/store.ts';
import type { ReadEvent } from './read-events.ts';

/** An event id that was taken before. */
export interface SeenEvent {
  readonly fingerprint: string;
  /** Settles when the first copy is in the ledger or is known not to be; undefined: it is. */
  durable: Promise<void> | undefined;
  /** The first copy ended this reservation and then could not be written: its entry is missing, its effect is not. */
  appliedTo: string | undefined;
}

const EVENTS_MAX = 50_000;

/**
 * Which event ids a workspace has sent: the last ones in memory, with what they said; older ones in the store. An event
 * counts once; its id with other content is a mistake that must be seen.
 */
export interface EventMemory {
  find(workspaceId: string, eventId: string): SeenEvent | undefined;
  remember(workspaceId: string, eventId: string, seen: SeenEvent): void;
  forget(workspaceId: string, eventId: string): void;
  /** Brings those ids of the batch into memory that only the store knows. */
  recall(workspaceId: string, reads: readonly ReadEvent[]): Promise<void>;
  /** Ids of the batch that the store knows and memory does not. */
  unrecalled(workspaceId: string, reads: readonly ReadEvent[]): readonly ReadEvent[];
}

export function createEventMemory(store: Pick<Store, 'knownEventIds' | 'entries'>): EventMemory {
  const seenById = new Map<string, SeenEvent>();
  const keyOf = (workspaceId: string, eventId: string): string => `${workspaceId}\u0000${eventId}`;

  const remember = (workspaceId: string, eventId: string, seen: SeenEvent): void => {
    seenById.set(keyOf(workspaceId, eventId), seen);
    if (seenById.size <= EVENTS_MAX) return;
    for (const [key, oldest] of seenById) {
      if (oldest.durable !== undefined || oldest.appliedTo !== undefined) continue;
      seenById.delete(key);
      if (seenById.size <= EVENTS_MAX) return;
    }
  };

  return {
    find: (workspaceId, eventId) => seenById.get(keyOf(workspaceId, eventId)),
    remember,
    forget: (workspaceId, eventId) => void seenById.delete(keyOf(workspaceId, eventId)),
    unrecalled(workspaceId, reads) {
      const unseen = reads.filter((read) => read.eventIdGiven && !seenById.has(keyOf(workspaceId, read.event.event_id)));
      if (unseen.length === 0) return [];
      const known = store.knownEventIds(
        workspaceId,
        unseen.map((read) => read.event.event_id),
      );
      return known.size === 0 ? [] : unseen.filter((read) => known.has(read.event.event_id));
    },
    async recall(workspaceId, reads) {
      for (const read of reads) {
        const stored = await findStored(store, workspaceId, read);
        // Stored under another run or type: whatever it said, it was not this.
        remember(workspaceId, read.event.event_id, {
          fingerprint: stored === undefined ? '' : fingerprintOf(stored),
          durable: undefined,
          appliedTo: undefined,
        });
      }
    },
  };
}

function fingerprintOf(entry: EventEntry): string {
  const { fingerprint } = entry.event;
  return typeof fingerprint === 'string' ? fingerprint : '';
}

const PAGE = 1_000;

/** Looks where the first copy stands if it said the same: under the run and the type the event names. */
async function findStored(store: Pick<Store, 'entries'>, workspaceId: string, { event }: ReadEvent): Promise<EventEntry | undefined> {
  // A begin that was refused is not kept under its run.
  const places = event.type === 'run.started' && event.run_id !== undefined ? [event.run_id, undefined] : [event.run_id];
  for (const runId of places) {
    let beforeSeq: number | undefined;
    do {
      const page = await store.entries({ workspaceId, runId, types: [event.type], order: 'desc', beforeSeq, limit: PAGE });
      for (const { entry } of page) if (entry.type === 'event' && entry.eventId === event.event_id) return entry;
      beforeSeq = page.length < PAGE ? undefined : page.at(-1)?.seq;
    } while (beforeSeq !== undefined);
  }
  return undefined;
}
