import type { GatewayUnavailableError } from '../errors/runpurse-error.ts';
import { RefusedError } from '../errors/runpurse-error.ts';
import type { Refusal } from './refusal.ts';

/**
 * The gateway's answer to "may this happen?", as a value. `proceed` already holds the failure policy: an adapter that
 * reads nothing else does the right thing.
 */
export type Decision =
  | { readonly type: 'allowed'; readonly proceed: true; readonly warnings: readonly string[] }
  | { readonly type: 'denied'; readonly proceed: false; readonly refusal: Refusal }
  /** No answer. `proceed` is true under the policy `open`, false under `closed`. */
  | { readonly type: 'unavailable'; readonly proceed: boolean; readonly error: GatewayUnavailableError };

export const ALLOWED: Decision = { type: 'allowed', proceed: true, warnings: [] };

/**
 * For hosts that speak in exceptions: throws RefusedError for a denial, and GatewayUnavailableError when there was no
 * answer and the failure policy is `closed`. Returns the decision otherwise.
 */
export function orThrow(decision: Decision): Decision {
  if (decision.proceed) return decision;
  throw decision.type === 'denied' ? new RefusedError(decision.refusal) : decision.error;
}
