import { afterEach, describe, expect, it } from '@jest/globals';
import { decisionsIn, openTestStage, type TestStage } from './test-stage.ts';

let stage: TestStage;
afterEach(() => stage.close());
const open = async (...args: Parameters<typeof openTestStage>): Promise<TestStage> => (stage = await openTestStage(...args));
const report = (events: readonly object[]) => stage.send(events, { reportsOnly: true });

const PRICE = { provider: 'sandbox', model: 'm', input_mtok_usd: '1', output_mtok_usd: '10' };
const TIGHT = {
  prices: [PRICE],
  tools: [{ name: 'lookup', price_usd: '0.10' }],
  budgets: [{ scope: 'run' as const, limit_usd: '0.05' }],
};
const model = (type: string, metadata: object = {}, more: object = {}): object => ({
  type: `llm.call.${type}`,
  run_id: 'r1',
  step_id: 's1',
  metadata: { model: 'm', provider: 'sandbox', ...metadata },
  ...more,
});
const tool = (type: string, name = 'lookup'): object => ({
  type: `tool.call.${type}`,
  run_id: 'r1',
  tool_call_id: 't1',
  step_id: 's2',
  metadata: { tool_name: name },
});
const started = model('started', { input_tokens_max: 100_000, max_output_tokens: 10_000 });

describe('a sender that asks nobody', () => {
  it.each([
    ['in one body', true],
    ['one by one', false],
  ])('has its call held past the cap and settled by its usage, shown as made: %s', async (_, together) => {
    const { gateway, run } = await open(TIGHT);
    const end = model('completed', { usage: { input_tokens: 1000, output_tokens: 500 } });
    if (together) await report([started, end]);
    else {
      expect((await report([started])).body).toMatchObject({ allowed: true });
      expect(gateway.admission.budgetStates({ workspaceId: 'acme', runId: 'r1' })).toMatchObject([{ held: 200_000_000n, remaining: 0n }]);
      await report([end]);
    }
    expect(await run('r1')).toMatchObject({
      requests: [{ status: 'completed', cost_usd: '0.006', held_usd: '0.2' }],
      cost: { total_usd: '0.006' },
      decisions: [],
    });
    expect(gateway.admission.openCount).toBe(0);
  });

  it.each(['failed', 'never'])('is charged what the call may have cost when it says no more of it: it %s', async (end) => {
    const { gateway, run, turn } = await open({ ...TIGHT, store: { durability: 'relaxed', authorization_ttl_s: 60 } });
    await report([started]);
    if (end === 'failed') await report([model('failed', { message: 'overloaded' })]);
    turn(61_000);
    gateway.admission.sweep();
    expect(await run('r1')).toMatchObject({ requests: [{ cost_usd: '0.2', unconfirmed: true }], cost: { total_usd: '0.2' } });
  });

  const later = (): void => {
    stage.turn(60_000);
    stage.gateway.admission.sweep();
  };

  it.each<readonly [string, boolean, string]>([
    ['was only told of is charged', true, 'aborted'],
    ['was asked for is waited for, and settled', false, 'completed'],
  ])('ends its run, and a call that %s', async (_, reportsOnly, status) => {
    const { run } = await open({ ...TIGHT, budgets: [] });
    for (const event of [started, { type: 'run.completed', run_id: 'r1' }]) await stage.send(event, { reportsOnly });
    later();
    await stage.send(model('completed', { usage: { input_tokens: 1000, output_tokens: 500 } }), { reportsOnly });
    expect(await run('r1')).toMatchObject({
      requests: [{ status, held_usd: '0.2' }],
      cost: { total_usd: status === 'completed' ? '0.006' : '0.2' },
    });
  });

  it('is waited for when its run is stopped by hand, which it does not hear of, until it tells that the run is over', async () => {
    const { gateway } = await open(TIGHT);
    await report([started]);
    await gateway.admission.controlRun({ workspaceId: 'acme', keyId: 'key-1', runId: 'r1' }, 'stop', undefined);
    later();
    expect(gateway.admission.openCount).toBe(1);
    await report([{ type: 'run.failed', run_id: 'r1' }]);
    later();
    expect(gateway.admission.openCount).toBe(0);
  });

  it.each([
    ['at most', { max_input_tokens: 1000, max_output_tokens: 100 }, { cost_usd: '0.002', unconfirmed: true }],
    ['nobody knows what', {}, { cost_usd: null, unconfirmed: false }],
  ])('is charged %s its model can cost when nothing but its failure is told', async (_, limits, charged) => {
    const { run } = await open({ ...TIGHT, prices: [{ ...PRICE, ...limits }] });
    await report([model('failed', { message: 'overloaded' })]);
    later();
    await report([model('failed', { message: 'overloaded' })]);
    expect((await run('r1')).requests).toMatchObject([{ status: 'failed', error: 'overloaded', ...charged }]);
  });

  it('has what the rules forbid logged once as a violation, and charged', async () => {
    const { run, decisions } = await open({ ...TIGHT, policy: { tools: { deny: ['lookup'] }, models: { deny: ['m'] } } });
    const begun = await report([tool('requested'), started]);
    expect(decisionsIn(begun)).toMatchObject([
      { allowed: false, reason: 'policy_denied' },
      { allowed: false, reason: 'policy_denied' },
    ]);
    await report([tool('completed'), model('completed', { usage: { input_tokens: 1000, output_tokens: 0 } })]);
    expect((await decisions('r1')).map(({ violation, reason }) => [violation, reason])).toEqual([
      [true, expect.stringContaining('Tool lookup ran without asking')],
      [true, expect.stringContaining('Model m ran without asking')],
    ]);
    expect(await run('r1')).toMatchObject({
      requests: [{ status: 'completed' }],
      tools: [{ status: 'completed' }],
      cost: { tool_usd: '0.1', model_usd: '0.001' },
    });
  });

  it('counts a start once, also when it comes again or after its end', async () => {
    const { run, turn } = await open(TIGHT);
    const at = (event: object, second: number): object => ({
      ...event,
      timestamp: new Date(Date.UTC(2026, 10, 24, 12, 0, second)).toISOString(),
    });
    await report([at(tool('completed'), 2), at(model('completed', { usage: { input_tokens: 1000, output_tokens: 0 } }), 4)]);
    turn(1000);
    for (let twice = 0; twice < 2; twice += 1) await report([at(tool('requested'), 1), at(started, 3)]);
    await report([{ ...started, step_id: 's3', event_id: 'e1' }]);
    await report([{ ...started, step_id: 's3', event_id: 'e1' }]);
    expect(await run('r1')).toMatchObject({
      requests: [{ status: 'completed' }, { status: 'open' }],
      tools: [{ status: 'completed' }],
      cost: { total_usd: '0.101' },
    });
  });

  it('has its events once after a ledger that failed in between', async () => {
    const { run, ingest, gateway } = await open(TIGHT);
    const body = { events: [{ ...started, event_id: 'e1' }] };
    const key = { key: { keyId: 'key-1', workspaceId: 'acme' } as never, context: {} };
    expect((await ingest.accept(body, 100, key, { enforce: false, reportsOnly: true })).status).toBe(202);
    expect((await ingest.accept(body, 100, key, { enforce: false, reportsOnly: true })).status).toBe(202);
    expect(gateway.admission.openCount).toBe(1);
    expect((await run('r1')).requests).toHaveLength(1);
  });
});
