import { isUsed, type ReportedUsage } from './metadata.ts';

/** Usage as most frameworks tell it: totals that contain their parts. */
export interface UsageTotals {
  /** All input, cached and audio included. */
  readonly input?: number | null | undefined;
  readonly cacheRead?: number | null | undefined;
  /** Written to a cache for five minutes (the default of caches that charge for writing). */
  readonly cacheWrite?: number | null | undefined;
  readonly cacheWrite1h?: number | null | undefined;
  readonly audioInput?: number | null | undefined;
  /** All output, reasoning and audio included. */
  readonly output?: number | null | undefined;
  readonly reasoning?: number | null | undefined;
  readonly audioOutput?: number | null | undefined;
}

/**
 * Usage in disjoint classes from totals, as `recordModel` wants it: what was read from a cache is not input again. A
 * total nobody stated stays unknown; undefined when neither total was stated.
 */
export function usageOfTotals(totals: UsageTotals): ReportedUsage | undefined {
  const { input, output } = totals;
  if (!isUsed(input) && !isUsed(output)) return undefined;
  const cacheRead = countOf(totals.cacheRead);
  const cacheWrite = countOf(totals.cacheWrite);
  const cacheWrite1h = countOf(totals.cacheWrite1h);
  const audioInput = countOf(totals.audioInput);
  const audioOutput = countOf(totals.audioOutput);
  return {
    input_tokens: isUsed(input) ? Math.max(0, input - cacheRead - cacheWrite - cacheWrite1h - audioInput) : null,
    cache_read_tokens: cacheRead,
    cache_write_5m_tokens: cacheWrite,
    cache_write_1h_tokens: cacheWrite1h,
    output_tokens: isUsed(output) ? Math.max(0, output - audioOutput) : null,
    reasoning_tokens: countOf(totals.reasoning),
    audio_input_tokens: audioInput,
    audio_output_tokens: audioOutput,
  };
}

function countOf(value: number | null | undefined): number {
  return isUsed(value) ? value : 0;
}
