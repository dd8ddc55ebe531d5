import { readdirSync, readFileSync } from 'node:fs';
import { createContext, runInContext } from 'node:vm';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import ts from 'typescript';
import { describe, expect, it } from '@jest/globals';

/** All that core may stand on: the language itself. No host object, no clock, no chance, no timer. */
const LANGUAGE = new Set(
  `Array BigInt Boolean Date Error Infinity JSON Map Math NaN Number Object Promise Reflect RegExp Set String Symbol TypeError WeakMap WeakRef WeakSet
  decodeURIComponent encodeURIComponent undefined`.split(/\s+/),
);
const MODULE = new Set(['module', 'exports', 'require']);

async function bundle(external: readonly string[]): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL('../src/index.ts', import.meta.url))],
    bundle: true,
    write: false,
    format: 'cjs',
    platform: 'neutral',
    mainFields: ['module', 'main'],
    target: 'node20',
    external: [...external],
    logLevel: 'silent',
  });
  return outputFiles[0]?.text ?? '';
}

interface Uses {
  /** Names that the file uses and nothing in it declares. */
  readonly free: ReadonlySet<string>;
  readonly required: ReadonlySet<string>;
  /** Members of the language that read the clock or chance: `Date.now`, `Math.random`, `new Date()`. */
  readonly impure: readonly string[];
}

function usesOf(code: string): Uses {
  const file = ts.createSourceFile('bundle.cjs', code, ts.ScriptTarget.Latest, true, ts.ScriptKind.JS);
  const declared = new Set<string>();
  const used = new Set<string>();
  const required = new Set<string>();
  const impure: string[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isIdentifier(node)) {
      if (isDeclaration(node)) declared.add(node.text);
      else if (isUse(node)) used.add(node.text);
    }
    if (ts.isCallExpression(node) && ts.isIdentifier(node.expression) && node.expression.text === 'require')
      required.add(node.arguments.map((argument) => argument.getText()).join());
    if (ts.isPropertyAccessExpression(node) && /^(Date\.now|Math\.random)$/.test(node.getText())) impure.push(node.getText());
    if (ts.isNewExpression(node) && node.expression.getText() === 'Date' && (node.arguments ?? []).length === 0) impure.push('new Date()');
    ts.forEachChild(node, visit);
  };
  visit(file);
  return { free: new Set([...used].filter((name) => !declared.has(name))), required, impure };
}

function isDeclaration(node: ts.Identifier): boolean {
  const { parent } = node;
  if (
    ts.isBindingElement(parent) ||
    ts.isVariableDeclaration(parent) ||
    ts.isParameter(parent) ||
    ts.isFunctionDeclaration(parent) ||
    ts.isFunctionExpression(parent) ||
    ts.isClassDeclaration(parent) ||
    ts.isClassExpression(parent)
  ) {
    return parent.name === node;
  }
  return ts.isImportClause(parent) || ts.isImportSpecifier(parent);
}

function isUse(node: ts.Identifier): boolean {
  const { parent } = node;
  if (ts.isPropertyAccessExpression(parent)) return parent.expression === node;
  if (ts.isPropertyAssignment(parent)) return parent.initializer === node;
  if (ts.isBindingElement(parent)) return parent.initializer === node;
  const isMemberName =
    (ts.isMethodDeclaration(parent) ||
      ts.isPropertyDeclaration(parent) ||
      ts.isGetAccessorDeclaration(parent) ||
      ts.isSetAccessorDeclaration(parent)) &&
    parent.name === node;
  return !isMemberName && !ts.isLabeledStatement(parent) && !ts.isBreakOrContinueStatement(parent);
}

describe('the scan itself', () => {
  it.each([
    ['setTimeout(() => {}, 1)', 'setTimeout'],
    ['const { env } = process', 'process'],
    ['globalThis.x = 1', 'globalThis'],
    ['class A { #t = clearTimeout; }', 'clearTimeout'],
    ['const dir = `${__dirname}/x`', '__dirname'],
    ['const o = { fetch }', 'fetch'],
    ['const f = (timer = setInterval) => timer', 'setInterval'],
  ])('sees through %s', (code, name) => expect([...usesOf(code).free]).toContain(name));

  it('is not confused by texts, comments and members of the same name', () => {
    expect([
      ...usesOf('// process\nconst a = { process: 1, setTimeout() {} }; a.process; a.global = "globalThis"; const { process: b } = a; b;')
        .free,
    ]).toEqual([]);
  });

  it('sees clock and chance', () => {
    expect(usesOf('Date.now(); new Date(); new Date(5); Math.random()').impure).toEqual(['Date.now', 'new Date()', 'Math.random']);
  });
});

describe('core in one CommonJS file', () => {
  it('requires nothing but zod and uses nothing but the language: no timers, no process, no globals', async () => {
    const { free, required, impure } = usesOf(await bundle(['zod']));
    expect([...required]).toEqual(['"zod"']);
    expect([...free].filter((name) => !LANGUAGE.has(name) && !MODULE.has(name))).toEqual([]);
    expect(impure).toEqual([]);
  });

  it('with zod inside requires nothing, and what zod adds holds no timer', async () => {
    const code = await bundle([]);
    const { free, required } = usesOf(code);
    expect([...required]).toEqual([]);
    for (const name of [
      'process',
      'setTimeout',
      'setInterval',
      'setImmediate',
      'clearTimeout',
      'clearInterval',
      '__dirname',
      '__filename',
      'fetch',
      'Buffer',
    ])
      expect(free).not.toContain(name);
  });

  it('with zod inside works where there is nothing but the language', async () => {
    const sandbox = createContext({ module: { exports: {} }, exports: {}, log: [] as unknown[] });
    runInContext(`${await bundle([])}\n;globalThis.core = module.exports;`, sandbox);
    const result: unknown = await runInContext(
      `(async () => {
        const sent = [];
        const client = core.createGatewayClient({
          baseUrl: 'http://gateway.test', apiKey: 'vk-0123456789abcdefghij', source: 'toy',
          transport: { send: async (request) => { sent.push(request); return { status: 202, headers: {}, body: '{"allowed":true,"decisions":[]}' }; } },
          timers: { now: () => 0, sleep: () => new Promise(() => {}) },
          ids: { next: (prefix) => prefix + '_' + sent.length },
        });
        const run = client.run({ sessionId: 's', limitUsd: '0.50' });
        const started = await run.start();
        const tool = await run.authorizeTool({ tool: 't', toolCallId: 'c', stepId: 's', input: { a: 1 } });
        run.settleTool({ toolCallId: 'c', status: 'completed' });
        await run.end({ status: 'completed' });
        return JSON.stringify([typeof setTimeout, typeof process, started.type, tool.type, sent.length]);
      })()`,
      sandbox,
    );
    expect(JSON.parse(String(result))).toEqual(['undefined', 'undefined', 'allowed', 'allowed', 3]);
  });

  it('names no framework: adapters bring what is particular', () => {
    const source = fileURLToPath(new URL('../src/', import.meta.url));
    const files = readdirSync(source, { recursive: true, encoding: 'utf8' }).filter(
      (file) => file.endsWith('.ts') && !file.endsWith('.test.ts'),
    );
    expect(files.length).toBeGreaterThan(20);
    const named = files.filter((file) =>
      /langgraph|langchain|\bn8n\b|crewai|mastra|openai[_-]?agents|zapier|\bmake\b/i.test(readFileSync(source + file, 'utf8')),
    );
    expect(named).toEqual([]);
  });
});
