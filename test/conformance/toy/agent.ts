import { callModel, ToyModelError, type ToyMessage, type ToyReply, type ToyToolCall } from './model.ts';

/** A toy agent framework: a loop, its tools, and hooks an adapter can hang on. It knows nothing of Runpurse. */
export interface ToyAgent {
  readonly name: string;
  readonly instructions: string;
  readonly model: string;
  readonly maxTokens: number;
  readonly maxRetries: number;
  readonly tools: readonly ToyTool[];
}
export interface ToyTool {
  readonly name: string;
  readonly description: string;
  readonly parameters: object;
  execute(args: Readonly<Record<string, unknown>>, inside: ToyContext): Promise<string>;
}

/** What a play of the agent runs with. `parentId`: the tool call it runs inside of. */
export interface ToyContext {
  readonly connection: { readonly baseUrl: string; readonly apiKey: string };
  readonly hooks: ToyHooks;
  readonly signal: AbortSignal;
  readonly stream: boolean;
  readonly parentId: string | undefined;
}

/** Where a hook stands: the agent, the call, and the tool call around it. A retried model call keeps its id. */
export interface ToyPlace {
  readonly agent: string;
  readonly id: string;
  readonly parentId: string | undefined;
  readonly attempt: number;
}
export interface ToyHooks {
  /** Throwing keeps the run from beginning. */
  beforeRun(): Promise<void>;
  afterRun(end: { readonly error?: unknown }): Promise<void>;
  /** Throwing keeps the call from being made; what it returns are headers for the call. */
  beforeModel(
    place: ToyPlace,
    call: { readonly model: string; readonly maxTokens: number; readonly inputBytes: number },
  ): Promise<Readonly<Record<string, string>>>;
  afterModel(place: ToyPlace, end: { readonly model: string; readonly reply?: ToyReply; readonly error?: unknown }): Promise<void>;
  /** Throwing a ToyToolDenied keeps the tool from running and tells the model why. */
  beforeTool(place: ToyPlace, call: { readonly tool: string; readonly args: unknown }): Promise<void>;
  afterTool(place: ToyPlace, end: { readonly error?: unknown }): Promise<void>;
}
export class ToyToolDenied extends Error {
  override readonly name = 'ToyToolDenied';
}

/** Runs an agent on a task, with the hooks around it. */
export async function runToyAgent(agent: ToyAgent, input: string, context: ToyContext): Promise<string> {
  try {
    await context.hooks.beforeRun();
    const output = await loop(agent, input, context);
    await context.hooks.afterRun({});
    return output;
  } catch (error) {
    await context.hooks.afterRun({ error });
    throw error;
  }
}

/** Calls the model until it answers without asking for a tool. Inside a tool this is a nested agent. */
export async function loop(agent: ToyAgent, input: string, context: ToyContext): Promise<string> {
  const messages: ToyMessage[] = [
    { role: 'system', content: agent.instructions },
    { role: 'user', content: input },
  ];
  for (;;) {
    const { message } = await modelStep(agent, messages, context);
    messages.push(message);
    if (message.tool_calls === undefined) return message.content ?? '';
    messages.push(...(await Promise.all(message.tool_calls.map((call) => toolStep(agent, call, context)))));
  }
}

async function modelStep(agent: ToyAgent, messages: readonly ToyMessage[], context: ToyContext): Promise<ToyReply> {
  const { hooks, signal, stream, connection, parentId } = context;
  const tools = agent.tools.map(({ name, description, parameters }) => ({ type: 'function', function: { name, description, parameters } }));
  const body = {
    model: agent.model,
    messages,
    max_tokens: agent.maxTokens,
    stream,
    ...(tools.length > 0 && { tools }),
    ...(stream && { stream_options: { include_usage: true } }),
  };
  const id = crypto.randomUUID();
  for (let attempt = 1; ; attempt += 1) {
    const place = { agent: agent.name, id, parentId, attempt };
    const headers = await hooks.beforeModel(place, {
      model: agent.model,
      maxTokens: agent.maxTokens,
      inputBytes: JSON.stringify(body).length,
    });
    const called = await attempted(() => callModel(body, { ...connection, headers, signal }));
    await hooks.afterModel(place, { model: agent.model, ...called });
    if ('reply' in called) return called.reply;
    const mayRetry = called.error instanceof ToyModelError && called.error.status >= 500;
    if (!mayRetry || attempt > agent.maxRetries) throw called.error;
  }
}

/** What became of a call, as a value. */
async function attempted<Reply>(call: () => Promise<Reply>): Promise<{ readonly reply: Reply } | { readonly error: unknown }> {
  try {
    return { reply: await call() };
  } catch (error) {
    return { error };
  }
}

async function toolStep(agent: ToyAgent, call: ToyToolCall, context: ToyContext): Promise<ToyMessage> {
  const { hooks, parentId } = context;
  const place = { agent: agent.name, id: call.id, parentId, attempt: 1 };
  const answer = (content: string): ToyMessage => ({ role: 'tool', tool_call_id: call.id, content });
  const args = JSON.parse(call.function.arguments) as Record<string, unknown>;
  try {
    await hooks.beforeTool(place, { tool: call.function.name, args });
  } catch (error) {
    if (error instanceof ToyToolDenied) return answer(`Denied: ${error.message}`);
    throw error;
  }
  const tool = agent.tools.find(({ name }) => name === call.function.name);
  const ran = await attempted(async () => {
    if (tool === undefined) throw new Error(`no tool ${call.function.name}`);
    return tool.execute(args, { ...context, parentId: call.id });
  });
  await hooks.afterTool(place, 'error' in ran ? { error: ran.error } : {});
  if ('reply' in ran) return answer(ran.reply);
  return answer(`Error: ${ran.error instanceof Error ? ran.error.message : String(ran.error)}`);
}
