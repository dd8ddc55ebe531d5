import { listingClient, standingOf, type ListingClient, type ListingOptions } from '@runpurse/conformance';
import { APICallError, simulateReadableStream, tool, type Tool } from 'ai';
import { MockLanguageModelV4 } from 'ai/test';
import { z } from 'zod';
import { createRunpurse, type Runpurse } from '../src/index.ts';
import type { CallOptions, Generated, StreamPart } from '../src/translate.ts';

export const GATEWAY = 'http://gateway.test';

/** An adapter on a gateway that is only a list of what it was sent. */
export interface Stage extends ListingClient {
  readonly runpurse: Runpurse;
  readonly faults: unknown[];
}

export function setStage(options: ListingOptions = {}): Stage {
  const listing = listingClient('ai-sdk', GATEWAY, options);
  const faults: unknown[] = [];
  const { client } = listing;
  const runpurse = createRunpurse({ baseUrl: GATEWAY, apiKey: 'rp_test', client, onFault: (fault) => faults.push(fault) });
  return { ...listing, runpurse, faults };
}

/** What a scripted model answers to one call: with text unless it calls tools or throws. */
export interface Reply {
  readonly text?: string;
  readonly calls?: readonly { readonly id?: string; readonly name: string; readonly args?: object }[];
  readonly throws?: unknown;
  /** Of a stream: its last part instead of a finish. */
  readonly breaks?: unknown;
  /** Of a stream: it never ends. */
  readonly hangs?: boolean;
  /** Of a stream: what it breaks with. */
  readonly loses?: Error;
}

export const USAGE = {
  inputTokens: { total: 10, noCache: 7, cacheRead: 2, cacheWrite: 1 },
  outputTokens: { total: 5, text: 4, reasoning: 1 },
};

/** The AI SDK's own mock model, playing a script, plain or streamed. `at`: where it says it sends its requests. */
export function scripted(
  reply: (count: number, options: CallOptions) => Reply,
  at?: string,
): MockLanguageModelV4 & { sent: CallOptions[] } {
  const sent: CallOptions[] = [];
  const next = (options: CallOptions): Reply => {
    sent.push(options);
    const answer = reply(sent.length, options);
    if (answer.throws !== undefined) throw answer.throws as Error;
    return answer;
  };
  const response = { id: 'resp', timestamp: new Date(0), modelId: 'mock-2026', headers: { 'x-runpurse-request-id': 'req_1' } };
  const model = new MockLanguageModelV4({
    modelId: 'mock',
    doGenerate: async (options): Promise<Generated> => {
      const answer = next(options);
      return {
        content: contentOf(answer),
        finishReason: finishOf(answer),
        usage: USAGE,
        warnings: [],
        response: at === GATEWAY ? response : { modelId: response.modelId },
      };
    },
    doStream: async (options) => {
      const answer = next(options);
      const chunks: StreamPart[] = [
        { type: 'stream-start', warnings: [] },
        { type: 'response-metadata', modelId: response.modelId },
      ];
      for (const part of contentOf(answer)) {
        if (part.type === 'text')
          chunks.push({ type: 'text-start', id: '1' }, { type: 'text-delta', id: '1', delta: part.text }, { type: 'text-end', id: '1' });
        else if (part.type === 'tool-call') chunks.push(part);
      }
      if (answer.breaks !== undefined) chunks.push({ type: 'error', error: answer.breaks });
      else if (answer.hangs !== true && answer.loses === undefined)
        chunks.push({ type: 'finish', finishReason: finishOf(answer), usage: USAGE });
      const stream =
        answer.hangs === true || answer.loses !== undefined
          ? hanging(chunks, options.abortSignal, answer.loses)
          : simulateReadableStream({ chunks, chunkDelayInMs: null, initialDelayInMs: null });
      return { stream, ...(at === GATEWAY && { response: { headers: response.headers } }) };
    },
  });
  return Object.assign(model, { sent, ...(at !== undefined && { config: { baseURL: `${at}/v1` } }) });
}

function contentOf({ text = 'done', calls }: Reply): Generated['content'] {
  if (calls === undefined) return [{ type: 'text', text }];
  return calls.map(({ id = 'call_1', name, args = { q: 'x' } }) => ({
    type: 'tool-call',
    toolCallId: id,
    toolName: name,
    input: JSON.stringify(args),
  }));
}

function finishOf({ calls }: Reply): Generated['finishReason'] {
  return calls === undefined ? { unified: 'stop', raw: 'stop' } : { unified: 'tool-calls', raw: 'tool_calls' };
}

/** A stream that gives its parts and then waits for the caller to abort, as a fetch's body does. */
function hanging(parts: readonly StreamPart[], signal: AbortSignal | undefined, loses: Error | undefined): ReadableStream<StreamPart> {
  return new ReadableStream({
    start(controller) {
      if (loses !== undefined) setTimeout(() => controller.error(loses), 5);
      for (const part of parts) controller.enqueue(part);
      signal?.addEventListener('abort', () => controller.error(signal.reason));
    },
  });
}

/** Calls `lookup` once, then answers. */
export const lookThenAnswer = (count: number): Reply => (count === 1 ? { calls: [{ name: 'lookup' }] } : { text: 'done' });

export function lookup(run: (q: string) => unknown = (q) => `found ${q}`): {
  readonly tools: { readonly lookup: Tool<{ q: string }, unknown> };
  readonly ran: string[];
} {
  const ran: string[] = [];
  const execute = async ({ q }: { q: string }): Promise<unknown> => {
    ran.push(q);
    return run(q);
  };
  return { tools: { lookup: tool({ description: 'looks up', inputSchema: z.object({ q: z.string() }), execute }) }, ran };
}

/** What a provider's client throws for an answer with this status. */
export function answered(statusCode: number, code: string, headers: Record<string, string> = {}): APICallError {
  return new APICallError({
    message: `answered ${statusCode}`,
    url: GATEWAY,
    requestBodyValues: {},
    statusCode,
    responseHeaders: { 'retry-after-ms': '1', ...headers },
    responseBody: JSON.stringify({ error: { message: `it is ${code}`, type: 'error', param: null, code } }),
  });
}

/** Where a request says it stands. */
export const standing = ({ headers = {} }: CallOptions): Record<string, string | undefined> => standingOf(headers);
