import type { AgentEventInput, ReportedUsage } from '@runpurse/core';
import type { NodeData, RunData, TaskData, WorkflowData } from './n8n.ts';

/** Which nodes become steps: every one, or only models and tools. */
export type StepsOf = 'all' | 'ai';

const OURS = 'n8n-nodes-runpurse.';
const OUR_MODEL = `${OURS}runpurseChatModel`;
/** How an execution ended, as a run. One that waits has not. */
const ENDS: Readonly<Record<string, 'completed' | 'failed' | 'stopped'>> = {
  success: 'completed',
  error: 'failed',
  crashed: 'failed',
  canceled: 'stopped',
};

/** What a node throws whose execution is cancelled; n8n then says `error`. */
const CANCELLED = /^(?:This operation was aborted|The execution was cancell?ed)/;

/** The end of the run, if the execution has ended. */
export function endOf(
  run: RunData | undefined,
): { readonly status: 'completed' | 'failed' | 'stopped'; readonly reason?: string } | undefined {
  const message = run?.data?.resultData?.error?.message;
  const status = message !== undefined && CANCELLED.test(message) ? 'stopped' : ENDS[run?.status ?? ''];
  if (status === undefined) return undefined;
  const reason = message ?? (status === 'stopped' ? 'The execution was cancelled.' : undefined);
  return { status, ...(status !== 'completed' && reason !== undefined && { reason }) };
}

/**
 * What an execution did, as events of its run, in order: its nodes are steps, what AI nodes used is priced. Event ids are
 * made of the execution, so that one which waits and is told of twice counts once. Nodes of Runpurse tell of themselves.
 */
export function eventsOf(run: RunData | undefined, workflow: WorkflowData, runId: string, steps: StepsOf): readonly AgentEventInput[] {
  const nodes = new Map(nodesOf(workflow).map((node) => [node.name, node]));
  const gated = gatedToolsOf(workflow);
  return Object.entries(run?.data?.resultData?.runData ?? {})
    .flatMap(([name, tasks]) => tasks.map((task, index) => ({ name, task, index, node: nodes.get(name) })))
    .sort((a, b) => (a.task.executionIndex ?? 0) - (b.task.executionIndex ?? 0) || (a.task.startTime ?? 0) - (b.task.startTime ?? 0))
    .flatMap(({ name, task, index, node }) => {
      if (node === undefined || node.type.startsWith(OURS)) return [];
      const place = { stepId: index === 0 ? name : `${name} #${index + 1}`, name, task };
      if (task.data?.['ai_languageModel'] !== undefined) return modelEvents(place, node);
      if (task.data?.['ai_tool'] !== undefined || isToolOf(workflow, name)) return gated.has(name) ? [] : toolEvents(place);
      return steps === 'all' ? stepEvents(place) : [];
    })
    .map(({ id, ...event }) => ({ ...event, event_id: `n8n/${runId}/${id}` }));
}

/** An event whose id is unique within the run. */
type Numbered = AgentEventInput & { readonly id: string };

interface Placed {
  readonly stepId: string;
  readonly name: string;
  readonly task: TaskData;
}

const AFTER = { event_phase: 'after', policy_stage: 'post_action' } as const;

function modelEvents({ stepId, name, task }: Placed, node: NodeData): readonly Numbered[] {
  const model = modelOf(node);
  const provider = PROVIDERS[node.type.slice(node.type.lastIndexOf('.') + 1)];
  const outputs = (task.data?.['ai_languageModel'] ?? []).flatMap((items) => items ?? []);
  return outputs.map(({ json }, at): Numbered => {
    const id = at === 0 ? stepId : `${stepId}.${at + 1}`;
    const usage = usageOf(json);
    return {
      id: `${id}/model`,
      type: task.error === undefined ? 'llm.call.completed' : 'llm.call.failed',
      ...AFTER,
      step_id: id,
      step_kind: 'llm_call',
      graph_node: name,
      name: model,
      timestamp: timeOf(task, true),
      metadata: { model, ...(provider && { provider }), ...(usage && { usage }), status: statusOf(task), ...messageOf(task) },
    };
  });
}

function toolEvents({ stepId, name, task }: Placed): readonly Numbered[] {
  return [
    {
      id: `${stepId}/tool`,
      type: task.error === undefined ? 'tool.call.completed' : 'tool.call.failed',
      ...AFTER,
      step_id: stepId,
      tool_call_id: stepId,
      step_kind: 'tool_call',
      graph_node: name,
      name,
      timestamp: timeOf(task, true),
      metadata: { tool_name: name, status: statusOf(task), ...messageOf(task) },
    },
  ];
}

function stepEvents({ stepId, name, task }: Placed): readonly Numbered[] {
  const place = { step_id: stepId, step_kind: 'checkpoint' as const, graph_node: name, name };
  return [
    {
      ...place,
      id: `${stepId}/start`,
      type: 'step.started',
      event_phase: 'state',
      policy_stage: 'audit_only',
      timestamp: timeOf(task, false),
    },
    {
      ...place,
      id: `${stepId}/end`,
      type: task.error === undefined ? 'step.completed' : 'step.failed',
      ...AFTER,
      timestamp: timeOf(task, true),
      metadata: { status: statusOf(task), ...messageOf(task) },
    },
  ];
}

/** n8n writes what a model used as `tokenUsage`, or `tokenUsageEstimate` when the provider did not say: that is unknown here. */
function usageOf(json: Readonly<Record<string, unknown>> | undefined): ReportedUsage | undefined {
  const used = json?.['tokenUsage'];
  if (typeof used !== 'object' || used === null) return undefined;
  const { promptTokens, completionTokens } = used as { readonly promptTokens?: unknown; readonly completionTokens?: unknown };
  if (!isCount(promptTokens) || !isCount(completionTokens)) return undefined;
  return { input_tokens: promptTokens, output_tokens: completionTokens };
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

/** n8n's model nodes keep the model's name in one of these, as a text or in a resource locator. */
function modelOf({ parameters, type }: NodeData): string {
  for (const field of ['model', 'modelId', 'modelName', 'deploymentName']) {
    const value = parameters?.[field];
    const name = typeof value === 'object' && value !== null ? (value as { readonly value?: unknown }).value : value;
    if (typeof name === 'string' && name !== '' && !name.startsWith('=')) return name;
  }
  return type;
}

/** Whose models n8n's model nodes call, as the gateway's prices name them. */
const PROVIDERS: Readonly<Record<string, string>> = {
  lmChatAnthropic: 'anthropic',
  lmChatAwsBedrock: 'aws',
  lmChatAzureOpenAi: 'azure',
  lmChatCohere: 'cohere',
  lmChatDeepSeek: 'deepseek',
  lmChatGoogleGemini: 'google',
  lmChatGoogleVertex: 'google',
  lmChatGroq: 'groq',
  lmChatMistralCloud: 'mistral',
  lmChatOllama: 'ollama',
  lmChatOpenAi: 'openai',
  lmChatOpenRouter: 'openrouter',
  lmChatXAiGrok: 'x-ai',
  lmOpenAi: 'openai',
};

/** Tools of agents whose model is ours: the gateway was asked before each of them and knows their cost. */
function gatedToolsOf(workflow: WorkflowData): ReadonlySet<string> {
  const gatedAgents = nodesOf(workflow)
    .filter(
      ({ type, parameters }) =>
        type === OUR_MODEL && (parameters?.['options'] as { gatesTools?: unknown } | undefined)?.gatesTools !== false,
    )
    .flatMap(({ name }) => usersOf(workflow, name, 'ai_languageModel'));
  return new Set(
    nodesOf(workflow)
      .filter(({ name }) => usersOf(workflow, name, 'ai_tool').some((agent) => gatedAgents.includes(agent)))
      .map(({ name }) => name),
  );
}

function isToolOf(workflow: WorkflowData, name: string): boolean {
  return usersOf(workflow, name, 'ai_tool').length > 0;
}

function usersOf({ connections }: WorkflowData, name: string, kind: string): readonly string[] {
  return (connections?.[name]?.[kind] ?? []).flatMap((outputs) => outputs ?? []).map(({ node }) => node);
}

export function nodesOf({ nodes }: WorkflowData): readonly NodeData[] {
  return Array.isArray(nodes) ? (nodes as readonly NodeData[]) : Object.values(nodes ?? {});
}

function statusOf({ error }: TaskData): 'completed' | 'failed' {
  return error === undefined ? 'completed' : 'failed';
}

function messageOf({ error }: TaskData): { readonly message?: string } {
  return error?.message === undefined ? {} : { message: error.message };
}

function timeOf({ startTime, executionTime }: TaskData, isEnd: boolean): string | undefined {
  if (startTime === undefined || startTime <= 0) return undefined;
  return new Date(startTime + (isEnd ? (executionTime ?? 0) : 0)).toISOString();
}
