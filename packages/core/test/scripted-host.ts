import type { GatewayClientOptions, Ids, Problem, Timers, Transport, TransportRequest, TransportResponse } from '../src/index.ts';

/** A clock that tests turn: `sleep` resolves when `advance` has reached its time. */
export class TurnedTimers implements Timers {
  #now = Date.UTC(2026, 10, 24, 12);
  #sleepers: { at: number; wake: () => void }[] = [];
  readonly slept: number[] = [];

  now(): number {
    return this.#now;
  }

  sleep(ms: number): Promise<void> {
    this.slept.push(ms);
    return new Promise((wake) => this.#sleepers.push({ at: this.#now + ms, wake }));
  }

  async advance(ms: number): Promise<void> {
    const until = this.#now + ms;
    for (;;) {
      await settle();
      const next = this.#sleepers.filter(({ at }) => at <= until).sort((a, b) => a.at - b.at)[0];
      if (next === undefined) break;
      this.#now = Math.max(this.#now, next.at);
      this.#sleepers = this.#sleepers.filter((sleeper) => sleeper !== next);
      next.wake();
    }
    this.#now = until;
    await settle();
  }
}

/** Lets promises that are already resolvable run. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 50; turn += 1) await Promise.resolve();
}

export function countedIds(): Ids {
  let count = 0;
  return { next: (prefix) => `${prefix}_${(count += 1)}` };
}

export type SentEvent = Readonly<Record<string, unknown>> & {
  readonly event_id: string;
  readonly type: string;
  readonly metadata: Readonly<Record<string, unknown>>;
};

/** What a scripted gateway does with a request: a reply, or an error as of a broken network. */
export type Reply = TransportResponse | Error;

export const accepted: TransportResponse = {
  status: 202,
  headers: {},
  body: JSON.stringify({ accepted: 1, rejected: 0, allowed: true, decisions: [] }),
};

export function refused(status: number, code: string, fields: object = {}, headers: Record<string, string> = {}): TransportResponse {
  return { status, headers, body: JSON.stringify({ error: { message: `no: ${code}`, type: 'x', param: null, code, ...fields } }) };
}

/** A transport whose replies a test scripts, and that remembers what was sent. */
export class ScriptedTransport implements Transport {
  readonly requests: TransportRequest[] = [];
  reply: (request: TransportRequest, events: readonly SentEvent[]) => Reply | Promise<Reply> = () => accepted;

  async send(request: TransportRequest): Promise<TransportResponse> {
    this.requests.push(request);
    const reply = await this.reply(request, eventsOf(request));
    if (reply instanceof Error) throw reply;
    return reply;
  }

  get events(): readonly SentEvent[] {
    return this.requests.flatMap(eventsOf);
  }
}

export function eventsOf({ body }: TransportRequest): readonly SentEvent[] {
  if (body === undefined) return [];
  const parsed = JSON.parse(body) as { events?: SentEvent[] };
  return parsed.events ?? [parsed as unknown as SentEvent];
}

export interface ScriptedHost {
  readonly options: GatewayClientOptions;
  readonly transport: ScriptedTransport;
  readonly timers: TurnedTimers;
  readonly problems: Problem[];
}

export const API_KEY = 'vk-test-0123456789abcdef';

/** Everything a client needs, under the test's control. */
export function scriptedHost(overrides: Partial<GatewayClientOptions> = {}): ScriptedHost {
  const transport = new ScriptedTransport();
  const timers = new TurnedTimers();
  const problems: Problem[] = [];
  return {
    transport,
    timers,
    problems,
    options: {
      baseUrl: 'http://gateway.test',
      apiKey: API_KEY,
      transport,
      timers,
      ids: countedIds(),
      source: 'toy',
      onProblem: (problem) => problems.push(problem),
      ...overrides,
    },
  };
}
