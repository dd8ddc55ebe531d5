import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** A call as the provider sees it. `nonce` is the caller's mark in the prompt, so that both ends can be compared. */
export interface SeenCall {
  readonly nonce: string;
  readonly maxTokens: number;
  readonly bodyBytes: number;
}

export interface Answer {
  readonly promptTokens: number;
  readonly completionTokens: number;
}

export interface Provider {
  readonly url: string;
  /** Nonces of every call that arrived. */
  readonly seen: ReadonlySet<string>;
  close(): Promise<void>;
}

const MODEL = 'fault-model';

/** An OpenAI-like provider that answers when and what `decide` says. */
export async function startProvider(decide: (call: SeenCall) => Promise<Answer> | Answer): Promise<Provider> {
  const seen = new Set<string>();
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const text = Buffer.concat(chunks).toString('utf8');
      const body = JSON.parse(text) as { max_tokens: number; messages: { content: string }[] };
      const [nonce = ''] = (body.messages[0]?.content ?? '').split(' ');
      seen.add(nonce);
      void Promise.resolve(decide({ nonce, maxTokens: body.max_tokens, bodyBytes: Buffer.byteLength(text) })).then((answer) =>
        reply(response, answer),
      );
    });
  });
  server.keepAliveTimeout = 60_000;
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`,
    seen,
    close: async () => {
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
    },
  };
}

function reply(response: ServerResponse, answer: Answer): void {
  if (response.destroyed) return;
  const body = JSON.stringify({
    id: 'chatcmpl-fault',
    object: 'chat.completion',
    created: 1767225600,
    model: MODEL,
    choices: [{ index: 0, message: { role: 'assistant', content: 'ok', refusal: null }, logprobs: null, finish_reason: 'stop' }],
    usage: {
      prompt_tokens: answer.promptTokens,
      completion_tokens: answer.completionTokens,
      total_tokens: answer.promptTokens + answer.completionTokens,
    },
  });
  response.writeHead(200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) });
  response.end(body);
}

/** The provider's part of runpurse.yaml, with the prices of its one model. */
export function providerConfig(provider: Provider, price: Readonly<Record<string, string>>): { providers: object[]; prices: object[] } {
  return {
    providers: [{ name: 'mock', kind: 'openai', base_url: provider.url, api_key: 'none', max_connections: 512 }],
    prices: [{ provider: 'mock', model: MODEL, ...price }],
  };
}

export const FAULT_MODEL = `mock/${MODEL}`;
