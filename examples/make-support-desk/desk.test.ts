import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from '@jest/globals';

it('the support desk prints what its README says: an answer within its cap, a refusal, and a replay that costs nothing', async () => {
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ['--conditions=runpurse-source', '--no-warnings', join(import.meta.dirname, 'desk.ts')],
    { timeout: 60_000, env: { ...process.env, NODE_OPTIONS: '' } },
  );
  const said = /```text\n([\s\S]*?)```/.exec(readFileSync(join(import.meta.dirname, 'README.md'), 'utf8'))?.[1] ?? '';
  expect(stdout.trim()).toBe(said.trim());
  expect(said).toContain('DuplicateDataError: Step answer of run ticket-7');
  expect(said).toContain('requests to the CRM and the desk: 3');
}, 60_000);
