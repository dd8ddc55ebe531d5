import type { Refusal } from './refusal.ts';
import { isRefusalCode, readRefusal } from '../client/reply.ts';
import { RefusedError } from '../errors/runpurse-error.ts';

const CAUSES_MAX = 8;

/**
 * The gateway's refusal inside an error that a framework or a provider's client threw for a carried model call; undefined
 * when the gateway did not refuse. Understands RefusedError, the official `openai` and `@anthropic-ai/sdk` errors, axios
 * and fetch-like errors, and looks through `cause`, `error` and `originalError`.
 */
export function refusalOf(error: unknown): Refusal | undefined {
  try {
    return findRefusal(error);
  } catch {
    // Its getters threw: no HTTP client makes such errors.
    return undefined;
  }
}

function findRefusal(error: unknown): Refusal | undefined {
  let queue: unknown[] = [error];
  const seen = new Set<unknown>();
  while (queue.length > 0 && seen.size < CAUSES_MAX) {
    const [current, ...rest] = queue;
    queue = rest;
    if (typeof current !== 'object' || current === null || seen.has(current)) continue;
    seen.add(current);
    if (RefusedError.isInstance(current)) return current.refusal;
    const refusal = fromHttpError(current);
    if (refusal !== undefined) return refusal;
    const { cause, originalError, lastError, errors } = current as HttpError;
    queue.push(cause, originalError, lastError, ...(Array.isArray(errors) ? (errors as unknown[]) : []));
  }
  return undefined;
}

/** The fields in which HTTP clients' errors keep the status, the body and the headers of a reply. */
interface HttpError {
  readonly status?: unknown;
  readonly statusCode?: unknown;
  readonly headers?: unknown;
  readonly responseHeaders?: unknown;
  /** openai: the envelope's inside; anthropic: the whole body. */
  readonly error?: unknown;
  readonly data?: unknown;
  readonly body?: unknown;
  readonly responseBody?: unknown;
  readonly response?:
    { readonly status?: unknown; readonly data?: unknown; readonly body?: unknown; readonly headers?: unknown } | undefined;
  readonly code?: unknown;
  readonly type?: unknown;
  readonly message?: unknown;
  readonly cause?: unknown;
  readonly originalError?: unknown;
  readonly lastError?: unknown;
  readonly errors?: unknown;
}

function fromHttpError(error: HttpError): Refusal | undefined {
  const status = [error.status, error.statusCode, error.response?.status].find((value) => typeof value === 'number');
  const headers = plainHeaders(error.headers ?? error.responseHeaders ?? error.response?.headers);
  const bodies = [error.error, error.body, error.responseBody, error.data, error.response?.data, error.response?.body];
  for (const body of bodies) {
    const envelope = asEnvelope(body);
    // Only a code of ours counts: a provider's own 402 or 429 passes through the gateway and is no refusal of it.
    if (envelope !== undefined && isRefusalCode(envelope.error['code']))
      return readRefusal(typeof status === 'number' ? status : 0, envelope, headers);
  }
  return isRefusalCode(error.code) && typeof status === 'number'
    ? readRefusal(status, { error: { code: error.code, message: error.message } }, headers)
    : undefined;
}

/** `{error: {…}}`, whether the client kept the body as text, whole, or only the inside. */
function asEnvelope(body: unknown): { readonly error: Readonly<Record<string, unknown>> } | undefined {
  let value = body;
  if (typeof value === 'string') {
    try {
      value = JSON.parse(value) as unknown;
    } catch {
      return undefined;
    }
  }
  if (typeof value !== 'object' || value === null) return undefined;
  const inner = (value as { error?: unknown }).error;
  return { error: (typeof inner === 'object' && inner !== null ? inner : value) as Record<string, unknown> };
}

function plainHeaders(headers: unknown): Record<string, string> {
  if (typeof headers !== 'object' || headers === null) return {};
  const entries: Iterable<[unknown, unknown]> =
    Symbol.iterator in headers ? (headers as Iterable<[unknown, unknown]>) : Object.entries(headers);
  const plain: Record<string, string> = {};
  for (const [name, value] of entries) plain[String(name).toLowerCase()] = String(value);
  return plain;
}
