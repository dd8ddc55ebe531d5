import { afterEach, describe, expect, it, jest } from '@jest/globals';
import { Agent, handoff, RunState, tool, type MCPServer, type Tool } from '@openai/agents';
import { z } from 'zod';
import { carried, lookupTool, setStage, toldOf, type Stage } from '../test/stage.ts';
import type { SentCall, SentEvent, StubAnswer } from '@runpurse/conformance';
import { guardAgent, guardTools } from './index.ts';

const stages: Stage[] = [];
async function stage(...args: Parameters<typeof setStage>): Promise<Stage> {
  const made = await setStage(...args);
  stages.push(made);
  return made;
}
afterEach(async () => {
  jest.restoreAllMocks();
  await Promise.all(stages.splice(0).map((made) => made.close()));
});

const denyTools = (event: SentEvent) =>
  event.type === 'tool.call.requested' ? { code: 'policy_denied', status: 403, message: 'lookup is denied by no-lookups' } : undefined;
const isAnswered = ({ body }: SentCall): boolean => /"role":"tool"|function_call_output/.test(JSON.stringify(body));
/** Calls the tools named once, side by side, then answers with text. */
const callOnce =
  (...names: readonly string[]) =>
  (request: SentCall): StubAnswer =>
    isAnswered(request)
      ? { content: 'done' }
      : { toolCalls: names.map((name, index) => ({ id: `call_${index}`, name, args: { q: 'x' } })) };
const agentWith = (tools: Tool[]) => new Agent({ name: 'support', model: 'gpt-test', tools });

describe('a guarded tool', () => {
  it('that is denied does not run: the model is told why, and the run goes on', async () => {
    const at = await stage({ answer: callOnce('lookup'), deny: denyTools });
    const { lookup, ran } = lookupTool();
    const { finalOutput } = await at.runpurse.runner().run(agentWith([lookup]), 'hi');
    expect([ran, finalOutput]).toEqual([[], 'done']);
    expect(toldOf(at.requests[1] as SentCall)).toEqual(['lookup is denied by no-lookups']);
    expect(at.eventsOf('tool.call.completed').concat(at.eventsOf('tool.call.failed'))).toEqual([]);
    expect(at.events.at(-1)?.type).toBe('run.completed');
  });

  it('that runs is asked about once, its input told only as a hash, and settled when it is done', async () => {
    const at = await stage({ answer: callOnce('lookup') });
    const { lookup, ran } = lookupTool(() => 'secret result');
    await at.runpurse.runner().run(agentWith(guardTools(guardTools([lookup]))), 'hi');
    expect(ran).toEqual(['x']);
    const [asked, ...more] = at.eventsOf('tool.call.requested');
    expect(more).toEqual([]);
    expect(asked).toMatchObject({ tool_call_id: 'call_0', step_id: 'call_0', name: 'lookup', input_hash: expect.any(String) });
    expect(at.eventsOf('tool.call.completed')).toMatchObject([{ tool_call_id: 'call_0', metadata: { status: 'completed' } }]);
    expect(JSON.stringify(at.events)).not.toContain('secret result');
  });

  it('that fails is settled as failed although the SDK tells its error to the model itself', async () => {
    const at = await stage({ answer: callOnce('lookup') });
    const { lookup } = lookupTool(() => {
      throw new Error('no such order');
    });
    await at.runpurse.runner().run(agentWith([lookup]), 'hi');
    expect(at.eventsOf('tool.call.failed')).toMatchObject([{ tool_call_id: 'call_0', metadata: { status: 'failed' } }]);
    expect(at.events.at(-1)?.type).toBe('run.completed');
  });

  it('that another guardrail rejects is not asked about', async () => {
    const at = await stage({ answer: callOnce('lookup') });
    const { lookup, ran } = lookupTool();
    lookup.inputGuardrails = [
      { type: 'tool_input', name: 'never', run: async () => ({ behavior: { type: 'rejectContent', message: 'never' } }) },
    ];
    await at.runpurse.runner().run(agentWith([lookup]), 'hi');
    expect([ran, at.types().filter((type) => type.startsWith('tool.'))]).toEqual([[], []]);
  });

  it('whose call id is used again, even inside its own call, is another call', async () => {
    const answers = [
      { toolCalls: [{ id: 'call_1', name: 'behind', args: { q: 'x' } }] },
      { toolCalls: [{ id: 'call_1', name: 'lookup', args: { q: 'x' } }] },
    ];
    const at = await stage({ answer: (_, count) => answers[count - 1] ?? {} });
    const { lookup, ran } = lookupTool();
    const nested = guardAgent(new Agent({ name: 'nested', model: 'gpt-test', tools: [lookup] }));
    const behind = nested.asTool({ toolName: 'behind', toolDescription: 'asks nested', parameters: z.object({ q: z.string() }) });
    await at.runpurse.runner().run(agentWith([behind]), 'hi');
    expect(ran).toEqual(['x']);
    expect(
      at.eventsOf('tool.call.completed').map((event) => [event.metadata['tool_name'], event['tool_call_id'], event['parent_step_id']]),
    ).toEqual([
      ['lookup', 'call_1~2', 'call_1'],
      ['behind', 'call_1', undefined],
    ]);
  });

  it('that needs an approval is asked about when it is approved, and not when it is rejected', async () => {
    const at = await stage({ answer: callOnce('lookup') });
    const { lookup, ran } = lookupTool();
    lookup.needsApproval = async () => true;
    const runner = at.runpurse.runner({ toolExecution: { preApprovalInputGuardrails: true } });
    const agent = agentWith([lookup]);
    const rejected = await runner.run(agent, 'hi');
    for (const interruption of rejected.interruptions) rejected.state.reject(interruption);
    await runner.run(agent, rejected.state);
    expect([ran, at.eventsOf('tool.call.completed')]).toEqual([[], []]);
    const approved = await runner.run(agent, 'hi');
    for (const interruption of approved.interruptions) approved.state.approve(interruption);
    await runner.run(agent, approved.state);
    await at.runpurse.client.flush();
    // Asked about before the approval too, but nothing is held while nobody answers: the run that calls it pays.
    const [last] = at.eventsOf('run.started').slice(-1);
    expect(ran).toEqual(['x']);
    expect(at.eventsOf('tool.call.failed').map(({ metadata }) => metadata['released'])).toEqual([true, true]);
    expect(at.eventsOf('tool.call.completed').map(({ run_id }) => run_id)).toEqual([last?.run_id]);
  });

  it('used outside of any run just runs', async () => {
    const { lookup, ran } = lookupTool();
    guardTools([lookup]);
    const output = await lookup.invoke({} as never, '{"q":"x"}');
    expect([output, ran]).toEqual(['found x', ['x']]);
  });

  it('is guarded by the runner for every agent that is handed over to', async () => {
    const at = await stage({ answer: callOnce('lookup'), deny: denyTools });
    const { lookup, ran } = lookupTool();
    const billing = new Agent({ name: 'billing', model: 'gpt-test', tools: [lookup] });
    const front = new Agent({ name: 'front', model: 'gpt-test', handoffs: [handoff(billing)] });
    billing.handoffs.push(front as never);
    const runner = at.runpurse.runner();
    await runner.run(front, 'hi').catch(() => {});
    await runner.run(billing, 'hi');
    expect(ran).toEqual([]);
  });
});

describe('a tool nobody guarded', () => {
  it('is reported after it ran, with a warning that it can not be denied', async () => {
    const warn = jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
    const ran: string[] = [];
    const peek = tool({
      name: 'peek',
      description: 'peeks',
      parameters: z.object({ q: z.string() }),
      execute: ({ q }) => String(ran.push(q)),
    });
    const nested = new Agent({ name: 'nested', model: 'gpt-test', tools: [peek] });
    const behind = nested.asTool({ toolName: 'behind', toolDescription: 'asks nested', parameters: z.object({ q: z.string() }) });
    const answers = [
      { toolCalls: [{ id: 'outer', name: 'behind', args: { q: 'x' } }] },
      { toolCalls: [{ id: 'inner', name: 'peek', args: { q: 'x' } }] },
    ];
    const at = await stage({ answer: (_, count) => answers[count - 1] ?? {} });
    await at.runpurse.runner().run(agentWith([behind]), 'hi');
    expect(ran).toEqual(['x']);
    expect(at.eventsOf('tool.call.requested').map(({ name }) => name)).toEqual(['behind']);
    expect(at.eventsOf('tool.call.completed').map(({ metadata, parent_step_id }) => [metadata['tool_name'], parent_step_id])).toEqual([
      ['peek', 'outer'],
      ['behind', undefined],
    ]);
    expect(warn.mock.calls.map(([text]) => String(text))).toEqual([expect.stringContaining('"peek" is reported but can\'t be denied')]);
  });
});

describe('an agent behind a tool', () => {
  it('keeps the run, is charged under its own name and stands inside the tool call', async () => {
    const answers = [
      { toolCalls: [{ id: 'outer', name: 'behind', args: { q: 'x' } }] },
      { toolCalls: [{ id: 'inner', name: 'lookup', args: { q: 'x' } }] },
      {},
      {},
    ];
    const at = await stage({ answer: (_, count) => answers[count - 1] ?? {} });
    const { lookup } = lookupTool();
    const nested = guardAgent(new Agent({ name: 'nested', model: 'gpt-test', tools: [lookup] }));
    const behind = nested.asTool({ toolName: 'behind', toolDescription: 'asks nested', parameters: z.object({ q: z.string() }) });
    await at.runpurse.runner().run(agentWith([behind]), 'hi');
    expect(at.requests.map((request) => [carried(request).agent, carried(request).parent])).toEqual([
      ['support', undefined],
      ['nested', 'outer'],
      ['nested', 'outer'],
      ['support', undefined],
    ]);
    expect(at.eventsOf('tool.call.requested').map((event) => [event.name, event['agent_id'], event['parent_step_id']])).toEqual([
      ['behind', 'support', undefined],
      ['lookup', 'nested', 'outer'],
    ]);
    expect(new Set(at.events.map((event) => event.run_id)).size).toBe(1);
    expect(at.eventsOf('run.started')).toHaveLength(1);
  });

  it.each([
    ['the state itself', 'behind', false],
    ['the state read back, as another process has it', 'behind', true],
    ['the state itself, two agents deep', 'further', false],
    ['the state read back, two agents deep', 'further', true],
  ])('that waits for an approval is asked about and charged once, resumed from %s', async (_, outermost, isReadBack) => {
    const asked = { q: 'x' };
    const calls = outermost === 'behind' ? ['behind', 'lookup'] : ['further', 'behind', 'lookup'];
    const answers: StubAnswer[] = calls.map((name) => ({ toolCalls: [{ id: `id of ${name}`, name, args: asked }] }));
    const again: StubAnswer = { toolCalls: [{ id: 'another id', name: outermost, args: asked }] };
    // Resumed, every agent but the first is done; the first asks once more, and that is a new call.
    const resumed = [...calls.slice(1).map(() => ({})), again, { content: 'new' }, { content: 'done' }];
    const at = await stage({ answer: (_call, count) => [...answers, ...resumed][count - 1] ?? {} });
    const { lookup, ran } = lookupTool();
    lookup.needsApproval = async () => true;
    const parameters = z.object({ q: z.string() });
    const nested = guardAgent(new Agent({ name: 'nested', model: 'gpt-test', tools: [lookup] }));
    const behind = nested.asTool({ toolName: 'behind', toolDescription: 'asks nested', parameters });
    const middle = guardAgent(new Agent({ name: 'middle', model: 'gpt-test', tools: [behind] }));
    const further = middle.asTool({ toolName: 'further', toolDescription: 'asks middle', parameters });
    const agent = agentWith([outermost === 'behind' ? behind : further]);
    const runner = at.runpurse.runner({ groupId: 'group-1' });
    const { state } = await runner.run(agent, 'hi');
    const kept = isReadBack ? await RunState.fromString(agent, state.toString()) : state;
    for (const interruption of kept.getInterruptions()) kept.approve(interruption);
    const { finalOutput } = await runner.run(agent, kept as typeof state);
    await at.runpurse.client.flush();
    expect([ran, finalOutput]).toEqual([['x'], 'done']);
    const [first, second] = at.eventsOf('run.started').map(({ run_id }) => run_id);
    for (const type of ['tool.call.requested', 'tool.call.completed']) {
      const told = at.eventsOf(type).map(({ run_id, metadata, name }) => [run_id, metadata['tool_name'] ?? name]);
      const expected = [...calls.slice(0, -1).map((name) => [first, name]), [second, 'lookup'], [second, outermost]];
      expect(told.map(String).sort()).toEqual(expected.map(String).sort());
    }
  });

  it('run by another runner of ours in a tool is part of the run too', async () => {
    const at = await stage({ answer: (_, count) => (count === 1 ? { toolCalls: [{ id: 'outer', name: 'ask', args: { q: 'x' } }] } : {}) });
    const nested = new Agent({ name: 'nested', model: 'gpt-test' });
    const ask = tool({
      name: 'ask',
      description: 'asks nested',
      parameters: z.object({ q: z.string() }),
      execute: async ({ q }) => (await at.runpurse.runner().run(nested, q)).finalOutput ?? '',
    });
    await at.runpurse.runner().run(agentWith([ask]), 'hi');
    expect(at.requests.map((request) => [carried(request).agent, carried(request).parent])).toEqual([
      ['support', undefined],
      ['nested', 'outer'],
      ['support', undefined],
    ]);
    expect(at.eventsOf('run.started')).toHaveLength(1);
  });
});

describe('a handoff', () => {
  it('is a step of the agent that hands over; what follows is charged to the one that took over', async () => {
    const at = await stage({
      answer: (_, count) => (count === 1 ? { toolCalls: [{ id: 'call_1', name: 'transfer_to_billing', args: {} }] } : {}),
    });
    const billing = new Agent({ name: 'billing', model: 'gpt-test' });
    const front = new Agent({ name: 'front', model: 'gpt-test', handoffs: [billing] });
    await at.runpurse.runner().run(front, 'hi');
    expect(at.requests.map((request) => carried(request).agent)).toEqual(['front', 'billing']);
    expect(at.eventsOf('step.completed')).toMatchObject([{ name: 'billing', step_kind: 'handoff', agent_id: 'front' }]);
    expect(at.events[0]?.['agent_id']).toBe('front');
  });
});

describe('tools that run at the provider', () => {
  it('are steps inside the model call, named as what they are, a web search counted', async () => {
    const hosted = [
      { type: 'web_search_call', id: 'ws_1', status: 'completed', action: { type: 'search', query: 'x' } },
      { type: 'mcp_call', id: 'mcp_1', server_label: 'deepwiki', name: 'ask', arguments: '{}', output: 'yes', error: null },
      { type: 'code_interpreter_call', id: 'ci_1', status: 'failed', code: 'x', container_id: 'c', outputs: [] },
    ];
    const at = await stage({ answer: () => ({ hosted }) });
    await at.runpurse.runner().run(agentWith([]), 'hi');
    const [call] = at.eventsOf('llm.call.completed');
    expect(call?.metadata['usage']).toMatchObject({ web_searches: 1 });
    const steps = at.events.filter(({ type }) => /^step\.(?:completed|failed)$/.test(type));
    expect(steps.map(({ type, name, step_kind, parent_step_id }) => [type, name, step_kind, parent_step_id])).toEqual([
      ['step.completed', 'web_search', 'tool_call', call?.step_id],
      ['step.completed', 'deepwiki.ask', 'tool_call', call?.step_id],
      ['step.failed', 'code_interpreter', 'tool_call', call?.step_id],
    ]);
  });
});

describe('tools of an MCP server', () => {
  const serverOf = (called: string[]): MCPServer => ({
    name: 'orders',
    cacheToolsList: false,
    connect: async () => {},
    close: async () => {},
    invalidateToolsCache: async () => {},
    listTools: async () => [
      {
        name: 'find',
        description: 'finds',
        inputSchema: { type: 'object', properties: { q: { type: 'string' } }, required: ['q'], additionalProperties: false },
      },
    ],
    callTool: async (name) => {
      called.push(name);
      return [{ type: 'text', text: 'found' }];
    },
  });

  it.each([
    ['are asked about like any other', undefined, ['find'], 'tool.call.completed'],
    ['are not called when denied', denyTools, [], undefined],
  ] as const)('%s', async (_, deny, expected, settled) => {
    const at = await stage({ answer: callOnce('find'), ...(deny && { deny }) });
    const called: string[] = [];
    const agent = new Agent({ name: 'support', model: 'gpt-test', mcpServers: [serverOf(called)] });
    const { finalOutput } = await at.runpurse.runner().run(agent, 'hi');
    expect([called, finalOutput]).toEqual([expected, 'done']);
    expect(at.eventsOf('tool.call.requested')).toMatchObject([{ name: 'find' }]);
    expect(at.events.find(({ type }) => /^tool\.call\.(?:completed|failed)$/.test(type))?.type).toBe(settled);
    expect(at.eventsOf('mcp.listed')[0]).toMatchObject({ metadata: { mcp_server: 'orders', mcp_tools: 'find' } });
  });
});

describe('a model object of an agent', () => {
  it('is warned of, because its calls ask no provider', async () => {
    const warn = jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
    const at = await stage();
    const model = await at.runpurse.models().getModel('gpt-test');
    const own = { getResponse: model.getResponse.bind(model), getStreamedResponse: model.getStreamedResponse.bind(model) };
    await at.runpurse.runner().run(new Agent({ name: 'own-model', model: own }), 'hi');
    await at.runpurse.runner().run(new Agent({ name: 'wrapped', model: at.runpurse.model(own, 'gpt-test') }), 'hi');
    expect(warn.mock.calls.map(([text]) => String(text))).toEqual([expect.stringContaining('"own-model" has a model object of its own')]);
  });
});
