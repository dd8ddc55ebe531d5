import { afterAll, beforeAll, beforeEach, expect, it } from '@jest/globals';
import { json } from './provider.ts';
import { CHAT_REPLY } from './replies.ts';
import { inRun, openStage, type Stage } from './stage.ts';

let stage: Stage;
beforeAll(async () => {
  stage = await openStage();
});
afterAll(() => stage.close());
beforeEach(() => stage.reset());

const CALL = { model: 'gpt-e2e', messages: [{ role: 'user' as const, content: 'Say hello.' }], max_tokens: 200 };
const send = (runId: string | undefined, key: string) =>
  stage
    .openai({ ...(runId === undefined ? {} : inRun(runId)), 'Runpurse-Idempotency-Key': key })
    .chat.completions.create(CALL)
    .then(
      (reply) => reply.id,
      (error: unknown) => error,
    );

it('twins that arrive in the same instant reach the provider once and are charged once', async () => {
  stage.provider.will(json(200, CHAT_REPLY), json(200, CHAT_REPLY));
  const answers = await Promise.all([send('twins', 'k'), send('twins', 'k'), send('twins', 'k')]);
  expect(answers.filter((answer) => answer === CHAT_REPLY.id)).toHaveLength(1);
  for (const error of answers.filter((answer) => answer !== CHAT_REPLY.id)) expect(error).toMatchObject({ status: 409, code: 'conflict' });
  expect(stage.provider.calls).toHaveLength(1);
  expect(Object.keys(stage.provider.calls[0]?.headers ?? {}).filter((name) => name.includes('idempotency'))).toEqual([]);
  expect((await stage.settledRun('twins')).cost.total_usd).toBe('0.002');
});

it('a call the provider refused is made again, by the client’s own retry too', async () => {
  stage.provider.will(json(500, { error: { message: 'busy' } }), json(200, CHAT_REPLY));
  expect(await send('retried', 'k')).toBe(CHAT_REPLY.id);
  expect(stage.provider.calls).toHaveLength(2);
});

it.each([
  ['empty', 'run-1', ' '],
  ['too long', 'run-1', 'k'.repeat(257)],
  ['without a run', undefined, 'k'],
])('a key that is %s is refused, not ignored', async (_what, runId, key) => {
  expect(await send(runId, key)).toMatchObject({ status: 400, code: 'invalid_request', param: 'runpurse-idempotency-key' });
  expect(stage.provider.calls).toEqual([]);
});
