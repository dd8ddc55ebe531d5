import type { Nanos } from '@runpurse/core';
import type { Usage } from '../store/entry.ts';
import type { CostOptions, PriceCard, WorstCase } from './price-card.ts';
import { planAt, plansWithinADay, type RatePlan } from './rate-plan.ts';
import { dearest, type Rates, type RateTier } from './rates.ts';

/** Rates are per million and tiers in percent, so sums stand at 1e8 per nano until they are rounded, once. */
const PER_NANO = 100_000_000n;

export interface CardDetails {
  readonly source: string;
  readonly version: string;
  /** In the price source's order; a later plan whose constraint holds wins. Never empty. */
  readonly plans: readonly RatePlan[];
  readonly outputTokensMax: number | undefined;
  readonly inputTokensMax: number | undefined;
  readonly now: () => number;
}

/**
 * A price card over compiled rates. Amounts are summed exactly and rounded UP to a whole nano once per call, so a
 * priced call is never free and a worst case is never below a cost it bounds.
 */
export function createPriceCard(details: CardDetails): PriceCard {
  const { plans, now } = details;
  return {
    source: details.source,
    version: details.version,
    outputTokensMax: details.outputTokensMax,
    inputTokensMax: details.inputTokensMax,

    cost(usage: Usage, options: CostOptions = {}): Nanos | undefined {
      const tiers = planAt(plans, now())?.tiers ?? [];
      const input = usage.inputTokens ?? 0;
      const seen = input + usage.cacheReadTokens + usage.cacheWrite5mTokens + usage.cacheWrite1hTokens + usage.audioInputTokens;
      const rates = ratesFor(tiers, seen);
      if (usage.inputTokens === undefined && tiers.some((tier) => tier.rates.input > 0n)) return undefined;
      if (usage.outputTokens === undefined && rates.output > 0n) return undefined;
      const tokens =
        BigInt(input) * rates.input +
        BigInt(usage.cacheReadTokens) * rates.cacheRead +
        BigInt(usage.cacheWrite5mTokens) * rates.cacheWrite5m +
        BigInt(usage.cacheWrite1hTokens) * rates.cacheWrite1h +
        BigInt(usage.audioInputTokens) * rates.audioInput +
        BigInt(usage.outputTokens ?? 0) * rates.output +
        BigInt(usage.audioOutputTokens) * rates.audioOutput;
      const units = BigInt(usage.webSearches) * rates.webSearch + rates.request;
      return toNanos(tokens, units, options.ratePercent ?? 100) + (options.fees ?? 0n);
    },

    worstCase(bounds: WorstCase): Nanos {
      let worst = 0n;
      for (const { fixed, perOutputToken } of reachable(plans, now(), bounds)) {
        const amount = ceilDivide(fixed + BigInt(bounds.outputTokens) * perOutputToken, PER_NANO);
        if (amount > worst) worst = amount;
      }
      return worst + (bounds.fees ?? 0n);
    },

    outputTokensWithin(available: Nanos, bounds: WorstCase): number | undefined {
      const room = (available - (bounds.fees ?? 0n)) * PER_NANO;
      let tokens = BigInt(Number.MAX_SAFE_INTEGER);
      for (const { fixed, perOutputToken } of reachable(plans, now(), bounds)) {
        if (fixed > room) return undefined;
        if (perOutputToken === 0n) continue;
        const fits = (room - fixed) / perOutputToken;
        if (fits < tokens) tokens = fits;
      }
      return tokens < 1n ? undefined : Number(tokens);
    },
  };
}

/** What a call costs before its output, and per output token, in each tier and plan it can fall into; at PER_NANO. */
function reachable(plans: readonly RatePlan[], at: number, bounds: WorstCase): readonly { fixed: bigint; perOutputToken: bigint }[] {
  const percent = BigInt(bounds.ratePercent ?? 100);
  const cases: { fixed: bigint; perOutputToken: bigint }[] = [];
  for (const plan of plansWithinADay(plans, at)) {
    for (const [index, { above, rates }] of plan.tiers.entries()) {
      if (index > 0 && bounds.inputTokens <= above) break;
      // Fewer tokens than the next tier asks for: more would be priced there.
      const next = plan.tiers[index + 1]?.above;
      const input = next === undefined ? bounds.inputTokens : Math.min(bounds.inputTokens, next);
      const audio = Math.min(bounds.audioInputTokens ?? input, input);
      const textRate = dearest(rates.input, rates.cacheRead, ...cacheWriteRates(rates, bounds.cacheWrite));
      const tokens = BigInt(input - audio) * textRate + BigInt(audio) * dearest(textRate, rates.audioInput);
      const units = BigInt(bounds.webSearches) * rates.webSearch + rates.request;
      cases.push({
        fixed: tokens * percent + units * 100n,
        perOutputToken: (bounds.audioOutput ? dearest(rates.output, rates.audioOutput) : rates.output) * percent,
      });
    }
  }
  return cases;
}

function cacheWriteRates(rates: Rates, dearestWrite: WorstCase['cacheWrite']): readonly bigint[] {
  if (dearestWrite === 'none') return [];
  return dearestWrite === '5m' ? [rates.cacheWrite5m] : [rates.cacheWrite5m, rates.cacheWrite1h];
}

/** The tier of a call with this much input: its rates hold for every token of the call. */
function ratesFor(tiers: readonly RateTier[], inputTokens: number): Rates {
  const tier = tiers.findLast(({ above }) => inputTokens > above) ?? tiers[0];
  if (tier === undefined) throw new RangeError('a price card has at least one tier');
  return tier.rates;
}

function toNanos(tokens: bigint, units: bigint, ratePercent: number): Nanos {
  return ceilDivide(tokens * BigInt(ratePercent) + units * 100n, PER_NANO);
}

function ceilDivide(amount: bigint, by: bigint): bigint {
  return (amount + by - 1n) / by;
}
