import { setTraceProcessors, setTracingDisabled, tool, type FunctionTool } from '@openai/agents';
import { standingOf, startStubGateway, type SentCall, type StubGateway, type StubGatewayOptions } from '@runpurse/conformance';
import { createClient } from '@runpurse/core/axios';
import OpenAI, { type ClientOptions } from 'openai';
import { z } from 'zod';
import { Runpurse, type RunpurseOptions } from '../src/index.ts';

/** A stub gateway with an attachment to it. */
export interface Stage extends StubGateway {
  readonly runpurse: Runpurse;
  readonly faults: unknown[];
  /** An OpenAI client that points here. */
  openai(options?: ClientOptions): OpenAI;
}

// The SDK turns tracing off in tests; its own processor would send traces to OpenAI.
setTracingDisabled(false);
setTraceProcessors([]);

export async function setStage(stubOptions: StubGatewayOptions = {}, options: Partial<RunpurseOptions> = {}): Promise<Stage> {
  const stub = await startStubGateway(stubOptions);
  const faults: unknown[] = [];
  const client = createClient({ baseUrl: stub.url, apiKey: 'rp_test', source: 'openai_agents', flushOnExit: false });
  const runpurse = new Runpurse({ baseUrl: stub.url, apiKey: 'rp_test', client, onFault: (fault) => faults.push(fault), ...options });
  return {
    ...stub,
    runpurse,
    faults,
    openai: (more) => new OpenAI({ baseURL: `${stub.url}/v1`, apiKey: 'rp_test', maxRetries: 0, ...more }),
    close: async () => {
      await client.close();
      await stub.close();
    },
  };
}

/** The attribution a request carried. */
export const carried = ({ headers }: SentCall): Record<string, string | undefined> => standingOf(headers);

/** A tool `lookup` that notes what it was run with. */
export function lookupTool(run: (q: string) => string = (q) => `found ${q}`): { readonly lookup: FunctionTool; readonly ran: string[] } {
  const ran: string[] = [];
  const lookup = tool({
    name: 'lookup',
    description: 'looks up',
    parameters: z.object({ q: z.string() }),
    execute: ({ q }) => {
      ran.push(q);
      return run(q);
    },
  });
  return { lookup: lookup as unknown as FunctionTool, ran };
}

/** What tools answered, as the model was told it. */
export function toldOf({ body }: SentCall): unknown[] {
  const messages = (body.messages ?? []).filter(({ role }) => role === 'tool').map(({ content }) => content);
  const items = (body.input ?? []) as readonly { readonly type?: string; readonly output?: unknown }[];
  return [...messages, ...items.filter(({ type }) => type === 'function_call_output').map(({ output }) => output)];
}
