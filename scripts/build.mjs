// Builds dist/ of every published package, dependencies first: JavaScript, types and the assets beside the sources.
// `node scripts/build.mjs [PACKAGE_NAME …]` builds only those (and nothing they depend on).
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, globSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
/** Documents, tests, and what only tests use; a source that something shipped imports is built all the same. */
const NOT_SHIPPED = /\.test\.ts$|\.md$|[\\/](?:fixtures|conformance)(?:[\\/]|\.ts$)|[\\/](?:test-[\w-]+|crash-child|harness)\.ts$/;

/** The packages users install, each after those it depends on. */
export function publishedPackages() {
  const manifests = globSync(['packages/*/package.json', 'packages/adapters/*/package.json'], { cwd: root })
    .map((path) => ({ folder: dirname(join(root, path)), manifest: JSON.parse(readFileSync(join(root, path), 'utf8')) }))
    .filter(({ manifest }) => manifest.private !== true);
  const sorted = [];
  const visit = (one) => {
    if (sorted.includes(one)) return;
    for (const name of Object.keys(one.manifest.dependencies ?? {})) {
      const dependency = manifests.find(({ manifest }) => manifest.name === name);
      if (dependency !== undefined) visit(dependency);
    }
    sorted.push(one);
  };
  manifests.sort((a, b) => a.manifest.name.localeCompare(b.manifest.name)).forEach(visit);
  return sorted;
}

/** A package that its platform wants in a form of its own says how in its build.mjs. */
function buildItself(folder) {
  return spawnSync(process.execPath, ['build.mjs'], { cwd: folder, stdio: ['ignore', 'ignore', 'inherit'] }).status === 0;
}

function build({ folder }) {
  if (existsSync(join(folder, 'build.mjs'))) return buildItself(folder);
  const source = join(folder, 'src');
  const output = join(folder, 'dist');
  rmSync(output, { recursive: true, force: true });
  const files = globSync('**/*', { cwd: source, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((path) => !NOT_SHIPPED.test(path));
  const sources = files.filter((path) => path.endsWith('.ts'));

  const base = ts.readConfigFile(join(root, 'tsconfig.base.json'), ts.sys.readFile).config;
  const { options } = ts.convertCompilerOptionsFromJson(
    {
      ...base.compilerOptions,
      // Dependencies are seen as users see them: by their built types, not their sources.
      customConditions: [],
      rootDir: source,
      outDir: output,
      declaration: true,
      noEmitOnError: true,
    },
    folder,
  );
  const program = ts.createProgram(sources, options);
  const diagnostics = [...ts.getPreEmitDiagnostics(program), ...program.emit().diagnostics];
  if (diagnostics.length > 0) {
    const host = { getCanonicalFileName: (name) => name, getCurrentDirectory: () => root, getNewLine: () => '\n' };
    process.stderr.write(ts.formatDiagnostics(diagnostics, host));
    return false;
  }
  for (const path of files.filter((one) => !one.endsWith('.ts'))) cpSync(path, join(output, relative(source, path)));
  return true;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const wanted = process.argv.slice(2);
  for (const one of publishedPackages()) {
    if (wanted.length > 0 && !wanted.includes(one.manifest.name)) continue;
    if (!build(one)) {
      process.stderr.write(`${one.manifest.name} does not build\n`);
      process.exit(1);
    }
    process.stdout.write(`built ${one.manifest.name}\n`);
  }
}
