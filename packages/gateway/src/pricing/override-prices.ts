import { createHash } from 'node:crypto';
import type { GatewayConfig, PriceOverride } from '../config/config.ts';
import { compileGlobs } from '../policy/glob.ts';
import type { CardDetails } from './card.ts';
import { dearest, nanosPerMillionFromThousand, perMillion, type Rates } from './rates.ts';

/** The operator's prices as cards, in order of preference: a row that names the provider and the whole model wins. */
export interface OverrideTable {
  find(providerName: string, model: string): Omit<CardDetails, 'now'> | undefined;
}

/** What a search costs when the operator's row states no price for it: that of the large providers, 10 USD per thousand. */
const WEB_SEARCH_USD_PER_THOUSAND = 10;

export function createOverrideTable(rows: readonly PriceOverride[]): OverrideTable {
  const table = rows.map((row) => ({
    row,
    matches: compileGlobs([row.model], { ignoreCase: true }),
    weight: (row.provider === undefined ? 0 : 2) + (row.model.includes('*') ? 0 : 1),
    details: cardDetails(row),
  }));
  table.sort((left, right) => right.weight - left.weight);
  return {
    find: (providerName, model) =>
      table.find(({ row, matches }) => (row.provider === undefined || row.provider === providerName) && matches(model))?.details,
  };
}

/** The card of `fallback_price`. */
export function fallbackCardDetails(price: NonNullable<GatewayConfig['fallback_price']>): Omit<CardDetails, 'now'> {
  return { ...cardDetails({ model: '*', ...price }), source: 'fallback_price' };
}

function cardDetails(row: PriceOverride): Omit<CardDetails, 'now'> {
  return {
    source: 'runpurse.yaml',
    // Rows have no version of their own; their content names it, so a ledger row tells which price it was made with.
    version: createHash('sha256')
      .update(JSON.stringify(row, (_, value: unknown) => (typeof value === 'bigint' ? value.toString() : value)))
      .digest('hex')
      .slice(0, 12),
    outputTokensMax: row.max_output_tokens,
    inputTokensMax: row.max_input_tokens,
    plans: [{ constraint: undefined, tiers: [{ above: -1, rates: overrideRates(row) }] }],
  };
}

function overrideRates(row: PriceOverride): Rates {
  // Dollar amounts are parsed to nanos already, and a price per million is in nanos per million as it stands.
  const input = row.input_mtok_usd;
  const output = row.output_mtok_usd;
  const write = row.cache_write_5m_mtok_usd ?? input;
  const free = input === 0n && output === 0n;
  return {
    input,
    cacheRead: row.cache_read_mtok_usd ?? input,
    cacheWrite5m: write,
    cacheWrite1h: row.cache_write_1h_mtok_usd ?? (write > input ? dearest(write, 2n * input) : write),
    audioInput: row.audio_input_mtok_usd ?? dearest(input, write),
    output,
    audioOutput: row.audio_output_mtok_usd ?? output,
    webSearch:
      row.web_search_usd !== undefined
        ? perMillion(row.web_search_usd)
        : free
          ? 0n
          : nanosPerMillionFromThousand(WEB_SEARCH_USD_PER_THOUSAND),
    request: row.request_usd === undefined ? 0n : perMillion(row.request_usd),
  };
}
