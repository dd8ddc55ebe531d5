import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/** What is read of a chat completion's request. */
export interface Asked {
  readonly model: string;
  readonly n?: number;
  readonly stream?: boolean;
  readonly messages: readonly { readonly role: string }[];
}

/** What a provider answers: an error's status, or tool calls or text with exactly the ids and the usage given. */
export interface Answer {
  readonly status?: number;
  readonly calls?: readonly { readonly id: string; readonly name: string }[];
  readonly usage?: object;
  readonly text?: string;
  readonly delayMs?: number;
}

export interface Provider {
  /** Without path. */
  readonly url: string;
  readonly asked: readonly Asked[];
  /** How it answers from now on, told how often it was asked since. */
  answers(answer: (asked: Asked, count: number) => Answer): void;
  close(): Promise<void>;
}

/** An OpenAI-compatible provider that also does what no well-behaved one does. Unless told otherwise a call costs $0.002. */
export async function startProvider(): Promise<Provider> {
  const asked: Asked[] = [];
  let answer: (asked: Asked, count: number) => Answer = () => ({});
  const server = createServer((request, response) => {
    void (async () => {
      let text = '';
      for await (const chunk of request) text += String(chunk);
      const body = JSON.parse(text) as Asked;
      asked.push(body);
      const { status = 200, calls, text: content = 'done', usage = USAGE, delayMs = 0 } = answer(body, asked.length);
      await sleep(delayMs);
      const type = { 'content-type': body.stream === true ? 'text/event-stream' : 'application/json' };
      response.writeHead(status, status === 200 ? type : { 'content-type': 'application/json' });
      if (status !== 200) return response.end(JSON.stringify({ error: { message: 'failed', type: 'server_error' } }));
      const said = calls === undefined ? { content } : { content: null, tool_calls: calls.map(toolCall) };
      const about = { id: `reply${asked.length}`, created: 1, model: body.model };
      const choice = { index: 0, finish_reason: calls === undefined ? 'stop' : 'tool_calls' };
      const message = { role: 'assistant', ...said };
      if (body.stream !== true) return response.end(JSON.stringify({ ...about, choices: [{ ...choice, message }], usage }));
      const frames = [{ choices: [{ ...choice, delta: message }] }, { choices: [], usage }];
      return response.end(
        [...frames.map((frame) => JSON.stringify({ ...about, ...frame })), '[DONE]'].map((data) => `data: ${data}\n\n`).join(''),
      );
    })();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    answers: (next) => {
      asked.length = 0;
      answer = next;
    },
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

const USAGE = { prompt_tokens: 1_000, completion_tokens: 500, total_tokens: 1_500 };

const toolCall = ({ id, name }: { readonly id: string; readonly name: string }, index: number) => ({
  index,
  id,
  type: 'function',
  function: { name, arguments: '{"q":"x"}' },
});
