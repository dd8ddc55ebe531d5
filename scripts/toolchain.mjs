// Runs a command on Node 24 with pnpm and the installed workspace, whatever Node started us (20 or newer).
// First call: puts Node 24 and pnpm into .toolchain/ with npm, and installs the workspace. Later calls: three small reads
// and a hash, then the command; no network. Says what it does on stderr only: stdout is the command's.
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const NODE_VERSION = '24.21.0';
const PNPM_VERSION = '12.21.0';
const LOCK_STALE_MS = 15 * 60_000;
const LOCK_POLL_MS = 200;

const isWindows = process.platform === 'win32';
const root = dirname(dirname(fileURLToPath(import.meta.url)));
const toolchain = join(root, '.toolchain');
const toolchainBin = join(toolchain, 'node_modules', '.bin');
const toolchainStamp = join(toolchain, 'ready');
const installStamp = join(root, 'node_modules', '.runpurse-install');

const env = { ...process.env, PATH: `${toolchainBin}${delimiter}${process.env.PATH ?? ''}` };
const wantedToolchain = `node ${NODE_VERSION} pnpm ${PNPM_VERSION}\n`;

const say = (text) => process.stderr.write(`Runpurse: ${text}\n`);

function fail(text) {
  say(text);
  process.exit(1);
}

function readText(path) {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

/** Two first runs at once would write over each other: one works, the others wait for it. */
function withLock(work) {
  mkdirSync(toolchain, { recursive: true });
  const lock = join(toolchain, 'lock');
  const owner = join(lock, 'pid');
  let told = false;
  for (;;) {
    try {
      mkdirSync(lock);
      break;
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
    }
    const pid = Number(readText(owner));
    if (isAbandoned(lock, pid)) {
      rmSync(lock, { recursive: true, force: true });
      continue;
    }
    if (!told) say(`another call (pid ${pid || 'unknown'}) is setting up; waiting …`);
    told = true;
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, LOCK_POLL_MS);
  }
  const release = () => rmSync(lock, { recursive: true, force: true });
  process.once('exit', release);
  writeFileSync(owner, String(process.pid));
  work();
  release();
  process.off('exit', release);
}

function isAbandoned(lock, pid) {
  let age;
  try {
    age = Date.now() - statSync(lock).mtimeMs;
  } catch {
    return false;
  }
  if (age > LOCK_STALE_MS) return true;
  if (pid === 0) return age > 5_000;
  try {
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return error.code === 'ESRCH';
  }
}

/** `hint` says what to do when the tool itself could not. */
function runOrExit(what, hint, command, args, options) {
  const result = spawnSync(command, args, { stdio: ['ignore', 'pipe', 'pipe'], encoding: 'utf8', env, shell: isWindows, ...options });
  if (result.status === 0) return;
  process.stderr.write(`${result.stdout ?? ''}${result.stderr ?? ''}`);
  const reason =
    result.error?.code === 'ENOENT'
      ? `${command} was not found`
      : (result.error?.message ?? `it ended with ${result.signal ?? result.status}`);
  fail(`${what} failed: ${reason}. ${hint}`);
}

/** Node 24 and pnpm, fetched once as npm packages. */
function installToolchain() {
  if (readText(toolchainStamp) === wantedToolchain) return;
  say(`first run: fetching Node ${NODE_VERSION} and pnpm ${PNPM_VERSION} with npm …`);
  rmSync(toolchainStamp, { force: true });
  writeFileSync(join(toolchain, 'package.json'), '{ "private": true }\n');
  const what = `Fetching Node ${NODE_VERSION} and pnpm ${PNPM_VERSION}`;
  const hint =
    'It needs npm and a registry it can reach (see `npm config get registry`); nothing was left half done, run the command again.';
  // The `node` package puts its binary in place with an install script; `-s` of the outer npm must not hide an error.
  const flags = ['--no-save', '--no-audit', '--no-fund', '--ignore-scripts=false', '--loglevel=error', '--workspaces=false'];
  const packages = [`node@${NODE_VERSION}`, `pnpm@${PNPM_VERSION}`];
  runOrExit(what, hint, isWindows ? 'npm.cmd' : 'npm', ['install', ...flags, ...packages], { cwd: toolchain, env: process.env });
  runOrExit(
    what,
    `There may be no Node ${NODE_VERSION} for ${process.platform}-${process.arch}.`,
    join(toolchainBin, 'node'),
    ['--version'],
    { cwd: root },
  );
  writeFileSync(toolchainStamp, wantedToolchain);
}

/** The workspace's packages, installed again only when the lockfile changed. */
function installWorkspace(lockfile) {
  if (readText(installStamp) === lockfile) return;
  say('installing packages …');
  const hint = 'Fix what it says above and run the command again.';
  runOrExit('pnpm install', hint, join(toolchainBin, 'pnpm'), ['install', '--frozen-lockfile'], { cwd: root, env: { ...env, CI: 'true' } });
  writeFileSync(installStamp, lockfile);
}

const lockfile = createHash('sha256')
  .update(readText(join(root, 'pnpm-lock.yaml')))
  .digest('hex');
if (readText(toolchainStamp) !== wantedToolchain || readText(installStamp) !== lockfile) {
  withLock(() => {
    installToolchain();
    installWorkspace(lockfile);
  });
}

const [command, ...args] = process.argv.slice(2);
if (command === undefined) fail('usage: node scripts/toolchain.mjs COMMAND [ARGUMENT …]');
const child = spawn(command, args, { stdio: 'inherit', env, cwd: root, shell: isWindows });
// At a terminal, Ctrl-C reaches the command by itself; handing it on as well would make it two.
process.on('SIGINT', () => process.stdin.isTTY || child.kill('SIGINT'));
for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
// npm does not hand signals on: killed, it leaves its shell and us behind. What was started through it must not outlive it.
const startedBy = ancestors();
const watch = setInterval(() => ancestors() === startedBy || child.kill('SIGTERM'), 200);
watch.unref();

/** Who started us, and who started them where the system tells (npm runs us through a shell). */
function ancestors() {
  const stat = readText(`/proc/${process.ppid}/stat`);
  return `${process.ppid} ${stat.slice(stat.lastIndexOf(')')).split(' ')[2] ?? ''}`;
}

child.on('error', (error) => fail(`could not start ${command}: ${error.message}`));
child.on('exit', (code, signal) => process.exit(signal === null ? (code ?? 1) : 128 + constants.signals[signal]));
