import type { z } from 'zod';
import type { SpendRow } from '../store/store.ts';
import { costOf, marginOf, sumFinance, usdOrNull } from '../views/index.ts';
import type { totalsShape } from './shapes.ts';

/** What a unit of spend cost and earned, on the wire. */
export function totalsOf(row: SpendRow): z.output<typeof totalsShape> {
  return {
    id: row.id,
    cost: costOf(row),
    revenue_usd: usdOrNull(row.revenueNanos),
    margin: marginOf(row, row.unknownCosts === 0 ? [] : [`unpriced_calls:${row.unknownCosts}`]),
    counts: { requests: row.requests, tool_calls: row.toolCalls, retries: row.retries, runs: row.runs },
  };
}

/** The sum of rows, under one id. */
export function sumOf(id: string, rows: readonly SpendRow[]): SpendRow {
  const count = (number: (row: SpendRow) => number): number => rows.reduce((total, row) => total + number(row), 0);
  return {
    id,
    ...sumFinance(rows),
    unknownCosts: count((row) => row.unknownCosts),
    requests: count((row) => row.requests),
    toolCalls: count((row) => row.toolCalls),
    retries: count((row) => row.retries),
    runs: count((row) => row.runs),
  };
}
