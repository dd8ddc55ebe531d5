import { REFUSALS, type Refusal } from '@runpurse/core';
import type { JsonObject } from './wire.ts';

/** A refusal in OpenAI's error envelope, with the amounts and names beside the message. */
export function openaiRefusal(refusal: Refusal, requestId: string | undefined): JsonObject {
  return { error: { ...refusalFields(refusal), ...(requestId === undefined ? {} : { request_id: requestId }) } };
}

/** The same as Anthropic's clients read it. */
export function anthropicRefusal(refusal: Refusal, requestId: string | undefined): JsonObject {
  return { type: 'error', error: refusalFields(refusal), ...(requestId === undefined ? {} : { request_id: requestId }) };
}

function refusalFields(refusal: Refusal): JsonObject {
  return {
    ...refusal.details,
    message: refusal.message,
    type: REFUSALS[refusal.code].type,
    param: refusal.param ?? null,
    code: refusal.code,
    ...(refusal.blockedBy === undefined ? {} : { blocked_by: refusal.blockedBy }),
  };
}
