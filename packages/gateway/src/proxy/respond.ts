import type { ServerResponse } from 'node:http';
import { REFUSALS, type Refusal } from '@runpurse/core';
import { KEY_CHALLENGE } from '../refusal-status.ts';
import type { Wire } from '../wires/wire.ts';

/** Refused calls are answered with headers that keep official clients from trying again blindly. */
export function respondRefusal(
  response: ServerResponse,
  wire: Pick<Wire, 'refusalBody'>,
  refusal: Refusal,
  requestId: string | undefined,
): void {
  if (response.headersSent || response.destroyed) return;
  const body = Buffer.from(JSON.stringify(wire.refusalBody(refusal, requestId)));
  const headers: string[] = ['content-type', 'application/json', 'content-length', String(body.length), 'x-should-retry', 'false'];
  if (requestId !== undefined) headers.push('x-runpurse-request-id', requestId);
  if (typeof refusal.details?.['run_id'] === 'string') headers.push('x-runpurse-run-id', headerSafe(refusal.details['run_id']));
  headers.push('x-runpurse-policy', 'denied', 'x-runpurse-refusal', refusal.code);
  if (refusal.retryAfterSeconds !== undefined) headers.push('retry-after', String(refusal.retryAfterSeconds));
  if (refusal.code === 'invalid_key') headers.push('www-authenticate', KEY_CHALLENGE);
  // What is left of a body that is too large is not read: the connection ends with this answer.
  if (refusal.code === 'request_too_large') headers.push('connection', 'close');
  response.writeHead(REFUSALS[refusal.code].status, headers);
  response.end(body);
}

const UNSAFE = /[^\x20-\x7e]/;

/** A caller's id as a header value: percent-encoded when it holds what a header can't. */
export function headerSafe(value: string): string {
  return UNSAFE.test(value) ? encodeURIComponent(value) : value;
}
