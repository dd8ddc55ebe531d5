import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { RunningGateway } from '@runpurse/conformance';
import { createHooks } from '@runpurse/n8n-hooks';
import { startN8n, type N8n, type Played, type WorkflowFile } from '../../n8n/test/n8n.mts';
import { chainOf, credentialOf, nodeOf, type NodeSpec } from '../../n8n/test/workflows.mts';
import { chain, credential, edit, foreign as foreignOn, listed, setStage, type Stage } from './stage.mts';

let stage: Stage;
let gateway: RunningGateway;
let n8n: N8n;
let executions = 0;
const HOOKS = join(import.meta.dirname, '..', 'src', 'hooks.ts');
const foreign = (id: string): WorkflowFile => foreignOn(id, stage);

beforeAll(async () => {
  stage = await setStage();
  ({ gateway } = stage);
  n8n = await startN8n();
}, 60_000);

afterAll(async () => {
  await (n8n as N8n | undefined)?.stop();
  await (stage as Stage | undefined)?.stop();
});

async function play(
  workflow: WorkflowFile,
  environment: Record<string, string> = {},
  input = [{ json: {} }],
): Promise<Played & { id: string }> {
  const executionId = `hooks-${(executions += 1)}`;
  const settings = {
    RUNPURSE_URL: gateway.url,
    RUNPURSE_KEY: gateway.apiKey,
    RUNPURSE_FAILURE_POLICY: '',
    RUNPURSE_STEPS: '',
    RUNPURSE_INSTANCE: '',
    RUNPURSE_CARRIED: '',
  };
  return {
    id: executionId,
    ...(await n8n.execute({ workflow, executionId, input, hooks: { path: HOOKS, environment: { ...settings, ...environment } } })),
  };
}

const fail: NodeSpec = {
  name: 'Fail',
  type: 'n8n-nodes-base.stopAndError',
  parameters: { errorMessage: 'no luck: Bearer sk-live-0123456789abcdef0123' },
};

describe('with the hooks file, a workflow nobody touched', () => {
  it('is a run: its nodes are steps, what its model used is its cost', async () => {
    const played = await play(foreign('wf1'));
    expect(played.status).toBe('success');
    const run = await gateway.readRun(played.id);
    expect(run).toMatchObject({ workflow_id: 'wf1', status: 'completed', cost: { model_usd: '0.003', total_usd: '0.003' } });
    expect(run?.requests).toMatchObject([{ model: 'gpt-x', source: 'self_reported', usage: { input_tokens: 1000, output_tokens: 100 } }]);
    expect(run?.steps.map(({ name }) => name)).toEqual(expect.arrayContaining(['Edit', 'Chain', 'gpt-x']));
  });

  it('is charged for each call of each model, whatever the models are called', async () => {
    const names = ['GPT #2', 'x'.repeat(300)];
    const base = foreignOn('wf7', stage, [chain, ...names.map((name) => ({ ...chain, name: `Chain of ${name}` }))]);
    const gpt = base.nodes.find(({ name }) => name === 'GPT');
    if (gpt === undefined) throw new Error('no model');
    const lent = (name: string) => ({ ai_languageModel: [[{ node: `Chain of ${name}`, type: 'ai_languageModel', index: 0 }]] });
    const workflow = {
      ...base,
      nodes: [...base.nodes, ...names.map((name) => ({ ...gpt, name }))],
      connections: { ...base.connections, ...Object.fromEntries(names.map((name) => [name, lent(name)])) },
    };
    const played = await play(workflow, {}, [{ json: {} }, { json: {} }]);
    expect(played.error).toBeUndefined();
    expect(await gateway.readRun(played.id)).toMatchObject({ cost: { total_usd: '0.018' }, counts: { requests: 6 } });
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
      parameters: {
        toolDescription: 'Finds an order.',
        url: `=${stage.provider.url}/orders/{{ $fromAI('query', '', 'string') }}`,
        options: {},
      },
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
    const before = stage.provider.calls();
    await expect(play(foreign('dear'))).rejects.toThrow(/^Runpurse: .*per-workflow/);
    expect(stage.provider.calls()).toBe(before);
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

it.each([
  ['5m', null],
  ['={{ "1h" }}', null],
  ['disabled', '0.003'],
])("with the hooks file, what Claude used with n8n's Prompt Caching %s costs %p", async (promptCaching, cost_usd) => {
  const model = {
    type: '@n8n/n8n-nodes-langchain.lmChatAnthropic',
    typeVersion: 1.3,
    parameters: { model: listed('claude-x'), options: { promptCaching } },
    ...credential('anthropicApi', { apiKey: 'sk-x', url: stage.provider.url }),
  };
  const played = await play(foreignOn('wf6', stage, undefined, { model }));
  expect(played.error).toBeUndefined();
  expect((await gateway.readRun(played.id))?.requests).toMatchObject([{ model: 'claude-x', status: 'completed', cost_usd }]);
});

describe('with the hooks file, a model node that is pointed at the gateway', () => {
  /** The credential's own header names the run, so that what the gateway carried and what is reported meet in it. */
  const pointed = (id: string, header: string): WorkflowFile =>
    foreignOn(id, stage, undefined, {
      openAi: { apiKey: gateway.apiKey, url: `${gateway.url}/v1`, header: true, headerName: 'Alephant-Run-Id', headerValue: header },
    });
  const next = (): string => `hooks-${executions + 1}`;
  /** The same gateway by a name that its own address does not tell. */
  const byOtherName = (): string => gateway.url.replace('127.0.0.1', 'localhost');

  it.each([
    ['as its address shows', {}],
    ['as its credential is said to be', { RUNPURSE_CARRIED: 'node:Nobody, credential:OpenAI' }],
    ['as the node is said to be', { RUNPURSE_CARRIED: 'credential:Nobody,node:GPT' }],
  ])('is charged once, %s', async (_, carried) => {
    const url = Object.keys(carried).length === 0 ? gateway.url : byOtherName();
    const played = await play(pointed('wf4', next()), { RUNPURSE_URL: url, ...carried });
    expect(played.error).toBeUndefined();
    const run = await gateway.readRun(played.id);
    expect(run).toMatchObject({ status: 'completed', cost: { total_usd: '0.003' }, counts: { requests: 1 } });
    expect(run?.requests).toMatchObject([{ source: 'gateway' }]);
    expect(run?.steps).toEqual(
      expect.arrayContaining([expect.objectContaining({ step_id: 'GPT', kind: 'llm_call', status: 'completed' })]),
    );
  });

  it('by the Anthropic wire is charged once too', async () => {
    const model = {
      type: '@n8n/n8n-nodes-langchain.lmChatAnthropic',
      typeVersion: 1.3,
      parameters: { model: listed('claude-x'), options: {} },
      ...credential('anthropicApi', {
        apiKey: gateway.apiKey,
        url: gateway.url,
        header: true,
        headerName: 'Alephant-Run-Id',
        headerValue: next(),
      }),
    };
    const played = await play(foreignOn('wf4', stage, undefined, { model }));
    expect(played.error).toBeUndefined();
    expect(await gateway.readRun(played.id)).toMatchObject({ cost: { total_usd: '0.003' }, counts: { requests: 1 } });
  });

  it('is reported like any other when the setting names somebody else', async () => {
    const played = await play(foreign('wf4'), { RUNPURSE_CARRIED: 'node:GPT-4, credential:Open AI' });
    expect(await gateway.readRun(played.id)).toMatchObject({ cost: { total_usd: '0.003' }, counts: { requests: 1 } });
  });
});

describe("with the hooks file, n8n's nodes that call a model themselves", () => {
  const LANGCHAIN = '@n8n/n8n-nodes-langchain.';
  const openAi = () => credential('openAiApi', { apiKey: 'sk-x', url: `${stage.provider.url}/v1` });
  const message = { messages: { values: [{ role: 'user', content: 'Where is it?' }] } };
  const respond = { modelId: listed('gpt-x'), responses: { values: [{ role: 'user', content: 'Where is it?' }] } };
  const cached = { input_tokens: 600, cache_read_tokens: 400, output_tokens: 100, reasoning_tokens: 50 };
  const ordinary = { input_tokens: 1000, output_tokens: 100 };

  type Row = readonly [title: string, type: string, version: number, parameters: object, request: object];
  it.each<Row>([
    [
      'OpenAI 1, simplified',
      'openAi',
      1.8,
      { modelId: listed('gpt-x'), ...message },
      { model: 'gpt-x', usage: ordinary, cost_usd: '0.003' },
    ],
    ['OpenAI 2, simplified', 'openAi', 2.1, respond, { model: 'gpt-x', usage: ordinary, cost_usd: '0.003' }],
    ['OpenAI 2, whole', 'openAi', 2.1, { ...respond, simplify: false }, { model: 'gpt-x', usage: cached, cost_usd: '0.0026' }],
    ['Anthropic', 'anthropic', 1, { modelId: listed('claude-x'), ...message }, { model: 'claude-x', usage: ordinary, cost_usd: '0.003' }],
    [
      'Gemini that does not say what it thought',
      'googleGemini',
      1,
      { modelId: listed('models/gemini-x'), ...message },
      { model: 'gemini-x', usage: null, cost_usd: null },
    ],
    [
      'Gemini, whole',
      'googleGemini',
      1,
      { modelId: listed('models/gemini-x'), ...message, simplify: false },
      { model: 'gemini-x', usage: { ...ordinary, reasoning_tokens: 40 }, cost_usd: '0.003' },
    ],
    ['Ollama', 'ollama', 1, { modelId: listed('llama-x'), ...message }, { model: 'llama-x', usage: ordinary, cost_usd: '0.003' }],
    [
      'OpenAI with a web search of its own',
      'openAi',
      2.1,
      { ...respond, builtInTools: { webSearch: { searchContextSize: 'low' } } },
      { model: 'gpt-x', usage: null, cost_usd: null },
    ],
    [
      'an image',
      'openAi',
      1.8,
      { resource: 'image', operation: 'generate', model: 'dall-e-3', prompt: 'a box', options: { returnImageUrls: true } },
      { model: 'dall-e-3', usage: null, cost_usd: null },
    ],
  ])('are charged what they used: %s', async (_, type, version, parameters, request) => {
    const credentials: Record<string, object> = {
      openAi: openAi(),
      anthropic: credential('anthropicApi', { apiKey: 'sk-x', url: stage.provider.url }),
      googleGemini: credential('googlePalmApi', { apiKey: 'sk-x', host: stage.provider.url }),
      ollama: credential('ollamaApi', { baseUrl: stage.provider.url }),
    };
    const node: NodeSpec = { name: 'Vendor', type: `${LANGCHAIN}${type}`, version, parameters, ...credentials[type] };
    const played = await play(chainOf(credentialOf(gateway), [edit, node]));
    expect(played.error).toBeUndefined();
    const run = await gateway.readRun(played.id);
    expect(run?.requests).toMatchObject([{ step_id: 'Vendor', source: 'self_reported', status: 'completed', ...request }]);
    expect(run?.steps).toEqual(expect.arrayContaining([expect.objectContaining({ step_id: 'Vendor', kind: 'llm_call' })]));
  });

  it.each([
    ['files listed', { resource: 'file', operation: 'list', options: {} }],
    ['a text checked by the free moderation', { resource: 'text', operation: 'classify', input: 'a box', options: {} }],
  ])('are steps without a call when they call none: %s', async (_, parameters) => {
    const node: NodeSpec = { name: 'Vendor', type: `${LANGCHAIN}openAi`, version: 1.8, parameters, ...openAi() };
    const played = await play(chainOf(credentialOf(gateway), [node]));
    expect(played.error).toBeUndefined();
    const run = await gateway.readRun(played.id);
    expect(run?.counts).toMatchObject({ requests: 0 });
    expect(run?.steps.map(({ step_id }) => step_id)).toContain('Vendor');
  });

  const ask = (more: object = {}): NodeSpec => ({
    name: 'Vendor',
    type: `${LANGCHAIN}openAi`,
    version: 1.8,
    parameters: { modelId: listed('gpt-x'), ...message, simplify: false },
    ...openAi(),
    ...more,
  });
  const items = [{ json: { n: 1 } }, { json: { n: 2 } }, { json: { n: 3 } }];
  const playItems = async (node: NodeSpec) => {
    const executionId = `hooks-${(executions += 1)}`;
    const environment = { RUNPURSE_URL: gateway.url, RUNPURSE_KEY: gateway.apiKey };
    const workflow = chainOf(credentialOf(gateway), [node]);
    const played = await n8n.execute({ workflow, executionId, input: items, hooks: { path: HOOKS, environment } });
    return { played, run: await gateway.readRun(executionId) };
  };

  it('make a call for each item', async () => {
    const { run } = await playItems(ask());
    expect(run).toMatchObject({ cost: { total_usd: '0.009' }, counts: { requests: 3 } });
    expect(run?.requests.map(({ step_id }) => step_id)).toEqual(['Vendor', 'Vendor.2', 'Vendor.3']);
  });

  it('that go on after an error are charged for the items that were answered; the failed one is a call of unknown cost', async () => {
    stage.provider.failNext(1);
    const { played, run } = await playItems(ask({ onError: 'continueRegularOutput' }));
    expect(played.status).toBe('success');
    expect(run?.cost.total_usd).toBe('0.006');
    expect(run?.requests.map(({ status, cost_usd }) => [status, cost_usd])).toEqual([
      ['completed', '0.003'],
      ['completed', '0.003'],
      ['failed', null],
    ]);
  });

  it('that fail after some items are charged for those', async () => {
    stage.provider.failNext(0);
    const failing = playItems(
      ask({ parameters: { modelId: listed('gpt-x'), messages: { values: [{ content: '={{ $json.n < 3 ? "Where?" : "" }}' }] } } }),
    );
    const { played, run } = await failing;
    expect(played.status).toBe('error');
    expect(run?.cost.total_usd).toBe('0.006');
    expect(run?.requests.map(({ status, cost_usd }) => [status, cost_usd])).toEqual([
      ['completed', '0.006'],
      ['failed', null],
    ]);
  });

  it('that n8n tries again are charged for all that was answered, in whichever try', async () => {
    const workflow = ask({ retryOnFail: true, maxTries: 2, waitBetweenTries: 1 });
    stage.provider.failNext(1);
    const { played, run } = await playItems(workflow);
    expect(played.status).toBe('success');
    expect(run?.cost.total_usd).toBe('0.009');
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
