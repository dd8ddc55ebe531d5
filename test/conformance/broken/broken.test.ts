import { describe, expect, it } from '@jest/globals';
import { judge, loadScenarios } from '../index.ts';
import { toyHarness } from '../toy/harness.ts';
import { BROKEN_ADAPTERS } from './adapters.ts';

const SCENARIOS = loadScenarios();
const TIMEOUT_MS = 120_000;

describe('the suite bites', () => {
  it('has a broken adapter for every scenario', () => {
    expect(BROKEN_ADAPTERS.map(({ scenario }) => scenario).sort()).toEqual(SCENARIOS.map(({ name }) => name));
  });

  it.each(BROKEN_ADAPTERS)(
    'an adapter that $mistake fails $scenario and nothing else',
    async ({ scenario: own, mode, mutate }) => {
      const harness = toyHarness(`broken-${own}`, mutate);
      const verdicts = await sideBySide(SCENARIOS, async (scenario) => {
        const [onlyMode] = scenario.modes;
        return judge(harness, scenario, scenario.modes.includes(mode) ? mode : (onlyMode ?? mode));
      });
      const failed = SCENARIOS.filter((_, index) => verdicts[index]?.type !== 'passed').map(({ name }) => name);
      expect(failed).toEqual([own]);
    },
    TIMEOUT_MS,
  );

  it('finds headers of ours that reach a provider past the gateway', async () => {
    const harness = toyHarness('leaky', (hooks, { run }) => ({
      ...hooks,
      beforeModel: async (at, call) => ({ ...(await hooks.beforeModel(at, call)), ...run.headers({ stepId: at.id }) }),
    }));
    const plain = SCENARIOS.find(({ name }) => name === 'plain-run');
    if (plain === undefined) throw new Error('no plain-run');
    expect(await judge(harness, plain, 'direct')).toMatchObject({
      type: 'failed',
      why: expect.stringMatching(/header alephant-run-id reached the provider/),
    });
    expect(await judge(harness, plain, 'carried')).toEqual({ type: 'passed' });
  });
});

describe('an exception', () => {
  const denied = SCENARIOS.find(({ name }) => name === 'denied-tool');
  const broken = BROKEN_ADAPTERS.find(({ scenario }) => scenario === 'denied-tool');

  it('that fails is an expected failure, with its reason', async () => {
    if (denied === undefined || broken === undefined) throw new Error('no denied-tool');
    const harness = { ...toyHarness('excepted', broken.mutate), exceptions: { 'denied-tool': 'its tools can not be intercepted' } };
    expect(await judge(harness, denied, 'carried')).toEqual({ type: 'expected_failure', reason: 'its tools can not be intercepted' });
  });

  it('that passes fails the suite', async () => {
    if (denied === undefined) throw new Error('no denied-tool');
    const harness = { ...toyHarness('excepted'), exceptions: { 'denied-tool/carried': 'said to be impossible' } };
    expect(await judge(harness, denied, 'carried')).toMatchObject({ type: 'failed', why: expect.stringMatching(/take it off the list/) });
  });
});

const PLAYS_AT_ONCE = 5;

/** Plays mostly wait; a few at once keep the proof short. Results stand in the order of the items. */
async function sideBySide<Item, Result>(items: readonly Item[], work: (item: Item) => Promise<Result>): Promise<readonly Result[]> {
  const results: Result[] = [];
  const queue = [...items.entries()];
  const worker = async (): Promise<void> => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) results[next[0]] = await work(next[1]);
  };
  await Promise.all(Array.from({ length: PLAYS_AT_ONCE }, worker));
  return results;
}
