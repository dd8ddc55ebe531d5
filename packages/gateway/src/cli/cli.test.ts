import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import Sqlite from 'better-sqlite3';

const MAIN = fileURLToPath(new URL('./main.ts', import.meta.url));
const NODE = [process.execPath, '--conditions=runpurse-source', '--no-warnings', MAIN] as const;

// Each test starts processes, on a machine that may be busy.
jest.setTimeout(180_000);

let cwd: string;
const started: ChildProcess[] = [];
beforeEach(() => {
  cwd = mkdtempSync(join(tmpdir(), 'runpurse-cli-'));
});
afterEach(async () => {
  await Promise.all(started.splice(0).map((child) => ended(child, () => child.kill('SIGKILL'))));
  rmSync(cwd, { recursive: true, force: true });
});

function environment(): NodeJS.ProcessEnv {
  const { NODE_OPTIONS: _options, ...rest } = process.env;
  return rest;
}

interface Result {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command to its end. */
function runpurse(...args: readonly string[]): Promise<Result> {
  const [command, ...before] = NODE;
  return new Promise((resolve) => {
    const child = execFile(command, [...before, ...args], { cwd, env: environment() }, (_error, stdout, stderr) =>
      resolve({ code: child.exitCode, stdout, stderr }),
    );
  });
}

interface Started {
  readonly child: ChildProcess;
  readonly output: () => string;
  readonly url: string;
  readonly key: string | undefined;
}

/** Starts a gateway and waits until it says that it listens. */
async function start(...args: readonly string[]): Promise<Started> {
  const [command, ...before] = NODE;
  const child = spawn(command, [...before, 'start', '--port', '0', ...args], {
    cwd,
    env: environment(),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  started.push(child);
  let output = '';
  child.stdout?.on('data', (chunk: Buffer) => (output += chunk.toString()));
  child.stderr?.on('data', (chunk: Buffer) => (output += chunk.toString()));
  await new Promise<void>((resolve, reject) => {
    child.once('exit', () => reject(new Error(`the gateway ended: ${output}`)));
    child.stdout?.on('data', () => {
      if (/curl|"url"/.test(output)) resolve();
    });
  });
  return { child, output: () => output, url: /http:\/\/[\d.]+:\d+/.exec(output)?.[0] ?? '', key: /rp_[\w-]{43}/.exec(output)?.[0] };
}

function ended(child: ChildProcess, act: () => void): Promise<number | null> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve(child.exitCode);
  return new Promise((resolve) => {
    child.once('exit', (code) => resolve(code));
    act();
  });
}

const stop = ({ child }: Started): Promise<number | null> => ended(child, () => child.kill('SIGTERM'));

async function get(
  gateway: Started,
  path: string,
  key = gateway.key,
): Promise<{ readonly status: number; readonly body: Record<string, unknown> }> {
  const response = await fetch(`${gateway.url}${path}`, { headers: { authorization: `Bearer ${String(key)}` } });
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
}

async function post(
  gateway: Started,
  path: string,
  body: object,
  key = gateway.key,
  headers: Record<string, string> = {},
): Promise<{ readonly status: number; readonly body: Record<string, unknown> }> {
  const response = await fetch(`${gateway.url}${path}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${String(key)}`, 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
  });
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
}

const chat = (gateway: Started, runId: string, model = 'sandbox/echo') =>
  post(gateway, '/v1/chat/completions', { model, max_tokens: 50, messages: [{ role: 'user', content: 'Hello' }] }, gateway.key, {
    'alephant-run-id': runId,
  });

/** Asks until the answer is as wanted; changes by another process are noticed within moments. */
async function until<T>(ask: () => Promise<T>, wanted: (answer: T) => boolean): Promise<T> {
  for (let tries = 0; ; tries += 1) {
    const answer = await ask();
    if (wanted(answer) || tries >= 40) return answer;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

const lines = (text: string): readonly string[] => text.trimEnd().split('\n');

describe('runpurse start', () => {
  it('prints an address, a key once and a curl line that works when pasted', async () => {
    const first = await start();
    expect(first.output()).toMatch(/^Runpurse is listening on http:\/\/127\.0\.0\.1:\d+$/m);
    expect(first.output().match(/rp_[\w-]{43}/g)).toHaveLength(2);
    const line = lines(first.output()).find((text) => text.includes('curl')) ?? '';
    const reply = await new Promise<string>((resolve) => void execFile('sh', ['-c', line], (_error, stdout) => resolve(stdout)));
    expect(JSON.parse(reply)).toMatchObject({ object: 'chat.completion', choices: [{ message: { role: 'assistant' } }] });
    expect(await stop(first)).toBe(0);

    const second = await start();
    expect(second.key).toBeUndefined();
    expect(second.output()).toContain('npm run -s runpurse -- keys create --data .runpurse --workspace default');
    expect((await get(second, '/v1/runs', first.key)).body['data']).toHaveLength(1);
  });

  it("reads frameworks' own events out of the box, and those of the operator's mappings beside runpurse.yaml", async () => {
    mkdirSync(join(cwd, 'mappings'));
    writeFileSync(join(cwd, 'mappings', 'loom.json'), '{ "source": "loom", "events": { "spun": { "type": "run.started" } } }');
    writeFileSync(join(cwd, 'runpurse.yaml'), 'ingest: { mappings: ./mappings }');
    const gateway = await start();
    const event = { id: 'e-1', execution_id: 'run_crew', type: 'crew_kickoff_started', data: { crew_name: 'desk' } };
    expect(await post(gateway, '/v1/ingest/crewai', { events: [event] })).toMatchObject({ status: 202, body: { accepted: 1, ignored: 0 } });
    expect((await get(gateway, '/v1/runs/run_crew')).body['status']).toBe('running');
    expect(await post(gateway, '/v1/ingest/loom?run_id=run_loom', { type: 'spun' })).toMatchObject({ status: 202, body: { accepted: 1 } });
  });

  it('ends gracefully: what is under way is finished and charged, then it exits 0', async () => {
    writeFileSync(
      join(cwd, 'runpurse.yaml'),
      'providers: [ { name: sandbox, kind: sandbox, scripts: { slow: [ { text: done, delay_ms: 700 } ] } } ]',
    );
    const gateway = await start();
    const call = chat(gateway, 'run_slow', 'sandbox/slow');
    await until(
      () => get(gateway, '/v1/runs/run_slow'),
      ({ status }) => status === 200,
    );
    const exit = stop(gateway);
    expect((await call).status).toBe(200);
    expect(await exit).toBe(0);
    const { stdout } = await runpurse('runs', 'show', 'run_slow', '--json');
    const run = JSON.parse(stdout) as { readonly cost: { readonly total_usd: string } };
    expect(run).toMatchObject({ requests: [{ status: 'completed', unconfirmed: false }] });
    expect(run.cost.total_usd).not.toBe('0');
  });

  it('says in one line why it can not start', async () => {
    const occupied = createServer();
    const port = await new Promise<number>((resolve) =>
      occupied.listen(0, '127.0.0.1', () => resolve((occupied.address() as { port: number }).port)),
    );
    const inUse = await runpurse('start', '--port', String(port));
    occupied.close();
    expect(inUse).toEqual({
      code: 1,
      stdout: '',
      stderr: `runpurse: Port ${port} on 127.0.0.1 is in use. Stop what listens there, or start with another --port.\n`,
    });
    // No key was minted for a gateway that never listened.
    expect(JSON.parse((await runpurse('keys', 'list', '--json')).stdout)).toEqual({ data: [] });

    writeFileSync(join(cwd, 'bad.yaml'), 'budgets: [ { scope: run, limit_usd: ten } ]');
    expect(await runpurse('start', '--config', 'bad.yaml')).toEqual({
      code: 1,
      stdout: '',
      stderr: 'runpurse: bad.yaml: budgets[0].limit_usd: must be a dollar amount such as "0.50" (up to 9 decimals), not "ten"\n',
    });
    expect((await runpurse('start', '--config', 'none.yaml')).stderr).toMatch(
      /^runpurse: Cannot read the configuration .*none\.yaml: there is no such file\.\n$/,
    );
    expect(await runpurse('start', '--port', 'high')).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('whole number from 0 to 65535'),
    });
  });

  it('leaves a data directory to the gateway that has it', async () => {
    await start();
    const second = await runpurse('start', '--port', '0');
    expect(second.code).toBe(1);
    expect(lines(second.stderr)).toHaveLength(1);
    expect(second.stderr).toMatch(/^runpurse: Data directory .* is in use by another gateway process/);
  });
});

describe('runpurse keys', () => {
  it('mints a key that works at once in a running gateway, and revokes it', async () => {
    const gateway = await start();
    const created = await runpurse(
      'keys',
      'create',
      '--workspace',
      'acme',
      '--agent',
      'writer',
      '--member',
      'kim',
      '--label',
      'ci',
      '--json',
    );
    const minted = JSON.parse(created.stdout) as { key: string; key_id: string };
    expect(minted).toMatchObject({
      key: expect.stringMatching(/^rp_[\w-]{43}$/),
      workspace_id: 'acme',
      agent_id: 'writer',
      member_id: 'kim',
      label: 'ci',
      admin: false,
    });
    expect((await get(gateway, '/api/v1/cockpit/scope', minted.key)).body).toMatchObject({
      workspace: { id: 'acme' },
      entity: { type: 'agent', id: 'writer' },
    });

    const list = await runpurse('keys', 'list');
    expect(list.stdout).toContain(minted.key_id);
    expect(list.stdout).not.toContain(minted.key);
    expect((await runpurse('keys', 'list', '--json')).stdout).not.toContain(minted.key);

    expect(await runpurse('keys', 'revoke', minted.key_id)).toMatchObject({ code: 0, stdout: `Key ${minted.key_id} is revoked.\n` });
    expect(
      (
        await until(
          () => get(gateway, '/v1/runs', minted.key),
          ({ status }) => status === 401,
        )
      ).status,
    ).toBe(401);
    expect(await runpurse('keys', 'revoke', 'key_none')).toMatchObject({
      code: 1,
      stderr: 'runpurse: There is no key key_none. `runpurse keys list` shows the ids.\n',
    });
  });

  it('needs a workspace, and works before any gateway ran', async () => {
    expect(await runpurse('keys', 'create')).toMatchObject({
      code: 2,
      stderr: expect.stringContaining("required option '--workspace <id>'"),
    });
    const { stdout } = await runpurse('keys', 'create', '--workspace', 'acme', '--json');
    const gateway = await start();
    expect(gateway.key).toBeUndefined();
    expect((await get(gateway, '/v1/runs', (JSON.parse(stdout) as { key: string }).key)).status).toBe(200);
  });
});

describe('runpurse budgets', () => {
  it('sets, raises and deletes budgets that a running gateway enforces at once', async () => {
    const gateway = await start();
    const authorize = () => post(gateway, '/v1/tools/authorize', { run_id: 'run_b', tool: 't', estimated_cost_usd: '0.2' });
    const set = await runpurse('budgets', 'set', '--scope', 'run', '--limit', '0.10', '--json');
    const { budget_id: id } = JSON.parse(set.stdout) as { budget_id: string };
    expect((await until(authorize, ({ status }) => status === 402)).status).toBe(402);
    expect((await runpurse('budgets', 'list')).stdout).toMatch(/run:\*\s+lifetime\s+\$0\.1\s+block/);
    expect((await runpurse('budgets', 'set', id, '--limit', '10')).stdout).toBe(`Budget ${id}: run * may spend $10.\n`);
    expect((await until(authorize, ({ status }) => status === 200)).status).toBe(200);
    const second = await runpurse('budgets', 'set', '--scope', 'run', '--limit', '20');
    expect(second.stdout).toContain(`Budget ${id} limits the same spend and still holds. To change that one: \`runpurse budgets set ${id}`);
    expect((await runpurse('budgets', 'delete', id)).code).toBe(0);
    expect(await runpurse('budgets', 'delete', id)).toMatchObject({ code: 1, stderr: expect.stringMatching(/no budget bud_/) });
  });

  it.each([
    [['set', '--limit', '1'], 2, 'A new budget needs --scope and --limit.'],
    [['set', '--scope', 'run', '--limit', 'much'], 2, '--limit must be a dollar amount such as "0.50" (up to 9 decimals), not "much"'],
    [['set', '--scope', 'run', '--limit', '1', '--action', 'explode'], 2, '--action must be block, alert_only or pause, not "explode"'],
    [['set', '--scope', 'run', '--limit', '1', '--thresholds', '50,x'], 2, '--thresholds must be a number, not null'],
    [
      ['set', 'bud_none', '--limit', '1'],
      1,
      'There is no budget bud_none. Leave the id out to make one; `runpurse budgets list` shows the ids.',
    ],
    [['delete', 'config_0'], 1, 'Budget config_0 stands in runpurse.yaml: take it out there.'],
  ])('%j fails with %i and says why', async (args, code, text) => {
    expect(await runpurse('budgets', ...args)).toEqual({ code, stdout: '', stderr: `runpurse: ${text}\n` });
  });
});

const CAPPED = `
providers: [ { name: sandbox, kind: sandbox, scripts: { agent: [ { text: ok, usage: { input_tokens: 4, output_tokens: 40 } } ] } } ]
prices: [ { provider: sandbox, model: agent, input_mtok_usd: 1, output_mtok_usd: 2 } ]
tools: [ { name: customer_lookup, price_usd: "0.002" } ]
budgets: [ { name: run cap, scope: run, limit_usd: "0.00217" } ]
policy: { tools: { deny: [ shell ] } }
`;

describe('runpurse runs, sessions and explain', () => {
  it('tell a run that hit its cap: trace, cost, why it was refused and what to do, with the gateway up and down', async () => {
    writeFileSync(join(cwd, 'runpurse.yaml'), CAPPED);
    const gateway = await start();
    await post(gateway, '/v1/runs', { run_id: 'run_1827', agent_id: 'support_agent', session_id: 'customer_492' });
    expect((await chat(gateway, 'run_1827', 'sandbox/agent')).status).toBe(200);
    const { body } = await post(gateway, '/v1/tools/authorize', { run_id: 'run_1827', tool: 'customer_lookup', tool_call_id: 't1' });
    expect(body['held_usd']).toBe('0.002');
    await post(gateway, '/v1/tools/settle', { run_id: 'run_1827', tool_call_id: 't1' });
    expect((await chat(gateway, 'run_1827', 'sandbox/agent')).status).toBe(402);
    expect((await post(gateway, '/v1/tools/authorize', { run_id: 'run_1827', tool: 'shell' })).status).toBe(403);
    await post(gateway, '/v1/runs/run_1827/end', { status: 'failed', reason: 'hit its cap', revenue_usd: '0.001' });

    const whole = (text: string): boolean => text.includes('run.failed');
    const running = await until(
      () => runpurse('explain', 'run_1827'),
      ({ stdout }) => whole(stdout),
    );
    expect(running.stdout).toMatch(/^support_agent\.run_1827 {2}\(workspace default, session customer_492\)$/m);
    expect(lines(running.stdout).filter((line) => line.startsWith('-> '))).toEqual([
      '-> llm.request sandbox/agent  $0.000084',
      '-> tool.call customer_lookup  $0.002',
      '-> run.failed: hit its cap',
    ]);
    expect(running.stdout).toMatch(
      /^xx REFUSED agent by run cap \[budget_exceeded\]\n {3}Budget "run cap" refused .* To go on: Raise the budget/m,
    );
    expect(running.stdout).toMatch(/^xx REFUSED shell by .* \[policy_denied\]$/m);
    expect(running.stdout).toMatch(/^total cost: \$0\.002084$/m);
    expect(running.stdout).toMatch(/^known margin: -\$0\.001084 \(-108\.4%\)$/m);
    expect(running.stdout).toMatch(/^policy: 2 calls were refused$/m);
    expect(running.stdout).toMatch(/^run budget remaining: \$0\.000086 of \$0\.00217 \(run_1827, past 90%\)$/m);

    const served = await get(gateway, '/v1/runs/run_1827');
    expect(JSON.parse((await runpurse('runs', 'show', 'run_1827', '--json')).stdout)).toEqual(served.body);
    const session = await get(gateway, '/v1/sessions/customer_492');
    expect(JSON.parse((await runpurse('sessions', 'show', 'customer_492', '--json')).stdout)).toEqual(session.body);

    expect(await stop(gateway)).toBe(0);
    expect((await runpurse('explain', 'run_1827')).stdout).toBe(running.stdout);
    expect((await runpurse('runs', 'list', '--status', 'failed')).stdout).toMatch(
      /^run_1827\s+support_agent\s+customer_492\s+failed\s+1\s+1\s+\$0\.002084\s+-\$0\.001084\s/m,
    );
    expect((await runpurse('sessions', 'show', 'customer_492')).stdout).toMatch(/^ {2}run_1827 {2}failed {2}\$0\.002084$/m);
  });

  it('say what is not there', async () => {
    expect(await runpurse('runs', 'list')).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/^runpurse: .* is no data directory of a gateway\./),
    });
    await runpurse('keys', 'create', '--workspace', 'acme');
    expect(await runpurse('explain', 'nobody')).toMatchObject({ code: 1, stderr: expect.stringMatching(/no run nobody/) });
    expect(await runpurse('sessions', 'show', 'nobody')).toMatchObject({ code: 1, stderr: expect.stringMatching(/no session nobody/) });
    await runpurse('keys', 'create', '--workspace', 'other');
    expect(await runpurse('runs', 'list')).toMatchObject({
      code: 2,
      stderr: 'runpurse: There are several workspaces: acme, other. Name one with --workspace.\n',
    });
    expect((await runpurse('runs', 'list', '--workspace', 'acme')).code).toBe(0);
  });
});

describe('runpurse doctor', () => {
  it('finds a sound directory sound, before, while and after a gateway runs, and proves the views by folding anew', async () => {
    expect((await runpurse('doctor')).code).toBe(1);
    const gateway = await start();
    for (let n = 0; n < 3; n += 1) await chat(gateway, `run_${n}`);
    expect(await runpurse('doctor')).toMatchObject({ code: 0, stdout: expect.stringContaining('a gateway runs on this directory') });
    expect(await runpurse('doctor', '--rebuild')).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/A gateway runs on .* Stop it first/),
    });
    await stop(gateway);
    const rebuilt = await runpurse('doctor', '--rebuild', '--json');
    expect(rebuilt.code).toBe(0);
    expect(JSON.parse(rebuilt.stdout)).toMatchObject({ sound: true });
    expect(rebuilt.stdout).toContain('every figure is the same');
  });

  it('tells views that differ from the ledger, mends them with --rebuild, and fails either way', async () => {
    const gateway = await start();
    await chat(gateway, 'run_0');
    await stop(gateway);
    await runpurse('runs', 'list');
    const views = new Sqlite(join(cwd, '.runpurse', 'views.db'));
    views.prepare('UPDATE spend SET model_nanos = model_nanos + 1').run();
    views.close();
    expect(await runpurse('doctor')).toMatchObject({ code: 1, stdout: expect.stringMatching(/FAIL {2}views .*doctor --rebuild/) });
    expect(await runpurse('doctor', '--rebuild')).toMatchObject({
      code: 1,
      stdout: expect.stringMatching(/FAIL {2}rebuild .* figures differed and were replaced/),
    });
    expect((await runpurse('doctor', '--rebuild')).code).toBe(0);
  });

  it('tells a damaged file and a broken configuration', async () => {
    const gateway = await start();
    await chat(gateway, 'run_0');
    await stop(gateway);
    writeFileSync(join(cwd, 'runpurse.yaml'), 'policy: { rules: [ { id: r, phase: tool_call, effect: block, when: "1 +" } ] }');
    expect(await runpurse('doctor')).toMatchObject({
      code: 1,
      stdout: expect.stringMatching(/FAIL {2}config .*runpurse\.yaml: policy\.rules\[0\]\.when/),
    });
    writeFileSync(join(cwd, 'runpurse.yaml'), '');
    writeFileSync(join(cwd, '.runpurse', 'views.db'), 'this is no database, however long it is'.repeat(100));
    expect(await runpurse('doctor')).toMatchObject({ code: 1, stdout: expect.stringMatching(/FAIL {2}views\.db/) });
  });

  it('tells what a killed gateway left open', async () => {
    writeFileSync(
      join(cwd, 'runpurse.yaml'),
      'providers: [ { name: sandbox, kind: sandbox, scripts: { slow: [ { text: done, delay_ms: 20000 } ] } } ]',
    );
    const gateway = await start();
    void chat(gateway, 'run_lost', 'sandbox/slow').catch(() => undefined);
    await until(
      () => get(gateway, '/v1/runs/run_lost'),
      ({ status }) => status === 200,
    );
    await ended(gateway.child, () => gateway.child.kill('SIGKILL'));
    expect(await runpurse('doctor')).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^note +reservations +1 open, holding \$0\.\d+: the next start settles them/m),
    });
    await stop(await start());
    expect(await runpurse('doctor')).toMatchObject({ code: 0, stdout: expect.stringMatching(/^ok +reservations +none is open$/m) });
    expect((await runpurse('explain', 'run_lost')).stdout).toMatch(/its answer was lost: charged at the most it could cost/);
  });
});

describe('wrong usage', () => {
  it.each([[['nonsense']], [['keys', 'nonsense']], [['runs', 'list', '--limit', '0']], [['explain']], [['start', '--nope']]])(
    '%j exits 2 with a word about it',
    async (args) => {
      mkdirSync(join(cwd, '.runpurse'), { recursive: true });
      const { code, stderr } = await runpurse(...args);
      expect(code).toBe(2);
      expect(stderr).toMatch(/^error: /);
      expect(stderr).not.toMatch(/\n {4}at /);
    },
  );
});
