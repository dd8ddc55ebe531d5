import { setTraceProcessors, setTracingDisabled, tool, type FunctionTool } from '@openai/agents';
import {
  startGateway,
  startStubGateway,
  type RunningGateway,
  type SentCall,
  type StubAnswer,
  type StubGateway,
} from '@runpurse/conformance';
import type { RunShape } from '@runpurse/core';
import OpenAI, { type ClientOptions } from 'openai';
import { z } from 'zod';
import { Runpurse, type RunpurseOptions } from '../src/index.ts';

// The SDK turns tracing off in tests; its own processor would send traces to OpenAI.
setTracingDisabled(false);
setTraceProcessors([]);

/** A real gateway in front of a provider that answers as the test says, with an attachment to it. A model call costs $0.000582. */
export interface RealStage {
  readonly gateway: RunningGateway;
  readonly runpurse: Runpurse;
  readonly provider: StubGateway;
  readonly faults: unknown[];
  /** A client of the provider itself, past the gateway. */
  direct(options?: ClientOptions): OpenAI;
  /** The run as it stands when all events are there. */
  read(runId: string): Promise<RunShape>;
  /** All runs, oldest first. */
  runs(): Promise<readonly RunShape[]>;
  close(): Promise<void>;
}

export type Answering = (request: SentCall, count: number) => StubAnswer | Promise<StubAnswer>;

export async function setRealStage(answer: Answering, config: object = {}, options: Partial<RunpurseOptions> = {}): Promise<RealStage> {
  const provider = await startStubGateway({ answer });
  const price = { provider: 'stub', input_mtok_usd: '10', cache_read_mtok_usd: '1', output_mtok_usd: '100' };
  const limits = { max_input_tokens: 8_000, max_output_tokens: 4_096 };
  const gateway = await startGateway({
    config: {
      providers: [{ name: 'stub', kind: 'openai', base_url: `${provider.url}/v1`, api_key: 'sk-stub', models: ['m1'] }],
      prices: ['m1', 'm1-2026'].map((model) => ({ ...price, ...limits, model })),
      tools: [
        { name: 'lookup', price_usd: '0.002' },
        { name: 'refund', price_usd: '0.003' },
        { name: 'clerk', price_usd: '0.01' },
      ],
      budgets: [{ scope: 'run', id: '*', limit_usd: '5' }],
      rate: { requests_per_minute: 1_000 },
      ...config,
    } as never,
  });
  const faults: unknown[] = [];
  const runpurse = new Runpurse({ baseUrl: gateway.url, apiKey: gateway.apiKey, onFault: (fault) => faults.push(fault), ...options });
  const read = async (runId: string): Promise<RunShape> => {
    await runpurse.client.flush();
    const run = await gateway.readRun(runId);
    if (run === undefined) throw new Error(`the gateway knows no run ${runId}`);
    return run;
  };
  return {
    gateway,
    runpurse,
    provider,
    faults,
    direct: (more) => new OpenAI({ baseURL: `${provider.url}/v1`, apiKey: 'sk-direct', maxRetries: 0, ...more }),
    read,
    runs: async () => {
      await runpurse.client.flush();
      const reply = await fetch(`${gateway.url}/v1/runs`, { headers: { authorization: `Bearer ${gateway.apiKey}` } });
      const { data } = (await reply.json()) as { readonly data: readonly { readonly run_id: string }[] };
      return Promise.all(data.map(({ run_id }) => read(run_id)).reverse());
    },
    close: async () => {
      await runpurse.client.close();
      await gateway.remove();
      await provider.close();
    },
  };
}

export const isAnswered = ({ body }: SentCall): boolean => /"role":"tool"|function_call_output/.test(JSON.stringify(body));

/** Calls these tools once, side by side, then answers with text. */
export const callOnce =
  (...names: readonly string[]): Answering =>
  (request) =>
    isAnswered(request)
      ? { content: 'done' }
      : { toolCalls: names.map((name, index) => ({ id: `call_${index}`, name, args: { q: 'x', input: 'NEST' } })) };

/** A tool that notes its runs. */
export function toolNamed(name: string, ran: string[], more: object = {}): FunctionTool {
  return tool({
    name,
    description: name,
    parameters: z.object({ q: z.string() }),
    execute: async ({ q }: { readonly q: string }) => {
      ran.push(q);
      return `did ${q}`;
    },
    ...more,
  }) as unknown as FunctionTool;
}

export const toolsOf = ({ tools }: RunShape): readonly string[] =>
  tools.map(({ tool: name, status, cost_usd }) => `${name} ${status} ${cost_usd ?? 'unknown'}`);

export const sleep = (milliseconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, milliseconds));
