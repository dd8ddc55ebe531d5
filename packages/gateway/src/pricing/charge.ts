import type { Nanos } from '@runpurse/core';
import type { Usage } from '../store/entry.ts';
import type { ModelCall, ReplyFacts } from '../wires/wire.ts';
import { boundsOf } from './call-bounds.ts';
import type { CostOptions, PriceCard, WorstCase } from './price-card.ts';

/** How a call ended. */
export type CallEnd =
  /** The provider's answer came to its end, whatever it says. */
  | 'replied'
  /** The caller went away while it was answered. */
  | 'aborted'
  /** The connection to the provider broke, or timed out, while it answered. */
  | 'broken'
  /** The provider answered an error status, so nothing was generated. */
  | 'rejected'
  /** The call was sent and nothing came back: it may have been carried out. */
  | 'lost';

export interface ChargeOptions {
  readonly end?: CallEnd | undefined;
  /** Milliseconds from sending the call to its end, to bound reasoning nobody saw; left out: up to the hold. */
  readonly elapsedMs?: number | undefined;
  /** A tokenizer's count of the input, where one was made. */
  readonly inputTokens?: number | undefined;
}

/** What is charged. `cost` undefined: the model has no price. */
export interface Charge {
  readonly cost: Nanos | undefined;
  /** As the provider reported it, partly or in full; never an estimate. */
  readonly usage: Usage | undefined;
  /** The provider did not confirm this amount: it is an upper bound of what was produced. */
  readonly unconfirmed: boolean;
}

/** No hosted model generates faster: three times the fastest published speeds, of about 1,000 tokens a second. */
const TOKENS_PER_MS_MAX = 3;

/**
 * What a call is charged, whatever became of it: its usage priced exactly where the provider confirmed it; an upper
 * bound of what was produced where it did not (never above the hold); nothing where nothing was generated.
 */
export function chargeFor(
  facts: ReplyFacts,
  card: PriceCard | undefined,
  call: ModelCall,
  hold: Nanos | undefined,
  options: ChargeOptions = {},
): Charge {
  const { usage } = facts;
  if (options.end === 'rejected') return { cost: 0n, usage, unconfirmed: false };
  if (card === undefined) return { cost: undefined, usage, unconfirmed: false };
  if (usage !== undefined && facts.pending !== true && (facts.complete || facts.usageFinal === true)) {
    const cost = card.cost(billed(usage, call), costOptions(facts, call));
    if (cost !== undefined) return { cost, usage, unconfirmed: false };
  }
  if (hold !== undefined && (facts.pending === true || options.end === 'lost')) return { cost: hold, usage, unconfirmed: true };
  if (facts.error !== undefined && usage === undefined && facts.outputBytes === 0) return { cost: 0n, usage, unconfirmed: false };
  return { cost: upperBound(facts, card, call, hold, options), usage, unconfirmed: true };
}

/** Usage with what the provider bills and its reply does not count. */
function billed(usage: Usage, call: ModelCall): Usage {
  return call.webSearchesUnreported === true ? { ...usage, webSearches: Math.max(usage.webSearches, call.webSearchesMax) } : usage;
}

function costOptions(facts: ReplyFacts, call: ModelCall): CostOptions {
  return { ratePercent: facts.ratePercent ?? call.ratePercentMax ?? 100, fees: facts.fees ?? 0n };
}

function upperBound(facts: ReplyFacts, card: PriceCard, call: ModelCall, hold: Nanos | undefined, options: ChargeOptions): Nanos {
  const bounded = boundsOf(call, card, { inputTokens: options.inputTokens });
  const bounds = bounded.type === 'bounded' ? bounded.bounds : visibleBounds(call);
  const produced = Math.min(producedTokens(facts, call, bounds, options), bounded.type === 'bounded' ? bounds.outputTokens : Infinity);
  const worst: WorstCase = { ...bounds, outputTokens: produced, ratePercent: facts.ratePercent ?? bounds.ratePercent };
  const { usage } = facts;
  if (usage?.inputTokens === undefined) return lesser(card.worstCase(worst), hold);
  // The provider said what it read: only the output is bounded.
  const rate = costOptions(facts, call);
  const asText = card.cost(billed({ ...usage, outputTokens: produced }, call), rate) ?? 0n;
  const asAudio = call.audioOutput ? (card.cost(billed({ ...usage, outputTokens: 0, audioOutputTokens: produced }, call), rate) ?? 0n) : 0n;
  const reported = card.cost(billed({ ...usage, outputTokens: usage.outputTokens ?? 0 }, call), rate) ?? 0n;
  return greater(lesser(greater(asText, asAudio), hold), reported);
}

/** Tokens that frame an answer and its tool calls, and are billed without being text. */
const FRAME_TOKENS = 16;

/** Every token of text is at least a byte; tokens nobody saw are bounded by time, or by the limit. */
function producedTokens(facts: ReplyFacts, call: ModelCall, bounds: WorstCase, options: ChargeOptions): number {
  const written = Math.max(facts.outputBytes, facts.usage?.outputTokens ?? 0);
  const seen = written === 0 ? 0 : written + FRAME_TOKENS * call.choices;
  if (call.hiddenReasoning !== true) return seen;
  if (options.elapsedMs === undefined) return bounds.outputTokens;
  return seen + Math.ceil(options.elapsedMs * TOKENS_PER_MS_MAX) * call.choices;
}

/** For a call nothing bounds: what the body shows. */
function visibleBounds(call: ModelCall): WorstCase {
  return {
    inputTokens: call.inputTokensMax,
    outputTokens: call.choices * (call.outputTokensLimit ?? 0),
    webSearches: call.webSearchesMax,
    audioOutput: call.audioOutput,
    audioInputTokens: call.audioInputTokensMax ?? 0,
    cacheWrite: call.cacheWrite ?? 'none',
    ratePercent: call.ratePercentMax ?? 100,
    fees: call.feesMax ?? 0n,
  };
}

function lesser(amount: Nanos, limit: Nanos | undefined): Nanos {
  return limit !== undefined && limit < amount ? limit : amount;
}

function greater(left: Nanos, right: Nanos): Nanos {
  return left > right ? left : right;
}
