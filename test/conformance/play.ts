import { isDeepStrictEqual } from 'node:util';
import type { AdapterHarness, Mode, PlayOutcome } from './harness.ts';
import { findLeaks } from './leaks.ts';
import { normalizeRun } from './normalize-run.ts';
import type { Scenario } from './scenario.ts';
import { setStage, type Stage } from './stage.ts';
import { showDifference } from './show-difference.ts';

/** Settlements are written behind the reply: the shape may take this long to come to rest. */
const REST_MS = 3_000;
const LOOK_EVERY_MS = 20;

/** Plays a scenario on a fresh gateway and model. Returns what differs from the expected, in words; nothing when it conforms. */
export async function play(harness: AdapterHarness, scenario: Scenario, mode: Mode): Promise<readonly string[]> {
  const stage = await setStage(scenario, mode);
  try {
    const outcome = await harness.play(scenario, stage.env);
    const differences = [
      ...compare('outcome', comparable(outcome), scenario.expected.outcome),
      ...compare('model calls', stage.model.calls.length, scenario.expected.model_calls),
      ...compare('tools that ran', stage.toolsRun(), scenario.expected.tools_run),
      ...(await compareRun(stage, scenario, outcome.runId ?? stage.env.runId)),
    ];
    await stage.stopGateway();
    return [...differences, ...findLeaks(stage, scenario)];
  } finally {
    await stage.close();
  }
}

async function compareRun(stage: Stage, scenario: Scenario, runId: string): Promise<readonly string[]> {
  const { run: expected } = scenario.expected;
  if (expected === undefined) return [];
  const giveUpAt = Date.now() + REST_MS;
  for (;;) {
    const run = await stage.readRun(runId);
    const actual = run === undefined ? null : normalizeRun(run);
    if (isDeepStrictEqual(actual, expected) || Date.now() > giveUpAt) return compare('run', actual, expected);
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  }
}

/** An outcome without what is free text or an id. */
function comparable(outcome: PlayOutcome): unknown {
  switch (outcome.type) {
    case 'completed':
      return { type: outcome.type, output: outcome.output };
    case 'refused':
      return { type: outcome.type, code: outcome.code };
    default:
      return { type: outcome.type };
  }
}

function compare(what: string, actual: unknown, expected: unknown): readonly string[] {
  return isDeepStrictEqual(actual, expected) ? [] : [`${what}: ${showDifference(actual, expected)}`];
}
