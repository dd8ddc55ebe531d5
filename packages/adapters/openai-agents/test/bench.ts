import {
  Agent,
  OpenAIChatCompletionsModel,
  RunContext,
  setTraceProcessors,
  setTracingDisabled,
  withTrace,
  type FunctionTool,
  type Model,
} from '@openai/agents';
import { measureAddedTime, type AddedTime, type AddedTimeOptions } from '@runpurse/conformance';
import OpenAI from 'openai';
import { guardTools, Runpurse } from '../src/index.ts';
import { lookupTool } from './stage.ts';

/** What a model of the SDK and a function tool take longer in a trace of ours; see `measureAddedTime`. */
export function benchAdapter(options?: AddedTimeOptions): Promise<AddedTime> {
  setTracingDisabled(false);
  setTraceProcessors([]);
  return measureAddedTime(
    'openai-agents',
    async ({ client, gatewayUrl, apiKey, carriedUrl, directUrl, runHeaders, compare }) => {
      const runpurse = new Runpurse({ baseUrl: gatewayUrl, apiKey, client });
      const gateway = new OpenAI({ baseURL: carriedUrl, apiKey });
      const provider = new OpenAI({ baseURL: directUrl, apiKey });
      const ours = (openai: OpenAI) => runpurse.models(openai, 'chat_completions').getModel('model');
      const plain = (openai: OpenAI): Model => new OpenAIChatCompletionsModel(openai, 'model');
      const headed = plain(gateway.withOptions({ defaultHeaders: runHeaders }));
      const [carried, bare, direct] = [await ours(gateway), plain(provider), await ours(provider)];
      const { lookup } = lookupTool();
      const guarded = lookupTool().lookup;
      guardTools([guarded]);
      return withTrace('bench', async () => ({
        carriedModelCallMs: await compare(
          () => callModel(headed),
          () => callModel(carried),
        ),
        directModelCallMs: await compare(
          () => callModel(bare),
          () => callModel(direct),
        ),
        toolCallMs: await compare(
          () => callTool(lookup),
          () => callTool(guarded),
        ),
      }));
    },
    options,
  );
}

async function callModel(model: Model): Promise<void> {
  await model.getResponse({
    input: [{ role: 'user', content: 'hi' }],
    modelSettings: { maxTokens: 100 },
    tools: [],
    handoffs: [],
    outputType: 'text',
    tracing: false,
  });
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
