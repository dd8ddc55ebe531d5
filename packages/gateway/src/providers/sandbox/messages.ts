import { piecesOf, sse, type SandboxReply, type StreamPiece } from './reply.ts';

/** Messages as Anthropic answers them. */
export const messages = { plain: plainMessage, stream: streamMessage, errorEvent: messageErrorEvent };

const STOP_REASONS = { stop: 'end_turn', length: 'max_tokens', tool_calls: 'tool_use', content_filter: 'refusal' } as const;

function plainMessage(reply: SandboxReply): object {
  const content = [
    ...(reply.text === '' ? [] : [{ type: 'text', text: reply.text }]),
    ...reply.toolCalls.map((call) => ({ type: 'tool_use', id: toolId(call.id), name: call.name, input: parseArguments(call.arguments) })),
  ];
  return {
    ...head(reply),
    content,
    stop_reason: STOP_REASONS[reply.finish],
    stop_sequence: null,
    ...(reply.usage === undefined ? {} : { usage: usage(reply.usage, reply.usage.outputTokens) }),
  };
}

function* streamMessage(reply: SandboxReply): Generator<StreamPiece> {
  const event = (type: string, fields: object, kind: StreamPiece['kind'] = 'frame'): StreamPiece => ({
    text: sse({ type, ...fields }, type),
    kind,
  });
  const opening = reply.usage === undefined ? {} : { usage: usage(reply.usage, Math.min(1, reply.usage.outputTokens)) };
  yield event('message_start', { message: { ...head(reply), content: [], stop_reason: null, stop_sequence: null, ...opening } });
  let index = 0;
  if (reply.text !== '') {
    yield event('content_block_start', { index, content_block: { type: 'text', text: '' } });
    yield event('ping', {});
    for (const text of piecesOf(reply.text)) yield event('content_block_delta', { index, delta: { type: 'text_delta', text } }, 'content');
    yield event('content_block_stop', { index });
    index += 1;
  }
  for (const call of reply.toolCalls) {
    yield event('content_block_start', { index, content_block: { type: 'tool_use', id: toolId(call.id), name: call.name, input: {} } });
    for (const partial_json of piecesOf(call.arguments)) {
      yield event('content_block_delta', { index, delta: { type: 'input_json_delta', partial_json } }, 'content');
    }
    yield event('content_block_stop', { index });
    index += 1;
  }
  const closing = reply.usage === undefined ? {} : { usage: { output_tokens: reply.usage.outputTokens } };
  yield event('message_delta', { delta: { stop_reason: STOP_REASONS[reply.finish], stop_sequence: null }, ...closing }, 'end');
  yield event('message_stop', {}, 'end');
}

function messageErrorEvent(error: { readonly type: string; readonly message: string }): string {
  return sse({ type: 'error', error: { type: error.type, message: error.message } }, 'error');
}

function head(reply: SandboxReply): object {
  return { id: `msg_${reply.fingerprint}`, type: 'message', role: 'assistant', model: reply.model };
}

function toolId(id: string): string {
  return id.startsWith('call_') ? `toolu_${id.slice('call_'.length)}` : id;
}

/** A tool call broken off at the output limit has no complete input to show. */
function parseArguments(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}

/** Anthropic counts cached tokens apart from `input_tokens`. */
function usage(used: NonNullable<SandboxReply['usage']>, outputTokens: number): object {
  return {
    input_tokens: used.inputTokens,
    cache_creation_input_tokens: used.cacheWrite5mTokens + used.cacheWrite1hTokens,
    cache_read_input_tokens: used.cacheReadTokens,
    cache_creation: { ephemeral_5m_input_tokens: used.cacheWrite5mTokens, ephemeral_1h_input_tokens: used.cacheWrite1hTokens },
    output_tokens: outputTokens,
    service_tier: 'standard',
    ...(used.webSearches > 0 ? { server_tool_use: { web_search_requests: used.webSearches } } : {}),
  };
}
