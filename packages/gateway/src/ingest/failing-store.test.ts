import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type { SqliteStore } from '../store/sqlite/index.ts';
import { errorIn, openTestStage, type TestStage } from './test-stage.ts';

/** What a ledger that can't be written does to events: a clear 503, nothing done twice, nothing lost. */

let stage: TestStage;
beforeEach(async () => {
  stage = await openTestStage({ tools: [{ name: 'lookup', price_usd: '0.10' }] });
});
afterEach(() => stage.close());

/** So large that what is left of a full file's last page can't take it. */
const padding = { text: 'x'.repeat(15_000) };

/** The same as a full disk. */
const fill = (): void => (stage.gateway.store as SqliteStore).resize(0.001);
const free = (): void => (stage.gateway.store as SqliteStore).resize(undefined);

const MODEL = { model: 'm', provider: 'sandbox', usage: { input_tokens: 1000, output_tokens: 0 } };
const asked = {
  event_id: 'q',
  type: 'tool.call.requested',
  run_id: 'r1',
  tool_call_id: 't1',
  metadata: { tool_name: 'lookup', ...padding },
};
const askedModel = { event_id: 'p', type: 'llm.call.started', run_id: 'r1', step_id: 'm0', metadata: { model: 'm', provider: 'sandbox' } };
const batch = [
  { event_id: 'a', type: 'run.started', run_id: 'r1', session_id: 's', metadata: { limit_usd: '3' } },
  { event_id: 'b', type: 'tool.call.completed', run_id: 'r1', tool_call_id: 't1', metadata: { tool_name: 'lookup' } },
  { event_id: 'c', type: 'llm.call.completed', run_id: 'r1', step_id: 'm1', metadata: MODEL },
  { event_id: 'd', type: 'tool.call.requested', run_id: 'r1', tool_call_id: 't2', metadata: { tool_name: 'lookup' } },
  { event_id: 'e', type: 'tool.call.completed', run_id: 'r1', tool_call_id: 't2', metadata: { tool_name: 'lookup' } },
  { event_id: 'g', type: 'llm.call.completed', run_id: 'r1', step_id: 'm0', metadata: MODEL },
  { event_id: 'f', type: 'run.completed', run_id: 'r1', metadata: { revenue_usd: '1' } },
];

describe('a ledger that can not be written', () => {
  it('answers 503, and the same batch sent again when it can has its effect once', async () => {
    await stage.send([askedModel, asked]);
    fill();
    for (let time = 0; time < 3; time += 1) {
      const result = await stage.send(batch);
      expect([result.status, errorIn(result)['code'], result.body['accepted'], result.body['rejected']]).toEqual([
        503,
        'ledger_unavailable',
        0,
        7,
      ]);
    }
    free();
    expect((await stage.send(batch)).status).toBe(202);
    expect((await stage.send(batch)).status).toBe(202);
    expect(await stage.run('r1')).toMatchObject({
      status: 'completed',
      session_id: 's',
      cost: { tool_usd: '0.2', model_usd: '0.002', total_usd: '0.202' },
      revenue_usd: '1',
      counts: { tool_calls: 2, requests: 2 },
    });
    expect((await stage.events('r1')).map((event) => event.eventId)).toEqual(['p', 'q', 'a', 'b', 'c', 'd', 'e', 'g', 'f']);
    expect(stage.gateway.admission.openCount).toBe(0);
    expect(stage.gateway.admission.run('acme', 'r1')?.spent).toBe(202_000_000n);
  });

  it('charges a reported call once, whose end without usage it took and whose start it did not', async () => {
    await stage.send({ event_id: 'h', type: 'llm.call.failed', run_id: 'r1', step_id: 'm0' }, { reportsOnly: true });
    const late = {
      ...askedModel,
      timestamp: '2026-11-24T11:00:00.000Z',
      metadata: { model: 'sandbox-large', provider: 'sandbox', ...padding },
    };
    fill();
    for (let time = 0; time < 2; time += 1) expect((await stage.send(late, { reportsOnly: true })).status).toBe(503);
    expect(stage.gateway.admission.openCount).toBe(1);
    free();
    for (let time = 0; time < 2; time += 1) expect((await stage.send(late, { reportsOnly: true })).status).toBe(202);
    expect(stage.gateway.admission.openCount).toBe(0);
    const { requests, cost } = await stage.run('r1');
    expect(requests).toMatchObject([{ model: 'sandbox-large', status: 'failed', cost_usd: cost.total_usd, unconfirmed: true }]);
    expect(Number(cost.total_usd)).toBeGreaterThan(0);
  });

  it('leaves no hold behind that nobody got an answer for', async () => {
    fill();
    expect((await stage.send(asked, { enforce: true })).status).toBe(503);
    expect(stage.gateway.admission.openCount).toBe(0);
    free();
    expect((await stage.send(asked, { enforce: true })).status).toBe(202);
    expect(stage.gateway.admission.openCount).toBe(1);
  });

  it('tells everyone who sent the event meanwhile', async () => {
    fill();
    const results = await Promise.all([stage.send(asked), stage.send(asked), stage.send(asked)]);
    expect(results.map((result) => result.status)).toEqual([503, 503, 503]);
  });
});

describe('a gateway that stops between a question and its end', () => {
  it('charges the hold once, and the end that is told later adds nothing', async () => {
    await stage.send(asked);
    stage = await stage.restart();
    await stage.send({ event_id: 'b', type: 'tool.call.completed', run_id: 'r1', tool_call_id: 't1', metadata: { tool_name: 'lookup' } });
    expect(await stage.run('r1')).toMatchObject({ cost: { total_usd: '0.1' }, counts: { tool_calls: 1 }, tools: [{ unconfirmed: true }] });
  });

  it('still knows what was denied, and what an attempt was', async () => {
    await stage.close();
    stage = await openTestStage({ tools: [{ name: 'lookup', price_usd: '0.10' }], policy: { tools: { deny: ['refund'] } } });
    await stage.send([
      { type: 'tool.call.requested', run_id: 'r1', tool_call_id: 'no', metadata: { tool_name: 'refund' } },
      { type: 'tool.call.requested', run_id: 'r1', tool_call_id: 't1', metadata: { tool_name: 'lookup' } },
      { type: 'tool.call.failed', run_id: 'r1', tool_call_id: 't1', metadata: { tool_name: 'lookup' } },
    ]);
    stage = await stage.restart();
    const ran = await stage.send({ type: 'tool.call.completed', run_id: 'r1', tool_call_id: 'no', metadata: { tool_name: 'refund' } });
    expect(ran.body['allowed']).toBe(false);
    expect((await stage.decisions('r1')).at(-1)?.reason).toContain('ran although it was refused');
    await stage.send([
      { type: 'tool.call.requested', run_id: 'r1', tool_call_id: 't1', attempt: 2, metadata: { tool_name: 'lookup' } },
      { type: 'tool.call.completed', run_id: 'r1', tool_call_id: 't1', attempt: 2, metadata: { tool_name: 'lookup' } },
    ]);
    expect((await stage.run('r1')).cost).toMatchObject({ tool_usd: '0.1', retry_usd: '0.1' });
  });
});
