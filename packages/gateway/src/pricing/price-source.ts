import { calcPrice, findProvider, type ModelPrice, type TieredPrices } from '@pydantic/genai-prices';
import additions from './data/price-additions.json' with { type: 'json' };
import { compileGlobs } from '../policy/glob.ts';
import { bareModel } from './model-limits.ts';
import type { PricedProvider } from './price-card.ts';
import type { RatePlan } from './rate-plan.ts';
import { dearest, nanosPerMillion, nanosPerMillionFromThousand, type Rates, type RateTier } from './rates.ts';

/** The package the prices come from, as each ledger row keeps it. A test holds the version to the installed one. */
export const PRICE_SOURCE = { source: '@pydantic/genai-prices', version: '0.1.8' } as const;

/** What a search costs where the source lists none: the dearest list price of a web search, 35 USD per thousand (Gemini grounding). */
const WEB_SEARCH_FALLBACK_USD_PER_THOUSAND = 35;

const ADDITIONS = additions.models.map((row) => ({
  provider: row.provider,
  matches: compileGlobs([row.match], { ignoreCase: true }),
  prices: row.prices,
}));

/** A model as the price source lists it. */
export interface SourcedModel {
  readonly plans: readonly RatePlan[];
  readonly contextWindow: number | undefined;
}

/**
 * Which provider of the price source prices a provider: `price_as`, else its own name, else where it lives. Its kind
 * says nothing: a server that speaks OpenAI's wire need not charge OpenAI's prices.
 */
export function sourceProviderId(provider: PricedProvider): string | undefined {
  if (provider.priceAs !== undefined) return findProvider({ providerId: provider.priceAs })?.id;
  const named = findProvider({ providerId: provider.name });
  if (named?.id === provider.name) return named.id;
  if (provider.baseUrl !== undefined) return findProvider({ providerApiUrl: provider.baseUrl })?.id;
  return named?.id;
}

/** The source's prices of a model, compiled; undefined when it lists none for text tokens. */
export function findSourcedModel(providerId: string, model: string): SourcedModel | undefined {
  const found = calcPrice({ input_tokens: 0 }, model, { providerId });
  if (found === null) return undefined;
  const added = ADDITIONS.find((row) => row.provider === providerId && row.matches(bareModel(model)))?.prices;
  const listed = Array.isArray(found.model.prices) ? found.model.prices : [{ prices: found.model.prices }];
  const plans: RatePlan[] = [];
  for (const { prices, constraint } of listed) {
    const tiers = compileTiers({ ...added, ...prices });
    if (tiers === undefined) return undefined;
    plans.push({ constraint: constraint, tiers });
  }
  return plans.length === 0 ? undefined : { plans, contextWindow: found.model.context_window };
}

/** The tiers of a price list; undefined when it has no price for input tokens. */
export function compileTiers(prices: ModelPrice): readonly RateTier[] | undefined {
  if (priceIn(prices, 'input_mtok', 0) === undefined && priceIn(prices, 'input_text_mtok', 0) === undefined) return undefined;
  const starts = new Set<number>();
  for (const price of Object.values(prices)) {
    if (isTiered(price)) for (const tier of price.tiers) starts.add(tier.start);
  }
  const bounds = [...starts].sort((left, right) => left - right);
  return [{ above: -1, rates: ratesAbove(prices, 0) }, ...bounds.map((start) => ({ above: start, rates: ratesAbove(prices, start + 1) }))];
}

/**
 * One tier's rates. A class without a price of its own takes the dearest sensible one and never 0: input for cache
 * reads and writes, twice the input for an hour's cache write (Anthropic: 5 minutes 1.25×, an hour 2×,
 * https://platform.claude.com/docs/en/build-with-claude/prompt-caching#pricing), output for audio, image and video out.
 */
function ratesAbove(prices: ModelPrice, inputTokens: number): Rates {
  const tokens = (key: string): bigint | undefined => rate(prices, key, inputTokens, nanosPerMillion);
  const counted = (key: string): bigint | undefined => rate(prices, key, inputTokens, nanosPerMillionFromThousand);
  const input = tokens('input_mtok') ?? tokens('input_text_mtok') ?? 0n;
  const write = tokens('cache_write_5m_mtok') ?? tokens('cache_write_mtok') ?? input;
  const output = dearest(
    tokens('output_mtok') ?? tokens('output_text_mtok') ?? input,
    ...['output_reasoning_mtok', 'output_image_mtok', 'output_video_mtok', 'output_citation_mtok'].map((key) => tokens(key) ?? 0n),
  );
  return {
    input,
    cacheRead: tokens('cache_read_mtok') ?? input,
    cacheWrite5m: write,
    cacheWrite1h: tokens('cache_write_1h_mtok') ?? (write > input ? dearest(write, 2n * input) : write),
    audioInput: tokens('input_audio_mtok') ?? dearest(input, write),
    output,
    audioOutput: tokens('output_audio_mtok') ?? output,
    webSearch: counted('web_searches_kcount') ?? nanosPerMillionFromThousand(WEB_SEARCH_FALLBACK_USD_PER_THOUSAND),
    request: counted('requests_kcount') ?? 0n,
  };
}

function rate(prices: ModelPrice, key: string, inputTokens: number, convert: (usd: number) => bigint): bigint | undefined {
  const usd = priceIn(prices, key, inputTokens);
  return usd === undefined ? undefined : convert(usd);
}

/** The price of a class for a call with this much input: the last tier that starts below it holds for every token. */
function priceIn(prices: ModelPrice, key: string, inputTokens: number): number | undefined {
  const price = prices[key];
  if (!isTiered(price)) return price;
  return price.tiers.findLast((tier) => inputTokens > tier.start)?.price ?? price.base;
}

function isTiered(price: number | TieredPrices | undefined): price is TieredPrices {
  return typeof price === 'object';
}
