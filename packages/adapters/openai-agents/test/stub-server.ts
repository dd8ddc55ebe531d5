import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface ModelRequest {
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: {
    readonly model: string;
    readonly stream?: boolean;
    /** Of chat completions. */
    readonly messages?: readonly { readonly role: string; readonly content: unknown }[];
    /** Of Responses. */
    readonly input?: readonly object[];
    readonly tools?: readonly object[];
  };
}
export interface Answer {
  readonly content?: string;
  readonly toolCalls?: readonly { readonly id: string; readonly name: string; readonly args: object }[];
  /** Output items of Responses before the message, as tools at the provider make them. */
  readonly hosted?: readonly object[];
  readonly error?: { readonly status: number; readonly code: string; readonly message: string };
}
export type StubEvent = Record<string, unknown> & {
  readonly type: string;
  readonly run_id: string;
  readonly metadata: Record<string, unknown>;
};

/**
 * A gateway and a provider at once, for tests of what goes over the wire: it answers chat completions and Responses,
 * plain and streamed, and agent events, and notes all it gets. What it decides is the test's.
 */
export interface StubServer {
  readonly url: string;
  readonly requests: ModelRequest[];
  readonly events: StubEvent[];
  close(): Promise<void>;
}

export interface StubOptions {
  readonly answer?: (request: ModelRequest, count: number) => Answer | Promise<Answer>;
  readonly deny?: (event: StubEvent) => { code: string; status: number; message: string } | undefined;
}

export async function startStub({ answer = () => ({}), deny = () => undefined }: StubOptions = {}): Promise<StubServer> {
  const requests: ModelRequest[] = [];
  const events: StubEvent[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const body: unknown = JSON.parse(Buffer.concat(chunks).toString() || '{}');
      const path = request.url ?? '';
      if (path.startsWith('/v1/agent/events')) return takeEvents(body as StubEvent, response);
      const seen: ModelRequest = { path, headers: request.headers, body: body as ModelRequest['body'] };
      requests.push(seen);
      void Promise.resolve(answer(seen, requests.length)).then((given) => sendAnswer(seen, given, response));
    });
  });

  function takeEvents(body: StubEvent & { readonly events?: readonly StubEvent[] }, response: ServerResponse): void {
    const batch = body.events ?? [body];
    events.push(...batch);
    const denial = batch.map((event) => deny(event)).find((found) => found !== undefined);
    if (denial === undefined) return sendJson(response, 202, { accepted: batch.length, rejected: 0, allowed: true, decisions: [] });
    sendJson(response, denial.status, { error: { message: denial.message, type: 'policy_error', param: null, code: denial.code } });
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

function sendJson(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json', 'x-runpurse-request-id': 'req_1' });
  response.end(JSON.stringify(body));
}

function sendAnswer({ path, body }: ModelRequest, answer: Answer, response: ServerResponse): void {
  const { error } = answer;
  if (error !== undefined) {
    sendJson(response, error.status, { error: { message: error.message, type: 'server_error', param: null, code: error.code } });
  } else if (path.endsWith('/responses')) sendResponse(body, answer, response);
  else sendCompletion(body, answer, response);
}

function sendCompletion(
  { model, stream }: ModelRequest['body'],
  { content = 'ok', toolCalls = [] }: Answer,
  response: ServerResponse,
): void {
  const calls = toolCalls.map(({ id, name, args }) => ({ id, type: 'function', function: { name, arguments: JSON.stringify(args) } }));
  const message = { role: 'assistant', ...(calls.length > 0 ? { content: null, tool_calls: calls } : { content }) };
  const finish = calls.length > 0 ? 'tool_calls' : 'stop';
  const frame = { id: `chatcmpl-${crypto.randomUUID()}`, created: 1, model: `${model}-2026` };
  const usage = {
    prompt_tokens: 10,
    completion_tokens: 5,
    total_tokens: 15,
    prompt_tokens_details: { cached_tokens: 2 },
    completion_tokens_details: { reasoning_tokens: 1 },
  };
  if (stream !== true)
    return sendJson(response, 200, { ...frame, object: 'chat.completion', choices: [{ index: 0, message, finish_reason: finish }], usage });
  response.writeHead(200, { 'content-type': 'text/event-stream', 'x-runpurse-request-id': 'req_1' });
  const send = (choices: readonly object[], rest: object = {}): void =>
    void response.write(`data: ${JSON.stringify({ ...frame, object: 'chat.completion.chunk', choices, ...rest })}\n\n`);
  const delta = calls.length > 0 ? { role: 'assistant', tool_calls: calls.map((call, index) => ({ index, ...call })) } : message;
  send([{ index: 0, delta, finish_reason: null }]);
  send([{ index: 0, delta: {}, finish_reason: finish }]);
  send([], { usage });
  response.end('data: [DONE]\n\n');
}

function sendResponse({ model, stream }: ModelRequest['body'], answer: Answer, response: ServerResponse): void {
  const { content = 'ok', toolCalls = [], hosted = [] } = answer;
  const text = { type: 'output_text', text: content, annotations: [] };
  const message = { type: 'message', id: 'msg_1', role: 'assistant', status: 'completed', content: [text] };
  const calls = toolCalls.map(({ id, name, args }) => {
    return { type: 'function_call', id: `fc_${id}`, call_id: id, name, arguments: JSON.stringify(args), status: 'completed' };
  });
  const usage = {
    input_tokens: 10,
    output_tokens: 5,
    total_tokens: 15,
    input_tokens_details: { cached_tokens: 2 },
    output_tokens_details: { reasoning_tokens: 1 },
  };
  const output = [...hosted, ...(calls.length > 0 ? calls : [message])];
  const whole = { id: 'resp_1', object: 'response', created_at: 1, model: `${model}-2026`, status: 'completed', output, usage };
  if (stream !== true) return sendJson(response, 200, whole);
  response.writeHead(200, { 'content-type': 'text/event-stream', 'x-runpurse-request-id': 'req_1' });
  const send = (type: string, fields: object): void =>
    void response.write(`event: ${type}\ndata: ${JSON.stringify({ type, ...fields })}\n\n`);
  send('response.created', { response: { ...whole, status: 'in_progress', output: [], usage: null } });
  if (calls.length === 0) send('response.output_text.delta', { item_id: 'msg_1', output_index: 0, content_index: 0, delta: content });
  send('response.completed', { response: whole });
  response.end();
}
