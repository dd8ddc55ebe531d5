const LF = 0x0a;
const CR = 0x0d;

/**
 * Finds where server-sent events end, across chunks cut anywhere and with any of the three line ends of the standard.
 * Chunks are given as latin1 text, whose index is that of the bytes. Searches natively for line feeds and goes byte by
 * byte only where carriage returns are about.
 */
export function createEventFinder(): (chunk: string, from: number) => number {
  let atLineStart = true;
  let afterCR = false;
  let searched: string | undefined;
  let hasCR = false;

  /** The index after the next event's last byte, or -1 when it does not end in this chunk. */
  return (chunk, from) => {
    if (searched !== chunk) {
      searched = chunk;
      hasCR = chunk.includes('\r');
    }
    if (!afterCR && !hasCR) {
      let at = from;
      while (at < chunk.length) {
        if (atLineStart && chunk.charCodeAt(at) === LF) return at + 1;
        const feed = chunk.indexOf('\n', at);
        if (feed === -1) {
          atLineStart = false;
          return -1;
        }
        atLineStart = true;
        at = feed + 1;
      }
      return -1;
    }
    for (let at = from; at < chunk.length; at += 1) {
      const byte = chunk.charCodeAt(at);
      if (byte === LF && afterCR) {
        afterCR = false;
        continue;
      }
      afterCR = byte === CR;
      if (byte !== LF && byte !== CR) {
        atLineStart = false;
        continue;
      }
      if (atLineStart) {
        // The line feed of a CRLF belongs to the event when it is here already.
        if (afterCR && chunk.charCodeAt(at + 1) === LF) {
          afterCR = false;
          return at + 2;
        }
        return at + 1;
      }
      atLineStart = true;
    }
    return -1;
  };
}

export interface ServerSentEvent {
  readonly name: string | undefined;
  /** Undefined for comments and blank events. */
  readonly data: string | undefined;
}

/** One event's lines: comments are left out, `data` lines joined, as the standard reads them. */
export function parseEvent(text: string): ServerSentEvent {
  let name: string | undefined;
  let data: string | undefined;
  for (const line of text.split(/\r\n|\n|\r/)) {
    const bare = line.charCodeAt(0) === 0xfeff ? line.slice(1) : line;
    const colon = bare.indexOf(':');
    if (colon <= 0) continue;
    const field = bare.slice(0, colon);
    const value = bare.charCodeAt(colon + 1) === 0x20 ? bare.slice(colon + 2) : bare.slice(colon + 1);
    if (field === 'data') data = data === undefined ? value : `${data}\n${value}`;
    else if (field === 'event') name = value;
  }
  return { name, data };
}
