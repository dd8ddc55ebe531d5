import {
  Agent,
  OpenAIChatCompletionsModel,
  RunContext,
  setTraceProcessors,
  setTracingDisabled,
  tool,
  withTrace,
  type FunctionTool,
  type Model,
  type ModelRequest,
} from '@openai/agents';
import { startGateway } from '@runpurse/conformance';
import { createClient } from '@runpurse/core/axios';
import OpenAI from 'openai';
import { z } from 'zod';
import { guardTools, Runpurse } from '../src/index.ts';

/** Milliseconds the adapter adds to one call, a difference of medians over rounds that alternate with and without it. */
export interface AddedTime {
  readonly adapter: string;
  /** To a model call through the gateway, compared with the same call there without the adapter. */
  readonly modelCallMs: number;
  /** To a tool call: asking the gateway before and reporting after. */
  readonly toolCallMs: number;
}

/** For `npm run bench -- --only adapters`: real SDK, real gateway, one call at a time. */
export async function benchAdapter({ rounds = 21, calls = 20 } = {}): Promise<AddedTime> {
  setTracingDisabled(false);
  setTraceProcessors([]);
  const gateway = await startGateway({
    config: {
      providers: [
        { name: 'sandbox', kind: 'sandbox', scripts: { model: [{ text: 'done', usage: { input_tokens: 10, output_tokens: 5 } }] } },
      ],
      tools: [{ name: 'lookup', price_usd: '0' }],
      rate: { requests_per_minute: 1_000_000 },
    } as never,
  });
  const client = createClient({ baseUrl: gateway.url, apiKey: gateway.apiKey, source: 'openai_agents', flushOnExit: false });
  const runpurse = new Runpurse({ baseUrl: gateway.url, apiKey: gateway.apiKey, client });
  const openai = new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: gateway.apiKey });
  const metered = await runpurse.models(openai, 'chat_completions').getModel('model');
  // The same call in a run of the same kind: what is compared is the adapter, not what the gateway does with a run.
  const plain = (): Model => {
    const defaultHeaders = { 'alephant-run-id': crypto.randomUUID(), 'alephant-step-id': 'step' };
    return new OpenAIChatCompletionsModel(openai.withOptions({ defaultHeaders }), 'model');
  };
  const [plainTool, guardedTool] = [lookup(), lookup()];
  guardTools([guardedTool]);

  /** Milliseconds of each call. */
  async function inOneTrace({ begin, call }: Measured): Promise<readonly number[]> {
    return withTrace('bench', async () => {
      await begin();
      const times: number[] = [];
      for (let index = 0; index < calls; index += 1) {
        const began = performance.now();
        await call();
        times.push(performance.now() - began);
      }
      return times;
    });
  }

  async function added(without: () => Measured, withAdapter: () => Measured): Promise<number> {
    const times: { readonly base: number[]; readonly ours: number[] } = { base: [], ours: [] };
    for (let round = 0; round < rounds; round += 1) {
      times.base.push(...(await inOneTrace(without())));
      times.ours.push(...(await inOneTrace(withAdapter())));
    }
    return median(times.ours) - median(times.base);
  }

  try {
    return {
      adapter: 'openai-agents',
      modelCallMs: await added(
        () => callOf(plain()),
        () => callOf(metered),
      ),
      toolCallMs: await added(
        () => ({ ...callOf(plain()), call: () => callTool(plainTool) }),
        () => ({ ...callOf(metered), call: () => callTool(guardedTool) }),
      ),
    };
  } finally {
    await client.close();
    await gateway.remove();
  }
}

/** What is measured, after something that begins the run. */
interface Measured {
  readonly begin: () => Promise<void>;
  readonly call: () => Promise<void>;
}

function callOf(model: Model): Measured {
  return { begin: () => callModel(model), call: () => callModel(model) };
}

function median(times: readonly number[]): number {
  return times.toSorted((a, b) => a - b)[Math.floor(times.length / 2)] ?? Number.NaN;
}

async function callModel(model: Model): Promise<void> {
  const request: ModelRequest = {
    input: [{ role: 'user', content: 'hi' }],
    modelSettings: { maxTokens: 100 },
    tools: [],
    handoffs: [],
    outputType: 'text',
    tracing: false,
  };
  await model.getResponse(request);
}

const agent = new Agent({ name: 'bench' });
const context = new RunContext();
let toolCalls = 0;

/** A tool as the SDK runs it: its guardrails, then itself. */
async function callTool({ name, inputGuardrails = [], invoke }: FunctionTool): Promise<void> {
  toolCalls += 1;
  const toolCall = { type: 'function_call', callId: `call_${toolCalls}`, name, arguments: `{"q":"${toolCalls}"}` } as const;
  for (const { run } of inputGuardrails) await run({ context, agent, toolCall });
  await invoke(context, toolCall.arguments, { toolCall });
}

function lookup(): FunctionTool {
  return tool({
    name: 'lookup',
    description: 'looks up',
    parameters: z.object({ q: z.string() }),
    execute: ({ q }) => q,
  }) as unknown as FunctionTool;
}
