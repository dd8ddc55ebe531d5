import { z } from 'zod';

const count = z.number().int().nonnegative();

/** Usage a scripted reply claims, in the same disjoint classes as the ledger. What is left out is counted from the text. */
const scriptedUsage = z.strictObject({
  /** Input tokens neither read from nor written to a cache. */
  input_tokens: count.optional(),
  cache_read_tokens: count.default(0),
  cache_write_5m_tokens: count.default(0),
  cache_write_1h_tokens: count.default(0),
  output_tokens: count.optional(),
  /** Part of `output_tokens`. */
  reasoning_tokens: count.default(0),
  web_searches: count.default(0),
});

const scriptedError = z.strictObject({
  /** HTTP status of an error before the first byte. */
  status: z.number().int().min(400).max(599).default(500),
  /** Fails after this many pieces of content instead of before the first byte; then `status` is never seen. */
  after_chunks: count.optional(),
  /** With `after_chunks`: the connection breaks (`cut`), or the stream reports an error of its own (`event`). */
  how: z.enum(['cut', 'event']).default('cut'),
  message: z.string().default('The sandbox was scripted to fail here.'),
  type: z.string().default('server_error'),
  code: z.string().optional(),
  /** Extra reply headers, such as `retry-after`. */
  headers: z.record(z.string(), z.string()).default({}),
});

/** One scripted answer of the model. */
export const scriptedReply = z.strictObject({
  text: z.string().optional(),
  tool_calls: z
    .array(
      z.strictObject({
        name: z.string().min(1),
        arguments: z.union([z.string(), z.record(z.string(), z.unknown())]).default({}),
        id: z.string().min(1).optional(),
      }),
    )
    .optional(),
  /** `null`: the reply holds no usage at all. */
  usage: scriptedUsage.nullable().optional(),
  finish_reason: z.enum(['stop', 'length', 'tool_calls', 'content_filter']).optional(),
  /** The model that says it answered, when it differs from the one asked for. */
  model: z.string().min(1).optional(),
  error: scriptedError.optional(),
  /** Wait before the first byte. */
  delay_ms: count.max(600_000).default(0),
  /** Wait before each further piece of a stream. */
  chunk_delay_ms: count.max(60_000).default(0),
});
export type ScriptedReply = z.infer<typeof scriptedReply>;

/** One turn of the model: its reply, or one reply per attempt (the last one answers every further attempt). */
const scriptedTurn = z.union([scriptedReply, z.array(scriptedReply).min(1)]);
const scriptedTurns = z.array(scriptedTurn).min(1);
export type ScriptedTurns = z.infer<typeof scriptedTurns>;

/**
 * What a model of the sandbox says. A list of turns is indexed by the assistant turns already in the conversation.
 * With `cases`, the first whose text occurs in the last user message speaks, and turns count from that message.
 */
export const sandboxScript = z.union([
  scriptedTurns,
  z.strictObject({
    cases: z.array(z.strictObject({ prompt_contains: z.string().min(1), turns: scriptedTurns })).min(1),
    turns: scriptedTurns.optional(),
  }),
]);
export type SandboxScript = z.infer<typeof sandboxScript>;

/** Scripts by model name, as the provider is asked for it (without `sandbox/`). */
export const sandboxScripts = z.record(z.string().min(1), sandboxScript);
export type SandboxScripts = z.infer<typeof sandboxScripts>;

/** Where a conversation stands, for choosing the reply. */
export interface ConversationPlace {
  /** Assistant turns in the whole conversation, and since the last user message. */
  readonly turn: number;
  readonly turnSinceUser: number;
  readonly lastUserText: string;
  /** 1 for the first try. */
  readonly attempt: number;
}

/** The scripted reply for this place; `undefined` when the script has nothing to say (the echo answers). */
export function chooseReply(script: SandboxScript | undefined, place: ConversationPlace): ScriptedReply | undefined {
  if (script === undefined) return undefined;
  if (Array.isArray(script)) return replyAt(script, place.turn, place.attempt);
  const found = script.cases.find((one) => place.lastUserText.includes(one.prompt_contains));
  if (found !== undefined) return replyAt(found.turns, place.turnSinceUser, place.attempt);
  return script.turns === undefined ? undefined : replyAt(script.turns, place.turn, place.attempt);
}

/** Past its end a script repeats its last turn, and a turn its last attempt: that is how a runaway agent is scripted. */
function replyAt(turns: ScriptedTurns, turn: number, attempt: number): ScriptedReply | undefined {
  const found = turns[Math.min(turn, turns.length - 1)];
  return Array.isArray(found) ? found[Math.min(attempt, found.length) - 1] : found;
}
