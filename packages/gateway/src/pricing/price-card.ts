import type { Nanos } from '@runpurse/core';
import type { Usage } from '../store/entry.ts';

/** Upper bounds of a call, for its worst case. */
export interface WorstCase {
  readonly inputTokens: number;
  /** All choices together. */
  readonly outputTokens: number;
  readonly webSearches: number;
  readonly audioOutput: boolean;
  /** How many of the input tokens may be audio; left out: all. */
  readonly audioInputTokens?: number | undefined;
  /** The dearest cache write possible; left out: an hour's. */
  readonly cacheWrite?: 'none' | '5m' | '1h' | undefined;
  /** Service tier in percent of the list price; left out: 100. */
  readonly ratePercent?: number | undefined;
  /** Flat fees, added as they are. */
  readonly fees?: Nanos | undefined;
}

/** What a reply adds to its usage. */
export interface CostOptions {
  /** Service tier in percent of the list price; left out: 100. */
  readonly ratePercent?: number | undefined;
  /** Flat fees, added as they are. */
  readonly fees?: Nanos | undefined;
}

/** The price of one model, in integer arithmetic: nano-dollars per million tokens by class and tier. */
export interface PriceCard {
  readonly source: string;
  readonly version: string;
  /** The most one choice can generate; undefined when nobody states it. */
  readonly outputTokensMax: number | undefined;
  /** The model's context window: no input is longer. */
  readonly inputTokensMax: number | undefined;
  /** Exact cost; `undefined` when usage holds an unknown that is priced (then the hold is charged, not 0). */
  cost(usage: Usage, options?: CostOptions): Nanos | undefined;
  /** The most this call can cost, whichever class and tier its tokens fall in. */
  worstCase(bounds: WorstCase): Nanos;
  /** The largest output limit (all choices together) whose worst case fits `available`; undefined when not even 1 token does. */
  outputTokensWithin(available: Nanos, bounds: WorstCase): number | undefined;
}

/** A provider as the price book knows it. `baseUrl` lets a provider of any name be recognised by where it lives. */
export interface PricedProvider {
  readonly name: string;
  readonly kind: string;
  readonly priceAs?: string | undefined;
  readonly baseUrl?: string | undefined;
}

/** Finds a model's price: operator's overrides first, then the price source. `undefined`: unknown, never free. */
export interface PriceBook {
  find(provider: PricedProvider, model: string): PriceCard | undefined;
  /** The price of the model that ANSWERED, which may differ from the one asked for; the asked one's when the answer's is unknown. */
  findAnswered(provider: PricedProvider, asked: string, answered: string | undefined): PriceCard | undefined;
  /** The operator's `fallback_price`, for models nobody prices. */
  readonly fallback: PriceCard | undefined;
}
