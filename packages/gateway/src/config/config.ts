import { z } from 'zod';
import { parseUsd } from '@runpurse/core';
import { sandboxScripts } from '../providers/sandbox/script.ts';

/** The shape of runpurse.yaml (DESIGN §10). Strict: an unknown key is a mistake and is named with its path. */

export const usdAmount = z.union([z.string(), z.number()]).transform((value, context) => {
  const nanos = parseUsd(typeof value === 'number' ? String(value) : value.trim());
  if (nanos === undefined || nanos < 0n) {
    context.addIssue({
      code: 'custom',
      message: `must be a dollar amount such as "0.50" (up to 9 decimals), not ${JSON.stringify(value)}`,
    });
    return z.NEVER;
  }
  return nanos;
});

const name = z.string().min(1).max(128);

export const providerConfig = z.strictObject({
  name: name.regex(/^[a-z0-9][a-z0-9_-]*$/, 'must be lower-case letters, digits, - or _'),
  kind: z.enum(['openai', 'anthropic', 'sandbox']),
  base_url: z.url({ protocol: /^https?$/ }).optional(),
  api_key: z
    .string()
    .trim()
    .min(1)
    .superRefine((key, context) => {
      // Its text is not shown: it is a secret.
      if (!/^[\x21-\x7e]*$/.test(key))
        context.addIssue({ code: 'custom', message: 'holds a space, a line break or another character that no header can carry' });
    })
    .optional(),
  /** Models this provider claims as bare names; without it, those its price source lists for it. */
  models: z.array(name).optional(),
  headers: z.record(z.string(), z.string()).optional(),
  /** Which provider of the price source its models are priced as; default: by name. */
  price_as: name.optional(),
  timeout_s: z.number().positive().default(600),
  max_connections: z.number().int().positive().default(256),
  /** What a `sandbox` provider says, by model: inline, or a file of the same shape (providers/sandbox/README.md). */
  scripts: z.union([z.string().min(1), sandboxScripts]).optional(),
});
export type ProviderConfig = z.infer<typeof providerConfig>;

/** An operator's price for a model, per million tokens; wins over the price source. `"0"` declares a local model free. */
export const priceOverride = z.strictObject({
  provider: name.optional(),
  model: name,
  input_mtok_usd: usdAmount,
  output_mtok_usd: usdAmount,
  cache_read_mtok_usd: usdAmount.optional(),
  cache_write_5m_mtok_usd: usdAmount.optional(),
  cache_write_1h_mtok_usd: usdAmount.optional(),
  audio_input_mtok_usd: usdAmount.optional(),
  audio_output_mtok_usd: usdAmount.optional(),
  request_usd: usdAmount.optional(),
  web_search_usd: usdAmount.optional(),
  max_output_tokens: z.number().int().positive().optional(),
  max_input_tokens: z.number().int().positive().optional(),
});
export type PriceOverride = z.infer<typeof priceOverride>;

export const BUDGET_SCOPES = ['request', 'run', 'session', 'workflow', 'agent', 'member', 'customer', 'workspace', 'key'] as const;
export type BudgetScope = (typeof BUDGET_SCOPES)[number];

/** Spellings of the Alephant surfaces (facts §3) for the same three actions. */
const ACTION_ALIASES: Readonly<Record<string, 'block' | 'alert_only' | 'pause'>> = {
  block: 'block',
  block_requests: 'block',
  disable_key: 'block',
  alert_only: 'alert_only',
  'alert-only': 'alert_only',
  pause: 'pause',
  pause_all: 'pause',
};

export const budgetConfig = z.strictObject({
  /** Name in refusals and lists; made from scope and id when left out. */
  name: name.optional(),
  /** Only this workspace's spend; left out: every workspace, each with its own counters. */
  workspace: name.optional(),
  scope: z.enum(BUDGET_SCOPES),
  id: z.string().min(1).max(256).default('*'),
  window: z.enum(['lifetime', 'day', 'month']).default('lifetime'),
  limit_usd: usdAmount,
  action: z
    .string()
    .default('block')
    .transform((value, context) => {
      const action = ACTION_ALIASES[value];
      if (action === undefined) {
        context.addIssue({ code: 'custom', message: `must be block, alert_only or pause, not ${JSON.stringify(value)}` });
        return z.NEVER;
      }
      return action;
    }),
  on_exceed: z.enum(['refuse', 'clamp']).default('refuse'),
  thresholds: z.array(z.number().int().min(1).max(100)).default([50, 75, 90, 100]),
});
export type BudgetConfig = z.infer<typeof budgetConfig>;

export const BOUND_NAMES = ['max_runtime_s', 'max_steps', 'max_requests', 'max_tool_calls', 'max_retries', 'max_repeats'] as const;
export type BoundName = (typeof BOUND_NAMES)[number];

export const boundConfig = z.strictObject({
  workspace: name.optional(),
  scope: z.enum(['run', 'session']),
  id: z.string().min(1).max(256).default('*'),
  max_runtime_s: z.number().positive().optional(),
  max_steps: z.number().int().positive().optional(),
  /** Model calls. */
  max_requests: z.number().int().positive().optional(),
  max_tool_calls: z.number().int().positive().optional(),
  max_retries: z.number().int().nonnegative().optional(),
  /** Identical calls in a row: this many are let through, the next is a loop. */
  max_repeats: z.number().int().positive().optional(),
});
export type BoundConfig = z.infer<typeof boundConfig>;

const RULE_EFFECTS = ['allow', 'block', 'audit', 'skip'] as const;
/** Named by DESIGN §6 and not built yet: refused at start, so that nobody believes a call waits for an approval. */
const EFFECTS_TO_COME: readonly unknown[] = ['require_approval', 'route'];

/** A policy rule (DESIGN §6). `when` is CEL; the ready-made types `models`, `providers`, `tools` are lists of glob patterns. */
export const ruleConfig = z.strictObject({
  id: name,
  revision: z.union([z.string(), z.number().int()]).transform(String).default('1'),
  phase: z.union([
    z.enum(['model_request', 'tool_call', 'run_update', 'endpoint_call']),
    z.array(z.enum(['model_request', 'tool_call', 'run_update', 'endpoint_call'])).min(1),
  ]),
  when: z.string().min(1).optional(),
  effect: z.enum(RULE_EFFECTS, {
    error: ({ input }) =>
      EFFECTS_TO_COME.includes(input)
        ? `${JSON.stringify(input)} comes with a later version of Runpurse; until then a rule can ${RULE_EFFECTS.join(', ')}`
        : `must be one of ${RULE_EFFECTS.join(', ')}, not ${JSON.stringify(input)}`,
  }),
  reason: z.string().min(1).max(500).optional(),
});
export type RuleConfig = z.infer<typeof ruleConfig>;

/** Ready-made gates: what stands in `allow` is all that may be used; `deny` beats it. Patterns may hold `*`. */
const gate = z.strictObject({ allow: z.array(name).optional(), deny: z.array(name).optional() });

export const gatewayConfig = z.strictObject({
  providers: z.array(providerConfig).default([{ name: 'sandbox', kind: 'sandbox', timeout_s: 600, max_connections: 256 }]),
  prices: z.array(priceOverride).default([]),
  /** What an unknown model costs per million tokens when a hard budget applies; left out: such a call is refused (422). */
  fallback_price: z.strictObject({ input_mtok_usd: usdAmount, output_mtok_usd: usdAmount }).optional(),
  tools: z.array(z.strictObject({ name, price_usd: usdAmount, charge_on_failure: z.boolean().default(true) })).default([]),
  budgets: z.array(budgetConfig).default([]),
  bounds: z.array(boundConfig).default([]),
  policy: z
    .strictObject({
      rules: z.array(ruleConfig).default([]),
      models: gate.optional(),
      providers: gate.optional(),
      tools: gate.optional(),
    })
    .prefault({}),
  rate: z.strictObject({ requests_per_minute: z.number().int().positive().default(100) }).prefault({}),
  webhooks: z
    .strictObject({
      /** May webhooks go to loopback and private addresses? `allow` suits a gateway beside its receivers; `refuse` one that strangers hold keys of. */
      private_addresses: z.enum(['allow', 'refuse']).default('allow'),
    })
    .prefault({}),
  limits: z
    .strictObject({
      max_request_bytes: z
        .number()
        .int()
        .positive()
        .default(32 * 1024 * 1024),
      /** A reply that is not streamed is metered whole; a longer one is passed on as it comes and charged at its hold. */
      max_response_bytes: z
        .number()
        .int()
        .positive()
        .default(64 * 1024 * 1024),
      /** A stream longer than this is cut off and charged for what was produced. */
      max_stream_bytes: z
        .number()
        .int()
        .positive()
        .default(256 * 1024 * 1024),
      max_header_bytes: z
        .number()
        .int()
        .positive()
        .default(32 * 1024),
      max_batch_events: z.number().int().positive().default(1000),
      max_event_body_bytes: z
        .number()
        .int()
        .positive()
        .default(4 * 1024 * 1024),
      max_event_metadata_bytes: z
        .number()
        .int()
        .positive()
        .default(16 * 1024),
    })
    .prefault({}),
  ingest: z
    .strictObject({
      /** A directory of event mappings (*.json) beside those that come with the gateway (mappings/README.md). */
      mappings: z.string().min(1).optional(),
    })
    .prefault({}),
  store: z
    .strictObject({
      /** `full`: an admitted call's intent survives power loss. `relaxed`: it survives a killed process. */
      durability: z.enum(['full', 'relaxed']).default('full'),
      max_size_mb: z.number().positive().optional(),
      /** An authorization of a call that did not go through the gateway, and that nobody settled, is charged after this. */
      authorization_ttl_s: z.number().positive().default(900),
      /** A run that nobody ended and that was quiet this long leaves memory (it stays open and comes back when used). */
      idle_run_s: z.number().positive().default(300),
    })
    .prefault({}),
});
export type GatewayConfig = z.infer<typeof gatewayConfig>;
