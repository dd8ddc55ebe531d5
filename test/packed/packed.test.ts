import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { globSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { publint } from 'publint';

/** The packages as users get them: built, packed, installed into a project of their own that knows nothing of this workspace. */

const ROOT = dirname(dirname(import.meta.dirname));
const run = promisify(execFile);

interface Manifest {
  readonly name: string;
  readonly version: string;
  readonly private?: boolean;
  readonly devDependencies?: Readonly<Record<string, string>>;
  readonly peerDependencies?: Readonly<Record<string, string>>;
  /** What n8n loads, by path; such a package has no entry of its own. */
  readonly n8n?: { readonly credentials: readonly string[]; readonly nodes: readonly string[] };
}

const packages = globSync(['packages/*/package.json', 'packages/adapters/*/package.json'], { cwd: ROOT })
  .map((path) => ({ folder: dirname(join(ROOT, path)), manifest: JSON.parse(readFileSync(join(ROOT, path), 'utf8')) as Manifest }))
  .filter(({ manifest }) => manifest.private !== true)
  .sort((a, b) => a.manifest.name.localeCompare(b.manifest.name));
const libraries = packages.filter(({ manifest }) => manifest.n8n === undefined);
const nodePackages = packages.flatMap(({ manifest }) => (manifest.n8n === undefined ? [] : [{ name: manifest.name, n8n: manifest.n8n }]));

let tarballs: string;
let project: string;
const tarballOf = new Map<string, string>();

beforeAll(async () => {
  tarballs = mkdtempSync(join(tmpdir(), 'runpurse tarballs '));
  project = mkdtempSync(join(tmpdir(), 'runpurse project '));
  await run(process.execPath, ['scripts/build.mjs'], { cwd: ROOT });
  for (const { folder, manifest } of packages) {
    const destination = join(tarballs, manifest.name.replace(/[@/]/g, '_'));
    mkdirSync(destination);
    await run('pnpm', ['pack', '--pack-destination', destination], { cwd: folder });
    tarballOf.set(manifest.name, join(destination, readdirSync(destination)[0] ?? ''));
  }
  await installIntoProject();
}, 300_000);

afterAll(() => {
  for (const folder of [tarballs, project]) rmSync(folder, { recursive: true, force: true });
});

/** Peers come in the versions the workspace tests with; whatever the store already has is not fetched again. */
async function installIntoProject(): Promise<void> {
  const ours = Object.fromEntries([...tarballOf].map(([name, path]) => [name, `file:${path}`]));
  const peers = Object.assign(
    {},
    ...packages.map(({ manifest }) =>
      Object.fromEntries(Object.keys(manifest.peerDependencies ?? {}).map((name) => [name, manifest.devDependencies?.[name] ?? 'latest'])),
    ),
  ) as Record<string, string>;
  writeFileSync(join(project, 'package.json'), JSON.stringify({ private: true, type: 'module', dependencies: { ...peers, ...ours } }));
  const overrides = Object.entries(ours).map(([name, path]) => `  ${JSON.stringify(name)}: ${JSON.stringify(path)}\n`);
  // No install script runs here either.
  const allowBuilds = /^allowBuilds:\n(?: .*\n)+/m.exec(readFileSync(join(ROOT, 'pnpm-workspace.yaml'), 'utf8'))?.[0] ?? '';
  writeFileSync(
    join(project, 'pnpm-workspace.yaml'),
    `packages: []\n${allowBuilds}autoInstallPeers: false\noverrides:\n${overrides.join('')}`,
  );
  await run('pnpm', ['install', '--prefer-offline', '--no-frozen-lockfile'], { cwd: project, env: { ...process.env, CI: 'true' } });
}

async function node(args: readonly string[]): Promise<string> {
  const { stdout } = await run(process.execPath, [...args], { cwd: project });
  return stdout.trim();
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

describe.each(libraries.map(({ manifest, folder }) => [manifest.name, folder] as const))('%s as packed', (name, folder) => {
  it('passes publint without errors or warnings', async () => {
    const { messages } = await publint({ pkgDir: folder, strict: true });
    expect(messages.filter((message) => message.type !== 'suggestion')).toEqual([]);
  });

  it('holds its build, its README and its licence, and neither sources nor tests', async () => {
    const { stdout } = await run('tar', ['-tzf', tarballOf.get(name) ?? '']);
    const files = stdout.trim().split('\n');
    expect(files).toEqual(
      expect.arrayContaining(['package/dist/index.js', 'package/dist/index.d.ts', 'package/README.md', 'package/LICENSE']),
    );
    expect(files.filter((path) => /\/src\/|\.test\.|(?<!\.d)\.ts$/.test(path))).toEqual([]);
  });

  it('is imported by its name, and required', async () => {
    const imported = await node(['--input-type=module', '-e', `console.log(Object.keys(await import('${name}')).sort().join())`]);
    expect(imported).not.toBe('');
    const required = await node([
      '--input-type=commonjs',
      '-e',
      `console.log(Object.keys(require('${name}')).filter((key) => key !== '__esModule').sort().join())`,
    ]);
    expect(required).toBe(imported);
  });
});

describe.each(nodePackages)('$name as packed', ({ name, n8n }) => {
  const loaded = [...n8n.credentials, ...n8n.nodes];

  it('holds what n8n loads, its README and its licence, and neither sources nor tests', async () => {
    const { stdout } = await run('tar', ['-tzf', tarballOf.get(name) ?? '']);
    const files = stdout.trim().split('\n');
    const wanted = [...loaded.map((path) => `package/${path}`), 'package/README.md', 'package/LICENSE'];
    expect(files).toEqual(expect.arrayContaining(wanted));
    expect(files.filter((path) => /\/src\/|\.test\.|(?<!\.d)\.m?ts$/.test(path))).toEqual([]);
  });

  it.each(loaded)('has %s loaded as n8n loads it', async (path) => {
    const names = await node(['--input-type=commonjs', '-e', `console.log(Object.keys(require('./node_modules/${name}/${path}')).join())`]);
    expect(names.split(',')).toContain(basename(path).split('.')[0]);
  });
});

describe('in a project of its own', () => {
  it('type-checks against the packed types', async () => {
    const names = libraries.map(({ manifest }) => manifest.name);
    const check = `
      ${names.map((name, index) => `import * as p${index} from '${name}';`).join('\n')}
      import { parseUsd, type RunShape } from '@runpurse/core';
      export const amount: bigint | undefined = parseUsd('0.5');
      // @ts-expect-error A type that was lost would be \`any\` and let this pass.
      export const wrong: string = parseUsd('0.5');
      export const statusOf = (run: RunShape): 'running' | 'completed' | 'failed' | 'stopped' | 'paused' => run.status;
      export const all = [${names.map((_, index) => `p${index}`).join(', ')}];
    `;
    writeFileSync(join(project, 'check.ts'), check);
    const tsc = join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc');
    const compilerOptions = { noEmit: true, strict: true, skipLibCheck: true, module: 'nodenext', target: 'es2024', types: [] };
    writeFileSync(join(project, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['check.ts'] }));
    const { stdout } = await run(process.execPath, [tsc, '-p', '.'], { cwd: project }).catch((failed: { stdout: string }) => failed);
    expect(stdout).toBe('');
  });

  it('runs the runpurse command', async () => {
    const { version } = packages.find(({ manifest }) => manifest.name === '@runpurse/gateway')?.manifest ?? {};
    const { stdout } = await run(join(project, 'node_modules', '.bin', 'runpurse'), ['--version'], { cwd: project });
    expect(stdout.trim()).toBe(version);
  });

  it('starts a gateway that answers a call and stops when told to', async () => {
    const bin = join(project, 'node_modules', '.bin', 'runpurse');
    const data = join(project, 'data');
    const { stdout } = await run(bin, ['keys', 'create', '--data', data, '--workspace', 'packed', '--json'], { cwd: project });
    const { key } = JSON.parse(stdout) as { key: string };
    const port = await freePort();
    const gateway = spawn(bin, ['start', '--data', data, '--port', String(port)], { cwd: project, stdio: ['ignore', 'pipe', 'pipe'] });
    try {
      await untilReady(gateway, `http://127.0.0.1:${port}/healthz`);
      const reply = await fetch(`http://127.0.0.1:${port}/v1/chat/completions`, {
        method: 'POST',
        headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
        body: JSON.stringify({ model: 'sandbox/echo', messages: [{ role: 'user', content: 'packed' }] }),
      });
      const body = await reply.text();
      expect([reply.status, body]).toEqual([200, expect.stringContaining('packed')]);
      expect(reply.headers.get('x-runpurse-request-cost-usd')).toMatch(/^0\.\d+$/);
    } finally {
      gateway.kill('SIGTERM');
    }
    const [code] = (gateway.exitCode === null ? await once(gateway, 'exit') : [gateway.exitCode]) as [number | null];
    expect(code).toBe(0);
  });
});

async function untilReady(gateway: ChildProcess, url: string): Promise<void> {
  let output = '';
  for (const stream of [gateway.stdout, gateway.stderr]) stream?.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const deadline = Date.now() + 20_000;
  while (Date.now() < deadline && gateway.exitCode === null) {
    const ready = await fetch(url).then(
      (response) => response.ok,
      () => false,
    );
    if (ready) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`The gateway did not get ready:\n${output}`);
}
