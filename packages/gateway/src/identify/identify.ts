import { contextFromHeaders, HEADER_VALUE_BYTES_MAX, type AgentContext, type Refusal } from '@runpurse/core';
import type { IncomingHttpHeaders } from 'node:http';
import type { Subject } from '../admit/types.ts';
import type { Ids } from '../gateway.ts';
import type { StoredKey } from '../store/store.ts';
import type { KeyRing } from './key-ring.ts';

/** The caller of a model call and whom it is charged to. */
export type Identified =
  | { readonly type: 'identified'; readonly key: StoredKey; readonly subject: Subject }
  | { readonly type: 'refused'; readonly refusal: Refusal };

const BEARER = /^Bearer +(\S+) *$/i;

/** The virtual key's secret, where OpenAI's and Anthropic's clients put it. */
export function secretFrom(authorization: string | undefined, apiKey: string | undefined): string | undefined {
  return BEARER.exec(authorization ?? '')?.[1] ?? apiKey;
}

export const NO_KEY: Refusal = {
  code: 'invalid_key',
  message:
    'This needs a virtual key. Send it as `Authorization: Bearer rp_…` or `x-api-key: rp_…`; `runpurse keys create --workspace W` mints one.',
};

export const UNKNOWN_KEY: Refusal = {
  code: 'invalid_key',
  message:
    'This virtual key is not known here or was revoked. Check that it was copied whole; `runpurse keys create --workspace W` mints another.',
};

/** Identity comes from the key first; a claim that contradicts it is a forgery, not a preference. */
export function forgedClaim(
  key: StoredKey,
  claims: { readonly agentId?: string | undefined; readonly memberId?: string | undefined; readonly workspaceId?: string | undefined },
): Refusal | undefined {
  const forged = (what: string, bound: string, claimed: string): Refusal => ({
    code: 'identity_forged',
    message: `Key ${key.keyId} is bound to ${what} ${bound}, but the call claims ${what} ${claimed}. Nothing was called or charged. Leave the claim out, or use that ${what}'s own key.`,
    param: `${what}_id`,
    details: { key_id: key.keyId },
  });
  if (key.agentId !== undefined && claims.agentId !== undefined && claims.agentId !== key.agentId)
    return forged('agent', key.agentId, claims.agentId);
  if (key.memberId !== undefined && claims.memberId !== undefined && claims.memberId !== key.memberId)
    return forged('member', key.memberId, claims.memberId);
  if (claims.workspaceId !== undefined && claims.workspaceId !== key.workspaceId)
    return forged('workspace', key.workspaceId, claims.workspaceId);
  return undefined;
}

/** Headers that claim what only the key can say. */
const CLAIM_HEADERS = {
  memberId: ['runpurse-member-id', 'alephant-member-id'],
  workspaceId: ['runpurse-workspace-id', 'alephant-workspace-id', 'x-workspace-id'],
} as const;

function claimed(headers: IncomingHttpHeaders, names: readonly string[]): string | undefined {
  for (const name of names) {
    const value = headers[name];
    if (typeof value === 'string' && value.trim() !== '') return value.trim();
  }
  return undefined;
}

/** Finds the key and reads the attribution of a model call. */
export function identify(parts: { readonly keys: KeyRing; readonly ids: Ids }, headers: IncomingHttpHeaders): Identified {
  const apiKey = headers['x-api-key'];
  const secret = secretFrom(headers.authorization, typeof apiKey === 'string' ? apiKey : undefined);
  if (secret === undefined) return { type: 'refused', refusal: NO_KEY };
  const key = parts.keys.find(secret);
  if (key === undefined) return { type: 'refused', refusal: UNKNOWN_KEY };

  const { context } = contextFromHeaders(headers);
  const refusal = forgedClaim(key, {
    agentId: context.agentId,
    memberId: claimed(headers, CLAIM_HEADERS.memberId),
    workspaceId: claimed(headers, CLAIM_HEADERS.workspaceId),
  });
  if (refusal !== undefined) return { type: 'refused', refusal };
  const idempotencyKey = headers[IDEMPOTENCY_HEADER];
  if (idempotencyKey !== undefined) {
    const unusable = unusableKey(idempotencyKey, context.runId);
    if (unusable !== undefined) return { type: 'refused', refusal: unusable };
  }
  return {
    type: 'identified',
    key,
    subject: subjectOf(key, context, headers['x-stainless-retry-count'], idempotencyKey as string | undefined, parts.ids),
  };
}

/** A caller's name for a call of its run; being one of ours, it never reaches a provider. */
const IDEMPOTENCY_HEADER = 'runpurse-idempotency-key';

/** Unlike attribution it is never left out in silence: the call would be charged again. */
function unusableKey(value: string | string[], runId: string | undefined): Refusal | undefined {
  const refuse = (message: string): Refusal => ({ code: 'invalid_request', message, param: IDEMPOTENCY_HEADER });
  if (typeof value !== 'string' || value.trim() === '' || value.length > HEADER_VALUE_BYTES_MAX)
    return refuse(`The idempotency key must be 1 to ${HEADER_VALUE_BYTES_MAX} characters. Nothing was called or charged.`);
  if (runId === undefined)
    return refuse('An idempotency key names a call of a run: send Alephant-Run-Id with it. Nothing was called or charged.');
  return undefined;
}

/** `retryCount` is what the OpenAI and Anthropic clients say of their own retries: 0 for the first try. */
function subjectOf(
  key: StoredKey,
  context: AgentContext,
  retryCount: string | string[] | undefined,
  idempotencyKey: string | undefined,
  ids: Ids,
): Subject {
  const retries = typeof retryCount === 'string' && /^\d{1,4}$/.test(retryCount) ? Number(retryCount) : 0;
  return {
    workspaceId: key.workspaceId,
    keyId: key.keyId,
    runId: context.runId ?? ids.next('run'),
    implicitRun: context.runId === undefined,
    sessionId: context.sessionId,
    workflowId: context.workflowId,
    agentId: key.agentId ?? context.agentId,
    agentName: context.agentName,
    memberId: key.memberId,
    customerId: context.customerId,
    stepId: context.stepId,
    parentStepId: context.parentStepId,
    toolCallId: context.toolCallId,
    graphNode: context.graphNode,
    stepKind: context.stepKind,
    iteration: context.iteration,
    attempt: context.attempt === undefined ? (retries > 0 ? retries + 1 : undefined) : context.attempt + retries,
    properties: context.properties,
    idempotencyKey,
  };
}
