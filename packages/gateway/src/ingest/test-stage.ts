import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { z } from 'zod';
import type { AgentContext, EventMapping, RunShape } from '@runpurse/core';
import type { gatewayConfig } from '../config/config.ts';
import { createGateway } from '../create-gateway.ts';
import type { Gateway } from '../gateway.ts';
import type { DecisionEntry, Entry, EventEntry } from '../store/entry.ts';
import type { StoredKey } from '../store/store.ts';
import { foldRun } from '../views/index.ts';
import { createIngest, type Ingest, type IngestResult } from './index.ts';

type Json = Readonly<Record<string, unknown>>;
type Config = z.input<typeof gatewayConfig>;

export interface SendOptions {
  readonly enforce?: boolean;
  readonly reportsOnly?: boolean;
  readonly key?: Partial<StoredKey>;
  readonly context?: AgentContext;
  /** Fields of the body beside `events`. */
  readonly batch?: Json;
}

/** A whole gateway on a folder of its own, with a clock that tests turn, and events sent straight into its ingest. */
export interface TestStage {
  readonly gateway: Gateway;
  readonly ingest: Ingest;
  turn(ms: number): void;
  /** Sends one event as the body, or several as a batch. */
  send(events: unknown, options?: SendOptions): Promise<IngestResult>;
  /** Sends any body. */
  post(body: unknown, options?: SendOptions & { readonly bytes?: number }): Promise<IngestResult>;
  entries(runId?: string): Promise<readonly Entry[]>;
  events(runId?: string): Promise<readonly EventEntry[]>;
  decisions(runId?: string): Promise<readonly DecisionEntry[]>;
  run(runId: string): Promise<RunShape>;
  /** Closes and opens again on the same folder. */
  restart(): Promise<TestStage>;
  close(): Promise<void>;
}

export const TEST_KEY: StoredKey = {
  keyId: 'key-1',
  hash: '',
  prefix: 'rp_',
  workspaceId: 'acme',
  agentId: undefined,
  memberId: undefined,
  label: undefined,
  admin: false,
  createdAt: 0,
  revokedAt: undefined,
};

const START = Date.UTC(2026, 10, 24, 12);

export async function openTestStage(
  config: Config = {},
  options: {
    readonly directory?: string;
    readonly startAt?: number;
    readonly mappings?: readonly EventMapping[];
    readonly change?: (gateway: Gateway) => Gateway;
  } = {},
): Promise<TestStage> {
  const directory = options.directory ?? mkdtempSync(join(tmpdir(), 'runpurse-ingest-'));
  let now = options.startAt ?? START;
  const own = await createGateway({
    config: { rate: { requests_per_minute: 1_000_000 }, store: { durability: 'relaxed' }, ...config },
    mappings: options.mappings ?? [],
    directory,
    clock: { now: () => now },
  });
  const gateway = options.change?.(own) ?? own;
  const ingest = createIngest(gateway);

  const post: TestStage['post'] = (
    body,
    { enforce = false, reportsOnly = false, key = {}, context = {}, bytes = Buffer.byteLength(JSON.stringify(body) ?? '') } = {},
  ) => ingest.accept(body, bytes, { key: { ...TEST_KEY, ...key }, context }, { enforce, reportsOnly });
  const entries = async (runId?: string): Promise<readonly Entry[]> =>
    (await gateway.store.entries({ workspaceId: TEST_KEY.workspaceId, ...(runId === undefined ? {} : { runId }), limit: 10_000 })).map(
      ({ entry }) => entry,
    );

  return {
    gateway,
    ingest,
    turn(ms) {
      now += ms;
    },
    send: (events, sendOptions = {}) => post(Array.isArray(events) ? { ...sendOptions.batch, events } : events, sendOptions),
    post,
    entries,
    events: async (runId) => (await entries(runId)).filter((entry) => entry.type === 'event'),
    decisions: async (runId) => (await entries(runId)).filter((entry) => entry.type === 'decision'),
    async run(runId) {
      const rows = await gateway.store.entries({ workspaceId: TEST_KEY.workspaceId, runId, limit: 10_000 });
      const shape = foldRun(rows, { budgets: [] });
      if (shape === undefined) throw new Error(`there is no run ${runId}`);
      return shape;
    },
    async restart() {
      await own.close();
      return openTestStage(config, { ...options, directory, startAt: now });
    },
    async close() {
      await own.close();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** The body's rows about its events. */
export function decisionsIn(result: IngestResult): readonly Json[] {
  return (result.body['decisions'] ?? []) as readonly Json[];
}

export function errorIn(result: IngestResult): Json {
  return (result.body['error'] ?? {}) as Json;
}
