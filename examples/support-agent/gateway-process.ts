import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface GatewayProcess {
  readonly url: string;
  readonly key: string;
  stop(): Promise<void>;
}

const COMMAND = join(import.meta.dirname, '..', '..', 'packages', 'gateway', 'src', 'cli', 'main.ts');

/** Starts the gateway as its users do, `runpurse start`, on a free port, with its ledger in a temporary folder. */
export async function startGatewayProcess(configFile: string): Promise<GatewayProcess> {
  const data = await mkdtemp(join(tmpdir(), 'runpurse-demo-'));
  const args = ['--conditions=runpurse-source', COMMAND, 'start', '--config', configFile, '--data', data, '--port', '0', '--json'];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const exited = once(child, 'exit');
  const { url, key } = await Promise.race([
    firstLine(child.stdout).then((line) => JSON.parse(line) as { readonly url: string; readonly key: string }),
    exited.then(() => Promise.reject(new Error('the gateway did not start; what it said stands above'))),
  ]);
  return {
    url,
    key,
    stop: async () => {
      child.kill('SIGTERM');
      await exited;
      await rm(data, { recursive: true, force: true });
    },
  };
}

async function firstLine(stream: NodeJS.ReadableStream): Promise<string> {
  let text = '';
  for await (const chunk of stream) {
    text += String(chunk);
    const end = text.indexOf('\n');
    if (end !== -1) return text.slice(0, end);
  }
  throw new Error('the gateway said nothing');
}
