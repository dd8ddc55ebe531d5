import { setTraceProcessors, setTracingDisabled, tool, type FunctionTool } from '@openai/agents';
import { createClient } from '@runpurse/core/axios';
import OpenAI, { type ClientOptions } from 'openai';
import { z } from 'zod';
import { Runpurse, type RunpurseOptions } from '../src/index.ts';
import { startStub, type ModelRequest, type StubEvent, type StubOptions, type StubServer } from './stub-server.ts';

/** A stub gateway with an attachment to it. */
export interface Stage extends StubServer {
  readonly runpurse: Runpurse;
  readonly faults: unknown[];
  /** An OpenAI client that points here. */
  openai(options?: ClientOptions): OpenAI;
  /** The events so far by type, in the order sent. */
  types(): string[];
  eventsOf(type: string): StubEvent[];
}

// The SDK turns tracing off in tests; its own processor would send traces to OpenAI.
setTracingDisabled(false);
setTraceProcessors([]);

export async function setStage(stubOptions: StubOptions = {}, options: Partial<RunpurseOptions> = {}): Promise<Stage> {
  const stub = await startStub(stubOptions);
  const faults: unknown[] = [];
  const client = createClient({ baseUrl: stub.url, apiKey: 'rp_test', source: 'openai_agents', flushOnExit: false });
  const runpurse = new Runpurse({ baseUrl: stub.url, apiKey: 'rp_test', client, onFault: (fault) => faults.push(fault), ...options });
  return {
    ...stub,
    runpurse,
    faults,
    openai: (more) => new OpenAI({ baseURL: `${stub.url}/v1`, apiKey: 'rp_test', maxRetries: 0, ...more }),
    types: () => stub.events.map(({ type }) => type),
    eventsOf: (type) => stub.events.filter((event) => event.type === type),
    close: async () => {
      await client.close();
      await stub.close();
    },
  };
}

/** The attribution a request carried. */
export function carried({ headers }: ModelRequest): Record<string, string | undefined> {
  const read = (name: string): string | undefined => headers[`alephant-${name}`] as string | undefined;
  return {
    run: read('run-id'),
    session: read('session-id'),
    step: read('step-id'),
    parent: read('parent-step-id'),
    agent: read('agent-id'),
    attempt: read('step-attempt'),
  };
}

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
export function toldOf({ body }: ModelRequest): unknown[] {
  const messages = (body.messages ?? []).filter(({ role }) => role === 'tool').map(({ content }) => content);
  const items = (body.input ?? []) as readonly { readonly type?: string; readonly output?: unknown }[];
  return [...messages, ...items.filter(({ type }) => type === 'function_call_output').map(({ output }) => output)];
}
