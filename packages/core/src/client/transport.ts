/** One HTTP exchange with the gateway. `url` is absolute; header names are lower-case. */
export interface TransportRequest {
  readonly method: 'GET' | 'POST';
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  /** JSON text; absent with GET. */
  readonly body?: string | undefined;
  /** The transport must give up, and reject, after this many milliseconds. */
  readonly timeoutMs: number;
}

export interface TransportResponse {
  readonly status: number;
  /** Header names are lower-case. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/**
 * How core reaches the gateway: platforms bring their own HTTP client, `@runpurse/core/axios` brings axios.
 * `send` resolves with EVERY status, also 4xx and 5xx, follows no redirect (the key would travel along), and rejects only
 * when no answer came within `timeoutMs`.
 */
export interface Transport {
  send(request: TransportRequest): Promise<TransportResponse>;
}

/** The passing of time, injected: core itself holds no clock and no timer. */
export interface Timers {
  /** Epoch milliseconds. */
  now(): number;
  /** Must not keep a finished host process alive. */
  sleep(ms: number): Promise<void>;
}

/** Source of unique ids: `next('evt')` gives `evt_…`. Ids must be unique across processes, not only within one. */
export interface Ids {
  next(prefix: 'evt' | 'run' | 'step' | 'tool'): string;
}
