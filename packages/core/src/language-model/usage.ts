import { usageOfTotals } from '../events/usage-of-totals.ts';
import { isUsed, type ReportedUsage } from '../events/metadata.ts';

/** Usage as models of specification V2 tell it (totals beside their parts), and as those of V3 and V4 do (classes). */
export interface ModelUsage {
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
export type ProviderMetadata = Readonly<Record<string, Readonly<Record<string, unknown>> | undefined>>;

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
export function usageOf(usage: ModelUsage | undefined, metadata?: ProviderMetadata): ReportedUsage | undefined {
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
  const searches = raw.server_tool_use?.web_search_requests;
  return reported && { ...reported, web_searches: isUsed(searches) ? searches : undefined };
}

/** Of specification V2, Anthropic's models say what was read from and written to a cache beside the input, not as part of it. */
function inputOf({ inputTokens, cachedInputTokens }: ModelUsage, metadata: ProviderMetadata | undefined): InputTokens {
  if (typeof inputTokens === 'object') return inputTokens;
  const anthropic = metadata?.['anthropic'];
  if (anthropic === undefined || inputTokens === undefined) return { total: inputTokens, cacheRead: cachedInputTokens };
  const written = anthropic['cacheCreationInputTokens'];
  return { noCache: inputTokens, cacheRead: cachedInputTokens, cacheWrite: typeof written === 'number' ? written : undefined };
}

const RAW_TOTALS = { input: ['prompt_tokens', 'input_tokens'], output: ['completion_tokens', 'output_tokens'] } as const;

/** Providers of OpenAI's kind put 0 for a total that the reply left out; the raw usage still shows that it did. */
function isSaid(side: keyof typeof RAW_TOTALS, raw: Readonly<Record<string, unknown>>): boolean {
  const isKnown = Object.values(RAW_TOTALS).some((names) => names.some((name) => name in raw));
  return !isKnown || RAW_TOTALS[side].some((name) => typeof raw[name] === 'number');
}
