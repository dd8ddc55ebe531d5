import Anthropic from '@anthropic-ai/sdk';
import type { RunShape } from '@runpurse/core';
import { startGateway, type RunningGateway } from '@runpurse/conformance';
import OpenAI from 'openai';
import { startProvider, type StubProvider } from './provider.ts';
import { world } from './world.ts';

/** A gateway between the official SDKs and a stub provider. The SDKs get a base URL and a key, nothing else. */
export interface Stage {
  readonly provider: StubProvider;
  readonly gateway: RunningGateway;
  /** Requests the gateway answered, by path; SDK retries show here. */
  readonly requests: readonly string[];
  openai(headers?: Readonly<Record<string, string>>): OpenAI;
  anthropic(headers?: Readonly<Record<string, string>>): Anthropic;
  /** The run once nothing of it is open any more. */
  settledRun(runId: string): Promise<RunShape>;
  reset(): void;
  close(): Promise<void>;
}

export async function openStage(config: Readonly<Record<string, unknown>> = {}): Promise<Stage> {
  const provider = await startProvider();
  const gateway = await startGateway({ config: world(provider, config) });
  const requests: string[] = [];
  /** The SDKs' own fetch, counted. */
  const counted: typeof fetch = (input, init) => {
    requests.push(new URL(input instanceof Request ? input.url : input).pathname);
    return fetch(input, init);
  };
  return {
    provider,
    gateway,
    requests,
    openai: (defaultHeaders) =>
      new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: gateway.apiKey, fetch: counted, ...(defaultHeaders && { defaultHeaders }) }),
    anthropic: (defaultHeaders) =>
      new Anthropic({ baseURL: gateway.url, apiKey: gateway.apiKey, fetch: counted, ...(defaultHeaders && { defaultHeaders }) }),
    settledRun: async (runId) => {
      for (let tries = 0; tries < 200; tries += 1) {
        const run = await gateway.readRun(runId);
        if (run !== undefined && run.requests.length > 0 && run.requests.every(({ status }) => status !== 'open')) return run;
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      throw new Error(`run ${runId} did not come to rest`);
    },
    reset: () => {
      provider.reset();
      requests.length = 0;
    },
    close: async () => {
      await gateway.remove();
      await provider.close();
    },
  };
}

/** A run id of its own for each test, as the header that carries it. */
export function inRun(runId: string, more: Readonly<Record<string, string>> = {}): Readonly<Record<string, string>> {
  return { 'Alephant-Run-Id': runId, ...more };
}

/** All that a stream or a paged list yields. */
export async function collect<T>(items: AsyncIterable<T>): Promise<readonly T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}
