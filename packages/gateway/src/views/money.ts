import { formatUsd, type Nanos, type RunShape } from '@runpurse/core';

/** Cost by line, as a run, a session or any other unit carries it. */
export interface CostNanos {
  readonly modelNanos: Nanos;
  readonly toolNanos: Nanos;
  readonly retryNanos: Nanos;
}

/** What a unit cost and earned. */
export interface FinanceNanos extends CostNanos {
  readonly revenueNanos: Nanos | undefined;
  readonly outboundNanos: Nanos;
  readonly feesNanos: Nanos;
}

/** The cost lines on the wire; they are disjoint, so the total is their sum. */
export function costOf(cost: CostNanos): RunShape['cost'] {
  return {
    model_usd: formatUsd(cost.modelNanos),
    tool_usd: formatUsd(cost.toolNanos),
    retry_usd: formatUsd(cost.retryNanos),
    total_usd: formatUsd(cost.modelNanos + cost.toolNanos + cost.retryNanos),
  };
}

/** revenue − model − tool − retry − outbound payments − fees; undefined when no revenue was reported. */
export function marginNanos(finance: FinanceNanos): Nanos | undefined {
  const { revenueNanos, modelNanos, toolNanos, retryNanos, outboundNanos, feesNanos } = finance;
  return revenueNanos === undefined ? undefined : revenueNanos - modelNanos - toolNanos - retryNanos - outboundNanos - feesNanos;
}

/** The margin on the wire. `unknown` names what the figure can't speak for, such as `tool:search`. */
export function marginOf(finance: FinanceNanos, unknown: readonly string[]): RunShape['margin'] {
  const margin = marginNanos(finance);
  return {
    known_usd: margin === undefined ? null : formatUsd(margin),
    percent: margin === undefined || finance.revenueNanos === undefined ? null : percentText(margin, finance.revenueNanos),
    unknown: [...new Set(unknown)].sort(),
  };
}

/** A share in percent with one decimal, half rounded away from zero; `null` of nothing. */
export function percentText(part: Nanos, whole: Nanos): string | null {
  if (whole <= 0n) return null;
  const magnitude = ((part < 0n ? -part : part) * 2000n + whole) / (whole * 2n);
  return `${part < 0n && magnitude > 0n ? '-' : ''}${magnitude / 10n}.${magnitude % 10n}`;
}

/** An optional amount on the wire. */
export function usdOrNull(nanos: Nanos | undefined): string | null {
  return nanos === undefined ? null : formatUsd(nanos);
}
