import type { AgentContext } from '../attribution/context.ts';
import type { Decision } from '../decisions/decision.ts';
import type { AgentEventInput } from '../events/agent-event.ts';
import type { Run, RunOptions } from '../run/run.ts';
import type { RunShape, SessionShape } from '../shapes/run.ts';
import type { Ids, Timers, Transport } from './transport.ts';

/**
 * Whom the client talks to. `runpurse`: sessions, workflows and customers are event fields and a denial has its own
 * status. `alephant`: a plain Alephant gateway, where they ride in metadata and a denial is a 202 with `allowed: false`.
 */
export type Dialect = 'runpurse' | 'alephant';

/** What happens when the gateway gives no answer. `open`: the host goes on unbounded. `closed`: the call is not made. */
export interface FailurePolicy {
  /** Events are never worth an agent's run: always `open`. */
  readonly events: 'open';
  /** Default `open`; choose `closed` when a cap must hold even while the gateway is away. */
  readonly authorize: 'open' | 'closed';
}

/** Something the operator should see and the host should not feel. Never holds a secret. */
export interface Problem {
  readonly code:
    | 'events_dropped'
    | 'events_rejected'
    | 'events_delayed'
    | 'event_invalid'
    | 'metadata_trimmed'
    | 'gateway_unavailable'
    | 'client_closed';
  readonly message: string;
  /** How many events are concerned. */
  readonly events?: number | undefined;
  /** What is behind it; of `events_delayed` the text alone, for hosts that do not send again; of `events_rejected` the gateway's code. */
  readonly cause?: unknown;
}

export interface GatewayClientOptions {
  /** Such as `http://127.0.0.1:8787`; a trailing `/v1` is understood. */
  readonly baseUrl: string;
  /** The virtual key. */
  readonly apiKey: string;
  readonly transport: Transport;
  readonly timers: Timers;
  readonly ids: Ids;
  /** Spreads retries; returns a number in [0, 1). Without it retries are not spread. */
  readonly random?: (() => number) | undefined;
  /** Who reports: the framework's name, as its adapter states it. */
  readonly source: string;
  readonly dialect?: Dialect | undefined;
  readonly failurePolicy?: Partial<FailurePolicy> | undefined;
  readonly onProblem?: ((problem: Problem) => void) | undefined;
  /** Events kept in memory while they can't be delivered; beyond it the oldest steps are dropped, then the oldest of all, and reported. Default 10,000. */
  readonly maxQueue?: number | undefined;
  /** Events in one batch, at most 100 (the protocol's limit). Default 100. */
  readonly batchEvents?: number | undefined;
  /** How long a recorded event may wait for company. Default 1,000. */
  readonly flushIntervalMs?: number | undefined;
  /** Per request to the gateway. Default 5,000. */
  readonly timeoutMs?: number | undefined;
}

/** Core's one way to the gateway. Every adapter stands on `run(…)`; the rest is for hosts without one. */
export interface GatewayClient {
  /** The handle of one run. Makes no call; `run.start()` does. */
  run(context?: RunOptions): Run;
  /** Queues an event and returns at once; it is delivered in batches and again by its `event_id` until the gateway has it. Never throws. */
  record(event: AgentEventInput): void;
  /** Asks whether the action of this event may happen. Events of the same run that wait are delivered first. Never rejects. */
  ask(event: AgentEventInput): Promise<Decision>;
  /** Delivers what waits. Resolves when the queue is empty or one attempt per batch failed; never rejects. Returns how many events still wait. */
  flush(): Promise<number>;
  /** Flushes for the last time; later events are reported as problems. */
  close(): Promise<void>;
  /** A run as the gateway accounts for it; `undefined` when it does not know the run. Rejects with RunpurseError on faults. */
  readRun(runId: string): Promise<RunShape | undefined>;
  readSession(sessionId: string): Promise<SessionShape | undefined>;
  /** Headers that carry this context on a model call. No key: that is the model client's `apiKey`. */
  headers(context: AgentContext): Record<string, string>;
  /** Serialized events not yet delivered, oldest first, for a host that must hand them over synchronously at its end. Empties the queue. */
  drain(): readonly DrainedRequest[];
  /** Events that wait or are on the wire. */
  readonly pending: number;
  /** `close()` was called. */
  readonly isClosed: boolean;
}

/** A request that delivers drained events; sending it twice is harmless. */
export interface DrainedRequest {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  readonly events: number;
}
