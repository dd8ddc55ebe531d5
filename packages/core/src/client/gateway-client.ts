import { contextToHeaders } from '../attribution/headers.ts';
import type { AgentContext } from '../attribution/context.ts';
import type { Decision } from '../decisions/decision.ts';
import { GatewayUnavailableError, RunpurseError } from '../errors/runpurse-error.ts';
import type { AgentEvent, AgentEventInput } from '../events/agent-event.ts';
import { normalizeEvent } from '../events/normalize.ts';
import { EVENT_LIMITS } from '../events/raw-event.ts';
import { REDACTED, redactText } from '../events/redact.ts';
import { createRun } from '../run/create-run.ts';
import type { Run, RunOptions } from '../run/run.ts';
import { runShape, sessionShape, type RunShape, type SessionShape } from '../shapes/run.ts';
import type { DrainedRequest, FailurePolicy, GatewayClient, GatewayClientOptions, Problem } from './client.ts';
import { DIALECTS, type WireDialect } from './dialect.ts';
import { Outbox, bodyOf, waiting, type Waiting } from './outbox.ts';
import { readAnswer, readDelivery, readRefusal, type Answer, type Delivery } from './reply.ts';
import { trimMetadata } from './trim-metadata.ts';
import type { TransportResponse } from './transport.ts';

const TIMEOUT_MS = 5_000;
const QUEUE_MAX = 10_000;
const FLUSH_INTERVAL_MS = 1_000;
/** A question is asked once more when the first try was lost at once; its event id makes that harmless. */
const ASK_TRIES = 2;
/** After this many questions in a row without answer the gateway counts as away, and the host no longer waits for it … */
const AWAY_AFTER = 3;
/** … but for one question in so many milliseconds. */
const AWAY_MS = 2_000;
const CLOSE_TRIES = 3;
const CLOSE_PAUSE_MS = 250;
const MODEL_PATH = /\/+(?:v1\/*)?$/;

/** Makes the client every adapter stands on. Makes no call by itself. */
export function createGatewayClient(options: GatewayClientOptions): GatewayClient {
  return new HttpGatewayClient(options);
}

class HttpGatewayClient implements GatewayClient {
  readonly #options: GatewayClientOptions;
  readonly #baseUrl: string;
  readonly #dialect: WireDialect;
  readonly #policy: FailurePolicy;
  readonly #timeoutMs: number;
  readonly #outbox: Outbox;
  /** Held by the runs' handles: of a run that nobody ends only its id stays here. */
  readonly #toolIds = new Map<string, WeakRef<Set<string>>>();
  #isClosed = false;
  #unanswered = 0;
  #awayUntil = 0;

  constructor(options: GatewayClientOptions) {
    if (!/^https?:\/\//.test(options.baseUrl))
      throw new RunpurseError(
        'invalid_option',
        `baseUrl must begin with http:// or https://, not ${JSON.stringify(redactText(options.baseUrl))}.`,
      );
    if (options.apiKey.trim() === '')
      throw new RunpurseError('invalid_option', 'apiKey is empty. Create a virtual key with `runpurse keys create`.');
    this.#options = options;
    this.#baseUrl = options.baseUrl.replace(MODEL_PATH, '');
    this.#dialect = DIALECTS[options.dialect ?? 'runpurse'];
    this.#policy = { events: 'open', authorize: options.failurePolicy?.authorize ?? 'open' };
    this.#timeoutMs = options.timeoutMs ?? TIMEOUT_MS;
    this.#outbox = new Outbox({
      timers: options.timers,
      random: options.random ?? (() => 1),
      maxQueue: Math.max(1, options.maxQueue ?? QUEUE_MAX),
      batchEvents: Math.min(EVENT_LIMITS.batchEvents, Math.max(1, options.batchEvents ?? EVENT_LIMITS.batchEvents)),
      flushIntervalMs: options.flushIntervalMs ?? FLUSH_INTERVAL_MS,
      send: (batch) => this.#deliver(batch),
      onProblem: (problem) => this.#report(problem),
    });
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  get pending(): number {
    return this.#outbox.pending;
  }

  run(context: RunOptions = {}): Run {
    return createRun(context, {
      ids: this.#options.ids,
      asksCarriedCalls: this.#dialect.asksCarriedCalls,
      wireStepId: (stepId, attempt) => this.#dialect.stepId(stepId, attempt),
      record: (event) => this.record(event),
      ask: (event) => this.ask(event),
      deliver: (runId) => this.#outbox.deliverLane(runId),
      isPaused: (runId) =>
        this.readRun(runId).then(
          (run) => run?.status === 'paused',
          () => true,
        ),
      toolIds: (runId) => this.#toolIdsOf(runId),
      forget: (runId) => this.#toolIds.delete(runId),
      onProblem: (problem) => this.#report(problem),
    });
  }

  #toolIdsOf(runId: string): Set<string> {
    const known = this.#toolIds.get(runId)?.deref();
    if (known !== undefined) return known;
    const ids = new Set<string>();
    this.#toolIds.set(runId, new WeakRef(ids));
    return ids;
  }

  record(input: AgentEventInput): void {
    if (this.#isClosed) {
      this.#report({ code: 'client_closed', events: 1, message: `An event of type ${input.type} came after close() and is lost.` });
      return;
    }
    const event = this.#complete(input);
    if (event !== undefined) this.#enqueue(event);
  }

  async ask(input: AgentEventInput): Promise<Decision> {
    const event = this.#complete(input);
    if (event === undefined) return this.#unavailable('the event could not be read');
    const { timers } = this.#options;
    const isAway = this.#unanswered >= AWAY_AFTER && timers.now() < this.#awayUntil;
    if (isAway) return this.#unanswerable(event, 'it did not answer the last questions');
    if (this.#unanswered >= AWAY_AFTER) this.#awayUntil = timers.now() + AWAY_MS;
    // While a settlement waits, the gateway counts a hold that is none any more.
    if (!this.#outbox.isFailing) await this.#outbox.deliverLane(event.run_id ?? '');

    const answer = await this.#question(event);
    if (answer.type === 'fault') {
      this.#unanswered += 1;
      this.#awayUntil = timers.now() + AWAY_MS;
      return this.#unanswerable(event, answer.message);
    }
    this.#unanswered = 0;
    return answer.type === 'allowed' ? { ...answer, proceed: true } : { ...answer, proceed: false };
  }

  async flush(): Promise<number> {
    await this.#outbox.deliver();
    return this.#outbox.pending;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    for (let attempt = 1; (await this.flush()) > 0 && attempt < CLOSE_TRIES; attempt += 1) await this.#pause(CLOSE_PAUSE_MS * attempt);
    const lost = this.#outbox.drain().reduce((sum, batch) => sum + batch.length, 0);
    this.#outbox.reportDropped();
    if (lost > 0)
      this.#report({
        code: 'events_dropped',
        events: lost,
        message: `${lost} events could not be delivered before the client closed; the gateway was not reachable.`,
      });
  }

  drain(): readonly DrainedRequest[] {
    return this.#outbox.drain().map((batch) => ({
      url: this.#baseUrl + this.#dialect.reportPath,
      headers: this.#headers(batch),
      body: bodyOf(batch),
      events: batch.length,
    }));
  }

  headers(context: AgentContext): Record<string, string> {
    return contextToHeaders(context);
  }

  readRun(runId: string): Promise<RunShape | undefined> {
    return this.#read(`/v1/runs/${encodeURIComponent(runId)}`, runShape);
  }

  readSession(sessionId: string): Promise<SessionShape | undefined> {
    return this.#read(`/v1/sessions/${encodeURIComponent(sessionId)}`, sessionShape);
  }

  /** The event in canonical form, without secrets and within the protocol's limits. */
  #complete(input: AgentEventInput): AgentEvent | undefined {
    try {
      const stated: AgentEventInput = { event_source_trust: 'adapter_detected', source: this.#options.source, ...input };
      const normalized = normalizeEvent(stated, {
        // What has its sender's own id may be told by several processes: by their clocks its copies would contradict each other.
        receivedAt: stated.event_id === undefined ? new Date(this.#options.timers.now()).toISOString() : '',
        eventId: () => this.#options.ids.next('evt'),
      });
      if (normalized.type === 'invalid') {
        this.#report({
          code: 'event_invalid',
          events: 1,
          message: `An event of type ${input.type} is lost: ${normalized.path} ${normalized.message}.`,
        });
        return undefined;
      }
      if (normalized.ignored.length > 0) {
        this.#report({
          code: 'event_invalid',
          message: `In an event of type ${input.type} these could not be read and mean nothing: ${normalized.ignored.join(', ')}.`,
        });
      }
      const { metadata, wasTrimmed } = trimMetadata(normalized.event.metadata);
      if (wasTrimmed)
        this.#report({ code: 'metadata_trimmed', message: `The metadata of an event of type ${input.type} was too long and was cut.` });
      return { ...normalized.event, metadata };
    } catch (error) {
      this.#report({ code: 'event_invalid', events: 1, message: `An event is lost, it could not be read: ${this.#safe(error)}.` });
      return undefined;
    }
  }

  #enqueue(event: AgentEvent): void {
    this.#outbox.add(this.#waiting(event));
  }

  /** The event as text; our own key is never in it, wherever the host may have put it. */
  #waiting(event: AgentEvent): Waiting {
    const entry = waiting(event, this.#dialect.write(event));
    if (!entry.json.includes(this.#options.apiKey)) return entry;
    return waiting(event, JSON.parse(entry.json.replaceAll(this.#options.apiKey, REDACTED)) as object);
  }

  async #question(event: AgentEvent): Promise<Answer> {
    const entry = this.#waiting(event);
    const began = this.#options.timers.now();
    for (let attempt = 1; ; attempt += 1) {
      const answer = await this.#exchange('POST', this.#dialect.askPath, entry.json, [entry]).then(
        readAnswer,
        (error: unknown): Answer => ({ type: 'fault', message: this.#safe(error) }),
      );
      const isLate = this.#options.timers.now() - began > this.#timeoutMs / 2;
      if (answer.type !== 'fault' || attempt >= ASK_TRIES || isLate) return answer;
    }
  }

  #deliver(batch: readonly Waiting[]): Promise<Delivery> {
    return this.#exchange('POST', this.#dialect.reportPath, bodyOf(batch), batch).then(
      (response) => {
        this.#unanswered = 0;
        return readDelivery(response);
      },
      (error: unknown): Delivery => ({ type: 'later', message: this.#safe(error) }),
    );
  }

  async #exchange(method: 'GET' | 'POST', path: string, body: string | undefined, about: readonly Waiting[]): Promise<TransportResponse> {
    return this.#options.transport.send({
      method,
      url: this.#baseUrl + path,
      headers: this.#headers(about),
      body,
      timeoutMs: this.#timeoutMs,
    });
  }

  #headers(about: readonly Waiting[]): Record<string, string> {
    return {
      authorization: `Bearer ${this.#options.apiKey}`,
      accept: 'application/json',
      'content-type': 'application/json',
      ...this.#dialect.headers(about),
    };
  }

  async #read<Shape>(path: string, shape: { parse(value: unknown): Shape }): Promise<Shape | undefined> {
    if (!this.#dialect.hasReads) throw new RunpurseError('not_supported', 'A plain Alephant gateway has no reads of runs and sessions.');
    const response = await this.#exchange('GET', path, undefined, []).catch((error: unknown) => {
      throw new GatewayUnavailableError(`The gateway could not be reached: ${this.#safe(error)}.`);
    });
    if (response.status === 404) return undefined;
    let body: unknown;
    try {
      body = JSON.parse(response.body);
      if (response.status === 200) return shape.parse(body);
    } catch {
      throw new GatewayUnavailableError(`The gateway answered ${response.status} to GET ${path} with something that can't be read.`);
    }
    const refusal = readRefusal(response.status, body);
    throw refusal === undefined || response.status >= 500
      ? new GatewayUnavailableError(`The gateway answered ${response.status} to GET ${path}.`)
      : new RunpurseError(refusal.code, refusal.message);
  }

  /** No answer: under `open` the event is still delivered later, so that the trace is whole; under `closed` nothing happened. */
  #unanswerable(event: AgentEvent, message: string): Decision {
    if (this.#policy.authorize === 'open' && !this.#isClosed) this.#enqueue(event);
    return this.#unavailable(message);
  }

  #unavailable(message: string): Decision {
    const proceed = this.#policy.authorize === 'open';
    const error = new GatewayUnavailableError(
      `The gateway could not be asked: ${message}. ${proceed ? 'The call goes on without a decision (failure policy "open").' : 'The call is not made (failure policy "closed").'}`,
    );
    this.#report({ code: 'gateway_unavailable', message: error.message });
    return { type: 'unavailable', proceed, error };
  }

  /** What a fault says, without the secrets that HTTP clients like to put into their errors. Never the error itself. */
  #safe(error: unknown): string {
    const said = error instanceof Error ? error.message : String(error);
    const code = typeof error === 'object' && error !== null && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
    const text = code === undefined || said.includes(code) ? said : `${code} ${said}`;
    return redactText(text.replaceAll(this.#options.apiKey, REDACTED)).slice(0, 300);
  }

  #report(problem: Problem): void {
    try {
      this.#options.onProblem?.(problem);
    } catch {
      // The host's listener failed; that is no reason to fail the host's run.
    }
  }

  async #pause(ms: number): Promise<void> {
    try {
      await this.#options.timers.sleep(ms);
    } catch {
      // A host that is ending may have no timers left; the next attempt follows at once.
    }
  }
}
