import type { Nanos, Refusal } from '@runpurse/core';
import type { Usage } from '../store/entry.ts';

/** A parsed JSON object as it came from a caller or provider; read with care, never trusted. */
export type JsonObject = { readonly [key: string]: unknown };

/** What admission must know of a model call, read from its body. Every bound is an UPPER bound. */
export interface ModelCall {
  /** As the caller wrote it: `provider/model` or a bare name. */
  readonly model: string;
  readonly stream: boolean;
  /** Upper bound of input tokens from bytes and stated bounds of images, files, audio; free of cost to compute. */
  readonly inputTokensMax: number;
  /** Output limit the caller set (`max_tokens`, `max_completion_tokens`, `max_output_tokens`), for ONE choice. */
  readonly outputTokensLimit: number | undefined;
  /** The lowest output limit the provider takes: a call is not clamped below it. Left out: 1. */
  readonly outputTokensLeast?: number | undefined;
  /** `n`; 1 where the wire has no such thing; 0 when nothing is generated (embeddings). */
  readonly choices: number;
  /** Upper bound of built-in tool uses that are billed apart (web search), 0 when none is asked for. */
  readonly webSearchesMax: number;
  /** True when the caller asked for the usage chunk in a stream himself. */
  readonly wantsStreamUsage: boolean;
  /** True when the call may answer with audio (priced apart). */
  readonly audioOutput: boolean;
  /** The provider adds input we can't see (stored history, files): only the model's context window bounds it. */
  readonly inputUnbounded?: true | undefined;
  /** How often the provider may read the input within this one call (its own tools loop); 1 when left out. */
  readonly turnsMax?: number | undefined;
  /** Something asked for has no stated bound; a hard budget must refuse the call and say this. */
  readonly unbounded?: { readonly param: string; readonly reason: string } | undefined;
  /** The dearest cache write the call can cause; left out: none. */
  readonly cacheWrite?: '5m' | '1h' | undefined;
  /** How many of the input tokens may be audio (priced apart). */
  readonly audioInputTokensMax?: number | undefined;
  /** Output tokens billed beyond the limit, per choice (a rejected prediction). */
  readonly outputTokensExtra?: number | undefined;
  /** The dearest service tier the call may be served in, in percent of the list price; 100 when left out. */
  readonly ratePercentMax?: number | undefined;
  /** The model may generate tokens nobody sees: bytes of output then do not bound what an unfinished reply cost. */
  readonly hiddenReasoning?: true | undefined;
  /** Every call is billed `webSearchesMax` searches and the reply does not count them. */
  readonly webSearchesUnreported?: true | undefined;
  /** Models the body lets the provider answer with instead; null: one it does not name. */
  readonly otherModels?: readonly (string | null)[] | undefined;
  /** Upper bound of flat fees (containers, file searches). */
  readonly feesMax?: Nanos | undefined;
}

/** Changes that admission makes to a body; everything else stays byte for byte as the caller sent it. */
export interface BodyChange {
  readonly model?: string | undefined;
  /** The clamped output limit, for one choice. */
  readonly outputTokensLimit?: number | undefined;
  /** Ask for the usage chunk of a stream. */
  readonly streamUsage?: true | undefined;
}

/** What a finished reply says about itself. */
export interface ReplyFacts {
  readonly model: string | undefined;
  /** `undefined`: the reply holds no usage. */
  readonly usage: Usage | undefined;
  /** Bytes of generated text and tool arguments seen, to bound what an unfinished or usage-less reply cost. */
  readonly outputBytes: number;
  /** The stream said it was complete (`[DONE]`, `message_stop`, `response.completed`); always true for plain replies. */
  readonly complete: boolean;
  /** The provider reported an error inside a stream. */
  readonly error: string | undefined;
  /** The usage covers the whole reply, even when the stream broke after it. */
  readonly usageFinal?: true | undefined;
  /** The work goes on after this reply (`background`), so what it costs can't be known from it. */
  readonly pending?: true | undefined;
  /** Service tier that served the call, in percent of the list price, when the reply states one. */
  readonly ratePercent?: number | undefined;
  /** Flat fees of built-in tools the reply shows as used. */
  readonly fees?: Nanos | undefined;
}

/** Reads a stream as it passes. `push` returns what to hand on to the caller (the hidden usage chunk is left out). */
export interface StreamMeter {
  push(chunk: Uint8Array): Uint8Array | undefined;
  /** Bytes still kept back when the stream ended. */
  flush(): Uint8Array | undefined;
  facts(): ReplyFacts;
}

/** One wire format of model traffic. Adding one is adding a file here and a row in `WIRES`. */
export interface Wire {
  readonly name: 'chat' | 'responses' | 'embeddings' | 'messages';
  readonly path: string;
  /** Which provider kinds speak it. */
  readonly providerKind: 'openai' | 'anthropic';
  readCall(
    body: JsonObject,
    bodyBytes: number,
  ): { readonly type: 'call'; readonly call: ModelCall } | { readonly type: 'invalid'; readonly refusal: Refusal };
  /** The body with the changes spliced in; unread bytes untouched. */
  changeBody(text: string, body: JsonObject, change: BodyChange): string;
  readReply(body: JsonObject): ReplyFacts;
  meterStream(options: { readonly hideUsage: boolean }): StreamMeter;
  /** Exact or conservative token count of the input with a tokenizer, for when the byte bound does not fit a budget. */
  countInputTokens(body: JsonObject, model: string): number;
  /** A refusal as this wire's clients read it (OpenAI envelope; `/v1/messages` adds Anthropic's `type`). */
  refusalBody(refusal: Refusal, requestId: string | undefined): JsonObject;
}
