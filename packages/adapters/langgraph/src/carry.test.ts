import { afterEach, describe, expect, it } from '@jest/globals';
import { END, MessagesAnnotation, START, StateGraph } from '@langchain/langgraph';
import { initChatModel } from 'langchain';
import OpenAI from 'openai';
import { z } from 'zod';
import { carried, plainModel, setStage, type Stage } from '../test/stage.ts';
import { runpurseFetch, withRunpurse } from './index.ts';

const benches: Stage[] = [];
async function bench(...args: Parameters<typeof setStage>): Promise<Stage> {
  const made = await setStage(...args);
  benches.push(made);
  return made;
}
afterEach(async () => {
  await Promise.all(benches.splice(0).map((made) => made.close()));
});

/** A graph of one node, `talk`, that does what the test says. */
function graphOf(talk: (text: string) => Promise<unknown>) {
  return new StateGraph(MessagesAnnotation)
    .addNode('talk', async ({ messages }) => {
      await talk(String(messages.at(-1)?.content));
      return {};
    })
    .addEdge(START, 'talk')
    .addEdge('talk', END)
    .compile();
}

async function drain(stream: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of stream);
}

const TOOLS = [{ type: 'function' as const, function: { name: 'f', parameters: { type: 'object', properties: {} } } }];
const shape = z.object({ answer: z.string() });
type Talk = (model: ReturnType<Stage['model']>, text: string) => Promise<unknown>;
const WAYS: Readonly<Record<string, Talk>> = {
  'a plain call': (model, text) => model.invoke(text),
  'a stream': async (model, text) => drain(await model.stream(text)),
  'a call of a streaming model': (model, text) => model.withConfig({ stream_options: { include_usage: true } }).invoke(text),
  'a call with tools': (model, text) => model.bindTools(TOOLS).invoke(text),
  'a stream with tools': async (model, text) => drain(await model.bindTools(TOOLS).stream(text)),
  'structured output': (model, text) => model.withStructuredOutput(shape).invoke(text),
  'structured output by a tool': (model, text) =>
    model
      .withStructuredOutput(shape, { method: 'functionCalling' })
      .invoke(text)
      .catch(() => {}),
  'a model with fallbacks': (model, text) => model.withFallbacks([model]).invoke(text),
  'a batch': (model, text) => model.batch([text]),
  'an event stream': (model, text) => drain(model.streamEvents(text, {} as never)),
  'a model used before it was wrapped': async (model, text) => {
    const { baseURL } = (model as unknown as { clientConfig: { baseURL: string } }).clientConfig;
    const used = plainModel(baseURL, { useResponsesApi: model.useResponsesApi });
    await used.invoke('before', { callbacks: [] });
    return withRunpurse(used).invoke(text);
  },
};

describe.each(['chat completions', 'responses'])('over %s', (wire) => {
  it.each(Object.keys(WAYS))('%s carries run, session, node and a step of its own', async (way) => {
    const at = await bench({ answer: () => ({ content: '{"answer":"yes"}' }) });
    const model = at.model({ useResponsesApi: wire === 'responses' });
    await graphOf((text) => WAYS[way]?.(model, text) ?? Promise.reject(new Error(way))).invoke(
      { messages: [{ role: 'user', content: 'hello' }] },
      { callbacks: [at.handler], configurable: { thread_id: 'thread-1' }, runId: '0192f8a0-0000-7000-8000-000000000001' },
    );
    const sent = at.requests.at(-1);
    expect(sent?.path).toBe(wire === 'responses' ? '/v1/responses' : '/v1/chat/completions');
    expect(sent && carried(sent)).toMatchObject({
      run: '0192f8a0-0000-7000-8000-000000000001',
      session: 'thread-1',
      node: 'talk',
      attempt: '1',
      step: expect.any(String),
    });
    expect(sent?.headers['x-runpurse-langchain-run']).toBeUndefined();
    expect(at.faults).toEqual([]);
  });

  it('the step on the wire is the step in the events, and the events say that the call was carried', async () => {
    const at = await bench();
    const model = at.model({ useResponsesApi: wire === 'responses' });
    await graphOf((text) => Promise.all([model.invoke(text), model.invoke(text)])).invoke(
      { messages: ['hi'] },
      { callbacks: [at.handler] },
    );
    const steps = at.eventsOf('llm.call.completed').map((event) => event['step_id']);
    expect(new Set(at.requests.map((request) => carried(request).step))).toEqual(new Set(steps));
    expect(new Set(steps).size).toBe(2);
    expect(at.eventsOf('llm.call.completed')[0]?.metadata).toMatchObject({
      carried: true,
      model: 'gpt-test-2026',
      request_id: 'req_1',
      usage: { input_tokens: 8, cache_read_tokens: 2, output_tokens: 5, reasoning_tokens: 1 },
    });
    expect(at.eventsOf('llm.call.started')).toEqual([]);
  });
});

describe('model calls of one process', () => {
  it.each([
    ['of a model without a queue', {}],
    ['of a model that queues its calls', { maxConcurrency: 2 }],
  ])('of fifty runs at once %s are never mixed', async (_, fields) => {
    const at = await bench({ answer: () => new Promise((resolve) => setTimeout(() => resolve({}), Math.random() * 5)) });
    const model = at.model(fields).bindTools(TOOLS);
    const graph = graphOf((text) => Promise.all([model.invoke(`${text} one`), model.stream(`${text} two`).then(drain)]));
    await Promise.all(
      Array.from({ length: 50 }, (_, index) =>
        graph.invoke(
          { messages: [{ role: 'user', content: `task ${index}` }] },
          { callbacks: [at.handler], configurable: { thread_id: `thread ${index}` }, metadata: { runpurse: { runId: `run ${index}` } } },
        ),
      ),
    );
    expect(at.requests).toHaveLength(100);
    for (const request of at.requests) {
      const [, index] = /^task (\d+)/.exec(String(request.body.messages?.[0]?.content)) ?? [];
      expect(carried(request)).toMatchObject({ run: `run ${index}`, session: `thread ${index}` });
    }
    const stepOf = new Map(at.eventsOf('llm.call.completed').map((event) => [event['step_id'], event.run_id]));
    for (const request of at.requests) expect(stepOf.get(carried(request).step)).toBe(carried(request).run);
    expect(at.faults).toEqual([]);
  });

  it('of several prompts given at once each carry their own step', async () => {
    const at = await bench();
    const model = at.model();
    const { HumanMessage } = await import('@langchain/core/messages');
    await model.generate([[new HumanMessage('a')], [new HumanMessage('b')]], { callbacks: [at.handler] });
    const steps = at.requests.map((request) => carried(request).step);
    expect(new Set(steps)).toEqual(new Set(at.eventsOf('llm.call.completed').map((event) => event['step_id'])));
    expect(new Set(steps).size).toBe(2);
  });

  it('that go elsewhere carry nothing of ours', async () => {
    const [at, provider] = [await bench(), await bench()];
    const model = withRunpurse(plainModel(`${provider.url}/v1`));
    await graphOf((text) => model.invoke(text)).invoke({ messages: ['hi'] }, { callbacks: [at.handler] });
    expect(Object.keys(provider.requests[0]?.headers ?? {}).filter((name) => /alephant|runpurse/.test(name))).toEqual([]);
  });

  it('without a handler go out as they always did', async () => {
    const at = await bench();
    await at.model().invoke('hi');
    expect(Object.keys(at.requests[0]?.headers ?? {}).filter((name) => /alephant|runpurse/.test(name))).toEqual([]);
  });

  it('of a model named by a string carry their run', async () => {
    const at = await bench();
    const model = withRunpurse(await initChatModel('openai:gpt-test', { apiKey: 'rp_test', configuration: { baseURL: `${at.url}/v1` } }));
    await graphOf((text) => model.invoke(text)).invoke(
      { messages: ['hi'] },
      { callbacks: [at.handler], configurable: { thread_id: 'thread-1' } },
    );
    expect(at.requests.map((request) => carried(request).session)).toEqual(['thread-1']);
  });

  it("of the provider's own client inside a node carry their run by runpurseFetch", async () => {
    const at = await bench();
    const openai = new OpenAI({ apiKey: 'rp_test', baseURL: `${at.url}/v1`, fetch: runpurseFetch() });
    await graphOf((text) => openai.chat.completions.create({ model: 'gpt-test', messages: [{ role: 'user', content: text }] })).invoke(
      { messages: ['hi'] },
      { callbacks: [at.handler], configurable: { thread_id: 'thread-1' } },
    );
    expect(at.requests.map(carried)).toEqual([
      expect.objectContaining({ session: 'thread-1', run: at.events[0]?.run_id, step: expect.any(String) }),
    ]);
  });
});

describe('the retries of a model client', () => {
  it('are attempts of one step', async () => {
    const at = await bench({
      answer: (_, count) => (count === 1 ? { error: { status: 500, code: 'overloaded', message: 'overloaded' } } : {}),
    });
    await at.model({ maxRetries: 2 }).invoke('hi', { callbacks: [at.handler] });
    expect(at.requests.map((request) => carried(request).attempt)).toEqual(['1', '2']);
    expect(new Set(at.requests.map((request) => carried(request).step)).size).toBe(1);
    expect(at.eventsOf('llm.call.completed')).toEqual([expect.objectContaining({ attempt: 2 })]);
  });

  it.each([402, 403, 409, 413, 422, 502, 503])('stop at a refusal with status %i', async (status) => {
    const at = await bench({
      answer: () => ({
        error: { status, code: 'price_unknown', message: 'no price for gpt-test', headers: { 'x-should-retry': 'false' } },
      }),
    });
    await expect(at.model({ maxRetries: 2 }).invoke('hi', { callbacks: [at.handler] })).rejects.toThrow('no price for gpt-test');
    expect(at.requests).toHaveLength(1);
    expect(at.types()).toEqual(['run.started', 'run.failed']);
  });

  it('are asked for one by one when the gateway does not carry them', async () => {
    const at = await bench();
    const provider = await bench({
      answer: (_, count) => (count === 1 ? { error: { status: 500, code: 'overloaded', message: 'overloaded' } } : {}),
    });
    await withRunpurse(plainModel(`${provider.url}/v1`, { maxRetries: 2 })).invoke('hi', { callbacks: [at.handler] });
    expect(at.events.map((event) => [event.type, event['attempt']])).toEqual([
      ['run.started', undefined],
      ['llm.call.started', 1],
      ['llm.call.failed', 1],
      ['llm.call.started', 2],
      ['llm.call.completed', 2],
      ['run.completed', undefined],
    ]);
  });

  it('that the gateway denies are not made', async () => {
    const at = await bench({
      deny: (event) =>
        event.type === 'llm.call.started' && event['attempt'] === 2
          ? { code: 'budget_exceeded', status: 402, message: 'the retry passes the cap' }
          : undefined,
    });
    const provider = await bench({ answer: () => ({ error: { status: 500, code: 'overloaded', message: 'overloaded' } }) });
    await expect(
      withRunpurse(plainModel(`${provider.url}/v1`, { maxRetries: 3 })).invoke('hi', { callbacks: [at.handler] }),
    ).rejects.toThrow('the retry passes the cap');
    expect(provider.requests).toHaveLength(1);
  });
});
