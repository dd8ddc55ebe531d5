import type { Refusal } from '@runpurse/core';
import { parseJson } from '../wires/parse-json.ts';

export type Body =
  | { readonly type: 'json'; readonly value: unknown; readonly bytes: number }
  | { readonly type: 'empty' }
  | { readonly type: 'refused'; readonly refusal: Refusal };

/** Reads a request's JSON body, no further than `bytesMax`. */
export async function readJsonBody(request: Request, bytesMax: number): Promise<Body> {
  const read = await readBytes(request, bytesMax);
  if (read.type === 'refused') return read;
  if (read.bytes.byteLength === 0) return { type: 'empty' };
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(read.bytes);
  } catch {
    return {
      type: 'refused',
      refusal: { code: 'invalid_json', message: 'The request body is not valid UTF-8 text. Send JSON encoded as UTF-8.' },
    };
  }
  try {
    return { type: 'json', value: parseJson(text), bytes: read.bytes.byteLength };
  } catch (error) {
    return {
      type: 'refused',
      refusal: { code: 'invalid_json', message: `The request body is not valid JSON: ${where(error)}. Nothing was done.` },
    };
  }
}

/** The parser's own words without the snippet of the body it quotes: a message never holds a caller's content. */
function where(error: unknown): string {
  const message = error instanceof Error ? error.message : '';
  const position = /at position (\d+)/.exec(message)?.[1];
  if (position !== undefined) return `the mistake is at character ${position}`;
  return message.includes('end of JSON') ? 'it ends too early' : 'it could not be parsed';
}

async function readBytes(
  request: Request,
  bytesMax: number,
): Promise<{ readonly type: 'bytes'; readonly bytes: Uint8Array } | { readonly type: 'refused'; readonly refusal: Refusal }> {
  const tooLarge = {
    type: 'refused' as const,
    refusal: {
      code: 'request_too_large' as const,
      message: `The request body is larger than the ${bytesMax} bytes this route takes. Send less at once.`,
      details: { limit_bytes: bytesMax },
    },
  };
  const stated = Number(request.headers.get('content-length') ?? 0);
  if (stated > bytesMax) return tooLarge;
  if (request.body === null) return { type: 'bytes', bytes: new Uint8Array() };
  const chunks: Uint8Array[] = [];
  let size = 0;
  try {
    for await (const chunk of request.body as AsyncIterable<Uint8Array>) {
      size += chunk.byteLength;
      if (size > bytesMax) return tooLarge;
      chunks.push(chunk);
    }
  } catch {
    // The caller left, or what it sent is no body; most likely nobody reads this.
    return {
      type: 'refused',
      refusal: { code: 'invalid_request', message: 'The request body ended before it was whole. Nothing was done.' },
    };
  }
  return { type: 'bytes', bytes: Buffer.concat(chunks, size) };
}
