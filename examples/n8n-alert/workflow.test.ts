import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { startGateway, type RunningGateway } from '@runpurse/conformance';
import { startN8n, type N8n, type WorkflowFile } from '../../packages/adapters/n8n/test/n8n.mts';
import { credentialOf, withCredential } from '../../packages/adapters/n8n/test/workflows.mts';

const text = readFileSync(join(import.meta.dirname, 'workflow.json'), 'utf8');
let gateway: RunningGateway;
let n8n: N8n;
let server: Server;
let address: string;
const received: { readonly path: string; readonly headers: IncomingHttpHeaders; readonly body: string }[] = [];
let arrived: (() => void) | undefined;

beforeAll(async () => {
  server = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk: Buffer) => (body += chunk.toString()));
    request.on('end', () => {
      received.push({ path: request.url ?? '', headers: request.headers, body });
      response.end('{}');
      arrived?.();
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  address = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  gateway = await startGateway({
    config: {
      providers: [{ name: 'sandbox', kind: 'sandbox' }],
      tools: [{ name: 'search', price_usd: '0.9' }],
      budgets: [{ name: 'per-session', scope: 'session', id: '*', limit_usd: '1', thresholds: [80] }],
    } as never,
  });
  n8n = await startN8n();
}, 60_000);

afterAll(async () => {
  server.close();
  await (n8n as N8n | undefined)?.stop();
  await (gateway as RunningGateway | undefined)?.remove();
});

async function at(path: string, count: number): Promise<typeof received> {
  for (;;) {
    const found = received.filter((one) => one.path === path);
    if (found.length >= count) return found;
    await new Promise<void>((resolve) => (arrived = resolve));
  }
}

it('tells in words when a budget runs low and when a call is refused', async () => {
  const file = JSON.parse(text.replace('https://alerts.example.com/hook', `${address}/chat`)) as WorkflowFile;
  const workflow = withCredential(file, credentialOf(gateway));
  const webhookBaseUrl = `${address}/n8n`;
  const ask = { kind: 'hook', workflow, node: 'Runpurse Trigger', webhookBaseUrl } as const;
  await n8n.ask({ ...ask, method: 'create', headers: {}, body: '' });

  const call = { run_id: 'r1', session_id: 'customer_1', tool: 'search' };
  await gateway.post('/v1/tools/authorize', { ...call, tool_call_id: 'c1', step_id: 's1' });
  await gateway.post('/v1/tools/settle', { run_id: 'r1', tool_call_id: 'c1' });
  await expect(gateway.post('/v1/tools/authorize', { ...call, tool_call_id: 'c2', step_id: 's2' })).rejects.toThrow('402');

  let executions = 0;
  for (const { headers, body } of [...(await at('/n8n', 2))]) {
    const said = (await n8n.ask({ ...ask, method: 'receive', headers: headers as Record<string, string>, body })) as { items: object[] };
    const played = await n8n.execute({
      workflow,
      executionId: `alert-${(executions += 1)}`,
      mode: 'webhook',
      input: said.items.map((json) => ({ json })),
    });
    expect(played.error).toBeUndefined();
  }
  const messages = (await at('/chat', 2)).map(({ body }) => (JSON.parse(body) as { text: string }).text).toSorted();
  expect(messages).toEqual([
    'Budget per-session of session customer_1 is at 80%: $0.9 of $1',
    expect.stringMatching(/^Refused in run r1: Budget "per-session" refused the call of tool search/),
  ]);
});
