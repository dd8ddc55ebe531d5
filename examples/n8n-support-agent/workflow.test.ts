import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { startGateway, type RunningGateway } from '@runpurse/conformance';
import { startN8n, type N8n, type Played, type WorkflowFile } from '../../packages/adapters/n8n/test/n8n.mts';
import { credentialOf, withCredential } from '../../packages/adapters/n8n/test/workflows.mts';

const text = readFileSync(join(import.meta.dirname, 'workflow.json'), 'utf8');
let file: WorkflowFile;
let orders: Server;
const looked: string[] = [];
let gateway: RunningGateway;
let n8n: N8n;

beforeAll(async () => {
  orders = createServer((request, response) => {
    looked.push(request.url ?? '');
    response.setHeader('content-type', 'application/json');
    response.end('{"order":"7","status":"delivered on Monday"}');
  }).listen(0, '127.0.0.1');
  await once(orders, 'listening');
  file = JSON.parse(
    text.replace('https://orders.example.com', `http://127.0.0.1:${(orders.address() as AddressInfo).port}`),
  ) as WorkflowFile;
  const usage = { input_tokens: 900, output_tokens: 20 };
  const look = { tool_calls: [{ name: 'order_lookup', arguments: { order: '7' } }], usage };
  gateway = await startGateway({
    config: {
      providers: [
        {
          name: 'sandbox',
          kind: 'sandbox',
          scripts: {
            'support-model': {
              cases: [
                { prompt_contains: 'my order 7', turns: [look, { text: 'It was delivered on Monday.', usage }] },
                { prompt_contains: 'all my orders', turns: [look] },
              ],
            },
          },
        },
      ],
      prices: [{ provider: 'sandbox', model: 'support-model', input_mtok_usd: '2', output_mtok_usd: '10' }],
      tools: [{ name: 'order_lookup', price_usd: '0.001' }],
    } as never,
  });
  n8n = await startN8n();
}, 60_000);

afterAll(async () => {
  orders.close();
  await (n8n as N8n | undefined)?.stop();
  await (gateway as RunningGateway | undefined)?.remove();
});

async function chat(executionId: string, chatInput: string): Promise<Played> {
  return n8n.execute({
    workflow: withCredential(file, credentialOf(gateway)),
    executionId,
    start: 'When chat message received',
    mode: 'webhook',
    input: [{ json: { sessionId: 'customer_492', chatInput } }],
  });
}

describe('the support agent', () => {
  it('answers, and its run ends with what it cost and earned', async () => {
    const played = await chat('support-1', 'Where is my order 7?');
    expect(played.nodes['Support']?.at(-1)?.items[0]?.json['output']).toBe('It was delivered on Monday.');
    expect(looked).toEqual(['/orders/7']);
    expect((await gateway.readRun('support-1'))?.tools).toMatchObject([{ tool: 'order_lookup', status: 'completed' }]);
    expect(await gateway.readRun('support-1')).toMatchObject({
      session_id: 'customer_492',
      agent_id: 'support',
      status: 'completed',
      revenue_usd: '0.05',
      cost: { model_usd: '0.004', tool_usd: '0.001' },
      margin: { known_usd: '0.045', percent: '90.0' },
    });
  });

  it('is stopped before an answer passes its cap, and its run says why', async () => {
    const played = await chat('support-2', 'Tell me about all my orders.');
    expect(played.nodes['Stopped']?.[0]?.items[0]?.json).toMatchObject({ status: 'failed' });
    const run = await gateway.readRun('support-2');
    expect(run).toMatchObject({ status: 'failed', status_reason: expect.stringContaining('refused the call to model support-model') });
    expect(Number(run?.cost.total_usd)).toBeLessThanOrEqual(0.012);
    expect(run?.steps.at(-1)).toMatchObject({ kind: 'llm_call', status: 'denied' });
  });
});
