import { z } from 'zod';
import { formatUsd, parseUsd } from '../money/nanos.ts';
import { RUN_STATUSES } from '../shapes/run.ts';

const USD_NUMBER_MAX = 1e9;

/**
 * A dollar amount as a sender may write it: a decimal string, or a number (rounded to nine decimals). Never negative:
 * a reported cost can't give money back.
 */
const amount = z.union([z.string(), z.number()]).transform((value, context) => {
  const text = typeof value === 'string' ? value.trim() : Math.abs(value) <= USD_NUMBER_MAX ? value.toFixed(9) : '';
  const nanos = parseUsd(text);
  if (nanos === undefined || nanos < 0n) {
    context.addIssue({ code: 'custom', message: 'must be a non-negative decimal dollar amount such as "0.086"' });
    return z.NEVER;
  }
  return formatUsd(nanos);
});

const count = z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER);
/** More than any one call can read or write: a figure above it was not measured, and would be booked as told. */
const USED_MAX = 1_000_000_000;
const used = count.max(USED_MAX).nullish();

/** A figure that a call's usage may have. */
export function isUsed(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 && value <= USED_MAX;
}

const text = z.string();
/** What is priced and ruled over by its name is that also with a space around it. */
const called = z.string().trim();

/** Tokens as a sender reports them, in the disjoint classes of `usageShape`. Left out or null is unknown, never 0. */
export const reportedUsage = z.object({
  /** Neither read from nor written to a cache, and not audio. */
  input_tokens: used,
  cache_read_tokens: used,
  cache_write_5m_tokens: used,
  cache_write_1h_tokens: used,
  /** All output but audio, reasoning included. */
  output_tokens: used,
  /** Part of `output_tokens`. */
  reasoning_tokens: used,
  audio_input_tokens: used,
  audio_output_tokens: used,
  web_searches: used,
});
export type ReportedUsage = z.infer<typeof reportedUsage>;

const bound = z.number().positive();

/** Bounds a run states at its start (metadata of `run.started`). */
export const reportedBounds = z.object({
  max_runtime_s: bound.optional(),
  max_steps: bound.int().optional(),
  max_requests: bound.int().optional(),
  max_tool_calls: bound.int().optional(),
  max_retries: count.optional(),
  max_repeats: bound.int().optional(),
});
export type ReportedBounds = z.infer<typeof reportedBounds>;

/** Where a call stands as its sender saw it end. */
export const EVENT_STATUSES = [...RUN_STATUSES, 'aborted', 'denied'] as const;

/**
 * The metadata keys that carry meaning, each with its type: the ONE definition the client writes by and the gateway
 * reads by. All are optional; every other key is kept as it is and means nothing.
 */
export const METADATA_FIELDS = {
  /** Model asked for, or in `llm.call.completed` the one that answered. */
  model: called,
  provider: called,
  /** Falls back to the event's `name`. */
  tool_name: called,
  usage: reportedUsage,
  /** What the call cost, as far as the sender knows. */
  cost_usd: amount,
  /** The tool was not called, so it costs nothing: its result came out of its framework's cache. */
  from_cache: z.boolean(),
  /** On `tool.call.failed` and `llm.call.failed`: the call was asked for and not made after all, so its hold is given back. */
  released: z.boolean(),
  /** The step holds this one model call and no other, so that asked for or told again it is the same. */
  one_call: z.boolean(),
  status: z.enum(EVENT_STATUSES),
  /** Why something failed or ended; redacted and cut by the client. */
  message: text,
  severity: text,
  /** `x-runpurse-request-id` of the model call this event is about. */
  request_id: text,
  /** The sender says that the gateway carried this model call: the event adds no cost. */
  carried: z.boolean(),
  /** Upper bounds on a call to be authorized. */
  max_output_tokens: count,
  input_tokens_max: count,
  /** Finance of `run.completed`, `run.failed` and `finance.recorded`. */
  revenue_usd: amount,
  outbound_usd: amount,
  fees_usd: amount,
  /** Cap and bounds of `run.started`. */
  limit_usd: amount,
  bounds: reportedBounds,
  session_name: text,
  session_path: text,
  properties: z.record(z.string(), z.string()),
  /** The type as its framework spelled it, when it was mapped. */
  raw_event_type: text,
  duration_ms: z.number().nonnegative(),
  latency_ms: z.number().nonnegative(),
  /** Of the Alephant protocol; self-reported, so nothing is decided on them here. */
  estimated_cost_cents: z.number().int(),
  request_count: z.number().int(),
  duration_sec: z.number(),
  retry_count: z.number().int(),
} as const;

type KnownMetadata = { readonly [Key in keyof typeof METADATA_FIELDS]?: z.infer<(typeof METADATA_FIELDS)[Key]> | undefined };

/** Metadata after parsing: known keys have their type, unknown ones are whatever JSON they were. */
export type EventMetadata = KnownMetadata & { readonly [key: string]: unknown };
