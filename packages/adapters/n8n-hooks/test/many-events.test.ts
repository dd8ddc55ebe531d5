import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { createHooks } from '@runpurse/n8n-hooks';
import { startN8n, type N8n } from '../../n8n/test/n8n.mts';
import { chain, edit, foreign, setStage, type Stage } from './stage.mts';

let stage: Stage;
let n8n: N8n;
const HOOKS = join(import.meta.dirname, '..', 'src', 'hooks.ts');

beforeAll(async () => {
  stage = await setStage();
  n8n = await startN8n();
}, 60_000);

afterAll(async () => {
  await (n8n as N8n | undefined)?.stop();
  await (stage as Stage | undefined)?.stop();
});

describe('an execution of more events than a client keeps by default', () => {
  it('is told whole', async () => {
    const rounds = 2_600;
    const items = { ...edit, name: 'Items', parameters: { mode: 'raw', jsonOutput: `={{ { all: [...Array(${rounds}).keys()] } }}` } };
    const split = { name: 'Split', type: 'n8n-nodes-base.splitOut', version: 1, parameters: { fieldToSplitOut: 'all' } };
    const loop = { name: 'Loop', type: 'n8n-nodes-base.splitInBatches', version: 3, parameters: { batchSize: 1 } };
    const base = foreign('wf5', stage, [chain, items, split, loop, edit]);
    const to = (node: string) => [{ node, type: 'main', index: 0 }];
    const connections = { ...base.connections, Loop: { main: [[], to('Edit')] }, Edit: { main: [to('Loop')] } };
    const { gateway } = stage;
    const environment = { RUNPURSE_URL: gateway.url, RUNPURSE_KEY: gateway.apiKey };
    const hooks = { path: HOOKS, environment };
    const played = await n8n.execute({ workflow: { ...base, connections }, executionId: 'many', hooks });
    expect(played.error).toBeUndefined();
    const nodes = 4 + rounds + (rounds + 1);
    const run = await gateway.readRun('many');
    expect(run).toMatchObject({ status: 'completed', cost: { total_usd: '0.003' }, counts: { requests: 1, steps: nodes + 1 } });
  });

  it('is told whole once the gateway is back', async () => {
    let isAway = true;
    const door = createServer((request, response) => {
      let body = '';
      request.on('data', (chunk: Buffer) => (body += chunk.toString()));
      request.on('end', () => {
        if (isAway) return response.writeHead(503).end();
        const headers = { authorization: String(request.headers.authorization), 'content-type': 'application/json' };
        return void fetch(`${stage.gateway.url}${request.url}`, { method: 'POST', headers, body }).then(async (reply) =>
          response.writeHead(reply.status, { 'content-type': 'application/json' }).end(await reply.text()),
        );
      });
    }).listen(0, '127.0.0.1');
    await once(door, 'listening');
    const baseUrl = `http://127.0.0.1:${(door.address() as AddressInfo).port}`;
    const hooks = createHooks({ baseUrl, apiKey: stage.gateway.apiKey });
    const startTime = Date.now() - 60_000;
    const steps = 6_000;
    const runData = {
      GPT: [{ startTime, data: { ai_languageModel: [[{ json: { tokenUsage: { promptTokens: 1000, completionTokens: 100 } } }]] } }],
      Edit: Array.from({ length: steps }, () => ({ startTime: startTime + 1, data: { main: [[{ json: {} }]] } })),
    };
    const nodes = [
      { name: 'GPT', type: '@n8n/n8n-nodes-langchain.lmChatOpenAi', parameters: { model: 'gpt-x' } },
      { name: 'Edit', type: 'n8n-nodes-base.set' },
    ];
    await hooks.workflow.postExecute[0]?.({ status: 'success', data: { resultData: { runData } } }, { id: 'wf6', nodes }, 'away');
    isAway = false;
    await hooks.n8n.stop[0]?.();
    door.closeAllConnections();
    door.close();
    const run = await stage.gateway.readRun('away');
    expect(run).toMatchObject({ status: 'completed', cost: { total_usd: '0.003' }, counts: { requests: 1, steps: steps + 1 } });
  });
});
