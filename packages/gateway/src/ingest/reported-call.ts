import { parseUsd, type EventMetadata, type Nanos, type ReportedUsage } from '@runpurse/core';
import type { Outcome, Reservation } from '../admit/types.ts';
import type { Gateway } from '../gateway.ts';
import type { PriceCard, PricedProvider } from '../pricing/price-card.ts';
import type { Usage } from '../store/entry.ts';

/** A call as events report it: who is called, and what the gateway makes of its price. Callers' own figures are the last resort. */
export interface ReportedCall {
  readonly kind: 'model' | 'tool';
  /** Undefined: the sender does not say what it calls. */
  readonly name: string | undefined;
  readonly provider: string | undefined;
  /** Worst case before the call; undefined: unknown. */
  hold(metadata: EventMetadata): Nanos | undefined;
  /** What it cost, priced by the gateway; `asked` is what was asked for before, undefined when nobody did. */
  outcome(metadata: EventMetadata, status: 'completed' | 'failed' | 'aborted', asked: AskedCall | undefined): Outcome;
}

type AskedCall = Pick<Reservation, 'name' | 'provider' | 'hold'>;

type Parts = Pick<Gateway, 'prices' | 'providers' | 'config'>;

export function createCallReader(
  parts: Parts,
): (kind: 'model' | 'tool', metadata: EventMetadata, name: string | undefined) => ReportedCall {
  const tools = new Map(parts.config.tools.map((tool) => [tool.name, tool]));
  const providers = new Map<string, PricedProvider>(parts.providers.list().map((provider) => [provider.name, provider]));
  return (kind, metadata, name) =>
    kind === 'tool' ? toolCall(tools, metadata.tool_name ?? name) : modelCall(parts, providers, metadata, name);
}

type ToolPrice = Gateway['config']['tools'][number];

/** A price configured in the gateway wins over anything a caller reports. */
function toolCall(tools: ReadonlyMap<string, ToolPrice>, name: string | undefined): ReportedCall {
  const configured = name === undefined ? undefined : tools.get(name);
  return {
    kind: 'tool',
    name,
    provider: undefined,
    hold: (metadata) => configured?.price_usd ?? estimate(metadata),
    outcome(metadata, status, asked) {
      // The tool that was asked for is priced, whatever its end is called.
      const priced = (asked === undefined ? undefined : tools.get(asked.name)) ?? configured;
      const free = metadata.from_cache === true || (status === 'failed' && priced?.charge_on_failure === false);
      const price = priced === undefined ? undefined : ({ source: 'runpurse.yaml', version: '1' } as const);
      return {
        status,
        cost: free ? 0n : (priced?.price_usd ?? reportedCost(metadata)),
        ...(price === undefined ? {} : { price }),
        ...errorOf(metadata, status),
      };
    },
  };
}

function modelCall(
  parts: Parts,
  providers: ReadonlyMap<string, PricedProvider>,
  metadata: EventMetadata,
  eventName: string | undefined,
): ReportedCall {
  const { provider, model, isStated } = readModel(parts, providers, metadata.model ?? eventName, metadata.provider);
  const card = model === undefined || provider === undefined ? undefined : parts.prices.find(provider, model);
  const priced = card ?? parts.prices.fallback;
  return {
    kind: 'model',
    name: model,
    provider: provider?.name,
    hold: ({ input_tokens_max, max_output_tokens }) => worstCase(priced, input_tokens_max ?? undefined, max_output_tokens ?? undefined),
    outcome(reported, status, asked) {
      // The model that ANSWERED is priced; the one that was asked for when the answer does not say.
      // An answer's dated name is often one that no provider claims; who was asked answers.
      const by = isStated || asked?.provider === undefined ? provider : namedProvider(providers, asked.provider);
      const answering = asked !== undefined && by !== undefined ? (parts.prices.findAnswered(by, asked.name, model) ?? priced) : priced;
      const usage = usageOf(reported.usage);
      const exact = usage === undefined ? undefined : answering?.cost(usage);
      // What the caller says it cost stands only where nothing was held and the gateway has no price of its own.
      const cost = exact ?? (asked !== undefined && asked.hold > 0n ? undefined : reportedCost(reported));
      return {
        status,
        cost,
        ...(usage === undefined ? {} : { usage }),
        ...(model === undefined ? {} : { model }),
        ...(exact === undefined || answering === undefined ? {} : { price: { source: answering.source, version: answering.version } }),
        ...(exact === undefined && cost !== undefined ? { unconfirmed: true as const } : {}),
        ...errorOf(reported, status),
      };
    },
  };
}

/** `provider/model`, a model of a stated provider, or a bare name that one configured provider claims. */
function readModel(
  parts: Parts,
  providers: ReadonlyMap<string, PricedProvider>,
  name: string | undefined,
  statedProvider: string | undefined,
): { provider: PricedProvider | undefined; model: string | undefined; isStated: boolean } {
  const stated = statedProvider === undefined || statedProvider === '' ? undefined : namedProvider(providers, statedProvider);
  if (name === undefined) return { provider: stated, model: undefined, isStated: stated !== undefined };
  const slash = name.indexOf('/');
  const prefixed =
    slash > 0 ? (providers.get(name.slice(0, slash)) ?? (stated?.name === name.slice(0, slash) ? stated : undefined)) : undefined;
  if (prefixed !== undefined && (stated === undefined || stated.name === prefixed.name))
    return { provider: prefixed, model: name.slice(slash + 1), isStated: true };
  if (stated !== undefined) return { provider: stated, model: name, isStated: true };
  for (const wireKind of ['openai', 'anthropic'] as const) {
    const resolved = parts.providers.resolve(name, wireKind);
    if (resolved.type === 'found') return { provider: resolved.provider, model: resolved.model, isStated: false };
  }
  return { provider: undefined, model: name, isStated: false };
}

/** One that this gateway does not carry calls to is of the kind it is called. */
function namedProvider(providers: ReadonlyMap<string, PricedProvider>, name: string): PricedProvider {
  return providers.get(name) ?? { name, kind: name };
}

function worstCase(
  card: PriceCard | undefined,
  inputTokensMax: number | undefined,
  outputTokensMax: number | undefined,
): Nanos | undefined {
  const inputTokens = inputTokensMax ?? card?.inputTokensMax;
  const outputTokens = outputTokensMax ?? card?.outputTokensMax;
  if (card === undefined || inputTokens === undefined || outputTokens === undefined) return undefined;
  return card.worstCase({ inputTokens, outputTokens, webSearches: 0, audioOutput: false });
}

/** Left out or null is unknown, not none; the classes a sender leaves out are none once it states the main ones. */
export function usageOf(reported: ReportedUsage | undefined): Usage | undefined {
  if (reported === undefined) return undefined;
  return {
    inputTokens: reported.input_tokens ?? undefined,
    cacheReadTokens: reported.cache_read_tokens ?? 0,
    cacheWrite5mTokens: reported.cache_write_5m_tokens ?? 0,
    cacheWrite1hTokens: reported.cache_write_1h_tokens ?? 0,
    outputTokens: reported.output_tokens ?? undefined,
    reasoningTokens: reported.reasoning_tokens ?? 0,
    audioInputTokens: reported.audio_input_tokens ?? 0,
    audioOutputTokens: reported.audio_output_tokens ?? 0,
    webSearches: reported.web_searches ?? 0,
  };
}

const NANOS_PER_CENT = 10_000_000n;

/** What the caller expects to pay: held where the gateway has no price, never booked. */
function estimate(metadata: EventMetadata): Nanos | undefined {
  const cents = metadata.estimated_cost_cents;
  if (cents !== undefined && cents >= 0 && Number.isSafeInteger(cents)) return BigInt(cents) * NANOS_PER_CENT;
  return reportedCost(metadata);
}

function reportedCost(metadata: EventMetadata): Nanos | undefined {
  return metadata.cost_usd === undefined ? undefined : parseUsd(metadata.cost_usd);
}

function errorOf(metadata: EventMetadata, status: Outcome['status']): { error?: string } {
  const { message } = metadata;
  if (status === 'completed' || message === undefined || message === '') return {};
  return { error: message.slice(0, 500) };
}
