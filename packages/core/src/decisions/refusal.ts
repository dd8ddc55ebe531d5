/**
 * Every way the gateway says no, with its HTTP status: the one table adapters, the gateway and the docs read.
 * `retry` tells whether the same call may succeed later without anything being changed.
 */
export const REFUSALS = {
  invalid_request: { status: 400, type: 'invalid_request_error', retry: false },
  invalid_json: { status: 400, type: 'invalid_request_error', retry: false },
  invalid_key: { status: 401, type: 'authentication_error', retry: false },
  budget_exceeded: { status: 402, type: 'budget_error', retry: false },
  policy_denied: { status: 403, type: 'policy_error', retry: false },
  identity_forged: { status: 403, type: 'policy_error', retry: false },
  not_permitted: { status: 403, type: 'permission_error', retry: false },
  not_found: { status: 404, type: 'invalid_request_error', retry: false },
  model_not_found: { status: 404, type: 'invalid_request_error', retry: false },
  method_not_allowed: { status: 405, type: 'invalid_request_error', retry: false },
  run_paused: { status: 409, type: 'conflict_error', retry: false },
  run_ended: { status: 409, type: 'conflict_error', retry: false },
  context_conflict: { status: 409, type: 'conflict_error', retry: false },
  conflict: { status: 409, type: 'conflict_error', retry: false },
  request_too_large: { status: 413, type: 'invalid_request_error', retry: false },
  headers_too_large: { status: 431, type: 'invalid_request_error', retry: false },
  price_unknown: { status: 422, type: 'budget_error', retry: false },
  rate_limited: { status: 429, type: 'rate_limit_error', retry: true },
  provider_failed: { status: 502, type: 'provider_error', retry: false },
  ledger_unavailable: { status: 503, type: 'gateway_error', retry: false },
} as const satisfies Record<string, { status: number; type: string; retry: boolean }>;

export type RefusalCode = keyof typeof REFUSALS;

/** A no, as a value: what was refused, by what, the amounts, and what the reader can do about it. */
export interface Refusal {
  readonly code: RefusalCode;
  /** What happened, to which id, and what to do; never a secret or a prompt. */
  readonly message: string;
  /** The request field at fault, if any. */
  readonly param?: string | undefined;
  /** Name of the budget, bound or rule that decided, such as `run:*` or `no-expensive-models`. */
  readonly blockedBy?: string | undefined;
  /** Machine-readable amounts and names: `limit_usd`, `settled_usd`, `held_usd`, `needed_usd`, `remaining_usd`, … */
  readonly details?: Readonly<Record<string, string | number | boolean>> | undefined;
  /** Seconds after which a retry makes sense; only with `rate_limited`. */
  readonly retryAfterSeconds?: number | undefined;
}
