import { describe, expect, it } from '@jest/globals';
import { boundsOf, failureOf, isUnsent } from './answer.ts';

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

it('an error whose fields throw is a failure of which nothing is known', () => {
  const error = new Proxy(new Error(), {
    get: () => {
      throw new Error('trap');
    },
  });
  const { status, requestId, usage } = failureOf(error, AbortSignal.abort());
  expect([status, requestId, usage, isUnsent(error)]).toEqual(['failed', undefined, undefined, false]);
});

describe('a call was never sent', () => {
  const coded = (code: string, more: object = {}): Error => Object.assign(new Error('no'), { code, ...more });
  /** The error under this many others. */
  const under = (depth: number, error: unknown): unknown => (depth === 0 ? error : new Error('no', { cause: under(depth - 1, error) }));
  const round = new Error('round');
  round.cause = round;
  it.each<[string, unknown, boolean]>([
    ['refused', coded('ECONNREFUSED', { syscall: 'connect' }), true],
    ['refused at each address', Object.assign(new AggregateError([]), { code: 'ECONNREFUSED' }), true],
    ['to a name nobody knows', coded('ENOTFOUND', { syscall: 'getaddrinfo' }), true],
    ['to a name nobody answers for', coded('EAI_AGAIN'), true],
    ['to no host', coded('EHOSTUNREACH'), true],
    ['to no network', coded('ENETUNREACH'), true],
    ['not connected in time', coded('UND_ERR_CONNECT_TIMEOUT'), true],
    ['refused, as its 8th cause says', under(8, coded('ECONNREFUSED')), true],
    ['refused, as a cause further down says', under(9, coded('ECONNREFUSED')), false],
    ['whose network went away later', coded('EHOSTUNREACH', { syscall: 'read' }), false],
    ['whose connection broke', coded('ECONNRESET'), false],
    ['that was answered too late', coded('UND_ERR_HEADERS_TIMEOUT'), false],
    ['with no cause to find', round, false],
    ['that failed with nothing', undefined, false],
  ])('%s', (_, error, expected) => {
    expect(isUnsent(error)).toBe(expected);
  });
});

describe('the bounds of a call', () => {
  const prompt = [{ role: 'user', content: 'hi' }];
  const bytesOf = (options: Parameters<typeof boundsOf>[0]): number => boundsOf(options).inputTokensMax ?? Number.NaN;

  it.each([
    ['tools', { tools: [{ name: 'x'.repeat(1_000) }] }],
    ['the form of the answer', { responseFormat: { schema: 'x'.repeat(1_000) } }],
    ['binary parts, as long as they are sent', { prompt: [...prompt, { data: new Uint8Array(750) }] }],
    ['a Buffer, as long as it is sent', { prompt: [...prompt, { data: Buffer.alloc(750) }] }],
    ['each byte of a letter', { prompt: 'ö'.repeat(500) }],
  ])('hold %s', (_, more) => {
    expect(bytesOf({ prompt, ...more })).toBeGreaterThanOrEqual(1_000);
    expect(bytesOf({ prompt, ...more })).toBeLessThan(1_200);
  });

  it('are the limit that is sent, or none', () => {
    expect(boundsOf({ prompt, maxOutputTokens: 7 }).maxOutputTokens).toBe(7);
    expect(boundsOf({ prompt }).maxOutputTokens).toBeUndefined();
  });

  it.each([
    [{ stub: { max_tokens: 4_000 } }, 4_000],
    [{ openai: { maxCompletionTokens: 4_000 }, other: { max_output_tokens: 5_000 } }, 5_000],
    [{ stub: { n: 20 } }, 1_000],
    [{ stub: { max_tokens: null } }, undefined],
    [{ stub: { max_tokens: '4000' } }, undefined],
    [{ stub: { max_tokens: null, n: 2 } }, 2_000_000],
    [{ stub: { n: 2, max_tokens: 100 } }, 200],
    [{ stub: { max_tokens: 10, n: 'x' }, odd: null }, 50],
  ])('are what options for the provider make of them: %j', (providerOptions, expected) => {
    expect(boundsOf({ prompt, maxOutputTokens: 50, providerOptions }).maxOutputTokens).toBe(expected);
  });

  it('are those of all answers asked for, also where none has a limit', () => {
    expect(boundsOf({ prompt, providerOptions: { stub: { n: 3 } } }).maxOutputTokens).toBe(3_000_000);
  });
});
