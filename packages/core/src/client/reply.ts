import { REFUSALS, type Refusal, type RefusalCode } from '../decisions/refusal.ts';
import { redactText } from '../events/redact.ts';
import type { TransportResponse } from './transport.ts';

/** What the gateway answered to a question. */
export type Answer =
  | { readonly type: 'allowed'; readonly warnings: readonly string[] }
  | { readonly type: 'denied'; readonly refusal: Refusal }
  | { readonly type: 'fault'; readonly message: string };

/** What became of a delivery of events. */
export type Delivery =
  | { readonly type: 'delivered' }
  /** The gateway can't take them now. */
  | { readonly type: 'later'; readonly message: string; readonly afterSeconds?: number | undefined }
  /** The gateway will never take this body; parts of it perhaps. */
  | { readonly type: 'rejected'; readonly message: string; readonly code: string | undefined };

/** Refusals that say "you may not", as opposed to those that say that a request of ours was no good or the gateway is ill. */
const DENIALS: ReadonlySet<RefusalCode> = new Set([
  'invalid_key',
  'budget_exceeded',
  'policy_denied',
  'identity_forged',
  'not_permitted',
  'model_not_found',
  'run_paused',
  'run_ended',
  'context_conflict',
  'conflict',
  'price_unknown',
  'rate_limited',
]);

/** For gateways whose codes are not ours: what a status means. */
const CODE_BY_STATUS: Readonly<Record<number, RefusalCode>> = {
  401: 'invalid_key',
  402: 'budget_exceeded',
  403: 'policy_denied',
  409: 'context_conflict',
  422: 'price_unknown',
  423: 'policy_denied',
  429: 'rate_limited',
};

const TOO_LARGE = 413;

/** An event's id was used before, for something else. */
const EVENT_CONFLICT = 'event_id_conflict';

type JsonObject = Readonly<Record<string, unknown>>;

function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function parseJson(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch {
    return undefined;
  }
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

/** Reads the answer to a question. `allowed: false` in a 202 is a denial like any other. */
export function readAnswer(response: TransportResponse): Answer {
  const body = parseJson(response.body);
  if (response.status >= 200 && response.status < 300) return readAccepted(body);
  if (isPage(response.body))
    return { type: 'fault', message: `${faultText(response.status, body)} with a page, which is no answer of a gateway` };
  const refusal = readRefusal(response.status, body, response.headers);
  if (refusal !== undefined && DENIALS.has(refusal.code)) return { type: 'denied', refusal };
  return { type: 'fault', message: faultText(response.status, body) };
}

/** A firewall's or a proxy's page before the gateway: its 403 or 429 is no decision. */
function isPage(body: string): boolean {
  return body.trimStart().startsWith('<');
}

function readAccepted(body: unknown): Answer {
  if (!isObject(body) || typeof body['allowed'] !== 'boolean') {
    return { type: 'fault', message: 'the answer is not that of an agent gateway' };
  }
  const decisions = Array.isArray(body['decisions']) ? body['decisions'].filter(isObject) : [];
  if (body['allowed']) return { type: 'allowed', warnings: decisions.flatMap((decision) => issueTexts(decision['warnings'])) };
  const denied = decisions.find((decision) => decision['allowed'] === false) ?? {};
  const issues = issueTexts(denied['violations']);
  const code = text(denied['code']) ?? text(denied['reason']);
  return {
    type: 'denied',
    refusal: {
      code: isRefusalCode(code) ? code : 'policy_denied',
      message: redactText(
        text(denied['reasonMessage']) ?? issues[0] ?? text(denied['reason']) ?? 'The gateway denied it and gave no reason.',
      ),
      blockedBy: text(denied['blockedBy']) ?? text(denied['policyId']),
    },
  };
}

function issueTexts(issues: unknown): readonly string[] {
  if (!Array.isArray(issues)) return [];
  return issues.filter(isObject).flatMap((issue) => text(issue['reason_message']) ?? text(issue['reason']) ?? []);
}

/** What a delivery's status means. Bodies that the gateway will never take are told from those it can't take now. */
export function readDelivery(response: TransportResponse): Delivery {
  const { status, headers } = response;
  const body = parseJson(response.body);
  if (status >= 200 && status < 300) {
    if (isObject(body)) return { type: 'delivered' };
    // A login page or a proxy's greeting: whoever answered is no gateway, and took nothing.
    return { type: 'later', message: `it answered ${status} with something else than JSON; is this its address?`, afterSeconds: undefined };
  }
  const message = faultText(status, body);
  // A proxy that takes no more at once says so with a page too: smaller bodies pass it.
  if (isPage(response.body) && status !== TOO_LARGE)
    return { type: 'later', message: `${message} with a page; is this its address?`, afterSeconds: retryAfter(headers) };
  const isOurs = status === 400 || status === 402 || status === 403 || status === 409 || status === 413 || status === 422 || status === 423;
  return isOurs ? { type: 'rejected', message, code: codeOf(body) } : { type: 'later', message, afterSeconds: retryAfter(headers) };
}

/** The refusal in an error reply of the gateway, or undefined when it is none. */
export function readRefusal(status: number, body: unknown, headers: Readonly<Record<string, string>> = {}): Refusal | undefined {
  const error = isObject(body) && isObject(body['error']) ? body['error'] : {};
  const sent = codeOf(body) ?? text(error['type']);
  const code = isRefusalCode(sent) ? sent : sent === EVENT_CONFLICT ? 'conflict' : CODE_BY_STATUS[status];
  if (code === undefined) return undefined;
  return {
    code,
    message: redactText(text(error['message']) ?? `The gateway answered ${status}.`),
    param: text(error['param']),
    blockedBy: text(error['blocked_by']),
    details: readDetails(error),
    retryAfterSeconds: REFUSALS[code].retry ? retryAfter(headers) : undefined,
  };
}

function codeOf(body: unknown): string | undefined {
  return isObject(body) && isObject(body['error']) ? text(body['error']['code']) : undefined;
}

export function isRefusalCode(code: unknown): code is RefusalCode {
  return typeof code === 'string' && Object.hasOwn(REFUSALS, code);
}

const ENVELOPE: ReadonlySet<string> = new Set(['message', 'type', 'param', 'code', 'blocked_by']);

function readDetails(error: JsonObject): Refusal['details'] {
  const details = Object.entries(error).filter(
    (entry): entry is [string, string | number | boolean] =>
      !ENVELOPE.has(entry[0]) && (typeof entry[1] === 'string' || typeof entry[1] === 'number' || typeof entry[1] === 'boolean'),
  );
  return details.length === 0 ? undefined : Object.fromEntries(details);
}

function retryAfter(headers: Readonly<Record<string, string>>): number | undefined {
  const seconds = Number(headers['retry-after']);
  return Number.isFinite(seconds) && seconds >= 0 && headers['retry-after'] !== undefined ? seconds : undefined;
}

function faultText(status: number, body: unknown): string {
  const error = isObject(body) && isObject(body['error']) ? body['error'] : undefined;
  const said =
    error === undefined ? undefined : [text(error['code']), text(error['message'])].filter((part) => part !== undefined).join(': ');
  return redactText(said === undefined || said === '' ? `the gateway answered ${status}` : `the gateway answered ${status} ${said}`).slice(
    0,
    500,
  );
}
