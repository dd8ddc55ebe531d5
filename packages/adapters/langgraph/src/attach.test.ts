import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { RefusedError, refusalOf } from '@runpurse/core';
import { Command, END, interrupt, MemorySaver, MessagesAnnotation, START, StateGraph } from '@langchain/langgraph';
import { createAgent, createMiddleware, tool, toolRetryMiddleware, type AgentMiddleware } from 'langchain';
import { z } from 'zod';
import { carried, plainModel, setStage, type Stage } from '../test/stage.ts';
import type { SentCall, SentEvent, StubAnswer } from '@runpurse/conformance';
import { runpurseMiddleware } from './index.ts';

const benches: Stage[] = [];
async function bench(...args: Parameters<typeof setStage>): Promise<Stage> {
  const made = await setStage(...args);
  benches.push(made);
  return made;
}
// LangChain prints what a handler throws; a refusal is thrown on purpose.
beforeEach(() => void jest.spyOn(console, 'error').mockImplementation(() => {}));
afterEach(async () => {
  jest.restoreAllMocks();
  await Promise.all(benches.splice(0).map((made) => made.close()));
});

const user = (content: string) => ({ messages: [{ role: 'user', content }] });
const denies =
  (type: string, code = 'policy_denied', status = 403) =>
  (event: SentEvent) =>
    event.type === type ? { code, status, message: `${type} is denied by no-${type}` } : undefined;
const toolsOf = (request: SentCall) => (request.body.messages ?? []).filter(({ role }) => role === 'tool').map(({ content }) => content);

/** Calls `lookup` once, then answers with text. */
const lookThenAnswer = (request: SentCall): StubAnswer =>
  request.body.messages?.at(-1)?.role === 'tool' || request.body.tools === undefined
    ? { content: 'done' }
    : { toolCalls: [{ id: 'call_1', name: 'lookup', args: { q: 'x' } }] };

function lookupTool(run: (q: string) => string = (q) => `found ${q}`) {
  const ran: string[] = [];
  const lookup = tool(
    ({ q }) => {
      ran.push(q);
      return run(q);
    },
    { name: 'lookup', description: 'looks up', schema: z.object({ q: z.string() }) },
  );
  return { lookup, ran };
}

/** A graph whose one node does what the test says. */
function graphOf(talk: () => Promise<unknown>, options: object = {}, compile: object = {}) {
  return new StateGraph(MessagesAnnotation)
    .addNode(
      'talk',
      async () => {
        await talk();
        return {};
      },
      options,
    )
    .addEdge(START, 'talk')
    .addEdge('talk', END)
    .compile(compile);
}

describe('a run', () => {
  it('of an agent is told from its start to its end, with the thread as its session and the node of each call', async () => {
    const at = await bench({ answer: lookThenAnswer });
    const { lookup } = lookupTool();
    const agent = createAgent({ name: 'support', model: at.model(), tools: [lookup] }).withConfig({ callbacks: [at.handler] });
    await agent.invoke(user('hi'), { configurable: { thread_id: 'thread-1' }, runId: '0192f8a0-0000-7000-8000-000000000001' });
    expect(at.events.map((event) => [event.type, event['graph_node'], event['iteration']])).toEqual([
      ['run.started', undefined, undefined],
      ['llm.call.completed', 'model_request', 1],
      ['tool.call.requested', 'tools', 2],
      ['tool.call.completed', 'tools', 2],
      ['llm.call.completed', 'model_request', 3],
      ['run.completed', undefined, undefined],
    ]);
    for (const event of at.events)
      expect(event).toMatchObject({
        run_id: '0192f8a0-0000-7000-8000-000000000001',
        session_id: 'thread-1',
        agent_id: 'support',
        source: 'langgraph',
      });
  });

  it('is what the invocation says it is, before the handler, before LangGraph', async () => {
    const at = await bench({}, { agentId: 'default-agent', workflowId: 'default-workflow', customerId: 'default-customer' });
    const graph = graphOf(() => at.model().invoke('hi'));
    const runpurse = { runId: 'run-1', sessionId: 'session-1', customerId: 'customer-1', limitUsd: '0.50', bounds: { max_requests: 3 } };
    await graph.invoke(user('hi'), { callbacks: [at.handler], configurable: { thread_id: 'thread-1' }, metadata: { runpurse } });
    expect(at.events[0]).toMatchObject({
      run_id: 'run-1',
      session_id: 'session-1',
      customer_id: 'customer-1',
      workflow_id: 'default-workflow',
      agent_id: 'default-agent',
      metadata: { limit_usd: '0.5', bounds: { max_requests: 3 } },
    });
    expect(at.requests.map(carried)).toEqual([expect.objectContaining({ run: 'run-1', session: 'session-1', agent: 'default-agent' })]);
  });

  it.each(['messages', 'values', 'v3'] as const)('streamed as %s is told the same', async (mode) => {
    const at = await bench({ answer: lookThenAnswer });
    const agent = createAgent({ model: at.model(), tools: [lookupTool().lookup] }).withConfig({ callbacks: [at.handler] });
    const stream =
      mode === 'v3' ? await agent.streamEvents(user('hi'), { version: 'v3' }) : await agent.stream(user('hi'), { streamMode: mode });
    for await (const _ of stream);
    expect(at.types()).toEqual([
      'run.started',
      'llm.call.completed',
      'tool.call.requested',
      'tool.call.completed',
      'llm.call.completed',
      'run.completed',
    ]);
    expect(at.requests.map((request) => carried(request).step)).toEqual(at.eventsOf('llm.call.completed').map((event) => event['step_id']));
    for (const { metadata } of at.eventsOf('llm.call.completed'))
      expect(metadata['usage']).toMatchObject({ input_tokens: 8, cache_read_tokens: 2, output_tokens: 5, reasoning_tokens: 1 });
  });

  it('of a bare model call is that call', async () => {
    const at = await bench();
    await at.model().invoke('hi', { callbacks: [at.handler] });
    expect(at.types()).toEqual(['run.started', 'llm.call.completed', 'run.completed']);
  });

  it('that is denied does not begin', async () => {
    const at = await bench({ deny: denies('run.started', 'budget_exceeded', 402) });
    const error: unknown = await graphOf(() => at.model().invoke('hi'))
      .invoke(user('hi'), { callbacks: [at.handler] })
      .catch((thrown: unknown) => thrown);
    expect(refusalOf(error)).toMatchObject({ code: 'budget_exceeded' });
    expect(at.requests).toEqual([]);
    expect(at.types()).toEqual(['run.started']);
  });

  it.each([
    ['without a reason', undefined],
    ['for a reason of the caller', new Error('the user left')],
  ])('that is cancelled %s ends stopped', async (_, reason) => {
    const controller = new AbortController();
    const at = await bench({
      answer: () => new Promise((resolve) => setTimeout(() => (controller.abort(reason), setTimeout(() => resolve({}), 50)), 5)),
    });
    const agent = createAgent({ model: at.model(), tools: [] }).withConfig({ callbacks: [at.handler] });
    await expect(agent.invoke(user('hi'), { signal: controller.signal })).rejects.toThrow();
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(at.events.at(-1)).toMatchObject({ type: 'run.failed', metadata: { status: 'stopped', message: 'cancelled' } });
    expect(at.eventsOf('llm.call.failed')[0]?.metadata).toMatchObject({ status: 'aborted' });
  });

  it('that fails ends failed, with the reason', async () => {
    const at = await bench();
    await expect(graphOf(() => Promise.reject(new Error('no such order'))).invoke(user('hi'), { callbacks: [at.handler] })).rejects.toThrow(
      'no such order',
    );
    expect(at.events.at(-1)).toMatchObject({ type: 'run.failed', metadata: { status: 'failed', message: 'no such order' } });
  });
});

describe('a nested agent', () => {
  it('behind a tool keeps the run, is charged under its name and stands inside the tool call', async () => {
    const at = await bench({
      answer: (request) => (request.body.tools === undefined ? { content: 'it was paid' } : lookThenAnswer(request)),
    });
    const billing = createAgent({ name: 'billing', model: at.model(), tools: [] });
    const lookup = tool(async () => String((await billing.invoke(user('paid?'))).messages.at(-1)?.content), {
      name: 'lookup',
      description: 'asks billing',
      schema: z.object({ q: z.string() }),
    });
    await createAgent({ name: 'support', model: at.model(), tools: [lookup] }).invoke(user('hi'), { callbacks: [at.handler] });
    expect(at.requests.map((request) => [carried(request).agent, carried(request).parent])).toEqual([
      ['support', undefined],
      ['billing', 'call_1'],
      ['support', undefined],
    ]);
    expect(new Set(at.events.map((event) => event.run_id)).size).toBe(1);
    expect(at.eventsOf('run.started')).toHaveLength(1);
    expect(at.eventsOf('step.started')).toEqual([]);
  });

  it('in a node is a step of its own; a graph without name is none', async () => {
    const at = await bench();
    const writer = createAgent({ name: 'writer', model: at.model(), tools: [] });
    const plain = graphOf(() => at.model().invoke('hi'));
    const graph = new StateGraph(MessagesAnnotation)
      .addNode('write', writer.graph)
      .addNode('check', plain)
      .addEdge(START, 'write')
      .addEdge('write', 'check')
      .addEdge('check', END)
      .compile();
    await graph.invoke(user('hi'), { callbacks: [at.handler] });
    const [step] = at.eventsOf('step.started');
    expect(step).toMatchObject({ name: 'writer', step_kind: 'handoff', agent_id: 'writer', graph_node: 'write' });
    expect(at.eventsOf('step.completed')).toEqual([expect.objectContaining({ step_id: step?.['step_id'] })]);
    expect(at.requests.map((request) => [carried(request).agent, carried(request).parent, carried(request).node])).toEqual([
      ['writer', step?.['step_id'], 'model_request'],
      [undefined, undefined, 'talk'],
    ]);
  });
});

describe('a model call', () => {
  it('that the gateway refuses surfaces as the error of its client, and the run ends with that reason', async () => {
    const at = await bench({
      answer: () => ({ error: { status: 402, code: 'budget_exceeded', message: 'run-1 has 0.01 USD left, this call needs 0.02' } }),
    });
    const retryPolicy = { maxAttempts: 3, initialInterval: 1, logWarning: false };
    const error: unknown = await graphOf(() => at.model({ maxRetries: 3 }).invoke('hi'), { retryPolicy })
      .invoke(user('hi'), { callbacks: [at.handler] })
      .catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ status: 402, message: expect.stringContaining('run-1 has 0.01 USD left') });
    expect(refusalOf(error)).toMatchObject({ code: 'budget_exceeded' });
    expect(at.requests).toHaveLength(1);
    expect(at.events.map((event) => [event.type, event.metadata['message']])).toEqual([
      ['run.started', undefined],
      ['run.failed', 'run-1 has 0.01 USD left, this call needs 0.02'],
    ]);
  });

  it('past the gateway is asked for before, with its worst case, and reported after', async () => {
    const [at, provider] = [await bench(), await bench()];
    await graphOf(() => plainModel(`${provider.url}/v1`, { maxTokens: 77 }).invoke('hello')).invoke(user('hi'), {
      callbacks: [at.handler],
    });
    const [asked] = at.eventsOf('llm.call.started');
    expect(asked?.metadata).toMatchObject({ model: 'gpt-test', max_output_tokens: 77 });
    expect(asked?.metadata['input_tokens_max']).toBeGreaterThan('hello'.length);
    expect(at.eventsOf('llm.call.completed')).toEqual([
      expect.objectContaining({
        step_id: asked?.['step_id'],
        metadata: expect.objectContaining({ usage: expect.objectContaining({ input_tokens: 8, cache_read_tokens: 2 }) }),
      }),
    ]);
    expect(at.eventsOf('llm.call.completed')[0]?.metadata['carried']).toBeUndefined();
    expect(JSON.stringify(at.events)).not.toContain('hello');
  });

  it('of a model that points at the gateway but is not wrapped is counted by the gateway alone, and its owner is warned', async () => {
    const at = await bench();
    const warn = jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
    await plainModel(`${at.url}/v1`).invoke('hi', { callbacks: [at.handler] });
    expect(at.types()).toEqual(['run.started', 'llm.call.completed', 'run.completed']);
    expect(at.eventsOf('llm.call.completed')[0]?.metadata['carried']).toBe(true);
    expect(warn.mock.calls.map(([message]) => String(message))).toEqual([expect.stringContaining('withRunpurse')]);
  });

  it('past the gateway that is denied is not made, nor tried again by the node', async () => {
    const [at, provider] = [await bench({ deny: denies('llm.call.started') }), await bench()];
    const graph = graphOf(() => plainModel(`${provider.url}/v1`).invoke('hi'), {
      retryPolicy: { maxAttempts: 3, initialInterval: 1, logWarning: false },
    });
    const error: unknown = await graph.invoke(user('hi'), { callbacks: [at.handler] }).catch((thrown: unknown) => thrown);
    expect(RefusedError.isInstance(error)).toBe(true);
    expect(provider.requests).toEqual([]);
    expect(at.types()).toEqual(['run.started', 'llm.call.started', 'run.failed']);
  });

  it('of a node tried again is attempt 2, in nodes around it too; a node run again for another reason is not', async () => {
    const at = await bench();
    const model = at.model();
    let tries = 0;
    const inner = graphOf(() => model.invoke('inner'));
    const graph = new StateGraph(MessagesAnnotation)
      .addNode(
        'talk',
        async () => {
          await model.invoke('outer');
          await inner.invoke({ messages: [] });
          tries += 1;
          if (tries === 1) throw new Error('the tool response was not readable');
          return { messages: [{ role: 'user', content: 'again' }] };
        },
        { retryPolicy: { maxAttempts: 2, initialInterval: 1, logWarning: false } },
      )
      .addEdge(START, 'talk')
      .addConditionalEdges('talk', () => (tries < 3 ? 'talk' : END))
      .compile();
    await graph.invoke(user('hi'), { callbacks: [at.handler] });
    expect(at.requests.map((request) => carried(request).attempt)).toEqual(['1', '1', '2', '2', '1', '1']);
    expect(at.types().at(-1)).toBe('run.completed');
  });
});

describe('a tool call', () => {
  const middlewares: Readonly<Record<string, AgentMiddleware[]>> = {
    'a handler alone': [],
    'the middleware': [runpurseMiddleware()],
    'another middleware around tools inside ours': [runpurseMiddleware(), toolRetryMiddleware({ maxRetries: 0, onFailure: 'error' })],
    'another middleware around tools outside ours': [toolRetryMiddleware({ maxRetries: 0, onFailure: 'error' }), runpurseMiddleware()],
  };

  it.each(Object.entries(middlewares))('that is denied does not run, and the agent goes on, with %s', async (_, middleware) => {
    const at = await bench({ answer: lookThenAnswer, deny: denies('tool.call.requested') });
    const { lookup, ran } = lookupTool();
    const agent = createAgent({ model: at.model(), tools: [lookup], middleware }).withConfig({ callbacks: [at.handler] });
    const { messages } = await agent.invoke(user('hi'));
    expect(ran).toEqual([]);
    expect(messages.at(-1)?.content).toBe('done');
    expect(messages.find((message) => message.getType() === 'tool')).toMatchObject({
      status: 'error',
      content: expect.stringContaining('is denied by no-tool.call.requested'),
    });
    expect(at.types()).toEqual(['run.started', 'llm.call.completed', 'tool.call.requested', 'llm.call.completed', 'run.completed']);
  });

  it('that is denied outside of an agent throws the refusal', async () => {
    const at = await bench({ deny: denies('tool.call.requested') });
    const { lookup, ran } = lookupTool();
    await expect(lookup.invoke({ q: 'x' }, { callbacks: [at.handler] })).rejects.toThrow('is denied by');
    expect(ran).toEqual([]);
    expect(at.types()).toEqual(['run.started', 'tool.call.requested', 'run.failed']);
  });

  it.each(Object.entries(middlewares))(
    'that fails is told as LangChain tells it without us, and settled as failed, with %s',
    async (_, middleware) => {
      const at = await bench({ answer: lookThenAnswer });
      const { lookup } = lookupTool(() => {
        throw new Error('no connection');
      });
      const toldWith = (around: AgentMiddleware[], config: object = {}) =>
        createAgent({ model: at.model(), tools: [lookup], middleware: around })
          .invoke(user('hi'), config)
          .then(
            ({ messages }) => messages.find((message) => message.getType() === 'tool')?.content,
            (error: unknown) => String(error),
          );
      const withoutUs = await toldWith(middleware.filter(({ name }) => name !== 'Runpurse'));
      expect(await toldWith(middleware, { callbacks: [at.handler] })).toBe(withoutUs);
      expect(at.eventsOf('tool.call.failed')).toEqual([
        expect.objectContaining({ tool_call_id: 'call_1', metadata: expect.objectContaining({ message: 'no connection' }) }),
      ]);
    },
  );

  it('is one of its own even where a model repeats its ids', async () => {
    const at = await bench({
      answer: (request) =>
        toolsOf(request).length === 2
          ? { content: 'done' }
          : { toolCalls: [{ id: 'call_0', name: 'lookup', args: { q: String(toolsOf(request).length) } }] },
    });
    await createAgent({ model: at.model(), tools: [lookupTool().lookup] }).invoke(user('hi'), { callbacks: [at.handler] });
    expect(at.eventsOf('tool.call.completed').map((event) => event['tool_call_id'])).toEqual(['call_0', 'call_0~2']);
  });

  it('in a node tried again is attempt 2 of the same call', async () => {
    const at = await bench();
    const { lookup } = lookupTool();
    let tries = 0;
    const graph = graphOf(
      async () => {
        await lookup.invoke({ type: 'tool_call', id: 'call_1', name: 'lookup', args: { q: 'x' } });
        tries += 1;
        if (tries === 1) throw new Error('not readable');
      },
      { retryPolicy: { maxAttempts: 2, initialInterval: 1, logWarning: false } },
    );
    await graph.invoke(user('hi'), { callbacks: [at.handler] });
    expect(at.eventsOf('tool.call.completed').map((event) => [event['tool_call_id'], event['attempt']])).toEqual([
      ['call_1', 1],
      ['call_1', 2],
    ]);
  });
});

describe('an interrupt', () => {
  /** Looks up, then asks a human, all in one node: resumed, the node runs from its top. */
  function approval(at: Stage, lookup: ReturnType<typeof lookupTool>['lookup']) {
    const model = at.model();
    return graphOf(
      async () => {
        await model.invoke('hi');
        await lookup.invoke({ type: 'tool_call', id: 'call_1', name: 'lookup', args: { q: 'x' } });
        interrupt('refund?');
      },
      {},
      { checkpointer: new MemorySaver() },
    );
  }

  it('leaves the run paused, and the resumed run is another of the session that is not charged for the tool again', async () => {
    const at = await bench();
    const { lookup, ran } = lookupTool();
    const graph = approval(at, lookup);
    const config = { callbacks: [at.handler], configurable: { thread_id: 'thread-1' } };
    await graph.invoke(user('hi'), config);
    expect(at.types()).toEqual(['run.started', 'llm.call.completed', 'tool.call.requested', 'tool.call.completed', 'approval.requested']);
    expect(at.events.at(-1)?.metadata).toMatchObject({ status: 'paused' });

    await graph.invoke(new Command({ resume: 'yes' }), config);
    expect(at.types().slice(5)).toEqual(['run.started', 'llm.call.completed', 'run.completed']);
    expect(ran).toEqual(['x', 'x']);
    const [first, second] = at.eventsOf('run.started');
    expect(second?.run_id).not.toBe(first?.run_id);
    expect(second?.['session_id']).toBe('thread-1');
    expect(at.requests.map((request) => carried(request).attempt)).toEqual(['1', '1']);
  });

  it('is charged again in another thread, and in the same one once that has gone on', async () => {
    const at = await bench();
    const graph = approval(at, lookupTool().lookup);
    const thread = (thread_id: string) => ({ callbacks: [at.handler], configurable: { thread_id } });
    await graph.invoke(user('hi'), thread('a'));
    await graph.invoke(user('hi'), thread('b'));
    expect(at.eventsOf('tool.call.requested')).toHaveLength(2);
    await graph.invoke(new Command({ resume: 'yes' }), thread('a'));
    await graph.invoke(user('more'), thread('a'));
    expect(at.eventsOf('tool.call.requested')).toHaveLength(3);
  });

  it('before a node pauses the run as well', async () => {
    const at = await bench();
    const graph = graphOf(() => at.model().invoke('hi'), {}, { checkpointer: new MemorySaver(), interruptBefore: ['talk'] });
    await graph.invoke(user('hi'), { callbacks: [at.handler], configurable: { thread_id: 'thread-1' } });
    expect(at.types()).toEqual(['run.started', 'approval.requested']);
  });

  it('inside a tool is no failure of the tool', async () => {
    const at = await bench({ answer: lookThenAnswer });
    const asking = tool(({ q }) => `${String(interrupt('may I?'))} ${q}`, {
      name: 'lookup',
      description: 'asks',
      schema: z.object({ q: z.string() }),
    });
    const agent = createAgent({ model: at.model(), tools: [asking], checkpointer: new MemorySaver(), middleware: [runpurseMiddleware()] });
    const config = { callbacks: [at.handler], configurable: { thread_id: 'thread-1' } };
    await agent.invoke(user('hi'), config);
    expect(at.types()).toEqual(['run.started', 'llm.call.completed', 'tool.call.requested', 'approval.requested']);
    await agent.invoke(new Command({ resume: 'yes' }), config);
    expect(at.eventsOf('tool.call.failed')).toEqual([]);
    await at.handler.client.flush();
    // Held by the first run, it is settled there once the resumed run has done it.
    const held = at.eventsOf('tool.call.requested');
    expect(held).toHaveLength(1);
    expect(at.eventsOf('tool.call.completed').map((event) => event.run_id)).toEqual([held[0]?.run_id]);
  });

  it('does not let a tool run that was denied before it', async () => {
    const at = await bench({ deny: denies('tool.call.requested') });
    const { lookup, ran } = lookupTool();
    const graph = graphOf(
      async () => {
        await lookup.invoke({ type: 'tool_call', id: 'call_1', name: 'lookup', args: { q: 'x' } }).catch(() => {});
        interrupt('go on without?');
      },
      {},
      { checkpointer: new MemorySaver() },
    );
    const config = { callbacks: [at.handler], configurable: { thread_id: 'thread-1' } };
    await graph.invoke(user('hi'), config);
    await graph.invoke(new Command({ resume: 'yes' }), config);
    expect(at.eventsOf('tool.call.requested')).toHaveLength(2);
    expect(ran).toEqual([]);
  });
});

describe('a fault of ours', () => {
  const broken = () => {
    const opened: unknown[] = [];
    const run = (options: unknown) => {
      opened.push(options);
      throw new TypeError('a bug');
    };
    return { opened, client: { run } as never };
  };

  it('never reaches the run, and what is below it becomes no run of its own', async () => {
    const { opened, client } = broken();
    const at = await bench({ answer: lookThenAnswer }, { client });
    const agent = createAgent({ model: at.model(), tools: [lookupTool().lookup], middleware: [runpurseMiddleware()] });
    const { messages } = await agent.invoke(user('hi'), { callbacks: [at.handler] });
    expect(messages.at(-1)?.content).toBe('done');
    expect(at.faults.map(String)).toEqual(['TypeError: a bug']);
    expect(opened).toHaveLength(1);
  });

  it('stops the run where the user wants it closed', async () => {
    const at = await bench({}, { client: broken().client, failurePolicy: { authorize: 'closed' } });
    await expect(graphOf(() => at.model().invoke('hi')).invoke(user('hi'), { callbacks: [at.handler] })).rejects.toThrow(
      'failurePolicy.authorize is "closed"',
    );
    expect(at.requests).toEqual([]);
    expect(at.faults.map(String)).toEqual(['TypeError: a bug']);
  });

  it('by way of a gateway that is away leaves the run alone unless the user wants it closed', async () => {
    const provider = await bench();
    const run = (authorize: 'open' | 'closed') => async () => {
      const at = await bench({}, { baseUrl: 'http://127.0.0.1:9', client: undefined, failurePolicy: { authorize }, onProblem: () => {} });
      return graphOf(() => plainModel(`${provider.url}/v1`).invoke('hi')).invoke(user('hi'), { callbacks: [at.handler] });
    };
    await run('open')();
    expect(provider.requests).toHaveLength(1);
    await expect(run('closed')()).rejects.toThrow('could not be asked');
    expect(provider.requests).toHaveLength(1);
  });
});

it.each(['first', 'last'])('the middleware, put %s, leaves other middleware its say', async (order) => {
  const at = await bench({ answer: lookThenAnswer });
  const seen: string[] = [];
  const other = createMiddleware({
    name: 'Other',
    wrapModelCall: (request, handler) => (seen.push('model'), handler(request)),
    wrapToolCall: (request, handler) => (seen.push('tool'), handler(request)),
  });
  const plain = plainModel(`${at.url}/v1`);
  await createAgent({
    model: plain,
    tools: [lookupTool().lookup],
    middleware: order === 'first' ? [runpurseMiddleware(), other] : [other, runpurseMiddleware()],
  }).invoke(user('hi'), {
    callbacks: [at.handler],
    configurable: { thread_id: 'thread-1' },
  });
  expect(seen).toEqual(['model', 'tool', 'model']);
  expect(at.requests.map((request) => carried(request).session)).toEqual(['thread-1', 'thread-1']);
});
