import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { openTestApi, type TestApi } from './test-api.ts';

const FILE = fileURLToPath(new URL('../../../../shared/openapi.json', import.meta.url));

let api: TestApi;
let document: {
  readonly openapi: string;
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: { readonly schemas: Readonly<Record<string, object>> };
};
interface Operation {
  readonly summary?: string;
  readonly responses: Readonly<Record<string, { readonly description: string }>>;
  readonly security?: readonly object[];
}

beforeAll(async () => {
  api = await openTestApi();
  document = (await api.get('/openapi.json', { key: null })).body as never;
});
afterAll(() => api.close());

describe('shared/openapi.json', () => {
  it('is what the schemas say; after a change, `npm run openapi` writes it anew', () => {
    expect(JSON.parse(readFileSync(FILE, 'utf8'))).toEqual(document);
  });

  it('is OpenAPI 3.1 and refers only to what it holds', () => {
    expect(document.openapi).toBe('3.1.0');
    for (const [, name] of JSON.stringify(document).matchAll(/"#\/components\/schemas\/(\w+)"/g))
      expect(Object.keys(document.components.schemas)).toContain(name);
    expect(Object.keys(document.components.schemas)).toEqual(expect.arrayContaining(['Run', 'Session', 'LogEntry', 'Budget', 'Error']));
  });

  it('covers every route of the design, each with a summary, a key and its refusals', () => {
    expect(Object.keys(document.paths)).toEqual(
      expect.arrayContaining([
        '/v1/agent/events',
        '/v1/events',
        '/v1/check',
        '/v1/runs',
        '/v1/runs/{id}',
        '/v1/runs/{id}/end',
        '/v1/runs/{id}/stop',
        '/v1/runs/{id}/pause',
        '/v1/runs/{id}/resume',
        '/v1/tools/authorize',
        '/v1/tools/settle',
        '/v1/sessions/{id}',
        '/v1/workflows/{id}',
        '/v1/agents/{id}',
        '/v1/workspaces/{id}',
        '/v1/spend',
        '/v1/margin',
        '/v1/budgets',
        '/v1/budgets/{id}',
        '/v1/models',
        '/v1/webhooks',
        '/v1/webhooks/{id}',
        '/v1/notices',
      ]),
    );
    for (const [path, operations] of Object.entries(document.paths)) {
      for (const [method, operation] of Object.entries(operations)) {
        expect({ path, method, summary: operation.summary }).toEqual({ path, method, summary: expect.stringMatching(/\w/) });
        expect(operation.security).toEqual([{ virtualKey: [] }]);
        expect(Object.keys(operation.responses)).toEqual(expect.arrayContaining(['401', '503']));
      }
    }
  });
});
