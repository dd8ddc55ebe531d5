import { Agent, type AgentConfig } from '@mastra/core/agent';
import { createTool } from '@mastra/core/tools';
import { listingClient, standingOf, type ListingClient, type ListingOptions } from '@runpurse/conformance';
import { z } from 'zod';
import { createRunpurse, type Runpurse } from '../src/index.ts';
import type { ModelStreamPart, ModelUsage } from '@runpurse/core/language-model';
import type { CallOptions } from '../src/translate.ts';

export const GATEWAY = 'http://gateway.test';
export const PROVIDER = 'http://provider.test';

/** An adapter on a gateway that is only a list of what it was sent. */
export interface Stage extends ListingClient {
  readonly runpurse: Runpurse;
  readonly faults: unknown[];
  /** An agent with `lookup` as its tool, attached. */
  agent(model: unknown, options?: Partial<AgentConfig>): Agent;
}

export function setStage(options: ListingOptions = {}): Stage {
  const listing = listingClient('mastra', GATEWAY, options);
  const faults: unknown[] = [];
  const { client } = listing;
  const runpurse = createRunpurse({ baseUrl: GATEWAY, apiKey: 'rp_test', client, onFault: (fault) => faults.push(fault) });
  return { ...listing, runpurse, faults, agent: (model, more = {}) => agentWith(runpurse, model, more) };
}

/** `model`: Mastra's types pin the exact patch of the AI SDK's; any model object of a specification it takes will do. */
export function agentWith({ withRunpurse }: Pick<Runpurse, 'withRunpurse'>, model: unknown, more: Partial<AgentConfig> = {}): Agent {
  const options = { id: 'support', name: 'Support', instructions: 'Help.', model, tools: { lookup: lookup().tool }, ...more };
  return new Agent(withRunpurse(options as AgentConfig));
}

/** What a scripted model answers to one call: with text unless it calls tools or throws. */
export interface Reply {
  readonly text?: string;
  readonly calls?: readonly { readonly id?: string; readonly name: string; readonly args?: object }[];
  readonly throws?: unknown;
  /** Of a stream: it never ends. */
  readonly hangs?: boolean;
  /** Of a stream: what it breaks with after its first part. */
  readonly loses?: Error;
  readonly usage?: ModelUsage;
}

export const USAGE: ModelUsage = {
  inputTokens: { total: 10, noCache: 7, cacheRead: 2, cacheWrite: 1 },
  outputTokens: { total: 5, text: 4, reasoning: 1 },
};

export interface Scripted {
  readonly modelId: string;
  readonly sent: CallOptions[];
}

/** A model as a provider of the AI SDK makes it, playing a script, plain or streamed. `at`: where it says it sends its requests. */
export function scripted(reply: (count: number, options: CallOptions) => Reply, at = PROVIDER, modelId = 'mock'): Scripted {
  const sent: CallOptions[] = [];
  const next = (options: CallOptions): Reply => {
    sent.push(options);
    const answer = reply(sent.length, options);
    if (answer.throws !== undefined) throw answer.throws as Error;
    return answer;
  };
  const response = {
    id: 'resp',
    timestamp: new Date(0),
    modelId: `${modelId}-2026`,
    headers: at === GATEWAY ? { 'x-runpurse-request-id': 'req_1' } : {},
  };
  const model = {
    specificationVersion: 'v3',
    provider: 'scripted',
    modelId,
    supportedUrls: {},
    config: { url: () => `${at}/v1/chat/completions` },
    sent,
    async doGenerate(options: CallOptions) {
      const answer = next(options);
      if (answer.hangs === true) await untilAborted(options.abortSignal);
      return { content: contentOf(answer), finishReason: finishOf(answer), usage: answer.usage ?? USAGE, warnings: [], response };
    },
    async doStream(options: CallOptions) {
      const answer = next(options);
      const parts: ModelStreamPart[] = [
        { type: 'stream-start', warnings: [] } as ModelStreamPart,
        { type: 'response-metadata', ...response },
        ...partsOf(answer),
        ...(answer.hangs === true || answer.loses !== undefined
          ? []
          : [{ type: 'finish', finishReason: finishOf(answer), usage: answer.usage ?? USAGE } as ModelStreamPart]),
      ];
      return { stream: streamOf(parts, answer, options.abortSignal), response };
    },
  };
  return model;
}

function contentOf({ text = 'done', calls }: Reply): object[] {
  if (calls === undefined) return [{ type: 'text', text }];
  return calls.map(({ id = 'call_1', name, args = { q: 'x' } }) => ({
    type: 'tool-call',
    toolCallId: id,
    toolName: name,
    input: JSON.stringify(args),
  }));
}

function partsOf(reply: Reply): ModelStreamPart[] {
  if (reply.calls !== undefined) return contentOf(reply) as ModelStreamPart[];
  const { text: delta = 'done' } = reply;
  const parts: readonly object[] = [
    { type: 'text-start', id: '0' },
    { type: 'text-delta', id: '0', delta },
    { type: 'text-end', id: '0' },
  ];
  return parts as ModelStreamPart[];
}

function finishOf({ calls }: Reply): object {
  return calls === undefined ? { unified: 'stop', raw: 'stop' } : { unified: 'tool-calls', raw: 'tool_calls' };
}

/** A stream of these parts; one that hangs waits for the caller to abort, as a fetch's body does. */
function streamOf(
  parts: readonly ModelStreamPart[],
  { hangs, loses }: Reply,
  signal: AbortSignal | undefined,
): ReadableStream<ModelStreamPart> {
  return new ReadableStream({
    start(controller) {
      for (const part of parts) controller.enqueue(part);
      if (loses !== undefined) setTimeout(() => controller.error(loses), 5);
      else if (hangs !== true) controller.close();
      else signal?.addEventListener('abort', () => controller.error(signal.reason));
    },
  });
}

function untilAborted(signal: AbortSignal | undefined): Promise<never> {
  return new Promise((_resolve, reject) => signal?.addEventListener('abort', () => reject(signal.reason as Error)));
}

/** Calls `lookup` once, then answers. */
export const lookThenAnswer = (_count: number, { prompt }: CallOptions): Reply =>
  prompt.at(-1)?.role === 'tool' ? { text: 'done' } : { calls: [{ name: 'lookup' }] };

export function lookup(run: (q: string) => unknown = (q) => `found ${q}`): {
  readonly tool: ReturnType<typeof createTool>;
  readonly ran: string[];
} {
  const ran: string[] = [];
  const tool = createTool({
    id: 'lookup',
    description: 'looks up',
    inputSchema: z.object({ q: z.string() }),
    execute: async ({ q }) => {
      ran.push(q);
      return run(q);
    },
  });
  return { tool: tool, ran };
}

/** What a provider's client throws for an answer with this status. */
export function answered(statusCode: number, code: string): Error {
  return Object.assign(new Error(`answered ${statusCode}`), {
    [Symbol.for('vercel.ai.error')]: true,
    [Symbol.for('vercel.ai.error.AI_APICallError')]: true,
    name: 'AI_APICallError',
    statusCode,
    isRetryable: statusCode === 409 || statusCode === 429 || statusCode >= 500,
    responseHeaders: { 'retry-after-ms': '1', 'x-should-retry': 'false' },
    responseBody: JSON.stringify({ error: { message: `it is ${code}`, type: 'error', param: null, code } }),
  });
}

/** Where a request says it stands. */
export const standing = ({ headers = {} }: CallOptions): Record<string, string | undefined> => standingOf(headers);
