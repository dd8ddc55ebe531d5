import { chat } from './chat.ts';
import { embeddings } from './embeddings.ts';
import { messages } from './messages.ts';
import { responses } from './responses.ts';
import type { Wire } from './wire.ts';

/** Every wire by the path its calls come in on. */
export const WIRES: ReadonlyMap<string, Wire> = new Map([chat, responses, embeddings, messages].map((wire) => [wire.path, wire]));

export { loadTokenizer } from './input-tokens.ts';
export type { BodyChange, JsonObject, ModelCall, ReplyFacts, StreamMeter, Wire } from './wire.ts';
