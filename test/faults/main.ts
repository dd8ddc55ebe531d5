import { parseArgs } from 'node:util';
import { killUnderLoad } from './crash.ts';
import { exactRoom, randomCosts } from './race.ts';
import type { Report } from './report.ts';
import { failingWrites, fullDisk, fullStore } from './store-fails.ts';

/** `npm run faults`: tries to make real gateway processes break their promises, and prints what it tried and what was lost. */

const { values: flags } = parseArgs({
  options: {
    kills: { type: 'string', default: '100' },
    bursts: { type: 'string', default: '20' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
  },
});
const seed = Number(flags.seed);

const trials: readonly (() => Promise<Report | undefined>)[] = [
  () => exactRoom({ calls: 200, room: 50 }),
  () => randomCosts({ bursts: Number(flags.bursts), calls: 200, seed }),
  () => killUnderLoad({ kills: Number(flags.kills), seed }),
  fullStore,
  failingWrites,
  fullDisk,
];

let lost = 0;
for (const trial of trials) {
  const report = await trial();
  if (report === undefined) {
    process.stdout.write('not tried  full disk: this user may not mount a small disk\n');
    continue;
  }
  lost += report.lost.length;
  process.stdout.write(`lost (${report.lost.length})  ${report.name}: ${report.tried}\n`);
  for (const line of report.lost.slice(0, 20)) process.stdout.write(`    ${line}\n`);
}
process.stdout.write(`\nlost in all: ${lost}\n`);
process.exitCode = lost === 0 ? 0 : 1;
