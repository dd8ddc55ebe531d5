import type { ReportedUsage } from '@runpurse/core';
import type { Item, NodeData, TaskData } from './n8n.ts';
import { SPELLINGS, at, hasToolsOfProvider, totalOf, usageOfAnswer, type ModelCall, type Total } from './usage.ts';

/** A node that calls a model by itself, instead of lending one to an agent. */
interface Vendor {
  readonly provider: string;
  /** The resources whose operations call a model … */
  readonly calls: readonly string[];
  /** … but for these, as `resource/operation`. OpenAI's moderation (`classify`) is a model that costs nothing. */
  readonly except?: readonly string[];
  readonly answers: keyof typeof SPELLINGS;
  /** n8n's own total leaves out what the model thought, although it is billed. */
  readonly hidesThoughts?: true;
}

const OPENAI = { provider: 'openai', answers: 'openai' } as const;

/** Read from n8n-nodes-langchain 2.41 (`nodes/vendors`) and n8n-nodes-base. Without a resource a node is about `text`. */
const VENDORS: Readonly<Record<string, Vendor>> = {
  '@n8n/n8n-nodes-langchain.openAi': {
    ...OPENAI,
    calls: ['text', 'image', 'audio', 'video', 'assistant'],
    except: ['text/classify', 'assistant/create', 'assistant/deleteAssistant', 'assistant/list', 'assistant/update'],
  },
  '@n8n/n8n-nodes-langchain.openAiAssistant': { ...OPENAI, calls: ['text'] },
  'n8n-nodes-base.openAi': { ...OPENAI, calls: ['text', 'chat', 'image'], except: ['text/moderate'] },
  '@n8n/n8n-nodes-langchain.anthropic': {
    provider: 'anthropic',
    answers: 'anthropic',
    calls: ['text', 'image', 'document', 'prompt'],
  },
  '@n8n/n8n-nodes-langchain.googleGemini': {
    provider: 'google',
    answers: 'gemini',
    hidesThoughts: true,
    calls: ['text', 'image', 'audio', 'video', 'document'],
    except: ['video/download'],
  },
  '@n8n/n8n-nodes-langchain.ollama': { provider: 'ollama', answers: 'ollama', calls: ['text', 'image'] },
  '@n8n/n8n-nodes-langchain.alibabaCloud': { provider: 'alibaba', answers: 'openai', calls: ['text', 'image', 'video'] },
  '@n8n/n8n-nodes-langchain.minimax': { provider: 'minimax', answers: 'openai', calls: ['text', 'image', 'audio', 'video'] },
  '@n8n/n8n-nodes-langchain.moonshot': { provider: 'moonshotai', answers: 'openai', calls: ['text', 'image'] },
};

/** As a tool of an agent a node has another type: `openAiTool` is `openAi`. */
function vendorOf({ type }: NodeData): Vendor | undefined {
  return VENDORS[type.replace(/Tool$/, '')];
}

export function providerOfVendor(node: NodeData): string | undefined {
  return vendorOf(node)?.provider;
}

/**
 * The model calls in one run of a node, none if it is no such node or did something else. Each call has its own usage where
 * the node passed the answers on whole and they account for all that n8n counted; else the run is one call with n8n's total,
 * or with unknown usage.
 */
export function vendorCallsOf(node: NodeData, task: TaskData, hasTools: boolean): readonly ModelCall[] {
  const vendor = vendorOf(node);
  if (!callsModel(node) && task.metadata?.tokenUsage === undefined) return [];
  const total = totalOf(task);
  const isPriced = !hasToolsOfProvider(node);
  const inAll: ModelCall = { status: 'completed', usage: total && isPriced ? usageOfTotal(total, node) : undefined };
  // The output of a run that failed is its input; what n8n counted are the calls before the one that failed.
  if (task.error !== undefined) return [...(total === undefined ? [] : [inAll]), { status: 'failed', message: task.error.message }];
  const { done, failed } = itemsOf(node, task);
  const told = done.flatMap(({ json }) => {
    const answer = usageOfAnswer(json, SPELLINGS[vendor?.answers ?? 'openai']);
    return answer === undefined ? [] : [{ ...answer, model: text(json?.['model']) }];
  });
  const isWhole = told.length > 0 && told.length === done.length && (total === undefined ? !hasTools : isSumOf(total, told));
  const made = isWhole && isPriced ? told.map(({ usage, model }): ModelCall => ({ status: 'completed', usage, model })) : [inAll];
  const isAllFailed = done.length === 0 && total === undefined && failed.length > 0;
  return [...(isAllFailed ? [] : made), ...failed.map(({ json }): ModelCall => ({ status: 'failed', message: text(json?.['error']) }))];
}

function isSumOf(total: Total, told: readonly { readonly counted: Total }[]): boolean {
  const sumOf = (side: keyof Total): number => told.reduce((sum, { counted }) => sum + counted[side], 0);
  return total.input === sumOf('input') && total.output === sumOf('output');
}

function callsModel(node: NodeData): boolean {
  const vendor = vendorOf(node);
  const resource = text(node.parameters?.['resource']) ?? 'text';
  const operation = text(node.parameters?.['operation']);
  return vendor !== undefined && vendor.calls.includes(resource) && vendor.except?.includes(`${resource}/${operation}`) !== true;
}

function usageOfTotal({ input, output }: Total, node: NodeData): ReportedUsage | undefined {
  const isWithoutThoughts = vendorOf(node)?.hidesThoughts === true && at(node.parameters, 'options.thinkingBudget') !== 0;
  return isWithoutThoughts ? undefined : { input_tokens: input, output_tokens: output };
}

/** What came of each item: of one that failed the node or n8n puts the error in its place, or into an output of its own. */
function itemsOf({ onError }: NodeData, { data }: TaskData): { readonly done: readonly Item[]; readonly failed: readonly Item[] } {
  const outputs = data?.['main'] ?? data?.['ai_tool'] ?? [];
  const done: Item[] = [];
  const failed: Item[] = [];
  for (const [index, items] of outputs.entries()) {
    const isErrorOutput = onError === 'continueErrorOutput' && index > 0 && index === outputs.length - 1;
    for (const item of items ?? []) (isErrorOutput || isError(item) ? failed : done).push(item);
  }
  return { done, failed };
}

function isError({ json }: Item): boolean {
  return typeof json?.['error'] === 'string' && Object.keys(json).length === 1;
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}
