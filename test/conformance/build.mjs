// Builds dist/ of this package for who installs it: JavaScript, types, and the scenarios beside them. `pnpm pack` runs it first.
import { cpSync, renameSync, rmSync } from 'node:fs';
import { join, relative } from 'node:path';
import ts from 'typescript';

const here = import.meta.dirname;
const root = join(here, '..', '..');
const dist = join(here, 'dist');
/** What it stands on is compiled from source too, so that nothing need be built before; only our own part is kept. */
const everything = join(here, 'node_modules', '.build');
for (const folder of [dist, everything]) rmSync(folder, { recursive: true, force: true });

const { config } = ts.readConfigFile(join(root, 'tsconfig.base.json'), ts.sys.readFile);
const { options } = ts.convertCompilerOptionsFromJson(
  { ...config.compilerOptions, rootDir: root, outDir: everything, declaration: true, noEmitOnError: true },
  here,
);
const program = ts.createProgram([join(here, 'index.ts')], options);
const diagnostics = [...ts.getPreEmitDiagnostics(program), ...program.emit().diagnostics];
if (diagnostics.length > 0) {
  const host = { getCanonicalFileName: (name) => name, getCurrentDirectory: () => root, getNewLine: () => '\n' };
  process.stderr.write(ts.formatDiagnostics(diagnostics, host));
  process.exit(1);
}
renameSync(join(everything, relative(root, here)), dist);
rmSync(everything, { recursive: true, force: true });
cpSync(join(root, 'shared', 'conformance'), join(dist, 'scenarios'), { recursive: true });
