import type { ZObject } from 'zapier-platform-core';
import { GatewayUnavailableError, refusalOf, RunpurseError, type Refusal } from '@runpurse/core';

/** What a step was refused by, in the words Zapier shows: the Zap stops cleanly, nothing was called. */
export function haltedText(refusal: Refusal): string {
  return `Stopped by Runpurse (${refusal.code}): ${refusal.message}`;
}

/** Refusals that end the run's work, as opposed to those that say the step is set up wrongly. */
const HALTS: ReadonlySet<string> = new Set(['budget_exceeded', 'policy_denied', 'price_unknown', 'run_ended', 'run_paused']);

export function isHalting(refusal: Refusal): boolean {
  return HALTS.has(refusal.code);
}

/** A refusal as Zapier's own kind of error: halted, throttled (tried again later), expired connection, or plainly wrong. */
export function refusalError(z: ZObject, refusal: Refusal, status: number): Error {
  if (isHalting(refusal)) return new z.errors.HaltedError(haltedText(refusal));
  if (refusal.code === 'rate_limited') return new z.errors.ThrottledError(refusal.message, refusal.retryAfterSeconds);
  if (refusal.code === 'invalid_key')
    return new z.errors.ExpiredAuthError(
      'Runpurse does not accept this key any more. Make a new one (`runpurse keys create`) and reconnect Runpurse in Zapier.',
    );
  return new z.errors.Error(refusal.message, refusal.code, status);
}

/** A fault between here and the gateway. The step failed, so Zapier may play it again; the same call is not charged twice. */
export function unavailableError(z: ZObject, message: string): Error {
  return new z.errors.Error(message, 'gateway_unavailable', 503);
}

/** Told apart by what `unavailableError` writes: Zapier's errors keep their code in their message. */
export function isUnavailable(error: unknown): boolean {
  return error instanceof Error && error.name === 'AppError' && error.message.includes('"gateway_unavailable"');
}

/** An answer that is no success, as an error. */
export function answerError(z: ZObject, status: number, body: string, headers: Readonly<Record<string, string>>): Error {
  const refusal = refusalOf({ status, body, headers });
  if (refusal !== undefined && (status < 500 || refusal.code === 'provider_failed')) return refusalError(z, refusal, status);
  const said = messageIn(body);
  if (refusal !== undefined || said === undefined)
    return unavailableError(
      z,
      refusal?.message ??
        `The address of this connection answered ${status} with something that is not from a Runpurse gateway. Check the gateway's address.`,
    );
  return new z.errors.Error(said, 'provider_failed', status);
}

/** Core's own errors as Zapier's; what is neither passes through. */
export function zapierError(z: ZObject, error: unknown): unknown {
  if (error instanceof GatewayUnavailableError) return unavailableError(z, error.message);
  const refusal = refusalOf(error);
  if (refusal !== undefined) return refusalError(z, refusal, 0);
  return RunpurseError.isInstance(error) ? new z.errors.Error(error.message, error.code) : error;
}

function messageIn(body: string): string | undefined {
  try {
    const { error } = JSON.parse(body) as { readonly error?: { readonly message?: unknown } };
    return typeof error?.message === 'string' ? error.message : undefined;
  } catch {
    return undefined;
  }
}
