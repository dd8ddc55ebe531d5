import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ScriptedReply } from '../scenario.ts';
import { WIRE_REPLIES, type Reply, type WireReply } from './replies.ts';

/** One call as the scripted model saw it. */
export interface SeenCall {
  readonly path: string;
  readonly headers: NodeJS.Dict<string | string[]>;
  readonly body: string;
}

/** The provider every scenario runs against: answers by script, counts each call and keeps what it was sent. */
export interface StubModel {
  /** Without path. */
  readonly url: string;
  readonly calls: readonly SeenCall[];
  close(): Promise<void>;
}

export interface StubModelOptions {
  /** Told when call `n` (from 1) has arrived, before it is answered. */
  onCall?(n: number): void;
  /** Told when call `n` has been answered in full. */
  onAnswered?(n: number): void | Promise<void>;
}

/** Starts the scripted model on a free port of the loopback interface. */
export async function startStubModel(script: readonly ScriptedReply[], options: StubModelOptions = {}): Promise<StubModel> {
  const calls: SeenCall[] = [];

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = request.url ?? '/';
    const body = await readBody(request);
    const wire = WIRE_REPLIES[path];
    if (request.method !== 'POST' || wire === undefined)
      return sendError(response, 404, `the scripted model has no ${request.method} ${path}`);
    calls.push({ path, headers: request.headers, body });
    const n = calls.length;
    options.onCall?.(n);
    const reply = script[n - 1];
    if (reply === undefined) return sendError(response, 400, `call ${n} is not in the script of ${script.length}`);
    await sleep(reply.delay_ms);
    // The hook runs before the last byte leaves: who reads the answer to its end finds the hook's work done.
    await sendAnswer(response, wire, reply, { n, body, answered: async () => options.onAnswered?.(n) });
  }

  const server = createServer((request, response) => {
    answer(request, response).catch((error: unknown) => response.destroy(error as Error));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    calls,
    close: () => closeServer(server),
  };
}

/** Closes a server at once, open connections and all. */
export async function closeServer(server: Server): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  server.closeAllConnections();
  await closed;
}

/** The whole body as text. */
export async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('utf8');
}

interface SendOptions {
  readonly n: number;
  readonly body: string;
  readonly answered?: () => Promise<void>;
  readonly headers?: Readonly<Record<string, string>>;
  /** What the model that was asked for calls itself in its answer. */
  readonly nameOf?: (model: string) => string;
}

/** A reply, or how a call fails. */
export type Answer = Reply & Pick<ScriptedReply, 'error' | 'hang'>;

/** Answers a model call on its wire, whole or streamed as it asks. `answered`: told before the last byte leaves. */
export async function sendAnswer(response: ServerResponse, wire: WireReply, reply: Answer, options: SendOptions): Promise<void> {
  const { n, body, answered, headers = {}, nameOf = (model) => model } = options;
  if (reply.error !== undefined) {
    const { status, ...error } = reply.error;
    await answered?.();
    return sendJson(response, status, { error: { ...error, param: null } }, headers);
  }
  const asked = JSON.parse(body) as { model?: string; stream?: boolean; stream_options?: { include_usage?: boolean } };
  const call = {
    id: `reply${n}`,
    model: nameOf(asked.model ?? ''),
    streamUsage: asked.stream_options?.include_usage === true,
    createdAt: 1_780_000_000 + n,
  };
  if (asked.stream !== true) {
    if (reply.hang === true) return;
    await answered?.();
    return sendJson(response, 200, wire.body(reply, call), headers);
  }
  const frames = wire.frames(reply, call);
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache', ...headers });
  for (const [index, frame] of frames.entries()) {
    if (reply.hang === true && index === wire.framesToFirstText) return;
    if (index === frames.length - 1) await answered?.();
    response.write(frame);
    await sleep(1);
  }
  response.end();
}

function sendError(response: ServerResponse, status: number, message: string): void {
  sendJson(response, status, { error: { message, type: 'invalid_request_error', param: null, code: null } });
}

/** Answers with JSON. */
export function sendJson(response: ServerResponse, status: number, json: object, headers: Readonly<Record<string, string>> = {}): void {
  const body = JSON.stringify(json);
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body), ...headers });
  response.end(body);
}
