import type { Nanos, Refusal } from '@runpurse/core';
import type { ModelCall } from '../wires/wire.ts';
import type { PriceCard, WorstCase } from './price-card.ts';

/** A call's bounds for `PriceCard.worstCase`, or why it has none: then a hard budget must refuse it. */
export type CallBounds =
  { readonly type: 'bounded'; readonly bounds: WorstCase } | { readonly type: 'unbounded'; readonly refusal: Refusal };

export interface BoundsOptions {
  /** A tokenizer's count of the visible input, when the bound by bytes does not fit a budget. */
  readonly inputTokens?: number | undefined;
}

/**
 * The worst case of a call with the price card of its model: every bound the body and the model's stated sizes give.
 * Never an estimate: where neither bounds something, the call is unbounded.
 */
export function boundsOf(call: ModelCall, card: PriceCard, options: BoundsOptions = {}): CallBounds {
  if (call.unbounded !== undefined) return unbounded(call, call.unbounded.reason, call.unbounded.param);
  const inputTokens = inputBound(call, card, options);
  if (inputTokens === undefined) {
    return unbounded(call, 'it uses input the gateway cannot see and the context window of this model is not known');
  }
  const output = outputBound(call, card);
  if (output === undefined) {
    return unbounded(
      call,
      'the output limit of this model is not known; set one in the request or `max_output_tokens` in its price override',
      'max_tokens',
    );
  }
  return {
    type: 'bounded',
    bounds: {
      inputTokens,
      outputTokens: call.choices * (output + (call.outputTokensExtra ?? 0)),
      webSearches: call.webSearchesMax,
      audioOutput: call.audioOutput,
      audioInputTokens: call.audioInputTokensMax ?? 0,
      cacheWrite: call.cacheWrite ?? 'none',
      ratePercent: call.ratePercentMax ?? 100,
      fees: call.feesMax ?? 0n,
    },
  };
}

/** The largest output limit for ONE choice whose worst case fits `available`; undefined when not even the least its provider takes does. */
export function outputLimitWithin(call: ModelCall, card: PriceCard, available: Nanos, options: BoundsOptions = {}): number | undefined {
  const bounded = boundsOf({ ...call, outputTokensLimit: 1 }, card, options);
  if (bounded.type === 'unbounded' || call.choices === 0) return undefined;
  const tokens = card.outputTokensWithin(available, bounded.bounds);
  if (tokens === undefined) return undefined;
  const limit = Math.floor(tokens / call.choices) - (call.outputTokensExtra ?? 0);
  return limit < (call.outputTokensLeast ?? 1) ? undefined : limit;
}

function inputBound(call: ModelCall, card: PriceCard, options: BoundsOptions): number | undefined {
  const turns = call.turnsMax ?? 1;
  // Each turn of the provider's own tools reads the input again, with what the tools brought.
  if (call.inputUnbounded === true || turns > 1) return card.inputTokensMax === undefined ? undefined : card.inputTokensMax * turns;
  const visible = Math.min(call.inputTokensMax, options.inputTokens ?? call.inputTokensMax);
  // A batch of embeddings holds many inputs, and the context window bounds each, not their sum.
  return call.choices === 0 || card.inputTokensMax === undefined ? visible : Math.min(visible, card.inputTokensMax);
}

function outputBound(call: ModelCall, card: PriceCard): number | undefined {
  if (call.choices === 0) return 0;
  const stated = card.outputTokensMax === undefined ? undefined : card.outputTokensMax * (call.turnsMax ?? 1);
  if (call.outputTokensLimit === undefined) return stated;
  return stated === undefined ? call.outputTokensLimit : Math.min(call.outputTokensLimit, stated);
}

function unbounded(call: ModelCall, reason: string, param?: string): CallBounds {
  const refusal: Refusal = {
    code: 'price_unknown',
    message: `The most this call to ${call.model} can cost is not known: ${reason}.`,
    param,
  };
  return { type: 'unbounded', refusal };
}
