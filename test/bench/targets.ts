import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createServer, type AddressInfo } from 'node:net';
import { dirname, join } from 'node:path';
import { LOAD_CORE, PROXY_CORE, startNode, stop, untilPrinted } from './process.ts';

export const ROOT = dirname(dirname(import.meta.dirname));
const FROM_SOURCE = ['--conditions=runpurse-source', '--no-warnings'];
const CLI = join(ROOT, 'packages', 'gateway', 'src', 'cli', 'main.ts');

/** Something that answers `POST /v1/chat/completions`, and how to call it. */
export interface Target {
  readonly name: string;
  readonly port: number;
  readonly pid: number;
  readonly headers: Readonly<Record<string, string>>;
  /** `model` as this target wants it. */
  readonly model: string;
  stop(): Promise<void>;
}

export async function startUpstream(latencyMs = 0): Promise<Target> {
  const child = startNode(LOAD_CORE, [join(import.meta.dirname, 'mock-upstream.ts')], { env: { LATENCY_MS: String(latencyMs) } });
  const [, port] = await untilPrinted(child, /listening (\d+)/);
  return { name: 'direct', port: Number(port), pid: child.pid ?? 0, headers: {}, model: 'bench-model', stop: () => stop(child) };
}

export async function startBare(upstream: Target): Promise<Target> {
  const env = { UPSTREAM: `http://127.0.0.1:${upstream.port}`, NODE_ENV: 'production' };
  const child = startNode(PROXY_CORE, [join(import.meta.dirname, 'bare-proxy.ts')], { env });
  const [, port] = await untilPrinted(child, /listening (\d+)/);
  const headers = { authorization: 'Bearer bench' };
  return { name: 'bare', port: Number(port), pid: child.pid ?? 0, headers, model: 'bench-model', stop: () => stop(child) };
}

/** The peer, with nothing configured: it has neither budgets nor a ledger in its open version. */
export async function startPortkey(upstream: Target): Promise<Target> {
  const port = await freePort();
  const start = createRequire(import.meta.url).resolve('@portkey-ai/gateway/build/start-server.js');
  const env = { TRUSTED_CUSTOM_HOSTS: '127.0.0.1,localhost', NODE_ENV: 'production' };
  const child = startNode(PROXY_CORE, [start, `--port=${port}`, '--headless'], { env });
  await untilAnswering(`http://127.0.0.1:${port}/`);
  const headers = {
    authorization: 'Bearer bench',
    'x-portkey-provider': 'openai',
    'x-portkey-custom-host': `http://127.0.0.1:${upstream.port}/v1`,
  };
  return { name: 'portkey', port, pid: child.pid ?? 0, headers, model: 'bench-model', stop: () => stop(child) };
}

/** Runpurse as an operator runs it: keys, a budget per run that holds before each call, metering, and the ledger on disk. */
export async function startRunpurse(upstream: Target, durability: 'full' | 'relaxed'): Promise<Target> {
  // On the disk of the checkout: a temporary folder may be memory, and a flush to memory is no flush.
  const scratch = join(ROOT, '.runpurse');
  mkdirSync(scratch, { recursive: true });
  const data = mkdtempSync(join(scratch, 'bench-'));
  const config = join(data, 'runpurse.yaml');
  writeFileSync(
    config,
    [
      'providers:',
      `  - { name: mock, kind: openai, base_url: "http://127.0.0.1:${upstream.port}/v1", api_key: bench, max_connections: 1024 }`,
      'prices:',
      '  - { provider: mock, model: bench-model, input_mtok_usd: "0.15", output_mtok_usd: "0.60" }',
      'rate: { requests_per_minute: 1000000000 }',
      'budgets:',
      '  - { scope: run, id: "*", limit_usd: "1", action: block }',
      '  - { scope: workspace, id: "*", limit_usd: "1000000", action: block }',
      `store: { durability: ${durability} }`,
      '',
    ].join('\n'),
  );
  const options = ['start', '--config', config, '--data', join(data, 'ledger'), '--port', '0', '--json'];
  const child = startNode(PROXY_CORE, [...FROM_SOURCE, CLI, ...options], { env: { NODE_ENV: 'production' } });
  // The first start of a data directory mints a key and tells it.
  const [, port, key] = await untilPrinted(child, /"url":\s*"http:\/\/127\.0\.0\.1:(\d+)"[\s\S]*"key":\s*"([^"]+)"/);
  return {
    name: durability === 'full' ? 'runpurse' : 'runpurse relaxed',
    port: Number(port),
    pid: child.pid ?? 0,
    headers: { authorization: `Bearer ${key}` },
    model: 'mock/bench-model',
    stop: async () => {
      await stop(child);
      rmSync(data, { recursive: true, force: true });
    },
  };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

async function untilAnswering(url: string, seconds = 30): Promise<void> {
  const deadline = Date.now() + seconds * 1000;
  while (Date.now() < deadline) {
    const answered = await fetch(url).then(
      (response) => response.status < 500,
      () => false,
    );
    if (answered) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`${url} did not answer in ${seconds} s.`);
}
