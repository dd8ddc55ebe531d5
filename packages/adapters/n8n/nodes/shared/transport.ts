import {
  NodeOperationError,
  type IAllExecuteFunctions,
  type IExecuteFunctions,
  type IHookFunctions,
  type IHttpRequestMethods,
  type ILoadOptionsFunctions,
  type ISupplyDataFunctions,
  type IWebhookFunctions,
} from 'n8n-workflow';

/** Whoever talks to the gateway: a node at work, its option lists, its webhook's life. */
export type Caller = (IExecuteFunctions | ISupplyDataFunctions | ILoadOptionsFunctions | IHookFunctions | IWebhookFunctions) & {
  readonly helpers: IAllExecuteFunctions['helpers'];
};

export const CREDENTIAL = 'runpurseApi';

export interface GatewayRequest {
  readonly method: IHttpRequestMethods;
  /** Begins with `/v1/`. */
  readonly path: string;
  readonly query?: Readonly<Record<string, string>> | undefined;
  readonly headers?: Readonly<Record<string, string>> | undefined;
  readonly body?: object | undefined;
  readonly timeoutMs?: number | undefined;
  /** Sent although the execution was cancelled: what it cost must be told all the same. */
  readonly survivesCancel?: boolean | undefined;
}

/** What came back. Every status is an answer, also a refusal. */
export interface GatewayReply {
  readonly status: number;
  /** Header names are lower-case. */
  readonly headers: Readonly<Record<string, string>>;
  /** Parsed JSON, or undefined when it was none. */
  readonly body: unknown;
  readonly text: string;
}

/** What the credential says beside the key. */
export interface Settings {
  /** Without path and trailing slash. */
  readonly baseUrl: string;
  readonly failurePolicy: 'open' | 'closed';
  readonly instance: string;
}

const TIMEOUT_MS = 15_000;
const NO_ADDRESS =
  'The Gateway URL of the Runpurse credential is no address of a gateway: give one such as http://127.0.0.1:8787, with http:// or https:// in front and nothing behind a ? or #.';

/** The credential's settings; its key stays where it is, n8n puts it on requests itself. */
export async function settingsOf(caller: Caller): Promise<Settings> {
  const credential = await caller.getCredentials(CREDENTIAL);
  const baseUrl = baseOf(textOf(credential['baseUrl']));
  // Else each request would fail as if the gateway were away, and workflows would go on unchecked.
  if (!isAddress(baseUrl)) throw new NodeOperationError(caller.getNode(), NO_ADDRESS);
  return {
    baseUrl,
    failurePolicy: credential['failurePolicy'] === 'closed' ? 'closed' : 'open',
    instance: textOf(credential['instance']).trim(),
  };
}

function isAddress(baseUrl: string): boolean {
  return /^https?:\/\//i.test(baseUrl) && !/[?#]/.test(baseUrl) && URL.canParse(baseUrl);
}

/** A gateway's address without trailing slash and `/v1`. */
export function baseOf(url: string): string {
  return url.trim().replace(/\/+$/, '').replace(/\/v1$/, '');
}

/**
 * One request to the gateway; resolves with every status, rejects only when no answer came. Never sends twice: what
 * costs money is repeated by the workflow's owner alone. No redirect is followed, the key would travel along.
 */
export async function send(caller: Caller, baseUrl: string, request: GatewayRequest): Promise<GatewayReply> {
  const by = request.survivesCancel === true ? uncancelled(caller) : caller;
  const reply = (await caller.helpers.httpRequestWithAuthentication.call(by, CREDENTIAL, {
    method: request.method,
    url: `${baseUrl}${request.path}`,
    headers: { accept: 'application/json', ...(request.body && { 'content-type': 'application/json' }), ...request.headers },
    ...(request.query && { qs: { ...request.query } }),
    ...(request.body && { body: JSON.stringify(request.body) }),
    encoding: 'text',
    json: false,
    returnFullResponse: true,
    ignoreHttpStatusErrors: true,
    disableFollowRedirect: true,
    timeout: request.timeoutMs ?? TIMEOUT_MS,
  })) as { readonly statusCode: number; readonly headers: Readonly<Record<string, unknown>>; readonly body: unknown };
  const text = typeof reply.body === 'string' ? reply.body : JSON.stringify(reply.body ?? '');
  return {
    status: reply.statusCode,
    headers: Object.fromEntries(Object.entries(reply.headers).map(([name, value]) => [name.toLowerCase(), String(value)])),
    body: jsonOf(text),
    text,
  };
}

/** The caller without the execution's cancel signal, which n8n puts on every request of a context that has one. */
export function uncancelled(caller: Caller): Caller {
  return {
    helpers: caller.helpers,
    logger: caller.logger,
    getCredentials: caller.getCredentials.bind(caller),
    getNode: caller.getNode.bind(caller),
  } as unknown as Caller;
}

export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A text as it is, anything else as nothing. */
export function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

/** What the text says in JSON, or undefined when it is none. */
export function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}
