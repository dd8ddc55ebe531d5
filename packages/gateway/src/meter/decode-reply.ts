import { brotliDecompressSync, gunzipSync, inflateSync } from 'node:zlib';
import type { JsonObject, ReplyFacts, Wire } from '../wires/wire.ts';

/** A reply that says nothing about itself. */
const SILENT: ReplyFacts = { model: undefined, usage: undefined, outputBytes: 0, complete: true, error: undefined };

const DECODERS: Readonly<Record<string, (body: Buffer) => Buffer>> = {
  gzip: (body) => gunzipSync(body),
  deflate: (body) => inflateSync(body),
  br: (body) => brotliDecompressSync(body),
};

/**
 * What a whole reply says about itself. We ask providers for uncompressed replies; one that compresses all the same is
 * decoded for metering and passed on as it came. `text` is the body as text where the caller has it. A reply that can't be read has produced its whole length.
 */
export function decodeReply(wire: Wire, body: Buffer, text: string | undefined, encoding: string | undefined): ReplyFacts {
  const decoder = encoding === undefined || encoding === 'identity' ? undefined : DECODERS[encoding];
  try {
    const parsed: unknown = JSON.parse(decoder === undefined ? (text ?? body.toString('utf8')) : decoder(body).toString('utf8'));
    if (typeof parsed === 'object' && parsed !== null && !Array.isArray(parsed)) return wire.readReply(parsed as JsonObject);
  } catch {
    // Falls through: charged for what was produced.
  }
  return { ...SILENT, outputBytes: body.length };
}
