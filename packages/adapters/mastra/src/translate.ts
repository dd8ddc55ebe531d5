import { usageOfTotals, type ReportedUsage, type RunOptions } from '@runpurse/core';
import type { ModelReply, ModelStreamPart } from '@runpurse/core/language-model';

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
export interface Answered extends ModelReply {
  stream: ReadableStream<ModelStreamPart>;
}

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

/** What is read of a model, Mastra's own or a provider's. */
interface Addressed {
  readonly config?: { readonly baseURL?: unknown; readonly url?: unknown };
  readonly modelId?: unknown;
  readonly url?: unknown;
  readonly supportedUrls?: object;
}

/** Endpoints of models by their `supportedUrls`: the one object of a model that Mastra's wrapper of it has, too. */
const endpoints = new WeakMap<object, string>();

/** Where a model says it sends its requests: Mastra's own, from a `url`, or a provider's. Undefined for one that hides it. */
export function endpointOf(model: unknown): string | undefined {
  if (typeof model !== 'object' || model === null) return undefined;
  const { config, modelId, url, supportedUrls } = model as Addressed;
  const stated = config?.baseURL ?? config?.url ?? url;
  if (typeof stated === 'function') return String((stated as (at: object) => unknown)({ path: '/', modelId }));
  return textOf(stated) ?? (supportedUrls && endpoints.get(supportedUrls));
}

/** Gives a model `supportedUrls` of its own, so that its endpoint is still known when Mastra has wrapped it. */
export function noteEndpoint(model: unknown): void {
  const endpoint = endpointOf(model);
  if (endpoint === undefined) return;
  const { supportedUrls: shared = {} } = model as Addressed;
  if (endpoints.get(shared) === endpoint) return;
  const { then } = shared as { readonly then?: unknown };
  const supportedUrls = typeof then === 'function' ? { then: then.bind(shared) as unknown } : { ...shared };
  // A model that can't be changed hides its address.
  if (
    Reflect.defineProperty(model as object, 'supportedUrls', { value: supportedUrls, configurable: true, enumerable: true, writable: true })
  )
    endpoints.set(supportedUrls, endpoint);
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
