import { randomUUID } from 'node:crypto';
import {
  getParametersJsonSchema,
  type FinishReason,
  type Message,
  type MessageContent,
  type TokenUsage,
  type Tool,
} from '@n8n/ai-node-sdk';
import { isObject, jsonOf, textOf } from '../shared/transport.ts';

/** n8n's messages as OpenAI's chat completions, and back. Pure. */

/** A message as OpenAI's API reads it. */
export interface WireMessage {
  readonly role: 'system' | 'user' | 'assistant' | 'tool';
  readonly content: unknown;
  readonly tool_calls?: readonly WireToolCall[];
  readonly tool_call_id?: string;
}

export interface WireToolCall {
  readonly id: string;
  readonly type: 'function';
  readonly function: { readonly name: string; readonly arguments: string };
}

/** What the model answered, plain or collected from a stream. */
export interface Answer {
  readonly text: string;
  readonly toolCalls: readonly WireToolCall[];
  readonly finishReason: string | undefined;
  readonly usage: TokenUsage | undefined;
  readonly id: string | undefined;
  readonly model: string | undefined;
}

type Part<Type extends MessageContent['type']> = Extract<MessageContent, { type: Type }>;

const isPart =
  <Type extends MessageContent['type']>(type: Type) =>
  (part: MessageContent): part is Part<Type> =>
    part.type === type;

export function toWire({ role, content }: Message, given: GivenIds): WireMessage[] {
  if (role === 'tool')
    return content
      .filter(isPart('tool-result'))
      .map(({ toolCallId, result }) => ({ role, tool_call_id: givenOf(given, toolCallId), content: textOfResult(result) }));
  const calls = content.filter(isPart('tool-call')).map(({ toolCallId, toolName, input }): WireToolCall => ({
    id: givenOf(given, toolCallId ?? ''),
    type: 'function',
    function: { name: toolName, arguments: input },
  }));
  const parts = content.flatMap(partOf);
  const isText = parts.every(({ type }) => type === 'text');
  const said = isText ? parts.map((part) => part['text']).join('') : parts;
  if (role === 'assistant' && calls.length > 0) return [{ role, content: said === '' ? null : said, tool_calls: calls }];
  return [{ role, content: said }];
}

function partOf(part: MessageContent): { readonly type: string; readonly [field: string]: unknown }[] {
  if (part.type === 'text') return [{ type: 'text', text: part.text }];
  if (part.type !== 'file') return [];
  const url = textOf(part.providerMetadata?.['url']);
  const address = url === '' ? `data:${part.mediaType ?? 'application/octet-stream'};base64,${base64Of(part.data)}` : url;
  if (part.mediaType === undefined || part.mediaType.startsWith('image/')) return [{ type: 'image_url', image_url: { url: address } }];
  return [{ type: 'file', file: { file_data: address } }];
}

function base64Of(data: unknown): string {
  return typeof data === 'string' ? data : Buffer.from((data as Uint8Array | undefined) ?? []).toString('base64');
}

export function toolsOnWire(tools: readonly Tool[]): object[] {
  return tools.map((tool) =>
    tool.type === 'function'
      ? {
          type: 'function',
          function: {
            name: tool.name,
            ...(tool.description !== undefined && { description: tool.description }),
            parameters: getParametersJsonSchema(tool),
          },
        }
      : { type: tool.name, ...tool.args },
  );
}

/** A completion as it comes whole. */
export function answerOf(body: unknown): Answer | undefined {
  if (!isObject(body) || !Array.isArray(body['choices'])) return undefined;
  const choice: unknown = body['choices'][0];
  const message: unknown = isObject(choice) ? choice['message'] : undefined;
  if (!isObject(choice) || !isObject(message)) return undefined;
  const calls = Array.isArray(message['tool_calls']) ? (message['tool_calls'] as unknown[]) : [];
  return {
    text: textOf(message['content']),
    toolCalls: calls.flatMap(callIn),
    finishReason: textOf(choice['finish_reason']) || undefined,
    usage: usageOf(body['usage']),
    id: textOf(body['id']) || undefined,
    model: textOf(body['model']) || undefined,
  };
}

function callIn(call: unknown): WireToolCall[] {
  if (!isObject(call) || !isObject(call['function'])) return [];
  const { name, arguments: given } = call['function'];
  return [{ id: idIn(call), type: 'function', function: { name: textOf(name), arguments: argumentsIn(given) } }];
}

/** Some providers give them as they are. */
function argumentsIn(given: unknown): string {
  return isObject(given) ? JSON.stringify(given) : textOf(given);
}

/** Some providers count. */
function idIn({ id }: Readonly<Record<string, unknown>>): string {
  return typeof id === 'number' ? String(id) : textOf(id);
}

/**
 * A tool call's id in n8n and in the gateway. Providers number their calls anew in each answer, or give them no id, and
 * agents and items of one run share its ledger; so each call has an id of its own, short and plain enough for any provider,
 * since n8n may hand the conversation to another model.
 */
export function ownId(): string {
  return `rp_${randomUUID().replaceAll('-', '')}`;
}

/** The ids as providers gave them, by our own. */
export type GivenIds = ReadonlyMap<string, string>;

function givenOf(given: GivenIds, own: string): string {
  return given.get(own) ?? own;
}

/** Puts the pieces of a stream together; hands on what can be shown at once. */
export function collector(): { add(chunk: unknown): string; hasFinished(): boolean; answer(): Answer } {
  let [text, finishReason, id, model] = ['', '', '', ''];
  let usage: TokenUsage | undefined;
  const calls: { id: string; name: string; arguments: string }[] = [];
  return {
    add(chunk) {
      if (!isObject(chunk)) return '';
      id ||= textOf(chunk['id']);
      model ||= textOf(chunk['model']);
      usage = usageOf(chunk['usage']) ?? usage;
      const choice: unknown = Array.isArray(chunk['choices']) ? chunk['choices'][0] : undefined;
      if (!isObject(choice)) return '';
      finishReason = textOf(choice['finish_reason']) || finishReason;
      const delta = isObject(choice['delta']) ? choice['delta'] : {};
      for (const piece of Array.isArray(delta['tool_calls']) ? (delta['tool_calls'] as unknown[]) : []) addCall(calls, piece);
      const more = textOf(delta['content']);
      text += more;
      return more;
    },
    hasFinished: () => finishReason !== '',
    answer: () => ({
      text,
      toolCalls: calls
        .filter((call) => call !== undefined)
        .map((call) => ({ id: call.id, type: 'function', function: { name: call.name, arguments: call.arguments } })),
      finishReason: finishReason || undefined,
      usage,
      id: id || undefined,
      model: model || undefined,
    }),
  };
}

function addCall(calls: { id: string; name: string; arguments: string }[], piece: unknown): void {
  if (!isObject(piece)) return;
  const at = typeof piece['index'] === 'number' ? piece['index'] : 0;
  const call = (calls[at] ??= { id: '', name: '', arguments: '' });
  const named = isObject(piece['function']) ? piece['function'] : {};
  call.id ||= idIn(piece);
  call.name += textOf(named['name']);
  call.arguments += argumentsIn(named['arguments']);
}

/** The answer as n8n keeps it. */
export function messageOf({ text, toolCalls, id }: Answer): Message {
  return {
    role: 'assistant',
    ...(id !== undefined && { id }),
    content: [
      ...(text === '' ? [] : [{ type: 'text' as const, text }]),
      ...toolCalls.map((call) => ({
        type: 'tool-call' as const,
        toolCallId: call.id,
        toolName: call.function.name,
        input: call.function.arguments === '' ? '{}' : call.function.arguments,
      })),
    ],
  };
}

const FINISH: Readonly<Record<string, FinishReason>> = {
  stop: 'stop',
  length: 'length',
  tool_calls: 'tool-calls',
  function_call: 'tool-calls',
  content_filter: 'content-filter',
};

export function finishOf({ finishReason }: Answer): FinishReason {
  return FINISH[finishReason ?? ''] ?? 'other';
}

/** Undefined when the provider did not say; n8n then estimates, the gateway charges what it held. */
export function usageOf(usage: unknown): TokenUsage | undefined {
  if (!isObject(usage)) return undefined;
  const count = (value: unknown): number | undefined => (typeof value === 'number' ? value : undefined);
  const [prompt, completion] = [count(usage['prompt_tokens']), count(usage['completion_tokens'])];
  if (prompt === undefined || completion === undefined) return undefined;
  const detail = (of: string, name: string): number | undefined => {
    const details = usage[of];
    return isObject(details) ? count(details[name]) : undefined;
  };
  const [cacheRead, reasoning] = [
    detail('prompt_tokens_details', 'cached_tokens'),
    detail('completion_tokens_details', 'reasoning_tokens'),
  ];
  return {
    promptTokens: prompt,
    completionTokens: completion,
    totalTokens: count(usage['total_tokens']) ?? prompt + completion,
    ...(cacheRead !== undefined && { inputTokenDetails: { cacheRead } }),
    ...(reasoning !== undefined && { outputTokenDetails: { reasoning } }),
  };
}

/** How a call ended: n8n tells the model in the call's result that its tool failed, or that a person declined it. */
export type Outcome = { readonly type: 'completed' } | { readonly type: 'failed' | 'declined'; readonly message: string };

export function outcomeOf({ toolCallId, result, isError }: Part<'tool-result'>): Outcome {
  const text = textOfResult(result);
  if (isError === true) return { type: 'failed', message: text };
  const said = jsonOf(text);
  const [only] = Array.isArray(said) && said.length === 1 ? (said as unknown[]) : [said];
  const output = isObject(only) ? (only['output'] ?? only['response']) : only;
  if (isDenial(textOf(output) || text, toolCallId)) return { type: 'declined', message: 'a person declined it, so that it did not run' };
  if (!isObject(only) || typeof only['error'] !== 'string') return { type: 'completed' };
  const isFailure = Object.keys(only).every((key) => key === 'error' || key === 'errorType');
  return isFailure ? { type: 'failed', message: only['error'] } : { type: 'completed' };
}

/** n8n's own two texts. They name this call, which a tool does not know. */
function isDenial(text: string, toolCallId: string): boolean {
  const [before = '', ...after] = text.split(` (id: ${toolCallId})`);
  if (before.startsWith('User rejected the tool call to ')) return after[0]?.startsWith('.') === true;
  return before.startsWith('The user reviewed your planned tool call to ') && after[0]?.startsWith(' and provided feedback') === true;
}

export const toolResults = (message: Message): Part<'tool-result'>[] => message.content.filter(isPart('tool-result'));

function textOfResult(result: unknown): string {
  return typeof result === 'string' ? result : JSON.stringify(result);
}
