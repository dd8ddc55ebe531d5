// Builds dist/ as n8n loads it: n8n's own build checks the types and copies the icons, then esbuild writes one CommonJS file for
// each node and credential with core inside, because a community package may have no dependency.
import { spawnSync } from 'node:child_process';
import { copyFileSync, cpSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const here = dirname(fileURLToPath(import.meta.url));

function checkAndCopy() {
  const env = { ...process.env, CI: 'true', PATH: `${dirname(process.execPath)}${delimiter}${process.env.PATH ?? ''}` };
  const { status, stdout, stderr, error } = spawnSync(
    process.execPath,
    [join(here, 'node_modules', '@n8n', 'node-cli', 'bin', 'n8n-node.mjs'), 'build'],
    { cwd: here, env, encoding: 'utf8' },
  );
  if (status === 0) return;
  process.stderr.write(`${stdout ?? ''}${stderr ?? ''}${error?.message ?? ''}`);
  process.exit(1);
}

async function bundle(outdir) {
  const { n8n } = JSON.parse(readFileSync(join(here, 'package.json'), 'utf8'));
  const sources = [...n8n.nodes, ...n8n.credentials].map((path) => path.replace(/^dist\//, '').replace(/\.js$/, '.ts'));
  await build({
    absWorkingDir: here,
    entryPoints: sources,
    outdir,
    outbase: '.',
    bundle: true,
    platform: 'node',
    format: 'cjs',
    target: 'node20',
    conditions: ['runpurse-source'],
    external: ['n8n-workflow', '@n8n/ai-node-sdk'],
    // Community code may touch no global object; zod keeps its registry in one of our own instead.
    define: { globalThis: 'runpurseGlobal' },
    banner: { js: 'const runpurseGlobal = {};' },
    legalComments: 'none',
    logLevel: 'warning',
  });
  for (const source of sources) {
    const codex = source.replace(/\.ts$/, '.json');
    if (existsSync(join(here, codex))) copyFileSync(join(here, codex), join(outdir, codex));
  }
}

// `node build.mjs FOLDER`: the package as it is installed, without n8n's checks, into a folder of its own; for tests, many at once.
const [folder] = process.argv.slice(2);
if (folder === undefined) {
  checkAndCopy();
  await bundle(join(here, 'dist'));
} else {
  mkdirSync(folder, { recursive: true });
  copyFileSync(join(here, 'package.json'), join(folder, 'package.json'));
  cpSync(join(here, 'icons'), join(folder, 'dist', 'icons'), { recursive: true });
  await bundle(join(folder, 'dist'));
}
