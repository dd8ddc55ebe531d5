import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { startN8n, type N8n, type Played, type WorkflowFile } from '../../n8n/test/n8n.mts';
import { chainOf, credentialOf, nodeOf, type NodeSpec } from '../../n8n/test/workflows.mts';
import { credential, listed, setStage, type Stage } from './stage.mts';

/** With the hooks file and Runpurse's own model in one workflow: each tool is charged once, by one of the two. */

let stage: Stage;
let n8n: N8n;
let executions = 0;
const HOOKS = join(import.meta.dirname, '..', 'src', 'hooks.ts');

beforeAll(async () => {
  stage = await setStage();
  n8n = await startN8n();
}, 60_000);

afterAll(async () => {
  await (n8n as N8n | undefined)?.stop();
  await (stage as Stage | undefined)?.stop();
});

interface Agent {
  readonly version?: number;
  /** It reads its tools out of the model's text. */
  readonly isReAct?: boolean;
  /** Of Runpurse's model; `nobodys` fails. */
  readonly model?: 'gpt-x' | 'nobodys';
  readonly gatesTools?: unknown;
  readonly isDisabled?: boolean;
  readonly hasFallback?: boolean;
  /** Runpurse's model is lent by n8n's Model Selector. */
  readonly isSelected?: boolean;
  readonly tool?: string;
}

/** n8n's AI Agent with a tool, Runpurse's model, and, if it has a fallback or the first is disabled, one at the provider. */
function agentOf({
  isReAct = false,
  version = isReAct ? 1.7 : 3.1,
  model = 'gpt-x',
  gatesTools = true,
  isDisabled = false,
  hasFallback = false,
  isSelected = false,
  tool = 'order_lookup',
}: Agent): WorkflowFile {
  const as = credentialOf(stage.gateway);
  const nodes: NodeSpec[] = [
    { name: 'Start', type: 'n8n-nodes-base.manualTrigger' },
    {
      name: 'Agent',
      type: '@n8n/n8n-nodes-langchain.agent',
      version,
      parameters: { promptType: 'define', text: 'Where is it?', needsFallback: hasFallback, ...(isReAct && { agent: 'reActAgent' }) },
    },
    {
      name: 'Ours',
      type: 'n8n-nodes-runpurse.runpurseChatModel',
      parameters: { model, options: { maxTokens: 100, maxRetries: 0, gatesTools } },
      disabled: isDisabled,
    },
    isReAct ? { name: tool, ...calculator } : { name: tool, ...request() },
    {
      name: 'GPT',
      type: '@n8n/n8n-nodes-langchain.lmChatOpenAi',
      version: 1.2,
      parameters: { model: listed('gpt-x'), options: { maxRetries: 0 } },
      ...credential('openAiApi', { apiKey: 'sk-x', url: `${stage.provider.url}/v1` }),
    },
  ];
  const lent = (index: number, node = 'Agent') => ({ ai_languageModel: [[{ node, type: 'ai_languageModel', index }]] });
  if (isSelected) nodes.push(selector);
  return {
    id: 'beside',
    name: 'Beside',
    nodes: nodes.map((node) => nodeOf(as, node)),
    connections: {
      Start: { main: [[{ node: 'Agent', type: 'main', index: 0 }]] },
      Ours: lent(0, isSelected ? 'Selector' : 'Agent'),
      ...(isSelected && { Selector: lent(0), GPT: lent(1, 'Selector') }),
      [tool]: { ai_tool: [[{ node: 'Agent', type: 'ai_tool', index: 0 }]] },
      ...((hasFallback || isDisabled) && { GPT: lent(hasFallback ? 1 : 0) }),
    },
    settings: { executionOrder: 'v1' },
  };
}

const request = () => ({
  type: 'n8n-nodes-base.httpRequestTool',
  version: 4.2,
  parameters: {
    toolDescription: 'Finds an order.',
    url: `=${stage.provider.url}/orders/{{ $fromAI('query', '', 'string') }}`,
    options: {},
  },
});
/** A tool of the kind that older agents take. */
const calculator = { type: '@n8n/n8n-nodes-langchain.toolCalculator' };
const isAlways = { id: '1', leftValue: '={{ 1 }}', rightValue: 1, operator: { type: 'number', operation: 'equals' } };
const conditions = {
  options: { caseSensitive: true, leftValue: '', typeValidation: 'strict', version: 2 },
  combinator: 'and',
  conditions: [isAlways],
};
const selector: NodeSpec = {
  name: 'Selector',
  type: '@n8n/n8n-nodes-langchain.modelSelector',
  parameters: { numberInputs: 2, rules: { rule: [{ modelIndex: 1, conditions }] } },
};

async function play(workflow: WorkflowFile, more: { isStreamed?: boolean; signal?: AbortSignal } = {}): Promise<Played & { id: string }> {
  const executionId = `beside-${(executions += 1)}`;
  const environment = {
    RUNPURSE_URL: stage.gateway.url,
    RUNPURSE_KEY: stage.gateway.apiKey,
    RUNPURSE_FAILURE_POLICY: '',
    RUNPURSE_STEPS: '',
    RUNPURSE_INSTANCE: '',
    RUNPURSE_CARRIED: '',
  };
  const hooks = { path: HOOKS, environment };
  return { id: executionId, ...(await n8n.execute({ workflow, executionId, mode: 'webhook', hooks, ...more })) };
}

describe('a tool of an agent is charged once', () => {
  it.each<readonly [string, Agent]>([
    ['that the model asked for', {}],
    ['that the model of an older agent asked for', { version: 2.2 }],
    ['that the model asked for by an expression', { gatesTools: '={{ true }}' }],
    ['that the model asked for beside a fallback that had nothing to do', { hasFallback: true }],
    ['when a fallback model took over', { model: 'nobodys', hasFallback: true }],
    ['when a fallback model took over in an older agent', { version: 2.2, model: 'nobodys', hasFallback: true }],
    ['when the model is disabled beside another', { isDisabled: true }],
    ['when the model is not to ask', { gatesTools: false }],
    ['when the model is not to ask by an expression', { gatesTools: '={{ false }}' }],
    ['that a model behind a Model Selector asked for', { isSelected: true }],
    ['when a model behind a Model Selector is not to ask', { isSelected: true, gatesTools: false }],
    ['when the agent reads it out of the text of a model behind a Model Selector', { isSelected: true, isReAct: true }],
    ['when the agent reads it out of the text of a model that is not to ask', { isReAct: true, gatesTools: false }],
    ['whose name n8n changes for the model, when that is not to ask', { tool: 'order lookup', gatesTools: false }],
    ['whose name n8n changes for the model, when that asked', { tool: 'order lookup' }],
    ['when the model of an older agent is not to ask by an expression', { version: 2.2, gatesTools: '={{ false }}' }],
  ])('%s', async (_, agent) => {
    for (const isStreamed of [false, true]) {
      const played = await play(agentOf(agent), { isStreamed });
      expect(played.error).toBeUndefined();
      const run = await stage.gateway.readRun(played.id);
      expect(run).toMatchObject({ status: 'completed', cost: { tool_usd: '0.001' }, counts: { tool_calls: 1 } });
      expect(run?.tools).toMatchObject([{ tool: 'order_lookup', status: 'completed' }]);
    }
  });
});

it('an execution that is cancelled while a Chat waits for its model is a stopped run', async () => {
  const stop = new AbortController();
  const silent = createServer(() => stop.abort()).listen(0, '127.0.0.1');
  await once(silent, 'listening');
  const as = { ...credentialOf(stage.gateway), baseUrl: `http://127.0.0.1:${(silent.address() as AddressInfo).port}` };
  const chat: NodeSpec = { name: 'Chat', parameters: { resource: 'chat', operation: 'complete', model: 'gpt-x', prompt: 'hi' } };
  const played = await play(chainOf(as, [chat]), { signal: stop.signal });
  silent.closeAllConnections();
  silent.close();
  expect(await stage.gateway.readRun(played.id)).toMatchObject({ status: 'stopped' });
});
