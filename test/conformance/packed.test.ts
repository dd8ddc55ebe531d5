import { execFile } from 'node:child_process';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';

/** The suite as a stranger gets it: packed, unpacked elsewhere in the workspace so that core and gateway are found, and played. */

const run = promisify(execFile);
const HERE = import.meta.dirname;
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(HERE, 'node_modules', '.packed-'));
  await run('pnpm', ['pack', '--pack-destination', folder], { cwd: HERE });
  const [tarball = ''] = await readdir(folder);
  await run('tar', ['-xzf', join(folder, tarball), '-C', folder]);
}, 120_000);

afterAll(() => rm(folder, { recursive: true, force: true }));

describe('the packed suite', () => {
  it('holds the code, the scenarios and the template to copy, and no test', async () => {
    const files = await readdir(join(folder, 'package'), { recursive: true });
    expect(files).toEqual(
      expect.arrayContaining([
        'dist/index.js',
        'dist/index.d.ts',
        'dist/scenarios/plain-run.json',
        'dist/scenarios/world.json',
        'toy/adapter.ts',
        'README.md',
      ]),
    );
    expect(files.filter((file) => file.includes('.test.'))).toEqual([]);
  });

  it('plays a scenario with the template', async () => {
    const script = join(folder, 'package', 'play.mjs');
    await writeFile(
      script,
      `import { judge, loadScenarios } from './dist/index.js';
       import { harness } from '${join(HERE, 'toy', 'harness.ts')}';
       const plain = loadScenarios().find(({ name }) => name === 'plain-run');
       console.log(JSON.stringify([loadScenarios().length, await judge(harness, plain, 'carried')]));
       process.exit(0);`,
    );
    const { stdout } = await run(process.execPath, ['--conditions=runpurse-source', '--no-warnings', script]);
    expect(JSON.parse(stdout)).toEqual([(await readdir(join(HERE, '..', '..', 'shared', 'conformance'))).length - 1, { type: 'passed' }]);
  });
});
