import { REFUSALS, type Refusal } from '@runpurse/core';
import { refusalHeaders } from '../api/refusal-response.ts';
import { openaiRefusal } from '../wires/refusal-body.ts';
import type { JsonObject } from '../wires/wire.ts';

/** What the HTTP layer answers, as a value. */
export interface IngestResult {
  readonly status: number;
  readonly body: JsonObject;
  readonly headers: Readonly<Record<string, string>>;
}

/** Why a body is not taken at all, with its status. Codes are the Alephant protocol's where it has one (facts §2d). */
export const BODY_ERRORS = {
  invalid_event: 400,
  event_id_conflict: 409,
  batch_too_large: 413,
  payload_too_large: 413,
  metadata_too_large: 413,
} as const;

/** Nothing of the body was stored or charged. */
export type NotTaken =
  | {
      readonly type: 'error';
      readonly code: keyof typeof BODY_ERRORS;
      readonly message: string;
      readonly param?: string | undefined;
      readonly count: number;
    }
  | { readonly type: 'refused'; readonly refusal: Refusal; readonly count: number };

/** The protocol's error envelope; `rejected` counts the events that were not taken: all of them, since a batch is one thing. */
export function notTaken(why: NotTaken): IngestResult {
  const counts = { accepted: 0, rejected: why.count };
  if (why.type === 'refused') {
    return {
      status: REFUSALS[why.refusal.code].status,
      body: { ...openaiRefusal(why.refusal, undefined), ...counts },
      headers: refusalHeaders(why.refusal),
    };
  }
  return {
    status: BODY_ERRORS[why.code],
    body: { error: { type: 'agent_gateway_error', code: why.code, message: why.message, param: why.param ?? null }, ...counts },
    headers: { 'x-should-retry': 'false' },
  };
}
