import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** The Python package and what it is tested with. */
export const PYTHON = join(import.meta.dirname, '..', 'python');
const LOCK_FILE = join(PYTHON, 'requirements.lock');
const TOOLCHAIN = join(import.meta.dirname, '..', '..', '..', '..', '.toolchain');

/** For its processes: what Python compiles lies beside the environment, not beside the sources, and is compiled once. */
export const PYTHON_VARIABLES = { PYTHONPYCACHEPREFIX: join(TOOLCHAIN, 'pycache'), PYTHONDONTWRITEBYTECODE: '', PYTHONUTF8: '1' };

const VERSIONS = ['3.13', '3.12', '3.11', '3.10'];
const WAIT_MS = 250;
const STALE_MS = 15 * 60_000;

/**
 * A virtual environment with the real CrewAI, every file of it pinned by its hash; the path of its Python. The first call
 * makes it (a few seconds, most of them the network's), later ones find it. Throws with what to install where there is no Python.
 */
export function pythonEnvironment(): string {
  const base = findPython();
  const name = createHash('sha256').update(readFileSync(LOCK_FILE)).update(base.version).digest('hex').slice(0, 12);
  const folder = join(TOOLCHAIN, `crewai-${name}`);
  const python = join(folder, process.platform === 'win32' ? 'Scripts/python.exe' : 'bin/python');
  const ready = join(folder, 'ready');
  if (!existsSync(ready))
    withLock(`${folder}.lock`, () => {
      if (existsSync(ready)) return;
      make(base.command, folder, python);
      writeFileSync(ready, '');
    });
  return python;
}

function findPython(): { readonly command: string; readonly version: string } {
  const asked = 'import sys, venv, ensurepip; print(f"{sys.version_info.major}.{sys.version_info.minor}")';
  for (const command of ['python3', ...VERSIONS.map((version) => `python${version}`), 'python']) {
    const answer = spawnSync(command, ['-c', asked], { encoding: 'utf8' });
    const version = answer.status === 0 ? answer.stdout.trim() : '';
    if (VERSIONS.includes(version)) return { command, version };
  }
  throw new Error(
    'The CrewAI adapter is tested with the real CrewAI, which needs Python 3.10 to 3.13 with its venv module, and none was found. Install it (on Debian and Ubuntu: apt-get install python3-venv) and run again.',
  );
}

function make(command: string, folder: string, python: string): void {
  process.stderr.write('Runpurse: making a virtual environment with CrewAI …\n');
  rmSync(folder, { recursive: true, force: true });
  run('Making a virtual environment', command, ['-m', 'venv', folder]);
  const all = ['--require-hashes', '--no-deps', '-r', LOCK_FILE];
  // uv takes seconds where pip takes a minute; it is one of CrewAI's own requirements, so its hash is in the lock file too.
  const uv = join(folder, 'uv.txt');
  writeFileSync(uv, blockOf('uv'));
  const pip = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check'];
  run('Installing uv', python, [...pip, '--require-hashes', '--no-deps', '-r', uv]);
  const index = process.env['PIP_INDEX_URL'];
  const fast = spawnSync(python, ['-m', 'uv', 'pip', 'install', '--quiet', '--python', python, ...all], {
    stdio: ['ignore', 'inherit', 'inherit'],
    env: { ...process.env, ...(index === undefined ? {} : { UV_DEFAULT_INDEX: index }) },
  });
  if (fast.status !== 0) run('Installing CrewAI', python, [...pip, ...all]);
}

/** The lines of one requirement in the lock file. */
function blockOf(name: string): string {
  const lines = readFileSync(LOCK_FILE, 'utf8').split('\n');
  const from = lines.findIndex((line) => line.startsWith(`${name}==`));
  const to = lines.findIndex((line, index) => index > from && !line.startsWith(' '));
  return lines.slice(from, to).join('\n');
}

function run(what: string, command: string, args: readonly string[]): void {
  const { status, error } = spawnSync(command, args, { stdio: ['ignore', 'inherit', 'inherit'] });
  if (status !== 0)
    throw new Error(
      `${what} failed (${error?.message ?? `it ended with ${String(status)}`}). It needs the package index that pip is set up for.`,
    );
}

/** Two first runs at once would write over each other. */
function withLock(lock: string, work: () => void): void {
  mkdirSync(TOOLCHAIN, { recursive: true });
  for (;;) {
    try {
      mkdirSync(lock);
      break;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    if (Date.now() - statSync(lock).mtimeMs > STALE_MS) rmSync(lock, { recursive: true, force: true });
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, WAIT_MS);
  }
  try {
    work();
  } finally {
    rmSync(lock, { recursive: true, force: true });
  }
}

if (import.meta.main) process.stdout.write(`${pythonEnvironment()}\n`);
