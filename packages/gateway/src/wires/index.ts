import { chat } from './chat.ts';
import { embeddings } from './embeddings.ts';
import { messages } from './messages.ts';
import { responses } from './responses.ts';
import type { Wire } from './wire.ts';

/** Every wire by the path its calls come in on. */
export const WIRES: ReadonlyMap<string, Wire> = new Map(
  [chat, responses, embeddings, messages].map((wire) => [wire.path, withinDepth(wire)]),
);

/** Bodies nested deeper than the stack is deep are a caller's mistake, not a fault of ours. */
function withinDepth(wire: Wire): Wire {
  return {
    ...wire,
    readCall: (body, bodyBytes) =>
      unlessTooDeep(() => wire.readCall(body, bodyBytes), {
        type: 'invalid',
        refusal: { code: 'invalid_request', message: 'The request body is nested too deeply to be read.' },
      }),
    // Too many to fit: the bound by bytes stays.
    countInputTokens: (body, model) => unlessTooDeep(() => wire.countInputTokens(body, model), Number.MAX_SAFE_INTEGER),
  };
}

function unlessTooDeep<T>(read: () => T, tooDeep: T): T {
  try {
    return read();
  } catch (fault) {
    if (fault instanceof RangeError) return tooDeep;
    throw fault;
  }
}

export { loadTokenizer } from './input-tokens.ts';
export { parseJson } from './parse-json.ts';
export type { BodyChange, JsonObject, ModelCall, ReplyFacts, StreamMeter, Wire } from './wire.ts';
