import { usageOfTotals, type ReportedUsage } from '@runpurse/core';
import type { Json, NodeData, TaskData } from './n8n.ts';

/** Where a provider's answer keeps what it used: paths into it. */
interface Spelling {
  readonly input: string;
  /** Added up; the first is what n8n counts as output. */
  readonly output: readonly [string, ...string[]];
  readonly cacheRead?: string;
  readonly cacheWrite?: string;
  readonly reasoning?: string;
  /** The input leaves out what was read from and written to a cache. */
  readonly isUncached?: true;
}

const OPENAI_CHAT: Spelling = {
  input: 'usage.prompt_tokens',
  output: ['usage.completion_tokens'],
  cacheRead: 'usage.prompt_tokens_details.cached_tokens',
  reasoning: 'usage.completion_tokens_details.reasoning_tokens',
};
const OPENAI_RESPONSES: Spelling = {
  input: 'usage.input_tokens',
  output: ['usage.output_tokens'],
  cacheRead: 'usage.input_tokens_details.cached_tokens',
  reasoning: 'usage.output_tokens_details.reasoning_tokens',
};

export const SPELLINGS = {
  openai: [OPENAI_CHAT, OPENAI_RESPONSES],
  anthropic: [
    {
      input: 'usage.input_tokens',
      output: ['usage.output_tokens'],
      cacheRead: 'usage.cache_read_input_tokens',
      cacheWrite: 'usage.cache_creation_input_tokens',
      isUncached: true,
    },
  ],
  gemini: [
    {
      input: 'usageMetadata.promptTokenCount',
      output: ['usageMetadata.candidatesTokenCount', 'usageMetadata.thoughtsTokenCount'],
      cacheRead: 'usageMetadata.cachedContentTokenCount',
      reasoning: 'usageMetadata.thoughtsTokenCount',
    },
  ],
  ollama: [{ input: 'prompt_eval_count', output: ['eval_count'] }],
} as const satisfies Readonly<Record<string, readonly Spelling[]>>;

/** One model call, as far as n8n tells of it. Unknown usage is left out. */
export interface ModelCall {
  readonly status: CallStatus;
  readonly message?: string | undefined;
  readonly usage?: ReportedUsage | undefined;
  /** As its caller named it, or as the answer does. */
  readonly model?: string | undefined;
}
export type CallStatus = 'completed' | 'failed' | 'aborted';

/** What one call used, and the two counts that n8n would add to its own total for it. */
export interface ToldUsage {
  readonly usage: ReportedUsage;
  readonly counted: Total;
}

export interface Total {
  readonly input: number;
  readonly output: number;
}

/** Usage out of a provider's answer, when the node passed the answer on whole. */
export function usageOfAnswer(json: Json | undefined, spellings: readonly Spelling[]): ToldUsage | undefined {
  for (const { input: inputAt, output: outputAt, cacheRead, cacheWrite, reasoning, isUncached } of spellings) {
    const countAt = (path: string | undefined): number => countOf(at(json, path)) ?? 0;
    const input = countOf(at(json, inputAt));
    const counted = countOf(at(json, outputAt[0]));
    if (input === undefined || counted === undefined) continue;
    const usage = usageOfTotals({
      input: isUncached === true ? input + countAt(cacheRead) + countAt(cacheWrite) : input,
      cacheRead: countAt(cacheRead),
      cacheWrite: countAt(cacheWrite),
      output: outputAt.reduce((sum, path) => sum + countAt(path), 0),
      reasoning: countAt(reasoning),
    });
    if (usage !== undefined) return { usage, counted: { input, output: counted } };
  }
  return undefined;
}

/** What n8n itself added up over the calls of a node's run. */
export function totalOf({ metadata }: TaskData): Total | undefined {
  const input = countOf(metadata?.tokenUsage?.inputTokens);
  const output = countOf(metadata?.tokenUsage?.outputTokens);
  return input === undefined || output === undefined ? undefined : { input, output };
}

/** A model node writes `tokenUsage`, or `tokenUsageEstimate` when the provider did not say: an estimate is no fact. */
export function usageOfModel(json: Json | undefined): ReportedUsage | undefined {
  const input = countOf(at(json, 'tokenUsage.promptTokens'));
  const output = countOf(at(json, 'tokenUsage.completionTokens'));
  return input === undefined || output === undefined ? undefined : { input_tokens: input, output_tokens: output };
}

/** The provider runs tools of its own for this node, such as a web search: they cost beside the tokens, and n8n does not tell how much. */
export function hasToolsOfProvider({ parameters }: NodeData): boolean {
  const builtIn = parameters?.['builtInTools'];
  if (typeof builtIn === 'object' && builtIn !== null && Object.keys(builtIn).length > 0) return true;
  return ['webSearch', 'enableSearch', 'codeExecution'].some((option) => {
    const chosen = at(parameters, `options.${option}`);
    return chosen !== undefined && chosen !== null && chosen !== false;
  });
}

/** n8n adds what Claude read from its cache, and wrote to it, to the rest of the input: each has another price, and the sum has none. */
export function cachesPrompts({ parameters }: NodeData): boolean {
  const chosen = at(parameters, 'options.promptCaching');
  return chosen !== undefined && chosen !== null && chosen !== 'disabled';
}

export function at(json: unknown, path: string | undefined): unknown {
  if (path === undefined) return undefined;
  return path.split('.').reduce((value, field) => (typeof value === 'object' && value !== null ? (value as Json)[field] : undefined), json);
}

function countOf(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : undefined;
}
