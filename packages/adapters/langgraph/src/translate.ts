import { usageOfTotals, type AgentContext, type ModelResult, type ReportedUsage, type RunOptions } from '@runpurse/core';

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
    sessionId: text(metadata?.['thread_id']),
    agentId: isNamed(name) ? name : undefined,
    name,
    ...withoutUndefined(defaults),
    ...withoutUndefined(statedBy(metadata)),
  };
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
  const limit = params['max_completion_tokens'] ?? params['max_tokens'] ?? params['max_output_tokens'];
  return {
    model: text(params['model']) ?? text(metadata?.['ls_model_name']) ?? 'unknown',
    maxOutputTokens: typeof limit === 'number' && limit > 0 ? limit : undefined,
    inputTokensMax: Buffer.byteLength(JSON.stringify([prompt, params], asSent)),
  };
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
  const { additional_kwargs, ...kwargs } = message.kwargs;
  const { tool_calls: _sentOnce, ...more } = (additional_kwargs ?? {}) as Metadata;
  return { ...kwargs, ...more };
}

/** How a failed call ended. A provider that answered with an error bills nothing; what a lost or broken one did is unknown. */
export function failureOf(error: unknown): Pick<ModelResult, 'error' | 'status' | 'usage'> {
  if (isCancellation(error)) return { error, status: 'aborted' };
  const status = (error as { readonly status?: unknown } | null)?.status;
  return { error, usage: typeof status === 'number' && status >= 400 ? { input_tokens: 0, output_tokens: 0 } : undefined };
}

/** The parts of LangChain's `LLMResult` that say what was answered and used. */
export interface ModelOutput {
  readonly generations: readonly (readonly object[])[];
  readonly llmOutput?: Metadata | undefined;
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

/** The model that answered and what it used. ChatOpenAI leaves a count of 0 out, so the total has to speak for it. */
export function answerOf(output: ModelOutput): { readonly model: string | undefined; readonly usage: ReportedUsage | undefined } {
  const message = (
    output.generations[0]?.[0] as
      { readonly message?: { readonly usage_metadata?: UsageMetadata; readonly response_metadata?: Metadata } } | undefined
  )?.message;
  const tokens = output.llmOutput?.['tokenUsage'] as { readonly promptTokens?: number; readonly completionTokens?: number } | undefined;
  const {
    input_tokens: input = tokens?.promptTokens,
    total_tokens: total,
    input_token_details: ins,
    output_token_details: outs,
    output_tokens,
  } = message?.usage_metadata ?? {};
  const answered = output_tokens ?? tokens?.completionTokens ?? (input !== undefined && total !== undefined ? total - input : undefined);
  return {
    model: text(message?.response_metadata?.['model_name']),
    usage: usageOfTotals({
      input,
      cacheRead: ins?.cache_read,
      cacheWrite: ins?.cache_creation,
      audioInput: ins?.audio,
      output: answered,
      reasoning: outs?.reasoning,
      audioOutput: outs?.audio,
    }),
  };
}

/** A graph that stops on purpose: an interrupt, a drain, a command to the parent. Not a failure. */
export function isBubbleUp(error: unknown): boolean {
  return (error as { readonly is_bubble_up?: unknown } | null)?.is_bubble_up === true;
}

/** What a graph is given to go on after a pause: a `Command`, or nothing. */
export function isResume(inputs: unknown): boolean {
  const { lg_name, input } = (inputs ?? {}) as { readonly lg_name?: unknown; readonly input?: unknown };
  return lg_name === 'Command' || input === null;
}

/** The caller's AbortSignal ended it. LangGraph tells the root no more than `Abort`. */
export function isCancellation(error: unknown): boolean {
  if (typeof error !== 'object' || error === null) return false;
  const { name, message } = error as { readonly name?: unknown; readonly message?: unknown };
  return name === 'AbortError' || name === 'ModelAbortError' || message === 'Abort' || message === 'AbortError';
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
