import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { startGateway, type RunningGateway } from '@runpurse/conformance';
import { refusalOf, type RunShape } from '@runpurse/core';
import { BaseCallbackHandler } from '@langchain/core/callbacks/base';
import { StringOutputParser } from '@langchain/core/output_parsers';
import { HumanMessage } from '@langchain/core/messages';
import { ChatPromptTemplate } from '@langchain/core/prompts';
import { RunnableLambda } from '@langchain/core/runnables';
import { MessagesAnnotation, START, StateGraph } from '@langchain/langgraph';
import { createReactAgent } from '@langchain/langgraph/prebuilt';
import type { ChatOpenAI, ChatOpenAIFields } from '@langchain/openai';
import { createAgent, initChatModel, llmToolSelectorMiddleware, tool, type AgentMiddleware } from 'langchain';
import { z } from 'zod';
import { RunpurseCallbackHandler, runpurseFetch, runpurseMiddleware, withRunpurse } from '../src/index.ts';
import { startProvider, type Provider } from './provider.ts';
import { plainModel } from './stage.ts';

/** Every way in which a graph comes to call a model: with callbacks of its own, in a chain, made late, left early. */

const MODES = ['carried', 'direct'] as const;
type Mode = (typeof MODES)[number];
const RUN = '0192f8a0-0000-7000-8000-000000000001';

let provider: Provider;
let gateway: RunningGateway;
let runpurse: RunpurseCallbackHandler;

const begunGateway = () =>
  startGateway({
    config: {
      providers: [{ name: 'stub', kind: 'openai', base_url: `${provider.url}/v1`, api_key: 'sk-provider', models: ['m'] }],
      prices: [{ model: 'm', input_mtok_usd: '1', output_mtok_usd: '2', max_output_tokens: 1_000, max_input_tokens: 100_000 }],
      tools: [{ name: 'lookup', price_usd: '0.005' }],
      budgets: [{ scope: 'run', id: '*', limit_usd: '5' }],
    },
  });

beforeEach(async () => {
  provider = await startProvider();
  gateway = await begunGateway();
  runpurse = new RunpurseCallbackHandler({ baseUrl: gateway.url, apiKey: gateway.apiKey });
});
afterEach(async () => {
  await runpurse.client.close();
  await gateway.remove();
  await provider.close();
});

const baseURL = (mode: Mode): string => `${mode === 'carried' ? gateway.url : provider.url}/v1`;
const bare = (mode: Mode, fields: ChatOpenAIFields = {}): ChatOpenAI =>
  plainModel(baseURL(mode), { model: 'm', apiKey: gateway.apiKey, maxTokens: 1_000, ...fields });
const wrapped = (mode: Mode): ChatOpenAI => withRunpurse(bare(mode));
const named = (mode: Mode) =>
  initChatModel('m', { modelProvider: 'openai', apiKey: gateway.apiKey, configuration: { baseURL: baseURL(mode) } });

const ENDED = { status: 'completed', cost_usd: '0.002' };
const hi = { messages: [{ role: 'user', content: 'hi' }] };
const schema = z.object({ q: z.string() });
const lookup = tool(() => 'ok', { name: 'lookup', description: 'a tool', schema });

function graphOf(work: () => Promise<unknown>) {
  return new StateGraph(MessagesAnnotation)
    .addNode('talk', async () => {
      await work();
      return {};
    })
    .addEdge(START, 'talk')
    .compile();
}

/** In a node of a run. */
const inRun = (work: () => Promise<unknown>, limitUsd = '1') =>
  graphOf(work).invoke(hi, { callbacks: [runpurse], metadata: { runpurse: { runId: RUN, limitUsd } } });

const thrown = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => undefined,
    (error: unknown) => error,
  );

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

async function times(count: number, work: () => Promise<unknown>): Promise<void> {
  for (let done = 0; done < count; done += 1) await work();
}

class Other extends BaseCallbackHandler {
  override readonly name = 'other';
}

describe.each(MODES)('a call with callbacks of its own, %s', (mode) => {
  const other = { callbacks: [new Other()] };
  const heard = { onEnd: () => undefined };
  const echo = RunnableLambda.from((text: unknown) => text);
  const WAYS: Readonly<Record<string, () => () => Promise<unknown>>> = {
    'given to it': () => {
      const model = wrapped(mode);
      return () => model.invoke('hi', other);
    },
    'none of them': () => {
      const model = wrapped(mode);
      return () => model.invoke('hi', { callbacks: [] });
    },
    'bound to the model': () => {
      const model = wrapped(mode).withConfig(other);
      return () => model.invoke('hi');
    },
    'and metadata': () => {
      const model = wrapped(mode);
      return () => model.invoke('hi', { ...other, metadata: { any: 1 } });
    },
    'and streamed': () => {
      const model = wrapped(mode);
      return async () => {
        for await (const _ of await model.stream('hi', other));
      };
    },
    'those of the listeners of its chain': () => {
      const chain = wrapped(mode).pipe(echo).withListeners(heard);
      return () => chain.invoke('hi');
    },
    'those of the listeners of its chain, and streamed': () => {
      const chain = wrapped(mode).pipe(new StringOutputParser()).withListeners(heard);
      return async () => {
        for await (const _ of await chain.stream('hi'));
      };
    },
    'those of the graph it is made in': () => {
      const model = wrapped(mode);
      const graph = graphOf(() => model.invoke('hi'));
      return () => graph.invoke(hi, other);
    },
  };

  it.each(Object.keys(WAYS))('stays in the run and below its cap: %s', async (way) => {
    const call = WAYS[way]?.() ?? (() => Promise.resolve());
    const error = await thrown(inRun(() => times(6, call), '0.005'));
    expect(refusalOf(error)).toMatchObject({ code: 'budget_exceeded' });
    expect(provider.asked).toHaveLength(2);
    expect(await shown()).toMatchObject({ status: 'failed', cost: { total_usd: '0.004' }, counts: { requests: 2 } });
    expect(await runsOfTheGateway()).toBe(1);
  });

  it('by LangChain’s own middleware stays in the run', async () => {
    provider.answers((_, count) => (count === 1 ? { text: '{"tools":["lookup"]}' } : {}));
    const selector = llmToolSelectorMiddleware({ model: wrapped(mode), maxTools: 1 } as never);
    const spare = tool(() => 'ok', { name: 'spare', description: 'a tool', schema });
    const agent = createAgent({
      model: bare(mode),
      tools: [lookup, spare],
      middleware: [selector as AgentMiddleware, runpurseMiddleware()],
    });
    await agent.invoke(hi, { callbacks: [runpurse], metadata: { runpurse: { runId: RUN } } });
    expect(await shown()).toMatchObject({ status: 'completed', cost: { total_usd: '0.004' }, counts: { requests: 2 } });
    expect(await runsOfTheGateway()).toBe(1);
  });
});

describe.each(MODES)('our own handler given again in a node, %s', (mode) => {
  const ours = () => ({ callbacks: [runpurse] });
  const agent = () => createAgent({ name: 'helper', model: bare(mode), tools: [], middleware: [runpurseMiddleware()] });
  const WAYS: Readonly<Record<string, () => Promise<unknown>>> = {
    'to a model': () => wrapped(mode).invoke('hi', ours()),
    'to a model, bound': () => wrapped(mode).withConfig(ours()).invoke('hi'),
    'to a model, with metadata': () => wrapped(mode).invoke('hi', { ...ours(), metadata: { any: 1 } }),
    'to a chain': () => wrapped(mode).pipe(new StringOutputParser()).invoke('hi', ours()),
    'to a graph': () => agent().invoke(hi, ours()),
    'to a graph, bound': () => agent().withConfig(ours()).invoke(hi),
    'to a graph, and another handler of the gateway': async () => {
      const own = new RunpurseCallbackHandler({ baseUrl: gateway.url, apiKey: gateway.apiKey });
      await agent().invoke(hi, { callbacks: [own] });
      await own.client.close();
    },
    'to a model in a tool': () =>
      tool(() => wrapped(mode).invoke('hi', ours()), { name: 'ask', description: 'a tool', schema }).invoke({ q: 'x' }),
  };

  it.each(Object.keys(WAYS))('opens no second run, nor ends the first: %s', async (way) => {
    await inRun(async () => {
      await WAYS[way]?.();
      await wrapped(mode).invoke('and on');
    });
    expect(await shown()).toMatchObject({ status: 'completed', cost: { model_usd: '0.004' }, counts: { requests: 2 } });
    expect(await runsOfTheGateway()).toBe(1);
  });

  it('to a tool, charges it to the run and keeps it below the cap', async () => {
    const error = await thrown(inRun(() => times(6, () => lookup.invoke({ q: 'x' }, ours())), '0.012'));
    expect(refusalOf(error)).toMatchObject({ code: 'budget_exceeded' });
    expect(await shown()).toMatchObject({ status: 'failed', cost: { tool_usd: '0.01' } });
    expect(await runsOfTheGateway()).toBe(1);
  });
});

describe.each(MODES)('what withRunpurse is given, %s', (mode) => {
  const answers = () => provider.answers(() => ({ text: '{"a":"v"}' }));
  const shape = z.object({ a: z.string() });
  const json = { method: 'jsonSchema' } as const;
  const prompt = ChatPromptTemplate.fromMessages([['human', '{q}']]);
  const WAYS: Readonly<Record<string, () => Promise<unknown>>> = {
    'a model bound to a structure': () => withRunpurse(bare(mode).withStructuredOutput(shape, json)).invoke('hi'),
    'one that keeps the raw answer': () => withRunpurse(bare(mode).withStructuredOutput(shape, { ...json, includeRaw: true })).invoke('hi'),
    'a chain': () => withRunpurse(prompt.pipe(bare(mode)).pipe(new StringOutputParser())).invoke({ q: 'x' }),
    'a model made late': async () => withRunpurse(await named(mode)).invoke('hi'),
    'a model made late, bound to tools': async () =>
      withRunpurse(await named(mode))
        .bindTools([lookup])
        .invoke('hi'),
    'a model made late, bound to a structure': async () =>
      withRunpurse(await named(mode))
        .withStructuredOutput(shape, json)
        .invoke('hi'),
    'a model made late, bound to a config': async () =>
      withRunpurse(await named(mode))
        .withConfig({ tags: ['any'] })
        .invoke('hi'),
    'a model made late, for an agent': async () => createReactAgent({ llm: withRunpurse(await named(mode)), tools: [lookup] }).invoke(hi),
    'a model made late, for an agent with our middleware': async () =>
      createAgent({ model: await named(mode), tools: [lookup], middleware: [runpurseMiddleware()] }).invoke(hi),
  };

  it.each(Object.keys(WAYS))('%s carries its run', async (way) => {
    answers();
    await inRun(async () => WAYS[way]?.());
    const found = await shown();
    expect(found).toMatchObject({ status: 'completed', cost: { total_usd: '0.002' }, counts: { requests: 1 } });
    expect(found.requests[0]?.source).toBe(mode === 'carried' ? 'gateway' : 'self_reported');
    expect(await runsOfTheGateway()).toBe(1);
  });
});

describe('handlers of two gateways', () => {
  let second: RunningGateway;
  let theirs: RunpurseCallbackHandler;
  beforeEach(async () => {
    second = await begunGateway();
    theirs = new RunpurseCallbackHandler({ baseUrl: second.url, apiKey: second.apiKey });
  });
  afterEach(async () => {
    await theirs.client.close();
    await second.remove();
  });
  const inRunOfBoth = (work: () => Promise<unknown>, ours: readonly RunpurseCallbackHandler[]) =>
    graphOf(work).invoke(hi, { callbacks: [...ours], metadata: { runpurse: { runId: RUN } } });
  const both = async () => {
    await theirs.client.flush();
    return [await shown(), await second.readRun(RUN)];
  };
  const orders = [
    ['first', () => [runpurse, theirs]],
    ['last', () => [theirs, runpurse]],
  ] as const;

  describe.each(orders)('that of the carrying one %s', (_, handlers) => {
    it.each(MODES)('both tell what each call costs, %s', async (mode) => {
      await inRunOfBoth(async () => {
        await wrapped(mode).invoke('hi');
        for await (const _chunk of await wrapped(mode).stream('hi', { callbacks: [new Other()] }));
      }, handlers());
      for (const run of await both())
        expect(run).toMatchObject({ status: 'completed', cost: { total_usd: '0.004' }, requests: [ENDED, ENDED] });
      expect(await runsOfTheGateway()).toBe(1);
    });

    it('both tell of the tries of a client', async () => {
      provider.answers((_body, count) => (count === 1 ? { status: 500 } : {}));
      await inRunOfBoth(() => withRunpurse(bare('direct', { maxRetries: 1 })).invoke('hi'), handlers());
      for (const run of await both())
        expect(run).toMatchObject({ cost: { total_usd: '0.002', retry_usd: '0.002' }, counts: { requests: 2 } });
    });

    it('a client of the node’s own is carried by the one it points at', async () => {
      const client = runpurseFetch();
      const body = JSON.stringify({ model: 'm', max_tokens: 1_000, messages: hi.messages });
      const headers = { authorization: `Bearer ${gateway.apiKey}`, 'content-type': 'application/json' };
      await inRunOfBoth(() => client(`${gateway.url}/v1/chat/completions`, { method: 'POST', headers, body }), handlers());
      expect(await shown()).toMatchObject({ status: 'completed', cost: { total_usd: '0.002' } });
      expect(await runsOfTheGateway()).toBe(1);
    });
  });

  it('a call that the carrying one refuses is held by neither', async () => {
    const capped = new RunpurseCallbackHandler({ baseUrl: gateway.url, apiKey: gateway.apiKey, limitUsd: '0.001' });
    const error = await thrown(inRunOfBoth(() => wrapped('carried').invoke('hi'), [capped, theirs]));
    await capped.client.close();
    expect(refusalOf(error)).toMatchObject({ code: 'budget_exceeded' });
    for (const run of await both()) expect([run?.cost.total_usd, run?.budgets[0]?.held_usd]).toEqual(['0', '0']);
  });

  it('both tell of a stream that its reader left', async () => {
    await inRunOfBoth(async () => {
      for await (const _chunk of await wrapped('direct').stream('hi')) break;
    }, [runpurse, theirs]);
    for (const run of await both()) expect(run?.requests).toMatchObject([{ status: 'aborted' }]);
  });
});

it('a call that our handler failed at stays in the run', async () => {
  const faults: unknown[] = [];
  const handler = new RunpurseCallbackHandler({ baseUrl: gateway.url, apiKey: gateway.apiKey, onFault: (fault) => faults.push(fault) });
  const graph = graphOf(() => wrapped('carried').invoke([new HumanMessage({ content: 'hi', additional_kwargs: { big: 1n } })]));
  await graph.invoke(hi, { callbacks: [handler], metadata: { runpurse: { runId: RUN } } });
  await handler.client.close();
  expect(faults).toHaveLength(1);
  expect(await shown()).toMatchObject({ status: 'completed', cost: { total_usd: '0.002' } });
  expect(await runsOfTheGateway()).toBe(1);
});

describe.each(MODES)('a stream that its reader leaves, %s', (mode) => {
  const leave = async (stream: AsyncIterable<unknown>): Promise<void> => {
    for await (const _ of stream) break;
  };

  it('of a model by itself ends its run', async () => {
    await leave(await wrapped(mode).stream('hi', { callbacks: [runpurse], metadata: { runpurse: { runId: RUN } } }));
    const found = await shown();
    expect(found).toMatchObject({ status: 'stopped', counts: { requests: 1 } });
    expect(found.requests.map(({ status }) => status)).not.toContain('open');
  });

  it('in a node ends the call, and the run goes on', async () => {
    await inRun(async () => {
      await leave(await wrapped(mode).stream('hi'));
      const [request] = (await shown()).requests;
      expect(request?.status).not.toBe('open');
      await wrapped(mode).invoke('and on');
    });
    expect(await shown()).toMatchObject({ status: 'completed', counts: { requests: 2 } });
  });
});

it.each([
  ['a chain without a model', () => RunnableLambda.from(() => 'x').pipe(new StringOutputParser())],
  ['a graph', () => graphOf(() => Promise.resolve())],
  ['what names no runnables', () => ({ invoke: () => 'x', steps: 3, default: 'x', branches: [[true]] })],
] as const)('withRunpurse says so when it finds nothing to wrap: %s', (_, made) => {
  expect(() => withRunpurse(made())).toThrow('found no chat model');
});

describe.each(MODES)('a wrapped model called without config, %s', (mode) => {
  class Tracer extends BaseCallbackHandler {
    override readonly name = 'tracer';
    readonly heard: string[] = [];
    override handleChatModelStart(_model: unknown, _messages: unknown, _runId: string, parentRunId?: string): void {
      this.heard.push(parentRunId === undefined ? 'model of nobody' : 'model');
    }
    override handleLLMEnd(): void {
      this.heard.push('end');
    }
  }
  const quickstart = (model: ChatOpenAI) =>
    new StateGraph(MessagesAnnotation)
      .addNode('talk', async ({ messages }) => ({ messages: [await model.bindTools([lookup]).invoke(messages)] }))
      .addEdge(START, 'talk')
      .compile();
  const config = (...beside: BaseCallbackHandler[]) => ({ callbacks: [runpurse, ...beside] });

  it('is heard by all who would hear it if it were not wrapped', async () => {
    const heard = async (model: ChatOpenAI): Promise<unknown> => {
      const tracer = new Tracer();
      await quickstart(model).invoke(hi, config(tracer));
      const tokens: unknown[] = [];
      for await (const [chunk] of await quickstart(model).stream(hi, { ...config(), streamMode: 'messages' })) tokens.push(chunk.content);
      const events = new Set<string>();
      for await (const { event } of quickstart(model).streamEvents(hi, { ...config(), version: 'v2' })) events.add(event);
      return { traced: tracer.heard, tokens, events };
    };
    const ofWrapped = await heard(wrapped(mode));
    expect(ofWrapped).toMatchObject({ traced: ['model', 'end'] });
    expect(ofWrapped).toEqual(await heard(bare(mode)));
  });
});

it('a call that was allowed and not sent, because the cap ended its run, costs nothing', async () => {
  const model = wrapped('direct');
  const work = () => Promise.all(Array.from({ length: 5 }, (_, index) => model.invoke(`hi ${index}`)));
  expect(refusalOf(await thrown(inRun(work, '0.007')))).toMatchObject({ code: 'budget_exceeded' });
  const { requests, budgets, cost } = await shown();
  expect(requests.length).toBeGreaterThan(0);
  // Each is charged what it used; none is sent after its run has ended.
  expect([cost.total_usd, budgets.map(({ held_usd }) => held_usd)]).toEqual([String(0.002 * provider.asked.length || '0'), ['0', '0']]);
});

it('a call nobody awaited, whose run ended before it was sent, is refused as one of a run that is over, and costs nothing', async () => {
  const model = wrapped('direct');
  let called: Promise<unknown> = Promise.resolve();
  await inRun(async () => {
    called = thrown(model.invoke('title this'));
  });
  expect(refusalOf(await called)).toMatchObject({ code: 'run_ended' });
  expect(provider.asked).toEqual([]);
  expect(await shown()).toMatchObject({ status: 'completed', cost: { total_usd: '0' } });
});
