import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { openTestApi, type TestApi } from './test-api.ts';

let api: TestApi;
beforeAll(async () => {
  api = await openTestApi({
    tools: [{ name: 'search', price_usd: '0.30' }],
    budgets: [
      { scope: 'run', id: '*', limit_usd: '0.50' },
      { scope: 'session', id: '*', limit_usd: '1' },
    ],
    bounds: [{ scope: 'run', id: '*', max_runtime_s: 900 }],
    policy: { models: { deny: ['expensive*'] }, tools: { deny: ['shell'] } },
  });
});
afterAll(() => api.close());

interface Verdict {
  readonly answer: boolean | null;
  readonly reason: string;
  readonly code?: string;
}

async function check(body: object): Promise<{ readonly allowed: boolean; readonly answers: Readonly<Record<string, Verdict>> }> {
  const reply = await api.post('/v1/check', body);
  expect(reply.status).toBe(200);
  return reply.body as never;
}

async function spend(runId: string, sessionId: string, usd: string): Promise<void> {
  const id = `${runId}_${usd}`;
  expect(
    (
      await api.post('/v1/tools/authorize', {
        run_id: runId,
        session_id: sessionId,
        tool: 'paid',
        tool_call_id: id,
        estimated_cost_usd: usd,
      })
    ).status,
  ).toBe(200);
  await api.post('/v1/tools/settle', { run_id: runId, tool_call_id: id, cost_usd: usd });
}

describe('the six questions', () => {
  it('are all unknown, with a reason, when nothing is named', async () => {
    const { allowed, answers } = await check({});
    expect(allowed).toBe(true);
    for (const verdict of Object.values(answers)) expect(verdict).toEqual({ answer: null, reason: expect.stringMatching(/^No .*\.$/) });
  });

  it('are answered yes for a call that fits', async () => {
    await spend('q_1', 'sq_1', '0.1');
    const { allowed, answers } = await check({
      run_id: 'q_1',
      model: 'sandbox/echo',
      tool: 'search',
      input_tokens: 100,
      max_output_tokens: 100,
    });
    expect(allowed).toBe(true);
    expect(answers).toMatchObject({
      continue_run: { answer: true, reason: 'Run q_1 may go on; it has cost $0.1 so far.' },
      call_tool: { answer: true, reason: 'Tool search may be called; it costs up to $0.3.' },
      use_model: { answer: true, details: { provider: 'sandbox' } },
      session_within_budget: {
        answer: true,
        reason: 'Session sq_1 is within budget: $0.9 of $1 is left.',
        details: { remaining_usd: '0.9' },
      },
      stop_run: { answer: false },
    });
  });

  it.each([
    ['a tool the budget has no room for', { run_id: 'q_2', tool: 'search' }, 'call_tool', 'budget_exceeded'],
    ['a tool the policy denies', { run_id: 'q_2', tool: 'shell' }, 'call_tool', 'policy_denied'],
    ['a model the policy denies', { run_id: 'q_2', model: 'sandbox/expensive-1' }, 'use_model', 'policy_denied'],
    ['a model nobody offers', { run_id: 'q_2', model: 'nobody/nothing' }, 'use_model', 'model_not_found'],
    [
      'a model call that costs more than is left',
      { run_id: 'q_2', model: 'sandbox/echo', estimated_cost_usd: '0.2' },
      'use_model',
      'budget_exceeded',
    ],
  ])('say no to %s', async (_what, body, question, code) => {
    if ((await api.get('/v1/runs/q_2')).status === 404) await spend('q_2', 'sq_2', '0.4');
    const { allowed, answers } = await check(body);
    expect(allowed).toBe(false);
    expect(answers[question]).toMatchObject({ answer: false, code, reason: expect.stringMatching(/\w/) });
  });

  it('let a call through that the budget clamps, and say so', async () => {
    const clamping = await openTestApi({ budgets: [{ scope: 'run', id: '*', limit_usd: '0.001', on_exceed: 'clamp' }] });
    const { body } = await clamping.post('/v1/check', { run_id: 'q', model: 'sandbox/echo', input_tokens: 10, max_output_tokens: 100_000 });
    expect(body).toMatchObject({
      allowed: true,
      answers: {
        use_model: {
          answer: true,
          reason: expect.stringMatching(/may be used with a shorter output: the budget lets the call cost up to \$0\.00/),
        },
      },
    });
    await clamping.close();
  });

  it('let a run go on that may not call the one tool a policy denies', async () => {
    const { answers } = await check({ run_id: 'q_2', tool: 'shell' });
    expect(answers['continue_run']?.answer).toBe(true);
    expect(answers['stop_run']?.answer).toBe(false);
  });

  it('say stop when the budget is spent, the run is paused, ended or too long', async () => {
    await spend('q_3', 'sq_3', '0.5');
    expect((await check({ run_id: 'q_3' })).answers).toMatchObject({
      continue_run: { answer: false, code: 'budget_exceeded' },
      stop_run: { answer: true, code: 'budget_exceeded' },
    });
    await api.post('/v1/runs', { run_id: 'q_4' });
    await api.call('POST', '/v1/runs/q_4/pause');
    expect((await check({ run_id: 'q_4' })).answers).toMatchObject({
      continue_run: { answer: false, code: 'run_paused' },
      stop_run: { answer: true },
    });
    await api.post('/v1/runs/q_4/end', { status: 'completed' });
    expect((await check({ run_id: 'q_4' })).answers).toMatchObject({
      continue_run: { answer: false, code: 'run_ended' },
      stop_run: { answer: true },
    });
    await api.post('/v1/runs', { run_id: 'q_5' });
    api.clock.turn(901_000);
    expect((await check({ run_id: 'q_5' })).answers).toMatchObject({
      continue_run: { answer: false, reason: 'Run q_5 has run for 901 s and may run for 900 s.' },
    });
  });

  it('see the session over all its runs', async () => {
    for (const run of ['q_6a', 'q_6b']) await spend(run, 'sq_6', '0.45');
    const { allowed, answers } = await check({ run_id: 'q_6c', session_id: 'sq_6', estimated_cost_usd: '0.2' });
    expect(allowed).toBe(false);
    expect(answers['session_within_budget']).toMatchObject({
      answer: false,
      reason: 'Session sq_6 has no room for this: $0.1 of $1 is left.',
    });
  });

  it('say that nothing more may begin where a budget is spent, although no run is named', async () => {
    await spend('q_full_1', 'sq_full', '0.5');
    await spend('q_full_2', 'sq_full', '0.5');
    const { allowed, answers } = await check({ session_id: 'sq_full' });
    expect(allowed).toBe(false);
    expect(answers['continue_run']).toMatchObject({ answer: false, code: 'budget_exceeded' });
    expect((await check({ session_id: 'sq_fresh' })).allowed).toBe(true);
  });

  it('tell profit from loss by revenue and cost, and take an estimate into account', async () => {
    await spend('q_7', 'sq_7', '0.1');
    await api.post('/v1/runs', { run_id: 'q_8', workflow_id: 'sold', session_id: 'sq_8' });
    await spend('q_8', 'sq_8', '0.02');
    expect((await check({ endpoint_id: 'sold' })).answers['endpoint_profitable']).toMatchObject({
      answer: null,
      reason: expect.stringMatching(/No revenue was reported for endpoint sold/),
    });
    await api.post('/v1/runs/q_8/end', { status: 'completed', revenue_usd: '0.10' });
    expect((await check({ endpoint_id: 'sold' })).answers['endpoint_profitable']).toMatchObject({
      answer: true,
      details: { margin_usd: '0.08', expected_run_margin_usd: '0.08' },
    });
    const dear = await check({ workflow_id: 'sold', estimated_cost_usd: '0.12' });
    expect(dear.answers['endpoint_profitable']).toMatchObject({ answer: false, details: { expected_run_margin_usd: '-0.02' } });
    expect(dear.allowed).toBe(true);
  });

  it('act on nothing: no run begins, nothing is held, logged or counted', async () => {
    const before = api.gateway.store.lastSeq;
    for (let n = 0; n < 150; n += 1) await check({ run_id: 'q_never', session_id: 'sq_never', model: 'sandbox/echo', tool: 'search' });
    await api.gateway.store.flush();
    expect(api.gateway.store.lastSeq).toBe(before);
    expect((await api.get('/v1/runs/q_never')).status).toBe(404);
    expect(api.gateway.admission.openCount).toBe(0);
  });
});
