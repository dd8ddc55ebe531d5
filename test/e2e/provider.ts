import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/** A call as the provider got it. `cut`: the other side hung up before the answer was through. */
export interface ProviderCall {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  /** Header names and values as they stood on the wire. */
  readonly rawHeaders: readonly string[];
  readonly text: string;
  readonly body: Readonly<Record<string, unknown>>;
  cut: boolean;
}

/** What the provider does with one call. */
export type Answer = (response: ServerResponse) => Promise<void> | void;

/** A provider that gives the queued answers, one per call, and keeps what it was sent. */
export interface StubProvider {
  readonly url: string;
  readonly calls: readonly ProviderCall[];
  /** Queues answers; a call without one gets a 500 that says so. */
  will(...answers: readonly Answer[]): void;
  /** Forgets calls and answers. */
  reset(): void;
  close(): Promise<void>;
}

export async function startProvider(): Promise<StubProvider> {
  const calls: ProviderCall[] = [];
  const answers: Answer[] = [];
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const text = Buffer.concat(chunks).toString('utf8');
    const call: ProviderCall = {
      method: request.method ?? '',
      path: request.url ?? '',
      headers: request.headers,
      rawHeaders: request.rawHeaders,
      text,
      body: text === '' ? {} : (JSON.parse(text) as Record<string, unknown>),
      cut: false,
    };
    calls.push(call);
    response.on('close', () => {
      call.cut = !response.writableFinished;
    });
    await (answers.shift() ?? json(500, { error: { message: `nothing queued for ${call.path}` } }))(response);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    calls,
    will: (...more) => void answers.push(...more),
    reset: () => {
      calls.length = 0;
      answers.length = 0;
    },
    close: async () => {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

export function json(status: number, body: object, headers: Readonly<Record<string, string>> = {}): Answer {
  return (response) => {
    response.writeHead(status, { 'content-type': 'application/json', ...headers });
    response.end(JSON.stringify(body));
  };
}

/** Server-sent events, one write each; then the stream `end`s as it should, `hang`s, or is `cut` off. */
export function stream(frames: readonly string[], then: 'end' | 'hang' | 'cut' = 'end'): Answer {
  return async (response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream', 'x-request-id': 'provider-1' });
    for (const frame of frames) {
      response.write(frame);
      await sleep(2);
    }
    if (then === 'end') response.end();
    if (then === 'cut') response.destroy();
  };
}

/** Closes the connection before the first byte. */
export const cut: Answer = (response) => {
  response.destroy();
};

/** Never answers. */
export const hang: Answer = () => {};

/** Answers only once it is told to. */
export function held(answer: Answer): { readonly answer: Answer; release(): void } {
  const { promise, resolve } = Promise.withResolvers<void>();
  return { answer: (response) => promise.then(() => answer(response)), release: resolve };
}
