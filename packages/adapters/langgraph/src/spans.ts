import type { Run, Step } from '@runpurse/core';

/** One root run of LangChain's: one run of ours. */
export interface Live {
  readonly run: Run;
  readonly threadId: string | undefined;
  /** Failures of each execution of a node, by its namespace. */
  readonly failures: Map<string, number>;
  /** Uses of each tool call id: models repeat ids, and so do nodes that are run again. */
  readonly toolUses: Map<string, number>;
  /** Tool calls the gateway allowed, by the key under which a resumed run makes them again. */
  readonly tools: Map<string, ToolHold>;
  readonly spanIds: Set<string>;
  isInterrupted: boolean;
}

/** A tool call that was authorized: what is held, and by which run. */
export interface ToolHold {
  readonly run: Run;
  readonly toolCallId: string;
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
  readonly tool?: ToolHold | undefined;
}

const ENDED_RUNS_KEPT = 50;
const PAUSED_THREADS_KEPT = 1_000;

/** Which LangChain run belongs to which of ours, and what paused threads have paid for. Bounded in memory. */
export class Spans {
  readonly #spans = new Map<string, Span>();
  /** Kept a while: what a cancelled run leaves behind still calls, and must not become a run of its own. */
  readonly #ended: Live[] = [];
  readonly #paid = new Map<string, ReadonlyMap<string, ToolHold>>();

  get(langchainRunId: string | undefined): Span | undefined {
    return langchainRunId === undefined ? undefined : this.#spans.get(langchainRunId);
  }

  set(langchainRunId: string, span: Span): Span {
    span.live.spanIds.add(langchainRunId);
    this.#spans.set(langchainRunId, span);
    return span;
  }

  /** The run of a span ends. Paused, its thread remembers the tool calls that the resumed run will make again. */
  retire(live: Live, isPaused: boolean): void {
    this.#ended.push(live);
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

  paidFor(live: Live, toolKey: string): ToolHold | undefined {
    return live.threadId === undefined ? undefined : this.#paid.get(live.threadId)?.get(toolKey);
  }
}
