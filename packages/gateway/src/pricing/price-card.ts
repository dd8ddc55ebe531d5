import type { Nanos } from '@runpurse/core';
import type { Usage } from '../store/entry.ts';

/** Upper bounds of a call, for its worst case. */
export interface WorstCase {
  readonly inputTokens: number;
  /** All choices together. */
  readonly outputTokens: number;
  readonly webSearches: number;
  readonly audioOutput: boolean;
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
  cost(usage: Usage): Nanos | undefined;
  /** The most this call can cost, whichever class and tier its tokens fall in. */
  worstCase(bounds: WorstCase): Nanos;
  /** The largest output limit (all choices together) whose worst case fits `available`; undefined when not even 1 token does. */
  outputTokensWithin(available: Nanos, bounds: WorstCase): number | undefined;
}

/** Finds a model's price: operator's overrides first, then the price source. `undefined`: unknown, never free. */
export interface PriceBook {
  find(provider: { readonly name: string; readonly kind: string; readonly priceAs?: string | undefined }, model: string): PriceCard | undefined;
}
