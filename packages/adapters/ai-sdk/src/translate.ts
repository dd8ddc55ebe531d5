import { asText } from '@runpurse/core/language-model';
import type { wrapLanguageModel } from 'ai';

/** A language model as the AI SDK calls it (specification V4; older ones are adapted by the SDK before we see them). */
export type Model = ReturnType<typeof wrapLanguageModel>;
export type CallOptions = Parameters<Model['doGenerate']>[0];
export type Generated = Awaited<ReturnType<Model['doGenerate']>>;
export type Streamed = Awaited<ReturnType<Model['doStream']>>;
export type StreamPart = Streamed['stream'] extends ReadableStream<infer Part> ? Part : never;
export type Usage = Generated['usage'];

/** The same for the same call of the same caller, made again: the AI SDK builds its options anew for each try of a stream. */
export function fingerprintOf(caller: readonly unknown[], { prompt }: CallOptions): string {
  return JSON.stringify([...caller, prompt], asText);
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

/** Whether a call of the model is one request: a wrapper around the provider's own model, or a `fetch` of its own, may make more. */
export function asksOnce(model: unknown): boolean {
  const { config } = model as { readonly config?: { readonly fetch?: unknown } };
  return endpointOf(model) !== undefined && config?.fetch === undefined;
}
