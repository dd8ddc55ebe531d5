import { describe, expect, it } from '@jest/globals';
import type { RunData, TaskData, WorkflowData } from './n8n.ts';
import { endOf, eventsOf } from './translate.ts';

const task = (more: Partial<TaskData> = {}): TaskData => ({ startTime: 1_700_000_000_000, executionTime: 5, ...more });
const runOf = (runData: Record<string, readonly TaskData[]>, status = 'success'): RunData => ({
  status,
  data: { resultData: { runData } },
});
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
      ['step.started', 'Set #2', 'n8n/r/Set #2/start'],
      ['step.failed', 'Set #2', 'n8n/r/Set #2/end'],
      ['step.started', 'Set', 'n8n/r/Set/start'],
      ['step.completed', 'Set', 'n8n/r/Set/end'],
    ]);
    expect(eventsOf(run, workflow, 'r', 'ai')).toEqual([]);
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

  it('is nothing when n8n kept nothing', () => {
    for (const run of [undefined, {}, { data: {} }, { data: { resultData: {} } }]) expect(eventsOf(run, workflow, 'r', 'all')).toEqual([]);
  });
});
