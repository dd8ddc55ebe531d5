import { REFUSALS, type Refusal } from '@runpurse/core';
import { KEY_CHALLENGE } from '../refusal-status.ts';
import { openaiRefusal } from '../wires/refusal-body.ts';
import type { JsonObject } from '../wires/wire.ts';

/**
 * The API's place where a refusal becomes HTTP: status, OpenAI error envelope, and the headers that keep official clients
 * from a blind retry (`x-should-retry` is read by the openai and anthropic SDKs). The model path's, lean and always
 * against a retry, is `proxy/respond.ts`.
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
    ...(refusal.code === 'invalid_key' ? { 'www-authenticate': KEY_CHALLENGE } : {}),
  };
}
