import { piecesOf, sse, type SandboxReply, type StreamPiece } from './reply.ts';

/** Chat completions as OpenAI answers them. */
export const chat = { plain: plainChat, stream: streamChat, errorEvent: chatErrorEvent };

function plainChat(reply: SandboxReply): object {
  const message = {
    role: 'assistant',
    content: reply.text === '' && reply.toolCalls.length > 0 ? null : reply.text,
    refusal: null,
    annotations: [],
    ...(reply.toolCalls.length > 0 ? { tool_calls: reply.toolCalls.map(toolCall) } : {}),
  };
  return {
    ...head(reply, 'chat.completion'),
    choices: Array.from({ length: reply.choices }, (_, index) => ({ index, message, logprobs: null, finish_reason: reply.finish })),
    ...(reply.usage === undefined ? {} : { usage: usage(reply) }),
    service_tier: 'default',
  };
}

function* streamChat(reply: SandboxReply): Generator<StreamPiece> {
  const chunk = (index: number, delta: object, kind: StreamPiece['kind'] = 'frame', finish: string | null = null): StreamPiece => ({
    text: sse({
      ...head(reply, 'chat.completion.chunk'),
      choices: [{ index, delta, logprobs: null, finish_reason: finish }],
      ...(reply.includeUsage ? { usage: null } : {}),
    }),
    kind,
  });
  for (let index = 0; index < reply.choices; index += 1) {
    yield chunk(index, { role: 'assistant', content: reply.toolCalls.length > 0 ? null : '', refusal: null });
    for (const content of piecesOf(reply.text)) yield chunk(index, { content }, 'content');
    for (const [position, call] of reply.toolCalls.entries()) {
      yield chunk(index, { tool_calls: [{ index: position, ...toolCall({ ...call, arguments: '' }) }] }, 'content');
      for (const part of piecesOf(call.arguments)) {
        yield chunk(index, { tool_calls: [{ index: position, function: { arguments: part } }] }, 'content');
      }
    }
    yield chunk(index, {}, 'end', reply.finish);
  }
  if (reply.includeUsage && reply.usage !== undefined) {
    yield { text: sse({ ...head(reply, 'chat.completion.chunk'), choices: [], usage: usage(reply) }), kind: 'end' };
  }
  yield { text: 'data: [DONE]\n\n', kind: 'end' };
}

function chatErrorEvent(error: { readonly type: string; readonly message: string }): string {
  return sse({ error: { ...error, param: null, code: null } });
}

function head(reply: SandboxReply, object: string): object {
  return {
    id: `chatcmpl-${reply.fingerprint}`,
    object,
    created: reply.createdSeconds,
    model: reply.model,
    system_fingerprint: 'fp_sandbox',
  };
}

function toolCall(call: SandboxReply['toolCalls'][number]): object {
  return { id: call.id, type: 'function', function: { name: call.name, arguments: call.arguments } };
}

/** OpenAI counts cached tokens inside the prompt. */
function usage(reply: SandboxReply): object {
  const used = reply.usage;
  if (used === undefined) return {};
  const prompt = used.inputTokens + used.cacheReadTokens + used.cacheWrite5mTokens + used.cacheWrite1hTokens;
  return {
    prompt_tokens: prompt,
    completion_tokens: used.outputTokens,
    total_tokens: prompt + used.outputTokens,
    prompt_tokens_details: { cached_tokens: used.cacheReadTokens, audio_tokens: 0 },
    completion_tokens_details: {
      reasoning_tokens: used.reasoningTokens,
      audio_tokens: 0,
      accepted_prediction_tokens: 0,
      rejected_prediction_tokens: 0,
    },
  };
}
