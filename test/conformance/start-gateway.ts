import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runShape, type RunShape } from '@runpurse/core';
import { createGateway, startServer, type GatewayOptions } from '@runpurse/gateway';

/** A real gateway in this process, with a ledger of its own in a temporary folder; for tests of adapters and clients. */
export interface RunningGateway {
  /** Without path. */
  readonly url: string;
  /** A virtual key of `workspace-1`, bound to no agent. */
  readonly apiKey: string;
  readonly dataFolder: string;
  /** `GET /v1/runs/{id}`, checked against the run shape; undefined when there is no such run. */
  readRun(runId: string): Promise<RunShape | undefined>;
  /** Posts JSON with the key; resolves to the reply's JSON, rejects on a refusal. */
  post(path: string, body: object): Promise<unknown>;
  /** Stops serving; the ledger is written and stays. */
  stop(): Promise<void>;
  /** Stops, and removes the ledger. */
  remove(): Promise<void>;
}

export async function startGateway({
  config,
  admin = false,
}: {
  readonly config: NonNullable<GatewayOptions['config']>;
  /** The key may make budgets. */
  readonly admin?: boolean | undefined;
}): Promise<RunningGateway> {
  const dataFolder = await mkdtemp(join(tmpdir(), 'runpurse-test-'));
  const gateway = await createGateway({ config, directory: dataFolder });
  const server = await startServer(gateway, { host: '127.0.0.1', port: 0 });
  const apiKey = `rp_${randomBytes(24).toString('base64url')}`;
  await gateway.store.putKey({
    keyId: 'key_conformance',
    hash: createHash('sha256').update(apiKey).digest('hex'),
    prefix: apiKey.slice(0, 8),
    workspaceId: 'workspace-1',
    agentId: undefined,
    memberId: undefined,
    label: 'conformance',
    admin,
    createdAt: Date.now(),
    revokedAt: undefined,
  });
  const headers = { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' };

  let stopping: Promise<void> | undefined;
  const stop = (): Promise<void> => (stopping ??= server.close(STOP_GRACE_MS).then(() => gateway.close()));

  return {
    url: server.url,
    apiKey,
    dataFolder,
    readRun: async (runId) => {
      const response = await fetch(`${server.url}/v1/runs/${encodeURIComponent(runId)}`, { headers });
      const body: unknown = await response.json();
      if (response.status === 404) return undefined;
      if (!response.ok) throw new Error(`GET /v1/runs/${runId} answered ${response.status}: ${JSON.stringify(body)}`);
      return runShape.parse(body);
    },
    post: async (path, body) => {
      const response = await fetch(`${server.url}${path}`, { method: 'POST', headers, body: JSON.stringify(body) });
      const reply: unknown = await response.json();
      if (!response.ok) throw new Error(`POST ${path} answered ${response.status}: ${JSON.stringify(reply)}`);
      return reply;
    },
    stop,
    remove: async () => {
      await stop();
      await rm(dataFolder, { recursive: true, force: true });
    },
  };
}

const STOP_GRACE_MS = 1_000;
