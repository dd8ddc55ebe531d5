import { randomUUID } from 'node:crypto';
import type { GatewayClient } from '@runpurse/core';
import { createClient } from '@runpurse/core/axios';
import { startGateway } from './start-gateway.ts';
import { startStubModel } from './stub-model/server.ts';

/** Milliseconds an adapter adds to one call, against the same framework without it: a difference of medians. */
export interface AddedTime {
  readonly adapter: string;
  /** To a model call through the gateway, against the same call there: the adapter's own work. */
  readonly carriedModelCallMs: number;
  /** To a model call past the gateway: with the question to the gateway before it. */
  readonly directModelCallMs: number;
  /** To a tool call: likewise with the question before it. */
  readonly toolCallMs: number;
}

export interface AddedTimeOptions {
  /** Calls of each kind that are counted; each is made once without and once with the adapter, in turn. */
  readonly rounds?: number | undefined;
  readonly warmUp?: number | undefined;
}

/** What calls are measured on. Its model is called `model` and answers at once; its tool `lookup` is priced. */
export interface AddedTimeStage {
  readonly client: GatewayClient;
  readonly gatewayUrl: string;
  readonly apiKey: string;
  /** A base URL ending in `/v1` of the gateway, and of a provider beside it that is no gateway to the adapter. */
  readonly carriedUrl: string;
  readonly directUrl: string;
  /** Headers of a call made without the adapter, so that the gateway has a run for it too. */
  readonly runHeaders: Readonly<Record<string, string>>;
  /** Milliseconds `withIt` takes longer than `without`; call it inside the adapter's run. */
  compare(without: () => unknown, withIt: () => unknown): Promise<number>;
}

const USAGE = { input_tokens: 10, cached_tokens: 0, output_tokens: 5, reasoning_tokens: 0 };
const CONFIG = {
  providers: [{ name: 'sandbox', kind: 'sandbox', scripts: { model: [{ text: 'done', usage: { input_tokens: 10, output_tokens: 5 } }] } }],
  tools: [{ name: 'lookup', price_usd: '0.000001' }],
  budgets: [{ scope: 'run', id: '*', limit_usd: '1000' }],
  rate: { requests_per_minute: 1_000_000 },
} as const;

/**
 * For `npm run bench -- --only=adapters`, which calls `benchAdapter()` of each `packages/adapters/<name>/test/bench.ts`:
 * real framework, a real gateway on loopback, one call at a time, calls with and without the adapter in turn.
 */
export async function measureAddedTime(
  adapter: string,
  measure: (stage: AddedTimeStage) => Promise<Omit<AddedTime, 'adapter'>>,
  { rounds = 200, warmUp = Math.ceil(rounds / 4) }: AddedTimeOptions = {},
): Promise<AddedTime> {
  const gateway = await startGateway({ config: CONFIG as never });
  const directCalls = 2 * (rounds + warmUp);
  const provider = await startStubModel(Array.from({ length: directCalls }, () => ({ text: 'done', usage: USAGE, delay_ms: 0 })));
  const client = createClient({ baseUrl: gateway.url, apiKey: gateway.apiKey, source: adapter.replaceAll('-', '_'), flushOnExit: false });
  try {
    const added = await measure({
      client,
      gatewayUrl: gateway.url,
      apiKey: gateway.apiKey,
      carriedUrl: `${gateway.url}/v1`,
      directUrl: `${provider.url}/v1`,
      runHeaders: { 'alephant-run-id': randomUUID(), 'alephant-step-id': 'step' },
      async compare(without, withIt) {
        const times = { without: [] as number[], withIt: [] as number[] };
        for (let round = 0; round < warmUp + rounds; round += 1) {
          for (const [name, call] of [['without', without] as const, ['withIt', withIt] as const]) {
            const began = performance.now();
            await call();
            if (round >= warmUp) times[name].push(performance.now() - began);
          }
        }
        return median(times.withIt) - median(times.without);
      },
    });
    return { adapter, ...added };
  } finally {
    await client.close();
    await gateway.remove();
    await provider.close();
  }
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}
