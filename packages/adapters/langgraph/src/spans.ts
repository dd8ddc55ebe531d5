import type { Run, Step } from '@runpurse/core';
import { enterNode, leaveNode, type AmbientHandler } from './around.ts';
import type { Departure } from './departure.ts';
import type { ToolHold, ToolName, ToolNames } from './tool-calls.ts';
import type { Metadata } from './translate.ts';

/** One root run of LangChain's: one run of ours. */
export interface Live {
  readonly run: Run;
  readonly threadId: string | undefined;
  /** Failures of each execution of a node, by its namespace. */
  readonly failures: Map<string, number>;
  /** Which attempt a model call that failed is when it is made again, by its fingerprint. */
  readonly retries: Map<string, number>;
  /** Errors told of something below the root: thrown by code in the graph, not by the graph. */
  readonly thrown: WeakSet<object>;
  readonly toolNames: ToolNames;
  /** Tool calls the gateway allowed, by step id. */
  readonly tools: Map<string, ToolHold>;
  /** Those it allowed to the paused runs before: each is made once more without being asked for. */
  readonly paid: Map<string, ToolHold>;
  readonly spanIds: Set<string>;
  readonly departure: Departure;
  isInterrupted: boolean;
  isEnded: boolean;
}

/** One LangChain run that is open, or whose children may still begin. */
export interface Span {
  readonly live: Live;
  readonly isRoot: boolean;
  /** The step around what begins below, and the agent that does it. */
  readonly parentStepId?: string | undefined;
  readonly agentId?: string | undefined;
  /** Namespace of the node whose execution this is. */
  readonly node?: string | undefined;
  readonly step?: Step | undefined;
  readonly tool?: { readonly name: ToolName; readonly hold: ToolHold } | undefined;
}

/** What LangChain says of anything that begins: its run, the one around it, its name, its metadata, and whether a pause ends with it. */
export type Beginning = readonly [
  runId: string,
  parentRunId: string | undefined,
  name: string | undefined,
  metadata: Metadata | undefined,
  isResumed?: boolean,
];

const ENDED_RUNS_KEPT = 50;
const PAUSED_THREADS_KEPT = 1_000;
const LOST_KEPT = 10_000;

/** All of this process, by the gateway they tell: a graph in a tool may have a handler of its own, beside the one it inherits. */
const beside = new Map<string, Set<WeakRef<Spans>>>();

/** Which LangChain run belongs to which of ours, and what paused threads have paid for. Bounded in memory. */
export class Spans {
  readonly #beside: Set<WeakRef<Spans>>;
  readonly #handler: AmbientHandler;
  readonly #spans = new Map<string, Span>();
  /** Kept a while: what a cancelled run leaves behind still calls, and must not become a run of its own. */
  readonly #ended: Live[] = [];
  readonly #paid = new Map<string, ReadonlyMap<string, ToolHold>>();
  readonly #lost = new Set<string>();

  constructor(gateway: string, handler: AmbientHandler) {
    this.#handler = handler;
    this.#beside = beside.get(gateway) ?? new Set();
    beside.set(gateway, this.#beside.add(new WeakRef(this)));
  }

  /** As another handler of the gateway knows it. */
  findBeside(langchainRunId: string | undefined): Span | undefined {
    for (const one of langchainRunId === undefined ? [] : this.#beside) {
      const spans = one.deref();
      if (spans === undefined) this.#beside.delete(one);
      const span = spans === this ? undefined : spans?.get(langchainRunId);
      if (span !== undefined) return span;
    }
    return undefined;
  }

  find(langchainRunId: string | undefined): Span | undefined {
    return this.get(langchainRunId) ?? this.findBeside(langchainRunId);
  }

  get(langchainRunId: string | undefined): Span | undefined {
    return langchainRunId === undefined ? undefined : this.#spans.get(langchainRunId);
  }

  set(langchainRunId: string, span: Span): Span {
    span.live.spanIds.add(langchainRunId);
    this.#spans.set(langchainRunId, span);
    if (span.node !== undefined) enterNode(span.node, langchainRunId, this.#handler);
    return span;
  }

  /** The run of a span ends. Paused, its thread remembers the tool calls that the resumed run will make again. */
  retire(live: Live, isPaused: boolean): void {
    this.#ended.push(live);
    for (const id of live.spanIds) {
      const node = this.find(id)?.node;
      if (node !== undefined) leaveNode(node, id);
    }
    if (this.#ended.length > ENDED_RUNS_KEPT) this.forget(this.#ended.shift());
    if (live.threadId === undefined) return;
    const before = this.#paid.get(live.threadId) ?? [];
    this.#paid.delete(live.threadId);
    if (isPaused) this.#paid.set(live.threadId, new Map([...before, ...live.tools]));
    const oldest = this.#paid.keys().next();
    if (this.#paid.size > PAUSED_THREADS_KEPT && oldest.done !== true) this.#paid.delete(oldest.value);
  }

  forget(live: Live | undefined): void {
    for (const id of live?.spanIds ?? []) this.#spans.delete(id);
  }

  /** Could not be opened for a fault of ours: what begins below is no run of its own. */
  lose(langchainRunId: string): void {
    this.#lost.add(langchainRunId);
    const [oldest] = this.#lost;
    if (this.#lost.size > LOST_KEPT && oldest !== undefined) this.#lost.delete(oldest);
  }

  isLost(langchainRunId: string | undefined): boolean {
    return langchainRunId !== undefined && this.#lost.has(langchainRunId);
  }

  /** What a paused thread has paid for, as far as this process knows. */
  paidIn(threadId: string | undefined): ReadonlyMap<string, ToolHold> {
    return this.#paid.get(threadId ?? '') ?? new Map();
  }
}
