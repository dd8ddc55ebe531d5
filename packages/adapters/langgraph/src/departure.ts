import { runEndOf, type RunEnd } from '@runpurse/core';
import { isAbort, isCancellation } from './translate.ts';

/** Why something ends whose reader, or caller, did not wait for its end. */
export const LEFT = new DOMException('left before its end', 'AbortError');

/** How long the root's own end may still take to be told once its nodes have ended. */
const GRACE_MS = 100;

/** Of a graph: the caller's, which also aborts when a stream's reader leaves, and that of its newest step's time-out. */
export interface GraphSignals {
  readonly externalAbortSignal?: AbortSignal | undefined;
  readonly timeoutAbortSignal?: AbortSignal | undefined;
}

/**
 * Notices that a graph is left before its end: its stream's reader broke off, or its caller aborted. LangGraph tells its
 * root's handlers so only sometimes; the signal its nodes get always tells.
 */
export class Departure {
  readonly #left: () => void;
  readonly #openNodes = new Set<string>();
  #isWatching = false;
  #isAborted = false;
  #signals: GraphSignals = {};

  /** `left` is called once no node runs any more, and at a time when the root's end may have been told already. */
  constructor(left: () => void) {
    this.#left = left;
  }

  /** `signals`: those of the graph, as one of its nodes got them. */
  watch(signals: GraphSignals | undefined): void {
    this.#signals = { ...this.#signals, ...signals };
    const signal = signals?.externalAbortSignal;
    if (signal === undefined || this.#isWatching) return;
    this.#isWatching = true;
    const abort = (): void => {
      this.#isAborted = true;
      this.#check();
    };
    signal.addEventListener('abort', abort, { once: true });
  }

  /** What ran out of time, if that is why the graph was aborted: LangGraph throws the same for both. */
  timeout(): unknown {
    const reasons = Object.values(this.#signals).map((signal: AbortSignal | undefined) => signal?.reason as unknown);
    return reasons.find((reason) => reason instanceof DOMException && reason.name === 'TimeoutError');
  }

  nodeBegan(langchainRunId: string): void {
    this.#openNodes.add(langchainRunId);
  }

  nodeEnded(langchainRunId: string): void {
    if (this.#openNodes.delete(langchainRunId)) this.#check();
  }

  #check(): void {
    if (this.#isAborted && this.#openNodes.size === 0) setTimeout(this.#left, GRACE_MS);
  }
}

/** How the run ends whose graph threw `error`, or nothing. */
export function endOf({ departure, thrown }: { readonly departure: Departure; readonly thrown: WeakSet<object> }, error: unknown): RunEnd {
  const isAborted = isCancellation(error) || (isAbort(error) && !thrown.has(error as object));
  const timeout = isAborted ? departure.timeout() : undefined;
  return timeout === undefined ? runEndOf(error, isAborted) : runEndOf(timeout);
}
