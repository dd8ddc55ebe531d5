import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface ModelRequest {
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: {
    readonly model: string;
    readonly stream?: boolean;
    readonly stream_options?: object;
    readonly messages?: readonly { readonly role: string; readonly content: unknown }[];
    readonly tools?: readonly unknown[];
  };
}
export interface Answer {
  readonly content?: string;
  readonly toolCalls?: readonly { readonly id: string; readonly name: string; readonly args: object }[];
  readonly error?: { readonly status: number; readonly code: string; readonly message: string; readonly headers?: Record<string, string> };
}
export type StubEvent = Record<string, unknown> & {
  readonly type: string;
  readonly run_id: string;
  readonly metadata: Record<string, unknown>;
};

/**
 * A gateway and a provider at once, for tests of what goes over the wire: it answers chat completions and responses,
 * plain and streamed, and agent events, and notes all it gets. What it decides is the test's.
 */
export interface StubServer {
  readonly url: string;
  readonly requests: ModelRequest[];
  readonly events: StubEvent[];
  close(): Promise<void>;
}

const USAGE = {
  prompt_tokens: 10,
  completion_tokens: 5,
  total_tokens: 15,
  prompt_tokens_details: { cached_tokens: 2 },
  completion_tokens_details: { reasoning_tokens: 1 },
};

export async function startStub(
  options: {
    readonly answer?: (request: ModelRequest, count: number) => Answer | Promise<Answer>;
    readonly deny?: (event: StubEvent) => { code: string; status: number; message: string } | undefined;
  } = {},
): Promise<StubServer> {
  const requests: ModelRequest[] = [];
  const events: StubEvent[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const body = JSON.parse(Buffer.concat(chunks).toString() || '{}') as never;
      const path = request.url ?? '';
      if (path.startsWith('/v1/agent/events')) {
        takeEvents(body, response);
        return;
      }
      const seen: ModelRequest = { path, headers: request.headers, body };
      requests.push(seen);
      void Promise.resolve(options.answer?.(seen, requests.length) ?? {}).then((answer) => sendAnswer(seen, answer, response));
    });
  });

  function takeEvents(body: { readonly events?: readonly StubEvent[] } & StubEvent, response: ServerResponse): void {
    const batch = body.events ?? [body];
    events.push(...batch);
    const denial = batch.map((event) => options.deny?.(event)).find((found) => found !== undefined);
    if (denial !== undefined) {
      sendJson(response, denial.status, { error: { message: denial.message, type: 'policy_error', param: null, code: denial.code } });
      return;
    }
    sendJson(response, 202, { accepted: batch.length, rejected: 0, allowed: true, decisions: [] });
  }

  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    events,
    close: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

function sendJson(response: ServerResponse, status: number, body: unknown, headers: Record<string, string> = {}): void {
  response.writeHead(status, { 'content-type': 'application/json', 'x-runpurse-request-id': 'req_1', ...headers });
  response.end(JSON.stringify(body));
}

function sendAnswer({ path, body }: ModelRequest, answer: Answer, response: ServerResponse): void {
  const { error, content = 'ok', toolCalls = [] } = answer;
  if (error !== undefined) {
    sendJson(
      response,
      error.status,
      { error: { message: error.message, type: 'server_error', param: null, code: error.code } },
      error.headers,
    );
    return;
  }
  if (path.endsWith('/responses')) sendResponses(body, content, response);
  else sendCompletion(body, content, toolCalls, response);
}

function sendCompletion(
  body: ModelRequest['body'],
  content: string,
  toolCalls: NonNullable<Answer['toolCalls']>,
  response: ServerResponse,
): void {
  const calls = toolCalls.map(({ id, name, args }) => ({ id, type: 'function', function: { name, arguments: JSON.stringify(args) } }));
  const message = { role: 'assistant', ...(calls.length > 0 ? { content: null, tool_calls: calls } : { content }) };
  const finish = calls.length > 0 ? 'tool_calls' : 'stop';
  const frame = { id: `chatcmpl-${crypto.randomUUID()}`, created: 1, model: `${body.model}-2026` };
  if (body.stream !== true) {
    sendJson(response, 200, { ...frame, object: 'chat.completion', choices: [{ index: 0, message, finish_reason: finish }], usage: USAGE });
    return;
  }
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  const send = (choices: unknown, usage?: unknown): void =>
    void response.write(
      `data: ${JSON.stringify({ ...frame, object: 'chat.completion.chunk', choices, ...(usage !== undefined && { usage }) })}\n\n`,
    );
  send([
    {
      index: 0,
      delta: calls.length > 0 ? { role: 'assistant', tool_calls: calls.map((call, index) => ({ index, ...call })) } : message,
      finish_reason: null,
    },
  ]);
  send([{ index: 0, delta: {}, finish_reason: finish }]);
  if (body.stream_options !== undefined) send([], USAGE);
  response.end('data: [DONE]\n\n');
}

function sendResponses(body: ModelRequest['body'], content: string, response: ServerResponse): void {
  const output = [
    {
      type: 'message',
      id: 'msg_1',
      role: 'assistant',
      status: 'completed',
      content: [{ type: 'output_text', text: content, annotations: [] }],
    },
  ];
  const usage = {
    input_tokens: 10,
    output_tokens: 5,
    total_tokens: 15,
    input_tokens_details: { cached_tokens: 2 },
    output_tokens_details: { reasoning_tokens: 1 },
  };
  const whole = { id: 'resp_1', object: 'response', created_at: 1, model: `${body.model}-2026`, status: 'completed', output, usage };
  if (body.stream !== true) {
    sendJson(response, 200, whole);
    return;
  }
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  const send = (type: string, fields: object): void =>
    void response.write(`event: ${type}\ndata: ${JSON.stringify({ type, ...fields })}\n\n`);
  send('response.created', { response: { ...whole, status: 'in_progress', output: [], usage: null } });
  send('response.output_text.delta', { item_id: 'msg_1', output_index: 0, content_index: 0, delta: content });
  send('response.completed', { response: whole });
  response.end();
}
