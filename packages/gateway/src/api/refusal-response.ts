import { REFUSALS, type Refusal } from '@runpurse/core';
import { openaiRefusal } from '../wires/refusal-body.ts';
import type { JsonObject } from '../wires/wire.ts';

/**
 * The one place where a refusal becomes HTTP: status, OpenAI error envelope, and the headers that keep official clients
 * from a blind retry (`x-should-retry` is read by the openai and anthropic SDKs).
 */
export function refusalResponse(refusal: Refusal, extraHeaders: Readonly<Record<string, string>> = {}): Response {
  return new Response(JSON.stringify(refusalBody(refusal)), {
    status: REFUSALS[refusal.code].status,
    headers: { 'content-type': 'application/json', ...refusalHeaders(refusal), ...extraHeaders },
  });
}

/** `{error: {message, type, param, code, blocked_by, …amounts}}`. */
export function refusalBody(refusal: Refusal): JsonObject {
  return openaiRefusal(refusal, undefined);
}

/** The headers that go with a refusal. */
export function refusalHeaders(refusal: Refusal): Readonly<Record<string, string>> {
  return {
    'x-should-retry': String(REFUSALS[refusal.code].retry),
    ...(refusal.retryAfterSeconds === undefined ? {} : { 'retry-after': String(refusal.retryAfterSeconds) }),
    ...(refusal.code === 'invalid_key' ? { 'www-authenticate': 'Bearer realm="runpurse"' } : {}),
  };
}

/** What a failing ledger answers: nothing was called, nothing is charged. */
export const LEDGER_UNAVAILABLE: Refusal = {
  code: 'ledger_unavailable',
  message:
    'The ledger cannot be written or read right now, so nothing was done and nothing is charged. Try again once GET /readyz answers 200; the gateway log names the cause.',
};
