import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import { WIRE_REPLIES } from '../stub-model/replies.ts';
import { closeServer, readBody, sendAnswer, sendJson } from '../stub-model/server.ts';
import { eventLog, takeEvents, type Denial, type EventLog, type SentEvent } from './events.ts';

/** A model call as it arrived. */
export interface SentCall {
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: {
    readonly model: string;
    readonly stream?: boolean;
    readonly stream_options?: object;
    /** Of chat completions. */
    readonly messages?: readonly { readonly role: string; readonly content: unknown }[];
    /** Of Responses. */
    readonly input?: readonly object[];
    readonly tools?: readonly object[];
  };
}

/** What the stub answers to a model call: `ok` unless it says more. It always used 10 tokens, 2 of them cached, and 5, 1 of them reasoning. */
export interface StubAnswer {
  readonly content?: string;
  readonly toolCalls?: readonly { readonly id: string; readonly name: string; readonly args: object }[];
  /** Output items of Responses before the message, as tools at the provider make them. */
  readonly hosted?: readonly object[];
  readonly error?: { readonly status: number; readonly code: string; readonly message: string; readonly headers?: Record<string, string> };
}

export interface StubGatewayOptions {
  readonly answer?: ((call: SentCall, count: number) => StubAnswer | Promise<StubAnswer>) | undefined;
  readonly deny?: ((event: SentEvent) => Denial | undefined) | undefined;
}

/**
 * A gateway and a provider at once, for tests of what goes over the wire: it answers chat completions and Responses,
 * plain and streamed, and agent events, and notes all it gets. What it decides is the test's.
 */
export interface StubGateway extends EventLog {
  readonly url: string;
  readonly requests: SentCall[];
  close(): Promise<void>;
}

const USAGE = { input_tokens: 10, cached_tokens: 2, output_tokens: 5, reasoning_tokens: 1 };
const OURS = { 'x-runpurse-request-id': 'req_1' };

export async function startStubGateway({ answer, deny }: StubGatewayOptions = {}): Promise<StubGateway> {
  const requests: SentCall[] = [];
  const log = eventLog();
  const server = createServer((request, response) => {
    void readBody(request).then(async (body) => {
      const path = request.url ?? '';
      if (path.startsWith('/v1/agent/events')) {
        const taken = takeEvents(body, log, deny);
        return sendJson(response, taken?.status ?? 503, taken?.json ?? {}, OURS);
      }
      if (request.method !== 'POST') return sendJson(response, 404, { error: { message: `the stub has no ${path}` } });
      const call: SentCall = { path, headers: request.headers, body: JSON.parse(body || '{}') as SentCall['body'] };
      requests.push(call);
      const n = requests.length;
      const wire = WIRE_REPLIES[path];
      if (wire === undefined) return sendJson(response, 404, { error: { message: `the stub has no ${path}` } });
      const { content = 'ok', toolCalls = [], hosted, error } = (await answer?.(call, n)) ?? {};
      const tools = toolCalls.map(({ id, name, args }) => ({ id, name, arguments: { ...args } }));
      const reply = {
        ...(tools.length > 0 ? { tool_calls: tools } : { text: content }),
        hosted,
        usage: USAGE,
        error: error && { status: error.status, message: error.message, type: 'server_error', code: error.code },
      };
      return sendAnswer(response, wire, reply, { n, body, headers: { ...OURS, ...error?.headers }, nameOf: (model) => `${model}-2026` });
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    ...log,
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    close: () => closeServer(server),
  };
}

/** Where the attribution of a request's headers says it stands; header names in any case. */
export function standingOf(headers: Readonly<Record<string, unknown>> = {}): Record<string, string | undefined> {
  const lower = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));
  return Object.fromEntries(Object.entries(STANDING).map(([field, name]) => [field, lower[`alephant-${name}`] as string | undefined]));
}

const STANDING = {
  run: 'run-id',
  session: 'session-id',
  step: 'step-id',
  parent: 'parent-step-id',
  agent: 'agent-id',
  attempt: 'step-attempt',
  node: 'graph-node',
  customer: 'customer-id',
} as const;
