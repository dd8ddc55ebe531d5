import { usageOfTotals, type ModelCall, type ModelResult, type ReportedUsage } from '@runpurse/core';
import type { wrapLanguageModel } from 'ai';

/** A language model as the AI SDK calls it (specification V4; older ones are adapted by the SDK before we see them). */
export type Model = ReturnType<typeof wrapLanguageModel>;
export type CallOptions = Parameters<Model['doGenerate']>[0];
export type Generated = Awaited<ReturnType<Model['doGenerate']>>;
export type Streamed = Awaited<ReturnType<Model['doStream']>>;
export type StreamPart = Streamed['stream'] extends ReadableStream<infer Part> ? Part : never;
export type Usage = Generated['usage'];

/** What a model call turned out to be, put together from a reply or from the parts of a stream. */
export type Answer = Pick<ModelResult, 'usage' | 'error' | 'status' | 'requestId'> & { readonly model?: string | undefined };

/** Parts of a provider's own usage that the AI SDK's classes have no place for, but a price list has. */
interface RawUsage {
  readonly cache_creation?: { readonly ephemeral_1h_input_tokens?: number | null } | null;
  readonly server_tool_use?: { readonly web_search_requests?: number | null } | null;
  readonly prompt_tokens_details?: { readonly audio_tokens?: number | null } | null;
  readonly completion_tokens_details?: { readonly audio_tokens?: number | null } | null;
}

/**
 * The AI SDK's classes in ours. `noCache`, `cacheRead` and `cacheWrite` are disjoint parts of the input's `total`, `text`
 * and `reasoning` of the output's. A stated part wins over what is left of the total; what nobody stated stays unknown.
 */
export function usageOf(usage: Usage | undefined): ReportedUsage | undefined {
  if (usage === undefined) return undefined;
  const { inputTokens: input, outputTokens: output } = usage;
  const raw = (usage.raw ?? {}) as RawUsage & Readonly<Record<string, unknown>>;
  const cacheWrite1h = raw.cache_creation?.ephemeral_1h_input_tokens ?? 0;
  const { noCache } = input;
  const reported = usageOfTotals({
    input: !isSaid('input', raw)
      ? undefined
      : noCache === undefined
        ? input.total
        : noCache + (input.cacheRead ?? 0) + (input.cacheWrite ?? 0),
    cacheRead: input.cacheRead,
    cacheWrite: Math.max(0, (input.cacheWrite ?? 0) - cacheWrite1h),
    cacheWrite1h: Math.min(cacheWrite1h, input.cacheWrite ?? 0),
    audioInput: raw.prompt_tokens_details?.audio_tokens,
    output: !isSaid('output', raw)
      ? undefined
      : (output.total ?? (output.text === undefined ? undefined : output.text + (output.reasoning ?? 0))),
    reasoning: output.reasoning,
    audioOutput: raw.completion_tokens_details?.audio_tokens,
  });
  return reported && { ...reported, web_searches: raw.server_tool_use?.web_search_requests ?? undefined };
}

const RAW_TOTALS = { input: ['prompt_tokens', 'input_tokens'], output: ['completion_tokens', 'output_tokens'] } as const;

/** Providers of OpenAI's kind put 0 for a total that the reply left out; the raw usage still shows that it did. */
function isSaid(side: keyof typeof RAW_TOTALS, raw: Readonly<Record<string, unknown>>): boolean {
  const isKnown = Object.values(RAW_TOTALS).some((names) => names.some((name) => name in raw));
  return !isKnown || RAW_TOTALS[side].some((name) => typeof raw[name] === 'number');
}

export function answerOf({ usage, response }: Generated): Answer {
  return { usage: usageOf(usage), model: response?.modelId, requestId: requestIdOf(response?.headers) };
}

/** What a stream's parts add to what is known of its call. The model says what it used in `finish`, what failed in `error`. */
export function answerWith(answer: Answer, part: StreamPart): Answer {
  switch (part.type) {
    case 'response-metadata':
      return { ...answer, model: part.modelId ?? answer.model };
    case 'finish':
      return { ...answer, usage: usageOf(part.usage) ?? answer.usage };
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
  if (name === 'TimeoutError') return false;
  return name === 'AbortError' || name === 'ResponseAborted' || (signal?.aborted === true && signal.reason === error);
}

/** The bounds of a call's worst case. Only lengths are read off the prompt. */
export function boundsOf({ prompt, tools, responseFormat, maxOutputTokens }: CallOptions): Partial<ModelCall> {
  return { maxOutputTokens, inputTokensMax: Buffer.byteLength(JSON.stringify([prompt, tools, responseFormat], asText)) };
}

/** The same for the same call of the same caller, made again: the AI SDK builds its options anew for each try of a stream. */
export function fingerprintOf(caller: readonly unknown[], { prompt }: CallOptions): string {
  return JSON.stringify([...caller, prompt], asText);
}

/** Binary parts of a prompt are sent as base64. */
function asText(_key: string, value: unknown): unknown {
  return value instanceof Uint8Array ? Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('base64') : value;
}

/** Where a provider's model says it sends its requests; undefined for one that hides it, such as a wrapped one. */
export function endpointOf(model: unknown): string | undefined {
  const { config, modelId } = model as {
    readonly config?: { readonly baseURL?: unknown; readonly url?: unknown };
    readonly modelId?: string;
  };
  if (typeof config?.baseURL === 'string') return config.baseURL;
  return typeof config?.url === 'function' ? String((config.url as (at: object) => unknown)({ path: '/', modelId })) : undefined;
}

export function requestIdOf(headers: unknown): string | undefined {
  const id = (headers as Readonly<Record<string, unknown>> | null | undefined)?.['x-runpurse-request-id'];
  return typeof id === 'string' ? id : undefined;
}
