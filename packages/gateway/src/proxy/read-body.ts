import type { IncomingMessage } from 'node:http';
import type { Refusal } from '@runpurse/core';

export type ReadBody =
  { readonly type: 'read'; readonly text: string } | { readonly type: 'refused'; readonly refusal: Refusal } | { readonly type: 'gone' };

/** The whole request body as text, at most `maxBytes` of it. `gone`: the caller left before it was complete. */
export function readBody(request: IncomingMessage, maxBytes: number): Promise<ReadBody> {
  const encoding = request.headers['content-encoding'];
  if (encoding !== undefined && encoding !== 'identity') {
    request.resume();
    return Promise.resolve({
      type: 'refused',
      refusal: {
        code: 'invalid_request',
        message: `The request body is ${encoding}-encoded; send it uncompressed.`,
        param: 'content-encoding',
      },
    });
  }
  const tooLarge: ReadBody = {
    type: 'refused',
    refusal: {
      code: 'request_too_large',
      message: `The request body is larger than ${maxBytes} bytes, the most this gateway takes (limits.max_request_bytes). Nothing was called or charged. Send less, or ask the operator to raise the limit.`,
      details: { max_request_bytes: maxBytes },
    },
  };
  if (Number(request.headers['content-length'] ?? 0) > maxBytes) return Promise.resolve(tooLarge);

  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    request.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > maxBytes) {
        request.pause();
        request.removeAllListeners('data');
        resolve(tooLarge);
        return;
      }
      chunks.push(chunk);
    });
    request.on('end', () =>
      resolve({
        type: 'read',
        text: (chunks.length === 1 ? (chunks[0] ?? Buffer.alloc(0)) : Buffer.concat(chunks, bytes)).toString('utf8'),
      }),
    );
    request.on('error', () => resolve({ type: 'gone' }));
    request.on('close', () => resolve({ type: 'gone' }));
  });
}
