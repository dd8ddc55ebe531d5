import type { MastraLanguageModel } from '@mastra/core/agent';
import { usageOfTotals, type ModelCall, type ModelResult, type ReportedUsage, type RunOptions } from '@runpurse/core';

/** What is read of a model call's options, alike in all of the AI SDK's model specifications that Mastra takes. */
export interface CallOptions {
  readonly prompt: readonly PromptMessage[];
  readonly tools?: unknown;
  readonly responseFormat?: unknown;
  readonly maxOutputTokens?: number | undefined;
  readonly headers?: Readonly<Record<string, string | undefined>> | undefined;
  readonly abortSignal?: AbortSignal | undefined;
}
export interface PromptMessage {
  readonly role: string;
  readonly content: unknown;
}

/** What is read of a model's answer. Mastra makes a stream of a plain one, too, which then says its usage beside it. */
export interface Answered {
  stream: ReadableStream<StreamPart>;
  readonly usage?: Usage | undefined;
  readonly providerMetadata?: ProviderMetadata | undefined;
  readonly response?: { readonly modelId?: string | undefined; readonly headers?: unknown } | undefined;
}
export interface StreamPart {
  readonly type: string;
  readonly modelId?: string | undefined;
  readonly usage?: Usage | undefined;
  readonly providerMetadata?: ProviderMetadata | undefined;
  readonly error?: unknown;
}

/** Usage as models of specification V2 tell it (totals beside their parts), and as those of V3 and V4 do (classes). */
export interface Usage {
  readonly inputTokens?: number | InputTokens | undefined;
  readonly outputTokens?: number | OutputTokens | undefined;
  readonly cachedInputTokens?: number | undefined;
  readonly reasoningTokens?: number | undefined;
  readonly raw?: unknown;
}
interface InputTokens {
  readonly total?: number | undefined;
  readonly noCache?: number | undefined;
  readonly cacheRead?: number | undefined;
  readonly cacheWrite?: number | undefined;
}
interface OutputTokens {
  readonly total?: number | undefined;
  readonly text?: number | undefined;
  readonly reasoning?: number | undefined;
}
type ProviderMetadata = Readonly<Record<string, Readonly<Record<string, unknown>> | undefined>>;

/** What a model call turned out to be, put together from a reply or from the parts of a stream. */
export type Answer = Pick<ModelResult, 'usage' | 'error' | 'status' | 'requestId'> & { readonly model?: string | undefined };

/** Parts of a provider's own usage that the model specifications have no place for, but a price list has. */
interface RawUsage {
  readonly input_tokens?: number | null;
  readonly cache_read_input_tokens?: number | null;
  readonly cache_creation_input_tokens?: number | null;
  readonly cache_creation?: { readonly ephemeral_1h_input_tokens?: number | null } | null;
  readonly server_tool_use?: { readonly web_search_requests?: number | null } | null;
  readonly prompt_tokens_details?: { readonly audio_tokens?: number | null } | null;
  readonly completion_tokens_details?: { readonly audio_tokens?: number | null } | null;
}

/** A model's usage in disjoint classes. A stated part wins over what is left of a total; what nobody stated stays unknown. */
export function usageOf(usage: Usage | undefined, metadata?: ProviderMetadata): ReportedUsage | undefined {
  if (usage === undefined) return undefined;
  const input = inputOf(usage, metadata);
  const output: OutputTokens =
    typeof usage.outputTokens === 'object' ? usage.outputTokens : { total: usage.outputTokens, reasoning: usage.reasoningTokens };
  const raw = (usage.raw ?? metadata?.['anthropic']?.['usage'] ?? {}) as RawUsage & Readonly<Record<string, unknown>>;
  const cacheWrite1h = raw.cache_creation?.ephemeral_1h_input_tokens ?? 0;
  const reported = usageOfTotals({
    input: !isSaid('input', raw)
      ? undefined
      : input.noCache === undefined
        ? input.total
        : input.noCache + (input.cacheRead ?? 0) + (input.cacheWrite ?? 0),
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

/** Of specification V2, Anthropic's models say what was read from and written to a cache beside the input, not as part of it. */
function inputOf({ inputTokens, cachedInputTokens }: Usage, metadata: ProviderMetadata | undefined): InputTokens {
  if (typeof inputTokens === 'object') return inputTokens;
  const anthropic = metadata?.['anthropic'];
  if (anthropic === undefined || inputTokens === undefined) return { total: inputTokens, cacheRead: cachedInputTokens };
  const written = anthropic['cacheCreationInputTokens'];
  return { noCache: inputTokens, cacheRead: cachedInputTokens, cacheWrite: typeof written === 'number' ? written : undefined };
}

const RAW_TOTALS = { input: ['prompt_tokens', 'input_tokens'], output: ['completion_tokens', 'output_tokens'] } as const;

/** Usage as Mastra's spans tell it: totals that contain their details. */
export interface SpanUsage {
  readonly inputTokens?: number | undefined;
  readonly outputTokens?: number | undefined;
  readonly inputDetails?:
    { readonly cacheRead?: number | undefined; readonly cacheWrite?: number | undefined; readonly audio?: number | undefined } | undefined;
  readonly outputDetails?: { readonly reasoning?: number | undefined; readonly audio?: number | undefined } | undefined;
}

export function spanUsage({ inputTokens, outputTokens, inputDetails, outputDetails }: SpanUsage = {}): ReportedUsage | undefined {
  return usageOfTotals({
    input: inputTokens,
    cacheRead: inputDetails?.cacheRead,
    cacheWrite: inputDetails?.cacheWrite,
    audioInput: inputDetails?.audio,
    output: outputTokens,
    reasoning: outputDetails?.reasoning,
    audioOutput: outputDetails?.audio,
  });
}

/** Providers of OpenAI's kind put 0 for a total that the reply left out; the raw usage still shows that it did. */
function isSaid(side: keyof typeof RAW_TOTALS, raw: Readonly<Record<string, unknown>>): boolean {
  const isKnown = Object.values(RAW_TOTALS).some((names) => names.some((name) => name in raw));
  return !isKnown || RAW_TOTALS[side].some((name) => typeof raw[name] === 'number');
}

export function answerOf({ usage, providerMetadata, response }: Omit<Answered, 'stream'>): Answer {
  return { usage: usageOf(usage, providerMetadata), model: response?.modelId, requestId: requestIdOf(response?.headers) };
}

/** What a stream's parts add to what is known of its call. The model says what it used in `finish`, what failed in `error`. */
export function answerWith(answer: Answer, part: StreamPart): Answer {
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
  if (name === 'TimeoutError' || name === 'MastraTimeoutError') return false;
  return name === 'AbortError' || name === 'ResponseAborted' || (signal?.aborted === true && signal.reason === error);
}

/** The bounds of a call's worst case. Only lengths are read off the prompt. */
export function boundsOf({ prompt, tools, responseFormat, maxOutputTokens }: CallOptions): Partial<ModelCall> {
  return { maxOutputTokens, inputTokensMax: Buffer.byteLength(JSON.stringify([prompt, tools, responseFormat], asText)) };
}

/** Binary parts of a prompt are sent as base64. */
function asText(_key: string, value: unknown): unknown {
  return value instanceof Uint8Array ? Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('base64') : value;
}

/** Where a model says it sends its requests: Mastra's own, from a `url`, or a provider's. Undefined for one that hides it. */
export function endpointOf(model: unknown): string | undefined {
  if (typeof model !== 'object' || model === null) return undefined;
  const { config, modelId, url } = model as {
    readonly config?: { readonly baseURL?: unknown; readonly url?: unknown };
    readonly modelId?: unknown;
    readonly url?: unknown;
  };
  const stated = config?.baseURL ?? config?.url ?? url;
  return typeof stated === 'function' ? String((stated as (at: object) => unknown)({ path: '/', modelId })) : textOf(stated);
}

/** What a model is known by before and after Mastra has wrapped it. */
export function modelKey({ provider, modelId }: Pick<MastraLanguageModel, 'provider' | 'modelId'>): string {
  return `${provider}\n${modelId}`;
}

export function requestIdOf(headers: unknown): string | undefined {
  return textOf((headers as Readonly<Record<string, unknown>> | null | undefined)?.['x-runpurse-request-id']);
}

/** What is read of Mastra's RequestContext. */
export interface Context {
  get(key: string): unknown;
}

/** The RequestContext key under which a run's attribution is stated, as `{ sessionId, customerId, limitUsd, … }`. */
export const CONTEXT_KEY = 'runpurse';

const CONTEXT_TEXTS = ['runId', 'sessionId', 'sessionName', 'sessionPath', 'workflowId', 'customerId', 'agentId', 'name'] as const;

/** What a RequestContext says of its run. The session is the memory's thread unless stated. */
export function contextOf(context: Context | undefined): RunOptions {
  const stated = context?.get(CONTEXT_KEY);
  const fields = typeof stated === 'object' && stated !== null ? (stated as Readonly<Record<string, unknown>>) : {};
  const texts = Object.fromEntries(CONTEXT_TEXTS.flatMap((field) => (typeof fields[field] === 'string' ? [[field, fields[field]]] : [])));
  const { limitUsd, bounds, properties } = fields as Pick<RunOptions, 'limitUsd' | 'bounds' | 'properties'>;
  return defined({ sessionId: threadOf(context), ...texts, limitUsd, bounds, properties });
}

/** Without what is undefined, so that it hides nothing it is spread over. */
export function defined<Fields extends object>(fields: Fields): Fields {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Fields;
}

function threadOf(context: Context | undefined): string | undefined {
  const memory = context?.get('MastraMemory') as { readonly thread?: { readonly id?: unknown } } | undefined;
  return textOf(memory?.thread?.id) ?? textOf(context?.get('mastra__threadId'));
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}
