import type { GatewayConfig, PriceOverride } from '../config/config.ts';
import { createPriceCard, type CardDetails } from './card.ts';
import { modelLimits } from './model-limits.ts';
import { createOverrideTable, fallbackCardDetails } from './override-prices.ts';
import type { PriceBook, PriceCard, PricedProvider } from './price-card.ts';
import { findSourcedModel, PRICE_SOURCE, sourceProviderId } from './price-source.ts';
import { SANDBOX_PRICES } from './sandbox-prices.ts';

export interface PriceBookOptions {
  /** `prices` of runpurse.yaml. */
  readonly overrides?: readonly PriceOverride[] | undefined;
  /** `fallback_price` of runpurse.yaml. */
  readonly fallback?: GatewayConfig['fallback_price'];
  /** Epoch milliseconds; some prices depend on the day or the hour. */
  readonly now: () => number;
}

/** Callers choose model names; a name nobody prices must not fill memory. */
const CARDS_MAX = 4_096;
const MODEL_NAME_LENGTH_MAX = 256;

/**
 * The price book: the operator's rows first, then the sandbox's own cards, then `@pydantic/genai-prices`. A model
 * nobody prices is undefined, never free. Cards are compiled once per provider and model.
 *
 * @example
 * const book = createPriceBook({ overrides: config.prices, fallback: config.fallback_price, now: () => clock.now() });
 * book.find({ name: 'openai', kind: 'openai' }, 'gpt-4o-mini')?.cost(usage);
 */
export function createPriceBook(options: PriceBookOptions): PriceBook {
  const overrides = createOverrideTable(options.overrides ?? []);
  /** By model, for each provider as priced. */
  const cards = new Map<string, Map<string, PriceCard | undefined>>();
  let cardsKept = 0;
  const card = (details: Omit<CardDetails, 'now'>): PriceCard => createPriceCard({ ...details, now: options.now });

  const compile = (provider: PricedProvider, model: string): PriceCard | undefined => {
    const sourceId = provider.kind === 'sandbox' ? undefined : sourceProviderId(provider);
    const sourced = sourceId === undefined ? undefined : findSourcedModel(sourceId, model);
    const limits = modelLimits(model);
    const context = largest(sourced?.contextWindow, limits.context);
    const override = overrides.find(provider.name, model);
    if (override !== undefined) {
      const inputTokensMax = override.inputTokensMax ?? context;
      return card({ ...override, inputTokensMax, outputTokensMax: override.outputTokensMax ?? limits.output ?? inputTokensMax });
    }
    if (provider.kind === 'sandbox') return card(SANDBOX_PRICES);
    if (sourced === undefined) return undefined;
    return card({ ...PRICE_SOURCE, plans: sourced.plans, inputTokensMax: context, outputTokensMax: limits.output ?? context });
  };

  const find = (provider: PricedProvider, model: string): PriceCard | undefined => {
    if (model.length === 0 || model.length > MODEL_NAME_LENGTH_MAX) return undefined;
    const key = `${provider.name}\0${provider.priceAs ?? provider.baseUrl ?? ''}`;
    let ofProvider = cards.get(key);
    const known = ofProvider?.get(model);
    if (known !== undefined || ofProvider?.has(model) === true) return known;
    const compiled = compile(provider, model);
    if (cardsKept >= CARDS_MAX) {
      cards.clear();
      cardsKept = 0;
      ofProvider = undefined;
    }
    if (ofProvider === undefined) {
      ofProvider = new Map<string, PriceCard | undefined>();
      cards.set(key, ofProvider);
    }
    ofProvider.set(model, compiled);
    cardsKept += 1;
    return compiled;
  };

  return {
    find,
    findAnswered(provider, asked, answered) {
      const askedCard = find(provider, asked);
      if (answered === undefined || answered === asked) return askedCard;
      const answeredOverride = overrides.find(provider.name, answered);
      // The operator priced `gpt-4o`; a reply from `gpt-4o-2024-11-20` is that model, not one of the price source's.
      if (answeredOverride === undefined && askedCard?.source === 'runpurse.yaml' && answered.startsWith(asked)) return askedCard;
      return find(provider, answered) ?? askedCard;
    },
    fallback: options.fallback === undefined ? undefined : card(fallbackCardDetails(options.fallback)),
  };
}

function largest(...values: readonly (number | undefined)[]): number | undefined {
  const known = values.filter((value) => value !== undefined);
  return known.length === 0 ? undefined : Math.max(...known);
}
