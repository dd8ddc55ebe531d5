import { MakeError, FORCED_TYPES } from './make-error.ts';
import { isTruthy } from './functions.ts';
import type { Scope } from './iml.ts';
import { render } from './render.ts';
import { text } from './text.ts';

/** One request of a `*.communication.iml.json`; the directives the app uses, and no other. */
export interface Request {
  readonly url?: string;
  readonly method?: string;
  readonly headers?: Readonly<Record<string, unknown>>;
  readonly qs?: Readonly<Record<string, unknown>>;
  readonly body?: unknown;
  readonly type?: string;
  readonly encodeUrl?: boolean;
  readonly condition?: string;
  readonly pagination?: { readonly qs?: Readonly<Record<string, unknown>>; readonly condition: string };
  readonly response?: ResponseDirectives;
  readonly log?: { readonly sanitize: readonly string[] };
}
export interface ResponseDirectives {
  readonly output?: unknown;
  readonly iterate?: string;
  readonly limit?: unknown;
  readonly valid?: string | { readonly condition: string; readonly message?: string; readonly type?: string };
  readonly error?: ErrorDirectives;
  readonly temp?: Readonly<Record<string, unknown>>;
  readonly data?: Readonly<Record<string, unknown>>;
  readonly metadata?: Readonly<Record<string, unknown>>;
  readonly trigger?: { readonly type: string; readonly order: string; readonly id: string; readonly date: string };
}
type ErrorDirectives = { readonly message: string; readonly type?: string } & Readonly<
  Record<string, string | { readonly message: string; readonly type?: string } | undefined>
>;
export interface Base extends Omit<Request, 'url'> {
  readonly baseUrl?: string;
  readonly timeout?: number;
}

/** What one request brought. */
export interface Answer {
  readonly scope: Scope;
  readonly response: ResponseDirectives;
  /** Undefined: nothing to iterate. */
  readonly items: readonly unknown[] | undefined;
}

/** A request and its answer as Make's console shows them, after `log.sanitize`. */
export interface Logged {
  readonly request: { readonly method: string; readonly url: string; readonly headers: Record<string, string>; readonly body?: string };
  readonly response?: { readonly status: number; readonly body: string };
}

/** Sends one request and reads its answer; a status of 400 and more, and an answer that is not valid, are thrown as Make would. */
export async function send(base: Base, request: Request, scope: Scope, log: Logged[]): Promise<Answer> {
  const method = text(render(request.method ?? 'GET', scope));
  const url = addressOf(base, request, scope);
  for (const [name, value] of Object.entries(filled({ ...base.qs, ...request.qs }, scope))) url.searchParams.append(name, text(value));
  const headers = new Headers();
  for (const [name, value] of Object.entries(filled({ ...base.headers, ...request.headers }, scope))) headers.set(name, text(value));
  const body = method === 'GET' || request.body === undefined ? undefined : bodyOf(request, scope, headers);

  const logged: Logged = {
    request: { method, url: url.href, headers: Object.fromEntries(headers), ...(body === undefined ? {} : { body }) },
  };
  let response: Response;
  try {
    response = await fetch(url, {
      method,
      headers,
      redirect: 'manual',
      signal: AbortSignal.timeout(base.timeout ?? DEFAULT_TIMEOUT_MS),
      ...(body === undefined ? {} : { body }),
    });
  } catch (fault) {
    log.push(sanitized(logged, request.log ?? base.log));
    throw new MakeError('ConnectionError', `The service could not be reached: ${fault instanceof Error ? fault.message : text(fault)}.`);
  }
  const said = await response.text();
  log.push(sanitized({ ...logged, response: { status: response.status, body: said } }, request.log ?? base.log));

  const directives: ResponseDirectives = { ...base.response, ...request.response };
  const answered: Scope = { ...scope, statusCode: response.status, headers: Object.fromEntries(response.headers), body: jsonOrText(said) };
  if (response.status >= 400) throw errorOf(directives.error, answered, undefined);
  const { valid } = directives;
  const condition = typeof valid === 'object' ? valid.condition : valid;
  if (condition !== undefined && !isTruthy(render(condition, answered)))
    throw errorOf(directives.error, answered, typeof valid === 'object' ? valid : undefined);

  const temp = { ...(scope['temp'] as object | undefined), ...(render(directives.temp ?? {}, answered) as object) };
  const container = directives.iterate === undefined ? undefined : render(directives.iterate, answered);
  return { scope: { ...answered, temp }, response: directives, items: Array.isArray(container) ? (container as unknown[]) : undefined };
}

/** https://developers.make.com/custom-apps-documentation/app-components/base: requests time out after 40 seconds by default. */
const DEFAULT_TIMEOUT_MS = 40_000;

function addressOf(base: Base, request: Request, scope: Scope): URL {
  const path = text(render(request.url ?? '', scope));
  const whole = path.startsWith('/') ? text(render(base.baseUrl ?? '', scope)) + path : path;
  return new URL(request.encodeUrl === false ? whole : encodeURI(whole));
}

/** Headers and query parameters: what is undefined is not sent, null is sent as nothing. */
function filled(templates: Readonly<Record<string, unknown>>, scope: Scope): Record<string, unknown> {
  return render(templates, scope) as Record<string, unknown>;
}

function bodyOf(request: Request, scope: Scope, headers: Headers): string | undefined {
  const value = render(request.body, scope);
  if (request.type === 'text') return value === undefined || value === null ? undefined : text(value);
  if (!headers.has('content-type')) headers.set('content-type', 'application/json');
  return JSON.stringify(value);
}

function jsonOrText(said: string): unknown {
  try {
    return JSON.parse(said);
  } catch {
    return said;
  }
}

function errorOf(
  error: ErrorDirectives | undefined,
  scope: Scope,
  valid: { readonly message?: string; readonly type?: string } | undefined,
): MakeError {
  const status = Number(scope['statusCode']);
  const own = error?.[String(status)];
  const spec = typeof own === 'object' ? own : undefined;
  const message = text(render(valid?.message ?? spec?.message ?? error?.message ?? `[${status}]`, scope));
  const type = FORCED_TYPES.get(status) ?? text(render(valid?.type ?? spec?.type ?? error?.type ?? 'RuntimeError', scope));
  return new MakeError(type, message, { status, body: scope['body'] });
}

/** Without `log` nothing is shown at all. */
function sanitized(logged: Logged, directive: Request['log']): Logged {
  const hidden = new Set(directive?.sanitize ?? []);
  const headers = Object.fromEntries(
    Object.entries(logged.request.headers).map(([name, value]) => [name, hidden.has(`request.headers.${name}`) ? '***' : value]),
  );
  const response = logged.response !== undefined && hidden.has('response.body.secret') ? withoutSecret(logged.response) : logged.response;
  return { request: { ...logged.request, headers }, ...(response === undefined ? {} : { response }) };
}

function withoutSecret(response: NonNullable<Logged['response']>): NonNullable<Logged['response']> {
  const body = jsonOrText(response.body);
  return typeof body === 'object' && body !== null && 'secret' in body
    ? { ...response, body: JSON.stringify({ ...body, secret: '***' }) }
    : response;
}
