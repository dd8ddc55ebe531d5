import { describe, expect, it } from '@jest/globals';
import { WIRES, type JsonObject, type ModelCall, type Wire } from './index.ts';

function wire(name: string): Wire {
  const found = [...WIRES.values()].find((candidate) => candidate.name === name);
  if (found === undefined) throw new Error(name);
  return found;
}

const SMALLEST: Readonly<Record<string, JsonObject>> = {
  chat: { model: 'gpt-4o-mini', messages: [{ role: 'user', content: 'Hi' }] },
  responses: { model: 'gpt-4.1', input: 'Hi' },
  messages: { model: 'claude-sonnet-4-6', max_tokens: 100, messages: [{ role: 'user', content: 'Hi' }] },
  embeddings: { model: 'text-embedding-3-small', input: 'Hi' },
};

function read(name: string, some: JsonObject): ReturnType<Wire['readCall']> {
  const body = { ...SMALLEST[name], ...some };
  return wire(name).readCall(body, Buffer.byteLength(JSON.stringify(body)));
}

function call(name: string, some: JsonObject): ModelCall {
  const result = read(name, some);
  if (result.type === 'invalid') throw new Error(result.refusal.message);
  return result.call;
}

describe('a caller’s mistake is refused and its field named', () => {
  it.each([
    ['chat', { model: undefined }, 'model'],
    ['chat', { model: 5 }, 'model'],
    ['chat', { model: '' }, 'model'],
    ['chat', { messages: undefined }, 'messages'],
    ['chat', { messages: null }, 'messages'],
    ['chat', { messages: [] }, 'messages'],
    ['chat', { messages: 'Hi' }, 'messages'],
    ['chat', { messages: [{ role: 'user', content: 'Hi' }, 'Hi'] }, 'messages[1]'],
    ['chat', { stream: 'yes' }, 'stream'],
    ['chat', { stream_options: true }, 'stream_options'],
    ['chat', { max_tokens: '100' }, 'max_tokens'],
    ['chat', { max_tokens: 0 }, 'max_tokens'],
    ['chat', { max_tokens: -1 }, 'max_tokens'],
    ['chat', { max_completion_tokens: 1.5 }, 'max_completion_tokens'],
    ['chat', { max_completion_tokens: 1e300 }, 'max_completion_tokens'],
    ['chat', { n: 0 }, 'n'],
    ['chat', { tools: {} }, 'tools'],
    ['responses', { input: undefined }, 'input'],
    ['responses', { input: 5 }, 'input'],
    ['responses', { max_output_tokens: 'many' }, 'max_output_tokens'],
    ['responses', { background: 'yes' }, 'background'],
    ['messages', { max_tokens: undefined }, 'max_tokens'],
    ['messages', { max_tokens: -1 }, 'max_tokens'],
    ['messages', { messages: [] }, 'messages'],
    ['messages', { thinking: 'yes' }, 'thinking'],
    ['embeddings', { input: undefined }, 'input'],
    ['embeddings', { input: [] }, 'input'],
    ['embeddings', { input: '' }, 'input'],
    ['embeddings', { input: [1, 'a'] }, 'input'],
    ['embeddings', { input: [{ image: 'https://example.com/a.png' }] }, 'input'],
  ])('%s %j', (name, some, param) => {
    const result = read(name, some);
    expect(result).toMatchObject({ type: 'invalid', refusal: { code: 'invalid_request', param } });
    if (result.type === 'invalid')
      expect(wire(name).refusalBody(result.refusal, 'req_1')).toMatchObject({
        error: { type: 'invalid_request_error', code: 'invalid_request', param, message: expect.any(String) },
      });
  });

  it('refuses a body deeper than the stack instead of failing', () => {
    let deep: unknown = [{ type: 'tool_result' }];
    for (let depth = 0; depth < 50_000; depth += 1) deep = [{ type: 'tool_result', content: deep }];
    const body = { ...SMALLEST['messages'], messages: [{ role: 'user', content: deep }] };
    expect(wire('messages').readCall(body, 1_000_000)).toMatchObject({ type: 'invalid' });
    expect(wire('messages').countInputTokens(body, 'claude-sonnet-4-6')).toBe(Number.MAX_SAFE_INTEGER);
  });
});

describe('what admission must know', () => {
  it.each<[string, JsonObject, Partial<ModelCall>]>([
    [
      'chat',
      {},
      {
        model: 'gpt-4o-mini',
        stream: false,
        choices: 1,
        outputTokensLimit: undefined,
        webSearchesMax: 0,
        wantsStreamUsage: false,
        audioOutput: false,
        unbounded: undefined,
      },
    ],
    ['chat', { max_tokens: 10 }, { outputTokensLimit: 10 }],
    ['chat', { max_tokens: 10, max_completion_tokens: 20 }, { outputTokensLimit: 20 }],
    ['chat', { max_tokens: null, n: null, stream: null, tools: null, stream_options: null }, { outputTokensLimit: undefined, choices: 1 }],
    ['chat', { n: 3 }, { choices: 3 }],
    ['chat', { best_of: 4, n: 2 }, { choices: 4 }],
    ['chat', { stream: true, stream_options: { include_usage: true } }, { stream: true, wantsStreamUsage: true }],
    ['chat', { modalities: ['text', 'audio'], audio: { voice: 'alloy', format: 'wav' } }, { audioOutput: true }],
    ['chat', { web_search_options: {} }, { webSearchesMax: 1, webSearchesUnreported: true }],
    ['chat', { model: 'openai/gpt-4o-search-preview' }, { webSearchesMax: 1 }],
    ['chat', { prediction: { type: 'content', content: 'abcdef' } }, { outputTokensExtra: 6 }],
    ['chat', { model: 'gpt-5' }, { hiddenReasoning: true }],
    ['chat', { model: 'gpt-5', service_tier: 'priority' }, { ratePercentMax: 200 }],
    ['chat', { service_tier: 'fast' }, { ratePercentMax: 167 }],
    ['responses', { max_output_tokens: 50 }, { outputTokensLimit: 50, choices: 1, wantsStreamUsage: true }],
    ['responses', { previous_response_id: 'resp_1' }, { inputUnbounded: true }],
    ['responses', { input: undefined, conversation: 'conv_1' }, { inputUnbounded: true }],
    [
      'responses',
      {
        tools: [{ type: 'web_search' }, { type: 'file_search' }, { type: 'code_interpreter', container: { type: 'auto' } }],
        max_tool_calls: 3,
      },
      { turnsMax: 4, webSearchesMax: 3, feesMax: 37_500_000n, unbounded: undefined },
    ],
    [
      'responses',
      {
        tools: [
          { type: 'function', name: 'f' },
          { type: 'custom', name: 'c' },
        ],
      },
      { unbounded: undefined },
    ],
    ['responses', { context_management: [{ type: 'compaction' }] }, { turnsMax: 2 }],
    ['responses', { input: [{ type: 'item_reference', id: 'msg_1' }] }, { inputUnbounded: true }],
    ['messages', {}, { outputTokensLimit: 100, choices: 1, unbounded: undefined }],
    ['messages', { max_tokens: 0 }, { outputTokensLimit: 0 }],
    ['messages', { cache_control: { type: 'ephemeral' } }, { cacheWrite: '5m' }],
    ['messages', { system: [{ type: 'text', text: 'x', cache_control: { type: 'ephemeral', ttl: '1h' } }] }, { cacheWrite: '1h' }],
    [
      'messages',
      {
        messages: [
          {
            role: 'user',
            content: [{ type: 'tool_result', content: [{ type: 'text', text: 'x', cache_control: { type: 'ephemeral' } }] }],
          },
        ],
      },
      { cacheWrite: '5m' },
    ],
    [
      'messages',
      { tools: [{ type: 'web_search_20260209', name: 'web_search', max_uses: 2 }] },
      { turnsMax: 3, choices: 3, webSearchesMax: 2, unbounded: undefined },
    ],
    [
      'messages',
      {
        tools: [
          { name: 'f', input_schema: {} },
          { type: 'bash_20250124', name: 'bash' },
        ],
      },
      { unbounded: undefined },
    ],
    ['messages', { thinking: { type: 'enabled', budget_tokens: 1024 } }, { hiddenReasoning: true, outputTokensLeast: 1025 }],
    ['responses', {}, { outputTokensLeast: 16 }],
    ['messages', { speed: 'fast', inference_geo: 'us', model: 'claude-opus-5' }, { ratePercentMax: 220 }],
    ['messages', { context_management: { edits: [{ type: 'compact_20260112' }] } }, { turnsMax: 2, choices: 2 }],
    [
      'embeddings',
      {
        input: [
          [1, 2, 3],
          [4, 5],
        ],
      },
      { choices: 0, inputTokensMax: 13 },
    ],
    ['embeddings', { input: [1, 2, 3] }, { inputTokensMax: 15 }],
  ])('%s %j', (name, some, expected) => expect(call(name, some)).toMatchObject(expected));

  it.each([
    ['chat', { models: ['a/b'] }, 'models'],
    ['chat', { plugins: [{ id: 'web' }] }, 'plugins'],
    ['chat', { search_parameters: { mode: 'on' } }, 'search_parameters'],
    ['chat', { tools: [{ type: 'builtin_function', function: { name: '$web_search' } }] }, 'tools'],
    ['chat', { service_tier: 'ultrafast' }, 'service_tier'],
    ['responses', { tools: [{ type: 'web_search' }] }, 'max_tool_calls'],
    ['responses', { tools: [{ type: 'mcp', server_url: 'https://example.com' }] }, 'max_tool_calls'],
    ['responses', { tools: [{ type: 'image_generation' }], max_tool_calls: 2 }, 'tools'],
    ['responses', { tools: [{ type: 'something_new' }] }, 'tools'],
    ['responses', { tools: [{ type: 'tool_search' }] }, 'tools'],
    ['responses', { tools: [{ type: 'shell', environment: { type: 'container_auto' } }] }, 'tools'],
    ['responses', { prompt: { id: 'pmpt_1' } }, 'prompt'],
    ['messages', { tools: [{ type: 'web_search_20250305', name: 'web_search' }] }, 'tools'],
    ['messages', { tools: [{ type: 'code_execution_20250825', name: 'code_execution' }] }, 'tools'],
    ['messages', { mcp_servers: [{ type: 'url', url: 'https://example.com' }] }, 'mcp_servers'],
    ['messages', { fallbacks: 'default' }, 'fallbacks'],
  ])('%s %j has no bound, and says how to get one', (name, some, param) => {
    const { unbounded } = call(name, some);
    expect(unbounded?.param).toBe(param);
    expect(unbounded?.reason.length).toBeGreaterThan(20);
  });

  it('tools that the caller carries out cost tokens alone', () => {
    const tools = [
      { type: 'function', name: 'f' },
      { type: 'apply_patch' },
      { type: 'tool_search', execution: 'client' },
      { type: 'shell', environment: { type: 'local' } },
    ];
    expect(call('responses', { tools }).unbounded).toBeUndefined();
  });

  it.each<[Parameters<typeof call>[0], Record<string, unknown>, readonly (string | null)[] | undefined]>([
    ['chat', {}, undefined],
    ['chat', { models: ['a/one', 'b/two'] }, ['a/one', 'b/two']],
    ['chat', { fallbacks: [{ model: 'a/one' }, 7] }, ['a/one', null]],
    ['responses', { models: 'auto' }, [null]],
    ['messages', { fallbacks: 'default' }, [null]],
    ['messages', { fallbacks: [{ model: 'claude-opus-5' }] }, ['claude-opus-5']],
  ])('%s %j names the models that may answer instead: %j', (name, some, expected) => {
    expect(call(name, some).otherModels).toEqual(expected);
  });
});

describe('the input bound', () => {
  const BASE64 = 'A'.repeat(400_000);
  const DATA_URL = `data:image/png;base64,${BASE64}`;
  const user = (part: unknown): JsonObject => ({ messages: [{ role: 'user', content: [{ type: 'text', text: 'Look' }, part] }] });

  it('is the bytes of the body, which no count of tokens exceeds, and the template', () => {
    const body = { ...SMALLEST['chat'], messages: [{ role: 'user', content: '中文🎉'.repeat(100) }] };
    const bytes = Buffer.byteLength(JSON.stringify(body));
    const result = wire('chat').readCall(body, bytes);
    expect(result.type === 'call' && result.call.inputTokensMax).toBe(bytes + 128);
  });

  it.each<[string, string, JsonObject, number]>([
    ['an image of gpt-4o by its tiles', 'chat', { model: 'gpt-4o', ...user({ type: 'image_url', image_url: { url: DATA_URL } }) }, 1536],
    [
      'an image of gpt-4o at low detail',
      'chat',
      { model: 'gpt-4o', ...user({ type: 'image_url', image_url: { url: DATA_URL, detail: 'low' } }) },
      85,
    ],
    [
      'an image of gpt-4o-mini, which counts many',
      'chat',
      { model: 'openai/gpt-4o-mini', ...user({ type: 'image_url', image_url: { url: DATA_URL } }) },
      48_169,
    ],
    [
      'a remote image at the documented maximum',
      'chat',
      { model: 'gpt-5.5', ...user({ type: 'image_url', image_url: { url: 'https://example.com/a.png' } }) },
      16_200,
    ],
    [
      'an image of a model nobody documents',
      'chat',
      { model: 'house-vision', ...user({ type: 'image_url', image_url: { url: DATA_URL } }) },
      16_384,
    ],
    [
      'an image of Claude’s',
      'messages',
      { ...user({ type: 'image', source: { type: 'base64', media_type: 'image/png', data: BASE64 } }) },
      1640,
    ],
    [
      'an image of a newer Claude’s',
      'messages',
      { model: 'claude-opus-5', ...user({ type: 'image', source: { type: 'url', url: 'https://example.com/a.png' } }) },
      5000,
    ],
    [
      'an image a tool brought',
      'messages',
      { ...user({ type: 'tool_result', tool_use_id: 't', content: [{ type: 'image', source: { type: 'base64', data: BASE64 } }] }) },
      1640,
    ],
    [
      'an image in Responses',
      'responses',
      { model: 'gpt-4o', input: [{ role: 'user', content: [{ type: 'input_image', image_url: DATA_URL, detail: 'low' }] }] },
      85,
    ],
    [
      'a screenshot in Responses',
      'responses',
      {
        model: 'gpt-4o',
        input: [{ type: 'computer_call_output', call_id: 'c', output: { type: 'computer_screenshot', image_url: DATA_URL } }],
      },
      1536,
    ],
    [
      'sound in MP3 by its slowest rate',
      'chat',
      { model: 'gpt-audio', ...user({ type: 'input_audio', input_audio: { data: BASE64, format: 'mp3' } }) },
      9600,
    ],
  ])('takes %s and not its base64', (_, name, some, tokens) => {
    const body = { ...SMALLEST[name], ...some };
    const bytes = Buffer.byteLength(JSON.stringify(body));
    const payload = JSON.stringify(body).includes(BASE64) ? (JSON.stringify(body).includes(DATA_URL) ? DATA_URL.length : BASE64.length) : 0;
    expect(call(name, some).inputTokensMax).toBe(bytes - payload + tokens + 128);
    // The tokenizer must not read it either.
    expect(wire(name).countInputTokens(body, String(body['model']))).toBeLessThan(tokens + 1000);
  });

  it('marks sound, so that it can be priced as sound', () => {
    expect(call('chat', user({ type: 'input_audio', input_audio: { data: BASE64, format: 'mp3' } }))).toMatchObject({
      audioInputTokensMax: 9600,
    });
  });

  it('reads the rate of a WAV from its header', () => {
    const wav = Buffer.alloc(48_044);
    wav.write('RIFF', 0);
    wav.write('WAVE', 8);
    wav.writeUInt32LE(48_000, 28);
    expect(
      call('chat', user({ type: 'input_audio', input_audio: { data: wav.toString('base64'), format: 'wav' } })).audioInputTokensMax,
    ).toBeLessThan(110);
    expect(
      call('chat', user({ type: 'input_audio', input_audio: { data: Buffer.alloc(1000).toString('base64'), format: 'wav' } }))
        .audioInputTokensMax,
    ).toBeGreaterThanOrEqual(1000);
  });

  it.each<[string, JsonObject]>([
    ['chat', user({ type: 'file', file: { file_id: 'file_1' } })],
    ['chat', user({ type: 'file', file: { file_data: 'data:application/pdf;base64,JVBERi0' } })],
    ['chat', user({ type: 'video_url', video_url: { url: 'https://example.com/a.mp4' } })],
    ['chat', { messages: [{ role: 'assistant', audio: { id: 'audio_1' } }] }],
    ['messages', user({ type: 'document', source: { type: 'url', url: 'https://example.com/a.pdf' } })],
    ['messages', user({ type: 'document', source: { type: 'base64', media_type: 'application/pdf', data: 'JVBERi0' } })],
    ['messages', user({ type: 'container_upload', file_id: 'file_1' })],
    ['responses', { input: [{ role: 'user', content: [{ type: 'input_file', file_id: 'file_1' }] }] }],
  ])('is left to the context window where input cannot be seen: %s %j', (name, some) =>
    expect(call(name, some)).toMatchObject({ inputUnbounded: true }),
  );

  it.each<[string, JsonObject]>([
    ['messages', user({ type: 'document', source: { type: 'text', media_type: 'text/plain', data: 'All of it is here.' } })],
    ['messages', user({ type: 'document', source: { type: 'content', content: [{ type: 'text', text: 'Here.' }] } })],
    [
      'responses',
      {
        input: [
          { type: 'function_call_output', call_id: 'c', output: 'text' },
          { role: 'assistant', content: [{ type: 'output_text', text: 'x' }] },
        ],
      },
    ],
  ])('is seen where text is text: %s %j', (name, some) => expect(call(name, some).inputUnbounded).toBeUndefined());
});

describe('counting tokens', () => {
  const count = (name: string, some: JsonObject): number => {
    const body: JsonObject = { ...SMALLEST[name], ...some };
    return wire(name).countInputTokens(body, String(body['model']));
  };
  const prose = 'The quick brown fox jumps over the lazy dog. '.repeat(200);
  const say = (content: string, model: string): JsonObject => ({ model, messages: [{ role: 'user', content }] });

  it('is near the truth for OpenAI’s models and far below the bytes', () => {
    // 200 sentences of 10 tokens.
    expect(count('chat', say(prose, 'gpt-4o'))).toBeGreaterThanOrEqual(2000);
    expect(count('chat', say(prose, 'gpt-4o'))).toBeLessThan(2000 + 128 + 40);
  });

  it('doubles for other families, and takes bytes for scripts they cut otherwise', () => {
    expect(count('chat', say(prose, 'claude-opus-5'))).toBeGreaterThanOrEqual(4000);
    expect(count('chat', say('数据'.repeat(500), 'llama-3'))).toBeGreaterThanOrEqual(3000);
    expect(count('chat', say('数据'.repeat(500), 'gpt-4o'))).toBeLessThan(1500);
  });

  it('is not confused by text that spells special tokens', () =>
    expect(count('chat', say('<|endoftext|><|im_start|>', 'gpt-4o'))).toBeGreaterThan(10));

  it('counts tools with their structure, and instructions', () => {
    const tools = [
      {
        type: 'function',
        function: { name: 'f', description: prose, parameters: { type: 'object', properties: { some_field: { type: 'string' } } } },
      },
    ];
    expect(count('chat', { model: 'gpt-4o', tools })).toBeGreaterThan(2000);
    expect(count('responses', { instructions: prose })).toBeGreaterThan(2000);
    expect(count('messages', { system: [{ type: 'text', text: prose }] })).toBeGreaterThan(4000);
  });

  it('counts lists of tokens as they are', () => expect(count('embeddings', { input: [[1, 2, 3], [4]] })).toBe(4));

  it.each(['a'.repeat(300_000), '='.repeat(300_000), '中'.repeat(100_000), ' '.repeat(300_000), '\n'.repeat(300_000)])(
    'does not hang on a run of one character',
    (run) => {
      const started = performance.now();
      const tokens = count('chat', say(run, 'gpt-4o'));
      expect(performance.now() - started).toBeLessThan(1500);
      expect(tokens).toBeLessThanOrEqual(Buffer.byteLength(run) + 200);
    },
  );
});

describe('changing a body', () => {
  const change = (name: string, text: string, changes: Parameters<Wire['changeBody']>[2]): string =>
    wire(name).changeBody(text, JSON.parse(text) as JsonObject, changes);

  it.each<[string, string, string, Parameters<Wire['changeBody']>[2], string]>([
    ['nothing', 'chat', '{"model":"m"}', {}, '{"model":"m"}'],
    [
      'the model',
      'chat',
      '{"model":"openai/gpt-4o","seed":12345678901234567890}',
      { model: 'gpt-4o' },
      '{"model":"gpt-4o","seed":12345678901234567890}',
    ],
    [
      'the limit in the field the caller used',
      'chat',
      '{"model":"gpt-4o","max_tokens":500}',
      { outputTokensLimit: 9 },
      '{"model":"gpt-4o","max_tokens":9}',
    ],
    [
      'both limits where both were used',
      'chat',
      '{"model":"gpt-4o","max_tokens":500,"max_completion_tokens":600}',
      { outputTokensLimit: 9 },
      '{"model":"gpt-4o","max_tokens":9,"max_completion_tokens":9}',
    ],
    [
      'a limit in the newer field for OpenAI’s own models',
      'chat',
      '{"model":"openai/gpt-5"}',
      { outputTokensLimit: 9 },
      '{"max_completion_tokens":9,"model":"openai/gpt-5"}',
    ],
    [
      'a limit in the older field for compatible servers',
      'chat',
      '{"model":"llama-3.3-70b"}',
      { outputTokensLimit: 9 },
      '{"max_tokens":9,"model":"llama-3.3-70b"}',
    ],
    [
      'a limit in the older field for open weights, whoever serves them',
      'chat',
      '{"model":"gpt-oss-120b"}',
      { outputTokensLimit: 9 },
      '{"max_tokens":9,"model":"gpt-oss-120b"}',
    ],
    [
      'a null limit',
      'chat',
      '{"model":"gpt-4o","max_tokens":null,"max_completion_tokens":null}',
      { outputTokensLimit: 9 },
      '{"model":"gpt-4o","max_tokens":null,"max_completion_tokens":9}',
    ],
    [
      'the usage of a stream',
      'chat',
      '{"model":"m","stream":true}',
      { streamUsage: true },
      '{"stream_options":{"include_usage":true},"model":"m","stream":true}',
    ],
    [
      'the usage beside other options',
      'chat',
      '{"stream_options":{"include_obfuscation":false,"include_usage":false}}',
      { streamUsage: true },
      '{"stream_options":{"include_obfuscation":false,"include_usage":true}}',
    ],
    ['the limit of Responses', 'responses', '{"model":"gpt-5"}', { outputTokensLimit: 9 }, '{"max_output_tokens":9,"model":"gpt-5"}'],
    [
      'the limit of messages',
      'messages',
      '{"model":"a/claude","max_tokens":4096}',
      { model: 'claude', outputTokensLimit: 9 },
      '{"model":"claude","max_tokens":9}',
    ],
    [
      'the model of embeddings',
      'embeddings',
      '{"model":"o/e","input":"x"}',
      { model: 'e', outputTokensLimit: 9 },
      '{"model":"e","input":"x"}',
    ],
    ['a twin, settled', 'chat', '{"max_tokens":90000,"model":"m","max_tokens":5}', {}, '{"model":"m","max_tokens":5}'],
  ])('%s', (_, name, text, changes, expected) => expect(change(name, text, changes)).toBe(expected));
});

describe('a refusal', () => {
  const refusal = {
    code: 'budget_exceeded',
    message: 'No.',
    blockedBy: 'run:*',
    details: { limit_usd: '0.5', message: 'hidden' },
  } as const;

  it('reads as an OpenAI error', () => {
    expect(wire('chat').refusalBody(refusal, 'req_1')).toEqual({
      error: {
        message: 'No.',
        type: 'budget_error',
        param: null,
        code: 'budget_exceeded',
        blocked_by: 'run:*',
        limit_usd: '0.5',
        request_id: 'req_1',
      },
    });
  });

  it('reads as an Anthropic error on messages', () => {
    expect(wire('messages').refusalBody(refusal, 'req_1')).toEqual({
      type: 'error',
      error: { message: 'No.', type: 'budget_error', param: null, code: 'budget_exceeded', blocked_by: 'run:*', limit_usd: '0.5' },
      request_id: 'req_1',
    });
  });
});
