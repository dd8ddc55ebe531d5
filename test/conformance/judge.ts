import type { AdapterHarness, Mode } from './harness.ts';
import type { Scenario } from './scenario.ts';
import { play } from './play.ts';

/** What the suite says about one adapter in one scenario and mode. */
export type Verdict =
  | { readonly type: 'passed' }
  /** The harness lists it as an exception, and it does fail. */
  | { readonly type: 'expected_failure'; readonly reason: string }
  | { readonly type: 'failed'; readonly why: string };

/** Plays a scenario and compares what came out with the one expected shape; exceptions must fail. */
export async function judge(harness: AdapterHarness, scenario: Scenario, mode: Mode): Promise<Verdict> {
  const reason = harness.exceptions[`${scenario.name}/${mode}`] ?? harness.exceptions[scenario.name];
  const differences = await play(harness, scenario, mode);
  if (reason === undefined) {
    return differences.length === 0 ? { type: 'passed' } : { type: 'failed', why: differences.join('\n') };
  }
  return differences.length === 0
    ? { type: 'failed', why: `is listed as an exception ("${reason}") but passes: take it off the list` }
    : { type: 'expected_failure', reason };
}
