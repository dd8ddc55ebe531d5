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
  const { statusCode, responseHeaders } = (error ?? {}) as { readonly statusCode?: unknown; readonly responseHeaders?: unknown };
  const requestId = requestIdOf(responseHeaders);
  if (isCancellation(error, signal)) return { error, status: 'aborted', requestId };
  const isAnswered = typeof statusCode === 'number' && statusCode >= 400;
  return { error, status: 'failed', requestId, usage: isAnswered ? { input_tokens: 0, output_tokens: 0 } : undefined };
}

/** The caller's AbortSignal ended it, which rejects with the signal's reason, whatever that is. A time-out is a failure. */
export function isCancellation(error: unknown, signal: AbortSignal | undefined): boolean {
  const name = (error as { readonly name?: unknown } | null | undefined)?.name;
  if (typeof name === 'string' && name.endsWith('TimeoutError')) return false;
  return name === 'AbortError' || name === 'ResponseAborted' || (signal?.aborted === true && signal.reason === error);
}

/** The bounds of a call's worst case. Only lengths are read off the prompt. */
export function boundsOf({ prompt, tools, responseFormat, maxOutputTokens }: ModelCallOptions): Partial<ModelCall> {
  return { maxOutputTokens, inputTokensMax: Buffer.byteLength(JSON.stringify([prompt, tools, responseFormat], asText)) };
}

/** Binary parts of a prompt are sent as base64. */
export function asText(_key: string, value: unknown): unknown {
  return value instanceof Uint8Array ? Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('base64') : value;
}

export function requestIdOf(headers: unknown): string | undefined {
  const id = (headers as Readonly<Record<string, unknown>> | null | undefined)?.['x-runpurse-request-id'];
  return typeof id === 'string' ? id : undefined;
}
