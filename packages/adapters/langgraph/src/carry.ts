import { AsyncLocalStorage } from 'node:async_hooks';
import { AsyncLocalStorageProviderSingleton } from '@langchain/core/singletons';
import { isAtGateway, RunpurseError, type ModelResult } from '@runpurse/core';
import { attemptOf, meteredFetch, type FetchedCall } from '@runpurse/core/fetch';
import type { GraphSignals } from './departure.ts';
import type { Metadata } from './translate.ts';

/** Inside the process only: names the LangChain run a request belongs to. Context alone can't: a model's queue mixes it up. */
const CALL_HEADER = 'x-runpurse-langchain-run';
const IS_CARRYING = Symbol.for('runpurse.langgraph.carrying');

/** One model call, from its start callback to its end. */
export interface Call extends FetchedCall {
  /** Those of the graph around; known for wrapped models. */
  readonly graphSignals?: GraphSignals | undefined;
  /** The same for the same call made again. */
  readonly fingerprint?: (() => string) | undefined;
}

/** A call of a wrapped model: where it points, the signals of the graph it is made in, and its LangChain run. */
interface Inside {
  readonly endpoint?: string | undefined;
  readonly graphSignals?: GraphSignals | undefined;
  langchainRunId?: string | undefined;
}

const calls = new Map<string, Call>();
const inside = new AsyncLocalStorage<Inside>();
const covered = new AsyncLocalStorage<true>();

/**
 * Called by the handler when LangChain announces a model call; `isCarried` tells whether its model points at the gateway.
 * `endpoint` is where a model that nobody wrapped says it points.
 */
export function startCall(langchainRunId: string, call: Omit<Call, 'isCarried' | 'tries'>, endpoint: string | undefined): Call {
  const model = inside.getStore();
  if (model !== undefined) model.langchainRunId = langchainRunId;
  const isCarried = isAtGateway(call.gateway, model === undefined ? endpoint : model.endpoint);
  const started = { ...call, isCarried, graphSignals: model?.graphSignals, tries: 0 };
  if (isCarried && model === undefined) {
    if (covered.getStore() === true) throw new RunpurseError('invalid_option', REPLACED);
    warnOfUnwrapped();
  }
  calls.set(langchainRunId, started);
  return started;
}

/** Does the work of a model call whose model we wrapped: another one put in its place would pass the run's cap. */
export function coveringModel<Result>(work: () => Result): Result {
  return covered.run(true, work);
}

const REPLACED =
  'Another middleware put a model in place of the one runpurseMiddleware() had wrapped; its calls would belong to no run, so this one was not made. ' +
  'Put runpurseMiddleware() last in `middleware`, or wrap that model too: withRunpurse(model).';

let hasWarned = false;
function warnOfUnwrapped(): void {
  if (hasWarned) return;
  hasWarned = true;
  process.emitWarning(
    'A model points at the gateway but carries no run: its calls count as runs of their own. Wrap it with withRunpurse(model).',
    'RunpurseWarning',
  );
}

export function endCall(langchainRunId: string): Call | undefined {
  const call = calls.get(langchainRunId);
  calls.delete(langchainRunId);
  return call;
}

/** Says how the call's last try ended. */
export function reportCall(call: Call, result: Partial<Omit<ModelResult, 'model'>> & { readonly model?: string | undefined }): void {
  const { place, asked, isCarried: carried, requestId } = call;
  call.run.recordModel({
    ...place,
    attempt: attemptOf(call),
    carried,
    requestId,
    ...result,
    model: result.model ?? asked?.model ?? 'unknown',
  });
}

/**
 * Makes a chat model carry run, session, step and attempt on every request it sends to the gateway, whatever it is bound
 * to afterwards. Changes the model in place and returns it; doing it twice is harmless. What it sends elsewhere is untouched.
 */
export function withRunpurse<Model extends object>(model: Model): Model {
  const chat = model as Model & ChatModel;
  if (chat[IS_CARRYING] === true) return model;
  for (const part of [chat.bound, chat.runnable, ...(chat.fallbacks ?? [])]) if (part !== undefined) withRunpurse(part);
  if (chat._getModelInstance !== undefined)
    replace(
      chat,
      '_getModelInstance',
      (get) =>
        async (...args) =>
          withRunpurse((await get(...args)) as object),
    );
  else if (chat._generate !== undefined) carryOn(chat);
  chat[IS_CARRYING] = true;
  return model;
}

/** The parts of LangChain's chat models that are wrapped; those of OpenAI's lie in `completions` and `responses` too. */
interface ChatModel {
  [IS_CARRYING]?: boolean;
  bound?: object;
  /** With fallbacks: the first choice, and the others. */
  runnable?: object;
  fallbacks?: readonly object[];
  completions?: ChatModel;
  responses?: ChatModel;
  client?: unknown;
  clientConfig?: { baseURL?: string; fetch?: typeof fetch };
  caller?: { onFailedAttempt?: ((error: unknown) => void) | undefined };
  [method: `_${string}`]: Method | undefined;
  generate?: Method;
  withConfig?: Method;
}
type Method = (...args: unknown[]) => unknown;
type Options = { readonly headers?: object; readonly options?: { readonly headers?: object } };

function carryOn(chat: ChatModel): void {
  for (const part of [chat, chat.completions, chat.responses]) {
    if (part?.clientConfig === undefined) continue;
    part.clientConfig.fetch = runpurseFetch(part.clientConfig.fetch);
    part.client = undefined;
    if (part.caller !== undefined) part.caller.onFailedAttempt = stopAtRefusals(part.caller.onFailedAttempt);
  }
  const endpoint = chat.clientConfig?.baseURL;
  replace(
    chat,
    'generate',
    (generate) =>
      (...args) =>
        inside.run({ endpoint, graphSignals: graphSignals() }, () => generate(...args)),
  );
  replace(
    chat,
    '_streamIterator',
    (stream) =>
      (...args) =>
        pull({ endpoint, graphSignals: graphSignals() }, () => stream(...args) as AsyncGenerator),
  );
  replace(chat, '_generate', (generate) => (messages, options, manager) => {
    const id = idOf(manager);
    return inside.run({ endpoint, langchainRunId: id }, () => generate(messages, marked(options as Options, id, chat), manager));
  });
  for (const name of ['_streamResponseChunks', '_streamChatModelEvents'] as const) {
    replace(chat, name, (stream) => (messages, options, manager) => {
      const id = idOf(manager);
      return pull(
        { endpoint, langchainRunId: id },
        () => stream(messages, marked(options as Options, id, chat), manager) as AsyncGenerator,
      );
    });
  }
  // ChatOpenAI makes itself anew for its tools and structured output; others bind the model they are.
  replace(
    chat,
    'withConfig',
    (withConfig) =>
      (...args) =>
        withRunpurse(withConfig(...args) as object),
  );
}

function replace<Name extends keyof ChatModel>(chat: ChatModel, name: Name, wrap: (method: Method) => Method): void {
  const method = (chat as Record<Name, Method | undefined>)[name];
  if (method !== undefined) (chat as Record<Name, Method>)[name] = wrap(method.bind(chat));
}

/** LangChain hands the call's own run to most methods; to event streaming it does not, which then is the run just begun. */
function idOf(manager: unknown): string | undefined {
  return (manager as { readonly runId?: string } | undefined)?.runId ?? inside.getStore()?.langchainRunId;
}

/** Call options that name the call, where plain and where streamed requests read their headers. */
function marked(options: Options, id: string | undefined, { clientConfig }: ChatModel): Options {
  if (id === undefined || clientConfig === undefined) return options;
  const mark = { [CALL_HEADER]: id };
  return {
    ...options,
    headers: { ...options?.headers, ...mark },
    options: { ...options?.options, headers: { ...options?.options?.headers, ...mark } },
  };
}

/** A generator whose every step runs inside a call. */
async function* pull(store: Inside, start: () => AsyncGenerator): AsyncGenerator {
  const inner = inside.run(store, start);
  try {
    for (let step = await inside.run(store, () => inner.next()); step.done !== true; step = await inside.run(store, () => inner.next()))
      yield step.value;
  } finally {
    await inner.return(undefined);
  }
}

/** LangChain's retries know few statuses that stay as they are; `x-should-retry: false` is the gateway's word for it. */
function stopAtRefusals(onFailedAttempt: ((error: unknown) => void) | undefined): (error: unknown) => void {
  return (error) => {
    const { headers } = error as { readonly headers?: { get?(name: string): string | null } };
    if (headers?.get?.('x-should-retry') === 'false') throw error;
    onFailedAttempt?.(error);
  };
}

/**
 * A `fetch` for model clients: adds the headers of the call it is made for, when it goes to the gateway. `withRunpurse`
 * installs it in OpenAI models; hand it to other clients (`new OpenAI({ fetch: runpurseFetch() })`) used inside a node.
 */
export function runpurseFetch(inner?: typeof fetch): typeof fetch {
  return meteredFetch((headers) => {
    const id = headers.get(CALL_HEADER) ?? inside.getStore()?.langchainRunId;
    headers.delete(CALL_HEADER);
    return id === undefined ? ambientCall() : calls.get(id);
  }, inner);
}

/** A request LangChain has no callbacks for, made inside a node or a tool of a run we know. */
function ambientCall(): Call | undefined {
  const { callbacks, metadata } = ambientConfig();
  const handlers = callbacks?.handlers?.filter((candidate): candidate is AmbientHandler => 'callAt' in candidate) ?? [];
  const parent = callbacks?.getParentRunId?.() ?? '';
  return handlers.map((handler) => handler.callAt(parent, metadata)).find((call) => call !== undefined);
}

function graphSignals(): GraphSignals | undefined {
  return ambientConfig().configurable?.[ABORT_SIGNALS];
}

function ambientConfig(): AmbientConfig {
  return (AsyncLocalStorageProviderSingleton.getRunnableConfig() ?? {}) as AmbientConfig;
}

/** LangGraph's own name for the signals of a graph, in the config of its nodes. */
const ABORT_SIGNALS = '__pregel_abort_signals';

interface AmbientConfig {
  readonly callbacks?: Callbacks;
  readonly metadata?: Metadata;
  readonly configurable?: { readonly [ABORT_SIGNALS]?: GraphSignals };
}
interface Callbacks {
  readonly handlers?: readonly object[];
  getParentRunId?(): string | undefined;
}
interface AmbientHandler {
  callAt(langchainRunId: string, metadata: Metadata | undefined): Call | undefined;
}
