import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';

/** A clone in a path with spaces, with an `npm` that writes down its calls and "installs" this very Node and a no-op pnpm. */
const FAKE_NPM = `#!/bin/sh
echo "$@" >> "$FAKE_NPM_LOG"
if [ -n "$FAKE_NPM_FAILS" ]; then echo "npm error network unreachable" >&2; exit 1; fi
sleep 0.3
mkdir -p node_modules/.bin
ln -sf "$FAKE_NODE" node_modules/.bin/node
printf '#!/bin/sh\\nmkdir -p node_modules\\n' > node_modules/.bin/pnpm
chmod +x node_modules/.bin/pnpm
`;

let clone: string;
let npmLog: string;

beforeEach(() => {
  clone = mkdtempSync(join(tmpdir(), 'runpurse clone '));
  npmLog = join(clone, 'npm.log');
  mkdirSync(join(clone, 'scripts'));
  mkdirSync(join(clone, 'bin'));
  copyFileSync(join(import.meta.dirname, 'toolchain.mjs'), join(clone, 'scripts', 'toolchain.mjs'));
  writeFileSync(join(clone, 'pnpm-lock.yaml'), 'lockfileVersion: 9\n');
  writeFileSync(join(clone, 'bin', 'npm'), FAKE_NPM);
  chmodSync(join(clone, 'bin', 'npm'), 0o755);
});
afterEach(() => rmSync(clone, { recursive: true, force: true }));

function start(command: readonly string[], environment: Record<string, string> = {}): ChildProcess {
  return spawn(process.execPath, [join(clone, 'scripts', 'toolchain.mjs'), ...command], {
    env: {
      ...process.env,
      PATH: `${join(clone, 'bin')}${delimiter}/usr/bin${delimiter}/bin`,
      FAKE_NPM_LOG: npmLog,
      FAKE_NODE: process.execPath,
      ...environment,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

async function run(
  command: readonly string[],
  environment?: Record<string, string>,
): Promise<{ code: number; stdout: string; stderr: string }> {
  const child = start(command, environment);
  const [stdout, stderr, [code]] = await Promise.all([
    child.stdout === null ? '' : text(child.stdout),
    child.stderr === null ? '' : text(child.stderr),
    once(child, 'exit') as Promise<[number]>,
  ]);
  return { code, stdout, stderr };
}

const npmCalls = () => (existsSync(npmLog) ? readFileSync(npmLog, 'utf8').trim().split('\n') : []);
const hello = ['node', '-e', 'console.log("hello")'];

describe('scripts/toolchain.mjs', () => {
  it('fetches once, keeps stdout for the command, and needs no npm the second time', async () => {
    expect(await run(hello)).toMatchObject({ code: 0, stdout: 'hello\n', stderr: expect.stringContaining('first run') });
    expect(await run(hello, { FAKE_NPM_FAILS: '1' })).toEqual({ code: 0, stdout: 'hello\n', stderr: '' });
    expect(npmCalls()).toEqual([expect.stringMatching(/^install .*node@24\.\d+\.\d+ pnpm@\d+\.\d+\.\d+$/)]);
  });

  it('lets concurrent first calls wait for one fetch', async () => {
    const results = await Promise.all([run(hello), run(hello), run(hello)]);
    expect(results.map((result) => [result.code, result.stdout])).toEqual(Array.from({ length: 3 }, () => [0, 'hello\n']));
    expect(npmCalls()).toHaveLength(1);
  });

  it('takes over from a call that died while it was setting up', async () => {
    mkdirSync(join(clone, '.toolchain', 'lock'), { recursive: true });
    writeFileSync(join(clone, '.toolchain', 'lock', 'pid'), '4194999');
    expect(await run(hello)).toMatchObject({ code: 0, stdout: 'hello\n' });
  });

  it("says what failed and what to do when npm can't fetch, and starts again the next time", async () => {
    const failed = await run(hello, { FAKE_NPM_FAILS: '1' });
    expect(failed).toMatchObject({ code: 1, stdout: '' });
    expect(failed.stderr).toMatch(/network unreachable[\s\S]*Fetching Node .* failed.*registry/);
    expect(await run(hello)).toMatchObject({ code: 0, stdout: 'hello\n' });
  });

  it('says so when there is no npm', async () => {
    rmSync(join(clone, 'bin', 'npm'));
    const failed = await run(hello, { PATH: join(clone, 'bin') });
    expect(failed.code).toBe(1);
    expect(failed.stderr).toMatch(/npm was not found/);
  });

  it('installs the workspace again when the lockfile changed', async () => {
    await run(hello);
    writeFileSync(join(clone, 'pnpm-lock.yaml'), 'lockfileVersion: 10\n');
    expect((await run(hello)).stderr).toContain('installing packages');
    expect(npmCalls()).toHaveLength(1);
  });

  it("exits with the command's code", async () => {
    expect((await run(['node', '-e', 'process.exit(7)'])).code).toBe(7);
    expect((await run(['no-such-command'])).code).toBe(1);
  });

  it.each([
    ['SIGTERM', 143],
    ['SIGINT', 130],
  ] as const)('hands %s on and exits with %i', async (signal, code) => {
    await run(hello);
    const child = start(['node', '-e', 'console.log("up"); setInterval(() => {}, 1000)']);
    const exited = once(child, 'exit');
    if (child.stdout !== null) await once(child.stdout, 'data');
    child.kill(signal);
    expect((await exited)[0]).toBe(code);
  });

  it('lets the command end in its own way on a signal', async () => {
    await run(hello);
    const child = start(['node', '-e', 'process.on("SIGTERM", () => process.exit(5)); console.log("up"); setInterval(() => {}, 1000)']);
    const exited = once(child, 'exit');
    if (child.stdout !== null) await once(child.stdout, 'data');
    child.kill('SIGTERM');
    expect((await exited)[0]).toBe(5);
  });
});
