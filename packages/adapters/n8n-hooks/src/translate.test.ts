import { describe, expect, it } from '@jest/globals';
import type { RunData, TaskData, WorkflowData } from './n8n.ts';
import { endOf, eventsOf as eventsOfKnown, type StepsOf } from './translate.ts';

const task = (more: Partial<TaskData> = {}): TaskData => ({ startTime: 1_700_000_000_000, executionTime: 5, ...more });
const runOf = (runData: Record<string, readonly TaskData[]>, status = 'success'): RunData => ({
  status,
  data: { resultData: { runData } },
});
const eventsOf = (run: RunData | undefined, workflow: WorkflowData, runId: string, steps: StepsOf) =>
  eventsOfKnown(run, workflow, { runId, steps, baseUrl: 'http://gateway.test', carried: {} });
const said = (json: object): TaskData => task({ data: { ai_languageModel: [[{ json: json as Record<string, unknown> }]] } });
const model = (name: string, parameters: Record<string, unknown> = { model: { value: 'gpt-x' } }) => ({
  name,
  type: '@n8n/n8n-nodes-langchain.lmChatOpenAi',
  parameters,
});

describe('the end of an execution', () => {
  it.each([
    ['success', undefined, { status: 'completed' }],
    ['error', 'boom', { status: 'failed', reason: 'boom' }],
    ['crashed', undefined, { status: 'failed' }],
    ['canceled', undefined, { status: 'stopped', reason: 'The execution was cancelled.' }],
    ['error', 'This operation was aborted', { status: 'stopped', reason: 'This operation was aborted' }],
    ['waiting', undefined, undefined],
    ['running', undefined, undefined],
  ])('%s, %s is %p', (status, message, expected) => {
    const run = { status, data: { resultData: { ...(message && { error: { message } }) } } };
    expect(endOf(run)).toEqual(expected);
  });
  it('of which nothing is known is none', () => expect(endOf(undefined)).toBeUndefined());
});

describe('what an execution did', () => {
  const workflow: WorkflowData = { nodes: [{ name: 'Set', type: 'n8n-nodes-base.set' }, model('GPT')] };

  it('is its nodes as steps, in the order they ran, each run of a node one', () => {
    const run = runOf({ Set: [task({ executionIndex: 2 }), task({ executionIndex: 0, error: { message: 'no' } })] });
    expect(eventsOf(run, workflow, 'r', 'all').map(({ type, step_id, event_id }) => [type, step_id, event_id])).toEqual([
      ['step.started', 'Set #2', 'n8n/r/"Set"/1/start'],
      ['step.failed', 'Set #2', 'n8n/r/"Set"/1/end'],
      ['step.started', 'Set', 'n8n/r/"Set"/0/start'],
      ['step.completed', 'Set', 'n8n/r/"Set"/0/end'],
    ]);
    expect(eventsOf(run, workflow, 'r', 'ai')).toEqual([]);
  });

  it('tells of an error a line or two, and no secret of it: many wait for a gateway that is away', () => {
    const error = { message: `${'y'.repeat(480)} Bearer sk-live-0123456789abcdef0123 ${'y'.repeat(5_000)}` };
    const nodes = [...Object.values(workflow.nodes ?? {}), { name: 'Vendor', type: '@n8n/n8n-nodes-langchain.openAi' }];
    const run = runOf({ Set: [task({ error })], GPT: [{ ...said({}), error }], Vendor: [task({ error })] });
    const messages = eventsOf(run, { nodes }, 'r', 'all').flatMap(({ metadata }) => metadata?.['message'] ?? []);
    expect(messages).toEqual(Array(3).fill(`${'y'.repeat(480)} [redacted] ${'y'.repeat(8)}`));
  });

  it('prices what a model used, and takes no estimate for a fact', () => {
    const run = runOf({
      GPT: [
        said({ tokenUsage: { promptTokens: 7, completionTokens: 3 } }),
        said({ tokenUsageEstimate: { promptTokens: 7, completionTokens: 3 } }),
      ],
    });
    expect(eventsOf(run, workflow, 'r', 'ai')).toMatchObject([
      {
        type: 'llm.call.completed',
        step_id: 'GPT',
        metadata: { model: 'gpt-x', provider: 'openai', usage: { input_tokens: 7, output_tokens: 3 } },
      },
      { type: 'llm.call.completed', step_id: 'GPT #2', metadata: { model: 'gpt-x' } },
    ]);
    expect(eventsOf(run, workflow, 'r', 'ai')[1]?.metadata).not.toHaveProperty('usage');
  });

  it.each([
    [{ model: 'a' }, 'a'],
    [{ model: { value: 'b' } }, 'b'],
    [{ modelName: 'c' }, 'c'],
    [{ model: '={{ $json.m }}', modelId: 'd' }, 'd'],
    [{}, '@n8n/n8n-nodes-langchain.lmChatOpenAi'],
  ])('names the model of %p', (parameters, name) => {
    const [event] = eventsOf(runOf({ M: [said({})] }), { nodes: [model('M', parameters)] }, 'r', 'ai');
    expect(event?.name).toBe(name);
  });

  it('leaves out what Runpurse nodes tell of themselves: their calls, and the tools their model asked for', () => {
    const wire = (kind: string, to: string) => ({ [kind]: [[{ node: to }]] });
    const nodes = [
      { name: 'Agent', type: '@n8n/n8n-nodes-langchain.agent' },
      { name: 'Ours', type: 'n8n-nodes-runpurse.runpurseChatModel', parameters: {} },
      { name: 'lookup', type: 'n8n-nodes-base.httpRequestTool' },
      { name: 'Other', type: '@n8n/n8n-nodes-langchain.agent' },
      model('GPT'),
      { name: 'search', type: 'n8n-nodes-base.httpRequestTool' },
    ];
    const connections = {
      Ours: wire('ai_languageModel', 'Agent'),
      lookup: wire('ai_tool', 'Agent'),
      GPT: wire('ai_languageModel', 'Other'),
      search: wire('ai_tool', 'Other'),
    };
    const tool = task({ data: { ai_tool: [[{ json: {} }]] } });
    const run = runOf({
      Ours: [said({ tokenUsage: { promptTokens: 1, completionTokens: 1 } })],
      lookup: [tool],
      search: [tool],
      GPT: [said({})],
    });
    expect(eventsOf(run, { nodes, connections }, 'r', 'ai').map(({ type, name }) => [type, name])).toEqual([
      ['tool.call.completed', 'search'],
      ['llm.call.completed', 'gpt-x'],
    ]);
    const ungated = nodes.map((node) => (node.name === 'Ours' ? { ...node, parameters: { options: { gatesTools: false } } } : node));
    expect(eventsOf(run, { nodes: ungated, connections }, 'r', 'ai').map(({ name }) => name)).toContain('lookup');
  });

  it.each([
    [true, []],
    [false, ['Approve', 'refund', 'refund']],
  ])("takes a tool behind a person's approval for one of the approval's agent (asked before: %p)", (asksBeforeTools, told) => {
    const wire = (kind: string, to: string) => ({ [kind]: [[{ node: to }]] });
    const nodes = [
      { name: 'Agent', type: '@n8n/n8n-nodes-langchain.agent' },
      { name: 'Ours', type: 'n8n-nodes-runpurse.runpurseChatModel', parameters: {} },
      { name: 'Approve', type: 'n8n-nodes-base.slackHitlTool' },
      { name: 'refund', type: 'n8n-nodes-base.httpRequestTool' },
    ];
    const connections = {
      Ours: wire('ai_languageModel', 'Agent'),
      Approve: wire('ai_tool', 'Agent'),
      refund: wire('ai_tool', 'Approve'),
    };
    const by = (previousNode: string, executionIndex: number, data: TaskData): TaskData => ({
      ...data,
      executionIndex,
      source: [{ previousNode, previousNodeRun: 0 }],
    });
    const tool = task({ data: { ai_tool: [[{ json: {} }]] } });
    const answer = said({ response: { generations: [[{ generationInfo: { asksBeforeTools } }]] } });
    const run = runOf({
      Ours: [by('Agent', 1, answer)],
      Approve: [by('Agent', 2, tool)],
      refund: [by('Approve', 3, tool), { ...by('', 4, tool), source: [{ previousNode: 'Approve', previousNodeRun: 7 }] }],
    });
    const events = eventsOf(run, { nodes, connections }, 'r', 'ai').filter(({ type }) => type.startsWith('tool.'));
    expect(events.map(({ name }) => name)).toEqual(told);
  });

  it('takes the name that an expression for the model came to from the call, and no path for a name', () => {
    const expression = model('M', { model: '={{ $json.m }}' });
    const inputOverride = { ai_languageModel: [[{ json: { options: { model: 'models/gemini-x' } } }]] };
    const [event] = eventsOf(runOf({ M: [{ ...said({}), inputOverride }] }), { nodes: [expression] }, 'r', 'ai');
    expect(event).toMatchObject({ name: 'gemini-x', metadata: { model: 'gemini-x' } });
  });

  it('is told without usage where the gateway carried it, and of others by any name of theirs', () => {
    const carried = { nodes: ['GPT'], credentials: ['id2', 'Gateway'] };
    const nodes = [
      model('GPT'),
      { ...model('ById'), credentials: { openAiApi: { id: 'id2', name: 'B' } } },
      { ...model('ByName'), credentials: { openAiApi: { id: null, name: 'Gateway' } } },
      { ...model('Other'), credentials: { openAiApi: { id: 'id3', name: 'C' } } },
    ];
    const used = said({ tokenUsage: { promptTokens: 7, completionTokens: 3 } });
    const run = runOf(Object.fromEntries(nodes.map(({ name }) => [name, [used]])));
    const events = eventsOfKnown(run, { nodes }, { runId: 'r', steps: 'ai', baseUrl: 'http://gateway.test', carried });
    expect(events.map(({ step_id, metadata }) => [step_id, metadata?.carried, metadata?.usage !== undefined])).toEqual([
      ['GPT', true, false],
      ['ById', true, false],
      ['ByName', true, false],
      ['Other', undefined, true],
    ]);
  });

  it.each([
    ['http://gateway.test/v1', true],
    ['http://gateway.test', true],
    ['http://gateway.test.evil/v1', false],
    ['https://api.openai.com/v1', false],
  ])('is carried when n8n wrote down that it called the gateway: %s', (baseURL, expected) => {
    const inputOverride = { ai_languageModel: [[{ json: { options: { configuration: { baseURL } } } }]] };
    const stale = model('M', { model: 'gpt-x', options: { baseURL: 'http://gateway.test/v1' } });
    const [event] = eventsOf(runOf({ M: [{ ...said({}), inputOverride }] }), { nodes: [stale] }, 'r', 'ai');
    expect(event?.metadata?.carried ?? false).toBe(expected);
  });

  it('holds no step that still waits, nor a tool that was put down and never ran', () => {
    const nodes = [model('GPT'), { name: 'Wait', type: 'n8n-nodes-base.wait' }, { name: 'lookup', type: 'n8n-nodes-base.httpRequestTool' }];
    const connections = { lookup: { ai_tool: [[{ node: 'Agent' }]] } };
    const runData = {
      GPT: [{ ...said({}), executionStatus: 'running' }],
      Wait: [task({ executionStatus: 'waiting' })],
      lookup: [{ startTime: 0, executionTime: 0 }],
    };
    const idsOf = (status: string) =>
      eventsOf(runOf(runData, status), { nodes, connections }, 'r', 'all').map(({ type, step_id }) => [type, step_id]);
    expect(idsOf('waiting')).toEqual([]);
    expect(idsOf('canceled')).toEqual([
      ['llm.call.failed', 'GPT'],
      ['step.started', 'Wait'],
      ['step.completed', 'Wait'],
    ]);
  });

  it('has an id of its own for each call and tool, whatever its nodes are called', () => {
    const long = 'x'.repeat(300);
    const used = said({ tokenUsage: { promptTokens: 7, completionTokens: 3 } });
    const nodes = [
      ...['GPT', 'GPT #2', 'GPT #2~', long, `${long}y`].map((name) => model(name)),
      ...['T', 'T #2'].map((name) => ({ name, type: 'tool' })),
    ];
    const tool = task({ data: { ai_tool: [[{ json: {} }]] } });
    const runData = Object.fromEntries(nodes.map(({ name, type }) => [name, type === 'tool' ? [tool, tool] : [used, used]]));
    const events = eventsOf(runOf(runData), { nodes }, 'r', 'ai');
    expect(events).toHaveLength(14);
    expect(new Set(events.map(({ event_id }) => event_id)).size).toBe(14);
    expect(new Set(events.map(({ step_id }) => step_id)).size).toBe(14);
    for (const { event_id = '' } of events) expect(event_id.length).toBeLessThanOrEqual(256);
  });

  it('is in order, though n8n counts anew after a wait', () => {
    const nodes = ['A', 'B'].map((name) => ({ name, type: 'n8n-nodes-base.set' }));
    const run = runOf({ A: [task({ startTime: 2, executionIndex: 0 })], B: [task({ startTime: 1, executionIndex: 5 })] });
    expect(eventsOf(run, { nodes }, 'r', 'all').map(({ step_id }) => step_id)).toEqual(['B', 'B', 'A', 'A']);
  });

  it('has no call in what a sub-workflow handed back', () => {
    const nodes = [{ name: 'Sub', type: 'n8n-nodes-base.executeWorkflow', parameters: {} }];
    const run = runOf({ Sub: [task({ data: { main: [[{ json: { usage: { prompt_tokens: 1, completion_tokens: 1 } } }]] } })] });
    expect(eventsOf(run, { nodes }, 'r', 'all').map(({ type }) => type)).toEqual(['step.started', 'step.completed']);
  });

  it('has a call inside the step of a tool that calls a model itself, also when the gateway was asked for the tool', () => {
    const nodes = [
      { name: 'Ours', type: 'n8n-nodes-runpurse.runpurseChatModel' },
      { name: 'translate', type: '@n8n/n8n-nodes-langchain.anthropicTool', parameters: { modelId: { value: 'claude-x' } } },
    ];
    const tool = task({ metadata: { tokenUsage: { inputTokens: 7, outputTokens: 3 } }, data: { ai_tool: [[{ json: { content: [] } }]] } });
    const connections = { translate: { ai_tool: [[{ node: 'Agent' }]] } };
    const call = {
      type: 'llm.call.completed',
      step_id: 'translate.1',
      parent_step_id: 'translate',
      metadata: { model: 'claude-x', provider: 'anthropic', usage: { input_tokens: 7, output_tokens: 3 } },
    };
    expect(eventsOf(runOf({ translate: [tool] }), { nodes, connections }, 'r', 'ai')).toMatchObject([
      { type: 'tool.call.completed' },
      call,
    ]);
    const gated = { ...connections, Ours: { ai_languageModel: [[{ node: 'Agent' }]] } };
    expect(eventsOf(runOf({ translate: [tool] }), { nodes, connections: gated }, 'r', 'ai')).toMatchObject([call]);
  });

  it('is nothing when n8n kept nothing', () => {
    for (const run of [undefined, {}, { data: {} }, { data: { resultData: {} } }]) expect(eventsOf(run, workflow, 'r', 'all')).toEqual([]);
  });
});
