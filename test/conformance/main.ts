import { readFileSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { TABLE_DOCUMENTS, withTable } from './adapters-table.ts';
import { judge, type Verdict } from './judge.ts';
import { loadScenarios } from './load-scenarios.ts';
import { ADAPTERS } from './registry.ts';

// `npm run conformance`: plays every scenario by every adapter and prints adapter × scenario.
//   --adapter NAME   only this one        --scenario NAME  only this one
//   --write          write the adapters' table into the documents that show it (and play nothing)

const PLAY_TIMEOUT_MS = 30_000;

const { values: options } = parseArgs({
  options: { adapter: { type: 'string' }, scenario: { type: 'string' }, write: { type: 'boolean', default: false } },
});
const scenarios = loadScenarios().filter(({ name }) => options.scenario === undefined || name === options.scenario);
const harnesses = await Promise.all(
  ADAPTERS.filter(({ name }) => options.adapter === undefined || name === options.adapter).map(async ({ load }) => (await load()).harness),
);

if (scenarios.length === 0 || harnesses.length === 0) {
  process.stderr.write(
    `nothing to play: adapters are ${ADAPTERS.map(({ name }) => name).join(', ')}; scenarios are ${loadScenarios()
      .map(({ name }) => name)
      .join(', ')}\n`,
  );
  process.exit(2);
}
if (options.write) {
  for (const { path, table } of TABLE_DOCUMENTS) {
    writeFileSync(path, withTable(readFileSync(path, 'utf8'), table(harnesses, scenarios)));
  }
  process.exit(0);
}

const SHOWN: Readonly<Record<Verdict['type'], string>> = { passed: 'pass', expected_failure: 'expected failure', failed: 'FAIL' };
const NOT_PLAYED = '-';
const columns = harnesses.flatMap((harness) => harness.modes.map((mode) => ({ harness, mode, title: `${harness.name} ${mode}` })));
const width = Math.max(...scenarios.map(({ name }) => name.length)) + 2;
const columnWidth = Math.max(SHOWN.expected_failure.length, ...columns.map(({ title }) => title.length)) + 2;

const failures: string[] = [];
const reasons = new Set<string>();
process.stdout.write(
  `${''.padEnd(width)}${columns
    .map(({ title }) => title.padEnd(columnWidth))
    .join('')
    .trimEnd()}\n`,
);
for (const scenario of scenarios) {
  const verdicts = await Promise.all(
    columns.map(async ({ harness, mode }) => (scenario.modes.includes(mode) ? inTime(judge(harness, scenario, mode)) : undefined)),
  );
  // Written whole: frameworks like to log in between.
  let row = scenario.name.padEnd(width);
  for (const [index, { harness, mode }] of columns.entries()) {
    const verdict = verdicts[index];
    row += (verdict === undefined ? NOT_PLAYED : SHOWN[verdict.type]).padEnd(columnWidth);
    if (verdict?.type === 'failed') failures.push(`${harness.name}, ${scenario.name}, ${mode}: ${verdict.why}`);
    if (verdict?.type === 'expected_failure') reasons.add(`${harness.name}, ${scenario.name}: ${verdict.reason}`);
  }
  process.stdout.write(`${row.trimEnd()}\n`);
}
if (reasons.size > 0) process.stdout.write(`\nExpected failures:\n${[...reasons].map((reason) => `- ${reason}\n`).join('')}`);
if (failures.length > 0) process.stderr.write(`\n${failures.join('\n')}\n`);
process.exit(failures.length === 0 ? 0 : 1);

async function inTime(play: Promise<Verdict>): Promise<Verdict> {
  let timer: NodeJS.Timeout | undefined;
  const tooLong = new Promise<Verdict>((resolve) => {
    timer = setTimeout(() => resolve({ type: 'failed', why: `did not end within ${PLAY_TIMEOUT_MS / 1000} s` }), PLAY_TIMEOUT_MS);
  });
  const verdict = await Promise.race([
    play.catch((error: unknown): Verdict => ({
      type: 'failed',
      why: `the harness threw: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`,
    })),
    tooLong,
  ]);
  clearTimeout(timer);
  return verdict;
}
