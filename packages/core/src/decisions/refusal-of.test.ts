import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import axios from 'axios';
import { expect, it } from '@jest/globals';
import { refusalOf, RefusedError } from '../index.ts';

const envelope = {
  message: 'Run r would pass its cap.',
  type: 'budget_error',
  param: null,
  code: 'budget_exceeded',
  blocked_by: 'run:*',
  remaining_usd: '0.001',
};
const expected = { code: 'budget_exceeded', message: 'Run r would pass its cap.', blockedBy: 'run:*', details: { remaining_usd: '0.001' } };

it.each<readonly [string, unknown]>([
  [
    'the official openai client',
    Object.assign(new Error('402 …'), {
      status: 402,
      error: envelope,
      code: 'budget_exceeded',
      headers: new Map([['x-should-retry', 'false']]),
    }),
  ],
  ['the official anthropic client', Object.assign(new Error('402 …'), { status: 402, error: { error: envelope } })],
  [
    'a client that keeps the body as text',
    Object.assign(new Error('402'), { statusCode: 402, responseBody: JSON.stringify({ error: envelope }), data: { error: envelope } }),
  ],
  [
    'a framework that wraps its client',
    new Error('model failed', {
      cause: new Error('step failed', { cause: Object.assign(new Error('402'), { status: 402, error: envelope }) }),
    }),
  ],
  [
    'a retrying framework',
    Object.assign(new Error('after 3 attempts'), { errors: [Object.assign(new Error('402'), { status: 402, error: envelope })] }),
  ],
])('is found in the error of %s', (_title, error) => {
  expect(refusalOf(error)).toMatchObject(expected);
});

it('is found in RefusedError and in a real axios error', async () => {
  const refusal = { code: 'policy_denied', message: 'no' } as const;
  expect(refusalOf(new Error('x', { cause: new RefusedError(refusal) }))).toBe(refusal);

  const server = createServer((_request, response) =>
    response.writeHead(402, { 'content-type': 'application/json' }).end(JSON.stringify({ error: envelope })),
  );
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const error: unknown = await axios.get(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`).catch((thrown: unknown) => thrown);
  server.close();
  expect(refusalOf(error)).toMatchObject(expected);
});

it('says how long a rate limit lasts', () => {
  expect(
    refusalOf({ status: 429, error: { code: 'rate_limited', message: 'm' }, headers: new Headers({ 'retry-after': '9' }) }),
  ).toMatchObject({ code: 'rate_limited', retryAfterSeconds: 9 });
});

it.each<readonly [string, unknown]>([
  [
    "a provider's own error",
    Object.assign(new Error('429'), { status: 429, error: { code: 'rate_limit_exceeded', message: 'slow down' } }),
  ],
  ["a provider's own payment error", Object.assign(new Error('402'), { status: 402, error: { code: 'insufficient_quota' } })],
  ['a network failure', Object.assign(new Error('ECONNREFUSED'), { code: 'ECONNREFUSED' })],
  ['an error with a code of ours but no reply', Object.assign(new Error('x'), { code: 'conflict' })],
  ['a text', 'budget_exceeded'],
  ['nothing', undefined],
])('is not seen in %s', (_title, error) => {
  expect(refusalOf(error)).toBeUndefined();
});

it('does not run in circles', () => {
  const error = new Error('x');
  error.cause = error;
  expect(refusalOf(error)).toBeUndefined();
});
