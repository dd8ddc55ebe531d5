import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from '@jest/globals';

it('the ticket desk prints what its README says: an answer within its cap, a halt, and a replay that costs nothing', async () => {
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ['--conditions=runpurse-source', '--no-warnings', join(import.meta.dirname, 'desk.ts')],
    { timeout: 60_000, env: { ...process.env, NODE_OPTIONS: '' } },
  );
  const said = /```text\n([\s\S]*?)```/.exec(readFileSync(join(import.meta.dirname, 'README.md'), 'utf8'))?.[1] ?? '';
  expect(stable(stdout)).toBe(stable(said));
  expect(said).toContain('Stopped by Runpurse (budget_exceeded)');
  expect(said).toContain('customer ada: 2 runs, $0.0116');
}, 60_000);

/** How much of the lookup's price is settled and how much still held when the next call comes, the machine's pace decides. */
function stable(output: string): string {
  return output.replace(/\(settled \$[\d.]+(?:, held by calls in flight \$[\d.]+)?\)/, '(…)').trim();
}
