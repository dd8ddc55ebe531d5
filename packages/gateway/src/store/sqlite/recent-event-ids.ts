import type { Entry } from '../entry.ts';

/** Ids of events that were appended and are not folded yet: an event sent twice at once is still seen twice. */
export interface RecentEventIds {
  /** Takes note of the events among `entries`, whose last has `lastSeq`. If `durable` rejects they were never accepted. */
  note(entries: readonly Entry[], lastSeq: number, durable: Promise<void> | undefined): void;
  forgetThrough(foldedSeq: number): void;
  addKnown(workspaceId: string, eventIds: readonly string[], known: Set<string>): ReadonlySet<string>;
}

export function createRecentEventIds(): RecentEventIds {
  const seqs = new Map<string, number>();
  return {
    note(entries, lastSeq, durable) {
      let noted: string[] | undefined;
      for (const [index, entry] of entries.entries()) {
        if (entry.type !== 'event' || entry.dedupe !== true) continue;
        const key = keyOf(entry.workspaceId, entry.eventId);
        // Deleted first, so that the map stays in the order of the numbers.
        seqs.delete(key);
        seqs.set(key, lastSeq - entries.length + 1 + index);
        (noted ??= []).push(key);
      }
      if (noted === undefined || durable === undefined) return;
      const keys = noted;
      durable.catch(() => {
        for (const key of keys) {
          const seq = seqs.get(key);
          if (seq !== undefined && seq <= lastSeq && seq > lastSeq - entries.length) seqs.delete(key);
        }
      });
    },
    forgetThrough(foldedSeq) {
      for (const [key, seq] of seqs) {
        if (seq > foldedSeq) return;
        seqs.delete(key);
      }
    },
    addKnown(workspaceId, eventIds, known) {
      for (const eventId of eventIds) if (seqs.has(keyOf(workspaceId, eventId))) known.add(eventId);
      return known;
    },
  };
}

const keyOf = (workspaceId: string, eventId: string): string => `${workspaceId}\u0000${eventId}`;
