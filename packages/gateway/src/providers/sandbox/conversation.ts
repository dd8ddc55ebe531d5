import type { JsonObject } from '../../wires/wire.ts';

/** What the sandbox reads of a request, whatever wire it came by. */
export interface Conversation {
  readonly model: string;
  readonly stream: boolean;
  /** The caller asked for the usage chunk (chat completions). */
  readonly includeUsage: boolean;
  readonly choices: number;
  readonly maxTokens: number | undefined;
  /** Assistant turns in the whole conversation; consecutive items of one reply are one turn. */
  readonly turn: number;
  readonly turnSinceUser: number;
  readonly lastUserText: string;
  /** Tokens of the input, one per word: never more than its bytes, nor than what a tokenizer would find. */
  readonly inputTokens: number;
}

export type ConversationRead =
  { readonly type: 'read'; readonly conversation: Conversation } | { readonly type: 'invalid'; readonly message: string };

/** Words of a text: the sandbox's tokens. */
export function countTokens(text: string): number {
  return text.split(/\s+/).filter((word) => word !== '').length;
}

/** Reads the conversation of chat completions (`messages`), messages (`messages`, `system`) and responses (`input`). */
export function readConversation(body: JsonObject): ConversationRead {
  const { model } = body;
  if (typeof model !== 'string' || model === '') return { type: 'invalid', message: 'you must provide a model parameter' };
  const items = readItems(body);
  if (items === undefined) return { type: 'invalid', message: "Missing required parameter: 'messages' or 'input'." };

  const texts = [textOf(body['system']), textOf(body['instructions'])];
  let turn = turnOfPreviousResponse(body['previous_response_id']);
  let turnSinceUser = 0;
  let lastUserText = '';
  let insideReply = false;
  for (const item of items) {
    const text = textOf(item['content']) || textOf(item['output']);
    texts.push(text, textOf(item['arguments']));
    const role = roleOf(item);
    if (role === 'assistant' && !insideReply) {
      turn += 1;
      turnSinceUser += 1;
    }
    insideReply = role === 'assistant';
    if (role === 'user') {
      turnSinceUser = 0;
      lastUserText = text;
    }
  }
  const streamOptions = asObject(body['stream_options']);
  return {
    type: 'read',
    conversation: {
      model,
      stream: body['stream'] === true,
      includeUsage: streamOptions?.['include_usage'] === true,
      choices: asCount(body['n']) ?? 1,
      maxTokens: asCount(body['max_completion_tokens']) ?? asCount(body['max_output_tokens']) ?? asCount(body['max_tokens']),
      turn,
      turnSinceUser,
      lastUserText,
      inputTokens: Math.max(1, countTokens(texts.join(' '))),
    },
  };
}

/** The id of a reply on the responses wire carries its turn, so that `previous_response_id` continues without state. */
export function responseId(turn: number, fingerprint: string): string {
  return `resp_sandbox${turn}_${fingerprint}`;
}

function turnOfPreviousResponse(id: unknown): number {
  const match = typeof id === 'string' ? /^resp_sandbox(\d+)_/.exec(id) : null;
  return match === null ? 0 : Number(match[1]) + 1;
}

function readItems(body: JsonObject): readonly JsonObject[] | undefined {
  const { messages, input } = body;
  if (typeof input === 'string') return [{ role: 'user', content: input }];
  const list = Array.isArray(messages) ? messages : Array.isArray(input) ? input : undefined;
  return list?.map((item) => asObject(item) ?? {});
}

/** On the responses wire what the model said before are items by type; a tool's result is nobody's turn. */
function roleOf(item: JsonObject): 'assistant' | 'user' | 'other' {
  if (item['role'] === 'assistant' || item['type'] === 'function_call' || item['type'] === 'reasoning') return 'assistant';
  if (item['role'] !== 'user') return 'other';
  const content = item['content'];
  const isToolResult = Array.isArray(content) && content.some((part) => asObject(part)?.['type'] === 'tool_result');
  return isToolResult ? 'other' : 'user';
}

/** All text in a content value: a string, or parts with `text`, `content` (tool results) or `input` (tool use). */
function textOf(value: unknown): string {
  if (typeof value === 'string') return value;
  if (Array.isArray(value)) return value.map(textOf).join(' ');
  const part = asObject(value);
  return part === undefined ? '' : textOf(part['text']) || textOf(part['content']);
}

export function asObject(value: unknown): JsonObject | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as JsonObject) : undefined;
}

function asCount(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isInteger(value) && value >= 1 ? value : undefined;
}
