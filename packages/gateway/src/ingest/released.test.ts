import { afterEach, describe, expect, it } from '@jest/globals';
import { openTestStage, type TestStage } from './test-stage.ts';

let stage: TestStage;
afterEach(() => stage.close());
const open = async (): Promise<TestStage> => {
  stage = await openTestStage({ tools: [{ name: 'lookup', price_usd: '0.10' }] });
  await stage.send({ type: 'run.started', run_id: 'r1', metadata: { limit_usd: '0.15' } });
  return stage;
};

const KINDS = {
  tool: {
    ids: { run_id: 'r1', step_id: 's1', tool_call_id: 't1' },
    asked: { type: 'tool.call.requested', metadata: { tool_name: 'lookup' } },
    failed: 'tool.call.failed',
    completed: { type: 'tool.call.completed', metadata: { tool_name: 'lookup' } },
    cost: '0.1',
  },
  model: {
    ids: { run_id: 'r1', step_id: 's1' },
    asked: {
      type: 'llm.call.started',
      metadata: { model: 'sandbox-large', provider: 'sandbox', input_tokens_max: 1000, max_output_tokens: 1000 },
    },
    failed: 'llm.call.failed',
    completed: {
      type: 'llm.call.completed',
      metadata: { model: 'sandbox-large', provider: 'sandbox', usage: { input_tokens: 1000, output_tokens: 0 } },
    },
    cost: expect.stringMatching(/^0\.0*[1-9]/),
  },
} as const;

describe.each(['tool', 'model'] as const)('a %s call that was asked for and not made', (kind) => {
  const { ids, asked, failed, completed, cost } = KINDS[kind];
  const ask = (enforce = true) => stage.send({ ...asked, ...ids }, { enforce });
  const release = () => stage.send({ type: failed, ...ids, metadata: { ...asked.metadata, released: true } });
  const held = () => stage.gateway.admission.budgetStates({ workspaceId: 'acme', runId: 'r1' })[0]?.held;

  it('gives its hold back and is no call of the run', async () => {
    const { run, gateway } = await open();
    expect((await ask()).body['allowed']).toBe(true);
    expect(held()).not.toBe(0n);
    expect((await release()).body['allowed']).toBe(true);
    expect(held()).toBe(0n);
    expect(await run('r1')).toMatchObject({ requests: [], tools: [], cost: { total_usd: '0' }, steps: [{ status: 'failed' }] });
    expect(await gateway.store.run('acme', 'r1')).toMatchObject({ requests: 0, toolCalls: 0, retries: 0 });
    // Released again, it changes nothing; asked again, it is a call.
    await release();
    expect((await ask()).body['allowed']).toBe(true);
    await stage.send({ ...completed, ...ids });
    const { requests, tools } = await run('r1');
    expect([...requests, ...tools]).toMatchObject([{ status: 'completed', attempt: 1, cost_usd: cost }]);
  });

  it('and that the gateway never heard of leaves no trace but the event', async () => {
    const { run, decisions } = await open();
    expect((await release()).status).toBe(202);
    expect(await run('r1')).toMatchObject({ requests: [], tools: [], steps: [], cost: { total_usd: '0' }, margin: { unknown: [] } });
    expect(await decisions('r1')).toEqual([]);
  });

  it('takes nothing back of one that ended', async () => {
    const { run } = await open();
    await ask();
    await stage.send({ ...completed, ...ids });
    await release();
    const { requests, tools } = await run('r1');
    expect([...requests, ...tools]).toMatchObject([{ status: 'completed', cost_usd: cost }]);
  });

  it('asked and released in one batch holds nothing, and after a restart is still released', async () => {
    await open();
    await stage.send([
      { ...asked, ...ids },
      { type: failed, ...ids, metadata: { ...asked.metadata, released: true } },
    ]);
    expect(held()).toBe(0n);
    stage = await stage.restart();
    expect(held()).toBe(0n);
    expect(await stage.run('r1')).toMatchObject({ requests: [], tools: [] });
  });
});
