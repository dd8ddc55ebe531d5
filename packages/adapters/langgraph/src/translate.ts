import { createHash } from 'node:crypto';
import { usageOfTotals, type AgentContext, type CallPlace, type ModelResult, type ReportedUsage, type RunOptions } from '@runpurse/core';
import { outputMax } from '@runpurse/core/language-model';

/** What LangChain calls metadata: the config's own keys and LangGraph's, inherited by everything below. */
export type Metadata = Readonly<Record<string, unknown>>;

/** What a run belongs to, stated per invocation as `metadata: { runpurse: … }`; all of it is optional. */
export type RunpurseMetadata = Pick<
  AgentContext,
  'runId' | 'sessionId' | 'sessionName' | 'agentId' | 'agentName' | 'workflowId' | 'customerId' | 'properties'
> &
  Pick<RunOptions, 'limitUsd' | 'bounds'>;

/** What the user stated for this call, or an empty statement. */
export function statedBy(metadata: Metadata | undefined): RunpurseMetadata {
  const stated = metadata?.['runpurse'];
  return typeof stated === 'object' && stated !== null ? stated : {};
}

/** A new run: LangChain's root run is the run, the thread is the session, unless stated otherwise. */
export function runOf(
  langchainRunId: string,
  name: string | undefined,
  metadata: Metadata | undefined,
  defaults: RunpurseMetadata,
): RunOptions {
  return {
    runId: langchainRunId,
    sessionId: threadOf(metadata),
    agentId: isNamed(name) ? name : undefined,
    name,
    ...withoutUndefined(defaults),
    ...withoutUndefined(statedBy(metadata)),
  };
}

/** The thread, which LangGraph takes as a number too. */
export function threadOf(metadata: Metadata | undefined): string | undefined {
  const thread = metadata?.['thread_id'];
  return text(typeof thread === 'number' ? String(thread) : thread);
}

/** Where in its graph a call stands. */
export function nodeOf(metadata: Metadata | undefined): {
  readonly graphNode?: string | undefined;
  readonly iteration?: number | undefined;
} {
  const step = metadata?.['langgraph_step'];
  return { graphNode: text(metadata?.['langgraph_node']), iteration: typeof step === 'number' && step >= 0 ? step : undefined };
}

/** `outer:id|inner:id`: names one execution of a node, the same one when its retry policy or a resumed thread runs it again. */
export function namespaceOf(metadata: Metadata | undefined): string {
  return text(metadata?.['langgraph_checkpoint_ns']) ?? '';
}

/** True for the chain that is a node's own execution, whose end decides whether the node is tried again. */
export function isNode(metadata: Metadata | undefined, tags: readonly string[] | undefined): boolean {
  return namespaceOf(metadata) !== '' && (tags ?? []).some((tag) => tag.startsWith('graph:step:'));
}

/** The name of the agent a chain is, when it is a graph that was given one. */
export function agentOf(chain: unknown, name: string | undefined): string | undefined {
  const id = (chain as { readonly id?: readonly string[] } | undefined)?.id;
  return id?.[0] === 'langgraph' && id[1] === 'pregel' && isNamed(name) ? name : undefined;
}

/** 1 plus the failures of the node and of the nodes around it. */
export function attemptOf(namespace: string, failures: ReadonlyMap<string, number>): number {
  const parts = namespace.split('|');
  return parts.reduce((attempt, _, index) => attempt + (failures.get(parts.slice(0, index + 1).join('|')) ?? 0), 1);
}

/** The model a call asks for and the bounds of its worst case. Only lengths are read off the prompt. */
export function modelOf(prompt: unknown, extra: Metadata | undefined, metadata: Metadata | undefined) {
  const params = (extra?.['invocation_params'] ?? {}) as Metadata;
  return {
    model: text(params['model']) ?? text(metadata?.['ls_model_name']) ?? 'unknown',
    maxOutputTokens: outputMax(
      OUTPUT_LIMITS.map((name) => params[name]),
      [params['n']],
    ),
    inputTokensMax: Buffer.byteLength(sentText([prompt, params])),
  };
}

const OUTPUT_LIMITS = ['max_completion_tokens', 'max_tokens', 'max_output_tokens'];

/** The same for the same prompt given again at the same place of a run, whichever model is asked then. */
export function fingerprintOf({ graphNode, agentId, parentStepId }: CallPlace, prompt: unknown): string {
  return createHash('sha256')
    .update(sentText([graphNode, agentId, parentStepId, prompt]))
    .digest('base64url');
}

function sentText(value: unknown): string {
  return JSON.stringify(value, asSent);
}

/** Where a model that describes itself says it sends its requests. */
export function endpointOf(llm: unknown): string | undefined {
  const { configuration } = (llm as { readonly kwargs?: { readonly configuration?: Metadata } } | undefined)?.kwargs ?? {};
  return text(configuration?.['baseURL']);
}

/** Messages as LangChain serializes them are twice as long as they are sent: what is not sent is left out. */
function asSent(key: string, value: unknown): unknown {
  if (key === 'response_metadata' || key === 'usage_metadata' || key === 'lc_kwargs') return undefined;
  const message = value as { readonly type?: unknown; readonly id?: unknown; readonly kwargs?: Metadata } | null;
  if (message?.type !== 'constructor' || message.kwargs === undefined) return value;
  const { additional_kwargs, artifact: _kept, ...kwargs } = message.kwargs;
  const { tool_calls: _sentOnce, ...more } = (additional_kwargs ?? {}) as Metadata;
  return { ...kwargs, ...more };
}

/** How a failed call ended. A provider that answered with an error bills nothing; what a lost or broken one did is unknown. */
export function failureOf(error: unknown): Pick<ModelResult, 'error' | 'status' | 'usage'> {
  if (isCancellation(error) || isAbort(error)) return { error, status: 'aborted' };
  const { status } = read(error);
  return { error, usage: typeof status === 'number' && status >= 400 ? { input_tokens: 0, output_tokens: 0 } : undefined };
}

/** The parts of LangChain's `LLMResult` that say what was answered and used. */
export interface ModelOutput {
  readonly generations: readonly (readonly object[])[];
  readonly llmOutput?: Metadata | undefined;
}
interface TokenUsage {
  readonly promptTokens?: number;
  readonly completionTokens?: number;
  readonly totalTokens?: number;
}
interface UsageMetadata {
  readonly input_tokens?: number;
  readonly output_tokens?: number;
  readonly total_tokens?: number;
  readonly input_token_details?: {
    readonly audio?: number | null;
    readonly cache_read?: number | null;
    readonly cache_creation?: number | null;
  };
  readonly output_token_details?: { readonly audio?: number | null; readonly reasoning?: number | null };
}

/** What LangChain kept of an earlier answer was asked of nobody. */
export function fromCache(extra: Metadata | undefined): Pick<ModelResult, 'usage'> | undefined {
  return extra?.['cached'] === true ? { usage: { input_tokens: 0, output_tokens: 0 } } : undefined;
}

/** The model that answered and what it used. */
export function answerOf(output: ModelOutput): { readonly model: string | undefined; readonly usage: ReportedUsage | undefined } {
  const message = (
    output.generations[0]?.[0] as
      { readonly message?: { readonly usage_metadata?: UsageMetadata; readonly response_metadata?: Metadata } } | undefined
  )?.message;
  const tokens = output.llmOutput?.['tokenUsage'] as TokenUsage | undefined;
  const {
    input_tokens: input = tokens?.promptTokens,
    output_tokens: answered = tokens?.completionTokens,
    total_tokens: total = tokens?.totalTokens,
    input_token_details: ins,
    output_token_details: outs,
  } = message?.usage_metadata ?? {};
  return {
    model: text(message?.response_metadata?.['model_name']),
    usage: usageOfTotals({
      input: countOf(input, answered, total),
      cacheRead: ins?.cache_read,
      cacheWrite: ins?.cache_creation,
      audioInput: ins?.audio,
      output: countOf(answered, input, total),
      reasoning: outs?.reasoning,
      audioOutput: outs?.audio,
    }),
  };
}

/**
 * ChatOpenAI leaves a count of 0 out, and when LangChain adds a stream's chunks up it makes what nobody stated a 0: one that is
 * 0 or missing is what the total leaves for it, and unknown when that says nothing either.
 */
function countOf(count: number | undefined, other: number | undefined, total: number | undefined): number | undefined {
  if (count !== undefined && count !== 0) return count;
  return total !== undefined && total > 0 && other !== undefined && other <= total ? total - other : undefined;
}

/** A graph that stops on purpose: an interrupt, a drain, a command to the parent. Not a failure. */
export function isBubbleUp(error: unknown): boolean {
  return read(error).is_bubble_up === true;
}

/** What a graph is given to go on after a pause: a `Command`, or nothing. */
export function isResume(inputs: unknown): boolean {
  const { lg_name, input } = (inputs ?? {}) as { readonly lg_name?: unknown; readonly input?: unknown };
  return lg_name === 'Command' || input === null;
}

/** An AbortSignal ended it, as far as its name says so. */
export function isCancellation(error: unknown): boolean {
  const { name } = read(error);
  return name === 'AbortError' || name === 'ModelAbortError';
}

/** All that LangGraph, and a model's stream, say when they are aborted; code in the graph may say the same. */
export function isAbort(error: unknown): boolean {
  const { message } = read(error);
  return message === 'Abort' || message === 'AbortError';
}

interface ReadError {
  readonly name?: unknown;
  readonly message?: unknown;
  readonly status?: unknown;
  readonly is_bubble_up?: unknown;
}

/** Anything can be thrown; of what is no object, or has getters that throw, nothing is known. */
function read(error: unknown): ReadError {
  if (typeof error !== 'object' || error === null) return {};
  try {
    const { name, message, status, is_bubble_up } = error as ReadError;
    return { name, message, status, is_bubble_up };
  } catch {
    return {};
  }
}

function isNamed(name: string | undefined): name is string {
  return name !== undefined && name !== 'LangGraph';
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

function withoutUndefined<Record extends object>(record: Record): Partial<Record> {
  return Object.fromEntries(Object.entries(record).filter(([, value]) => value !== undefined)) as Partial<Record>;
}
