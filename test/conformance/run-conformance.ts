import type { AdapterHarness } from './harness.ts';
import { loadScenarios } from './load-scenarios.ts';
import { judge } from './judge.ts';

/** The part of a test runner the suite needs; jest's, vitest's and node:test's globals all fit. */
export interface TestRunner {
  describe(title: string, body: () => void): void;
  it(title: string, body: () => Promise<void>, timeoutMs?: number): void;
}

const TIMEOUT_MS = 30_000;

/**
 * Registers one test per scenario and mode for an adapter. A whole `conformance.test.ts` is:
 *
 *     import { describe, it } from '@jest/globals';
 *     import { runConformance } from '@runpurse/conformance';
 *     import { harness } from './harness.ts';
 *
 *     runConformance(harness, { describe, it });
 */
export function runConformance(harness: AdapterHarness, runner: TestRunner): void {
  const { framework } = harness;
  runner.describe(`${harness.name} on ${framework.name} ${framework.version} conforms`, () => {
    for (const scenario of loadScenarios()) {
      for (const mode of scenario.modes) {
        if (!harness.modes.includes(mode)) continue;
        runner.it(
          `${scenario.title} (${mode})`,
          async () => {
            const verdict = await judge(harness, scenario, mode);
            if (verdict.type === 'failed') throw new Error(`${scenario.name}, ${mode}: ${verdict.why}`);
          },
          TIMEOUT_MS,
        );
      }
    }
  });
}
