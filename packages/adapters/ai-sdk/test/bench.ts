import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { measureAddedTime, type AddedTime, type AddedTimeOptions } from '@runpurse/conformance';
import { generateText, type LanguageModel } from 'ai';
import { createRunpurse } from '../src/index.ts';
import { lookup } from './stage.ts';

/** What `generateText` and a tool take longer in a run of ours; see `measureAddedTime`. */
export function benchAdapter(options?: AddedTimeOptions): Promise<AddedTime> {
  return measureAddedTime(
    'ai-sdk',
    async ({ client, gatewayUrl, apiKey, carriedUrl, directUrl, runHeaders, compare }) => {
      const runpurse = createRunpurse({ baseUrl: gatewayUrl, apiKey, client });
      const modelAt = (baseURL: string, headers = {}) => createOpenAICompatible({ name: 'bench', baseURL, apiKey, headers })('model');
      const [carried, direct] = [modelAt(carriedUrl), modelAt(directUrl)];
      const headed = modelAt(carriedUrl, runHeaders);
      const { tools } = lookup();
      return runpurse.run({}, async (run) => {
        const [carriedInRun, directInRun, guarded] = [run.model(carried), run.model(direct), run.tools(tools)];
        return {
          carriedModelCallMs: await compare(
            () => ask(headed),
            () => ask(carriedInRun),
          ),
          directModelCallMs: await compare(
            () => ask(direct),
            () => ask(directInRun),
          ),
          toolCallMs: await compare(
            () => use(tools),
            () => use(guarded),
          ),
        };
      });
    },
    options,
  );
}

async function ask(model: LanguageModel): Promise<void> {
  await generateText({ model, prompt: 'hi', maxOutputTokens: 100 });
}

let toolCalls = 0;

async function use({ lookup: { execute } }: ReturnType<typeof lookup>['tools']): Promise<void> {
  toolCalls += 1;
  await execute?.({ q: String(toolCalls) }, { toolCallId: `call_${toolCalls}`, messages: [], context: {} });
}
