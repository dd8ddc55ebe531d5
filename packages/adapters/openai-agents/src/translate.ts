import { isDeepStrictEqual } from 'node:util';
import {
  refusalOf,
  runEndOf,
  usageOfTotals,
  type AgentContext,
  type CallPlace,
  type ModelResult,
  type ReportedUsage,
  type RunEnd,
  type RunOptions,
} from '@runpurse/core';
import { outputMax, usageOf as usageOfModel, type ModelUsage, type ProviderMetadata } from '@runpurse/core/language-model';

/** What a run belongs to, stated per run by `runpurse.with(…)` or once for all in the options; all of it is optional. */
export type RunpurseContext = Pick<
  AgentContext,
  'runId' | 'sessionId' | 'sessionName' | 'agentId' | 'agentName' | 'workflowId' | 'customerId' | 'properties'
> &
  Pick<RunOptions, 'limitUsd' | 'bounds'>;

/** What the SDK itself says of a run: its trace's name and group, and the agent it starts with. */
export interface SdkRun {
  readonly workflowName?: string | undefined;
  readonly groupId?: string | null | undefined;
  readonly agentName?: string | undefined;
}

/** The group is the session, the starting agent the agent, unless stated otherwise. */
export function runOf({ workflowName, groupId, agentName }: SdkRun, ...stated: readonly (RunpurseContext | undefined)[]): RunOptions {
  const own: RunOptions = { name: workflowName, agentId: agentName, sessionId: text(groupId) };
  return Object.assign({}, own, ...stated.map((each) => withoutUndefined(each ?? {}))) as RunOptions;
}

/** What makes a run another one: its cap, and whom it is charged to. */
const RUN_FIELDS = ['runId', 'sessionId', 'customerId', 'workflowId', 'limitUsd', 'bounds'] as const;

/** Is a run of which this is stated the one that was begun with those options? */
export function isSameRun(options: RunpurseContext | undefined, stated: RunpurseContext | undefined): boolean {
  return RUN_FIELDS.every((field) => stated?.[field] === undefined || isDeepStrictEqual(stated[field], options?.[field]));
}

/** What was thrown. A box, because `undefined` can be thrown too, with what can be read without throwing again. */
export interface Failure {
  readonly error: unknown;
}

export function thrown(error: unknown): Failure {
  try {
    if (typeof error !== 'object' || error === null)
      return { error: typeof error === 'string' ? error : new Error(`${String(error)} was thrown`) };
    // Read once, as it will be: getters throw too.
    reasonOf({ error });
    refusalOf(error);
    failureOf(error, false);
    return { error };
  } catch {
    return { error: new Error('what was thrown can not be read') };
  }
}

/** In words. */
export function reasonOf({ error }: Failure): string {
  return withoutContent(runEndOf(error).reason ?? 'failed', error);
}

/** How a run ended: completed, stopped by its caller, or failed. */
export function endOf(failure: Failure | undefined): RunEnd {
  if (failure === undefined) return { status: 'completed' };
  const end = runEndOf(failure.error, isCancellation(failure.error));
  return { ...end, ...(end.status === 'failed' && { reason: reasonOf(failure) }) };
}

/** The SDK's own messages that go on with what a guardrail says of the text it read, or with what a model answered. */
const WITH_CONTENT = /((?:Input|Output) guardrail triggered|Model refused to produce output): .*/s;

/** The guardrail's name instead, where the error knows it. */
function withoutContent(message: string, error?: unknown): string {
  const { result } = (error ?? {}) as { readonly result?: { readonly guardrail?: { readonly name?: unknown } } };
  const name = text(result?.guardrail?.name);
  return message.replace(WITH_CONTENT, (_, what: string) => (name === undefined ? what : `${what}: ${name}`));
}

/** The parts of the SDK's `ModelRequest` that bound a call's worst case. */
export interface AskedModel {
  readonly systemInstructions?: string | undefined;
  readonly input: unknown;
  readonly tools: readonly { readonly type: string }[];
  readonly handoffs: readonly unknown[];
  readonly outputType: unknown;
  readonly modelSettings: { readonly maxTokens?: number | undefined; readonly providerData?: Fields | undefined };
  readonly previousResponseId?: string | undefined;
  readonly conversationId?: string | undefined;
  readonly prompt?: unknown;
}

/**
 * The bounds of a call's worst case. Only lengths are read off the prompt; what OpenAI keeps for itself, and what its own tools
 * read, has no bound here: the largest the model can read is held.
 */
export function boundsOf(request: AskedModel): {
  readonly maxOutputTokens: number | undefined;
  readonly inputTokensMax: number | undefined;
} {
  const { systemInstructions, input, tools, handoffs, outputType, modelSettings, previousResponseId, conversationId, prompt } = request;
  const extra = bodyOf(modelSettings.providerData);
  const isWhole = [previousResponseId, conversationId, prompt].every((kept) => kept === undefined) && !KEPT.some((field) => field in extra);
  const isOurs = tools.every(({ type }) => type === 'function') && !TOOLS.some((field) => field in extra);
  const sent =
    isWhole && isOurs ? JSON.stringify([systemInstructions, input, tools, handoffs, outputType, ...Object.entries(extra)]) : undefined;
  return {
    maxOutputTokens: outputMax([modelSettings.maxTokens, ...OUTPUT_LIMITS.map((field) => extra[field])], [extra['n']]),
    inputTokensMax: sent === undefined || MEDIA.test(sent) ? undefined : Buffer.byteLength(sent),
  };
}
type Fields = Readonly<Record<string, unknown>>;

const KEPT = ['previous_response_id', 'conversation', 'prompt'];
const TOOLS = ['tools', 'web_search_options'];
const OUTPUT_LIMITS = ['max_tokens', 'max_completion_tokens', 'max_output_tokens'];

/** What goes past the SDK into the body of the request. */
function bodyOf(providerData: Fields = {}): Fields {
  const { extraBody, extra_body, ...fields } = providerData;
  return { ...fields, ...(extraBody as Fields | undefined), ...(extra_body as Fields | undefined) };
}

const MEDIA = /"type":"(?:input_image|input_file|image|audio)"/;

/** The parts of the SDK's `ModelResponse`, plain or the end of a stream, that say what was answered and used. */
export interface Answer {
  readonly usage?: SdkUsage | undefined;
  readonly rawUsage?: object | undefined;
  readonly providerData?: { readonly model?: unknown; readonly providerMetadata?: ProviderMetadata } | undefined;
  readonly output: readonly object[];
}
interface SdkUsage {
  readonly inputTokens?: number;
  readonly outputTokens?: number;
  readonly inputTokensDetails?: Details | readonly Details[] | undefined;
  readonly outputTokensDetails?: Details | readonly Details[] | undefined;
}
type Details = Readonly<Record<string, number | null | undefined>>;
interface RawUsage {
  readonly input_tokens?: number | null;
  readonly prompt_tokens?: number | null;
  readonly output_tokens?: number | null;
  readonly completion_tokens?: number | null;
  readonly input_tokens_details?: Details | null;
  readonly prompt_tokens_details?: Details | null;
  readonly output_tokens_details?: Details | null;
  readonly completion_tokens_details?: Details | null;
}

/** What a call used. The SDK counts 0 where the provider said nothing, so what it kept of the provider's own words wins. */
export function usageOf({ usage, rawUsage, output, providerData }: Answer): ReportedUsage | undefined {
  const totals = isOpenAis(rawUsage)
    ? usageOfRaw(rawUsage)
    : isAiSdks(rawUsage)
      ? usageOfAiSdk(rawUsage, providerData?.providerMetadata)
      : usageOfSdk(usage);
  const searches = hostedToolsOf(output).filter(({ name }) => name === 'web_search').length;
  return totals && (searches > 0 ? { ...totals, web_searches: searches } : totals);
}

function usageOfRaw(raw: RawUsage): ReportedUsage | undefined {
  return usageWithDetails(
    raw.input_tokens ?? raw.prompt_tokens,
    raw.output_tokens ?? raw.completion_tokens,
    raw.input_tokens_details ?? raw.prompt_tokens_details,
    raw.output_tokens_details ?? raw.completion_tokens_details,
  );
}

/** Of specification V2 only who made the model says whether what was read from a cache is part of the input. */
function usageOfAiSdk(raw: ModelUsage, metadata: ProviderMetadata | undefined): ReportedUsage | undefined {
  const isAmbiguous = typeof raw.inputTokens === 'number' && (raw.cachedInputTokens ?? 0) > 0 && metadata === undefined;
  return isAmbiguous ? undefined : usageOfModel(raw, metadata);
}

function usageOfSdk(usage: SdkUsage | undefined): ReportedUsage | undefined {
  return usageWithDetails(
    zeroIsUnknown(usage?.inputTokens, usage),
    zeroIsUnknown(usage?.outputTokens, usage),
    first(usage?.inputTokensDetails),
    first(usage?.outputTokensDetails),
  );
}

type Count = number | null | undefined;
function usageWithDetails(input: Count, output: Count, ins?: Details | null, outs?: Details | null): ReportedUsage | undefined {
  return usageOfTotals({
    input,
    cacheRead: ins?.['cached_tokens'],
    cacheWrite: ins?.['cache_write_tokens'],
    audioInput: ins?.['audio_tokens'],
    output,
    reasoning: outs?.['reasoning_tokens'],
    audioOutput: outs?.['audio_tokens'],
  });
}

/** With nothing in it, it says that the provider said nothing. */
function isOpenAis(raw: object | undefined): raw is RawUsage {
  if (raw === undefined) return false;
  return OPENAIS.some((name) => name in raw) || Object.keys(raw).length === 0;
}
const OPENAIS = ['input_tokens', 'prompt_tokens', 'output_tokens', 'completion_tokens'] as const satisfies readonly (keyof RawUsage)[];

/** Of a model that the SDK's `aisdk()` wraps. */
function isAiSdks(raw: object | undefined): raw is ModelUsage {
  return raw !== undefined && ('inputTokens' in raw || 'outputTokens' in raw);
}

/** The model that answered, as the provider names it. */
export function modelOf({ providerData }: Answer): string | undefined {
  return text(providerData?.model);
}

/** The same, in a frame of a stream as the provider sent it: a chunk of a chat completion, or an event of a response. */
export function modelOfFrame(frame: unknown): string | undefined {
  const { model, response } = (frame ?? {}) as { readonly model?: unknown; readonly response?: { readonly model?: unknown } | null };
  return text(model) ?? text(response?.model);
}

/** What a frame that ends a response says was used, also of one that failed or is incomplete. */
export function usageOfFrame(frame: unknown): ReportedUsage | undefined {
  const { type, response } = (frame ?? {}) as { readonly type?: unknown; readonly response?: unknown };
  return /^response\.(?:completed|failed|incomplete)$/.test(text(type) ?? '') ? usageOfReply(response) : undefined;
}

/** The same of a whole reply, as its client read it. */
export function usageOfText(reply: string | undefined): ReportedUsage | undefined {
  try {
    return reply === undefined ? undefined : usageOfReply(JSON.parse(reply));
  } catch {
    return undefined;
  }
}

function usageOfReply(body: unknown): ReportedUsage | undefined {
  const { usage, output } = (body ?? {}) as { readonly usage?: object | null; readonly output?: readonly { readonly type?: unknown }[] };
  if (typeof usage !== 'object' || usage === null) return undefined;
  return usageOf({ rawUsage: usage, output: (output ?? []).map(({ type }) => ({ type: 'hosted_tool_call', name: type })) });
}

/** A tool that ran at the provider, inside the model call: nothing to ask about, and its price is the call's. */
export interface HostedTool {
  readonly name: string;
  readonly failed: boolean;
}

/** Hosted tools of an answer; a hosted MCP tool is named with its server. */
export function hostedToolsOf(output: readonly object[]): readonly HostedTool[] {
  return output.flatMap((item) => {
    const { type, name, status, providerData } = item as Record<'type' | 'name' | 'status', unknown> & { readonly providerData?: McpCall };
    if (type !== 'hosted_tool_call' || typeof name !== 'string' || !name.endsWith('_call')) return [];
    const mcp = name === 'mcp_call' ? [providerData?.server_label, providerData?.name].filter((part) => part !== undefined).join('.') : '';
    return [{ name: mcp === '' ? name.replace(/_call$/, '') : mcp, failed: status === 'failed' || (providerData?.error ?? null) !== null }];
  });
}
interface McpCall {
  readonly server_label?: string;
  readonly name?: string;
  readonly error?: unknown;
}

/** Tools an answer calls with what is no JSON, as their spans name them: the SDK answers such a call itself, before any guardrail. */
export function unreadableCallsOf(output: readonly object[]): readonly string[] {
  return output.flatMap((item) => {
    const { type, name, namespace, arguments: args } = item as Record<'type' | 'name' | 'namespace' | 'arguments', unknown>;
    return type === 'function_call' && !isJson(String(args))
      ? [[namespace, name].filter((part) => text(part) !== undefined).join('.')]
      : [];
  });
}

function isJson(told: string): boolean {
  try {
    JSON.parse(told);
    return true;
  } catch {
    return false;
  }
}

/** How a failed call ended. A provider that answered with an error bills nothing; what a lost or broken one did is unknown. */
export function failureOf(error: unknown, isAborted: boolean): Pick<ModelResult, 'error' | 'status' | 'usage'> {
  if (isAborted || isCancellation(error)) return { error, status: 'aborted' };
  const status = (error as { readonly status?: unknown } | null)?.status;
  return { error, usage: typeof status === 'number' && status >= 400 ? { input_tokens: 0, output_tokens: 0 } : undefined };
}

/** The caller's AbortSignal ended it, as `fetch`, the OpenAI client or a trace tells it. */
export function isCancellation(error: unknown): boolean {
  if (typeof error === 'string') return /^(?:AbortError|APIUserAbortError)\b/.test(error);
  if (typeof error !== 'object' || error === null) return false;
  const { name, constructor: made } = error as { readonly name?: unknown; readonly constructor?: { readonly name?: unknown } | null };
  return name === 'AbortError' || made?.name === 'APIUserAbortError';
}

/** The parts of a tracing span that place a call. */
export interface Spanned {
  readonly spanData: { readonly type: string; readonly name?: unknown; readonly agent_name?: unknown; readonly turn?: unknown };
}

/** Which agent's turn a call is made in. */
export function turnOf(span: Spanned | null): Pick<CallPlace, 'agentId' | 'iteration'> {
  const { type, name, agent_name, turn } = span?.spanData ?? { type: '' };
  if (type === 'turn') return { agentId: text(agent_name), iteration: typeof turn === 'number' && turn >= 0 ? turn : undefined };
  return { agentId: type === 'agent' ? text(name) : undefined };
}

/** What went wrong in a span, in the words the SDK put there. */
export function spanError(
  error: { readonly message: string; readonly data?: Readonly<Record<string, unknown>> } | null,
): string | undefined {
  return error === null ? undefined : withoutContent(text(error.data?.['error']) ?? error.message);
}

/** What the SDK keeps of agents behind tools that wait for an approval: their own state, by tool and call. */
interface WaitingState {
  readonly pendingAgentToolRuns?: Readonly<Record<string, string>>;
  readonly pendingAgentToolRunAliases?: Readonly<Record<string, string>>;
}

/**
 * Calls of agents behind tools, at any depth, that what a run is given says are under way, as `tool:callId`. The run that
 * began them has asked and paid for them.
 */
export function waitingIn(input: unknown): readonly string[] {
  const { _pendingAgentToolRuns: runs, _pendingAgentToolRunAliases: aliases } = (input ?? {}) as {
    readonly _pendingAgentToolRuns?: ReadonlyMap<string, string>;
    readonly _pendingAgentToolRunAliases?: ReadonlyMap<string, string>;
  };
  if (runs === undefined) return [];
  return callsOf({ pendingAgentToolRuns: Object.fromEntries(runs), pendingAgentToolRunAliases: Object.fromEntries(aliases ?? []) });
}

function callsOf({ pendingAgentToolRuns: runs = {}, pendingAgentToolRunAliases: aliases = {} }: WaitingState): readonly string[] {
  const nested = Object.values(runs).flatMap((state) => callsOf(JSON.parse(state) as WaitingState));
  return [...Object.keys(runs), ...Object.keys(aliases), ...nested];
}

/** The parts of the SDK's function tool that say how long it may take. */
export interface Timed {
  readonly name: string;
  readonly timeoutMs?: number | undefined;
}

/** What the SDK answers in place of a tool that took too long; what an own `timeoutErrorFunction` says looks like any result. */
export function timeoutIn({ name, timeoutMs }: Timed, result: unknown): string | undefined {
  const told = `Tool '${name}' timed out after ${timeoutMs}ms.`;
  return timeoutMs !== undefined && result === told ? told : undefined;
}

/** A tool its approver said no to has a span like one that ran. */
export function isRejection(failure: string | undefined): boolean {
  return /was manually rejected by user\.$/.test(failure ?? '');
}

function first(details: Details | readonly Details[] | undefined): Details | undefined {
  return Array.isArray(details) ? (details as readonly Details[])[0] : (details as Details | undefined);
}

function zeroIsUnknown(count: number | undefined, usage: SdkUsage | undefined): number | undefined {
  return (usage?.inputTokens ?? 0) + (usage?.outputTokens ?? 0) === 0 ? undefined : count;
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

function withoutUndefined<Fields extends object>(fields: Fields): Partial<Fields> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Partial<Fields>;
}
