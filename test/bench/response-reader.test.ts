import { describe, expect, it } from '@jest/globals';
import { ResponseReader } from './response-reader.ts';

const PLAIN = 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nx-a: b\r\n\r\nhello';
const EMPTY = 'HTTP/1.1 402 Payment Required\r\ncontent-length: 0\r\n\r\n';
const CHUNKED = 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\na;x=y\r\n0123456789\r\n0\r\n\r\n';
const TRAILED = 'HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n0\r\n\r\n0\r\nx-cost: 1\r\nx-state: ok\r\n\r\n';

function statuses(pieces: readonly string[]): number[] {
  const seen: number[] = [];
  const reader = new ResponseReader((status) => seen.push(status));
  for (const piece of pieces) reader.push(Buffer.from(piece));
  return seen;
}

describe('the load generator', () => {
  it.each([
    ['a length', PLAIN, 200],
    ['an empty body', EMPTY, 402],
    ['chunks', CHUNKED, 200],
    ['trailers', TRAILED, 201],
  ])('finds the end of a reply with %s, however it is cut', (_, reply, status) => {
    for (let cut = 1; cut < reply.length; cut += 1) {
      expect(statuses([reply.slice(0, cut)])).toEqual([]);
      expect(statuses([reply.slice(0, cut), reply.slice(cut)])).toEqual([status]);
    }
    expect(statuses([...reply])).toEqual([status]);
  });

  it('counts replies that come in one piece', () => {
    expect(statuses([PLAIN + EMPTY + CHUNKED + TRAILED + PLAIN])).toEqual([200, 402, 200, 201, 200]);
  });

  it('refuses a reply it cannot find the end of', () => {
    expect(() => statuses(['HTTP/1.1 200 OK\r\n\r\n'])).toThrow(/without framing/);
  });
});
