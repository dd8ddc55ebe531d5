// Runs a command on Node 24 with pnpm and the installed workspace, whatever Node started us (20 or newer).
// First call: puts Node 24 and pnpm into .toolchain/ from the npm registry and installs the workspace.
// Later calls: two stat calls and a hash, then the command.
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const NODE_VERSION = '24.21.0';
const PNPM_VERSION = '12.21.0';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const toolchain = join(root, '.toolchain');
const toolchainBin = join(toolchain, 'node_modules', '.bin');
const toolchainStamp = join(toolchain, 'ready');
const installStamp = join(root, 'node_modules', '.runpurse-install');

function readText(path) {
  return existsSync(path) ? readFileSync(path, 'utf8') : '';
}

function runOrExit(what, command, args, options) {
  const result = spawnSync(command, args, { stdio: ['ignore', 'pipe', 'pipe'], encoding: 'utf8', cwd: root, ...options });
  if (result.status === 0) return;
  process.stderr.write(`${result.stdout ?? ''}${result.stderr ?? ''}\n${what} failed. ${result.error?.message ?? ''}\n`);
  process.exit(1);
}

/** Node 24 and pnpm, fetched once as npm packages. */
function ensureToolchain() {
  const wanted = `node ${NODE_VERSION} pnpm ${PNPM_VERSION}\n`;
  if (readText(toolchainStamp) === wanted) return;
  process.stderr.write(`Runpurse: first run, fetching Node ${NODE_VERSION} and pnpm ${PNPM_VERSION} …\n`);
  mkdirSync(toolchain, { recursive: true });
  writeFileSync(join(toolchain, 'package.json'), '{ "private": true }\n');
  runOrExit(
    'Fetching Node 24 and pnpm with npm',
    process.platform === 'win32' ? 'npm.cmd' : 'npm',
    ['install', '--no-save', '--no-audit', '--no-fund', `node@${NODE_VERSION}`, `pnpm@${PNPM_VERSION}`],
    { cwd: toolchain, shell: process.platform === 'win32' },
  );
  writeFileSync(toolchainStamp, wanted);
}

/** The workspace's packages, installed again only when the lockfile changed. */
function ensureInstalled(env) {
  const lock = createHash('sha256').update(readText(join(root, 'pnpm-lock.yaml'))).digest('hex');
  if (readText(installStamp) === lock) return;
  process.stderr.write('Runpurse: installing packages …\n');
  const nodedir = join(toolchain, 'node_modules', 'node');
  runOrExit('pnpm install', join(toolchainBin, 'pnpm'), ['install', '--frozen-lockfile'], {
    env: { ...env, npm_config_nodedir: nodedir, CI: 'true' },
    shell: process.platform === 'win32',
  });
  writeFileSync(installStamp, lock);
}

ensureToolchain();
const env = { ...process.env, PATH: `${toolchainBin}${delimiter}${process.env.PATH ?? ''}` };
ensureInstalled(env);

const [command, ...args] = process.argv.slice(2);
const child = spawn(command, args, { stdio: 'inherit', env, cwd: root, shell: process.platform === 'win32' });
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
child.on('error', (error) => {
  process.stderr.write(`Could not start ${command}: ${error.message}\n`);
  process.exit(1);
});
child.on('exit', (code, signal) => process.exit(signal ? 128 + 15 : (code ?? 1)));
