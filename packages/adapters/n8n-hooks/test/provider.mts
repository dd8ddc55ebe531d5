import { once } from 'node:events';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';

/** Every model provider in one: a call has 1000 tokens in and 100 out, told as each provider tells it. */
export interface Provider {
  /** Without `/v1`. */
  readonly url: string;
  /** Model calls so far, failed ones too. */
  calls(): number;
  /** The next calls fail. */
  failNext(times: number): void;
  stop(): void;
}

export async function startProvider(): Promise<Provider> {
  let calls = 0;
  let failures = 0;
  const server = createServer((request, response) => {
    void bodyOf(request).then((body) => {
      response.setHeader('content-type', 'application/json');
      const answer = ANSWERS.find(([path]) => request.url?.includes(path) === true)?.[1];
      if (answer === undefined) return response.end('{"status":"delivered","data":[],"results":[{"flagged":false}]}');
      calls += 1;
      if (failures > 0) {
        failures -= 1;
        response.statusCode = 400;
        return response.end('{"error":{"message":"not now"}}');
      }
      const asked = JSON.parse(body) as Asked;
      const said = answer(asked, calls);
      if (asked.stream !== true) return response.end(JSON.stringify(said));
      response.setHeader('content-type', 'text/event-stream');
      return response.end(streamOf(said as Completion));
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    calls: () => calls,
    failNext: (times) => (failures = times),
    stop: () => server.close(),
  };
}

interface Asked {
  readonly stream?: boolean;
  readonly tools?: readonly unknown[];
  readonly messages: readonly { readonly role: string }[];
}

const ANSWERS: readonly (readonly [path: string, answer: (asked: Asked, call: number) => object])[] = [
  ['/chat/completions', chat],
  [
    '/responses',
    () => ({
      id: 'r',
      object: 'response',
      model: 'gpt-x',
      status: 'completed',
      error: null,
      output: [{ type: 'message', role: 'assistant', content: [{ type: 'output_text', text: 'It was delivered.' }] }],
      usage: {
        input_tokens: 1000,
        input_tokens_details: { cached_tokens: 400 },
        output_tokens: 100,
        output_tokens_details: { reasoning_tokens: 50 },
      },
    }),
  ],
  [
    '/messages',
    () => ({
      id: 'm',
      type: 'message',
      role: 'assistant',
      model: 'claude-x',
      content: [{ type: 'text', text: 'It was delivered.' }],
      stop_reason: 'end_turn',
      usage: { input_tokens: 1000, output_tokens: 100 },
    }),
  ],
  [
    ':generateContent',
    () => ({
      candidates: [{ content: { role: 'model', parts: [{ text: 'It was delivered.' }] }, finishReason: 'STOP' }],
      usageMetadata: { promptTokenCount: 1000, candidatesTokenCount: 60, thoughtsTokenCount: 40 },
    }),
  ],
  [
    '/api/chat',
    () => ({ model: 'llama-x', message: { role: 'assistant', content: 'It was delivered.' }, prompt_eval_count: 1000, eval_count: 100 }),
  ],
  ['/images/generations', () => ({ data: [{ url: 'https://images.test/1.png' }] })],
];

function chat({ tools = [], messages }: Asked, call: number): object {
  const wanted = { id: `c${call}`, type: 'function', function: { name: 'order_lookup', arguments: '{"query":"7"}' } };
  const asks = tools.length > 0 && !messages.some(({ role }) => role === 'tool');
  const message = {
    role: 'assistant',
    ...(asks ? { content: null, tool_calls: [wanted] } : { content: textFor(JSON.stringify(messages)) }),
  };
  return {
    id: 'x',
    object: 'chat.completion',
    model: 'gpt-x',
    choices: [{ index: 0, message, finish_reason: asks ? 'tool_calls' : 'stop' }],
    usage: { prompt_tokens: 1000, completion_tokens: 100, total_tokens: 1100 },
  };
}

/** A ReAct agent gives its model no tools, and reads what to run out of the text. */
function textFor(conversation: string): string {
  if (!conversation.includes('Final Answer:')) return 'It was delivered.';
  if (conversation.includes('your previous work')) return 'Final Answer: It was delivered.';
  return 'Action:\n```json\n{"action":"order_lookup","action_input":"2+40"}\n```';
}

interface Completion {
  readonly choices: readonly { readonly message: { readonly tool_calls?: readonly object[] }; readonly finish_reason: string }[];
  readonly usage: object;
}

/** A chat completion in pieces. */
function streamOf({ choices: [choice], usage, ...common }: Completion): string {
  const { tool_calls: calls, ...message } = choice?.message ?? {};
  const delta = { ...message, ...(calls && { tool_calls: calls.map((call, index) => ({ index, ...call })) }) };
  const piece = (choices: readonly object[], more: object = {}): string =>
    `data: ${JSON.stringify({ ...common, object: 'chat.completion.chunk', choices, ...more })}\n\n`;
  const finish = { index: 0, delta: {}, finish_reason: choice?.finish_reason };
  return `${piece([{ index: 0, delta, finish_reason: null }])}${piece([finish])}${piece([], { usage })}data: [DONE]\n\n`;
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  let body = '';
  for await (const chunk of request) body += String(chunk);
  return body;
}
