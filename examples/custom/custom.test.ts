import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { RunShape } from '@runpurse/core';
import { createClient } from '@runpurse/core/axios';

const HERE = import.meta.dirname;
const CLI = join(HERE, '..', '..', 'packages', 'gateway', 'src', 'cli', 'main.ts');

let data: string;
let gateway: ChildProcess;
let started: { readonly url: string; readonly key: string };

/** The two commands of the README: the gateway by its command, the agent as a program. */
beforeAll(async () => {
  data = await mkdtemp(join(tmpdir(), 'runpurse-custom-'));
  gateway = node(CLI, ['start', '--config', join(HERE, 'runpurse.yaml'), '--port', '0', '--data', data, '--json']);
  started = JSON.parse(await readLine(gateway)) as typeof started;
});

afterAll(async () => {
  if (gateway.exitCode === null) {
    const exited = once(gateway, 'exit');
    gateway.kill('SIGTERM');
    await exited;
  }
  await rm(data, { recursive: true, force: true });
});

describe('the agent without a framework', () => {
  it('answers, and its run is priced, attributed and ended with a margin', async () => {
    const { code, output } = await runAgent();
    expect(code).toBe(0);
    expect(output).toContain('Your order 7 was delivered on Monday.');
    expect(await readRun(output)).toMatchObject({
      agent_id: 'support',
      session_id: 'customer_492',
      status: 'completed',
      cost: { model_usd: '0.0047', tool_usd: '0.002', retry_usd: '0', total_usd: '0.0067' },
      revenue_usd: '0.1',
      margin: { known_usd: '0.0933', percent: '93.3' },
      counts: { requests: 2, tool_calls: 1, retries: 0, steps: 3 },
    });
  });

  it('is stopped by its cap before the call that would pass it', async () => {
    const { code, output } = await runAgent('Where is my order 7?'.repeat(2_000));
    expect(code).not.toBe(0);
    expect(output).toContain('budget_exceeded');
  });
});

async function runAgent(task?: string): Promise<{ readonly code: number | null; readonly output: string }> {
  const agent = node(join(HERE, 'agent.ts'), task === undefined ? [] : [task], { RUNPURSE_URL: started.url, RUNPURSE_KEY: started.key });
  let output = '';
  for (const stream of [agent.stdout, agent.stderr]) stream?.on('data', (chunk: Buffer) => (output += chunk.toString('utf8')));
  const [code] = (await once(agent, 'close')) as [number | null];
  return { code, output };
}

async function readRun(output: string): Promise<RunShape | undefined> {
  const client = createClient({ baseUrl: started.url, apiKey: started.key, source: 'test', flushOnExit: false });
  return client.readRun(/\(run (\S+)\)/.exec(output)?.[1] ?? '');
}

function node(file: string, args: readonly string[], env: Readonly<Record<string, string>> = {}): ChildProcess {
  return spawn(process.execPath, ['--conditions=runpurse-source', '--no-warnings', file, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, NODE_OPTIONS: '', ...env },
  });
}

/** The first line a process writes; rejects with what it said when it ends before. */
async function readLine(child: ChildProcess): Promise<string> {
  if (child.stdout === null) throw new Error('no stdout');
  let said = '';
  child.stderr?.on('data', (chunk: Buffer) => (said += chunk.toString('utf8')));
  for await (const line of createInterface({ input: child.stdout })) return line;
  throw new Error(`the gateway ended before it listened: ${said}`);
}
