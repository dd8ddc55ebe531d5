import { Agent, type AgentConfig } from '@mastra/core/agent';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { measureAddedTime, type AddedTime, type AddedTimeOptions } from '@runpurse/conformance';
import { beginExecution } from '../src/execution.ts';
import { createRunpurse } from '../src/index.ts';
import { guardOf } from '../src/tools.ts';
import { lookup } from './stage.ts';

/** What `agent.generate` of one step and a tool take longer with an attached agent, in a run of ours; see `measureAddedTime`. */
export function benchAdapter(options?: AddedTimeOptions): Promise<AddedTime> {
  return measureAddedTime(
    'mastra',
    async ({ client, gatewayUrl, apiKey, carriedUrl, directUrl, runHeaders, compare }) => {
      const runpurse = createRunpurse({ baseUrl: gatewayUrl, apiKey, client });
      const optionsAt = (baseURL: string, headers = {}): AgentConfig => ({
        id: 'bench',
        name: 'Bench',
        instructions: '',
        model: createOpenAICompatible({ name: 'bench', baseURL, apiKey, headers })('model') as AgentConfig['model'],
        defaultOptions: { modelSettings: { maxOutputTokens: 100 } },
      });
      const [headed, bare] = [new Agent(optionsAt(carriedUrl, runHeaders)), new Agent(optionsAt(directUrl))];
      const [carried, direct] = [carriedUrl, directUrl].map((url) => new Agent(runpurse.withRunpurse(optionsAt(url))));
      return runpurse.run({}, async () => {
        const attached = new Set<string>();
        const host = {
          client,
          gateway: gatewayUrl,
          onFault: () => {},
          defaults: {},
          attached,
          traced: new Map(),
          runs: new Map(),
          tasks: new Map(),
        };
        const execution = await beginExecution({ host, id: 'bench', carried: true }, undefined);
        const { tool } = lookup();
        const guarded = guardOf(async () => execution).tools({ lookup: tool }, execution);
        return {
          carriedModelCallMs: await compare(
            () => headed.generate('hi'),
            () => carried?.generate('hi'),
          ),
          directModelCallMs: await compare(
            () => bare.generate('hi'),
            () => direct?.generate('hi'),
          ),
          toolCallMs: await compare(
            () => use(tool),
            () => use(guarded['lookup']),
          ),
        };
      });
    },
    options,
  );
}

let toolCalls = 0;

/** A tool as the agent runs it. */
async function use(tool: unknown): Promise<void> {
  toolCalls += 1;
  const { execute } = tool as { execute(input: object, context: object): Promise<unknown> };
  await execute({ q: String(toolCalls) }, { toolCallId: `call_${toolCalls}` });
}
