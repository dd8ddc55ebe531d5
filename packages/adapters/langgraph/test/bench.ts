import { createClient } from '@runpurse/core/axios';
import { ChatOpenAI, type ChatOpenAIFields } from '@langchain/openai';
import { RunpurseCallbackHandler, withRunpurse, type RunpurseOptions } from '../src/index.ts';
import { startStub, type ModelRequest, type StubEvent, type StubServer } from './stub-server.ts';

/** A stub gateway, a handler on it, and models that point at it. */
export interface Bench extends StubServer {
  readonly handler: RunpurseCallbackHandler;
  readonly faults: unknown[];
  /** A model that goes through the gateway, carrying its run. */
  model(fields?: ChatOpenAIFields): ChatOpenAI;
  /** The events so far as `type` or `type:step`, in the order sent. */
  types(): string[];
  eventsOf(type: string): StubEvent[];
}

export async function startBench(
  stubOptions: Parameters<typeof startStub>[0] = {},
  options: Partial<RunpurseOptions> = {},
): Promise<Bench> {
  const stub = await startStub(stubOptions);
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
    types: () => stub.events.map((event) => event.type),
    eventsOf: (type) => stub.events.filter((event) => event.type === type),
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
export function carried({ headers }: ModelRequest): Record<string, string | undefined> {
  const read = (name: string): string | undefined => headers[`alephant-${name}`] as string | undefined;
  return {
    run: read('run-id'),
    session: read('session-id'),
    step: read('step-id'),
    parent: read('parent-step-id'),
    node: read('graph-node'),
    agent: read('agent-id'),
    attempt: read('step-attempt'),
  };
}
