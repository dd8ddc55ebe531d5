import type { ScriptedReply, ScriptedUsage } from '../scenario.ts';

/** What a model answers: text, or calls of tools. */
export interface Reply extends Pick<ScriptedReply, 'text' | 'usage'> {
  /** `id`: made up when left out. */
  readonly tool_calls?: readonly (NonNullable<ScriptedReply['tool_calls']>[number] & { readonly id?: string })[] | undefined;
  /** Of Responses alone: items that tools at the provider made, before the rest of the output. */
  readonly hosted?: readonly object[] | undefined;
}

/** A reply written as one of OpenAI's two wire formats: whole, or as the frames of its stream. */
export interface WireReply {
  body(reply: Reply, call: ReplyContext): object;
  /** SSE frames in order; the pieces of text are several, so that a reader that keeps only one is found out. */
  frames(reply: Reply, call: ReplyContext): readonly string[];
  /** How many frames a stream that hangs has sent by then: those up to its first piece of text. */
  readonly framesToFirstText: number;
}

export interface ReplyContext {
  readonly id: string;
  readonly model: string;
  /** The caller asked for usage in the stream. */
  readonly streamUsage: boolean;
  readonly createdAt: number;
}

/** Both wires by the path they answer. */
export const WIRE_REPLIES: Readonly<Record<string, WireReply>> = {
  '/v1/chat/completions': {
    framesToFirstText: 2,
    body: (reply, call) => ({
      id: call.id,
      object: 'chat.completion',
      created: call.createdAt,
      model: call.model,
      choices: [
        {
          index: 0,
          message: { role: 'assistant', content: reply.text ?? null, refusal: null, ...chatToolCalls(reply, call) },
          logprobs: null,
          finish_reason: finishReason(reply),
        },
      ],
      ...(reply.usage === null ? {} : { usage: chatUsage(reply.usage) }),
    }),
    frames: (reply, call) => {
      const chunk = (choices: readonly object[], rest: object = {}): string =>
        dataFrame({ id: call.id, object: 'chat.completion.chunk', created: call.createdAt, model: call.model, choices, ...rest });
      const delta = (change: object, finish: string | null = null): object => ({
        index: 0,
        delta: change,
        logprobs: null,
        finish_reason: finish,
      });
      return [
        chunk([delta({ role: 'assistant', content: reply.text === undefined ? null : '' })]),
        ...pieces(reply.text).map((piece) => chunk([delta({ content: piece })])),
        ...(reply.tool_calls ?? []).flatMap((tool, index) => [
          chunk([
            delta({
              tool_calls: [{ index, id: toolCallId(call, index, tool), type: 'function', function: { name: tool.name, arguments: '' } }],
            }),
          ]),
          ...pieces(JSON.stringify(tool.arguments)).map((piece) =>
            chunk([delta({ tool_calls: [{ index, function: { arguments: piece } }] })]),
          ),
        ]),
        chunk([delta({}, finishReason(reply))]),
        ...(call.streamUsage && reply.usage !== null ? [chunk([], { usage: chatUsage(reply.usage) })] : []),
        'data: [DONE]\n\n',
      ];
    },
  },
  '/v1/responses': {
    framesToFirstText: 4,
    body: (reply, call) => response(reply, call, 'completed'),
    frames: (reply, call) => {
      let sequence = 0;
      const event = (type: string, rest: object): string => `event: ${type}\n${dataFrame({ type, sequence_number: sequence++, ...rest })}`;
      const hosted = reply.hosted ?? [];
      const output = outputOf(reply, call).map((item, index) => ({ item, output_index: hosted.length + index }));
      return [
        event('response.created', { response: { ...response(reply, call, 'in_progress'), output: [], usage: null } }),
        ...hosted.map((item, output_index) => event('response.output_item.done', { output_index, item })),
        ...output.flatMap(({ item, output_index }) => [
          event('response.output_item.added', {
            output_index,
            item: { ...item, status: 'in_progress', ...(item.type === 'message' ? { content: [] } : { arguments: '' }) },
          }),
          ...(item.type === 'message'
            ? [
                event('response.content_part.added', {
                  item_id: item.id,
                  output_index,
                  content_index: 0,
                  part: { type: 'output_text', text: '', annotations: [] },
                }),
                ...pieces(reply.text).map((delta) =>
                  event('response.output_text.delta', { item_id: item.id, output_index, content_index: 0, delta, logprobs: [] }),
                ),
                event('response.output_text.done', {
                  item_id: item.id,
                  output_index,
                  content_index: 0,
                  text: reply.text ?? '',
                  logprobs: [],
                }),
                event('response.content_part.done', {
                  item_id: item.id,
                  output_index,
                  content_index: 0,
                  part: { type: 'output_text', text: reply.text ?? '', annotations: [] },
                }),
              ]
            : [
                ...pieces(item.arguments).map((delta) =>
                  event('response.function_call_arguments.delta', { item_id: item.id, output_index, delta }),
                ),
                event('response.function_call_arguments.done', { item_id: item.id, output_index, arguments: item.arguments }),
              ]),
          event('response.output_item.done', { output_index, item }),
        ]),
        event('response.completed', { response: response(reply, call, 'completed') }),
      ];
    },
  },
};

/** The id a tool call carries on both wires; unique per model call. */
function toolCallId(call: ReplyContext, index: number, { id }: { readonly id?: string }): string {
  return id ?? `call_${call.id}_${index}`;
}

function chatToolCalls(reply: Reply, call: ReplyContext): object {
  if (reply.tool_calls === undefined) return {};
  return {
    tool_calls: reply.tool_calls.map((tool, index) => ({
      id: toolCallId(call, index, tool),
      type: 'function',
      function: { name: tool.name, arguments: JSON.stringify(tool.arguments) },
    })),
  };
}

function finishReason(reply: Reply): string {
  return reply.tool_calls === undefined ? 'stop' : 'tool_calls';
}

function chatUsage(usage: ScriptedUsage): object {
  return {
    prompt_tokens: usage.input_tokens,
    completion_tokens: usage.output_tokens,
    total_tokens: usage.input_tokens + usage.output_tokens,
    prompt_tokens_details: { cached_tokens: usage.cached_tokens, audio_tokens: 0 },
    completion_tokens_details: {
      reasoning_tokens: usage.reasoning_tokens,
      audio_tokens: 0,
      accepted_prediction_tokens: 0,
      rejected_prediction_tokens: 0,
    },
  };
}

type OutputItem =
  | {
      readonly type: 'message';
      readonly id: string;
      readonly status: string;
      readonly role: 'assistant';
      readonly content: readonly object[];
    }
  | {
      readonly type: 'function_call';
      readonly id: string;
      readonly status: string;
      readonly call_id: string;
      readonly name: string;
      readonly arguments: string;
    };

function outputOf(reply: Reply, call: ReplyContext): readonly OutputItem[] {
  const message: readonly OutputItem[] =
    reply.text === undefined
      ? []
      : [
          {
            type: 'message',
            id: `msg_${call.id}`,
            status: 'completed',
            role: 'assistant',
            content: [{ type: 'output_text', text: reply.text, annotations: [], logprobs: [] }],
          },
        ];
  const tools: readonly OutputItem[] = (reply.tool_calls ?? []).map((tool, index) => ({
    type: 'function_call',
    id: `fc_${call.id}_${index}`,
    status: 'completed',
    call_id: toolCallId(call, index, tool),
    name: tool.name,
    arguments: JSON.stringify(tool.arguments),
  }));
  return [...message, ...tools];
}

function response(reply: Reply, call: ReplyContext, status: string): object {
  const usage = reply.usage;
  return {
    ...{
      id: call.id,
      object: 'response',
      created_at: call.createdAt,
      status,
      model: call.model,
      error: null,
      incomplete_details: null,
      instructions: null,
      metadata: {},
      parallel_tool_calls: true,
      tool_choice: 'auto',
      tools: [],
      temperature: 1,
      top_p: 1,
    },
    output: [...(reply.hosted ?? []), ...outputOf(reply, call)],
    ...{
      usage:
        usage === null
          ? null
          : {
              input_tokens: usage.input_tokens,
              input_tokens_details: { cached_tokens: usage.cached_tokens },
              output_tokens: usage.output_tokens,
              output_tokens_details: { reasoning_tokens: usage.reasoning_tokens },
              total_tokens: usage.input_tokens + usage.output_tokens,
            },
    },
  };
}

/** Text cut in three, or fewer when it is short. */
function pieces(text: string | undefined): readonly string[] {
  if (text === undefined || text === '') return [];
  const size = Math.ceil(text.length / 3);
  return Array.from({ length: Math.ceil(text.length / size) }, (_, index) => text.slice(index * size, (index + 1) * size));
}

function dataFrame(json: object): string {
  return `data: ${JSON.stringify(json)}\n\n`;
}
