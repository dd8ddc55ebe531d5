import { errorText, usableId, type AgentEventInput } from '@runpurse/core';
import { askedFor } from './asked-for.ts';
import { isCarried, madeWith, type Carried } from './carried.ts';
import type { NodeData, RunData, TaskData, WorkflowData } from './n8n.ts';
import { at, cachesPrompts, hasToolsOfProvider, usageOfModel, type CallStatus, type ModelCall } from './usage.ts';
import { providerOfVendor, vendorCallsOf } from './vendors.ts';
import { OURS, hasTools, isToolOf, nodesOf, toolNameOf } from './wiring.ts';

/** Which nodes become steps: every one, or only models and tools. */
export type StepsOf = 'all' | 'ai';

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

/** n8n was not let start: of such an execution there is no run, though n8n tells of it as of a failed one. */
export class StartRefusedError extends Error {
  /** n8n copies an error's own fields and forgets its class. */
  readonly isRunpurseRefusal = true;
}

export function isStartRefused(run: RunData | undefined): boolean {
  return run?.data?.resultData?.error?.isRunpurseRefusal === true;
}

/** What is known beside the execution itself. */
export interface Known {
  readonly runId: string;
  readonly steps: StepsOf;
  /** The gateway's address. */
  readonly baseUrl: string;
  readonly carried: Carried;
}

/**
 * What an execution did, as events of its run, in order: its nodes are steps, what AI nodes used is priced. Event ids are
 * made of the execution, so that one which waits and is told of twice counts once. Nodes of Runpurse tell of themselves.
 */
export function eventsOf(run: RunData | undefined, workflow: WorkflowData, known: Known): readonly AgentEventInput[] {
  const nodes = new Map(nodesOf(workflow).map((node) => [node.name, node]));
  const isAskedFor = askedFor(run, workflow);
  const pinned = run?.data?.resultData?.pinData ?? {};
  return Object.entries(run?.data?.resultData?.runData ?? {})
    .flatMap(([name, tasks]) => tasks.map((task, index) => ({ name, task, index, tasks, node: nodes.get(name) })))
    .filter(({ task }) => isOver(task, run) && isOfThisExecution(task, run))
    .sort((a, b) => (a.task.startTime ?? 0) - (b.task.startTime ?? 0) || (a.task.executionIndex ?? 0) - (b.task.executionIndex ?? 0))
    .flatMap(({ name, task, index, tasks, node }): readonly Numbered[] => {
      if (node === undefined || node.type.startsWith(OURS)) return [];
      const place = {
        stepId: stepIdOf(node, index, nodes),
        key: `${JSON.stringify(name)}/${index}`,
        node,
        task,
        isCarried: isCarried(node, task, known.baseUrl, known.carried),
      };
      if (task.data?.['ai_languageModel'] !== undefined)
        return modelEvents(place, lentCallsOf(node, task), tryOf(node, tasks, index, nodes));
      const isTool = task.data?.['ai_tool'] !== undefined || isToolOf(workflow, name);
      // Pinned or switched off, a node only hands data on.
      const isIdle = node.disabled === true || (pinned[name] !== undefined && !isTool);
      const calls = isIdle ? [] : vendorCallsOf(node, task, hasTools(workflow, name));
      if (isTool) return [...(isAskedFor(name, task) ? [] : toolEvents(place)), ...modelEvents({ ...place, isInTool: true }, calls)];
      if (calls.length > 0) return modelEvents(place, calls);
      return known.steps === 'all' ? stepEvents(place) : [];
    })
    .map(({ id, ...event }) => ({
      ...event,
      ...usableNames(event),
      ...shortMessage(event),
      event_id: usableId(`n8n/${known.runId}/${id}`),
    }));
}

/** A node's name may be longer than what the gateway takes, and a call without its step would be a call that nobody heard of. */
function usableNames(event: AgentEventInput): Partial<AgentEventInput> {
  const names = (['step_id', 'parent_step_id', 'tool_call_id', 'graph_node', 'name'] as const).filter(
    (field) => event[field] !== undefined,
  );
  return Object.fromEntries(names.map((field) => [field, usableId(event[field])]));
}

/** Many of them may wait for a gateway that is away. */
function shortMessage({ metadata }: AgentEventInput): Partial<AgentEventInput> {
  const message = metadata?.['message'];
  return message === undefined ? {} : { metadata: { ...metadata, message: errorText(message) } };
}

/** n8n puts an agent's tools down before it runs them, and tells of a node that waits again when it went on. */
function isOver({ startTime, data, error, executionStatus }: TaskData, run: RunData | undefined): boolean {
  if (startTime === 0 && data === undefined && error === undefined) return false;
  return run?.status !== 'waiting' || (executionStatus !== 'waiting' && executionStatus !== 'running');
}

/** A retry and a partial execution hold what an earlier execution did, and that one told of it. */
function isOfThisExecution({ startTime }: TaskData, run: RunData | undefined): boolean {
  if (run?.mode !== 'retry' && run?.mode !== 'manual') return true;
  const began = new Date(run.startedAt ?? 0).getTime();
  return startTime === undefined || !(startTime < began);
}

/** An event whose id is unique within the run. */
type Numbered = AgentEventInput & { readonly id: string };

interface Placed {
  readonly stepId: string;
  /** The same for no other run of any node, whatever they are called. */
  readonly key: string;
  readonly node: NodeData;
  readonly task: TaskData;
  /** The gateway carried the node's model calls, and has charged them. */
  readonly isCarried: boolean;
  /** The calls were made inside of a tool call, which is the step of this name. */
  readonly isInTool?: boolean;
}

/** The first is 1; the tries of one call share its step. */
interface Try {
  readonly attempt: number;
  readonly stepId: string;
}

const AFTER = { event_phase: 'after', policy_stage: 'post_action' } as const;

/** The calls of a model that an agent or chain was lent. */
function lentCallsOf(node: NodeData, task: TaskData): readonly ModelCall[] {
  return (task.data?.['ai_languageModel'] ?? [])
    .flatMap((items) => items ?? [])
    .map(({ json }) => ({
      status: statusOf(task),
      ...messageOf(task),
      usage: hasToolsOfProvider(node) || cachesPrompts(node) ? undefined : usageOfModel(json),
    }));
}

function modelEvents(
  { stepId, key, node, task, isCarried, isInTool = false }: Placed,
  calls: readonly ModelCall[],
  of?: Try,
): readonly Numbered[] {
  const provider = providerOf(node);
  return calls.map(({ status, message, usage, model: called }, index): Numbered => {
    const ownStepId = index === 0 && !isInTool ? stepId : `${stepId}.${index + 1}`;
    const model = (called ?? modelOf(node, task)).replace(/^models\//, '');
    return {
      id: `${key}/model/${index}`,
      type: status === 'completed' ? 'llm.call.completed' : 'llm.call.failed',
      ...AFTER,
      step_id: of?.stepId ?? ownStepId,
      ...(of && { attempt: of.attempt }),
      ...(isInTool && { parent_step_id: stepId }),
      step_kind: 'llm_call',
      graph_node: node.name,
      name: model,
      timestamp: timeOf(task, true),
      metadata: {
        model,
        ...(provider && { provider }),
        ...(isCarried ? { carried: true } : usage && { usage }),
        status,
        ...(message !== undefined && { message }),
      },
    };
  });
}

/**
 * n8n runs an agent anew that failed and has "Retry On Fail", and with it the agent's model: a call after a failed one is
 * the next try of that one, and stands in its step.
 */
function tryOf(node: NodeData, tasks: readonly TaskData[], index: number, nodes: ReadonlyMap<string, NodeData>): Try | undefined {
  const isAgain = (at: number): boolean => {
    const [before, user] = [tasks[at - 1], tasks[at]?.source?.[0]];
    const userBefore = before?.source?.[0];
    return (
      before?.error !== undefined &&
      nodes.get(user?.previousNode ?? '')?.retryOnFail === true &&
      userBefore?.previousNode === user?.previousNode &&
      userBefore?.previousNodeRun === user?.previousNodeRun
    );
  };
  let first = index;
  while (isAgain(first)) first -= 1;
  return first === index ? undefined : { attempt: index - first + 1, stepId: stepIdOf(node, first, nodes) };
}

/** Each run of a node is a step, and none of another node, which may be called `GPT #2` itself. */
function stepIdOf({ name }: NodeData, index: number, nodes: ReadonlyMap<string, NodeData>): string {
  if (index === 0) return name;
  let id = `${name} #${index + 1}`;
  while (nodes.has(id)) id += '~';
  return id;
}

/** The tool is priced by the name that its agent's model knows. */
function toolEvents({ stepId, key, node, task }: Placed): readonly Numbered[] {
  const name = toolNameOf(node.name);
  return [
    {
      id: `${key}/tool`,
      type: statusOf(task) === 'completed' ? 'tool.call.completed' : 'tool.call.failed',
      ...AFTER,
      step_id: stepId,
      tool_call_id: stepId,
      step_kind: 'tool_call',
      graph_node: node.name,
      name,
      timestamp: timeOf(task, true),
      metadata: { tool_name: name, status: statusOf(task), ...messageOf(task) },
    },
  ];
}

function stepEvents({ stepId, key, node: { name }, task }: Placed): readonly Numbered[] {
  const place = { step_id: stepId, step_kind: 'checkpoint' as const, graph_node: name, name };
  return [
    {
      ...place,
      id: `${key}/start`,
      type: 'step.started',
      event_phase: 'state',
      policy_stage: 'audit_only',
      timestamp: timeOf(task, false),
    },
    {
      ...place,
      id: `${key}/end`,
      type: statusOf(task) === 'completed' ? 'step.completed' : 'step.failed',
      ...AFTER,
      timestamp: timeOf(task, true),
      metadata: { status: statusOf(task), ...messageOf(task) },
    },
  ];
}

/** n8n's model nodes keep the model's name in one of these, as a text or in a resource locator; what an expression came to stands beside the call. */
function modelOf({ parameters, type }: NodeData, task: TaskData): string {
  const chosen = ['model', 'modelId', 'modelName', 'chatModel', 'imageModel', 'deploymentName'].map((field) => {
    const value = parameters?.[field];
    return typeof value === 'object' && value !== null ? (value as { readonly value?: unknown }).value : value;
  });
  const isName = (name: unknown): name is string => typeof name === 'string' && name !== '' && !name.startsWith('=');
  return [...chosen, at(madeWith(task), 'model')].find(isName) ?? type;
}

function providerOf(node: NodeData): string | undefined {
  return providerOfVendor(node) ?? PROVIDERS[node.type.slice(node.type.lastIndexOf('.') + 1)];
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

function statusOf({ error, executionStatus }: TaskData): CallStatus {
  if (error !== undefined) return 'failed';
  return executionStatus === 'canceled' || executionStatus === 'running' ? 'aborted' : 'completed';
}

function messageOf({ error }: TaskData): { readonly message?: string } {
  return error?.message === undefined ? {} : { message: error.message };
}

function timeOf({ startTime, executionTime }: TaskData, isEnd: boolean): string | undefined {
  if (startTime === undefined || startTime <= 0) return undefined;
  return new Date(startTime + (isEnd ? (executionTime ?? 0) : 0)).toISOString();
}
