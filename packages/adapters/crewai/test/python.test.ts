import { execFile } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, describe, expect, it } from '@jest/globals';
import { PYTHON, PYTHON_VARIABLES, pythonEnvironment } from './environment.ts';

const scratch = mkdtempSync(join(tmpdir(), 'runpurse-crewai-'));
afterAll(() => rmSync(scratch, { recursive: true }));

async function python(args: readonly string[]): Promise<string> {
  const { stdout, stderr } = await promisify(execFile)(pythonEnvironment(), [...args], {
    cwd: PYTHON,
    timeout: 120_000,
    env: { ...process.env, PYTHONPATH: 'src', ...PYTHON_VARIABLES },
  });
  return `${stdout}${stderr}`;
}

describe('the package runpurse-crewai', () => {
  it('passes its own tests', async () => {
    expect(await python(['-m', 'unittest', 'discover', 'tests'])).toMatch(/Ran (?:[2-9]\d|\d{3,}) tests[\s\S]*\nOK\n$/);
  }, 120_000);

  it('is typed throughout, as mypy in strict mode sees it', async () => {
    expect(await python(['-m', 'mypy', '--cache-dir', join(scratch, 'mypy')])).toContain('Success: no issues found');
  }, 120_000);

  it('installs with pip, types and all, and needs nothing beside CrewAI', async () => {
    const target = join(scratch, 'site');
    const source = join(scratch, 'source');
    // setuptools builds beside the sources it is given; these stay clean.
    await python(['-c', `import shutil; shutil.copytree(".", ${JSON.stringify(source)})`]);
    await python(['-m', 'pip', 'install', '--quiet', '--no-deps', '--no-build-isolation', '--no-compile', '--target', target, source]);
    expect(readdirSync(join(target, 'runpurse_crewai'))).toEqual(
      readdirSync(join(PYTHON, 'src', 'runpurse_crewai')).filter((file) => /\.py$|py\.typed/.test(file)),
    );
    const [info = ''] = readdirSync(target).filter((file) => file.endsWith('.dist-info'));
    const metadata = readFileSync(join(target, info, 'METADATA'), 'utf8');
    expect(metadata.match(/^Requires-Dist: .*$/gm)).toEqual([expect.stringMatching(/^Requires-Dist: crewai</)]);
    expect(metadata).toContain('# runpurse-crewai');
  }, 120_000);

  it('imports nothing but the standard library and CrewAI', () => {
    const sources = readdirSync(join(PYTHON, 'src', 'runpurse_crewai')).filter((file) => file.endsWith('.py'));
    const imported = sources.flatMap((file) =>
      [...readFileSync(join(PYTHON, 'src', 'runpurse_crewai', file), 'utf8').matchAll(/^\s*(?:from|import) ([\w]+)/gm)].map(
        ([, name]) => name,
      ),
    );
    const standard = `__future__ asyncio atexit collections concurrent contextlib contextvars dataclasses datetime functools hashlib http inspect
      json os queue random re socket ssl threading time types typing urllib uuid weakref`;
    expect([...new Set(imported)].filter((name) => name !== undefined && !standard.split(/\s+/).includes(name))).toEqual(['crewai']);
  });
});
