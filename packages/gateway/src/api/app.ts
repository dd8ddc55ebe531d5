import { OpenAPIHono } from '@hono/zod-openapi';
import type { Hono } from 'hono';
import { RunpurseError, type Refusal } from '@runpurse/core';
import type { Gateway } from '../gateway.ts';
import { StoreError } from '../store/store.ts';
import { WIRES } from '../wires/index.ts';
import { findCaller } from './caller.ts';
import { createLiveLog } from './live-log.ts';
import { createMetrics } from './metrics.ts';
import { openApiDocument } from './openapi.ts';
import { LEDGER_UNAVAILABLE } from '../admit/refusals.ts';
import { refusalResponse } from './refusal-response.ts';
import { mount, type Answer, type AnyRoute } from './route.ts';
import { budgetRoutes } from './routes/budgets.ts';
import { checkRoutes } from './routes/check.ts';
import { cockpitRoutes } from './routes/cockpit.ts';
import { eventRoutes } from './routes/events.ts';
import { logRoutes } from './routes/log.ts';
import { modelRoutes } from './routes/models.ts';
import { runRoutes } from './routes/runs.ts';
import { sessionRoutes } from './routes/sessions.ts';
import { spendRoutes } from './routes/spend.ts';
import { toolRoutes } from './routes/tools.ts';
import { webhookRoutes } from './routes/webhooks.ts';

export interface ApiOptions {
  /** Ends the live streams, so that a closing server need not wait for their readers. */
  readonly closing?: AbortSignal;
  /** Sees each answer before it goes out; tests hold it against the shape its route declares. */
  readonly onAnswer?: (route: AnyRoute, status: number, body: unknown) => void;
  /** Where faults of ours are written; default: standard error. */
  readonly onFault?: (fault: unknown, request: Request) => void;
}

/** Everything the gateway serves besides model traffic. */
export function createApi(gateway: Gateway, options: ApiOptions = {}): Hono {
  const app = new OpenAPIHono();

  const live = createLiveLog(gateway.store, gateway.clock, options.closing ?? new AbortController().signal);
  const routes: readonly AnyRoute[] = [
    ...eventRoutes(gateway),
    ...logRoutes(gateway, live),
    ...checkRoutes(gateway),
    ...runRoutes(gateway),
    ...toolRoutes(gateway),
    ...sessionRoutes(gateway),
    ...spendRoutes(gateway),
    ...budgetRoutes(gateway),
    ...modelRoutes(gateway),
    ...webhookRoutes(gateway),
    ...cockpitRoutes(gateway),
  ];
  const caller = (headers: Headers) => findCaller(gateway.keys, headers);
  for (const declared of routes)
    mount(app, declared, caller, (result) => {
      if (result.type === 'answer') options.onAnswer?.(declared, result.status, result.body);
      return respond(result);
    });
  const allowed = new AllowedMethods(routes.map(({ method, path }) => [method.toUpperCase(), path]));

  openRoutes(app, gateway, allowed);

  app.notFound((context) =>
    respond({ type: 'refused', refusal: allowed.refuse(context.req.method, context.req.path) }, allowed.header(context.req.path)),
  );
  app.onError((fault, context) => {
    if (fault instanceof StoreError) return refusalResponse(LEDGER_UNAVAILABLE);
    (options.onFault ?? writeFault)(fault, context.req.raw);
    return internalFault();
  });
  return app as unknown as Hono;
}

/** Health, readiness, metrics and the API's own description. */
function openRoutes(app: OpenAPIHono, gateway: Gateway, allowed: AllowedMethods): void {
  const metrics = createMetrics(gateway);
  let document: object | undefined;
  for (const path of ['/healthz', '/readyz', '/metrics', '/openapi.json', '/api/v1/cockpit/health', '/ai/models']) allowed.add('GET', path);

  app.get('/healthz', (context) => context.json({ status: 'ok' }));
  app.get('/api/v1/cockpit/health', (context) => context.json({ status: 'ok', degraded: gateway.store.failing, data_source: 'live' }));
  app.get('/readyz', (context) =>
    gateway.store.failing
      ? refusalResponse(LEDGER_UNAVAILABLE)
      : context.json({ status: 'ready', store: { lag_entries: Math.max(0, gateway.store.lastSeq - gateway.store.foldedSeq) } }),
  );
  app.get('/openapi.json', (context) => context.json((document ??= openApiDocument(app))));
  app.get('/metrics', async (context) => {
    const key = findCaller(gateway.keys, context.req.raw.headers);
    if ('code' in key) return refusalResponse(key);
    return context.body(await metrics.scrape(key.workspaceId), 200, { 'content-type': metrics.contentType });
  });
  // The protocol's second name of `/v1/*`.
  app.get('/ai/models', (context) => {
    const url = new URL(context.req.url);
    return app.fetch(new Request(new URL(`/v1/models${url.search}`, url), { headers: context.req.raw.headers }));
  });
}

function respond(result: Answer, headers: Readonly<Record<string, string>> = {}): Response {
  switch (result.type) {
    case 'refused':
      return refusalResponse(result.refusal, headers);
    case 'raw':
      return result.response;
    case 'answer':
      return Response.json(result.body, { status: result.status, headers: { 'cache-control': 'no-store', ...headers } });
  }
}

/** Tells a wrong method from a wrong path. */
class AllowedMethods {
  readonly #routes: { readonly method: string; readonly pattern: RegExp }[] = [];

  constructor(routes: readonly (readonly [string, string])[]) {
    for (const [method, path] of routes) this.add(method, path);
    for (const path of WIRES.keys()) this.add('POST', path);
  }

  add(method: string, path: string): void {
    const pattern = path.replace(/[.]/g, '\\.').replace(/\{\w+\}/g, '[^/]+');
    this.#routes.push({ method, pattern: new RegExp(`^${pattern}$`) });
  }

  of(path: string): readonly string[] {
    return [...new Set(this.#routes.filter(({ pattern }) => pattern.test(path)).map(({ method }) => method))];
  }

  refuse(method: string, path: string): Refusal {
    const methods = this.of(path);
    return methods.length === 0
      ? { code: 'not_found', message: `There is no route ${method} ${shorten(path)}. GET /openapi.json lists what there is.` }
      : { code: 'method_not_allowed', message: `${shorten(path)} takes ${methods.join(' or ')}, not ${method}.` };
  }

  header(path: string): Readonly<Record<string, string>> {
    const methods = this.of(path);
    return methods.length === 0 ? {} : { allow: methods.join(', ') };
  }
}

const PATH_SHOWN_MAX = 200;

function shorten(path: string): string {
  return path.length > PATH_SHOWN_MAX ? `${path.slice(0, PATH_SHOWN_MAX)}…` : path;
}

function internalFault(): Response {
  return Response.json(
    {
      error: {
        message: 'The gateway failed on this request; its log has the cause. Reading the run shows what was booked.',
        type: 'gateway_error',
        param: null,
        code: 'internal',
      },
    },
    { status: 500, headers: { 'x-should-retry': 'false' } },
  );
}

function writeFault(fault: unknown, request: Request): void {
  const text = fault instanceof Error ? (fault.stack ?? fault.message) : String(fault);
  process.stderr.write(
    `runpurse: fault on ${request.method} ${new URL(request.url).pathname}: ${RunpurseError.isInstance(fault) ? fault.message : text}\n`,
  );
}
