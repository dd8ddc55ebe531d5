import type { ModelCall, ModelResult } from '../run/run.ts';
import { usageOf, type ModelUsage, type ProviderMetadata } from './usage.ts';

/** What a model call turned out to be, put together from a reply or from the parts of a stream. */
export type Answer = Pick<ModelResult, 'usage' | 'error' | 'status' | 'requestId'> & { readonly model?: string | undefined };

/** What is read of a model's reply. */
export interface ModelReply {
  readonly usage?: ModelUsage | undefined;
  readonly providerMetadata?: ProviderMetadata | undefined;
  readonly response?: { readonly modelId?: string | undefined; readonly headers?: unknown } | undefined;
}

/** What is read of a part of a streamed reply. */
export interface ModelStreamPart {
  readonly type: string;
  readonly modelId?: string | undefined;
  readonly usage?: ModelUsage | undefined;
  readonly providerMetadata?: ProviderMetadata | undefined;
  readonly error?: unknown;
}

/** What is read of a call's options. */
export interface ModelCallOptions {
  readonly prompt: unknown;
  readonly tools?: unknown;
  readonly responseFormat?: unknown;
  readonly maxOutputTokens?: number | undefined;
  readonly providerOptions?: unknown;
}

export function answerOf({ usage, providerMetadata, response }: ModelReply): Answer {
  return { usage: usageOf(usage, providerMetadata), model: response?.modelId, requestId: requestIdOf(response?.headers) };
}

/** What a stream's parts add to what is known of its call. The model says what it used in `finish`, what failed in `error`. */
export function answerWith(answer: Answer, part: ModelStreamPart): Answer {
  switch (part.type) {
    case 'response-metadata':
      return { ...answer, model: part.modelId ?? answer.model };
    case 'finish':
      return { ...answer, usage: usageOf(part.usage, part.providerMetadata) ?? answer.usage };
    case 'error':
      return { ...answer, error: part.error };
    default:
      return answer;
  }
}

/** How a failed call ended. A provider that answered with an error bills nothing; what a lost or broken one did is unknown. */
export function failureOf(error: unknown, signal: AbortSignal | undefined): Answer {
  const { statusCode, responseHeaders } = read(error);
  const requestId = requestIdOf(responseHeaders);
  if (isCancellation(error, signal)) return { error, status: 'aborted', requestId };
  const isAnswered = typeof statusCode === 'number' && statusCode >= 400;
  return { error, status: 'failed', requestId, usage: isAnswered ? { input_tokens: 0, output_tokens: 0 } : undefined };
}

interface ReadError {
  readonly name?: unknown;
  readonly statusCode?: unknown;
  readonly responseHeaders?: unknown;
  readonly code?: unknown;
  readonly syscall?: unknown;
  readonly cause?: unknown;
}

/** Anything can be thrown; of what has getters that throw nothing is known. */
function read(error: unknown): ReadError {
  try {
    const { name, statusCode, responseHeaders, code, syscall, cause } = (error ?? {}) as ReadError;
    return { name, statusCode, responseHeaders, code, syscall, cause };
  } catch {
    return {};
  }
}

/** The caller's AbortSignal ended it, which rejects with the signal's reason, whatever that is. A time-out is a failure. */
export function isCancellation(error: unknown, signal: AbortSignal | undefined): boolean {
  const { name } = read(error);
  if (typeof name === 'string' && name.endsWith('TimeoutError')) return false;
  return name === 'AbortError' || name === 'ResponseAborted' || (signal?.aborted === true && signal.reason === error);
}

/** Of a connection that was never made. */
const UNSENT = new Set<unknown>(['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH', 'UND_ERR_CONNECT_TIMEOUT']);
const CAUSES_MAX = 8;

/**
 * Whether the error, or what caused it, shows that nobody was reached. It proves that nothing was sent, and so that nothing
 * was billed, where a call is one request and has no answer yet.
 */
export function isUnsent(error: unknown): boolean {
  let cause = error;
  for (let depth = 0; depth <= CAUSES_MAX && typeof cause === 'object' && cause !== null; depth += 1) {
    const { code, syscall, cause: next } = read(cause);
    // A network also becomes unreachable under a connection that was made: then the error is one of reading or writing.
    if (UNSENT.has(code) && syscall !== 'read' && syscall !== 'write') return true;
    cause = next;
  }
  return false;
}

/** The bounds of a call's worst case. Only lengths are read off the prompt. */
export function boundsOf({ prompt, tools, responseFormat, maxOutputTokens, providerOptions }: ModelCallOptions): Partial<ModelCall> {
  return {
    maxOutputTokens: mostOutput(maxOutputTokens, providerOptions),
    inputTokensMax: Buffer.byteLength(JSON.stringify([prompt, tools, responseFormat], asText)),
  };
}

/** Binary parts of a prompt are sent as base64. */
export function asText(this: unknown, key: string, value: unknown): unknown {
  // A Buffer comes here as the list of numbers that its toJSON made of it.
  const own = (this as Readonly<Record<string, unknown>> | undefined)?.[key] ?? value;
  return own instanceof Uint8Array ? Buffer.from(own.buffer, own.byteOffset, own.byteLength).toString('base64') : value;
}

const OUTPUT_LIMITS = ['max_tokens', 'max_completion_tokens', 'max_output_tokens', 'maxTokens', 'maxCompletionTokens', 'maxOutputTokens'];

/** Options that go past the SDK to the provider may raise the limit, and ask for several answers of that length. */
function mostOutput(stated: number | undefined, providerOptions: unknown): number | undefined {
  const sets = Object.values((providerOptions ?? {}) as Readonly<Record<string, unknown>>).filter(
    (set): set is Readonly<Record<string, unknown>> => typeof set === 'object' && set !== null,
  );
  const stating = (names: readonly string[]): unknown[] => sets.flatMap((set) => names.map((name) => set[name]));
  return outputMax([stated, ...stating(OUTPUT_LIMITS)], stating(['n']));
}

/** More than any model writes at once. */
const ANSWER_TOKENS_MAX = 1_000_000;

/**
 * What the answers of a call may be together: of its limits the highest, times as many as it asks for. Of one without a
 * limit the gateway knows the model's own; one that is stated and is no number takes the limit away.
 */
export function outputMax(limits: readonly unknown[], answers: readonly unknown[]): number | undefined {
  const isStated = (value: unknown): value is number => typeof value === 'number' && value > 0;
  const stated = limits.filter((limit) => limit !== undefined);
  const count = Math.max(1, ...answers.filter(isStated));
  if (stated.length === 0 || !stated.every(isStated)) return count === 1 ? undefined : count * ANSWER_TOKENS_MAX;
  return Math.max(...stated) * count;
}

export function requestIdOf(headers: unknown): string | undefined {
  const id = (headers as Readonly<Record<string, unknown>> | null | undefined)?.['x-runpurse-request-id'];
  return typeof id === 'string' ? id : undefined;
}
