import { describe, expect, it } from '@jest/globals';
import { isAtGateway } from '@runpurse/core';
import { createOpenAI } from '@ai-sdk/openai';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { boundsOf, failureOf, isCancellation, usageOf } from '@runpurse/core/language-model';
import { endpointOf, fingerprintOf, type CallOptions, type Usage } from './translate.ts';

const NONE = { total: undefined, noCache: undefined, cacheRead: undefined, cacheWrite: undefined };
const SAID = { total: undefined, text: undefined, reasoning: undefined };

describe('usage', () => {
  const zero = {
    cache_read_tokens: 0,
    cache_write_5m_tokens: 0,
    cache_write_1h_tokens: 0,
    reasoning_tokens: 0,
    audio_input_tokens: 0,
    audio_output_tokens: 0,
  };
  it.each<[string, Usage | undefined, object | undefined]>([
    ['nothing said', { inputTokens: NONE, outputTokens: SAID }, undefined],
    ['no usage at all', undefined, undefined],
    [
      'all classes',
      { inputTokens: { total: 100, noCache: 60, cacheRead: 30, cacheWrite: 10 }, outputTokens: { total: 50, text: 30, reasoning: 20 } },
      { ...zero, input_tokens: 60, cache_read_tokens: 30, cache_write_5m_tokens: 10, output_tokens: 50, reasoning_tokens: 20 },
    ],
    [
      'totals alone',
      { inputTokens: { ...NONE, total: 100 }, outputTokens: { ...SAID, total: 50 } },
      { ...zero, input_tokens: 100, output_tokens: 50 },
    ],
    [
      'a total and what was read from a cache',
      { inputTokens: { ...NONE, total: 100, cacheRead: 40 }, outputTokens: { ...SAID, total: 50 } },
      { ...zero, input_tokens: 60, cache_read_tokens: 40, output_tokens: 50 },
    ],
    [
      'parts alone',
      { inputTokens: { ...NONE, noCache: 60, cacheRead: 40 }, outputTokens: { ...SAID, text: 30, reasoning: 20 } },
      { ...zero, input_tokens: 60, cache_read_tokens: 40, output_tokens: 50, reasoning_tokens: 20 },
    ],
    [
      'a total that does not contain the cached part',
      { inputTokens: { total: 60, noCache: 60, cacheRead: 40, cacheWrite: undefined }, outputTokens: { ...SAID, total: 5 } },
      { ...zero, input_tokens: 60, cache_read_tokens: 40, output_tokens: 5 },
    ],
    [
      'input alone: the output is unknown, not 0',
      { inputTokens: { ...NONE, total: 100 }, outputTokens: SAID },
      { ...zero, input_tokens: 100, output_tokens: null },
    ],
    [
      'a 0 for what the reply left out: it is unknown',
      {
        inputTokens: { total: 100, noCache: 100, cacheRead: 0, cacheWrite: undefined },
        outputTokens: { total: 0, text: 0, reasoning: 0 },
        raw: { prompt_tokens: 100 },
      },
      { ...zero, input_tokens: 100, output_tokens: null },
    ],
    [
      'a 0 that was said',
      {
        inputTokens: { total: 100, noCache: 100, cacheRead: 0, cacheWrite: undefined },
        outputTokens: { total: 0, text: 0, reasoning: 0 },
        raw: { prompt_tokens: 100, completion_tokens: 0 },
      },
      { ...zero, input_tokens: 100, output_tokens: 0 },
    ],
    [
      "Anthropic's hour-long cache and searches",
      {
        inputTokens: { total: 100, noCache: 20, cacheRead: 0, cacheWrite: 80 },
        outputTokens: { ...SAID, total: 5 },
        raw: {
          cache_creation: { ephemeral_5m_input_tokens: 30, ephemeral_1h_input_tokens: 50 },
          server_tool_use: { web_search_requests: 2 },
        },
      },
      { ...zero, input_tokens: 20, cache_write_5m_tokens: 30, cache_write_1h_tokens: 50, output_tokens: 5, web_searches: 2 },
    ],
    [
      "OpenAI's audio",
      {
        inputTokens: { total: 100, noCache: 100, cacheRead: 0, cacheWrite: undefined },
        outputTokens: { ...SAID, total: 50 },
        raw: { prompt_tokens_details: { audio_tokens: 90 }, completion_tokens_details: { audio_tokens: 40 } },
      },
      { ...zero, input_tokens: 10, audio_input_tokens: 90, output_tokens: 10, audio_output_tokens: 40 },
    ],
  ])('with %s', (_, usage, expected) => {
    expect(usageOf(usage)).toEqual(expected);
  });
});

describe('a failure', () => {
  const abort = new DOMException('gone', 'AbortError');
  it.each<[string, unknown, boolean]>([
    ['an abort', abort, true],
    ['a closed response', Object.assign(new Error(), { name: 'ResponseAborted' }), true],
    ['a time-out', new DOMException('late', 'TimeoutError'), false],
    ['anything else', new Error('no'), false],
    ['nothing', undefined, false],
  ])('%s: is it a cancellation', (_, error, expected) => {
    expect(isCancellation(error, undefined)).toBe(expected);
  });

  it("is one when it is the signal's reason, unless that is a time-out", () => {
    const mine = new Error('the user left');
    expect([isCancellation(mine, AbortSignal.abort(mine)), isCancellation(new Error('no'), AbortSignal.abort(mine))]).toEqual([
      true,
      false,
    ]);
    const late = new DOMException('late', 'TimeoutError');
    expect(isCancellation(late, AbortSignal.abort(late))).toBe(false);
  });

  it('costs nothing when the provider answered with an error, and an unknown amount when it got lost', () => {
    expect(failureOf(Object.assign(new Error(), { statusCode: 500 }), undefined)).toMatchObject({
      status: 'failed',
      usage: { input_tokens: 0, output_tokens: 0 },
    });
    expect(failureOf(new Error('reset'), undefined).usage).toBeUndefined();
    expect(failureOf(abort, undefined)).toMatchObject({ status: 'aborted' });
  });
});

describe('the address of a model', () => {
  const baseURL = 'http://gateway.test:8787/v1';
  const openai = createOpenAI({ baseURL, apiKey: 'k' });
  const compatible = createOpenAICompatible({ name: 'x', baseURL, apiKey: 'k' });
  it.each([
    ["OpenAI's Responses", openai('m')],
    ["OpenAI's chat completions", openai.chat('m')],
    ['an OpenAI-compatible provider', compatible('m')],
    ['a provider with a base URL', { config: { baseURL } }],
  ])('of %s is read', (_, model) => {
    expect(isAtGateway('http://gateway.test:8787', endpointOf(model))).toBe(true);
    expect(isAtGateway('http://gateway.test:8787/v1/', endpointOf(model))).toBe(true);
    expect(isAtGateway('http://gateway.test:878', endpointOf(model))).toBe(false);
  });

  it('that a model hides is nowhere', () => {
    expect(isAtGateway('http://gateway.test', endpointOf({}))).toBe(false);
  });
});

describe('a prompt', () => {
  const prompt = (bytes: Uint8Array): CallOptions => ({
    prompt: [{ role: 'user', content: [{ type: 'file', mediaType: 'image/png', data: { type: 'data', data: bytes } }] }],
  });

  it('is bounded by its bytes, binary ones as base64, with the output limit', () => {
    const bounds = boundsOf({ ...prompt(new Uint8Array(3_000)), maxOutputTokens: 7 });
    expect(bounds.maxOutputTokens).toBe(7);
    expect(bounds.inputTokensMax).toBeGreaterThan(4_000);
    expect(bounds.inputTokensMax).toBeLessThan(4_300);
  });

  it('is the same call again only with the same bytes, caller and model', () => {
    const key = fingerprintOf(['m', 'a', undefined], prompt(Uint8Array.of(1)));
    expect(fingerprintOf(['m', 'a', undefined], prompt(Uint8Array.of(1)))).toBe(key);
    for (const other of [
      fingerprintOf(['m', 'a', undefined], prompt(Uint8Array.of(2))),
      fingerprintOf(['m', 'b', undefined], prompt(Uint8Array.of(1))),
    ])
      expect(other).not.toBe(key);
  });
});
