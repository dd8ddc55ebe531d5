import { connect, type Socket } from 'node:net';
import { ResponseReader } from './response-reader.ts';

/**
 * The load generator: raw keep-alive sockets that write prepared bytes and look only for the end of each reply, in a
 * process of its own. A general HTTP client would cost more per request than the proxies under test. One job at a time,
 * asked for and answered over the process channel.
 */
export interface LoadJob {
  readonly port: number;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  readonly connections: number;
  /** Measured time; requests that end later do not count. */
  readonly milliseconds: number;
  /** Load before the measured time, not counted. */
  readonly warmupMilliseconds: number;
  /** Connections start spread over this time instead of at once. */
  readonly rampMilliseconds: number;
  /** Requests that share a run id; a run of a handful of calls is what agents do. */
  readonly requestsPerRun: number;
  /** Makes the run ids of two jobs differ. */
  readonly runPrefix: string;
}

export interface LoadResult {
  /** Answered within the measured time. */
  readonly requests: number;
  /** Answered at all, before and after it too. */
  readonly answered: number;
  readonly seconds: number;
  readonly failed: number;
  /** Status codes that were not 200, by count. */
  readonly statuses: Readonly<Record<string, number>>;
  readonly p50Micros: number;
  readonly p99Micros: number;
}

const RUN_DIGITS = 10;

/** What the official OpenAI client sends beside the call. */
const CLIENT_HEADERS = {
  accept: 'application/json',
  'user-agent': 'OpenAI/JS 6.9.1',
  'x-stainless-lang': 'js',
  'x-stainless-package-version': '6.9.1',
  'x-stainless-os': 'Linux',
  'x-stainless-arch': 'x64',
  'x-stainless-runtime': 'node',
  'x-stainless-runtime-version': 'v24.11.0',
  'x-stainless-retry-count': '0',
  'content-type': 'application/json',
};

class Connection {
  readonly #socket: Socket;
  readonly #request: Buffer;
  readonly #runAt: number;
  readonly #load: Load;
  #sent = 0;
  #sentAt = 0;

  constructor(load: Load, index: number) {
    this.#load = load;
    const { job } = load;
    const headers = Object.entries({
      ...CLIENT_HEADERS,
      ...job.headers,
      'content-length': String(Buffer.byteLength(job.body)),
    });
    const marker = '#'.repeat(RUN_DIGITS);
    const text = [
      `POST ${job.path} HTTP/1.1`,
      `host: 127.0.0.1:${job.port}`,
      ...headers.map(([name, value]) => `${name}: ${value}`),
      `alephant-run-id: ${job.runPrefix}-${index}-${marker}`,
      '',
      job.body,
    ];
    this.#request = Buffer.from(text.join('\r\n'));
    this.#runAt = this.#request.indexOf(marker);
    const reader = new ResponseReader((status) => {
      load.replied(performance.now() - this.#sentAt, status);
      if (load.isOpen) this.send();
      else this.close();
    });
    this.#socket = connect(job.port, '127.0.0.1');
    this.#socket.setNoDelay(true);
    this.#socket.on('data', (data) => reader.push(data));
    this.#socket.on('error', () => this.#socket.destroy());
    this.#socket.on('close', () => load.closed(this));
  }

  send(): void {
    if (this.#sent % this.#load.job.requestsPerRun === 0) {
      const run = String(Math.floor(this.#sent / this.#load.job.requestsPerRun)).padStart(RUN_DIGITS, '0');
      this.#request.write(run, this.#runAt, 'latin1');
    }
    this.#sent += 1;
    this.#sentAt = performance.now();
    this.#socket.write(this.#request);
  }

  close(): void {
    this.#socket.destroy();
  }
}

class Load {
  readonly job: LoadJob;
  isOpen = true;
  #measuring = false;
  #startedAt = 0;
  #seconds = 0;
  readonly #latencies: number[] = [];
  readonly #statuses: Record<string, number> = {};
  #broken = 0;
  #answered = 0;
  readonly #connections = new Set<Connection>();
  #done: (result: LoadResult) => void = () => {};

  constructor(job: LoadJob) {
    this.job = job;
  }

  run(): Promise<LoadResult> {
    const { job } = this;
    for (let index = 0; index < job.connections; index += 1) {
      const connection = new Connection(this, index);
      this.#connections.add(connection);
      const delay = (job.rampMilliseconds * index) / job.connections;
      if (delay === 0) connection.send();
      else setTimeout(() => this.isOpen && connection.send(), delay);
    }
    setTimeout(() => {
      this.#measuring = true;
      this.#startedAt = performance.now();
    }, job.warmupMilliseconds);
    setTimeout(() => this.#stop(), job.warmupMilliseconds + job.milliseconds);
    return new Promise((resolve) => (this.#done = resolve));
  }

  replied(milliseconds: number, status: number): void {
    this.#answered += 1;
    if (!this.#measuring) return;
    this.#latencies.push(milliseconds);
    if (status !== 200) this.#statuses[status] = (this.#statuses[status] ?? 0) + 1;
  }

  closed(connection: Connection): void {
    if (!this.#connections.delete(connection)) return;
    if (this.isOpen) {
      this.#broken += 1;
      const again = new Connection(this, this.job.connections + this.#broken);
      this.#connections.add(again);
      setTimeout(() => this.isOpen && again.send(), 10);
    }
  }

  /** What was sent must be answered before the result is told: the next job finds an idle server. */
  #stop(): void {
    this.#seconds = (performance.now() - this.#startedAt) / 1000;
    this.#measuring = false;
    this.isOpen = false;
    const deadline = performance.now() + 5000;
    const settle = () => {
      if (this.#connections.size > 0 && performance.now() < deadline) {
        setTimeout(settle, 10);
        return;
      }
      for (const connection of this.#connections) connection.close();
      this.#done(this.#result());
    };
    settle();
  }

  #result(): LoadResult {
    const sorted = Float64Array.from(this.#latencies).sort();
    const at = (share: number) => Math.round((sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0) * 1000);
    const failed = this.#broken + Object.values(this.#statuses).reduce((sum, count) => sum + count, 0);
    return {
      requests: sorted.length,
      answered: this.#answered,
      seconds: this.#seconds,
      failed,
      statuses: this.#statuses,
      p50Micros: at(0.5),
      p99Micros: at(0.99),
    };
  }
}

process.on('message', (job: LoadJob) => {
  void new Load(job).run().then((result) => process.send?.(result));
});
process.send?.('ready');
