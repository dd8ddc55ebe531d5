import { describe, expect, it } from '@jest/globals';
import { judge, loadScenarios, runConformance } from '@runpurse/conformance';
import { harness, harnessOver } from './harness.ts';

runConformance(harness, { describe, it });

/** Where the two APIs differ on the wire; the rest of a scenario is the same SDK around the same model. */
const OVER_RESPONSES = ['cancel', 'missing-usage', 'model-error', 'nested-agent', 'refused-mid-run', 'retry', 'streamed'];

describe('over Responses instead of chat completions', () => {
  const scenarios = loadScenarios().filter(({ name }) => OVER_RESPONSES.includes(name));
  const plays = scenarios.flatMap((scenario) => scenario.modes.map((mode) => ({ scenario, mode, title: scenario.title })));

  it('all of them are played', () => expect(scenarios).toHaveLength(OVER_RESPONSES.length));

  it.each(plays)(
    '$title ($mode)',
    async ({ scenario, mode }) => {
      expect(await judge(harnessOver('responses'), scenario, mode)).toEqual({ type: 'passed' });
    },
    30_000,
  );
});
