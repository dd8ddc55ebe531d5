import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { startGateway, type RunningGateway } from '@runpurse/conformance';
import { startN8n, type N8n, type Played, type WorkflowFile } from './n8n.mts';
import { credentialOf, nodeOf, type Credential, type NodeSpec } from './workflows.mts';

let gateway: RunningGateway;
let n8n: N8n;
let credential: Credential;
const LANGCHAIN = '@n8n/n8n-nodes-langchain.';
const usage = { input_tokens: 1000, output_tokens: 100 };
const lookup = { name: 'lookup', arguments: { id: '7' } };

beforeAll(async () => {
  gateway = await startGateway({
    config: {
      rate: { requests_per_minute: 10_000 },
      providers: [
        {
          name: 'sandbox',
          kind: 'sandbox',
          scripts: {
            helps: [
              { tool_calls: [lookup], usage },
              { text: 'It was delivered.', usage },
            ],
            says: [{ text: 'Fine.', usage }],
            loops: [{ tool_calls: [lookup], usage }],
            both: [
              {
                tool_calls: [
                  { name: 'lookup', arguments: { id: '7' } },
                  { name: 'lookup', arguments: { id: '8' } },
                ],
                usage,
              },
              { text: 'Both were delivered.', usage },
            ],
            reads: [
              { tool_calls: [{ name: 'Look_at_the_run', arguments: {} }], usage },
              { text: 'It cost little.', usage },
            ],
          },
        },
      ],
      prices: ['helps', 'says', 'loops', 'both', 'reads'].map((model) => ({
        provider: 'sandbox',
        model,
        input_mtok_usd: '2',
        output_mtok_usd: '10',
      })),
      tools: [{ name: 'lookup', price_usd: '0.001' }],
      policy: { tools: { deny: ['refund'] } },
      budgets: [{ name: 'cap-per-run', scope: 'run', id: '*', limit_usd: '0.02' }],
    } as never,
  });
  credential = credentialOf(gateway);
  n8n = await startN8n();
}, 60_000);

afterAll(async () => {
  await (n8n as N8n | undefined)?.stop();
  await (gateway as RunningGateway | undefined)?.remove();
});

const tool = (name: string): NodeSpec => ({
  name,
  type: 'test.scriptedTool',
  parameters: { toolDescription: name, args: "={{ JSON.stringify({ id: $fromAI('id', '', 'string') }) }}" },
});

/** n8n's AI Agent with Runpurse's model and these tools. */
function agentOf(model: string, tools: readonly NodeSpec[], as = credential, attribution: object = {}): WorkflowFile {
  const wire = (from: NodeSpec | { name: string }, kind: string, to: string) =>
    [from.name, { [kind]: [[{ node: to, type: kind, index: 0 }]] }] as const;
  return {
    id: 'desk',
    name: 'Desk',
    nodes: [
      nodeOf(as, { name: 'Start', type: 'n8n-nodes-base.manualTrigger' }),
      nodeOf(as, {
        name: 'Agent',
        type: `${LANGCHAIN}agent`,
        version: 3.1,
        parameters: { promptType: 'define', text: 'Where is it?', options: { maxIterations: 30 } },
      }),
      nodeOf(as, {
        name: 'Model',
        type: 'n8n-nodes-runpurse.runpurseChatModel',
        parameters: { model, options: { maxTokens: 100, maxRetries: 0 }, attribution },
      }),
      ...tools.map((spec) => nodeOf(as, spec)),
    ],
    connections: Object.fromEntries([
      wire({ name: 'Start' }, 'main', 'Agent'),
      wire({ name: 'Model' }, 'ai_languageModel', 'Agent'),
      ...tools.map((spec) => wire(spec, 'ai_tool', 'Agent')),
    ]),
    settings: { executionOrder: 'v1' },
  };
}

let executions = 0;

async function ask(
  workflow: WorkflowFile,
  { isStreamed = false, executionId = `chat-${(executions += 1)}` } = {},
): Promise<Played & { id: string; tools: unknown[] }> {
  const tools: unknown[] = [];
  const played = await n8n.execute({
    workflow,
    executionId,
    mode: 'webhook',
    isStreamed,
    runTool: async (_name, args) => `order ${String(tools.push(args['id']) && args['id'])}: delivered`,
  });
  return { ...played, id: executionId, tools };
}

const answered = (played: Played): unknown => played.nodes['Agent']?.at(-1)?.items[0]?.json['output'];

describe("n8n's AI Agent", () => {
  it.each([false, true])('runs through the gateway: each call and tool is a step of the execution (streamed: %s)', async (isStreamed) => {
    const played = await ask(agentOf('helps', [tool('lookup')]), { isStreamed });
    expect(answered(played)).toBe('It was delivered.');
    const run = await gateway.readRun(played.id);
    expect(run).toMatchObject({ workflow_id: 'desk', cost: { model_usd: '0.006', tool_usd: '0.001' } });
    expect(run?.steps.map(({ kind, name, graph_node }) => [kind, name, graph_node])).toEqual([
      ['llm_call', 'helps', 'Model'],
      ['tool_call', 'lookup', 'Model'],
      ['llm_call', 'helps', 'Model'],
    ]);
  });

  it('is stopped by the cap before the call that would pass it, and says so in words', async () => {
    const played = await ask(agentOf('loops', [tool('lookup')]));
    expect(played.status).toBe('error');
    expect(played.error?.message).toContain('Budget "cap-per-run" refused the call to model loops before it was made');
    expect(played.error?.description).toContain('Raise the budget');
    const run = await gateway.readRun(played.id);
    expect(Number(run?.cost.total_usd)).toBeLessThanOrEqual(0.02);
    expect(run?.requests.at(-1)?.status).toBe('refused');
    expect(played.tools).toHaveLength(run?.requests.filter(({ status }) => status === 'completed').length ?? -1);
  });

  it.each([false, true])('may call a tool twice at once: two calls, two charges (streamed: %s)', async (isStreamed) => {
    const played = await ask(agentOf('both', [tool('lookup')]), { isStreamed });
    expect(answered(played)).toBe('Both were delivered.');
    expect(played.tools.toSorted()).toEqual(['7', '8']);
    expect((await gateway.readRun(played.id))?.tools.map(({ status, cost_usd }) => [status, cost_usd])).toEqual([
      ['completed', '0.001'],
      ['completed', '0.001'],
    ]);
  });

  it('fifty times at once is fifty runs, none with a cost or a tool of another', async () => {
    const workflow = agentOf('helps', [tool('lookup')], credential, { sessionId: '={{ "session of " + $execution.id }}' });
    const ids = Array.from({ length: 50 }, (_, at) => `many-${at}`);
    const all = await Promise.all(ids.map((executionId) => ask(workflow, { executionId, isStreamed: Math.random() < 0.5 })));
    for (const { id, tools } of all) {
      const run = await gateway.readRun(id);
      expect([id, tools, run?.session_id, run?.cost.total_usd, run?.counts]).toEqual([
        id,
        ['7'],
        `session of ${id}`,
        '0.007',
        { requests: 2, tool_calls: 1, retries: 0, steps: 3 },
      ]);
    }
  }, 120_000);

  it("does not charge one person's item to another: two in one round are told apart before anything is spent", async () => {
    const input = [{ json: { who: 'ann' } }, { json: { who: 'bob' } }];
    const play = (workflow: WorkflowFile, executionId: string) => n8n.execute({ workflow, executionId, input });
    const mixed = agentOf('reads', [], credential, { sessionId: '={{ $json.who }}', runId: '={{ $json.who }}-mixed' });
    const refused = await play(mixed, 'mixed');
    expect(`${refused.error?.message} ${refused.error?.description}`).toContain('put Loop Over Items with batch size 1 before');
    expect([await gateway.readRun('ann-mixed'), await gateway.readRun('mixed')]).toEqual([undefined, undefined]);
    expect((await play(agentOf('says', [], credential, { customerId: "={{ 'acme' }}" }), 'one-customer')).status).toBe('success');

    const looped = (attribution: object): WorkflowFile => {
      const base = agentOf('says', [], credential, attribution);
      const loop = { name: 'Loop', type: 'n8n-nodes-base.splitInBatches', version: 3, parameters: { batchSize: 1 } };
      const to = (node: string) => [{ node, type: 'main', index: 0 }];
      const connections = {
        ...base.connections,
        Start: { main: [to('Loop')] },
        Loop: { main: [[], to('Agent')] },
        Agent: { main: [to('Loop')] },
      };
      return { ...base, nodes: [...base.nodes, nodeOf(credential, loop)], connections };
    };
    await play(looped({ sessionId: '={{ $json.who }}', runId: '={{ $json.who }}-looped' }), 'looped');
    for (const who of ['ann', 'bob'])
      expect(await gateway.readRun(`${who}-looped`)).toMatchObject({ session_id: who, counts: { requests: 1 } });
    const same = await play(looped({ sessionId: '={{ $json.who }}' }), 'same-run');
    expect(same.error?.description).toContain('state a Run ID of its own under Attribution');
  });

  it.each([
    ['model', { model: '={{ $json.model }}' }, 'Model Name or ID is empty in item 0: fill it in.'],
    ['maxRetries', { options: { maxRetries: '={{ NaN }}' } }, 'Max Retries under Options is NaN in item 0: give a whole number from 0 on.'],
    ['maxTokens', { options: { maxTokens: '={{ $json.most }}' } }, 'Maximum Number of Tokens under Options is empty in item 0'],
    ['topP', { options: { topP: '={{ 2 }}' } }, 'Top P under Options is 2 in item 0: give a number from 0 to 1.'],
    ['timeoutSeconds', { options: { timeoutSeconds: 0 } }, 'Timeout (Seconds) under Options is 0 in item 0'],
    ['gatesTools', { options: { gatesTools: '={{ "no" }}' } }, 'Ask Before Tools under Options is "no" in item 0: give true or false.'],
    ['responseFormat', { options: { responseFormat: '={{ "yaml" }}' } }, 'Response Format under Options is "yaml" in item 0'],
    ['reasoningEffort', { options: { reasoningEffort: '={{ "huge" }}' } }, 'Reasoning Effort under Options is "huge" in item 0'],
    ['extraBody', { options: { extraBody: '={{ null }}' } }, 'Extra Body under Options is empty in item 0: give a JSON object.'],
    ['sessionId', { attribution: { sessionId: '={{ $json.who }}' } }, 'Session ID under Attribution is empty in item 0'],
  ])('makes no call with a %s that can not be read', async (_, parameters, said) => {
    const base = agentOf('says', []);
    const nodes = base.nodes.map((node) => (node.name === 'Model' ? { ...node, parameters: { model: 'says', ...parameters } } : node));
    const played = await ask({ ...base, nodes });
    expect(`${played.error?.message} ${played.error?.said}`).toContain(said);
    expect(await gateway.readRun(played.id)).toBeUndefined();
  });

  it('can use the Runpurse node as a tool', async () => {
    const look: NodeSpec = {
      name: 'Look at the run',
      type: 'n8n-nodes-runpurse.runpurseTool',
      parameters: { resource: 'run', operation: 'get', toolDescription: 'What this run has cost' },
    };
    const played = await ask(agentOf('reads', [look]));
    expect(answered(played)).toBe('It cost little.');
    expect(played.nodes['Look at the run']?.[0]?.items[0]?.json).toMatchObject({ run_id: played.id });
  });

  it('with the gateway away fails, and says which gateway', async () => {
    const played = await ask(agentOf('helps', [], { ...credential, baseUrl: 'http://127.0.0.1:9' }));
    expect(played.error?.message).toBe("The Runpurse gateway at http://127.0.0.1:9 can't be reached");
  });

  it('shows the key in no error', async () => {
    const played = await ask(agentOf('helps', [], { ...credential, apiKey: 'rp_wrong-key-0123456789abcdef' }));
    expect(played.error?.description).toContain('Check the virtual key');
    expect(JSON.stringify(played)).not.toContain('rp_wrong-key-0123456789abcdef');
  });
});

/** With a chain in place of the agent. */
function chained(workflow: WorkflowFile): WorkflowFile {
  const chain = { type: `${LANGCHAIN}chainLlm`, typeVersion: 1.7, parameters: { promptType: 'define', text: 'Say it' } };
  return { ...workflow, nodes: workflow.nodes.map((node) => (node.name === 'Agent' ? { ...node, ...chain } : node)) };
}

describe('a chain', () => {
  it('runs through the gateway too', async () => {
    const played = await ask(chained(agentOf('helps', [])));
    expect(played.status).toBe('success');
    expect((await gateway.readRun(played.id))?.requests).toHaveLength(1);
  });
});

describe('tools that the gateway is not to be asked about', () => {
  it('run, and are none of its business', async () => {
    const workflow = agentOf('helps', [tool('lookup')]);
    const nodes = workflow.nodes.map((node) =>
      node.name === 'Model' ? { ...node, parameters: { model: 'helps', options: { maxTokens: 100, gatesTools: false } } } : node,
    );
    const played = await ask({ ...workflow, nodes });
    expect(played.tools).toEqual(['7']);
    expect(await gateway.readRun(played.id)).toMatchObject({ cost: { total_usd: '0.006' }, tools: [] });
  });
});

describe('what the model says', () => {
  it('is passed on as its provider reads it: images, a schema, a chosen format; and what it used is seen in n8n', async () => {
    const bodies: Record<string, unknown>[] = [];
    const provider = createServer((request, response) => {
      let text = '';
      request.on('data', (chunk: Buffer) => (text += chunk.toString()));
      request.on('end', () => {
        bodies.push(JSON.parse(text) as Record<string, unknown>);
        response.setHeader('content-type', 'application/json');
        const details = { prompt_tokens_details: { cached_tokens: 4 }, completion_tokens_details: { reasoning_tokens: 1 } };
        const usage = { prompt_tokens: 9, completion_tokens: 3, total_tokens: 12, ...details };
        response.end(JSON.stringify({ choices: [{ message: { role: 'assistant', content: 'A cat.' }, finish_reason: 'stop' }], usage }));
      });
    }).listen(0, '127.0.0.1');
    await once(provider, 'listening');
    const there = { ...credential, baseUrl: `http://127.0.0.1:${(provider.address() as AddressInfo).port}` };
    const workflow = agentOf('m', [], there);
    const options = { maxTokens: 100, temperature: 0.5, responseFormat: 'json_object', extraBody: '{"seed": 7}' };
    const nodes = workflow.nodes.map((node) => {
      if (node.name === 'Model') return { ...node, parameters: { model: 'm', options } };
      return node.name === 'Agent'
        ? { ...node, parameters: { promptType: 'define', text: 'What is it?', options: { passthroughBinaryImages: true } } }
        : node;
    });
    const image = { data: 'iVBORw0KGgo=', mimeType: 'image/png', fileName: 'a.png' };
    const played = await n8n.execute({
      workflow: { ...workflow, nodes },
      executionId: 'image',
      input: [{ json: {}, binary: { data: image } }],
    });
    provider.close();
    expect(answered(played)).toBe('A cat.');
    expect(bodies[0]).toMatchObject({ model: 'm', max_tokens: 100, temperature: 0.5, seed: 7, response_format: { type: 'json_object' } });
    expect(JSON.stringify(bodies[0]?.['messages'])).toContain('data:image/png;base64,iVBORw0KGgo=');
    expect(played.nodes['Model']?.[0]?.items[0]?.json).toMatchObject({
      tokenUsage: { promptTokens: 9, completionTokens: 3, totalTokens: 12 },
    });
  });
});

interface Asked {
  readonly messages: readonly { readonly role: string; readonly content: unknown; readonly tool_call_id?: string }[];
}

const call = (id: string, name: string) => ({ id, type: 'function', function: { name, arguments: '{"id":"7"}' } });

/** A model that answers as it is told, the last for ever, in front of the gateway; or of one that takes no events. */
async function modelOf(
  replies: readonly { readonly status?: number; readonly headers?: Record<string, string>; readonly [field: string]: unknown }[],
  takesEvents = true,
): Promise<{ readonly asked: Asked[]; readonly credential: Credential; close(): void }> {
  const asked: Asked[] = [];
  const server = createServer((request, response) => {
    let text = '';
    request.on('data', (chunk: Buffer) => (text += chunk.toString()));
    request.on('end', () => {
      response.setHeader('content-type', 'application/json');
      if (request.url?.startsWith('/v1/agent/events') === true) {
        if (!takesEvents) return response.writeHead(503).end();
        const headers = { 'content-type': 'application/json', authorization: String(request.headers.authorization) };
        return void fetch(`${gateway.url}${request.url}`, { method: 'POST', headers, body: text }).then(async (reply) =>
          response.writeHead(reply.status).end(await reply.text()),
        );
      }
      asked.push(JSON.parse(text) as Asked);
      const { status = 200, headers = {}, ...message } = replies[Math.min(asked.length, replies.length) - 1] ?? {};
      const choices = [{ message: { role: 'assistant', content: null, ...message }, finish_reason: 'stop' }];
      return response.writeHead(status, headers).end(JSON.stringify(status === 200 ? { choices } : { error: message }));
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const baseUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { asked, credential: { ...credential, baseUrl }, close: () => server.close() };
}

describe('a denied tool', () => {
  it('is not run, and the model is told once, in this round and the next ones', async () => {
    const model = await modelOf([
      { tool_calls: [call('c1', 'refund'), call('c2', 'lookup')] },
      { tool_calls: [call('c3', 'refund')] },
      { content: 'I may not.' },
    ]);
    const played = await ask(agentOf('m', [tool('lookup'), tool('refund')], model.credential));
    model.close();
    expect(answered(played)).toBe('I may not.');
    expect(played.tools).toEqual(['7']);
    const toldOf = model.asked.map(({ messages }) =>
      messages
        .filter(({ role }) => role === 'tool')
        .map(({ tool_call_id, content }) => [tool_call_id, /^Not allowed/.test(String(content))]),
    );
    expect(toldOf).toEqual([
      [],
      [
        ['c1', true],
        ['c2', false],
      ],
      [
        ['c1', true],
        ['c2', false],
        ['c3', true],
      ],
    ]);
    expect((await gateway.readRun(played.id))?.tools.map(({ tool: name, status }) => [name, status])).toEqual([
      ['refund', 'denied'],
      ['lookup', 'completed'],
      ['refund', 'denied'],
    ]);
  });

  it('asked for again and again is not asked of the model for ever', async () => {
    const model = await modelOf([{ tool_calls: [call('c1', 'refund')] }]);
    const played = await ask(agentOf('m', [tool('refund')], model.credential));
    model.close();
    expect([played.tools, model.asked.length]).toEqual([[], 5]);
    expect(answered(played)).toMatch(/^Not allowed/);
  });
});

describe('agents of one execution', () => {
  it('that work for different customers are charged to each of them', async () => {
    for (const customerId of ['ann', 'bob']) await ask(agentOf('says', [], credential, { customerId }), { executionId: 'two-customers' });
    const spend = await fetch(`${gateway.url}/v1/spend?by=customer`, { headers: { authorization: `Bearer ${gateway.apiKey}` } });
    const { data } = (await spend.json()) as { data: readonly { id: string; cost: { total_usd: string } }[] };
    const [ann, bob] = ['ann', 'bob'].map((id) => data.find((row) => row.id === id)?.cost.total_usd);
    expect(ann).toMatch(/[1-9]/);
    expect(bob).toBe(ann);
  });
});

describe('a tool', () => {
  it('is charged for each call, also when the provider numbers the calls of each answer anew', async () => {
    const model = await modelOf([{ tool_calls: [call('c1', 'lookup')] }, { tool_calls: [call('c1', 'lookup')] }, { content: 'Done.' }]);
    const played = await ask(agentOf('m', [tool('lookup')], model.credential));
    model.close();
    expect([answered(played), played.tools]).toEqual(['Done.', ['7', '7']]);
    expect(await gateway.readRun(played.id)).toMatchObject({ cost: { tool_usd: '0.002' }, counts: { tool_calls: 2 } });
  });

  it.each([
    ['open', ['7']],
    ['closed', []],
  ] as const)('that the gateway gives no answer about runs or not by the failure policy %s', async (failurePolicy, ran) => {
    const model = await modelOf([{ tool_calls: [call('c1', 'lookup')] }, { content: 'Done.' }], false);
    const played = await ask(agentOf('m', [tool('lookup')], { ...model.credential, failurePolicy }));
    model.close();
    expect(played.tools).toEqual(ran);
    expect(played.error?.message).toBe(
      failurePolicy === 'open' ? undefined : `The Runpurse gateway at ${model.credential.baseUrl} can't be reached`,
    );
  });
});

describe('a model call that fails', () => {
  const retrying = (workflow: WorkflowFile): WorkflowFile => ({
    ...workflow,
    nodes: workflow.nodes.map((node) =>
      node.name === 'Model' ? { ...node, parameters: { model: 'm', options: { maxRetries: 2 } } } : node,
    ),
  });

  it.each([
    ['of its provider is tried again as often as Max Retries says', { status: 500, message: 'ill' }, 3],
    ['for good is not tried again', { status: 503, headers: { 'x-should-retry': 'false' }, message: 'full' }, 1],
    ['by a mistake of the request is not tried again', { status: 400, message: 'odd' }, 1],
    ['with a redirect does not follow it', { status: 307, headers: { location: 'http://127.0.0.1:9/' }, message: 'there' }, 1],
  ])('%s', async (_, reply, times) => {
    const model = await modelOf([reply]);
    const played = await ask(retrying(agentOf('m', [], model.credential)));
    model.close();
    expect(model.asked).toHaveLength(times);
    expect(played.error?.message).toBe(`The gateway answered ${reply.status}: ${reply.message}`);
    expect(played.error?.description ?? '').not.toContain('Gateway URL');
  });

  it('is not waited for as long as its provider says: a fallback model takes over at once', async () => {
    const model = await modelOf([{ status: 429, headers: { 'retry-after': '3600' }, message: 'quota used up' }]);
    const { nodes, connections, ...base } = retrying(agentOf('m', [], model.credential));
    const fallback = nodeOf(credential, {
      name: 'Fallback',
      type: 'n8n-nodes-runpurse.runpurseChatModel',
      parameters: { model: 'says', options: { maxTokens: 100 } },
    });
    const played = await ask({
      ...base,
      nodes: [
        ...nodes.map((node) =>
          node.name === 'Agent' ? { ...node, parameters: { ...(node['parameters'] as object), needsFallback: true } } : node,
        ),
        fallback,
      ],
      connections: { ...connections, Fallback: { ai_languageModel: [[{ node: 'Agent', type: 'ai_languageModel', index: 1 }]] } },
    });
    model.close();
    expect([answered(played), model.asked.length]).toEqual(['Fine.', 1]);
  }, 20_000);
});
