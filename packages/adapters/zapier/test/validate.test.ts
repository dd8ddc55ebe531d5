import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import app from '../src/index.ts';
import { buildApp } from '../build.ts';

const run = promisify(execFile);
const here = join(import.meta.dirname, '..');
const folder = mkdtempSync(join(tmpdir(), 'runpurse-zapier-'));

beforeAll(async () => {
  await buildApp(folder);
  mkdirSync(join(folder, 'node_modules'));
  symlinkSync(join(here, 'node_modules', 'zapier-platform-core'), join(folder, 'node_modules', 'zapier-platform-core'));
});
afterAll(() => rmSync(folder, { recursive: true }));

describe('the built app', () => {
  it('is structurally sound to Zapier’s own command', async () => {
    const command = join(here, 'node_modules', '.bin', 'zapier-platform');
    const { stdout } = await run(command, ['validate', '--without-style'], {
      cwd: folder,
      env: { PATH: process.env['PATH'], HOME: folder, CI: '1', NO_UPDATE_NOTIFIER: '1' },
    });
    expect(stdout).toContain('No structural errors found');
    expect(stdout).toContain('This project is structurally sound!');
  }, 60_000);

  it('is one file that needs zapier-platform-core alone', () => {
    const built = readFileSync(join(folder, 'index.js'), 'utf8');
    expect(built.length).toBeLessThan(1_000_000);
    const required = [...built.matchAll(/\brequire\("([^"]+)"\)/g)].map(([, name]) => name ?? '');
    expect(new Set(required.filter((name) => !name.startsWith('node:')))).toEqual(new Set(['zapier-platform-core']));
    expect(JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))).toMatchObject({
      main: 'index.js',
      dependencies: { 'zapier-platform-core': '19.1.0' },
    });
  });

  it('is what Zapier requires: the app itself, with its version and the platform’s', () => {
    const built = createRequire(join(folder, 'index.js'))('./index.js') as typeof app;
    const { version } = JSON.parse(readFileSync(join(here, 'package.json'), 'utf8')) as { version: string };
    expect(built).toMatchObject({ version, platformVersion: '19.1.0' });
  });
});

describe('what the app shows', () => {
  type Shown = {
    readonly key: string;
    readonly display: { readonly label: string; readonly description: string; readonly hidden?: boolean };
    readonly operation: {
      readonly sample?: Record<string, unknown>;
      readonly outputFields?: readonly { readonly key: string }[];
      readonly inputFields?: readonly unknown[];
    };
  };
  const all = [app.triggers, app.creates, app.searches].flatMap((group): unknown[] => Object.values(group)) as readonly Shown[];
  const seen = all.filter(({ display }) => display.hidden !== true);

  it('is three triggers, each with its fallback by polling, five actions and three searches', () => {
    expect(seen.map(({ key }) => key)).toEqual([
      ...['run_ended', 'threshold_crossed', 'call_refused'],
      ...['run_ended_polled', 'threshold_crossed_polled', 'call_refused_polled'],
      ...['start_run', 'authorize_spend', 'record_cost', 'chat_completion', 'end_run'],
      ...['find_run', 'find_session', 'budget_status'],
    ]);
  });

  it.each(seen.map((one) => [one.key, one] as const))('%s has a sample with every field it says it has', (_key, { display, operation }) => {
    expect(display.description).toMatch(/^(Triggers when|Finds|Begins|Asks|Records|Ends) .+\.$/);
    const fields = (operation.outputFields ?? []).map(({ key }) => key);
    expect(new Set(fields).size).toBe(fields.length);
    expect(Object.keys(operation.sample ?? {})).toEqual(expect.arrayContaining(fields));
  });

  it('offers only dropdowns that exist', () => {
    const dynamic = [...JSON.stringify(app).matchAll(/"dynamic":"(\w+)\./g)].map(([, key]) => key ?? '');
    expect(dynamic.length).toBeGreaterThan(5);
    for (const key of dynamic) expect(Object.keys(app.triggers)).toContain(key);
  });
});
