import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

export const ROOT = dirname(dirname(import.meta.dirname));

/** Files of the repository as git would commit them: tracked, and new ones that are not ignored. */
export function repositoryFiles(): readonly string[] {
  const output = execFileSync('git', ['-c', 'safe.directory=*', 'ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
    cwd: ROOT,
    encoding: 'utf8',
    maxBuffer: 1 << 26,
  });
  return [...new Set(output.split('\0'))].filter((path) => path !== '' && existsSync(join(ROOT, path))).sort();
}

export function read(path: string): string {
  return readFileSync(join(ROOT, path), 'utf8');
}

/** A place in a file that breaks a rule, as `path:line: text`. */
export function linesMatching(path: string, pattern: RegExp): readonly string[] {
  return read(path)
    .split('\n')
    .flatMap((line, index) => (pattern.test(line) ? [`${path}:${index + 1}: ${line.trim().slice(0, 160)}`] : []));
}
