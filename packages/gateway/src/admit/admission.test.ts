import { afterEach, describe, expect, it } from '@jest/globals';
import { openTestEngine, type TestEngine } from './test-engine.ts';
import type { AdmissionResult, CallRequest, Outcome } from './types.ts';

const USD = 1_000_000_000n;
const done = (cost: bigint | undefined): Outcome => ({ status: 'completed', cost });

let engine: TestEngine;
afterEach(async () => {
  await engine.close();
});
const open = async (config: Parameters<typeof openTestEngine>[0]): Promise<TestEngine> => {
  engine = await openTestEngine(config);
  return engine;
};
const codeOf = (result: AdmissionResult): string => (result.type === 'refused' ? result.refusal.code : 'admitted');
const admitted = async (call: CallRequest): Promise<string> => {
  const result = await engine.admission.admit(call);
  if (result.type === 'refused') throw new Error(`refused: ${result.refusal.message}`);
  return result.reservation.id;
};

describe('a hard budget', () => {
  it('admits exactly as many concurrent calls as fit, however many ask at once', async () => {
    const { admission, call } = await open({ budgets: [{ scope: 'run', limit_usd: '0.50' }] });
    const results = await Promise.all(Array.from({ length: 200 }, () => admission.admit(call(USD / 100n))));
    expect(results.filter((result) => result.type === 'admitted')).toHaveLength(50);
    expect(results.filter((result) => codeOf(result) === 'budget_exceeded')).toHaveLength(150);
    const [state] = admission.budgetStates({ workspaceId: 'w', runId: 'r' });
    expect(state).toMatchObject({ held: USD / 2n, settled: 0n, remaining: 0n, state: 'exceeded' });
  });

  it('refuses a call that does not fit what is left, instead of admitting it on a smaller hold', async () => {
    const { admission, call } = await open({ budgets: [{ scope: 'run', limit_usd: '1' }] });
    admission.settle(await admitted(call(USD - 1n)), done(USD - 1n));
    const result = await admission.admit(call(2n));
    expect(result).toMatchObject({
      type: 'refused',
      refusal: { code: 'budget_exceeded', details: { remaining_usd: '0.000000001', needed_usd: '0.000000002' } },
    });
    expect(codeOf(await admission.admit(call(1n)))).toBe('admitted');
  });

  it('books what a call cost above its hold as overage, and then refuses', async () => {
    const { admission, call } = await open({ budgets: [{ scope: 'run', limit_usd: '1' }] });
    expect(admission.settle(await admitted(call(USD)), done(2n * USD))).toEqual({ charged: 2n * USD, overage: USD });
    expect(admission.budgetStates({ workspaceId: 'w', runId: 'r' })[0]).toMatchObject({ settled: 2n * USD, overage: USD, remaining: 0n });
    expect(codeOf(await admission.admit(call(1n)))).toBe('budget_exceeded');
  });

  it('lets a call that costs nothing pass even when nothing is left: a declared-free local model is not blocked', async () => {
    const { admission, call } = await open({ budgets: [{ scope: 'run', limit_usd: '0.1' }] });
    admission.settle(await admitted(call(USD / 10n)), done(USD / 5n));
    expect(codeOf(await admission.admit(call(0n)))).toBe('admitted');
  });

  it('refuses a call whose worst case is unknown, and an alert-only budget lets it run with its cost unknown', async () => {
    const { admission, call } = await open({
      budgets: [
        { scope: 'agent', id: 'strict', limit_usd: '1' },
        { scope: 'run', limit_usd: '1', action: 'alert_only' },
      ],
    });
    expect(codeOf(await admission.admit(call(undefined, { subject: { runId: 'a', agentId: 'strict' } })))).toBe('price_unknown');
    const id = await admitted(call(undefined));
    expect(admission.settle(id, done(undefined))).toEqual({ charged: undefined, overage: 0n });
  });

  it('fits a call by counting or clamping when the budget says so, never past what is left', async () => {
    const { admission, call } = await open({ budgets: [{ scope: 'run', limit_usd: '1', on_exceed: 'clamp' }] });
    const asked: [bigint, boolean][] = [];
    const fit = (available: bigint, mayClamp: boolean): bigint => {
      asked.push([available, mayClamp]);
      return available - 5n;
    };
    const result = await admission.admit(call(3n * USD, { fit }));
    expect(result).toMatchObject({ type: 'admitted', reservation: { hold: USD - 5n } });
    expect(asked).toEqual([[USD, true]]);
    expect(codeOf(await admission.admit(call(USD, { fit: () => USD })))).toBe('budget_exceeded');
  });

  it.each([
    ['the one that pauses the run', { action: 'pause' }, 'wide'],
    ['the one that may not clamp', {}, 'wide'],
    ['the tightest where all clamp', { on_exceed: 'clamp' }, 'tight'],
  ] as const)('of several that do not fit, names %s', async (_which, more, named) => {
    const { admission, call } = await open({
      budgets: [
        { name: 'tight', scope: 'run', limit_usd: '1', on_exceed: 'clamp' },
        { name: 'wide', scope: 'workspace', limit_usd: '2', ...more },
      ],
    });
    expect(await admission.admit(call(3n * USD, { fit: () => undefined }))).toMatchObject({ refusal: { blockedBy: named } });
  });

  it.each([
    ['request', { scope: 'request' }, {}],
    ['session', { scope: 'session' }, { sessionId: 's' }],
    ['workflow', { scope: 'workflow', id: 'flow' }, { workflowId: 'flow' }],
    ['agent', { scope: 'agent' }, { agentId: 'a' }],
    ['member', { scope: 'member' }, { memberId: 'm' }],
    ['customer', { scope: 'customer' }, { customerId: 'c' }],
    ['workspace', { scope: 'workspace' }, {}],
    ['key', { scope: 'key' }, {}],
    ['one workspace only', { scope: 'key', workspace: 'w' }, {}],
  ] as const)('holds at level %s', async (_level, budget, subject) => {
    const { admission, call } = await open({ budgets: [{ ...budget, limit_usd: '1' }] });
    expect(codeOf(await admission.admit(call(USD + 1n, { subject })))).toBe('budget_exceeded');
    expect(codeOf(await admission.admit(call(USD, { subject })))).toBe('admitted');
  });

  it('of another workspace, agent or id does not touch the call', async () => {
    const { admission, call } = await open({
      budgets: [
        { scope: 'workspace', workspace: 'other', limit_usd: '0' },
        { scope: 'agent', id: 'other', limit_usd: '0' },
        { scope: 'session', limit_usd: '0' },
      ],
    });
    expect(codeOf(await admission.admit(call(USD)))).toBe('admitted');
  });

  it('holds on all that match or on none: the tightest refuses and the others keep their room', async () => {
    const { admission, call } = await open({
      budgets: [
        { scope: 'run', limit_usd: '10' },
        { scope: 'workspace', limit_usd: '1' },
      ],
    });
    expect(codeOf(await admission.admit(call(2n * USD)))).toBe('budget_exceeded');
    for (const state of admission.budgetStates({ workspaceId: 'w', runId: 'r' })) expect(state).toMatchObject({ held: 0n, settled: 0n });
  });

  it('starts anew with its window, and a charge stays in the window of its reservation', async () => {
    const { admission, call, clock } = await open({ budgets: [{ scope: 'workspace', window: 'day', limit_usd: '1' }] });
    const late = await admitted(call(USD));
    clock.turn(12 * 3_600_000);
    expect(codeOf(await admission.admit(call(USD)))).toBe('admitted');
    admission.settle(late, done(USD));
    expect(admission.budgetStates({ workspaceId: 'w' })[0]).toMatchObject({ settled: 0n, held: USD });
  });

  it('made while calls are in flight counts what was spent and held before', async () => {
    const { admission, call, store } = await open({});
    admission.settle(await admitted(call(USD)), done(USD));
    const flying = await admitted(call(USD));
    await store.putBudget({ budgetId: 'b1', body: { scope: 'run', limit_usd: '3' }, updatedAt: 0 });
    admission.reloadBudgets();
    expect(admission.budgetStates({ workspaceId: 'w', runId: 'r' })[0]).toMatchObject({ settled: USD, held: USD, remaining: USD });
    expect(codeOf(await admission.admit(call(USD + 1n)))).toBe('budget_exceeded');
    admission.settle(flying, done(0n));
    expect(codeOf(await admission.admit(call(2n * USD)))).toBe('admitted');
  });

  it('crossing its thresholds leaves one entry each', async () => {
    const { admission, call, store } = await open({ budgets: [{ scope: 'run', limit_usd: '1' }] });
    for (const cents of [40n, 20n, 20n, 20n]) admission.settle(await admitted(call((cents * USD) / 100n)), done((cents * USD) / 100n));
    const entries = await store.entries({ workspaceId: 'w', runId: 'r', types: ['threshold'], limit: 10 });
    expect(entries.map(({ entry }) => (entry.type === 'threshold' ? entry.percent : undefined))).toEqual([50, 75, 90, 100]);
  });
});

describe('a reservation', () => {
  it('ends exactly once: a second settlement changes nothing', async () => {
    const { admission, call } = await open({ budgets: [{ scope: 'run', limit_usd: '1' }] });
    const id = await admitted(call(USD));
    expect(admission.settle(id, done(1n))).toBeDefined();
    expect(admission.settle(id, done(USD))).toBeUndefined();
    expect(admission.budgetStates({ workspaceId: 'w', runId: 'r' })[0]).toMatchObject({ settled: 1n, held: 0n });
  });

  it('whose cost nobody knows is charged at its hold and marked unconfirmed', async () => {
    const { admission, call, store } = await open({});
    admission.settle(await admitted(call(7n)), { status: 'failed', cost: undefined });
    const [settle] = await store.entries({ workspaceId: 'w', runId: 'r', types: ['settle'], limit: 10 });
    expect(settle?.entry).toMatchObject({ cost: '7', unconfirmed: true });
  });

  it('that a restart finds open is charged at its hold, and its run goes on from there', async () => {
    const first = await open({ budgets: [{ scope: 'run', limit_usd: '1' }] });
    await admitted(first.call(USD / 2n, { subject: { stepId: 's1' } }));
    engine = await first.restart();
    expect(engine.admission.openCount).toBe(0);
    expect(engine.admission.run('w', 'r')).toMatchObject({ spent: USD / 2n, status: 'running', counts: { requests: 1, steps: 1 } });
    expect(codeOf(await engine.admission.admit(engine.call(USD / 2n + 1n)))).toBe('budget_exceeded');
    expect(codeOf(await engine.admission.admit(engine.call(USD / 2n)))).toBe('admitted');
  });

  it('is written with the properties of its caller, and without what looks like a secret in them', async () => {
    const { store, call } = await open({});
    await admitted(call(1n, { subject: { properties: { feature: 'chat', note: 'Bearer sk-live-5e1f0c2d9a8b7c6d5e4f', api_key: 'x1' } } }));
    const [reserve] = await store.entries({ workspaceId: 'w', runId: 'r', types: ['reserve'], limit: 10 });
    expect(JSON.stringify(reserve?.entry)).toContain('"feature":"chat"');
    expect(JSON.stringify(reserve?.entry)).not.toMatch(/5e1f0c2d|x1/);
  });

  it('without a known price that a restart finds open has an unknown cost, and not none', async () => {
    const first = await open({});
    await admitted(first.call(undefined));
    engine = await first.restart();
    const [settle] = await engine.store.entries({ workspaceId: 'w', runId: 'r', types: ['settle'], limit: 10 });
    expect(settle?.entry).toMatchObject({ status: 'aborted', cost: null, error: expect.stringContaining('its price is unknown') });
    expect(await engine.store.run('w', 'r')).toMatchObject({ modelNanos: 0n, unknownCosts: 1 });
  });

  it('of a call that nobody asked for is held past the limit, counts against who asks, and ends once', async () => {
    const { admission, call } = await open({ budgets: [{ scope: 'run', limit_usd: '1' }] });
    const { id } = await admission.takeOn(call(2n * USD, { source: 'self_reported', subject: { stepId: 's' } }));
    const state = () => admission.budgetStates({ workspaceId: 'w', runId: 'r' })[0];
    expect(state()).toMatchObject({ held: 2n * USD, settled: 0n, remaining: 0n });
    expect(admission.findOpen('w', 'r', 'model', 's')?.id).toBe(id);
    expect(codeOf(await admission.admit(call(1n)))).toBe('budget_exceeded');
    expect(admission.settle(id, done(USD / 2n))).toEqual({ charged: USD / 2n, overage: 0n });
    expect(admission.settle(id, done(USD))).toBeUndefined();
    expect(state()).toMatchObject({ held: 0n, settled: USD / 2n, remaining: USD / 2n });
    expect(codeOf(await admission.admit(call(USD / 2n)))).toBe('admitted');
  });

  it('of a call that nobody asked for is charged by a restart that finds it open', async () => {
    const first = await open({ budgets: [{ scope: 'run', limit_usd: '1' }] });
    await first.admission.takeOn(first.call(2n * USD, { source: 'self_reported', subject: { stepId: 's' } }));
    engine = await first.restart();
    expect(engine.admission.run('w', 'r')).toMatchObject({ spent: 2n * USD });
  });

  it('for a tool that nobody ends is charged after the time-out; a model call on the model path is not touched by it', async () => {
    const { admission, call, clock } = await open({ store: { authorization_ttl_s: 60 } });
    await admitted(call(5n, { kind: 'tool', name: 't', source: 'self_reported', subject: { toolCallId: 'tc' } }));
    await admitted(call(7n));
    clock.turn(61_000);
    admission.sweep();
    expect(admission.openCount).toBe(1);
    expect(admission.run('w', 'r')?.spent).toBe(5n);
  });

  it('of a self-reported model call gives way to the call that the gateway carries for the same step', async () => {
    const { admission, call, store } = await open({ budgets: [{ scope: 'run', limit_usd: '1' }] });
    await admitted(call(USD, { source: 'self_reported', subject: { stepId: 's' } }));
    const id = await admitted(call(USD, { subject: { stepId: 's' } }));
    admission.settle(id, done(3n));
    expect(admission.run('w', 'r')).toMatchObject({ spent: 3n, counts: { requests: 1 } });
    expect(admission.carried('w', 'r', { stepId: 's' })).toBe(id);
    expect(await store.run('w', 'r')).toMatchObject({ modelNanos: 3n, requests: 1 });
  });
});

describe('a run', () => {
  it('that ended or was stopped takes no more calls; a paused one goes on after resume', async () => {
    const { admission, call } = await open({});
    const key = { workspaceId: 'w', keyId: 'k' };
    await admitted(call(1n));
    await admission.controlRun({ ...key, runId: 'r' }, 'pause', 'lunch');
    expect(codeOf(await admission.admit(call(1n)))).toBe('run_paused');
    await admission.controlRun({ ...key, runId: 'r' }, 'resume', undefined);
    expect(codeOf(await admission.admit(call(1n)))).toBe('admitted');
    await admission.controlRun({ ...key, runId: 'r' }, 'stop', undefined);
    expect(codeOf(await admission.admit(call(1n)))).toBe('run_ended');
    await admission.startRun({ subject: call(1n, { subject: { runId: 'r2' } }).subject });
    await admission.endRun({ ...key, runId: 'r2' }, { status: 'completed', revenue: USD });
    expect(codeOf(await admission.admit(call(1n, { subject: { runId: 'r2' } })))).toBe('run_ended');
    expect(await admission.endRun({ ...key, runId: 'r2' }, { status: 'completed' })).toEqual({ type: 'exists' });
    expect(await admission.endRun({ ...key, runId: 'nowhere' }, { status: 'completed' })).toMatchObject({ refusal: { code: 'not_found' } });
  });

  it('has a cap of its own that only tightens', async () => {
    const { admission, call } = await open({ budgets: [{ scope: 'run', limit_usd: '10' }] });
    const start = (limit: bigint | undefined) => admission.startRun({ subject: call(1n).subject, limit });
    expect(await start(USD)).toMatchObject({ type: 'started' });
    expect(await start(USD)).toMatchObject({ type: 'exists' });
    expect(await start(2n * USD)).toMatchObject({ type: 'refused', refusal: { code: 'conflict' } });
    expect(codeOf(await admission.admit(call(USD + 1n)))).toBe('budget_exceeded');
    await start(USD / 2n);
    expect(codeOf(await admission.admit(call(USD / 2n + 1n)))).toBe('budget_exceeded');
  });

  it('belongs to one session', async () => {
    const { admission, call } = await open({ budgets: [{ scope: 'session', limit_usd: '1' }] });
    const id = await admitted(call(USD / 4n));
    admission.settle(id, done(USD / 4n));
    await admitted(call(USD / 4n, { subject: { sessionId: 's' } }));
    expect(codeOf(await admission.admit(call(1n, { subject: { sessionId: 'other' } })))).toBe('context_conflict');
    // Named late, the session counts what the run spent before; a call that leaves it out is in it all the same.
    expect(codeOf(await admission.admit(call(USD / 2n + 1n)))).toBe('budget_exceeded');
    expect(codeOf(await admission.admit(call(USD / 2n)))).toBe('admitted');
  });

  it('paused by a budget goes on by itself when the budget is raised', async () => {
    const { admission, call, store } = await open({});
    const body = (limit: string) => ({ budgetId: 'b', body: { scope: 'run', limit_usd: limit, action: 'pause' }, updatedAt: 0 });
    await store.putBudget(body('1'));
    admission.reloadBudgets();
    expect(codeOf(await admission.admit(call(2n * USD)))).toBe('budget_exceeded');
    expect(admission.run('w', 'r')?.status).toBe('paused');
    await store.putBudget(body('2'));
    admission.reloadBudgets();
    expect(admission.run('w', 'r')?.status).toBe('running');
    expect(codeOf(await admission.admit(call(2n * USD)))).toBe('admitted');
  });

  it('that went on has no reason left from its pause, in the views too', async () => {
    const { admission, call, store } = await open({});
    const key = { workspaceId: 'w', keyId: 'k', runId: 'r' };
    await admitted(call(1n));
    await admission.controlRun(key, 'pause', 'lunch');
    expect(await store.run('w', 'r')).toMatchObject({ status: 'paused', statusReason: 'lunch' });
    await admission.controlRun(key, 'resume', undefined);
    await store.putBudget({ budgetId: 'b', body: { scope: 'run', limit_usd: '1', action: 'pause' }, updatedAt: 0 });
    admission.reloadBudgets();
    expect(codeOf(await admission.admit(call(2n * USD)))).toBe('budget_exceeded');
    await store.deleteBudget('b');
    admission.reloadBudgets();
    const run = await store.run('w', 'r');
    expect([run?.status, run?.statusReason]).toEqual(['running', undefined]);
  });

  it('in another workspace with the same id is another run', async () => {
    const { admission, call } = await open({ budgets: [{ scope: 'run', limit_usd: '1' }] });
    await admitted(call(USD));
    expect(codeOf(await admission.admit(call(USD, { subject: { workspaceId: 'w2' } })))).toBe('admitted');
  });

  it('named by nobody is the one call it holds, and is over with it', async () => {
    const { admission, call, store } = await open({});
    const id = await admitted(call(3n, { subject: { implicitRun: true, runId: 'run_x' } }));
    admission.settle(id, done(3n));
    expect(await store.run('w', 'run_x')).toMatchObject({ status: 'completed', implicit: true, modelNanos: 3n });
  });
});

describe('bounds', () => {
  it.each([
    ['max_requests', { max_requests: 2 }, {}],
    ['max_steps', { max_steps: 2 }, {}],
    ['max_repeats', { max_repeats: 2 }, { fingerprint: () => 'same' }],
  ])('%s lets two through and refuses the third', async (bound, limits, more) => {
    const { admission, call } = await open({ bounds: [{ scope: 'run', ...limits }] });
    for (const step of ['1', '2']) await admitted(call(1n, { ...more, subject: { stepId: step } }));
    const result = await admission.admit(call(1n, { ...more, subject: { stepId: '3' } }));
    expect(result).toMatchObject({ type: 'refused', refusal: { code: 'budget_exceeded', blockedBy: `run.${bound}` } });
  });

  it('on tool calls, retries and running time hold too, and a run may tighten them for itself', async () => {
    const { admission, call, clock } = await open({ bounds: [{ scope: 'run', max_tool_calls: 1, max_retries: 1, max_runtime_s: 60 }] });
    const tool = () => call(0n, { kind: 'tool', name: 't' });
    await admitted(tool());
    expect(codeOf(await admission.admit(tool()))).toBe('budget_exceeded');
    await admitted(call(1n, { subject: { attempt: 2 } }));
    expect(codeOf(await admission.admit(call(1n, { subject: { attempt: 3 } })))).toBe('budget_exceeded');
    clock.turn(61_000);
    expect(codeOf(await admission.admit(call(1n)))).toBe('budget_exceeded');
    await admission.startRun({ subject: call(1n, { subject: { runId: 'own' } }).subject, bounds: { max_requests: 1 } });
    await admitted(call(1n, { subject: { runId: 'own' } }));
    expect(codeOf(await admission.admit(call(1n, { subject: { runId: 'own' } })))).toBe('budget_exceeded');
  });

  it('of a session count over its runs, and survive a restart', async () => {
    const first = await open({ bounds: [{ scope: 'session', max_requests: 2 }] });
    for (const runId of ['a', 'b'])
      first.admission.settle(await admitted(first.call(1n, { subject: { runId, sessionId: 's' } })), done(1n));
    engine = await first.restart();
    expect(codeOf(await engine.admission.admit(engine.call(1n, { subject: { runId: 'c', sessionId: 's' } })))).toBe('budget_exceeded');
  });
});

describe('attempts', () => {
  it('a call identical to one that failed in the same step is its retry, and its cost is in the retry line', async () => {
    const { admission, call, store } = await open({});
    const same = () => call(5n, { fingerprint: () => 'f', subject: { stepId: 's' } });
    admission.settle(await admitted(same()), { status: 'failed', cost: 0n });
    admission.settle(await admitted(same()), done(5n));
    admission.settle(await admitted(call(5n, { fingerprint: () => 'other', subject: { stepId: 's' } })), done(5n));
    expect(await store.run('w', 'r')).toMatchObject({ modelNanos: 5n, retryNanos: 5n, retries: 1 });
  });
});

describe('the rate cap', () => {
  it('lets 100 calls a minute through per key, says when to come back, and slides', async () => {
    const { admission, call, clock } = await open({ rate: {} });
    for (let index = 0; index < 100; index += 1) {
      await admitted(call(0n));
      clock.turn(100);
    }
    expect(await admission.admit(call(0n))).toMatchObject({ type: 'refused', refusal: { code: 'rate_limited', retryAfterSeconds: 50 } });
    expect(codeOf(await admission.admit(call(0n, { subject: { keyId: 'k2' } })))).toBe('admitted');
    clock.turn(50_000);
    expect(codeOf(await admission.admit(call(0n)))).toBe('admitted');
    expect(codeOf(await admission.admit(call(0n)))).toBe('rate_limited');
  });
});

describe('policy', () => {
  it('is asked before anything is held, and its decisions are logged with rule and revision', async () => {
    const { admission, call, store } = await open({
      policy: {
        rules: [
          {
            id: 'no-m',
            revision: 3,
            phase: 'model_request',
            when: 'model.name == "m" && counts.requests >= 1',
            effect: 'block',
            reason: 'm is for first calls',
          },
        ],
      },
    });
    await admitted(call(1n));
    expect(await admission.admit(call(1n))).toMatchObject({ type: 'refused', refusal: { code: 'policy_denied', blockedBy: 'no-m' } });
    const [decision] = await store.entries({ workspaceId: 'w', runId: 'r', types: ['decision'], limit: 5 });
    expect(decision?.entry).toMatchObject({ outcome: 'denied', code: 'policy_denied', rule: 'no-m', ruleRevision: '3', subject: 'm' });
  });
});

describe('a store that fails', () => {
  it('admits nothing, and leaves nothing held', async () => {
    const { admission, call, store } = await open({ budgets: [{ scope: 'run', limit_usd: '1' }] });
    const { append } = store;
    Object.assign(store, { append: () => Promise.reject(new Error('disk full')) });
    await expect(admission.admit(call(USD))).rejects.toThrow('disk full');
    Object.assign(store, { append });
    expect(admission.openCount).toBe(0);
    expect(codeOf(await admission.admit(call(USD)))).toBe('admitted');
  });
});
