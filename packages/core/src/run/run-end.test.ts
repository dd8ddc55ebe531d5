import { runInNewContext } from 'node:vm';
import { expect, it } from '@jest/globals';
import { RefusedError, runEndOf } from '../index.ts';

const refusal = { code: 'budget_exceeded', message: 'the budget is spent' } as const;

it.each([
  ['nothing was thrown', undefined, false, { status: 'completed' }],
  ['its caller cancelled it, whatever that threw', new Error('aborted'), true, { status: 'stopped', reason: 'cancelled' }],
  ['an error was thrown', new Error('no such order'), false, { status: 'failed', reason: 'no such order' }],
  ['something else was thrown', 'no', false, { status: 'failed', reason: 'no' }],
  ['null was thrown', null, false, { status: 'failed', reason: 'null' }],
  [
    'an error of another realm was thrown',
    runInNewContext("new Error('no such order')"),
    false,
    { status: 'failed', reason: 'no such order' },
  ],
  ['an error without words was thrown', new TypeError(), false, { status: 'failed', reason: 'TypeError' }],
  ['an object was thrown', { secret: 1 }, false, { status: 'failed', reason: 'failed' }],
  [
    'what was thrown can not be read',
    Object.defineProperty(new Error(), 'message', {
      get: () => {
        throw new Error('trap');
      },
    }),
    false,
    { status: 'failed', reason: 'failed' },
  ],
  ['its message is no text', Object.assign(new Error(), { message: 42 }), false, { status: 'failed', reason: 'failed' }],
  [
    'the framework wrapped a refusal',
    new Error('node failed', { cause: new RefusedError(refusal) }),
    false,
    { status: 'failed', reason: refusal.message },
  ],
])('when %s', (_, error, isCancelled, expected) => {
  const { error: told, ...end } = runEndOf(error, isCancelled);
  expect(end).toEqual(expected);
  expect(told).toBe(expected.status === 'failed' ? error : undefined);
});

it('a refusal has the status the gateway answers it with', () => {
  expect(new RefusedError(refusal).status).toBe(402);
});
