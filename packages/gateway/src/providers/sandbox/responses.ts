import { responseId } from './conversation.ts';
import { piecesOf, sse, type SandboxReply, type StreamPiece } from './reply.ts';

/** The responses API as OpenAI answers it. */
export const responses = { plain: plainResponse, stream: streamResponse, errorEvent: responseErrorEvent };

type ItemStatus = 'in_progress' | 'completed' | 'incomplete';

function plainResponse(reply: SandboxReply): object {
  return envelope(reply, finalStatus(reply), outputItems(reply, finalItemStatus(reply)));
}

function* streamResponse(reply: SandboxReply): Generator<StreamPiece> {
  let sequence = 0;
  const event = (type: string, fields: object, kind: StreamPiece['kind'] = 'frame'): StreamPiece => ({
    text: sse({ type, sequence_number: sequence++, ...fields }, type),
    kind,
  });
  const done = finalItemStatus(reply);
  yield event('response.created', { response: envelope(reply, 'in_progress', []) });
  yield event('response.in_progress', { response: envelope(reply, 'in_progress', []) });
  let output_index = 0;
  if (hasMessage(reply)) {
    const place = { item_id: messageId(reply), output_index, content_index: 0 };
    yield event('response.output_item.added', { output_index, item: { ...message(reply, 'in_progress'), content: [] } });
    yield event('response.content_part.added', { ...place, part: textPart('') });
    for (const delta of piecesOf(reply.text)) yield event('response.output_text.delta', { ...place, delta, logprobs: [] }, 'content');
    yield event('response.output_text.done', { ...place, text: reply.text, logprobs: [] });
    yield event('response.content_part.done', { ...place, part: textPart(reply.text) });
    yield event('response.output_item.done', { output_index, item: message(reply, done) });
    output_index += 1;
  }
  for (const call of reply.toolCalls) {
    const place = { item_id: callItemId(call.id), output_index };
    yield event('response.output_item.added', { output_index, item: { ...functionCall(call, 'in_progress'), arguments: '' } });
    for (const delta of piecesOf(call.arguments)) yield event('response.function_call_arguments.delta', { ...place, delta }, 'content');
    yield event('response.function_call_arguments.done', { ...place, name: call.name, arguments: call.arguments });
    yield event('response.output_item.done', { output_index, item: functionCall(call, done) });
    output_index += 1;
  }
  yield event(`response.${finalStatus(reply)}`, { response: plainResponse(reply) }, 'end');
}

function responseErrorEvent(error: { readonly type: string; readonly message: string }): string {
  return sse({ type: 'error', code: error.type, message: error.message, param: null, sequence_number: 0 }, 'error');
}

function finalStatus(reply: SandboxReply): 'completed' | 'incomplete' {
  return reply.finish === 'length' || reply.finish === 'content_filter' ? 'incomplete' : 'completed';
}

function finalItemStatus(reply: SandboxReply): ItemStatus {
  return finalStatus(reply);
}

function hasMessage(reply: SandboxReply): boolean {
  return reply.text !== '' || reply.toolCalls.length === 0;
}

function outputItems(reply: SandboxReply, status: ItemStatus): readonly object[] {
  return [...(hasMessage(reply) ? [message(reply, status)] : []), ...reply.toolCalls.map((call) => functionCall(call, status))];
}

function messageId(reply: SandboxReply): string {
  return `msg_${reply.fingerprint}`;
}

function callItemId(callId: string): string {
  return `fc_${callId}`;
}

function textPart(text: string): object {
  return { type: 'output_text', annotations: [], logprobs: [], text };
}

function message(reply: SandboxReply, status: ItemStatus): object {
  return { id: messageId(reply), type: 'message', status, role: 'assistant', content: [textPart(reply.text)] };
}

function functionCall(call: SandboxReply['toolCalls'][number], status: ItemStatus): object {
  return { id: callItemId(call.id), type: 'function_call', status, call_id: call.id, name: call.name, arguments: call.arguments };
}

function envelope(reply: SandboxReply, status: ItemStatus, output: readonly object[]): object {
  const reason = reply.finish === 'content_filter' ? 'content_filter' : 'max_output_tokens';
  return {
    id: responseId(reply.turn, reply.fingerprint),
    object: 'response',
    created_at: reply.createdSeconds,
    status,
    error: null,
    incomplete_details: status === 'incomplete' ? { reason } : null,
    instructions: null,
    model: reply.model,
    output,
    parallel_tool_calls: true,
    tool_choice: 'auto',
    tools: [],
    metadata: {},
    usage: status === 'in_progress' || reply.usage === undefined ? null : usage(reply.usage),
  };
}

/** Cached tokens are inside `input_tokens`, as in chat completions. */
function usage(used: NonNullable<SandboxReply['usage']>): object {
  const input = used.inputTokens + used.cacheReadTokens + used.cacheWrite5mTokens + used.cacheWrite1hTokens;
  return {
    input_tokens: input,
    input_tokens_details: { cached_tokens: used.cacheReadTokens },
    output_tokens: used.outputTokens,
    output_tokens_details: { reasoning_tokens: used.reasoningTokens },
    total_tokens: input + used.outputTokens,
  };
}
