import { describe, expect, it } from '@jest/globals';
import { RequestContext } from '@mastra/core/request-context';
import { isAtGateway } from '@runpurse/core';
import { answerWith, boundsOf, failureOf, isCancellation, usageOf, type ModelUsage } from '@runpurse/core/language-model';
import { contextOf, endpointOf, spanUsage } from './translate.ts';

const NONE = {
  cache_read_tokens: 0,
  cache_write_5m_tokens: 0,
  cache_write_1h_tokens: 0,
  reasoning_tokens: 0,
  audio_input_tokens: 0,
  audio_output_tokens: 0,
};

describe('usage in disjoint classes', () => {
  const classes: ModelUsage = {
    inputTokens: { total: 100, noCache: 60, cacheRead: 30, cacheWrite: 10 },
    outputTokens: { total: 20, text: 15, reasoning: 5 },
  };
  it.each<readonly [string, ModelUsage, Record<string, Record<string, unknown>> | undefined, object | undefined]>([
    [
      'of classes (specifications V3 and V4)',
      classes,
      undefined,
      { ...NONE, input_tokens: 60, cache_read_tokens: 30, cache_write_5m_tokens: 10, output_tokens: 20, reasoning_tokens: 5 },
    ],
    [
      'of totals beside their parts (V2)',
      { inputTokens: 100, outputTokens: 20, cachedInputTokens: 30, reasoningTokens: 5 },
      undefined,
      { ...NONE, input_tokens: 70, cache_read_tokens: 30, output_tokens: 20, reasoning_tokens: 5 },
    ],
    [
      'of Anthropic’s V2, whose input leaves the cached part out',
      { inputTokens: 60, outputTokens: 20, cachedInputTokens: 30 },
      { anthropic: { cacheCreationInputTokens: 10 } },
      { ...NONE, input_tokens: 60, cache_read_tokens: 30, cache_write_5m_tokens: 10, output_tokens: 20 },
    ],
    [
      'with an hour-long cache, audio and searches, which only the raw usage has',
      {
        ...classes,
        raw: {
          input_tokens: 60,
          output_tokens: 20,
          cache_creation: { ephemeral_1h_input_tokens: 4 },
          server_tool_use: { web_search_requests: 2 },
          prompt_tokens_details: { audio_tokens: 6 },
          completion_tokens_details: { audio_tokens: 3 },
        },
      },
      undefined,
      {
        input_tokens: 54,
        cache_read_tokens: 30,
        cache_write_5m_tokens: 6,
        cache_write_1h_tokens: 4,
        output_tokens: 17,
        reasoning_tokens: 5,
        audio_input_tokens: 6,
        audio_output_tokens: 3,
        web_searches: 2,
      },
    ],
    [
      'without a total that the raw usage shows nobody said',
      { inputTokens: { total: 0 }, outputTokens: { total: 20 }, raw: { completion_tokens: 20 } },
      undefined,
      { ...NONE, input_tokens: null, output_tokens: 20 },
    ],
    [
      'of output in parts alone',
      { inputTokens: { total: 1 }, outputTokens: { text: 2, reasoning: 3 } },
      undefined,
      { ...NONE, input_tokens: 1, output_tokens: 5, reasoning_tokens: 3 },
    ],
    ['that says nothing', { inputTokens: { total: undefined }, outputTokens: {} }, undefined, undefined],
  ])('%s', (_, usage, metadata, expected) => {
    const reported = usageOf(usage, metadata);
    if (expected === undefined) expect(reported).toBeUndefined();
    else expect(reported).toEqual({ web_searches: undefined, ...expected });
  });

  it('of a span is read from its totals and details', () => {
    const span = {
      inputTokens: 100,
      outputTokens: 20,
      inputDetails: { cacheRead: 30, cacheWrite: 10, audio: 5 },
      outputDetails: { reasoning: 5, audio: 2 },
    };
    expect(spanUsage(span)).toEqual({
      input_tokens: 55,
      cache_read_tokens: 30,
      cache_write_5m_tokens: 10,
      cache_write_1h_tokens: 0,
      output_tokens: 18,
      reasoning_tokens: 5,
      audio_input_tokens: 5,
      audio_output_tokens: 2,
    });
    expect(spanUsage(undefined)).toBeUndefined();
  });
});

describe('the end of a call', () => {
  const signal = (reason: unknown): AbortSignal => AbortSignal.abort(reason);
  it.each<readonly [string, unknown, AbortSignal | undefined, boolean]>([
    ['an AbortError', new DOMException('x', 'AbortError'), undefined, true],
    ['what an aborted signal was given', 'my reason', signal('my reason'), true],
    ['a time-out', new DOMException('x', 'TimeoutError'), signal(new DOMException('x', 'TimeoutError')), false],
    ['an error beside an aborted signal', new Error('x'), signal('other'), false],
    ['nothing', undefined, undefined, false],
  ])('is a cancel by %s: %#', (_, error, given, expected) => {
    const same = error instanceof DOMException && error.name === 'TimeoutError' ? signal(error) : given;
    expect(isCancellation(error, same)).toBe(expected);
  });

  it.each<readonly [string, object, object]>([
    ['an answer with an error bills nothing', { statusCode: 500 }, { status: 'failed', usage: { input_tokens: 0, output_tokens: 0 } }],
    ['a lost one used nobody knows what', { code: 'ECONNRESET' }, { status: 'failed', usage: undefined }],
    ['a carried one tells its request', { statusCode: 502, responseHeaders: { 'x-runpurse-request-id': 'req_1' } }, { requestId: 'req_1' }],
  ])('%s', (_, fields, expected) => {
    expect(failureOf(Object.assign(new Error('x'), fields), undefined)).toMatchObject(expected);
  });

  it('is put together from the parts of a stream', () => {
    const parts = [
      { type: 'response-metadata', modelId: 'answering' },
      { type: 'text-delta' },
      { type: 'finish', usage: { inputTokens: 1, outputTokens: 2 } },
      { type: 'error', error: 'late' },
    ];
    const answer = parts.reduce(answerWith, { requestId: 'req_1' });
    expect(answer).toMatchObject({ requestId: 'req_1', model: 'answering', usage: { input_tokens: 1, output_tokens: 2 }, error: 'late' });
  });
});

describe('where a model sends its requests', () => {
  const gateway = 'http://gateway.test/v1';
  it.each<readonly [string, unknown, boolean]>([
    ['of Mastra’s own', { config: { url: 'http://gateway.test/v1' } }, true],
    [
      'of a provider by a function',
      { modelId: 'm', config: { url: ({ path }: { path: string }) => `http://gateway.test/v1${path}` } },
      true,
    ],
    ['of a provider by a base URL', { config: { baseURL: 'http://gateway.test/v1' } }, true],
    ['in a configuration', { id: 'runpurse/m', url: 'http://gateway.test/v1' }, true],
    ['elsewhere', { config: { url: 'http://gateway.test.evil/v1' } }, false],
    ['nowhere that is told', { config: {} }, false],
    ['by a name alone', 'openai/gpt-5-mini', false],
  ])('is seen %s', (_, model, expected) => {
    expect(isAtGateway(gateway, endpointOf(model))).toBe(expected);
  });
});

it('bounds count bytes, and binary parts as they are sent', () => {
  const plain = boundsOf({ prompt: [{ role: 'user', content: 'ü' }], maxOutputTokens: 7 });
  const file = boundsOf({ prompt: [{ role: 'user', content: [{ type: 'file', data: new Uint8Array(3000) }] }] });
  expect(plain).toEqual({ maxOutputTokens: 7, inputTokensMax: Buffer.byteLength('[[{"role":"user","content":"ü"}],null,null]') });
  expect(file.inputTokensMax).toBeGreaterThan(4000);
  expect(file.inputTokensMax).toBeLessThan(4200);
});

it('a RequestContext states a run by what it is meant to hold, and nothing else of it is read', () => {
  const context = new RequestContext();
  context.set('runpurse', { sessionId: 'session-1', customerId: 7, limitUsd: '0.50', properties: { team: 'a' }, password: 'x' });
  context.set('mastra__threadId', 'thread-1');
  expect(contextOf(context)).toEqual({ sessionId: 'session-1', limitUsd: '0.50', properties: { team: 'a' } });
  context.delete('runpurse');
  expect(contextOf(context)).toEqual({ sessionId: 'thread-1' });
  expect(contextOf(undefined)).toEqual({});
});
