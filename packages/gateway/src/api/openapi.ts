import { OpenAPIHono } from '@hono/zod-openapi';
import type { z } from 'zod';
import {
  budgetStateShape,
  requestShape,
  runShape,
  runSummaryShape,
  sessionShape,
  stepShape,
  toolShape,
  decisionShape,
} from '@runpurse/core';
import { logEntryShape } from './log-entry.ts';
import { noticeShape } from './routes/webhooks.ts';
import { budgetShape, errorShape, totalsShape } from './shapes.ts';

/** Of the API, not of the package: it changes when a caller must. */
const API_VERSION = '0.1.0';

/** Shapes that stand once in the file and are referred to by name. */
const NAMED: Readonly<Record<string, z.ZodType>> = {
  Run: runShape,
  RunSummary: runSummaryShape,
  Session: sessionShape,
  Step: stepShape,
  Request: requestShape,
  Tool: toolShape,
  Decision: decisionShape,
  BudgetState: budgetStateShape,
  Budget: budgetShape,
  Totals: totalsShape,
  LogEntry: logEntryShape,
  Notice: noticeShape,
  Error: errorShape,
};

/** The API's description as OpenAPI 3.1, made from the very schemas requests are parsed with. */
export function openApiDocument(app: OpenAPIHono): object {
  const document = app.getOpenAPI31Document({
    openapi: '3.1.0',
    info: {
      title: 'Runpurse gateway',
      version: API_VERSION,
      license: { name: 'MIT', url: 'https://opensource.org/license/mit' },
      description:
        "Agent Finance Gateway: runs, sessions, budgets, policy, log and margin. Money is a decimal string of dollars whose name ends in `_usd`; times are RFC 3339. Model traffic (`/v1/chat/completions`, `/v1/responses`, `/v1/embeddings`, `/v1/messages`) follows the providers' own formats.",
    },
    servers: [{ url: 'http://127.0.0.1:8787' }],
  });
  const schemas = namedSchemas();
  const nameByText = new Map(Object.entries(schemas).map(([name, schema]) => [JSON.stringify(schema), name]));
  const { paths } = refer({ paths: document.paths }, nameByText) as { readonly paths: object };
  return {
    ...document,
    paths,
    components: {
      schemas: Object.fromEntries(Object.entries(schemas).map(([name, schema]) => [name, refer(schema, nameByText, name)])),
      securitySchemes: {
        virtualKey: { type: 'http', scheme: 'bearer', description: 'A virtual key (`rp_…`), as Bearer token or in `x-api-key`' },
      },
    },
  };
}

/** The named shapes as the generator writes them: each as the answer of a route that is nowhere served. */
function namedSchemas(): Readonly<Record<string, object>> {
  const app = new OpenAPIHono();
  for (const [name, shape] of Object.entries(NAMED))
    app.openAPIRegistry.registerPath({
      method: 'get',
      path: `/${name}`,
      responses: { 200: { description: name, content: { 'application/json': { schema: shape as never } } } },
    });
  const { paths } = app.getOpenAPI31Document({ openapi: '3.1.0', info: { title: '', version: '' } }) as unknown as {
    readonly paths: Readonly<
      Record<
        string,
        {
          readonly get: {
            readonly responses: { readonly 200: { readonly content: { readonly 'application/json': { readonly schema: object } } } };
          };
        }
      >
    >;
  };
  return Object.fromEntries(
    Object.entries(paths).map(([path, { get }]) => [path.slice(1), get.responses[200].content['application/json'].schema]),
  );
}

/** Puts a reference where a named schema stands; the schema `itself` is left in place. */
function refer(value: unknown, nameByText: ReadonlyMap<string, string>, itself?: string): unknown {
  if (typeof value !== 'object' || value === null) return value;
  const name = nameByText.get(JSON.stringify(value));
  if (name !== undefined && name !== itself) return { $ref: `#/components/schemas/${name}` };
  if (Array.isArray(value)) return value.map((item) => refer(item, nameByText, itself));
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, refer(item, nameByText, itself)]));
}
