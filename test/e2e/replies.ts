/** Replies as the providers send them (shapes of their public API references), with usage that is easy to price by hand. */

export const CHAT_REPLY = {
  id: 'chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG',
  object: 'chat.completion',
  created: 1741570283,
  model: 'gpt-e2e-2026-01-01',
  choices: [
    {
      index: 0,
      message: { role: 'assistant', content: 'Hello there!', refusal: null, annotations: [] },
      logprobs: null,
      finish_reason: 'stop',
    },
  ],
  usage: {
    prompt_tokens: 1000,
    completion_tokens: 100,
    total_tokens: 1100,
    prompt_tokens_details: { cached_tokens: 0, audio_tokens: 0 },
    completion_tokens_details: { reasoning_tokens: 0, audio_tokens: 0, accepted_prediction_tokens: 0, rejected_prediction_tokens: 0 },
  },
  service_tier: 'default',
  system_fingerprint: 'fp_fc9f1d7035',
};

export const CHAT_TOOL_REPLY = {
  ...CHAT_REPLY,
  choices: [
    {
      index: 0,
      message: {
        role: 'assistant',
        content: null,
        refusal: null,
        tool_calls: [
          { id: 'call_abc123', type: 'function', function: { name: 'get_weather', arguments: '{\n"location": "Boston, MA"\n}' } },
        ],
      },
      logprobs: null,
      finish_reason: 'tool_calls',
    },
  ],
};

const chatChunk = (rest: object): string =>
  `data: ${JSON.stringify({ id: 'chatcmpl-123', object: 'chat.completion.chunk', created: 1694268190, model: 'gpt-e2e-2026-01-01', system_fingerprint: 'fp_44709d6fcb', ...rest })}\n\n`;

export const CHAT_USAGE_FRAME = chatChunk({ choices: [], usage: CHAT_REPLY.usage });
/** Two pieces of text, no end. */
export const CHAT_BEGINNING = [
  chatChunk({ choices: [{ index: 0, delta: { role: 'assistant', content: '' }, logprobs: null, finish_reason: null }] }),
  chatChunk({ choices: [{ index: 0, delta: { content: 'Hello' }, logprobs: null, finish_reason: null }] }),
  chatChunk({ choices: [{ index: 0, delta: { content: ' there!' }, logprobs: null, finish_reason: null }] }),
];
const CHAT_STOP = chatChunk({ choices: [{ index: 0, delta: {}, logprobs: null, finish_reason: 'stop' }] });
export const DONE = 'data: [DONE]\n\n';
export const CHAT_STREAM = [...CHAT_BEGINNING, CHAT_STOP, CHAT_USAGE_FRAME, DONE];
export const CHAT_STREAM_WITHOUT_USAGE = [...CHAT_BEGINNING, CHAT_STOP, DONE];

export const RESPONSES_REPLY = {
  id: 'resp_67ccd2bed1ec8190b14f964abc0542670bb6a6b452d3795b',
  object: 'response',
  created_at: 1741476542,
  status: 'completed',
  error: null,
  incomplete_details: null,
  instructions: null,
  max_output_tokens: null,
  model: 'gpt-e2e-2026-01-01',
  output: [
    {
      type: 'message',
      id: 'msg_67ccd2bf17f0819081ff3bb2cf6508e60bb6a6b452d3795b',
      status: 'completed',
      role: 'assistant',
      content: [{ type: 'output_text', text: 'Hello there!', annotations: [] }],
    },
  ],
  parallel_tool_calls: true,
  previous_response_id: null,
  reasoning: { effort: null, summary: null },
  store: true,
  temperature: 1.0,
  text: { format: { type: 'text' } },
  tool_choice: 'auto',
  tools: [],
  top_p: 1.0,
  truncation: 'disabled',
  usage: {
    input_tokens: 1000,
    input_tokens_details: { cached_tokens: 0 },
    output_tokens: 100,
    output_tokens_details: { reasoning_tokens: 0 },
    total_tokens: 1100,
  },
  user: null,
  metadata: {},
};

let sequence = 0;
const responsesEvent = (type: string, rest: object): string =>
  `event: ${type}\ndata: ${JSON.stringify({ type, sequence_number: sequence++, ...rest })}\n\n`;
const [RESPONSES_MESSAGE] = RESPONSES_REPLY.output;
const PART = { item_id: RESPONSES_MESSAGE?.id, output_index: 0, content_index: 0 };
export const RESPONSES_STREAM = [
  responsesEvent('response.created', { response: { ...RESPONSES_REPLY, status: 'in_progress', output: [], usage: null } }),
  responsesEvent('response.output_item.added', { output_index: 0, item: { ...RESPONSES_MESSAGE, status: 'in_progress', content: [] } }),
  responsesEvent('response.content_part.added', { ...PART, part: { type: 'output_text', text: '', annotations: [] } }),
  responsesEvent('response.output_text.delta', { ...PART, delta: 'Hello' }),
  responsesEvent('response.output_text.delta', { ...PART, delta: ' there!' }),
  responsesEvent('response.output_text.done', { ...PART, text: 'Hello there!' }),
  responsesEvent('response.content_part.done', { ...PART, part: { type: 'output_text', text: 'Hello there!', annotations: [] } }),
  responsesEvent('response.output_item.done', { output_index: 0, item: RESPONSES_MESSAGE }),
  responsesEvent('response.completed', { response: RESPONSES_REPLY }),
];

export const EMBEDDINGS_REPLY = {
  object: 'list',
  data: [{ object: 'embedding', index: 0, embedding: [0.0023064255, -0.009327292, -0.0028842222] }],
  model: 'embed-e2e',
  usage: { prompt_tokens: 1000, total_tokens: 1000 },
};

export const MESSAGE_REPLY = {
  id: 'msg_01XFDUDYJgAACzvnptvVoYEL',
  type: 'message',
  role: 'assistant',
  model: 'claude-e2e-20260101',
  content: [{ type: 'text', text: 'Hello there!' }],
  stop_reason: 'end_turn',
  stop_sequence: null,
  usage: { input_tokens: 1000, cache_creation_input_tokens: 0, cache_read_input_tokens: 0, output_tokens: 100, service_tier: 'standard' },
};

export const MESSAGE_TOOL_REPLY = {
  ...MESSAGE_REPLY,
  content: [
    { type: 'text', text: 'Let me look.' },
    { type: 'tool_use', id: 'toolu_01A09q90qw90lq917835lq9', name: 'get_weather', input: { location: 'San Francisco, CA' } },
  ],
  stop_reason: 'tool_use',
};

const messageEvent = (type: string, rest: object = {}): string => `event: ${type}\ndata: ${JSON.stringify({ type, ...rest })}\n\n`;
export const MESSAGE_BEGINNING = [
  messageEvent('message_start', {
    message: { ...MESSAGE_REPLY, content: [], stop_reason: null, usage: { ...MESSAGE_REPLY.usage, output_tokens: 1 } },
  }),
  messageEvent('content_block_start', { index: 0, content_block: { type: 'text', text: '' } }),
  messageEvent('ping'),
  messageEvent('content_block_delta', { index: 0, delta: { type: 'text_delta', text: 'Hello' } }),
  messageEvent('content_block_delta', { index: 0, delta: { type: 'text_delta', text: ' there!' } }),
];
export const MESSAGE_STREAM = [
  ...MESSAGE_BEGINNING,
  messageEvent('content_block_stop', { index: 0 }),
  messageEvent('message_delta', { delta: { stop_reason: 'end_turn', stop_sequence: null }, usage: { output_tokens: 100 } }),
  messageEvent('message_stop'),
];

export const OPENAI_BAD_REQUEST = {
  error: {
    message: "Unsupported value: 'temperature' does not support 3.",
    type: 'invalid_request_error',
    param: 'temperature',
    code: 'unsupported_value',
  },
};
export const OPENAI_OVERLOADED = {
  error: {
    message: 'The server had an error while processing your request. Sorry about that!',
    type: 'server_error',
    param: null,
    code: null,
  },
};
export const ANTHROPIC_OVERLOADED = {
  type: 'error',
  error: { type: 'overloaded_error', message: 'Overloaded' },
  request_id: 'req_011CSHoEeqs5C35K2UUqR7Fy',
};
export const ANTHROPIC_BAD_REQUEST = {
  type: 'error',
  error: { type: 'invalid_request_error', message: 'max_tokens: must be at least 1' },
  request_id: 'req_011CSHoEeqs5C35K2UUqR7Fz',
};
