import { afterEach, describe, expect, it } from '@jest/globals';
import { openTestEngine, type TestEngine } from './test-engine.ts';
import type { CallRequest, Outcome } from './types.ts';

const USD = 1_000_000_000n;

let engine: TestEngine;
afterEach(async () => {
  await engine.close();
});

const named = (idempotencyKey: string, subject: Partial<CallRequest['subject']> = {}): CallRequest =>
  engine.call(USD / 100n, { subject: { ...subject, idempotencyKey } });
const answerTo = async (call: CallRequest): Promise<string> => {
  const result = await engine.admission.admit(call);
  return result.type === 'refused' ? result.refusal.code : result.reservation.id;
};

describe('a call with an idempotency key', () => {
  it('is held once, however many of it ask at once', async () => {
    engine = await openTestEngine({ budgets: [{ scope: 'run', limit_usd: '1' }] });
    const answers = await Promise.all(Array.from({ length: 20 }, () => answerTo(named('k'))));
    expect(answers.filter((answer) => answer === 'conflict')).toHaveLength(19);
    expect(engine.admission.budgetStates({ workspaceId: 'w', runId: 'r' })[0]).toMatchObject({ held: USD / 100n });
  });

  describe.each([false, true])('after it ended (and a restart: %s)', (restarts) => {
    it.each<[string, Outcome, boolean]>([
      ['answered', { status: 'completed', cost: 5n }, false],
      ['answered for nothing', { status: 'completed', cost: 0n }, false],
      ['broken off, charged', { status: 'failed', cost: 5n }, false],
      ['perhaps made, charged at its hold', { status: 'failed', cost: undefined, unconfirmed: true }, false],
      ['left by its caller, charged', { status: 'aborted', cost: 5n }, false],
      ['failed at no cost', { status: 'failed', cost: 0n }, true],
      ['never made', { status: 'released', cost: 0n }, true],
    ])('%s', async (_what, outcome, isFree) => {
      engine = await openTestEngine();
      engine.admission.settle(await answerTo(named('k')), outcome);
      if (restarts) engine = await engine.restart();
      expect((await answerTo(named('k'))) !== 'conflict').toBe(isFree);
      // Made again, it is under way: the key is taken, whatever became of the first.
      expect(await answerTo(named('k'))).toBe('conflict');
    });
  });

  it('is known by its key in its own run and workspace alone, and leaves calls without one be', async () => {
    engine = await openTestEngine();
    expect(await answerTo(named('k'))).toMatch(/^req_/);
    expect(await answerTo(named('other'))).toMatch(/^req_/);
    expect(await answerTo(named('k', { runId: 'another' }))).toMatch(/^req_/);
    expect(await answerTo(named('k', { workspaceId: 'another' }))).toMatch(/^req_/);
    expect(await answerTo(engine.call(1n))).toMatch(/^req_/);
    expect(await answerTo(engine.call(1n))).toMatch(/^req_/);
  });

  it('names the call that was made, and says what to do', async () => {
    engine = await openTestEngine();
    const first = await answerTo(named('k'));
    expect(await engine.admission.admit(named('k'))).toMatchObject({
      refusal: {
        code: 'conflict',
        message: expect.stringMatching(new RegExp(`request ${first} of run r .*Nothing was called or charged again.*another key`)),
        details: { request_id: first, run_id: 'r' },
      },
    });
  });

  it('charged by a crash is not made again', async () => {
    engine = await openTestEngine();
    await answerTo(named('k'));
    engine = await engine.restart();
    expect(await answerTo(named('k'))).toBe('conflict');
  });
});
