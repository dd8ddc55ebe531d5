import type { OpenAPIHono } from '@hono/zod-openapi';
import { z } from 'zod';
import { budgetStateShape, requestShape, runShape, runSummaryShape, sessionShape, stepShape, toolShape, decisionShape } from '@runpurse/core';
import { logEntryShape } from './log-entry.ts';
import { budgetShape, errorShape, totalsShape } from './shapes.ts';

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
  Error: errorShape,
};
for (const [id, shape] of Object.entries(NAMED)) z.globalRegistry.add(shape, { ...z.globalRegistry.get(shape), id });

/** The API's description as OpenAPI 3.1, made from the very schemas requests are parsed with. */
export function openApiDocument(app: OpenAPIHono): object {
  const document = app.getOpenAPI31Document({
    openapi: '3.1.0',
    info: {
      title: 'Runpurse gateway',
      version: '0.1.0',
      license: { name: 'MIT', url: 'https://opensource.org/license/mit' },
      description:
        'Agent Finance Gateway: runs, sessions, budgets, policy, log and margin. Money is a decimal string of dollars whose name ends in `_usd`; times are RFC 3339. Model traffic (`/v1/chat/completions`, `/v1/responses`, `/v1/embeddings`, `/v1/messages`) follows the providers\' own formats.',
    },
    servers: [{ url: 'http://127.0.0.1:8787' }],
  });
  return {
    ...document,
    components: {
      ...document.components,
      securitySchemes: { virtualKey: { type: 'http', scheme: 'bearer', description: 'A virtual key (`rp_…`), as Bearer token or in `x-api-key`' } },
    },
  };
}
