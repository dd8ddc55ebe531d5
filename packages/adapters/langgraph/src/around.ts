import { AsyncLocalStorageProviderSingleton } from '@langchain/core/singletons';
import type { Call } from './carry.ts';
import type { GraphSignals } from './departure.ts';
import { namespaceOf, type Metadata } from './translate.ts';

/** A handler of ours, for code that stands in a run it tells of. */
export interface AmbientHandler {
  callAt(langchainRunId: string, metadata: Metadata | undefined): Call | undefined;
}

/** What a call stands in: LangChain's run, and the handlers of ours that tell of it. */
export interface Around {
  readonly langchainRunId: string | undefined;
  readonly handlers: readonly AmbientHandler[];
  readonly metadata: Metadata | undefined;
}

/**
 * Where this code stands. LangChain's context says so, unless callbacks were given that are not ours: they replace those that
 * would be inherited. Then the metadata still names the node.
 */
export function around(): Around {
  const { callbacks, metadata } = ambientConfig();
  const node = nodeAround(metadata);
  const handlers = handlersOf(callbacks).filter((handler): handler is AmbientHandler => 'callAt' in handler);
  if (handlers.length === 0) return { langchainRunId: node?.langchainRunId, handlers: [...(node?.handlers ?? [])], metadata };
  return { langchainRunId: parentOf(callbacks) ?? node?.langchainRunId, handlers, metadata };
}

/** The callbacks given to a call, or those it would inherit, with the handlers around it that they lack. */
export function withHandlers(given: Callbacks | undefined, { handlers }: Around): Callbacks | undefined {
  const heard = given ?? ambientConfig().callbacks;
  const missing = handlers.filter((handler) => !handlersOf(heard).includes(handler));
  if (missing.length === 0) return given;
  return heard === undefined || isList(heard) ? [...(heard ?? []), ...missing] : heard.copy(missing);
}

export function graphSignals(): GraphSignals | undefined {
  return ambientConfig().configurable?.[ABORT_SIGNALS];
}

/** Executions of nodes that are told of, by their namespace. Of one that is tried again, the last. */
const nodes = new Map<string, { readonly langchainRunId: string; readonly handlers: Set<AmbientHandler> }>();

/** A handler begins to tell of a node. */
export function enterNode(namespace: string, langchainRunId: string, handler: AmbientHandler): void {
  const known = nodes.get(namespace);
  if (known?.langchainRunId === langchainRunId) known.handlers.add(handler);
  else nodes.set(namespace, { langchainRunId, handlers: new Set([handler]) });
}

export function leaveNode(namespace: string, langchainRunId: string): void {
  if (nodes.get(namespace)?.langchainRunId === langchainRunId) nodes.delete(namespace);
}

/** The innermost node around that is told of. An agent's own metadata leaves out LangGraph's key, but not the plain one. */
export function nodeAround(metadata: Metadata | undefined) {
  const namespace = namespaceOf(metadata) || metadata?.['checkpoint_ns'];
  const parts = typeof namespace === 'string' ? namespace.split('|') : [];
  return parts.map((_, index) => nodes.get(parts.slice(0, parts.length - index).join('|'))).find((node) => node !== undefined);
}

/** LangGraph's own name for the signals of a graph, in the config of its nodes. */
const ABORT_SIGNALS = '__pregel_abort_signals';

interface AmbientConfig {
  readonly callbacks?: Callbacks;
  readonly metadata?: Metadata;
  readonly configurable?: { readonly [ABORT_SIGNALS]?: GraphSignals };
}
/** As LangChain takes them: a list, or the manager it made of one. */
export type Callbacks = readonly object[] | CallbackManager;
interface CallbackManager {
  readonly handlers: readonly object[];
  getParentRunId(): string | undefined;
  copy(additional: readonly object[]): CallbackManager;
}

function ambientConfig(): AmbientConfig {
  return (AsyncLocalStorageProviderSingleton.getRunnableConfig() ?? {}) as AmbientConfig;
}

function handlersOf(callbacks: Callbacks | undefined): readonly object[] {
  return callbacks === undefined || isList(callbacks) ? (callbacks ?? []) : callbacks.handlers;
}

function parentOf(callbacks: Callbacks | undefined): string | undefined {
  return callbacks === undefined || isList(callbacks) ? undefined : callbacks.getParentRunId();
}

function isList(callbacks: Callbacks): callbacks is readonly object[] {
  return Array.isArray(callbacks);
}
