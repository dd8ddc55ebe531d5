import { measureAddedTime, type AddedTime, type AddedTimeOptions } from '@runpurse/conformance';
import { RunnableLambda, type RunnableConfig } from '@langchain/core/runnables';
import { tool } from 'langchain';
import { z } from 'zod';
import { RunpurseCallbackHandler, withRunpurse } from '../src/index.ts';
import { plainModel } from './stage.ts';

/** What `ChatOpenAI` and a LangChain tool take longer inside a run of ours; see `measureAddedTime`. */
export function benchAdapter(options?: AddedTimeOptions): Promise<AddedTime> {
  return measureAddedTime(
    'langgraph',
    async ({ client, gatewayUrl, apiKey, carriedUrl, directUrl, runHeaders, compare }) => {
      const runpurse = new RunpurseCallbackHandler({ baseUrl: gatewayUrl, apiKey, client });
      const fields = { model: 'model', apiKey, maxTokens: 100 };
      const headed = plainModel(carriedUrl, { ...fields, configuration: { baseURL: carriedUrl, defaultHeaders: runHeaders } });
      const [carried, plain, direct] = [
        withRunpurse(plainModel(carriedUrl, fields)),
        plainModel(directUrl, fields),
        withRunpurse(plainModel(directUrl, fields)),
      ];
      const inRun = RunnableLambda.from(async (_: string, ours: RunnableConfig) => ({
        carriedModelCallMs: await compare(
          () => headed.invoke('hi', APART),
          () => carried.invoke('hi', ours),
        ),
        directModelCallMs: await compare(
          () => plain.invoke('hi', APART),
          () => direct.invoke('hi', ours),
        ),
        toolCallMs: await compare(
          () => lookup.invoke({ q: 'x' }, APART),
          () => lookup.invoke({ q: 'x' }, ours),
        ),
      }));
      return inRun.invoke('', { callbacks: [runpurse] });
    },
    options,
  );
}

/** Without the callbacks of what is around. */
const APART: RunnableConfig = { callbacks: [] };
const lookup = tool(({ q }) => q, { name: 'lookup', description: 'looks up', schema: z.object({ q: z.string() }) });
