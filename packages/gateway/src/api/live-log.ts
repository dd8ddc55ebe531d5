import type { Clock } from '../gateway.ts';
import type { EntryFilter, Store } from '../store/store.ts';
import { logEntry } from './log-entry.ts';

const POLL_MS = 100;
const HEARTBEAT_MS = 15_000;
const PAGE = 500;
/** Streams one key may hold open; each costs a read when something was written. */
const STREAMS_PER_KEY_MAX = 20;

/** Live streams of the log. A stream ends when its reader leaves or the gateway closes. */
export interface LiveLog {
  /** Undefined: this key holds as many streams as it may. */
  open(keyId: string, filter: Omit<EntryFilter, 'limit' | 'order' | 'beforeSeq'>, readerGone: AbortSignal): Response | undefined;
}

/**
 * Server-sent events over the ledger. The store is asked only when its sequence number moved, and the next page only when
 * the reader took the last one, so a slow reader costs no memory.
 */
export function createLiveLog(store: Store, clock: Clock, closing: AbortSignal): LiveLog {
  const openByKey = new Map<string, number>();

  return {
    open(keyId, filter, readerGone) {
      const held = openByKey.get(keyId) ?? 0;
      if (held >= STREAMS_PER_KEY_MAX) return undefined;
      openByKey.set(keyId, held + 1);
      let isOpen = true;
      const cancelled = new AbortController();
      const done = AbortSignal.any([cancelled.signal, readerGone, closing]);
      const release = (): void => {
        if (!isOpen) return;
        isOpen = false;
        const left = (openByKey.get(keyId) ?? 1) - 1;
        if (left === 0) openByKey.delete(keyId);
        else openByKey.set(keyId, left);
      };
      done.addEventListener('abort', release, { once: true });
      const messages = follow(store, clock, filter, done);
      const encoder = new TextEncoder();
      const body = new ReadableStream<Uint8Array>({
        async pull(controller) {
          try {
            const next = await messages.next();
            if (next.done === true) {
              release();
              controller.close();
            } else controller.enqueue(encoder.encode(next.value));
          } catch (error) {
            release();
            controller.error(error);
          }
        },
        cancel: () => cancelled.abort(),
      });
      return new Response(body, {
        headers: { 'content-type': 'text/event-stream; charset=utf-8', 'cache-control': 'no-store', 'x-accel-buffering': 'no' },
      });
    },
  };
}

async function* follow(
  store: Store,
  clock: Clock,
  filter: Omit<EntryFilter, 'limit' | 'order' | 'beforeSeq'>,
  done: AbortSignal,
): AsyncGenerator<string, void, undefined> {
  let after = filter.afterSeq ?? store.lastSeq;
  let quietSince = clock.now();
  yield ': runpurse live log\n\n';
  while (!done.aborted) {
    const upTo = store.lastSeq;
    if (upTo > after) {
      const page = await store.entries({ ...filter, afterSeq: after, order: 'asc', limit: PAGE });
      for (const row of page) {
        yield `id: ${row.seq}\nevent: ${row.entry.type}\ndata: ${JSON.stringify(logEntry(row))}\n\n`;
        after = row.seq;
        if (done.aborted) return;
      }
      // While the ledger can't be written, what was numbered may still come.
      if (page.length < PAGE && !store.failing) after = Math.max(after, upTo);
      if (page.length > 0) {
        quietSince = clock.now();
        continue;
      }
    }
    if (clock.now() - quietSince >= HEARTBEAT_MS) {
      quietSince = clock.now();
      yield ': still here\n\n';
    }
    await pause(POLL_MS, done);
  }
}

/** Waits, or wakes at once when the stream is done. */
function pause(ms: number, done: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (done.aborted) return resolve();
    const wake = (): void => {
      clearTimeout(timer);
      done.removeEventListener('abort', wake);
      resolve();
    };
    const timer = setTimeout(wake, ms);
    done.addEventListener('abort', wake);
  });
}
