import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { RunShape } from '@runpurse/core';

const ROOT = dirname(dirname(import.meta.dirname));
const COMMAND = ['--conditions=runpurse-source', '--no-warnings', join(ROOT, 'packages', 'gateway', 'src', 'cli', 'main.ts')];
const READY_SECONDS = 30;
const STOP_SECONDS = 15;

/** A gateway as an operator starts it, in a process of its own that can be killed. */
export class GatewayProcess {
  readonly url: string;
  readonly key: string;
  readonly pid: number;
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess, url: string, key: string) {
    this.#child = child;
    this.url = url;
    this.key = key;
    this.pid = child.pid ?? 0;
  }

  /** `key` is needed on every start but the first: a key is shown once. */
  static async start(options: {
    readonly data: string;
    readonly config: object;
    readonly key?: string | undefined;
  }): Promise<GatewayProcess> {
    mkdirSync(options.data, { recursive: true });
    const config = `${options.data}.config.yaml`;
    // JSON is YAML.
    writeFileSync(config, JSON.stringify(options.config));
    const child = spawn(process.execPath, [...COMMAND, 'start', '--config', config, '--data', options.data, '--port', '0', '--json'], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const killWithUs = () => child.kill('SIGKILL');
    process.once('exit', killWithUs);
    child.once('exit', () => process.off('exit', killWithUs));
    const { url, key } = JSON.parse(await firstLine(child)) as { url: string; key?: string };
    return new GatewayProcess(child, url, key ?? options.key ?? '');
  }

  get hasEnded(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  async kill(): Promise<void> {
    await this.#end('SIGKILL');
  }

  /** Asks it to stop; one that doesn't in time is killed. True when it ended by itself and well. */
  async stop(): Promise<boolean> {
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), STOP_SECONDS * 1000);
    await this.#end('SIGTERM');
    clearTimeout(timer);
    return this.#child.exitCode === 0;
  }

  async #end(signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
    if (this.hasEnded) return;
    const exited = once(this.#child, 'exit');
    this.#child.kill(signal);
    await exited;
  }

  async read<Shape>(path: string): Promise<Shape | undefined> {
    const response = await fetch(`${this.url}${path}`, { headers: { authorization: `Bearer ${this.key}` } });
    if (response.status === 404) return undefined;
    if (!response.ok) throw new Error(`GET ${path} answered ${response.status}: ${await response.text()}`);
    return (await response.json()) as Shape;
  }

  run(runId: string): Promise<RunShape | undefined> {
    return this.read<RunShape>(`/v1/runs/${encodeURIComponent(runId)}`);
  }
}

/** The JSON that `start --json` prints when it listens; an error that shows what it said instead. */
async function firstLine(child: ChildProcess): Promise<string> {
  let output = '';
  let errors = '';
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      fail(`was not ready in ${READY_SECONDS} s`);
    }, READY_SECONDS * 1000);
    const fail = (what: string) => {
      clearTimeout(timer);
      reject(new Error(`The gateway ${what}:\n${output}${errors}`));
    };
    child.stderr?.on('data', (chunk: Buffer) => (errors += chunk.toString()));
    child.stdout?.on('data', (chunk: Buffer) => {
      output += chunk.toString();
      // The object may be printed over several lines; it is whole when it parses.
      if (!isJson(output)) return;
      clearTimeout(timer);
      resolve(output);
    });
    child.once('exit', (code, signal) => fail(`ended with ${signal ?? code}`));
  });
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
