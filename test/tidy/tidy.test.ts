import { existsSync, statSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { linesMatching, read, repositoryFiles, ROOT } from './tree.ts';

const files = repositoryFiles();
const text = files.filter((path) => /\.(?:ts|mts|js|mjs|cjs|json|ya?ml|md|sh|py|html|css)$/.test(path) || path === '.ci/run');
const sources = text.filter((path) => /\.(?:m?ts|mjs|py)$/.test(path));
const tests = sources.filter((path) => /\.test\.m?ts$/.test(path));
/** What is shipped: not tests, nor the suites and processes only tests use. */
const inSource = (path: string) =>
  /^packages\/(?:[^/]+|adapters\/[^/]+)\/src\//.test(path) &&
  !/\.test\.ts$|\/(?:conformance|fixtures|crash-child|harness|test-[\w-]+)(?:\/|\.ts$)/.test(path);
/** Spelled apart, so that this file does not break its own rules. */
const word = (...parts: readonly string[]) => parts.join('');

const FRAMEWORKS = /lang(?:chain|graph|fuse)|mastra|crew-?ai|\bn8n\b|zapier|vercel|llama-?index|openai[-_ ]?agents|make\.com/i;

describe('the tree', () => {
  it('has files to look at', () => {
    expect(sources.length).toBeGreaterThan(50);
    expect(tests.length).toBeGreaterThan(10);
  });

  it('names no framework in core or the gateway', () => {
    const ours = text.filter((path) => inSource(path) && /^packages\/(?:core|gateway)\//.test(path));
    expect(ours.flatMap((path) => linesMatching(path, FRAMEWORKS))).toEqual([]);
  });

  it('leaves nothing to be done later', () => {
    const pattern = new RegExp(`\\b(?:${word('TO', 'DO')}|${word('FIX', 'ME')}|${word('XX', 'X')}|${word('HA', 'CK')})\\b`);
    expect(sources.flatMap((path) => linesMatching(path, pattern))).toEqual([]);
  });

  it('skips no test and runs none alone', () => {
    const pattern = /\b(?:it|test|describe)\.(?:skip|only|todo|failing\.skip|failing\.only)\b|\b(?:xit|xtest|xdescribe|fit|fdescribe)\(/;
    expect(tests.flatMap((path) => linesMatching(path, pattern))).toEqual([]);
  });

  it('knows no machine: no absolute home paths, no registry', () => {
    const machine = new RegExp(
      [
        `(?:^|[\\s"'\`(=:])/(?:${word('wo', 'rk')}|${word('ro', 'ot')}|${word('ho', 'me')}|Users)/`,
        word('registry', '\\.(?:npmjs|yarnpkg|npmmirror)'),
        word('(?:files\\.)?python', 'hosted\\.org'),
      ].join('|'),
    );
    const watched = [...text, ...files.filter((path) => path.endsWith('lock.yaml') || path.startsWith('.npmrc'))];
    expect(watched.flatMap((path) => linesMatching(path, machine))).toEqual([]);
  });

  it('holds no key that looks real, but where tests of redaction need one', () => {
    const key = new RegExp(
      [word('sk-(?:ant-|proj-)', '[A-Za-z0-9]{20,}'), word('AKIA', '[0-9A-Z]{16}'), word('-----BEGIN ', '[A-Z ]*PRIVATE KEY')].join('|'),
    );
    expect(text.filter((path) => !path.endsWith('.test.ts')).flatMap((path) => linesMatching(path, key))).toEqual([]);
  });

  it('holds no binaries and no fetched code', () => {
    const foreign = files.filter((path) =>
      /(?:^|\/)(?:node_modules|dist|vendor|\.toolchain)\/|\.(?:node|so|dylib|dll|exe|wasm|tgz|zip|db|sqlite|sqlite3)$/.test(path),
    );
    expect(foreign).toEqual([]);
    expect(files.filter((path) => statSync(join(ROOT, path)).size > 1024 * 1024)).toEqual([]);
  });

  it('keeps source files short enough to read', () => {
    const long = sources.filter(inSource).map((path) => [path, read(path).split('\n').length] as const);
    expect(long.filter(([, lines]) => lines > 400)).toEqual([]);
  });

  it('names folders and files by what they hold', () => {
    expect(files.filter((path) => /(?:^|\/)(?:utils?|helpers?|common|misc|lib)(?:\/|\.[a-z]+$)/.test(path))).toEqual([]);
  });
});

describe('packages', () => {
  const manifests = files.filter((path) => /^packages\/.*package\.json$/.test(path) && !path.includes('/fixtures/'));

  it.each(manifests)('%s states its licence, what it is, and has a README of a page', (path) => {
    const manifest = JSON.parse(read(path)) as { license?: string; description?: string; name?: string };
    expect(manifest).toMatchObject({ license: 'MIT', description: expect.stringMatching(/\w+ \w+/) });
    const readme = join(dirname(path), 'README.md');
    expect([readme, existsSync(join(ROOT, readme))]).toEqual([readme, true]);
    const lines = read(readme).split('\n').length;
    expect([lines, lines <= 150]).toEqual([lines, true]);
  });

  it.each(files.filter((path) => path.endsWith('package.json') && !path.includes('/fixtures/')))('%s pins exact versions', (path) => {
    type Versions = Record<string, string>;
    const manifest = JSON.parse(read(path)) as { dependencies?: Versions; devDependencies?: Versions };
    const loose = Object.entries({ ...manifest.dependencies, ...manifest.devDependencies }).filter(
      ([, version]) => !/^(?:\d+\.\d+\.\d+(?:-[\w.]+)?|workspace:.*)$/.test(version),
    );
    expect(loose).toEqual([]);
  });
});

describe('documents', () => {
  const documents = text.filter((path) => path.endsWith('.md') && !path.startsWith('.changeset/'));

  it.each(documents)('%s links only to what exists', (path) => {
    const links = [
      ...read(path)
        .replace(/```[\s\S]*?```/g, '')
        .matchAll(/\]\(([^)\s]+)(?:\s+"[^"]*")?\)/g),
    ].map((match) => match[1] ?? '');
    const broken = links
      .filter((link) => !/^[a-z]+:/.test(link))
      .filter((link) => {
        const [target = '', anchor] = link.split('#');
        const file = target === '' ? path : normalize(join(dirname(path), decodeURIComponent(target)));
        if (!existsSync(join(ROOT, file))) return true;
        return anchor !== undefined && file.endsWith('.md') && !anchorsOf(read(file)).includes(anchor);
      });
    expect(broken).toEqual([]);
  });

  it.each(['README.md', 'CONTRIBUTING.md', 'LICENSE', 'docs/architecture.md', 'docs/protocol.md', 'docs/glossary.md'])(
    '%s is there',
    (path) => {
      expect(existsSync(join(ROOT, path))).toBe(true);
    },
  );

  it('names in the README and CONTRIBUTING only commands that package.json has', () => {
    const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };
    const named = ['README.md', 'CONTRIBUTING.md'].flatMap((path) =>
      [...read(path).matchAll(/npm run (?:-s )?([\w:-]+)/g)].map((match) => match[1] ?? ''),
    );
    expect(named.filter((name) => !(name in scripts))).toEqual([]);
  });
});

/** Anchors as the code host makes them from headings. */
function anchorsOf(markdown: string): readonly string[] {
  return [...markdown.matchAll(/^#{1,6}\s+(.+)$/gm)].map((match) =>
    (match[1] ?? '')
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, '')
      .trim()
      .replace(/\s/g, '-'),
  );
}
