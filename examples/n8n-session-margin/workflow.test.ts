import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { startGateway, type RunningGateway } from '@runpurse/conformance';
import { startN8n, type N8n, type WorkflowFile } from '../../packages/adapters/n8n/test/n8n.mts';
import { credentialOf, withCredential } from '../../packages/adapters/n8n/test/workflows.mts';

const file = JSON.parse(readFileSync(join(import.meta.dirname, 'workflow.json'), 'utf8')) as WorkflowFile;
let gateway: RunningGateway;
let n8n: N8n;

beforeAll(async () => {
  gateway = await startGateway({ config: { providers: [{ name: 'sandbox', kind: 'sandbox' }] } as never });
  n8n = await startN8n();
}, 60_000);

afterAll(async () => {
  await (n8n as N8n | undefined)?.stop();
  await (gateway as RunningGateway | undefined)?.remove();
});

it('reports what each customer cost, earned and left over, the losing ones marked', async () => {
  for (const [run, session, cost, revenue] of [
    ['r1', 'customer_1', '0.20', '1'],
    ['r2', 'customer_1', '0.30', '1'],
    ['r3', 'customer_2', '1.50', '1'],
  ] as const) {
    await gateway.post('/v1/runs', { run_id: run, session_id: session });
    await gateway.post('/v1/tools/authorize', { run_id: run, tool: 'search', tool_call_id: run, step_id: run, estimated_cost_usd: cost });
    await gateway.post('/v1/tools/settle', { run_id: run, tool_call_id: run, cost_usd: cost });
    await gateway.post(`/v1/runs/${run}/end`, { status: 'completed', revenue_usd: revenue });
  }
  const played = await n8n.execute({
    workflow: withCredential(file, credentialOf(gateway)),
    executionId: 'report-1',
    start: 'Every morning',
    input: [{ json: {} }],
  });
  expect(played.error).toBeUndefined();
  expect(played.nodes['Report']?.[0]?.items.map(({ json }) => json)).toEqual([
    { session: 'customer_1', cost_usd: '0.5', revenue_usd: '2', margin_percent: '75.0', loses_money: 'false', problem: '' },
    { session: 'customer_2', cost_usd: '1.5', revenue_usd: '1', margin_percent: '-50.0', loses_money: 'true', problem: '' },
  ]);
});

it('reports the others although one has no run yet and nobody said what another earned', async () => {
  await gateway.post('/v1/tools/authorize', {
    run_id: 'r4',
    session_id: 'unsold',
    tool: 'search',
    tool_call_id: 'c',
    estimated_cost_usd: '0.1',
  });
  await gateway.post('/v1/tools/settle', { run_id: 'r4', tool_call_id: 'c', cost_usd: '0.1' });
  const nodes = file.nodes.map((node) =>
    node.name === 'One by one' ? { ...node, type: 'n8n-nodes-base.noOp', typeVersion: 1, parameters: {} } : node,
  );
  const played = await n8n.execute({
    workflow: withCredential({ ...file, nodes }, credentialOf(gateway)),
    executionId: 'report-2',
    start: 'One by one',
    input: ['nobody', 'unsold'].map((session) => ({ json: { session } })),
  });
  expect(played.error).toBeUndefined();
  expect(played.nodes['Report']?.[0]?.items.map(({ json }) => json)).toEqual([
    {
      session: 'nobody',
      cost_usd: 'unknown',
      revenue_usd: 'unknown',
      margin_percent: 'unknown',
      loses_money: 'unknown',
      problem: expect.stringContaining('There is no session nobody'),
    },
    { session: 'unsold', cost_usd: '0.1', revenue_usd: 'unknown', margin_percent: 'unknown', loses_money: 'unknown', problem: '' },
  ]);
});
