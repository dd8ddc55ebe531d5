import type { OpenAPIHono, RouteConfig } from '@hono/zod-openapi';
import type { Context } from 'hono';
import type { z } from 'zod';
import { REFUSALS, type Refusal, type RefusalCode } from '@runpurse/core';
import { keysAllowedBy, mistakesOf } from '../config/issues.ts';
import type { StoredKey } from '../store/store.ts';
import { readJsonBody } from './read-body.ts';
import { errorShape } from './shapes.ts';

/** What a handler gives back; a refusal is a value and becomes HTTP in one place. */
export type Answer =
  | { readonly type: 'answer'; readonly status: number; readonly body: unknown }
  | { readonly type: 'refused'; readonly refusal: Refusal }
  | { readonly type: 'raw'; readonly response: Response };

export function answer(body: unknown, status = 200): Answer {
  return { type: 'answer', status, body };
}

export function refused(refusal: Refusal): Answer {
  return { type: 'refused', refusal };
}

type Parsed<Schema> = Schema extends z.ZodType ? z.output<Schema> : undefined;

/** What a handler works on: all of it parsed once, here at the border. */
export interface Call<Params, Query, RequestBody> {
  readonly params: Parsed<Params>;
  readonly query: Parsed<Query>;
  readonly body: Parsed<RequestBody>;
  /** Length as received. */
  readonly bodyBytes: number;
  readonly caller: StoredKey;
  readonly headers: Headers;
  readonly signal: AbortSignal;
}

/**
 * One route: what OpenAPI says of it and what the gateway parses are the same schemas, so they can't drift apart. Every
 * route needs a virtual key; the few open ones (health, the OpenAPI file) are not declared here.
 */
export interface Route<
  Params extends z.ZodObject | undefined,
  Query extends z.ZodObject | undefined,
  RequestBody extends z.ZodType | undefined,
> {
  readonly method: 'get' | 'post' | 'delete';
  /** OpenAPI spelling: `/v1/runs/{id}`. */
  readonly path: string;
  readonly tag: string;
  readonly summary: string;
  readonly description?: string;
  readonly params?: Params;
  readonly query?: Query;
  readonly body?: RequestBody;
  /** An absent body reads as `{}`. */
  readonly bodyOptional?: boolean;
  readonly bodyBytesMax?: number;
  /** What a longer body is answered, where the protocol has its own words. */
  readonly bodyTooLarge?: (bytesMax: number) => Answer;
  /** For OpenAPI, where the body is parsed further in. */
  readonly documentedBody?: z.ZodType;
  readonly admin?: boolean;
  /** Success answers by status; without a shape it has no body. */
  readonly answers: Readonly<Record<number, { readonly description: string; readonly shape?: z.ZodType; readonly contentType?: string }>>;
  /** Refusals beyond those any route can give. */
  readonly refusals?: readonly RefusalCode[];
  handle(call: Call<Params, Query, RequestBody>): Answer | Promise<Answer>;
}

/** A route of any shape, for lists. */
export type AnyRoute = Route<z.ZodObject | undefined, z.ZodObject | undefined, z.ZodType | undefined>;

/** Keeps the schemas' types while declaring. */
export function route<
  Params extends z.ZodObject | undefined = undefined,
  Query extends z.ZodObject | undefined = undefined,
  RequestBody extends z.ZodType | undefined = undefined,
>(declared: Route<Params, Query, RequestBody>): AnyRoute {
  return declared;
}

const BODY_BYTES_MAX = 256 * 1024;
const ALWAYS: readonly RefusalCode[] = ['invalid_key', 'ledger_unavailable'];

/** Serves a route on the app and writes it into the OpenAPI registry. */
export function mount(
  app: OpenAPIHono,
  declared: AnyRoute,
  findCaller: (headers: Headers) => StoredKey | Refusal,
  respond: (result: Answer) => Response,
): void {
  document(app, declared);
  const path = declared.path.replace(/\{(\w+)\}/g, ':$1');
  app.on(declared.method.toUpperCase(), path, async (context) => {
    const call = await readCall(context, declared, findCaller);
    return respond('type' in call ? call : await declared.handle(call));
  });
}

async function readCall(
  context: Context,
  declared: AnyRoute,
  findCaller: (headers: Headers) => StoredKey | Refusal,
): Promise<Call<z.ZodObject | undefined, z.ZodObject | undefined, z.ZodType | undefined> | Answer> {
  const { headers, signal } = context.req.raw;
  const name = `${declared.method.toUpperCase()} ${declared.path}`;
  const caller = findCaller(headers);
  if ('code' in caller) return refused(caller);
  if (declared.admin === true && !caller.admin)
    return refused({
      code: 'not_permitted',
      message: `${name} needs an admin key; key ${caller.keyId} is none. Mint one with \`runpurse keys create --workspace ${caller.workspaceId} --admin\`.`,
    });

  const params = parse(declared.params, context.req.param(), 'path parameter');
  if ('refusal' in params) return refused(params.refusal);
  const query = parse(declared.query, queryOf(context), 'query parameter');
  if ('refusal' in query) return refused(query.refusal);
  const call = { params: params.value, query: query.value, body: undefined, bodyBytes: 0, caller, headers, signal };
  if (declared.body === undefined) return call;

  const bytesMax = declared.bodyBytesMax ?? BODY_BYTES_MAX;
  const read = await readJsonBody(context.req.raw, bytesMax);
  if (read.type === 'refused')
    return read.refusal.code === 'request_too_large' && declared.bodyTooLarge !== undefined
      ? declared.bodyTooLarge(bytesMax)
      : refused(read.refusal);
  if (read.type === 'empty' && declared.bodyOptional !== true)
    return refused({ code: 'invalid_json', message: `${name} needs a JSON body and got none. GET /openapi.json shows its shape.` });
  const body = parse(declared.body, read.type === 'empty' ? {} : read.value, 'field');
  if ('refusal' in body) return refused(body.refusal);
  return { ...call, body: body.value, bodyBytes: read.type === 'empty' ? 0 : read.bytes };
}

/** Repeated query parameters come as a list and are told so by the schema. */
function queryOf(context: Context): Record<string, string | string[]> {
  return Object.fromEntries(
    Object.entries(context.req.queries()).map(([name, values]) => [name, values.length === 1 ? (values[0] ?? '') : values]),
  );
}

function parse(schema: z.ZodType | undefined, value: unknown, what: string): { readonly value: never } | { readonly refusal: Refusal } {
  if (schema === undefined) return { value: undefined as never };
  const result = schema.safeParse(value);
  if (result.success) return { value: result.data as never };
  const [mistake] = mistakesOf(result.error.issues, value, keysAllowedBy(schema));
  const path = mistake?.path ?? '';
  const subject = path === '' ? (what === 'field' ? 'The request body' : 'The request') : `The ${what} ${path}`;
  return {
    refusal: {
      code: 'invalid_request',
      message: `${subject} ${mistake?.message ?? 'is not valid'}.`,
      ...(path === '' ? {} : { param: path }),
    },
  };
}

function document(app: OpenAPIHono, declared: AnyRoute): void {
  const codes: readonly RefusalCode[] = [
    ...(declared.params !== undefined || declared.query !== undefined || declared.body !== undefined ? (['invalid_request'] as const) : []),
    ...(declared.body === undefined ? [] : (['invalid_json', 'request_too_large'] as const)),
    ...(declared.admin === true ? (['not_permitted'] as const) : []),
    ...ALWAYS,
    ...(declared.refusals ?? []),
  ];
  const byStatus = Map.groupBy([...new Set(codes)], (code) => REFUSALS[code].status);
  app.openAPIRegistry.registerPath({
    method: declared.method,
    path: declared.path,
    tags: [declared.tag],
    summary: declared.summary,
    ...(declared.description === undefined ? {} : { description: declared.description }),
    security: [{ virtualKey: [] }],
    request: {
      ...(declared.params === undefined ? {} : { params: declared.params }),
      ...(declared.query === undefined ? {} : { query: declared.query }),
      ...(declared.body === undefined
        ? {}
        : {
            body: {
              required: declared.bodyOptional !== true,
              content: { 'application/json': { schema: declared.documentedBody ?? declared.body } },
            },
          }),
    },
    responses: {
      ...Object.fromEntries(
        Object.entries(declared.answers).map(([status, { description, shape, contentType }]) => [
          status,
          shape === undefined ? { description } : { description, content: { [contentType ?? 'application/json']: { schema: shape } } },
        ]),
      ),
      ...Object.fromEntries(
        [...byStatus].map(([status, ofStatus]) => [
          status,
          { description: ofStatus.join(', '), content: { 'application/json': { schema: errorShape } } },
        ]),
      ),
    },
  } as RouteConfig);
}
