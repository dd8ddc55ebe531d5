// Builds the app as Zapier takes it: dist/ with one bundled file and a package.json that needs zapier-platform-core alone.
// Then, in dist/: `npm install && npx zapier-platform push`. `node build.ts [FOLDER]`.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const here = dirname(fileURLToPath(import.meta.url));

export async function buildApp(folder: string = join(here, 'dist')): Promise<string> {
  const manifest = JSON.parse(readFileSync(join(here, 'package.json'), 'utf8')) as Record<string, unknown> & {
    readonly dependencies: Record<string, string>;
  };
  mkdirSync(folder, { recursive: true });
  await build({
    entryPoints: [join(here, 'src', 'index.ts')],
    outfile: join(folder, 'index.js'),
    bundle: true,
    platform: 'node',
    target: 'node22',
    format: 'cjs',
    conditions: ['runpurse-source'],
    external: ['zapier-platform-core'],
    // Zapier requires the file and wants the app itself.
    footer: { js: 'module.exports = module.exports.default;' },
    logLevel: 'warning',
  });
  const { name, version, description, license, engines, dependencies } = manifest;
  const { 'zapier-platform-core': core } = dependencies;
  const written = {
    name,
    version,
    description,
    license,
    engines,
    private: true,
    main: 'index.js',
    dependencies: { 'zapier-platform-core': core },
  };
  writeFileSync(join(folder, 'package.json'), `${JSON.stringify(written, null, 2)}\n`);
  return folder;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await buildApp(process.argv[2]);
