/** The toy's model client: chat completions on plain fetch, whole or streamed. */

export interface ToyMessage {
  readonly role: 'system' | 'user' | 'assistant' | 'tool';
  readonly content: string | null;
  readonly tool_calls?: readonly ToyToolCall[] | undefined;
  readonly tool_call_id?: string | undefined;
}
export interface ToyToolCall {
  readonly id: string;
  readonly type: 'function';
  readonly function: { readonly name: string; readonly arguments: string };
}

export interface ToyUsage {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly prompt_tokens_details?: { readonly cached_tokens?: number };
  readonly completion_tokens_details?: { readonly reasoning_tokens?: number };
}

export interface ToyReply {
  readonly message: ToyMessage;
  readonly model: string;
  readonly usage: ToyUsage | undefined;
}

/** How the toy framework says that a model call failed: with the status and code of the answer. */
export class ToyModelError extends Error {
  readonly status: number;
  readonly code: string | undefined;

  constructor(status: number, message: string, code: string | undefined) {
    super(message);
    this.name = 'ToyModelError';
    this.status = status;
    this.code = code;
  }
}

export interface ToyModelOptions {
  readonly baseUrl: string;
  readonly apiKey: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
}

/** One call; `body` is the request as OpenAI reads it. */
export async function callModel(body: { readonly stream: boolean } & Record<string, unknown>, options: ToyModelOptions): Promise<ToyReply> {
  const response = await fetch(`${options.baseUrl}/chat/completions`, {
    method: 'POST',
    headers: { ...options.headers, 'content-type': 'application/json', authorization: `Bearer ${options.apiKey}` },
    body: JSON.stringify(body),
    signal: options.signal,
  });
  if (!response.ok) {
    const { error } = (await response.json()) as { error?: { message?: string; code?: string } };
    throw new ToyModelError(response.status, error?.message ?? `status ${response.status}`, error?.code);
  }
  if (body.stream) return readStream(await response.text());
  const reply = (await response.json()) as { model: string; choices: readonly { message: ToyMessage }[]; usage?: ToyUsage };
  const message = reply.choices[0]?.message;
  if (message === undefined) throw new ToyModelError(response.status, 'the reply holds no choice', undefined);
  return { message, model: reply.model, usage: reply.usage };
}

interface StreamChunk {
  readonly model: string;
  readonly usage?: ToyUsage | null;
  readonly choices: readonly {
    readonly delta: {
      readonly content?: string | null;
      readonly tool_calls?: readonly { index: number; id?: string; function?: { name?: string; arguments?: string } }[];
    };
  }[];
}

/** Puts a stream's deltas together. */
function readStream(text: string): ToyReply {
  let content: string | null = null;
  let model = '';
  let usage: ToyUsage | undefined;
  const tools: { id: string; name: string; arguments: string }[] = [];
  for (const line of text.split('\n')) {
    if (!line.startsWith('data: ') || line === 'data: [DONE]') continue;
    const chunk = JSON.parse(line.slice('data: '.length)) as StreamChunk;
    model = chunk.model;
    usage = chunk.usage ?? usage;
    const delta = chunk.choices[0]?.delta;
    if (typeof delta?.content === 'string') content = (content ?? '') + delta.content;
    for (const piece of delta?.tool_calls ?? []) {
      const tool = (tools[piece.index] ??= { id: '', name: '', arguments: '' });
      tool.id += piece.id ?? '';
      tool.name += piece.function?.name ?? '';
      tool.arguments += piece.function?.arguments ?? '';
    }
  }
  const tool_calls = tools.map((tool) => ({
    id: tool.id,
    type: 'function' as const,
    function: { name: tool.name, arguments: tool.arguments },
  }));
  return { message: { role: 'assistant', content, ...(tool_calls.length === 0 ? {} : { tool_calls }) }, model, usage };
}
