import { describe, expect, it } from '@jest/globals';
import {
  boundsOf,
  endOf,
  failureOf,
  hostedToolsOf,
  isCancellation,
  isSameRun,
  modelOfFrame,
  reasonOf,
  runOf,
  spanError,
  thrown,
  turnOf,
  usageOf,
  usageOfFrame,
  usageOfText,
} from './translate.ts';

describe('a run', () => {
  it.each([
    ['is what the SDK says', [], { name: 'refunds', agentId: 'support', sessionId: 'group-1' }],
    [
      'is what was stated last',
      [{ agentId: 'a', customerId: 'c' }, { agentId: 'b' }],
      { agentId: 'b', customerId: 'c', sessionId: 'group-1' },
    ],
    ['is not changed by what is stated as undefined', [{ sessionId: 's' }, { sessionId: undefined }], { sessionId: 's' }],
  ])('%s', (_, stated, expected) => {
    expect(runOf({ workflowName: 'refunds', groupId: 'group-1', agentName: 'support' }, ...stated)).toMatchObject(expected);
  });

  it('without a group has no session', () => expect(runOf({ groupId: null }).sessionId).toBeUndefined());
});

describe('the bounds of a call', () => {
  const request = {
    input: [{ role: 'user', content: 'hello' }],
    tools: [],
    handoffs: [],
    outputType: 'text',
    modelSettings: { maxTokens: 9 },
  };

  it('are its output limit and the bytes of its input', () => {
    const { maxOutputTokens, inputTokensMax = 0 } = boundsOf(request);
    expect(maxOutputTokens).toBe(9);
    expect(inputTokensMax).toBeGreaterThan('hello'.length);
    expect(boundsOf({ ...request, systemInstructions: 'x'.repeat(100) }).inputTokensMax ?? 0).toBeGreaterThanOrEqual(inputTokensMax + 98);
    expect(boundsOf({ ...request, input: 'ü' }).inputTokensMax).toBe(Buffer.byteLength(JSON.stringify([undefined, 'ü', [], [], 'text'])));
  });

  it.each([
    ['a conversation OpenAI keeps', { conversationId: 'conv_1' }],
    ['an earlier response', { previousResponseId: 'resp_1' }],
    ['a prompt kept at OpenAI', { prompt: { promptId: 'p' } }],
    ['an image', { input: [{ role: 'user', content: [{ type: 'input_image', image: 'https://example.com/a.png' }] }] }],
    ['a file', { input: [{ role: 'user', content: [{ type: 'input_file', file: { id: 'file_1' } }] }] }],
    ['tools that run at the provider', { tools: [{ type: 'hosted_tool' }] }],
    ['tools in what goes past the SDK', { modelSettings: { providerData: { web_search_options: {} } } }],
    ['a conversation in what goes past the SDK', { modelSettings: { providerData: { extra_body: { conversation: 'conv_1' } } } }],
  ])('are unknown for %s', (_, more) => expect(boundsOf({ ...request, ...more }).inputTokensMax).toBeUndefined());
});

describe('the output limit of a call', () => {
  it.each([
    ['is none when none is stated', undefined, {}, undefined],
    ['is what is stated', 50, undefined, 50],
    ['is what goes past the SDK', undefined, { max_completion_tokens: 70 }, 70],
    ['is the largest of them', 50, { max_tokens: 40, extraBody: { max_output_tokens: 60 } }, 60],
    ['is none when it is taken away', 50, { max_tokens: null }, undefined],
    ['counts for each answer', 50, { n: 3 }, 150],
    ['is none that fits when many answers have none', undefined, { n: 2 }, 2_000_000],
  ])('%s', (_, maxTokens, providerData, expected) => {
    const request = { input: 'hi', tools: [], handoffs: [], outputType: 'text', modelSettings: { maxTokens, providerData } };
    expect(boundsOf(request).maxOutputTokens).toBe(expected);
  });
});

describe('a run of which something is stated', () => {
  const options = { runId: 'r', customerId: 'c', limitUsd: '1', bounds: { max_requests: 1 } };
  it.each([
    [undefined, true],
    [{}, true],
    [{ customerId: 'c', agentId: 'other', properties: { plan: 'pro' } }, true],
    [{ bounds: { max_requests: 1 } }, true],
    [{ runId: 's' }, false],
    [{ sessionId: 's' }, false],
    [{ customerId: 'd' }, false],
    [{ workflowId: 'w' }, false],
    [{ limitUsd: '2' }, false],
    [{ bounds: { max_requests: 2 } }, false],
  ])('%j is the same: %s', (stated, expected) => expect(isSameRun(options, stated)).toBe(expected));
});

describe('what was thrown', () => {
  const unreadable = {
    get name() {
      throw new Error('never');
    },
  };
  it.each([
    ['undefined', undefined, 'undefined was thrown'],
    ['null', null, 'null was thrown'],
    ['text', 'no', 'no'],
    ['a number', 5, '5 was thrown'],
    ['an error', new Error('no such order'), 'no such order'],
    ['an object whose getters throw', unreadable, 'what was thrown can not be read'],
  ])('is told in words: %s', (_, error, expected) => {
    expect(reasonOf(thrown(error))).toBe(expected);
    expect(endOf(thrown(error))).toMatchObject({ status: 'failed', reason: expected });
  });

  it('is a stop when it is an abort', () =>
    expect(endOf(thrown(new DOMException('x', 'AbortError')))).toMatchObject({ status: 'stopped' }));
});

describe('what a call used', () => {
  const output: object[] = [];
  const zero = { inputTokens: 0, outputTokens: 0 };

  it.each([
    [
      'is in disjoint classes, from chat completions',
      {
        rawUsage: {
          prompt_tokens: 100,
          completion_tokens: 50,
          prompt_tokens_details: { cached_tokens: 40, audio_tokens: 5 },
          completion_tokens_details: { reasoning_tokens: 10, audio_tokens: 7 },
        },
      },
      { input_tokens: 55, cache_read_tokens: 40, audio_input_tokens: 5, output_tokens: 43, reasoning_tokens: 10, audio_output_tokens: 7 },
    ],
    [
      'and from Responses, with what was written to a cache',
      {
        rawUsage: {
          input_tokens: 100,
          output_tokens: 50,
          input_tokens_details: { cached_tokens: 40, cache_write_tokens: 20 },
          output_tokens_details: { reasoning_tokens: 10 },
        },
      },
      { input_tokens: 40, cache_read_tokens: 40, cache_write_5m_tokens: 20, output_tokens: 50, reasoning_tokens: 10 },
    ],
    [
      "is the SDK's count where the provider's is not kept",
      {
        usage: {
          inputTokens: 10,
          outputTokens: 5,
          inputTokensDetails: [{ cached_tokens: 2 }],
          outputTokensDetails: { reasoning_tokens: 1 },
        },
      },
      { input_tokens: 8, cache_read_tokens: 2, output_tokens: 5, reasoning_tokens: 1 },
    ],
    [
      "is what a model of the AI SDK's says in its own words, wrapped by aisdk()",
      {
        usage: zero,
        rawUsage: {
          inputTokens: { total: 100, noCache: 40, cacheRead: 40, cacheWrite: 20 },
          outputTokens: { total: 50, text: 40, reasoning: 10 },
          raw: { input_tokens: 40, output_tokens: 50, cache_creation: { ephemeral_1h_input_tokens: 15 } },
        },
      },
      {
        input_tokens: 40,
        cache_read_tokens: 40,
        cache_write_5m_tokens: 5,
        cache_write_1h_tokens: 15,
        output_tokens: 50,
        reasoning_tokens: 10,
      },
    ],
    [
      'is, of an older one, read by what its provider says of the cache',
      {
        rawUsage: { inputTokens: 3_000, outputTokens: 50, cachedInputTokens: 4_000 },
        providerData: { providerMetadata: { anthropic: { cacheCreationInputTokens: 500 } } },
      },
      { input_tokens: 3_000, cache_read_tokens: 4_000, cache_write_5m_tokens: 500, output_tokens: 50 },
    ],
    [
      "is the SDK's count where what is kept are words of somebody else",
      { usage: { inputTokens: 10, outputTokens: 5 }, rawUsage: { promptTokenCount: 10, candidatesTokenCount: 5 } },
      { input_tokens: 10, output_tokens: 5 },
    ],
    [
      'is nothing where the provider said so',
      { usage: zero, rawUsage: { input_tokens: 0, output_tokens: 0 } },
      { input_tokens: 0, output_tokens: 0 },
    ],
  ])('%s', (_, answer, expected) => expect(usageOf({ output, ...answer })).toMatchObject(expected));

  it('is unknown where the SDK made zeros of nothing', () => {
    expect(usageOf({ output, usage: zero })).toBeUndefined();
    expect(usageOf({ output })).toBeUndefined();
    expect(usageOf({ output, usage: zero, rawUsage: {} })).toBeUndefined();
    expect(usageOf({ output, rawUsage: { inputTokens: 3_000, outputTokens: 50, cachedInputTokens: 4_000 } })).toBeUndefined();
    expect(usageOf({ output, usage: zero, rawUsage: { inputTokens: {}, outputTokens: {} } })).toBeUndefined();
  });
});

describe('what a response used that the SDK throws away', () => {
  const response = { usage: { input_tokens: 3, output_tokens: 2 }, output: [{ type: 'web_search_call' }, { type: 'message' }] };
  const used = { input_tokens: 3, output_tokens: 2, web_searches: 1 };
  it('is read off the event that ends it, and off its text', () => {
    expect(usageOfFrame({ type: 'response.incomplete', response })).toMatchObject(used);
    expect(usageOfText(JSON.stringify(response))).toMatchObject(used);
  });

  it.each([
    [{ type: 'response.created', response }],
    [{ type: 'response.failed', response: { usage: null } }],
    [{ choices: [], usage: response.usage }],
    [null],
  ])('is unknown in %j', (frame) => expect(usageOfFrame(frame)).toBeUndefined());
  it.each([undefined, 'not JSON', 'null', '{}'])('is unknown in the text %s', (reply) => expect(usageOfText(reply)).toBeUndefined());
});

describe('a model', () => {
  it.each([
    ['a chunk', { model: 'gpt-5-2026' }, 'gpt-5-2026'],
    ['an event', { type: 'response.created', response: { model: 'gpt-5-2026' } }, 'gpt-5-2026'],
    ['an event without it', { type: 'response.output_text.delta' }, undefined],
    ['nothing', null, undefined],
  ])('is named by %s', (_, frame, expected) => expect(modelOfFrame(frame)).toBe(expected));
});

describe('tools at the provider', () => {
  it('are not tools of ours, nor questions to us', () => {
    const items = [
      { type: 'function_call', name: 'lookup' },
      { type: 'hosted_tool_call', name: 'mcp_approval_request', status: 'completed' },
      {
        type: 'hosted_tool_call',
        name: 'mcp_call',
        status: 'completed',
        providerData: { server_label: 'deepwiki', name: 'ask', error: 'no' },
      },
      { type: 'hosted_tool_call', name: 'file_search_call', status: 'completed' },
    ];
    expect(hostedToolsOf(items)).toEqual([
      { name: 'deepwiki.ask', failed: true },
      { name: 'file_search', failed: false },
    ]);
  });
});

describe('how a call failed', () => {
  const abort = new DOMException('gone', 'AbortError');
  it.each([
    [
      'a provider that answered bills nothing',
      Object.assign(new Error('no'), { status: 400 }),
      false,
      { usage: { input_tokens: 0, output_tokens: 0 } },
    ],
    ['a connection that broke may have been billed', new Error('socket hang up'), false, { usage: undefined }],
    ['an abort is an abort', abort, false, { status: 'aborted' }],
    ['whatever it threw', new Error('odd'), true, { status: 'aborted' }],
  ])('%s', (_, error, isAborted, expected) => expect(failureOf(error, isAborted)).toEqual({ error, ...expected }));

  it.each([
    ['AbortError: gone', true],
    ['Error: AbortError was not it', false],
    [abort, true],
    [new Error('x'), false],
    [undefined, false],
    [null, false],
  ])('%s is a cancellation: %s', (error, expected) => expect(isCancellation(error)).toBe(expected));
});

describe('a span', () => {
  it.each([
    [
      { type: 'turn', agent_name: 'support', turn: 2 },
      { agentId: 'support', iteration: 2 },
    ],
    [{ type: 'agent', name: 'support' }, { agentId: 'support' }],
    [{ type: 'function', name: 'lookup' }, { agentId: undefined }],
  ])('%j places a call', (spanData, expected) => expect(turnOf({ spanData })).toEqual(expected));

  it('may be none at all', () => expect(turnOf(null)).toEqual({ agentId: undefined }));

  it.each([
    [{ message: 'Error in agent run', data: { error: 'Error: too long' } }, 'Error: too long'],
    [{ message: 'Error in agent run' }, 'Error in agent run'],
    [
      { message: 'x', data: { error: 'ModelRefusalError: Model refused to produce output: I\nwill not' } },
      'ModelRefusalError: Model refused to produce output',
    ],
    [{ message: 'x', data: { error: 'Error: Input guardrail triggered: {"text":"SECRET"}' } }, 'Error: Input guardrail triggered'],
    [
      { message: 'x', data: { error: 'Error: Tool input guardrail triggered: no-secrets' } },
      'Error: Tool input guardrail triggered: no-secrets',
    ],
    [null, undefined],
  ])('%j says what went wrong', (error, expected) => expect(spanError(error)).toBe(expected));
});
