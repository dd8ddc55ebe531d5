import type { AgentEvent } from '../events/agent-event.ts';
import { EVENT_LIMITS } from '../events/raw-event.ts';
import type { Problem } from './client.ts';
import { utf8ByteLength } from './byte-length.ts';
import type { Delivery } from './reply.ts';
import type { Timers } from './transport.ts';

/** An event that waits, as text, so that nothing its sender does later changes it. */
export interface Waiting {
  /** Events of one lane (a run) are delivered in their order. */
  readonly lane: string;
  readonly sessionId: string | undefined;
  readonly json: string;
  readonly bytes: number;
  /** Says that something happened, and nothing of what it cost or how it ended: the first to go when there is no room. */
  readonly isStep: boolean;
}

export interface OutboxOptions {
  readonly timers: Timers;
  readonly random: () => number;
  readonly maxQueue: number;
  readonly batchEvents: number;
  readonly flushIntervalMs: number;
  /** One attempt; never rejects. */
  readonly send: (batch: readonly Waiting[]) => Promise<Delivery>;
  readonly onProblem: (problem: Problem) => void;
}

const RETRY_MS_FIRST = 500;
const RETRY_MS_MAX = 30_000;

/** `{"events":[` and `]}`. */
const BODY_FRAME_BYTES = 13;

export function waiting(event: AgentEvent, wire: object): Waiting {
  const json = JSON.stringify(wire);
  const isStep = event.type.startsWith('step.');
  return { lane: event.run_id ?? '', sessionId: event.session_id, json, bytes: utf8ByteLength(json), isStep };
}

export function bodyOf(batch: readonly Waiting[]): string {
  return `{"events":[${batch.map(({ json }) => json).join(',')}]}`;
}

/**
 * Events on their way to the gateway: bounded in number, sent in batches within the protocol's limits, again and again
 * until the gateway has them (their `event_id` makes that harmless), in order within a run, and never in the host's way.
 * When the bound is hit the oldest steps go, then the oldest of what has a cost or an end; the operator is told how many.
 */
export class Outbox {
  readonly #options: OutboxOptions;
  #queue: Waiting[] = [];
  /** No step waits before this place in the queue. */
  #stepsFrom = 0;
  /** Batches on the wire, by lane: a lane is never on the wire twice, or its order could break. */
  readonly #flights = new Map<string, Promise<boolean>>();
  readonly #flying = new Set<readonly Waiting[]>();
  #isTicking = false;
  #isHurrying = false;
  #failures = 0;
  #retryAfterMs = 0;
  #dropped = 0;

  constructor(options: OutboxOptions) {
    this.#options = options;
  }

  /** Events that wait or are on the wire. */
  get pending(): number {
    let flying = 0;
    for (const batch of this.#flying) flying += batch.length;
    return this.#queue.length + flying;
  }

  /** The last attempt failed: the gateway is away, and nobody should wait for it. */
  get isFailing(): boolean {
    return this.#failures > 0;
  }

  add(entry: Waiting): void {
    this.#queue.push(entry);
    this.#bound();
    this.#wake();
    if (!this.isFailing && !this.#isHurrying && this.#queue.length >= this.#options.batchEvents) void this.#hurry();
  }

  /** Sends what waits, batch after batch. True when nothing waits any more; false after the first batch that failed. */
  async deliver(): Promise<boolean> {
    for (;;) {
      const batch = this.#take((entry) => !this.#flights.has(entry.lane));
      if (batch.length > 0) {
        if (!(await this.#fly(batch))) return false;
        continue;
      }
      const [flight] = this.#flights.values();
      if (flight === undefined) return true;
      if (!(await flight)) return false;
    }
  }

  /** Sends what waits of one lane. */
  async deliverLane(lane: string): Promise<boolean> {
    for (;;) {
      const flight = this.#flights.get(lane);
      if (flight !== undefined && !(await flight)) return false;
      if (this.#flights.has(lane)) continue;
      const batch = this.#take((entry) => entry.lane === lane);
      if (batch.length === 0) return true;
      if (!(await this.#fly(batch))) return false;
    }
  }

  /** Everything that waits or is on the wire, in batches; the queue is empty then. For a host that is about to end. */
  drain(): readonly (readonly Waiting[])[] {
    this.#queue = [...[...this.#flying].flat(), ...this.#queue];
    this.#flying.clear();
    const batches: (readonly Waiting[])[] = [];
    while (this.#queue.length > 0) batches.push(this.#take(() => true));
    return batches;
  }

  /** Tells how many events were lost since it was last told. */
  reportDropped(): void {
    if (this.#dropped === 0) return;
    const events = this.#dropped;
    this.#dropped = 0;
    this.#options.onProblem({
      code: 'events_dropped',
      events,
      message: `${events} event${events === 1 ? '' : 's'} dropped: more than ${this.#options.maxQueue} (maxQueue) wait for the gateway. Is it up?`,
    });
  }

  #bound(): void {
    for (let excess = this.pending - this.#options.maxQueue; excess > 0 && this.#queue.length > 0; excess -= 1) {
      while (this.#queue[this.#stepsFrom]?.isStep === false) this.#stepsFrom += 1;
      this.#queue.splice(this.#stepsFrom < this.#queue.length ? this.#stepsFrom : 0, 1);
      this.#stepsFrom = Math.min(this.#stepsFrom, this.#queue.length);
      this.#dropped += 1;
    }
  }

  /** The next batch of those that may go, oldest first, within count and bytes. */
  #take(mayGo: (entry: Waiting) => boolean): readonly Waiting[] {
    const batch: Waiting[] = [];
    const rest: Waiting[] = [];
    let bytes = BODY_FRAME_BYTES;
    let isFull = false;
    for (const entry of this.#queue) {
      if (isFull || !mayGo(entry)) {
        rest.push(entry);
        continue;
      }
      const more = entry.bytes + (batch.length === 0 ? 0 : 1);
      isFull = batch.length === this.#options.batchEvents || (batch.length > 0 && bytes + more > EVENT_LIMITS.bodyBytes);
      if (isFull) {
        rest.push(entry);
        continue;
      }
      batch.push(entry);
      bytes += more;
    }
    this.#queue = rest;
    this.#stepsFrom = 0;
    return batch;
  }

  /** One attempt at a batch; what the gateway can't take now goes back to the front. True when nothing came back. */
  #fly(batch: readonly Waiting[]): Promise<boolean> {
    const lanes = new Set(batch.map(({ lane }) => lane));
    this.#flying.add(batch);
    const flight = this.#attempt(batch).then((left) => {
      const isDrained = !this.#flying.delete(batch);
      for (const lane of lanes) this.#flights.delete(lane);
      if (left.length === 0 || isDrained) return true;
      this.#queue.unshift(...left);
      this.#stepsFrom = 0;
      this.#bound();
      this.#wake();
      return false;
    });
    for (const lane of lanes) this.#flights.set(lane, flight);
    return flight;
  }

  /**
   * Sends and returns what must be sent again. A body is refused as a whole for one bad event, so its halves are tried
   * until the bad one stands alone; that one is reported and gone.
   */
  async #attempt(batch: readonly Waiting[]): Promise<readonly Waiting[]> {
    const delivery = await this.#options.send(batch);
    this.reportDropped();
    switch (delivery.type) {
      case 'delivered':
        this.#failures = 0;
        this.#retryAfterMs = 0;
        return [];
      case 'later':
        this.#failed(delivery.message, (delivery.afterSeconds ?? 0) * 1000);
        return batch;
      case 'rejected': {
        if (batch.length === 1) {
          const message = `The gateway refused an event: ${delivery.message}`;
          this.#options.onProblem({ code: 'events_rejected', events: 1, message, cause: delivery.code });
          return [];
        }
        const half = Math.ceil(batch.length / 2);
        const left = await this.#attempt(batch.slice(0, half));
        return left.length > 0 ? [...left, ...batch.slice(half)] : this.#attempt(batch.slice(half));
      }
    }
  }

  #failed(message: string, afterMs: number): void {
    this.#failures += 1;
    this.#retryAfterMs = Math.min(afterMs, 2 * RETRY_MS_MAX);
    if (this.#failures > 1) return;
    this.#options.onProblem({
      code: 'events_delayed',
      events: this.pending,
      message: `Events wait, the gateway does not take them: ${message}. They are sent again until it does.`,
      cause: message,
    });
  }

  /** A full batch need not wait for the interval. */
  async #hurry(): Promise<void> {
    this.#isHurrying = true;
    await this.deliver();
    this.#isHurrying = false;
  }

  #wake(): void {
    if (!this.#isTicking && this.#queue.length > 0) void this.#tick();
  }

  /** Sends again and again while something waits: at the interval, or ever more rarely while the gateway is away. */
  async #tick(): Promise<void> {
    this.#isTicking = true;
    try {
      while (this.#queue.length > 0) {
        await this.#options.timers.sleep(this.#pause());
        await this.deliver();
      }
    } catch (error) {
      this.#options.onProblem({
        code: 'events_delayed',
        events: this.pending,
        message: `The host's timer failed: ${String(error)}. Events go with the next flush.`,
      });
    } finally {
      this.#isTicking = false;
    }
  }

  #pause(): number {
    if (this.#failures === 0) return this.#options.flushIntervalMs;
    const doubled = Math.min(RETRY_MS_MAX, RETRY_MS_FIRST * 2 ** (this.#failures - 1));
    return Math.max(this.#retryAfterMs, doubled * (0.5 + this.#options.random() / 2));
  }
}
