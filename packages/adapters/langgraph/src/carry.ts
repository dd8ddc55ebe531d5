import { AsyncLocalStorage } from 'node:async_hooks';
import { isAtGateway, RunpurseError, type ModelResult, type Run } from '@runpurse/core';
import { attemptOf, meteredFetch, refusalReply, type FetchedCall } from '@runpurse/core/fetch';
import { around, graphSignals, nodeAround, withHandlers, type Around, type Callbacks } from './around.ts';
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
  /** Ends it as one that its reader left. */
  readonly leave?: (() => Promise<void>) | undefined;
  /** Each request of it comes by us, so that `tries` says whether it was sent. */
  readonly isSeen?: boolean | undefined;
}

/** A call of a wrapped model: where it points, what it stands in, the signals of the graph it is made in, and its LangChain run. */
interface Inside {
  readonly endpoint?: string | undefined;
  readonly isSeen?: boolean | undefined;
  readonly around?: Around | undefined;
  readonly graphSignals?: GraphSignals | undefined;
  langchainRunId?: string | undefined;
}

/** Those under way, by their LangChain run: one for each run of ours that tells of it, and of these there is one for each gateway. */
const calls = new Map<string, Map<Run, Call>>();
const inside = new AsyncLocalStorage<Inside>();
/** Calls that had sent nothing when their run ended, by their LangChain run: they are charged nothing, so nothing of them is sent any more. */
const unsent = new Set<string>();
const UNSENT_KEPT = 10_000;
const UNSENT = {
  code: 'run_ended',
  message: 'The run of this model call ended before it was sent. Nothing was called or charged. To go on: await the call in its node.',
} as const;
const covered = new AsyncLocalStorage<true>();

/**
 * Called by the handler when LangChain announces a model call; `isCarried` tells whether its model points at the gateway.
 * `endpoint` is where a model that nobody wrapped says it points.
 */
export function startCall(langchainRunId: string, call: Omit<Call, 'isCarried' | 'tries'>, endpoint: string | undefined): Call {
  const model = inside.getStore();
  if (model !== undefined) model.langchainRunId = langchainRunId;
  const isCarried = isAtGateway(call.gateway, model === undefined ? endpoint : model.endpoint);
  const started = { ...call, isCarried, graphSignals: model?.graphSignals, isSeen: model?.isSeen, tries: 0 };
  if (isCarried && model === undefined) {
    if (covered.getStore() === true) throw new RunpurseError('invalid_option', REPLACED);
    warnOfUnwrapped();
  }
  calls.set(langchainRunId, callsOf(langchainRunId).set(call.run, started));
  return started;
}

/** LangChain's run around something that begins with callbacks of its own, which therefore name none. */
export function runAround(metadata: Metadata | undefined): string | undefined {
  return inside.getStore()?.around?.langchainRunId ?? nodeAround(metadata)?.langchainRunId;
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

/** Ends the call as one of `run`. */
export function endCall(langchainRunId: string, run: Run): Call | undefined {
  const told = callsOf(langchainRunId);
  const call = told.get(run);
  told.delete(run);
  if (told.size === 0) calls.delete(langchainRunId);
  return call;
}

function callsOf(langchainRunId: string | undefined): Map<Run, Call> {
  return calls.get(langchainRunId ?? '') ?? new Map<Run, Call>();
}

/** Ends a call of a run that ends before it. */
export function abandonCall(langchainRunId: string, run: Run): void {
  const call = endCall(langchainRunId, run);
  if (call === undefined) return;
  reportCall(call, { status: 'aborted', error: new Error('its run ended first'), ...unlessSent(call) });
  if (call.isSeen !== true || call.tries > 0) return;
  unsent.add(langchainRunId);
  const [oldest] = unsent;
  if (unsent.size > UNSENT_KEPT && oldest !== undefined) unsent.delete(oldest);
}

/** Nothing was used by a call that was never sent. */
export function unlessSent({ isSeen, tries }: Call): Pick<ModelResult, 'usage'> | undefined {
  return isSeen === true && tries === 0 ? { usage: { input_tokens: 0, output_tokens: 0 } } : undefined;
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
 * Makes a chat model, or those of a chain, carry run, session, step and attempt on every request sent to the gateway, whatever
 * they are bound to afterwards. Changes them in place; doing it twice is harmless. What they send elsewhere is untouched.
 */
export function withRunpurse<Model extends object>(model: Model): Model {
  if (!carryIn(model)) throw new RunpurseError('invalid_option', NO_MODEL);
  return model;
}

const NO_MODEL =
  'withRunpurse() found no chat model in what it was given, so its calls would belong to no run. ' +
  'Wrap the model itself, before a function or a graph is made of it.';

/** Whether there is a chat model in it, which then carries. */
function carryIn(runnable: object): boolean {
  const chat = runnable as ChatModel;
  if (chat[IS_CARRYING] === true) return true;
  if (chat._getModelInstance !== undefined) carryOnLate(chat);
  else if (chat._generate !== undefined) carryOn(chat);
  else if (!partsOf(runnable).map(carryIn).includes(true)) return false;
  chat[IS_CARRYING] = true;
  return true;
}

/** Where a runnable keeps those it is made of: alone, in lists, or by name. */
const PARTS = ['bound', 'runnable', 'fallbacks', 'steps', 'mapper', 'branches', 'default'] as const;

function partsOf(runnable: Partial<Record<(typeof PARTS)[number], unknown>>): readonly object[] {
  return PARTS.flatMap((name) => {
    const part = runnable[name];
    return isRunnable(part)
      ? [part]
      : Object.values(part ?? {})
          .flat()
          .filter(isRunnable);
  });
}

function isRunnable(part: unknown): part is object {
  return typeof part === 'object' && part !== null && 'invoke' in part;
}

/** The parts of LangChain's chat models that are wrapped; those of OpenAI's lie in `completions` and `responses` too. */
interface ChatModel {
  [IS_CARRYING]?: boolean;
  completions?: ChatModel;
  responses?: ChatModel;
  client?: unknown;
  clientConfig?: { baseURL?: string; fetch?: typeof fetch };
  caller?: { onFailedAttempt?: ((error: unknown) => void) | undefined };
  [method: `_${string}`]: Method | undefined;
  generate?: Method;
  bindTools?: Method;
  withStructuredOutput?: Method;
  withConfig?: Method;
}
type Method = (...args: unknown[]) => unknown;
type Options = { readonly headers?: object; readonly options?: { readonly headers?: object } };

/** A model that is made when it is called, anew for what it is bound to. */
function carryOnLate(chat: ChatModel): void {
  for (const name of ['_getModelInstance', 'bindTools', 'withStructuredOutput', 'withConfig'] as const) {
    replace(chat, name, (make) => (...args) => {
      const made = make(...args);
      return made instanceof Promise ? made.then(withRunpurse<object>) : withRunpurse(made as object);
    });
  }
}

function carryOn(chat: ChatModel): void {
  const clients = [chat, chat.completions, chat.responses].filter(isClient);
  for (const part of clients) {
    part.clientConfig.fetch = runpurseFetch(part.clientConfig.fetch);
    part.client = undefined;
    if (part.caller !== undefined) part.caller.onFailedAttempt = stopAtRefusals(part.caller.onFailedAttempt);
  }
  const endpoint = chat.clientConfig?.baseURL;
  const isSeen = clients.length > 0;
  const here = (): Inside & { readonly around: Around } => ({ endpoint, isSeen, around: around(), graphSignals: graphSignals() });
  replace(chat, 'generate', (generate) => (messages, options, callbacks) => {
    const store = here();
    return inside.run(store, () => generate(messages, heard(options, callbacks, store.around)));
  });
  replace(chat, '_streamIterator', (stream) => (input, options) => {
    const store = here();
    return untilLeft(
      store,
      pull(store, () => stream(input, heard(options, undefined, store.around)) as AsyncGenerator),
    );
  });
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

function isClient(part: ChatModel | undefined): part is ChatModel & Required<Pick<ChatModel, 'clientConfig'>> {
  return part?.clientConfig !== undefined;
}

function replace<Name extends keyof ChatModel>(chat: ChatModel, name: Name, wrap: (method: Method) => Method): void {
  const method = (chat as Record<Name, Method | undefined>)[name];
  if (method !== undefined) (chat as Record<Name, Method>)[name] = wrap(method.bind(chat));
}

/** Call options whose callbacks have our handlers too: those given to a call replace those it would inherit. */
function heard(options: unknown, callbacks: unknown, place: Around): object {
  const given = (Array.isArray(options) ? { stop: options } : options) as { readonly callbacks?: Callbacks } | undefined;
  return { ...given, callbacks: withHandlers(given?.callbacks ?? (callbacks as Callbacks | undefined), place) };
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

/** The stream of a call, which is over when its reader leaves too: LangChain tells only the other ends, and before it is done. */
async function* untilLeft(store: Inside, stream: AsyncGenerator): AsyncGenerator {
  try {
    yield* stream;
  } finally {
    for (const call of [...callsOf(store.langchainRunId).values()]) await call.leave?.();
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
  return async (input, init) => {
    const headers = new Headers(init?.headers ?? (input instanceof Request ? input.headers : undefined));
    const id = headers.get(CALL_HEADER) ?? inside.getStore()?.langchainRunId;
    headers.delete(CALL_HEADER);
    if (unsent.has(id ?? '')) return refusalReply({ type: 'denied', proceed: false, refusal: UNSENT });
    const told = callsOf(id);
    const each = told.size === 0 ? ambientCalls() : [...told.values()];
    const metered = each.reduce((wrapped, call) => meteredFetch(() => call, wrapped), inner ?? fetch);
    return metered(input, { ...init, headers });
  };
}

/** A request LangChain told none of our handlers of, made inside a node or a tool of a run we know. */
function ambientCalls(): readonly Call[] {
  const { handlers, langchainRunId = '', metadata } = around();
  return handlers.flatMap((handler) => handler.callAt(langchainRunId, metadata) ?? []);
}
