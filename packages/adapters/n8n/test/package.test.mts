import { spawnSync } from 'node:child_process';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { builtPackage } from './n8n.mts';

const HERE = join(import.meta.dirname, '..');
const CLI = join(HERE, 'node_modules', '@n8n', 'node-cli', 'bin', 'n8n-node.mjs');

interface Manifest {
  readonly license: string;
  readonly dependencies?: object;
  readonly keywords: readonly string[];
  readonly peerDependencies: Readonly<Record<string, string>>;
  readonly n8n: { readonly strict: boolean; readonly nodes: readonly string[]; readonly credentials: readonly string[] };
}

const manifest = JSON.parse(readFileSync(join(HERE, 'package.json'), 'utf8')) as Manifest;

const BUILT = builtPackage();

describe('the package as n8n reviews it', () => {
  it('passes `n8n-node lint`, strict', () => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [CLI, 'lint'], {
      cwd: HERE,
      encoding: 'utf8',
      env: { ...process.env, NODE_OPTIONS: '', NODE_ENV: 'production' },
    });
    expect([status, status === 0 ? '' : `${stdout}${stderr}`]).toEqual([0, '']);
    expect(manifest.n8n.strict).toBe(true);
  }, 120_000);

  it('has no dependency, only the peers that are allowed, and what is asked of a community package', () => {
    expect(manifest.dependencies).toBeUndefined();
    expect(manifest.peerDependencies).toEqual({ 'n8n-workflow': '*', '@n8n/ai-node-sdk': '*' });
    expect(manifest.license).toBe('MIT');
    expect(manifest.keywords).toContain('n8n-community-node-package');
  });

  it.each([...manifest.n8n.nodes, ...manifest.n8n.credentials])(
    '%s holds all it needs, and touches no global that n8n Cloud forbids',
    (path) => {
      const code = readFileSync(join(BUILT, path), 'utf8');
      const required = new Set([...code.matchAll(/\brequire\("([^"]+)"\)/g)].map((match) => match[1] ?? ''));
      expect([...required].filter((name) => !['n8n-workflow', '@n8n/ai-node-sdk', 'node:crypto'].includes(name))).toEqual([]);
      const bare = code.replace(/"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|\/\/.*$/gm, '""');
      expect(bare.match(/(?<![\w.$])(?:globalThis\b|process\.|set(?:Timeout|Interval|Immediate)\(|__dirname|__filename)/g) ?? []).toEqual(
        [],
      );
    },
  );

  it('brings its icons, light and dark, and where n8n files each node', () => {
    const built = globSync('dist/**/*.{svg,json}', { cwd: BUILT }).map((path) => path.replaceAll('\\', '/'));
    expect(built).toEqual(
      expect.arrayContaining(['dist/icons/runpurse.svg', 'dist/icons/runpurse.dark.svg', 'dist/nodes/Runpurse/Runpurse.node.json']),
    );
  });
});
