/** How long the root's own end may still take to be told once its nodes have ended. */
const GRACE_MS = 100;

/**
 * Notices that a graph is left before its end: its stream's reader broke off, or its caller aborted. LangGraph tells its
 * root's handlers so only sometimes; the signal its nodes get always tells.
 */
export class Departure {
  readonly #left: () => void;
  readonly #openNodes = new Set<string>();
  #isWatching = false;
  #isAborted = false;

  /** `left` is called once no node runs any more, and at a time when the root's end may have been told already. */
  constructor(left: () => void) {
    this.#left = left;
  }

  /** `signal`: that of the graph, as one of its nodes got it. */
  watch(signal: AbortSignal | undefined): void {
    if (signal === undefined || this.#isWatching) return;
    this.#isWatching = true;
    const abort = (): void => {
      this.#isAborted = true;
      this.#check();
    };
    signal.addEventListener('abort', abort, { once: true });
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
