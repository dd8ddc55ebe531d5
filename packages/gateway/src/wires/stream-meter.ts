import { createEventFinder, parseEvent } from './event-stream.ts';
import type { ReplyFacts, StreamMeter } from './wire.ts';

/** What a wire makes of its stream's events. */
export interface EventReader {
  /**
   * A cheap look at an event's raw bytes (as latin1 text): true when it held nothing but generated text, already
   * counted, or nothing at all. Most events end here, without being decoded or parsed.
   */
  skim(event: string): boolean;
  /** Reads an event in full. True when it is nothing but the usage that was asked for behind the caller's back. */
  read(name: string | undefined, data: string): boolean;
  /** An event too large to keep was passed on unread. */
  skipped(bytes: number): void;
  facts(): ReplyFacts;
}

const LF = 0x0a;
const CR = 0x0d;
/** Larger events are passed on unread, so that no stream fills memory. */
const EVENT_BYTES_MAX = 64 * 1024 * 1024;

/**
 * Meters a stream of server-sent events as it passes. What is handed on are the provider's own bytes: events are only
 * looked at, never written anew. With `hideUsage` an event is handed on once it is whole (a client can't read half of
 * one), without it at once.
 */
export function createStreamMeter(reader: EventReader, hideUsage: boolean): StreamMeter {
  const eventEnd = createEventFinder();
  /** The bytes of the event under way that earlier chunks brought. */
  let held: Buffer[] = [];
  let heldBytes = 0;
  let oversized = false;
  /** What became of an event that a chunk's end cut between CR and LF: the LF goes the same way. */
  let cutEvent: 'kept' | 'hidden' | undefined;

  /** True when the event may be handed on. `raw` is it as latin1 text, from `start` to `end` of `bytes`. */
  const look = (raw: string, bytes: Buffer, start: number, end: number): boolean => {
    if (reader.skim(raw)) return true;
    const { name, data } = parseEvent(bytes.toString('utf8', start, end));
    return data === undefined || !(reader.read(name, data) && hideUsage);
  };
  const lookAtWhole = (event: Buffer): boolean => look(event.toString('latin1'), event, 0, event.length);

  const hold = (part: Buffer): void => {
    held.push(part);
    heldBytes += part.length;
  };
  const release = (): Buffer => {
    const [only] = held;
    const whole = held.length === 1 && only !== undefined ? only : Buffer.concat(held, heldBytes);
    held = [];
    heldBytes = 0;
    return whole;
  };

  return {
    push(bytes) {
      const chunk = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      const text = chunk.toString('latin1');
      const handedOn: Buffer[] = [];
      /** Where the run of bytes that may be handed on, and is not yet, begins. */
      let runStart = 0;
      let at = 0;
      if (cutEvent !== undefined && chunk[0] === LF) {
        at = 1;
        runStart = cutEvent === 'hidden' ? 1 : 0;
      }
      cutEvent = undefined;
      while (at < chunk.length) {
        const end = eventEnd(text, at);
        if (end === -1) break;
        let keep = true;
        if (oversized) {
          reader.skipped(end - at);
          oversized = false;
        } else if (heldBytes > 0) {
          hold(chunk.subarray(at, end));
          const event = release();
          keep = lookAtWhole(event);
          if (keep) handedOn.push(event);
          runStart = end;
        } else {
          keep = look(text.slice(at, end), chunk, at, end);
          if (!keep) {
            if (at > runStart) handedOn.push(chunk.subarray(runStart, at));
            runStart = end;
          }
        }
        if (end === chunk.length && chunk[end - 1] === CR) cutEvent = keep ? 'kept' : 'hidden';
        at = end;
      }
      const rest = chunk.subarray(at);
      if (rest.length > 0 && oversized) {
        reader.skipped(rest.length);
      } else if (rest.length > 0) {
        if (at > runStart) handedOn.push(chunk.subarray(runStart, at));
        runStart = chunk.length;
        hold(rest);
        if (heldBytes > EVENT_BYTES_MAX) {
          oversized = true;
          reader.skipped(heldBytes);
          handedOn.push(release());
        }
      }
      if (!hideUsage || (runStart === 0 && handedOn.length === 0)) return chunk;
      if (runStart < chunk.length) handedOn.push(chunk.subarray(runStart));
      return joined(handedOn);
    },

    flush() {
      if (heldBytes === 0) return undefined;
      const rest = release();
      const keep = lookAtWhole(rest);
      return hideUsage && keep ? rest : undefined;
    },

    facts() {
      const facts = reader.facts();
      // Half an event may hold output; its bytes bound it.
      return heldBytes === 0 ? facts : { ...facts, outputBytes: facts.outputBytes + heldBytes };
    },
  };
}

function joined(parts: readonly Buffer[]): Buffer | undefined {
  if (parts.length === 0) return undefined;
  const [only] = parts;
  return parts.length === 1 && only !== undefined ? only : Buffer.concat(parts);
}
