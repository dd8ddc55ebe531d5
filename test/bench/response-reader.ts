const HEAD_END = Buffer.from('\r\n\r\n');
const CRLF = Buffer.from('\r\n');

/**
 * Finds the ends of HTTP/1.1 replies in a connection's bytes: by content-length or chunked, trailers included. Lean on
 * purpose: it reads the status and the framing and nothing else.
 */
export class ResponseReader {
  #rest: Buffer = Buffer.alloc(0);
  /** Bytes still to skip of a body of known length. */
  #bodyLeft = 0;
  #state: 'head' | 'body' | 'chunk' | 'trailers' = 'head';
  #status = 0;
  readonly #onReply: (status: number) => void;

  constructor(onReply: (status: number) => void) {
    this.#onReply = onReply;
  }

  push(data: Buffer): void {
    let buffer = this.#rest.length === 0 ? data : Buffer.concat([this.#rest, data]);
    for (;;) {
      const used = this.#step(buffer);
      if (used === 0) break;
      buffer = buffer.subarray(used);
    }
    this.#rest = buffer;
  }

  /** Bytes taken; 0 when more must arrive first. */
  #step(buffer: Buffer): number {
    if (buffer.length === 0) return 0;
    switch (this.#state) {
      case 'head':
        return this.#readHead(buffer);
      case 'body': {
        const used = Math.min(this.#bodyLeft, buffer.length);
        this.#bodyLeft -= used;
        if (this.#bodyLeft === 0) this.#finish();
        return used;
      }
      case 'chunk': {
        const lineEnd = buffer.indexOf(CRLF);
        if (lineEnd < 0) return 0;
        const size = Number.parseInt(buffer.toString('latin1', 0, lineEnd), 16);
        if (Number.isNaN(size)) throw new Error('A chunk without a size.');
        if (size === 0) {
          this.#state = 'trailers';
          return lineEnd + 2;
        }
        const end = lineEnd + 2 + size + 2;
        return buffer.length < end ? 0 : end;
      }
      case 'trailers': {
        const lineEnd = buffer.indexOf(CRLF);
        if (lineEnd < 0) return 0;
        if (lineEnd === 0) this.#finish();
        return lineEnd + 2;
      }
    }
  }

  #readHead(buffer: Buffer): number {
    const end = buffer.indexOf(HEAD_END);
    if (end < 0) return 0;
    const head = buffer.toString('latin1', 0, end).toLowerCase();
    this.#status = Number(head.slice(9, 12));
    const at = head.indexOf('\r\ncontent-length:');
    if (at >= 0) {
      this.#bodyLeft = Number.parseInt(head.slice(at + 17), 10);
      this.#state = 'body';
      if (this.#bodyLeft === 0) this.#finish();
    } else if (head.includes('\r\ntransfer-encoding: chunked')) this.#state = 'chunk';
    else throw new Error(`A reply without framing: ${head.slice(0, 200)}`);
    return end + 4;
  }

  #finish(): void {
    this.#state = 'head';
    this.#onReply(this.#status);
  }
}
