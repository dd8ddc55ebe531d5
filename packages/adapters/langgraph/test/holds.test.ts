import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { startGateway, type RunningGateway } from '@runpurse/conformance';
import { refusalOf, type RunShape } from '@runpurse/core';
import { BaseCallbackHandler } from '@langchain/core/callbacks/base';
import { Command, END, interrupt, MemorySaver, MessagesAnnotation, START, StateGraph } from '@langchain/langgraph';
import type { ChatOpenAI, ChatOpenAIFields } from '@langchain/openai';
import { createAgent, modelFallbackMiddleware, modelRetryMiddleware, tool, toolRetryMiddleware, type AgentMiddleware } from 'langchain';
import { z } from 'zod';
import { RunpurseCallbackHandler, runpurseMiddleware, withRunpurse } from '../src/index.ts';
import { startProvider, type Provider } from './provider.ts';
import { plainModel } from './stage.ts';

/** What could let a run past its cap, its policy or its account, played by the real LangGraph on a real gateway. */

const MODES = ['carried', 'direct'] as const;
type Mode = (typeof MODES)[number];
const RUN = '0192f8a0-0000-7000-8000-000000000001';
const NEXT = '0192f8a0-0000-7000-8000-000000000002';

let provider: Provider;
let gateway: RunningGateway;
let runpurse: RunpurseCallbackHandler;
let faults: unknown[];

beforeEach(async () => {
  provider = await startProvider();
  const price = { input_mtok_usd: '1', output_mtok_usd: '2', max_output_tokens: 4_000, max_input_tokens: 1_000_000 };
  gateway = await startGateway({
    config: {
      providers: [{ name: 'stub', kind: 'openai', base_url: `${provider.url}/v1`, api_key: 'sk-provider', models: ['m', 'm2'] }],
      prices: [
        { model: 'm', ...price },
        { model: 'm2', ...price },
      ],
      tools: [{ name: 'lookup', price_usd: '0.005' }],
      budgets: [{ scope: 'run', id: '*', limit_usd: '5' }],
      policy: { tools: { deny: ['refund'] } },
      rate: { requests_per_minute: 1_000 },
    },
  });
  faults = [];
  runpurse = new RunpurseCallbackHandler({ baseUrl: gateway.url, apiKey: gateway.apiKey, onFault: (fault) => faults.push(fault) });
});
afterEach(async () => {
  await runpurse.client.close();
  await gateway.remove();
  await provider.close();
});

const bare = (mode: Mode, fields: ChatOpenAIFields = {}): ChatOpenAI =>
  plainModel(`${mode === 'carried' ? gateway.url : provider.url}/v1`, { model: 'm', apiKey: gateway.apiKey, ...fields });
const wrapped = (mode: Mode, fields?: ChatOpenAIFields): ChatOpenAI => withRunpurse(bare(mode, fields));

const schema = z.object({ q: z.string() });
/** Tools that count how often they ran. */
function toolbox(work: (ran: number) => unknown = () => 'ok') {
  const ran = { lookup: 0, refund: 0 };
  const named = (name: keyof typeof ran) =>
    tool(
      async () => {
        ran[name] += 1;
        return work(ran[name]);
      },
      { name, description: 'a tool', schema },
    );
  return { ran, lookup: named('lookup'), refund: named('refund') };
}
const use = (name: string, id: string, q = 'x') => ({ type: 'tool_call' as const, id, name, args: { q } });

function graphOf(talk: () => Promise<unknown>, compile: object = {}) {
  return new StateGraph(MessagesAnnotation)
    .addNode('talk', async () => {
      await talk();
      return {};
    })
    .addEdge(START, 'talk')
    .addEdge('talk', END)
    .compile(compile)
    .withConfig({ callbacks: [runpurse] });
}

const hi = { messages: [{ role: 'user', content: 'hi' }] };
const inRun = (limitUsd = '1', more: object = {}) => ({ runId: RUN, metadata: { runpurse: { limitUsd, ...more } } });

async function shown(runId = RUN): Promise<RunShape> {
  await runpurse.client.flush();
  const found = await gateway.readRun(runId);
  if (found === undefined) throw new Error(`there is no run ${runId}`);
  return found;
}

async function runsOfTheGateway(): Promise<number> {
  const response = await fetch(`${gateway.url}/v1/runs?limit=50`, { headers: { authorization: `Bearer ${gateway.apiKey}` } });
  return ((await response.json()) as { readonly data: readonly unknown[] }).data.length;
}

const thrown = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => undefined,
    (error: unknown) => error,
  );
const callsOf = ({ tools }: RunShape) => tools.map((call) => [call.tool, call.tool_call_id, call.status]);
const attemptsOf = ({ requests }: RunShape) => requests.map(({ attempt }) => attempt);

describe('a run that is resumed', () => {
  const thread = { configurable: { thread_id: 'thread-1' } };
  /** Uses a tool under one id, which is another at the second time, then waits. */
  const swapping = (uses: readonly (() => Promise<unknown>)[]) => {
    let turn = 0;
    return graphOf(
      async () => {
        await uses[turn++]?.();
        interrupt('ok?');
      },
      { checkpointer: new MemorySaver() },
    );
  };

  it.each(['the same', 'another'])('by %s handler is not let off asking for another tool under an id that was paid for', async (which) => {
    const { ran, lookup, refund } = toolbox();
    const graph = swapping([() => lookup.invoke(use('lookup', 'call_0')), () => refund.invoke(use('refund', 'call_0'))]);
    await graph.invoke(hi, { ...thread, runId: RUN });
    await shown();
    const other = which === 'another' ? new RunpurseCallbackHandler({ baseUrl: gateway.url, apiKey: gateway.apiKey }) : runpurse;
    const resumed = graph.withConfig({ callbacks: [other] });
    const error = await thrown(
      (which === 'another' ? resumed : graph).invoke(new Command({ resume: 'yes' }), { ...thread, runId: NEXT, callbacks: [other] }),
    );
    await other.client.flush();
    if (other !== runpurse) await other.client.close();
    expect(refusalOf(error)).toMatchObject({ code: 'policy_denied' });
    expect(ran).toEqual({ lookup: 1, refund: 0 });
    expect(callsOf(await shown(NEXT))).toEqual([['refund', 'call_0', 'denied']]);
  });

  it('pays for a tool it gives another input', async () => {
    const { lookup } = toolbox();
    const graph = swapping([() => lookup.invoke(use('lookup', 'call_0', 'one')), () => lookup.invoke(use('lookup', 'call_0', 'two'))]);
    await graph.invoke(hi, { ...thread, runId: RUN });
    await graph.invoke(new Command({ resume: 'yes' }), { ...thread, runId: NEXT });
    expect((await shown(NEXT)).cost.tool_usd).toBe('0.005');
  });
});

describe('tool calls whose ids collide', () => {
  it.each([
    ['numbered like ours', ['a', 'a', 'a~2'], ['a', 'a~2', 'a~2~2']],
    ['alike once cleaned', ['x\ny', 'x y'], ['x y', 'x y~2']],
  ])('%s are each asked for and charged', async (_, ids, expected) => {
    const { ran, lookup } = toolbox();
    await graphOf(() => Promise.all(ids.map((id, index) => lookup.invoke(use('lookup', id, String(index)))))).invoke(hi, inRun());
    const found = await shown();
    expect(ran.lookup).toBe(ids.length);
    expect(found.tools.map(({ tool_call_id }) => tool_call_id)).toEqual(expected);
    expect(found.cost.tool_usd).toBe(String((5 * ids.length) / 1_000));
  });

  it('of a real agent do not let a denied one run', async () => {
    provider.answers((_, count) =>
      count === 1
        ? {
            calls: [
              { id: 'a', name: 'lookup' },
              { id: 'a~2', name: 'lookup' },
              { id: 'a', name: 'refund' },
            ],
          }
        : {},
    );
    const { ran, lookup, refund } = toolbox(() => sleep(20, 'ok'));
    const agent = createAgent({ model: bare('carried'), tools: [lookup, refund], middleware: [runpurseMiddleware()] });
    await agent.invoke(hi, { ...inRun(), callbacks: [runpurse] });
    expect(ran).toEqual({ lookup: 2, refund: 0 });
    expect(callsOf(await shown())).toContainEqual(['refund', 'a~3', 'denied']);
  });

  it('of one run open several times at once are each charged', async () => {
    const { ran, lookup } = toolbox(() => sleep(30, 'ok'));
    const graph = graphOf(() => lookup.invoke(use('lookup', 'call_0')));
    await graph.batch([hi, hi, hi], { metadata: { runpurse: { runId: RUN } } });
    expect(ran.lookup).toBe(3);
    expect((await shown()).cost.tool_usd).toBe('0.015');
  });
});

describe('what a run states', () => {
  it.each(['open', 'closed'] as const)(
    'that can’t be read is the caller’s mistake and told so, whatever the policy (%s)',
    async (authorize) => {
      const handler = new RunpurseCallbackHandler({ baseUrl: gateway.url, apiKey: gateway.apiKey, failurePolicy: { authorize } });
      const talked = graphOf(() => wrapped('carried').invoke('hi')).invoke(hi, { ...inRun('1', { sessionId: {} }), callbacks: [handler] });
      expect(await thrown(talked)).toMatchObject({ code: 'invalid_option', message: expect.stringContaining('sessionId') });
      await handler.client.close();
      expect(provider.asked).toEqual([]);
    },
  );

  it('may be numbers: the policy and the cap hold', async () => {
    const { ran, refund } = toolbox();
    const graph = graphOf(async () => {
      await thrown(refund.invoke(use('refund', 'call_0')));
      await wrapped('carried').invoke('hi');
    });
    const error = await thrown(
      graph.invoke(hi, { ...inRun('0.0001', { sessionId: 42, customerId: 7 }), configurable: { thread_id: 492 } }),
    );
    expect(refusalOf(error)).toMatchObject({ code: 'budget_exceeded' });
    expect(ran.refund).toBe(0);
    expect(await shown()).toMatchObject({ session_id: '42', customer_id: '7' });
  });

  it('is its thread, a number too', async () => {
    await graphOf(() => wrapped('carried').invoke('hi')).invoke(hi, { ...inRun(), configurable: { thread_id: 492 } });
    expect((await shown()).session_id).toBe('492');
  });
});

describe('an agent whose middleware puts in another model', () => {
  /** The first model fails; the second may cost more than the cap leaves, and then costs $0.902. */
  const fallingBack = async (order: 'first' | 'last', mode: Mode) => {
    provider.answers(({ model }) =>
      model === 'm' ? { status: 500 } : { usage: { prompt_tokens: 900_000, completion_tokens: 1_000, total_tokens: 901_000 } },
    );
    const fallback = modelFallbackMiddleware(bare(mode, { model: 'm2', maxTokens: 4_000 }));
    const agent = createAgent({
      model: bare(mode, { maxTokens: 100 }),
      tools: [],
      middleware: order === 'first' ? [runpurseMiddleware(), fallback] : [fallback, runpurseMiddleware()],
    });
    const runs = await runsOfTheGateway();
    const error = await thrown(agent.invoke(hi, { ...inRun('0.005'), callbacks: [runpurse] }));
    const found = await shown();
    expect(provider.asked.map(({ model }) => model)).toEqual(['m']);
    expect([found.status, found.cost.total_usd, await runsOfTheGateway()]).toEqual(['failed', '0', runs + 1]);
    return error;
  };

  it.each(MODES)('stays below its cap, %s', async (mode) => {
    expect(refusalOf(await fallingBack('last', mode))).toMatchObject({ code: 'budget_exceeded' });
  });

  it('and ours where it can’t hold it makes no such call, and says what to do', async () => {
    expect(String(await fallingBack('first', 'carried'))).toContain('Put runpurseMiddleware() last');
  });
});

describe('made again by', () => {
  const failing = (times: number) => provider.answers((_, count) => (count <= times ? { status: 500 } : {}));
  const quick = { initialDelayMs: 1, jitter: false };
  const WAYS: Readonly<Record<string, (mode: Mode) => Promise<unknown>>> = {
    modelRetryMiddleware: (mode) => {
      const middleware: AgentMiddleware[] = [modelRetryMiddleware({ maxRetries: 5, ...quick }), runpurseMiddleware()];
      const agent = createAgent({ model: bare(mode), tools: [], middleware });
      return agent.invoke(hi, { ...inRun('1', { bounds: { max_retries: 2 } }), callbacks: [runpurse] });
    },
    withRetry: (mode) =>
      graphOf(() => wrapped(mode).withRetry({ stopAfterAttempt: 6 }).invoke('hi')).invoke(hi, inRun('1', { bounds: { max_retries: 2 } })),
    withFallbacks: (mode) =>
      graphOf(() => withRunpurse(bare(mode).withFallbacks(Array.from({ length: 5 }, () => bare(mode)))).invoke('hi')).invoke(
        hi,
        inRun('1', { bounds: { max_retries: 2 } }),
      ),
  };

  describe.each(MODES)('%s', (mode) => {
    it.each(Object.keys(WAYS))(
      '%s a model call is the run’s retry',
      async (way) => {
        failing(1);
        await WAYS[way]?.(mode);
        const found = await shown();
        expect(found).toMatchObject({
          status: 'completed',
          cost: { model_usd: '0', retry_usd: '0.002' },
          counts: { requests: 2, retries: 1 },
        });
        expect(attemptsOf(found)).toEqual([1, 2]);
      },
      10_000,
    );

    it('modelRetryMiddleware a model call meets the bound on retries', async () => {
      failing(99);
      await thrown(WAYS['modelRetryMiddleware']?.(mode) ?? Promise.resolve());
      expect(provider.asked).toHaveLength(3);
      expect((await shown()).counts).toMatchObject({ requests: 3, retries: 2 });
    });
  });

  it('a retry middleware that knows refusals, a refused call is not', async () => {
    const knowing = { retryOn: (error: Error) => refusalOf(error) === undefined, onFailure: 'error' as const, ...quick };
    const middleware: AgentMiddleware[] = [modelRetryMiddleware(knowing), runpurseMiddleware()];
    const agent = createAgent({ model: bare('carried'), tools: [], middleware });
    expect(refusalOf(await thrown(agent.invoke(hi, { ...inRun('0.0001'), callbacks: [runpurse] })))).toMatchObject({
      code: 'budget_exceeded',
    });
    expect(await shown()).toMatchObject({ status: 'failed', requests: [{ status: 'refused' }] });
  });

  it.each(['first', 'last'])('toolRetryMiddleware, with ours %s, a tool call is the run’s retry', async (order) => {
    provider.answers((_, count) => (count === 1 ? { calls: [{ id: 'call_0', name: 'lookup' }] } : {}));
    const { ran, lookup } = toolbox((count) => {
      if (count < 3) throw new Error('flaky');
      return 'ok';
    });
    const retry = toolRetryMiddleware({ maxRetries: 3, ...quick });
    const middleware: AgentMiddleware[] = order === 'first' ? [runpurseMiddleware(), retry] : [retry, runpurseMiddleware()];
    const agent = createAgent({ model: bare('carried'), tools: [lookup], middleware });
    await agent.invoke(hi, { ...inRun(), callbacks: [runpurse] });
    const found = await shown();
    expect(ran.lookup).toBe(3);
    expect(found).toMatchObject({ status: 'completed', cost: { tool_usd: '0.005', retry_usd: '0.01' }, counts: { retries: 2 } });
    expect(callsOf(found)).toEqual([
      ['lookup', 'call_0', 'failed'],
      ['lookup', 'call_0', 'failed'],
      ['lookup', 'call_0', 'completed'],
    ]);
  });
});

describe('the worst case of a call past the gateway', () => {
  it('is that of all its answers', async () => {
    provider.answers(({ n = 1 }) => ({ usage: { prompt_tokens: 1_000, completion_tokens: 500 * n, total_tokens: 1_000 + 500 * n } }));
    const asked = wrapped('direct', { n: 20, maxTokens: 500 }).invoke('hi', { ...inRun('0.005'), callbacks: [runpurse] });
    expect(refusalOf(await thrown(asked))).toMatchObject({ code: 'budget_exceeded' });
    expect(provider.asked).toEqual([]);
  });

  it('is without what a tool keeps beside its answer', async () => {
    provider.answers((_, count) => (count === 1 ? { calls: [{ id: 'call_0', name: 'lookup' }] } : {}));
    const lookup = tool(() => ['short', { docs: 'x'.repeat(2_000_000) }], {
      name: 'lookup',
      description: 'a tool',
      schema,
      responseFormat: 'content_and_artifact',
    });
    const agent = createAgent({ model: bare('direct'), tools: [lookup], middleware: [runpurseMiddleware()] });
    await agent.invoke(hi, { ...inRun('1'), callbacks: [runpurse] });
    expect((await shown()).status).toBe('completed');
  });
});

it.each([
  ['without its output', { prompt_tokens: 1_000 }],
  ['without its input', { completion_tokens: 500 }],
  ['all zero', { prompt_tokens: 0, completion_tokens: 0, total_tokens: 0 }],
])('the usage of a stream past the gateway that is told %s is unknown, and its hold is charged', async (_, usage) => {
  provider.answers(() => ({ usage }));
  const graph = graphOf(async () => {
    for await (const _ of await wrapped('direct', { maxTokens: 1_000 }).stream('hi'));
  });
  await graph.invoke(hi, inRun());
  const [request] = (await shown()).requests;
  expect(request).toMatchObject({ status: 'completed', unconfirmed: true });
  expect(Number(request?.cost_usd)).toBeGreaterThanOrEqual(0.002);
});

describe('a run ends', () => {
  const throwing = (): never => {
    throw new Error('a getter that throws');
  };
  const odd: Readonly<Record<string, Error>> = {
    'an error whose message can’t be read': Object.defineProperty(new Error('x'), 'message', { get: throwing }),
    'an error whose message is no text': Object.assign(new Error('x'), { message: { code: 1 } as never }),
    'an object nothing of which can be read': Object.defineProperties(
      {} as Error,
      Object.fromEntries(['name', 'status', 'is_bubble_up'].map((name) => [name, { get: throwing }])),
    ),
    'no error at all': undefined as never,
  };

  it.each(Object.entries(odd))('failed, when its node throws %s', async (_, error) => {
    await thrown(graphOf(() => Promise.reject(error)).invoke(hi, inRun()));
    expect((await shown()).status).toBe('failed');
    expect(faults).toEqual([]);
  });

  it('failed, when its own code says `Abort`', async () => {
    await thrown(graphOf(() => Promise.reject(new Error('Abort'))).invoke(hi, inRun()));
    expect((await shown()).status).toBe('failed');
  });

  it.each(['timeout', 'stepTimeout'])('failed, when its %s is over', async (which) => {
    provider.answers(() => ({ delayMs: 300 }));
    const model = wrapped('carried');
    const graph = new StateGraph(MessagesAnnotation)
      .addNode('talk', async () => ({ messages: [await model.invoke('hi')] }))
      .addEdge(START, 'talk')
      .compile();
    if (which === 'stepTimeout') graph.stepTimeout = 100;
    await thrown(graph.invoke(hi, { ...inRun(), callbacks: [runpurse], ...(which === 'timeout' && { timeout: 100 }) }));
    await sleep(400);
    expect((await shown()).status).toBe('failed');
  });
});

describe('a denied tool', () => {
  it('is told to the model and the agent goes on, however often its middleware tries', async () => {
    provider.answers((_, count) => (count === 1 ? { calls: [{ id: 'call_0', name: 'refund' }] } : {}));
    const { ran, refund } = toolbox();
    const retry = toolRetryMiddleware({ maxRetries: 2, initialDelayMs: 1, jitter: false, onFailure: 'error' });
    const middleware: AgentMiddleware[] = [retry, runpurseMiddleware()];
    const { messages } = await createAgent({ model: bare('carried'), tools: [refund], middleware }).invoke(hi, {
      ...inRun(),
      callbacks: [runpurse],
    });
    expect(messages.find((message) => message.getType() === 'tool')?.content).toContain('refund');
    expect(ran.refund).toBe(0);
    expect((await shown()).status).toBe('completed');
  });
});

describe('a graph in a tool that has a handler of its own', () => {
  it.each(MODES)('stands in the run around it, and each call is charged once: %s', async (mode) => {
    const { lookup, ran } = toolbox();
    const own = new RunpurseCallbackHandler({ baseUrl: gateway.url, apiKey: gateway.apiKey });
    const turns =
      (name: string): ((body: unknown, count: number) => object) =>
      (_, count) =>
        count === 1 ? { calls: [{ id: 'call_0', name }] } : count === 2 ? { calls: [{ id: 'call_0', name: 'lookup' }] } : {};
    provider.answers(turns('helper'));
    const inner = createAgent({ model: bare(mode), tools: [lookup], middleware: [runpurseMiddleware()] }).withConfig({ callbacks: [own] });
    const helper = tool(async (_: unknown, config) => (await inner.invoke(hi, config)).messages.at(-1)?.text, {
      name: 'helper',
      description: 'a tool',
      schema,
    });
    const outer = createAgent({ model: bare(mode), tools: [helper], middleware: [runpurseMiddleware()] });
    await outer.invoke(hi, { ...inRun('1'), callbacks: [runpurse] });
    expect(ran.lookup).toBe(1);
    const run = await shown();
    expect([run.status, run.requests.map(({ status }) => status), callsOf(run).map(([name, , status]) => [name, status])]).toEqual([
      'completed',
      ['completed', 'completed', 'completed', 'completed'],
      [
        ['helper', 'completed'],
        ['lookup', 'completed'],
      ],
    ]);
    expect(await runsOfTheGateway()).toBe(1);
    await own.client.close();
  });
});

it('an answer out of LangChain’s cache costs nothing', async () => {
  const model = wrapped('direct', { cache: true });
  for (let times = 0; times < 3; times += 1)
    await model.invoke(`cached ${RUN}`, { ...inRun(), callbacks: [runpurse], runId: times === 0 ? RUN : crypto.randomUUID() });
  expect(provider.asked).toHaveLength(1);
  const runs = (await (await fetch(`${gateway.url}/v1/runs`, { headers: { authorization: `Bearer ${gateway.apiKey}` } })).json()) as {
    data: RunShape[];
  };
  expect(runs.data.map(({ cost }) => cost.total_usd)).toEqual(expect.arrayContaining(['0', '0']));
  const spent = runs.data.filter(({ cost }) => cost.total_usd !== '0');
  expect(spent).toHaveLength(1);
});

it.each(MODES)('a tool that another handler kept from running holds nothing once its run is over: %s', async (mode) => {
  const { lookup, ran } = toolbox();
  provider.answers((_, count) => (count === 1 ? { calls: [{ id: 'call_0', name: 'lookup' }] } : {}));
  class Guard extends BaseCallbackHandler {
    override readonly name = 'guard';
    override readonly raiseError = true;
    override readonly awaitHandlers = true;
    override handleToolStart(): void {
      throw new Error('not today');
    }
  }
  const agent = createAgent({ model: bare(mode), tools: [lookup], middleware: [runpurseMiddleware()] });
  await agent.invoke(hi, { ...inRun('1'), callbacks: [runpurse, new Guard()] }).catch(() => undefined);
  expect(ran.lookup).toBe(0);
  expect((await shown()).tools.map(({ status }) => status)).not.toContain('open');
});
