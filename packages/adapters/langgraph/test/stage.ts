import { standingOf, startStubGateway, type SentCall, type StubGateway, type StubGatewayOptions } from '@runpurse/conformance';
import { createClient } from '@runpurse/core/axios';
import { ChatOpenAI, type ChatOpenAIFields } from '@langchain/openai';
import { RunpurseCallbackHandler, withRunpurse, type RunpurseOptions } from '../src/index.ts';

// LangChain prints whatever a handler throws; in tests refusals are meant.
const print = console.error;
console.error = (...said: unknown[]) => {
  if (!String(said[0]).startsWith('Error in handler RunpurseCallbackHandler')) print(...said);
};

/** A stub gateway, a handler on it, and models that point at it. */
export interface Stage extends StubGateway {
  readonly handler: RunpurseCallbackHandler;
  readonly faults: unknown[];
  /** A model that goes through the gateway, carrying its run. */
  model(fields?: ChatOpenAIFields): ChatOpenAI;
}

export async function setStage(stubOptions: StubGatewayOptions = {}, options: Partial<RunpurseOptions> = {}): Promise<Stage> {
  const stub = await startStubGateway(stubOptions);
  const faults: unknown[] = [];
  const client = createClient({ baseUrl: stub.url, apiKey: 'rp_test', source: 'langgraph', flushOnExit: false });
  const handler = new RunpurseCallbackHandler({
    baseUrl: stub.url,
    apiKey: 'rp_test',
    client,
    onFault: (fault) => faults.push(fault),
    ...options,
  });
  return {
    ...stub,
    handler,
    faults,
    model: (fields) => withRunpurse(plainModel(`${stub.url}/v1`, fields)),
    close: async () => {
      await client.close();
      await stub.close();
    },
  };
}

/** A ChatOpenAI as its users make it. */
export function plainModel(baseURL: string, fields: ChatOpenAIFields = {}): ChatOpenAI {
  return new ChatOpenAI({ model: 'gpt-test', apiKey: 'rp_test', maxRetries: 0, configuration: { baseURL }, ...fields });
}

/** The attribution a request carried. */
export const carried = ({ headers }: SentCall): Record<string, string | undefined> => standingOf(headers);
