import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { startGateway, type RunningGateway } from '@runpurse/conformance';
import { createHooks } from '@runpurse/n8n-hooks';
import { startN8n, type N8n, type Played, type WorkflowFile } from '../../n8n/test/n8n.mts';
import { chainOf, credentialOf, nodeOf, type NodeSpec } from '../../n8n/test/workflows.mts';

let gateway: RunningGateway;
let n8n: N8n;
let provider: Server;
let providerUrl: string;
let modelCalls = 0;
let executions = 0;
const HOOKS = join(import.meta.dirname, '..', 'src', 'hooks.ts');

beforeAll(async () => {
  provider = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk: Buffer) => (body += chunk.toString()));
    request.on('end', () => {
      if (request.method === 'GET') return response.end('{"status":"delivered"}');
      modelCalls += 1;
      const { tools = [], messages } = JSON.parse(body) as { tools?: unknown[]; messages: { role: string }[] };
      const call = { id: `c${modelCalls}`, type: 'function', function: { name: 'order_lookup', arguments: '{"query":"7"}' } };
      const asks = tools.length > 0 && !messages.some(({ role }) => role === 'tool');
      const message = { role: 'assistant', ...(asks ? { content: null, tool_calls: [call] } : { content: 'It was delivered.' }) };
      const choices = [{ index: 0, message, finish_reason: asks ? 'tool_calls' : 'stop' }];
      const usage = { prompt_tokens: 1000, completion_tokens: 100, total_tokens: 1100 };
      response.setHeader('content-type', 'application/json');
      return response.end(JSON.stringify({ id: 'x', object: 'chat.completion', model: 'gpt-x', choices, usage }));
    });
  }).listen(0, '127.0.0.1');
  await once(provider, 'listening');
  providerUrl = `http://127.0.0.1:${(provider.address() as AddressInfo).port}/v1`;
  gateway = await startGateway({
    config: {
      rate: { requests_per_minute: 10_000 },
      providers: [
        { name: 'openai', kind: 'openai', base_url: providerUrl, api_key: 'sk-provider', models: ['gpt-x'] },
        { name: 'sandbox', kind: 'sandbox', scripts: { m: [{ text: 'hi', usage: { input_tokens: 1000, output_tokens: 100 } }] } },
      ],
      prices: [
        { provider: 'openai', model: 'gpt-x', input_mtok_usd: '2', output_mtok_usd: '10' },
        { provider: 'sandbox', model: 'm', input_mtok_usd: '2', output_mtok_usd: '10' },
      ],
      tools: [{ name: 'order_lookup', price_usd: '0.001' }],
      budgets: [{ name: 'per-workflow', scope: 'workflow', id: 'dear', limit_usd: '0.003' }],
    } as never,
  });
  n8n = await startN8n();
}, 60_000);

afterAll(async () => {
  provider.close();
  await (n8n as N8n | undefined)?.stop();
  await (gateway as RunningGateway | undefined)?.remove();
});

async function play(workflow: WorkflowFile, environment: Record<string, string> = {}): Promise<Played & { id: string }> {
  const executionId = `hooks-${(executions += 1)}`;
  const settings = {
    RUNPURSE_URL: gateway.url,
    RUNPURSE_KEY: gateway.apiKey,
    RUNPURSE_FAILURE_POLICY: '',
    RUNPURSE_STEPS: '',
    RUNPURSE_INSTANCE: '',
  };
  return {
    id: executionId,
    ...(await n8n.execute({ workflow, executionId, hooks: { path: HOOKS, environment: { ...settings, ...environment } } })),
  };
}

const edit: NodeSpec = { name: 'Edit', type: 'n8n-nodes-base.set', version: 3.4, parameters: { assignments: { assignments: [] } } };
const fail: NodeSpec = {
  name: 'Fail',
  type: 'n8n-nodes-base.stopAndError',
  parameters: { errorMessage: 'no luck: Bearer sk-live-0123456789abcdef0123' },
};

/** A workflow of n8n's own nodes alone, its model at the provider. */
function foreign(id: string): WorkflowFile {
  const base = chainOf(
    credentialOf(gateway),
    [
      edit,
      {
        name: 'Chain',
        type: '@n8n/n8n-nodes-langchain.chainLlm',
        version: 1.7,
        parameters: { promptType: 'define', text: 'Where is it?' },
      },
    ],
    { id },
  );
  const model = {
    ...nodeOf(credentialOf(gateway), {
      name: 'GPT',
      type: '@n8n/n8n-nodes-langchain.lmChatOpenAi',
      version: 1.2,
      parameters: { model: { __rl: true, mode: 'id', value: 'gpt-x' }, options: { baseURL: providerUrl } },
    }),
    credentials: { openAiApi: { id: JSON.stringify({ apiKey: 'sk-x', url: providerUrl }), name: 'OpenAI' } },
  };
  const connections = { ...base.connections, GPT: { ai_languageModel: [[{ node: 'Chain', type: 'ai_languageModel', index: 0 }]] } };
  return { ...base, nodes: [...base.nodes, model], connections };
}

describe('with the hooks file, a workflow nobody touched', () => {
  it('is a run: its nodes are steps, what its model used is its cost', async () => {
    const played = await play(foreign('wf1'));
    expect(played.status).toBe('success');
    const run = await gateway.readRun(played.id);
    expect(run).toMatchObject({ workflow_id: 'wf1', status: 'completed', cost: { model_usd: '0.003', total_usd: '0.003' } });
    expect(run?.requests).toMatchObject([{ model: 'gpt-x', source: 'self_reported', usage: { input_tokens: 1000, output_tokens: 100 } }]);
    expect(run?.steps.map(({ name }) => name)).toEqual(expect.arrayContaining(['Edit', 'Chain', 'gpt-x']));
  });

  it("with n8n's AI Agent is charged for each of its calls and for its tool", async () => {
    const base = foreign('wf3');
    const nodes = base.nodes.map((node) =>
      node.name === 'Chain'
        ? { ...node, type: '@n8n/n8n-nodes-langchain.agent', typeVersion: 3.1, parameters: { promptType: 'define', text: 'Where is it?' } }
        : node,
    );
    const tool = nodeOf(credentialOf(gateway), {
      name: 'order_lookup',
      type: 'n8n-nodes-base.httpRequestTool',
      version: 4.2,
      parameters: { toolDescription: 'Finds an order.', url: `=${providerUrl}/orders/{{ $fromAI('query', '', 'string') }}`, options: {} },
    });
    const toAgent = { ai_tool: [[{ node: 'Chain', type: 'ai_tool', index: 0 }]] };
    const played = await play({ ...base, nodes: [...nodes, tool], connections: { ...base.connections, order_lookup: toAgent } });
    expect(played.error).toBeUndefined();
    const run = await gateway.readRun(played.id);
    expect(run).toMatchObject({ cost: { model_usd: '0.006', tool_usd: '0.001' }, counts: { requests: 2, tool_calls: 1 } });
    expect(run?.tools).toMatchObject([{ tool: 'order_lookup', status: 'completed' }]);
  });

  it('that fails is a failed run with its reason, and no secret of it', async () => {
    const played = await play(chainOf(credentialOf(gateway), [edit, fail]));
    const run = await gateway.readRun(played.id);
    expect(run).toMatchObject({ status: 'failed', status_reason: expect.stringContaining('no luck') });
    expect(JSON.stringify(run)).not.toContain('sk-live');
  });

  it('over budget does not start, in the words of the gateway', async () => {
    expect((await play(foreign('dear'))).status).toBe('success');
    const before = modelCalls;
    await expect(play(foreign('dear'))).rejects.toThrow(/^Runpurse: .*per-workflow/);
    expect(modelCalls).toBe(before);
    expect(await gateway.readRun(`hooks-${executions}`)).toBeUndefined();
  });

  it.each([
    ['open', true],
    ['closed', false],
  ])('with the gateway away starts or not by the failure policy %s', async (policy, starts) => {
    const away = { RUNPURSE_URL: 'http://127.0.0.1:9', RUNPURSE_FAILURE_POLICY: policy };
    const playing = play(chainOf(credentialOf(gateway), [edit]), away);
    if (starts) expect((await playing).status).toBe('success');
    else
      await expect(playing).rejects.toThrow(
        /^Runpurse: The Runpurse gateway at http:\/\/127\.0\.0\.1:9 gave no answer: .*ECONNREFUSED.*\. Nothing is to start without its word/,
      );
  });

  it('with a key nobody knows does not start', async () => {
    await expect(play(chainOf(credentialOf(gateway), [edit]), { RUNPURSE_KEY: 'rp_wrong-key-0123456789' })).rejects.toThrow(
      /refused the key/,
    );
  });
});

describe('with the hooks file, a workflow with Runpurse nodes', () => {
  it('is charged once, and ended as the execution ended', async () => {
    const ask: NodeSpec = {
      name: 'Ask',
      parameters: { resource: 'chat', operation: 'complete', model: 'm', prompt: 'hi', options: { maxTokens: 200 } },
    };
    const played = await play(chainOf(credentialOf(gateway), [edit, ask]));
    expect(await gateway.readRun(played.id)).toMatchObject({ status: 'completed', cost: { total_usd: '0.003' }, counts: { requests: 1 } });
  });

  it('keeps the end and the revenue it said itself', async () => {
    const end: NodeSpec = { name: 'End', parameters: { resource: 'run', operation: 'end', revenueUsd: '5' } };
    const played = await play(chainOf(credentialOf(gateway), [edit, end]));
    expect(await gateway.readRun(played.id)).toMatchObject({ status: 'completed', revenue_usd: '5' });
  });
});

describe('the hooks', () => {
  const used = { json: { tokenUsage: { promptTokens: 1000, completionTokens: 100 } } };
  const workflow = {
    id: 'wf2',
    name: 'Two',
    nodes: [{ name: 'GPT', type: '@n8n/n8n-nodes-langchain.lmChatOpenAi', parameters: { model: 'gpt-x' } }],
  };
  const run = (status: string) => ({ status, data: { resultData: { runData: { GPT: [{ data: { ai_languageModel: [[used]] } }] } } } });

  it('told of an execution twice, while it waits and at its end, count it once', async () => {
    const hooks = createHooks({ baseUrl: gateway.url, apiKey: gateway.apiKey });
    const [post] = hooks.workflow.postExecute;
    await post?.(run('waiting'), workflow, 'twice');
    expect(await gateway.readRun('twice')).toMatchObject({ status: 'running', cost: { total_usd: '0.003' } });
    await post?.(run('success'), workflow, 'twice');
    expect(await gateway.readRun('twice')).toMatchObject({ status: 'completed', cost: { total_usd: '0.003' }, counts: { requests: 1 } });
    await hooks.n8n.stop[0]?.();
  });

  it('tell fifty executions at once apart', async () => {
    const hooks = createHooks({ baseUrl: gateway.url, apiKey: gateway.apiKey, instance: 'prod' });
    const ids = Array.from({ length: 50 }, (_, at) => `many${at}`);
    await Promise.all(ids.map(async (id) => hooks.workflow.postExecute[0]?.(run('success'), workflow, id)));
    for (const id of ids)
      expect(await gateway.readRun(`prod-${id}`)).toMatchObject({
        status: 'completed',
        cost: { total_usd: '0.003' },
        counts: { requests: 1 },
      });
    await hooks.n8n.stop[0]?.();
  });

  it('that meet data they do not understand leave n8n alone', async () => {
    const faults: unknown[] = [];
    const hooks = createHooks({ baseUrl: gateway.url, apiKey: gateway.apiKey, onFault: (fault) => faults.push(fault) });
    await hooks.workflow.postExecute[0]?.({ status: 'success', data: { resultData: { runData: { GPT: 7 as never } } } }, workflow, 'odd');
    expect(faults).toHaveLength(1);
    await hooks.n8n.stop[0]?.();
  });
});
