import type { IncomingMessage, OutgoingHttpHeader, OutgoingHttpHeaders, ServerResponse } from 'node:http';

/** A caller states by this header which status a refusal shall have. Being one of ours, it never reaches a provider. */
export const REFUSAL_STATUS_HEADER = 'runpurse-refusal-status';

/** What may be asked for: statuses that no platform takes for a fault of the account. */
const ASKABLE: ReadonlyMap<string, number> = new Map([
  ['402', 402],
  ['422', 422],
]);

/** Statuses that workflow platforms read as a broken connection or an overloaded service, and act on by switching the workflow off. */
const MISREAD: ReadonlySet<number> = new Set([401, 403, 429]);

type Headers = OutgoingHttpHeaders | OutgoingHttpHeader[] | undefined;

/**
 * Answers this request's refusals with the status its caller asked for, on the model path and everywhere else: for
 * platforms to which a 403 means that the account is broken. Body and headers stay as they are, `error.code` says what
 * it was. A key that this gateway does not know stays a 401: there the account IS broken.
 */
export function answerWithAskedStatus(request: IncomingMessage, response: ServerResponse): void {
  const asked = request.headers[REFUSAL_STATUS_HEADER];
  if (typeof asked !== 'string') return;
  const status = ASKABLE.get(asked.trim());
  if (status === undefined) return;
  const writeHead = response.writeHead.bind(response) as (code: number, reason?: string | Headers, headers?: Headers) => ServerResponse;
  response.writeHead = (code: number, reason?: string | Headers, headers?: Headers) => {
    const isOurs401 = code === 401 && namesOurRealm(typeof reason === 'string' ? headers : reason);
    return writeHead(MISREAD.has(code) && !isOurs401 ? status : code, reason, headers);
  };
}

/** The challenge that goes with an unknown key of this gateway, and with nothing of a provider's. */
export const KEY_CHALLENGE = 'Bearer realm="runpurse"';

function namesOurRealm(headers: Headers): boolean {
  if (headers === undefined) return false;
  return (Array.isArray(headers) ? headers : Object.values(headers)).includes(KEY_CHALLENGE);
}
