import { GIVE_UP_MS, backoffMs } from './backoff.ts';
import { noticeId, noted, type Notice, type Noted } from './notice.ts';
import { readNoted, writeNotice, type NoticeSource } from './read-notices.ts';
import type { Sender, Sent } from './send.ts';
import { signedHeaders } from './sign.ts';
import type { LastDelivery, SubscriptionFile, Tried } from './subscription-file.ts';
import type { Parked, Subscription } from './subscription.ts';

export interface DelivererParts {
  readonly source: NoticeSource;
  readonly file: SubscriptionFile;
  readonly sender: Sender;
  readonly now: () => number;
  /** In [0, 1). */
  readonly random: () => number;
  /** How far the views are folded: notices are read up to there, so that nothing is folded for their sake. */
  readonly foldedSeq: () => number;
  /** False: its key was revoked, and it ends. */
  readonly isKeyValid: (keyId: string) => boolean;
  /** Faults of ours, in words. */
  readonly onFault: (fault: unknown) => void;
}

/** Tells subscriptions what happened. Holds a few notices in memory, whatever waits; everything else is in the file and the ledger. */
export interface Deliverer {
  /** Starts what there is to do, and returns at once. Called whenever something may have changed, and every moment. */
  tick(): void;
  /** Resolves when nothing is under way. */
  idle(): Promise<void>;
  add(subscription: Subscription): void;
  remove(subscriptionId: string): void;
  /** Up to here the subscription has nothing left to be told for the first time. */
  cursorOf(subscriptionId: string): number | undefined;
  /** Aborts what is under way: it is sent again after the next start. */
  close(): Promise<void>;
}

/** Notices of one subscription under way at once, and subscriptions at work at once. */
const NOTICES_AT_ONCE = 4;
const JOBS_MAX = 32;
/** Batches of one subscription in a row before others get a turn. */
const BATCHES_PER_JOB = 250;
/** Notices of one subscription that wait to be tried again; with so many its cursor stands still, and the ledger keeps the rest. */
const PARKED_MAX = 100;
/** Failures in a row after which a receiver counts as away: it gets what is due, one at a time, and nothing new. */
const AWAY_AFTER = 5;
/** An idle cursor is written down when it has moved this far; a restart looks at these entries again and finds nothing in them. */
const CURSOR_STRIDE = 5_000;
const REST_MS = 5_000;

/** `stopped`: closed or removed in between, nothing was written. */
type Told = 'delivered' | 'failed' | 'stopped';

const UNWRITTEN: Sent = { status: null, error: 'the notice could not be made; the gateway log has the cause' };

interface Known {
  readonly subscription: Subscription;
  /** Up to here there is nothing to tell; at least the file's cursor. */
  cursor: number;
  storedCursor: number;
  job: Promise<void> | undefined;
  /** After a fault of ours it rests for a moment. */
  restsUntil: number;
  readonly stop: AbortController;
}

export function createDeliverer(parts: DelivererParts): Deliverer {
  const { source, file, sender, now } = parts;
  const known = new Map<string, Known>();
  const jobs = new Set<Promise<void>>();
  let isClosed = false;
  /** Where the next tick begins: under load every subscription gets its turn. */
  let turn = 0;

  const add = (subscription: Subscription): void => {
    const cursor = file.standing(subscription.id)?.cursor;
    if (cursor === undefined || known.has(subscription.id)) return;
    known.set(subscription.id, { subscription, cursor, storedCursor: cursor, job: undefined, restsUntil: 0, stop: new AbortController() });
  };
  const remove = (id: string): void => {
    known.get(id)?.stop.abort();
    known.delete(id);
  };
  file.all().forEach(add);

  const hasWork = (one: Known): boolean => {
    const dueAt = file.nextDue(one.subscription.id);
    return (dueAt !== undefined && dueAt <= now()) || parts.foldedSeq() > one.cursor;
  };

  const work = async (one: Known): Promise<void> => {
    const { subscription } = one;
    const { id } = subscription;
    if (!parts.isKeyValid(subscription.keyId)) {
      file.remove(id);
      remove(id);
      return;
    }
    const standing = file.standing(id);
    if (standing === undefined) return remove(id);
    const isAway = standing.failures >= AWAY_AFTER;
    const due = file.due(id, now(), isAway ? 1 : NOTICES_AT_ONCE);
    if (due.length > 0) await tell(one, await Promise.all(due.map((parked) => again(one, parked))), undefined, isAway);
    if (standing.parked >= PARKED_MAX || (isAway && standing.parked > 0)) return;
    for (let batch = 1; batch <= BATCHES_PER_JOB && !one.stop.signal.aborted; batch += 1) {
      if (!(await tellNew(one, isAway))) return;
    }
  };

  /** True: all that was sent arrived, and there may be more. */
  const tellNew = async (one: Known, isAway: boolean): Promise<boolean> => {
    const { workspaceId, events, workflow, agent } = one.subscription;
    const upTo = parts.foldedSeq();
    if (upTo <= one.cursor) return false;
    const query = { workspaceId, types: events, workflow, agent };
    const page = await readNoted(source, query, { afterSeq: one.cursor }, isAway ? 1 : NOTICES_AT_ONCE);
    const cursor = page.isEnd ? Math.max(upTo, page.lastSeq ?? 0) : (page.lastSeq ?? one.cursor);
    let outcome: Told = 'delivered';
    if (page.noted.length > 0) {
      const batch = page.noted.map((fresh) => ({ fresh, parked: undefined }));
      outcome = await tell(one, batch, cursor, isAway);
      if (outcome === 'stopped') return false;
      one.storedCursor = cursor;
    } else if (cursor - one.storedCursor >= CURSOR_STRIDE) {
      file.moveCursor(one.subscription.id, cursor);
      one.storedCursor = cursor;
    }
    one.cursor = cursor;
    return outcome === 'delivered' && !page.isEnd;
  };

  /** A parked notice as its ledger entry tells it; an entry that is gone, or another now, has nothing to tell any more. */
  const again = async (one: Known, parked: Parked): Promise<{ fresh: Noted | undefined; parked: Parked }> => {
    const { workspaceId, events } = one.subscription;
    const [row] = await source.entries({ workspaceId, order: 'asc', afterSeq: parked.seq - 1, beforeSeq: parked.seq + 1, limit: 1 });
    if (row === undefined || noticeId(row) !== parked.noticeId) return { fresh: undefined, parked };
    const run = row.entry.runId === undefined ? undefined : await source.run(workspaceId, row.entry.runId);
    return { fresh: noted(row, run, events, {}), parked };
  };

  /** Sends a few notices side by side and writes down what became of each. */
  const tell = async (
    one: Known,
    batch: readonly { readonly fresh: Noted | undefined; readonly parked: Parked | undefined }[],
    cursor: number | undefined,
    wasAway: boolean,
  ): Promise<Told> => {
    const { id, url } = one.subscription;
    const secret = file.find(id)?.secret;
    if (secret === undefined) return 'stopped';
    let last: LastDelivery | undefined;
    const tried = await Promise.all(
      batch.map(async ({ fresh, parked }): Promise<Tried> => {
        const seq = fresh?.seq ?? parked?.seq ?? 0;
        const told = parked?.noticeId ?? fresh?.id ?? '';
        if (fresh === undefined) return { seq, noticeId: told, outcome: 'dropped' };
        const body = await bodyOf(fresh);
        const sent =
          body === undefined ? UNWRITTEN : await sender.send(url, signedHeaders(secret, fresh.id, now(), body), body, one.stop.signal);
        const at = now();
        // A success among failures says that the receiver is there.
        if (last?.error !== undefined || last === undefined) last = { at, status: sent.status, error: sent.error };
        if (sent.status === 410) one.stop.abort('gone');
        if (sent.error === undefined) return { seq, noticeId: told, outcome: 'delivered' };
        const attempts = (parked?.attempts ?? 0) + 1;
        const firstAt = parked?.firstAt ?? at;
        const nextAt = at + Math.max(backoffMs(attempts, parts.random), sent.retryAfterMs ?? 0);
        return { seq, noticeId: told, outcome: at - firstAt >= GIVE_UP_MS ? 'dropped' : { nextAt, attempts, firstAt } };
      }),
    );
    if (one.stop.signal.reason === 'gone') {
      file.remove(id);
      remove(id);
      return 'stopped';
    }
    if (isClosed || one.stop.signal.aborted) return 'stopped';
    file.record(id, tried, cursor, last, wasAway && last !== undefined && last.error === undefined);
    return tried.every(({ outcome }) => typeof outcome === 'string') ? 'delivered' : 'failed';
  };

  /** A notice that can't be made is tried again later like one that did not arrive, and holds up no other. */
  const bodyOf = async (one: Noted): Promise<string | undefined> => {
    try {
      return asciiJson((await writeNotice(source, one)) satisfies Notice);
    } catch (fault) {
      if (!isClosed) parts.onFault(fault);
      return undefined;
    }
  };

  const start = (one: Known): void => {
    const job = work(one)
      .catch((fault: unknown) => {
        one.restsUntil = now() + REST_MS;
        if (!isClosed) parts.onFault(fault);
      })
      .finally(() => {
        jobs.delete(job);
        one.job = undefined;
      });
    one.job = job;
    jobs.add(job);
  };

  return {
    tick() {
      if (isClosed) return;
      const all = [...known.values()];
      for (let looked = 0; looked < all.length && jobs.size < JOBS_MAX; looked += 1) {
        const one = all[(turn + looked) % all.length];
        if (one === undefined || one.job !== undefined || one.restsUntil > now() || !hasWork(one)) continue;
        start(one);
        turn = (turn + looked + 1) % all.length;
      }
    },
    async idle() {
      await Promise.all(jobs);
    },
    add,
    remove,
    cursorOf: (id) => known.get(id)?.cursor,
    async close() {
      isClosed = true;
      const all = [...known.values()];
      for (const one of all) one.stop.abort();
      await Promise.all(jobs);
      for (const one of all) {
        if (one.cursor > one.storedCursor && file.standing(one.subscription.id) !== undefined)
          file.moveCursor(one.subscription.id, one.cursor);
      }
    },
  };
}

/** JSON in ASCII alone: a receiver that reads the body in another charset still checks the signature over the same bytes. */
function asciiJson(value: unknown): string {
  return JSON.stringify(value).replace(/[\u007f-\uffff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
