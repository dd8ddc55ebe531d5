import { afterEach, describe, expect, it } from '@jest/globals';
import type { RunShape } from '@runpurse/core';
import { openTestStage, type TestStage } from './test-stage.ts';

/** Reports that come late, twice, in pieces or in any order leave the run as it would have been. */

let stage: TestStage;
afterEach(() => stage.close());

const at = (second: number): string => new Date(Date.UTC(2026, 10, 24, 12, 0, second)).toISOString();
const MODEL = { model: 'm', provider: 'sandbox' };

/** A run as its sender saw it, in order. */
const STORY = [
  { type: 'run.started', timestamp: at(0), session_id: 's', metadata: { limit_usd: '5' } },
  { type: 'step.started', timestamp: at(1), step_id: 'nested', step_kind: 'handoff', name: 'researcher' },
  { type: 'llm.call.started', timestamp: at(2), step_id: 'm1', metadata: MODEL },
  {
    type: 'llm.call.completed',
    timestamp: at(3),
    step_id: 'm1',
    metadata: { ...MODEL, usage: { input_tokens: 1000, output_tokens: 500 } },
  },
  { type: 'tool.call.requested', timestamp: at(4), step_id: 't1', tool_call_id: 'call-1', metadata: { tool_name: 'lookup' } },
  { type: 'tool.call.completed', timestamp: at(5), step_id: 't1', tool_call_id: 'call-1', metadata: { tool_name: 'lookup' } },
  { type: 'tool.result.received', timestamp: at(6), step_id: 't1', tool_call_id: 'call-1', metadata: { tool_name: 'lookup' } },
  { type: 'tool.call.requested', timestamp: at(7), step_id: 't2', tool_call_id: 'call-2', metadata: { tool_name: 'lookup' } },
  { type: 'tool.call.failed', timestamp: at(8), step_id: 't2', tool_call_id: 'call-2', metadata: { tool_name: 'lookup', message: 'boom' } },
  {
    type: 'llm.call.failed',
    timestamp: at(9),
    step_id: 'm2',
    metadata: { ...MODEL, usage: { input_tokens: 10, output_tokens: 0 }, message: 'overloaded' },
  },
  {
    type: 'llm.call.completed',
    timestamp: at(10),
    step_id: 'm2',
    attempt: 2,
    metadata: { ...MODEL, usage: { input_tokens: 10, output_tokens: 5 } },
  },
  { type: 'step.completed', timestamp: at(11), step_id: 'nested', step_kind: 'handoff', name: 'researcher' },
  { type: 'run.completed', timestamp: at(12), metadata: { revenue_usd: '1' } },
];

/** What does not depend on when a report came: order of lists, our clock, and what was held meanwhile. */
function settledShape(run: RunShape): unknown {
  const byId = (a: { step_id: string | null }, b: { step_id: string | null }): number => String(a.step_id).localeCompare(String(b.step_id));
  const timeless = <Part extends object>(part: Part): object =>
    Object.fromEntries(
      Object.entries(part).filter(([key]) => !['request_id', 'started_at', 'ended_at', 'held_usd', 'run_id'].includes(key)),
    );
  return {
    ...timeless(run),
    steps: run.steps.toSorted(byId).map(timeless),
    requests: run.requests.toSorted((a, b) => byId(a, b) || a.attempt - b.attempt).map(timeless),
    tools: run.tools.toSorted(byId).map(timeless),
  };
}

function randomFrom(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

function shuffled<Item>(items: readonly Item[], random: (below: number) => number): Item[] {
  const left = [...items];
  const taken: Item[] = [];
  while (left.length > 0) taken.push(...left.splice(random(left.length), 1));
  return taken;
}

const storyOf = (runId: string): object[] => STORY.map((event, index) => ({ ...event, run_id: runId, event_id: `${runId}-${index}` }));

describe('a run told in order', () => {
  it('has the cost, steps and margin of what happened', async () => {
    stage = await openTestStage({ tools: [{ name: 'lookup', price_usd: '0.10' }] });
    for (const event of storyOf('r')) await stage.send(event);
    expect(await stage.run('r')).toMatchObject({
      status: 'completed',
      session_id: 's',
      cost: { model_usd: '0.00201', tool_usd: '0.2', retry_usd: '0.00002', total_usd: '0.20203' },
      counts: { requests: 3, tool_calls: 2, retries: 1, steps: 5 },
      revenue_usd: '1',
      margin: { known_usd: '0.79797' },
      decisions: [],
    });
    expect(stage.gateway.admission.openCount).toBe(0);
  });
});

describe('the same run', () => {
  it('told in any order, with copies, in batches of any size, and across a restart, has the same shape', async () => {
    const seed = Number(process.env['SEED'] ?? Math.floor(Math.random() * 2 ** 31));
    const random = randomFrom(seed);
    stage = await openTestStage({ tools: [{ name: 'lookup', price_usd: '0.10' }] });
    for (const event of storyOf('told')) await stage.send(event);
    const expected = settledShape(await stage.run('told'));
    for (let round = 0; round < 40; round += 1) {
      const runId = `r${round}`;
      const told = storyOf(runId);
      const copies = told.filter(() => random(3) === 0);
      const events = shuffled([...told, ...copies], random);
      for (let from = 0; from < events.length;) {
        const size = 1 + random(6);
        const batch = events.slice(from, from + size);
        const result = await stage.send(random(2) === 0 || batch.length > 1 ? batch : batch[0]);
        expect({ seed, round, status: result.status, allowed: result.body['allowed'] }).toEqual({
          seed,
          round,
          status: 202,
          allowed: true,
        });
        from += size;
        // What is held at a restart is charged at its hold: that is another test's story.
        if (random(20) === 0 && stage.gateway.admission.openCount === 0) stage = await stage.restart();
      }
      const found = settledShape(await stage.run(runId));
      expect({ seed, round, order: events, found }).toEqual({ seed, round, order: events, found: expected });
      expect(stage.gateway.admission.openCount).toBe(0);
    }
  }, 120_000);
});

describe('ids the gateway made up', () => {
  it('are not told apart by content: what has no event id counts by the call it names', async () => {
    stage = await openTestStage({ tools: [{ name: 'lookup', price_usd: '0.10' }] });
    const events = storyOf('r').map((event) => ({ ...event, event_id: undefined }));
    await stage.send(events);
    await stage.send(events.filter((event) => 'type' in event && event.type !== 'llm.call.failed'));
    expect((await stage.run('r')).cost.total_usd).toBe('0.20203');
  });
});

describe('a call that a restart charged at its hold', () => {
  it.each([
    ['model', 'llm.call.started', 'llm.call.completed', { usage: { input_tokens: 10, output_tokens: 1 } }],
    ['tool', 'tool.call.requested', 'tool.call.failed', { tool_name: 'lookup' }],
  ])('is charged no second time when its end is told: a %s call', async (_kind, asked, ended, metadata) => {
    stage = await openTestStage({ tools: [{ name: 'lookup', price_usd: '0.002' }] });
    const call = { run_id: 'r', step_id: 's', tool_call_id: 'c', metadata: { ...MODEL, model: 'support-model', ...metadata } };
    await stage.send({ ...call, type: asked, timestamp: at(1) });
    stage = await stage.restart();
    const charged = (await stage.run('r')).cost.total_usd;
    expect(Number(charged)).toBeGreaterThan(0);
    for (const second of [2, 2]) await stage.send({ ...call, type: ended, timestamp: at(second) });
    stage = await stage.restart();
    await stage.send({ ...call, type: ended, timestamp: at(2) });
    expect((await stage.run('r')).cost.total_usd).toBe(charged);
  });
});
