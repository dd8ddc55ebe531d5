import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { startGateway, type RunningGateway } from '@runpurse/conformance';
import type { RunShape } from '@runpurse/core';
import { startN8n, type N8n, type Played, type WorkflowFile } from './n8n.mts';
import { credentialOf, nodeOf, type Credential, type NodeSpec } from './workflows.mts';

/** Calls of tools as providers really make them: with ids that repeat, are missing or are none, and names that nobody has. */

const LANGCHAIN = '@n8n/n8n-nodes-langchain.';
const PRICE = { provider: 'openai', input_mtok_usd: '2', output_mtok_usd: '10' };

interface Message {
  readonly role: string;
  readonly content?: unknown;
  readonly tool_call_id?: string;
  readonly tool_calls?: readonly (ToolCall | null)[];
}

interface ToolCall {
  readonly id?: unknown;
  readonly type?: string;
  readonly function: { readonly name?: string; readonly arguments?: unknown };
}

interface Asked {
  readonly model: string;
  readonly stream?: boolean;
  readonly messages: readonly Message[];
  readonly tools?: readonly { readonly function: { readonly name: string } }[];
}

/** A streamed answer that `breaksOff` ends behind its first piece, as a lost connection does. */
type Script = (results: number, asked: Asked) => Partial<Message> & { readonly breaksOff?: boolean };

let gateway: RunningGateway;
let n8n: N8n;
let credential: Credential;
let executions = 0;
/** By model; and what it was asked. */
const scripts: Record<string, Script> = {};
const heard: Asked[] = [];

const provider = createServer((request, response) => {
  let text = '';
  request.on('data', (chunk: Buffer) => (text += chunk.toString()));
  request.on('end', () => {
    const asked = JSON.parse(text) as Asked;
    heard.push(asked);
    const results = asked.messages.filter(({ role }) => role === 'tool').length;
    const { tool_calls: calls, content = null, breaksOff = false } = scripts[asked.model]?.(results, asked) ?? {};
    const usage = { prompt_tokens: 1000, completion_tokens: 100, total_tokens: 1100 };
    const common = { id: 'x', model: asked.model };
    const finish_reason = calls === undefined ? 'stop' : 'tool_calls';
    if (asked.stream !== true) {
      response.setHeader('content-type', 'application/json');
      const message = { role: 'assistant', content, ...(calls && { tool_calls: calls }) };
      return response.end(JSON.stringify({ ...common, choices: [{ index: 0, message, finish_reason }], usage }));
    }
    response.setHeader('content-type', 'text/event-stream');
    const delta = {
      role: 'assistant',
      content: content ?? '',
      ...(calls && { tool_calls: calls.map((call, index) => ({ index, ...call })) }),
    };
    const chunks = [
      { ...common, choices: [{ index: 0, delta, finish_reason: null }] },
      { ...common, choices: [{ index: 0, delta: {}, finish_reason }] },
      { ...common, choices: [], usage },
    ];
    if (breaksOff) return response.end(`data: ${JSON.stringify(chunks[0])}\n\n`);
    return response.end(`${chunks.map((chunk) => `data: ${JSON.stringify(chunk)}\n\n`).join('')}data: [DONE]\n\n`);
  });
});

beforeAll(async () => {
  provider.listen(0, '127.0.0.1');
  await once(provider, 'listening');
  const models = ['outer', 'inner'];
  gateway = await startGateway({
    config: {
      rate: { requests_per_minute: 10_000 },
      providers: [
        {
          name: 'openai',
          kind: 'openai',
          base_url: `http://127.0.0.1:${(provider.address() as AddressInfo).port}/v1`,
          api_key: 'sk-provider',
          models,
        },
      ],
      prices: models.map((model) => ({ ...PRICE, model })),
      tools: ['lookup', 'helper', 'invented'].map((name) => ({ name, price_usd: '0.001' })),
      policy: { tools: { allow: ['lookup', 'helper', 'invented'] } },
    } as never,
  });
  credential = credentialOf(gateway);
  n8n = await startN8n();
}, 60_000);

afterAll(async () => {
  await (n8n as N8n | undefined)?.stop();
  provider.close();
  await (gateway as RunningGateway | undefined)?.remove();
});

const call = (id: unknown, name: string, args: unknown = { id: '7' }): ToolCall => ({
  ...(id !== undefined && { id }),
  type: 'function',
  function: { name, arguments: typeof args === 'string' ? args : JSON.stringify(args) },
});
const lookup: NodeSpec = {
  name: 'lookup',
  type: 'test.scriptedTool',
  parameters: { toolDescription: 'Finds it', args: "={{ JSON.stringify({ id: $fromAI('id', '', 'string') }) }}" },
};
const model = (name: string, id: string): NodeSpec => ({
  name,
  type: 'n8n-nodes-runpurse.runpurseChatModel',
  parameters: { model: id, options: { maxTokens: 100, maxRetries: 0 } },
});
const agent = (parameters: object = {}, version = 3.1): NodeSpec => ({
  name: 'Agent',
  type: `${LANGCHAIN}agent`,
  version,
  parameters: { promptType: 'define', text: 'Where is it?', options: { maxIterations: 6, batching: { batchSize: 5 } }, ...parameters },
});

type Wire = readonly [from: string, kind: string, to: string];
const WIRES: readonly Wire[] = [
  ['Start', 'main', 'Agent'],
  ['Model', 'ai_languageModel', 'Agent'],
  ['lookup', 'ai_tool', 'Agent'],
];

function flow(nodes: readonly NodeSpec[], wires: readonly Wire[] = WIRES, as: Credential = credential): WorkflowFile {
  return {
    id: 'desk',
    name: 'Desk',
    nodes: [{ name: 'Start', type: 'n8n-nodes-base.manualTrigger' }, ...nodes].map((spec) => nodeOf(as, spec)),
    connections: Object.fromEntries(wires.map(([from, kind, node]) => [from, { [kind]: [[{ node, type: kind, index: 0 }]] }])),
    settings: { executionOrder: 'v1' },
  };
}

async function play(
  workflow: WorkflowFile,
  {
    isStreamed = false,
    input = [{ json: {} }],
    answer = String,
  }: { isStreamed?: boolean; input?: { json: object }[]; answer?: (times: number, executionId: string) => unknown } = {},
): Promise<{ played: Played; ran: unknown[]; run: RunShape; output: unknown }> {
  const executionId = `calls-${(executions += 1)}`;
  const ran: unknown[] = [];
  heard.length = 0;
  const runTool = async (name: string, args: Record<string, unknown>) => String(await answer(ran.push([name, args['id']]), executionId));
  const played = await n8n.execute({ workflow, executionId, mode: 'webhook', isStreamed, input, runTool });
  const run = await gateway.readRun(executionId);
  if (run === undefined) throw new Error('no run');
  return { played, ran, run, output: played.nodes['Agent']?.[0]?.items[0]?.json['output'] };
}

const statuses = (run: RunShape): unknown[] => run.tools.map(({ tool, status }) => [tool, status]);
/** Each result that a model was handed stands behind a call of that id. */
const answersItsCalls = ({ messages }: Asked): boolean => {
  const called = messages.flatMap(({ tool_calls: calls }) => calls?.map((one) => one?.id) ?? []);
  return messages.every(({ role, tool_call_id: id }) => role !== 'tool' || (id !== '' && called.includes(id)));
};

describe('a tool call', () => {
  it.each([
    ['no id', undefined],
    ['an empty id', ''],
    ['a number for an id', 5],
    ['an id of several lines', 'x\ny'],
    ['an endless id', 'y'.repeat(5_000)],
  ])('with %s runs, is paid for and settled, streamed or not', async (_, id) => {
    scripts['outer'] = (results) =>
      results === 0 ? { tool_calls: [call(id, 'lookup', { id: '1' }), call(id, 'lookup', { id: '2' })] } : { content: 'Done.' };
    for (const isStreamed of [false, true]) {
      const { ran, run, output } = await play(flow([agent(), model('Model', 'outer'), lookup]), { isStreamed });
      expect([output, ran.toSorted()]).toEqual([
        'Done.',
        [
          ['lookup', '1'],
          ['lookup', '2'],
        ],
      ]);
      expect(statuses(run)).toEqual([
        ['lookup', 'completed'],
        ['lookup', 'completed'],
      ]);
      expect(heard.every(answersItsCalls)).toBe(true);
    }
  });

  it('is known to its provider by the id that this gave it, and to n8n by one of its own', async () => {
    scripts['outer'] = (results) => (results < 2 ? { tool_calls: [call('call_0', 'lookup')] } : { content: 'Done.' });
    const { run } = await play(flow([agent(), model('Model', 'outer'), lookup]));
    const own = run.tools.map(({ tool_call_id: id }) => id);
    expect(new Set(own).size).toBe(2);
    // Any provider takes it: a fallback model is handed it as it is.
    expect(own.every((id) => /^[\w-]{1,40}$/.test(id))).toBe(true);
    expect(heard.at(-1)?.messages.flatMap(({ tool_call_id: id }) => id ?? [])).toEqual(['call_0', 'call_0']);
  });

  it('that is nothing is passed over, and arguments that are no text are read', async () => {
    const object = { ...call('a', 'lookup'), function: { name: 'lookup', arguments: { id: '3' } } };
    scripts['outer'] = (results) => (results === 0 ? { tool_calls: [null, object] } : { content: 'Done.' });
    for (const isStreamed of [false, true])
      expect((await play(flow([agent(), model('Model', 'outer'), lookup]), { isStreamed })).ran).toEqual([['lookup', '3']]);
  });

  it.each([3.1, 2.2])('of each item in a batch is one, although the provider numbers them alike (agent %s)', async (version) => {
    scripts['outer'] = (results) => (results === 0 ? { tool_calls: [call('call_0', 'lookup')] } : { content: 'Done.' });
    const input = ['x', 'y', 'z'].map((q) => ({ json: { q } }));
    const { run } = await play(flow([agent({ text: '={{ $json.q }}' }, version), model('Model', 'outer'), lookup]), { input });
    expect(statuses(run)).toEqual(Array.from({ length: 3 }, () => ['lookup', 'completed']));
    expect(run.cost.tool_usd).toBe('0.003');
  });

  it('of a nested agent is settled beside that of the outer one, which goes by the same id; no tool names the run', async () => {
    scripts['outer'] = (results) => (results === 0 ? { tool_calls: [call('call_0', 'helper', { task: 'x' })] } : { content: 'Done.' });
    scripts['inner'] = (results) => (results === 0 ? { tool_calls: [call('call_0', 'lookup')] } : { content: 'Found.' });
    const parameters = { toolDescription: 'Helps', text: "={{ $fromAI('task', '', 'string') }}", options: {} };
    const helper: NodeSpec = { name: 'helper', type: `${LANGCHAIN}agentTool`, version: 3, parameters };
    const { run, output } = await play(
      flow(
        [agent(), model('Model', 'outer'), helper, model('Nested', 'inner'), lookup],
        [...WIRES.slice(0, 2), ['helper', 'ai_tool', 'Agent'], ['Nested', 'ai_languageModel', 'helper'], ['lookup', 'ai_tool', 'helper']],
      ),
    );
    expect(output).toBe('Done.');
    expect(statuses(run)).toEqual([
      ['helper', 'completed'],
      ['lookup', 'completed'],
    ]);
    const outer = run.steps.find(({ name }) => name === 'helper');
    expect(run.steps.filter(({ name }) => name === 'inner').map((step) => step.parent_step_id)).toEqual([outer?.step_id, outer?.step_id]);
    expect([run.agent_id, run.steps.map((step) => step.agent_id)]).toEqual([null, run.steps.map(() => null)]);
  });

  it.each([3.1, 2.2])('by which an answer in a given form is handed over is none (agent %s)', async (version) => {
    scripts['outer'] = (results) =>
      results === 0
        ? { tool_calls: [call('a', 'lookup')] }
        : { tool_calls: [call('b', 'format_final_json_response', { output: { state: 'ok' } })] };
    const parser: NodeSpec = {
      name: 'Parser',
      type: `${LANGCHAIN}outputParserStructured`,
      version: 1.3,
      parameters: { jsonSchemaExample: '{"state":"x"}' },
    };
    const { run, output } = await play(
      flow(
        [agent({ hasOutputParser: true }, version), model('Model', 'outer'), lookup, parser],
        [...WIRES, ['Parser', 'ai_outputParser', 'Agent']],
      ),
    );
    expect(output).toEqual({ state: 'ok' });
    expect(statuses(run)).toEqual([['lookup', 'completed']]);
  });
});

describe('a tool that the model invented', () => {
  it.each([false, true])('is asked for and paid for by nobody: the model is told which there are (streamed: %s)', async (isStreamed) => {
    scripts['outer'] = (results) => (results === 0 ? { tool_calls: [call('a', 'invented')] } : { content: 'Sorry.' });
    const { ran, run, output } = await play(flow([agent(), model('Model', 'outer'), lookup]), { isStreamed });
    expect([output, ran, run.tools, run.cost.tool_usd]).toEqual(['Sorry.', [], [], '0']);
    expect(heard.at(-1)?.messages.at(-1)).toMatchObject({
      role: 'tool',
      tool_call_id: 'a',
      content: expect.stringContaining('There are: lookup'),
    });
    expect(JSON.stringify(run)).not.toContain('invented');
  });
});

describe('a denied tool', () => {
  it('is told to the item that asked for it alone', async () => {
    const refund = { ...lookup, name: 'refund' };
    scripts['outer'] = (results) => (results === 0 ? { tool_calls: [call('a', 'refund')] } : { content: `told ${results} times` });
    const { played } = await play(
      flow([agent(), model('Model', 'outer'), refund], [...WIRES.slice(0, 2), ['refund', 'ai_tool', 'Agent']]),
      { input: [{ json: {} }, { json: {} }, { json: {} }] },
    );
    expect(played.nodes['Agent']?.[0]?.items.map(({ json }) => json['output'])).toEqual(Array.from({ length: 3 }, () => 'told 1 times'));
  });
});

describe('an agent that reads its tools out of the text', () => {
  const read = async (type: string, version: number, gatesTools: boolean) => {
    const executionId = `text-${(executions += 1)}`;
    const action = `\`\`\`json\n${JSON.stringify({ action: 'lookup', action_input: '2+40' })}\n\`\`\``;
    const last = type === 'reActAgent' ? 'Final Answer: Done.' : '```json\n{"action":"Final Answer","action_input":"Done."}\n```';
    let asked = 0;
    scripts['outer'] = () => ({ content: (asked += 1) === 1 ? (type === 'reActAgent' ? `Action:\n${action}` : action) : last });
    const parameters = { model: 'outer', options: { maxTokens: 100, maxRetries: 0, gatesTools } };
    const tool = { name: 'lookup', type: `${LANGCHAIN}toolCalculator` };
    const workflow = flow([agent({ agent: type }, version), { ...model('Model', 'outer'), parameters }, tool]);
    const played = await n8n.execute({ workflow, executionId, mode: 'webhook' });
    return { played, asked, ran: played.nodes['lookup']?.map(({ error }) => error === undefined), run: await gateway.readRun(executionId) };
  };

  it.each([
    ['conversationalAgent', 1.7, 'Conversational Agent'],
    ['conversationalAgent', 1, 'Conversational Agent'],
    ['reActAgent', 1.9, 'ReAct Agent'],
    ['planAndExecuteAgent', 1.7, 'Plan and Execute Agent'],
  ])('is refused before anything is spent: %s %s', async (type, version, name) => {
    const { played, asked, ran, run } = await read(type, version, true);
    expect(`${played.error?.message} ${played.error?.said}`).toContain(`The ${name} reads its tools out of the model's text`);
    expect([asked, ran, run]).toEqual([0, undefined, undefined]);
  });

  it.each(['conversationalAgent', 'reActAgent'])('works where the gateway is not to be asked about tools: %s', async (type) => {
    const { played, asked, ran } = await read(type, 1.7, false);
    expect([played.error?.message, asked, ran]).toEqual([undefined, 2, [true]]);
  });
});

describe('an answer that is not whole', () => {
  const parts = () => [agent(), model('Model', 'outer'), lookup];

  it('of a stream that breaks off fails, and its tool does not run', async () => {
    scripts['outer'] = () => ({ tool_calls: [call('a', 'lookup', '{"id":"1')], breaksOff: true });
    const { played, ran, run } = await play(flow(parts()), { isStreamed: true });
    expect(played.error?.message).toContain('The model broke off');
    expect([ran, run.tools, run.cost.tool_usd]).toEqual([[], [], '0']);
  });

  it.each([false, true])('of which the arguments are no JSON is told to the model, and nothing runs (streamed: %s)', async (isStreamed) => {
    scripts['outer'] = (results) => (results === 0 ? { tool_calls: [call('a', 'lookup', '{"id":"1')] } : { content: 'Sorry.' });
    const { ran, run, output } = await play(flow(parts()), { isStreamed });
    expect([output, ran, run.tools]).toEqual(['Sorry.', [], []]);
    expect(heard.at(-1)?.messages.at(-1)).toMatchObject({ tool_call_id: 'a', content: expect.stringContaining('arguments are no JSON') });
    expect(heard.at(-1)?.messages.at(-2)?.tool_calls).toMatchObject([{ id: 'a', function: { name: 'lookup', arguments: '{}' } }]);
  });
});

describe('a tool that a person declines', () => {
  const declined = async (id: string, words?: string): Promise<string> =>
    String(await n8n.ask({ kind: 'decline', callId: id, tool: 'lookup', words }));

  it.each<readonly [string, (id: string) => Promise<string>, readonly unknown[], string]>([
    ['costs nothing', (id) => declined(id), [], '0'],
    ['with words of theirs costs nothing', (id) => declined(id, 'not now'), [], '0'],
    ['in a text about another call costs as it is', () => declined('rp_0'), [['lookup', 'completed']], '0.001'],
    ['in a text that only quotes it costs as it is', async (id) => `He said: ${await declined(id)}`, [['lookup', 'completed']], '0.001'],
  ])('%s', async (_, said, listed, cost) => {
    scripts['outer'] = (results) => (results === 0 ? { tool_calls: [call('a', 'lookup')] } : { content: 'As you wish.' });
    const tool = { ...lookup, parameters: { ...lookup.parameters, field: 'output' } };
    const answer = async (_times: number, id: string) => said((await gateway.readRun(id))?.tools[0]?.tool_call_id ?? '');
    const { run, output } = await play(flow([agent(), model('Model', 'outer'), tool]), { answer });
    expect(output).toBe('As you wish.');
    expect([statuses(run), run.cost.tool_usd]).toEqual([listed, cost]);
  });
});

it('a tool that never ran because the next of its answer could not be asked for costs nothing', async () => {
  const door = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk: Buffer) => (body += chunk.toString()));
    request.on('end', () => {
      if (request.url?.includes('enforce=true') === true && body.includes('"helper"')) return void request.socket.destroy();
      const headers = Object.fromEntries(
        Object.entries(request.headers).flatMap(([name, value]) =>
          ['host', 'connection', 'content-length', 'transfer-encoding'].includes(name) ? [] : [[name, String(value)]],
        ),
      );
      void fetch(`${gateway.url}${request.url}`, { method: request.method ?? 'GET', headers, ...(body !== '' && { body }) }).then(
        async (reply) => response.writeHead(reply.status, { 'content-type': 'application/json' }).end(await reply.text()),
      );
    });
  }).listen(0, '127.0.0.1');
  await once(door, 'listening');
  const baseUrl = `http://127.0.0.1:${(door.address() as AddressInfo).port}`;
  scripts['outer'] = () => ({ tool_calls: [call('a', 'lookup'), call('b', 'helper')] });
  const nodes = [agent(), model('Model', 'outer'), lookup, { ...lookup, name: 'helper' }];
  const { played, ran, run } = await play(
    flow(nodes, [...WIRES, ['helper', 'ai_tool', 'Agent']], { ...credential, baseUrl, failurePolicy: 'closed' }),
  );
  door.closeAllConnections();
  door.close();
  expect([played.status, ran]).toEqual(['error', []]);
  expect([run.tools, run.cost.tool_usd]).toEqual([[], '0']);
});

it('executions that have ended do not stay in memory', async () => {
  scripts['outer'] = (results) => (results === 0 ? { tool_calls: [call('a', 'lookup')] } : { content: 'Done.' });
  for (let times = 0; times < 12; times += 1) await play(flow([agent(), model('Model', 'outer'), lookup]));
  expect(await n8n.ask({ kind: 'held' })).toBeLessThan(6);
});
