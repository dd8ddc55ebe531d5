import { describe, expect, it } from '@jest/globals';
import { boundsOf, failureOf } from './answer.ts';

describe('how a failed call ended', () => {
  const nothing = { input_tokens: 0, output_tokens: 0 };
  const unread = Object.assign(new Error('no'), { statusCode: 400 });
  const broken = Object.assign(new Error('cut off'), { statusCode: 200 });
  it.each([
    ['answered with an error, it billed nothing', unread, { status: 'failed', usage: nothing }],
    ['broken off in its answer, it billed nobody knows what', broken, { status: 'failed', usage: undefined }],
    ['lost, it billed nobody knows what', new Error('lost'), { status: 'failed', usage: undefined }],
    ['late, it failed', new DOMException('late', 'TimeoutError'), { status: 'failed', usage: undefined }],
    ['cancelled, it was aborted', new DOMException('gone', 'AbortError'), { status: 'aborted', usage: undefined }],
  ])('%s', (_, error, expected) => {
    const { status, usage } = failureOf(error, undefined);
    expect({ status, usage }).toEqual(expected);
  });

  it('is told with the request the gateway knows it as', () => {
    const error = Object.assign(new Error('no'), { statusCode: 500, responseHeaders: { 'x-runpurse-request-id': 'req_1' } });
    expect(failureOf(error, undefined).requestId).toBe('req_1');
  });
});

describe('the bounds of a call', () => {
  const prompt = [{ role: 'user', content: 'hi' }];
  const bytesOf = (options: Parameters<typeof boundsOf>[0]): number => boundsOf(options).inputTokensMax ?? Number.NaN;

  it.each([
    ['tools', { tools: [{ name: 'x'.repeat(1_000) }] }],
    ['the form of the answer', { responseFormat: { schema: 'x'.repeat(1_000) } }],
    ['binary parts, as long as they are sent', { prompt: [...prompt, { data: new Uint8Array(750) }] }],
    ['each byte of a letter', { prompt: 'ö'.repeat(500) }],
  ])('hold %s', (_, more) => {
    expect(bytesOf({ prompt, ...more })).toBeGreaterThanOrEqual(1_000);
    expect(bytesOf({ prompt, ...more })).toBeLessThan(1_200);
  });

  it('are the limit that is sent, or none', () => {
    expect(boundsOf({ prompt, maxOutputTokens: 7 }).maxOutputTokens).toBe(7);
    expect(boundsOf({ prompt }).maxOutputTokens).toBeUndefined();
  });
});
