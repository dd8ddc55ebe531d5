import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from '@jest/globals';

describe('the newsroom example', () => {
  it('prints what its README says: a denied tool, and a run stopped by its cap', async () => {
    const { stdout } = await promisify(execFile)(
      process.execPath,
      ['--conditions=runpurse-source', '--no-warnings', join(import.meta.dirname, 'newsroom.ts')],
      { timeout: 120_000, env: { ...process.env, NODE_OPTIONS: '' } },
    );
    const said = /```text\n([\s\S]*?)```/.exec(readFileSync(join(import.meta.dirname, 'README.md'), 'utf8'))?.[1] ?? '';
    expect(stable(stdout)).toBe(stable(said));
    expect(said).toContain('publish: denied');
    expect(said).toContain('run_2 failed: $0.012');
  }, 120_000);
});

/** How much of a tool's price is settled and how much still held when the next call comes, the machine's pace decides. */
function stable(output: string): string {
  return output.replace(/\(settled \$[\d.]+, held by calls in flight \$[\d.]+\)/, '(…)').trim();
}
