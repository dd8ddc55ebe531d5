import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { callsTool, sandboxConfig, SAYS_DONE, startGateway, type RunningGateway } from '@runpurse/conformance';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { generateText, isStepCount, streamText, wrapLanguageModel, type LanguageModel } from 'ai';
import { createRunpurse, type AgentRun, type Runpurse } from '../src/index.ts';
import type { CallOptions, Generated, Model, StreamPart } from '../src/translate.ts';
import { lookThenAnswer, lookup, scripted } from './stage.ts';

/** What models and callers do that nobody meant, on a real gateway. */
let gateway: RunningGateway;
let runpurse: Runpurse;

beforeEach(async () => {
  const scripts = { model: SAYS_DONE, loop: callsTool('lookup'), mock: SAYS_DONE };
  gateway = await startGateway({ config: sandboxConfig(scripts, { policy: { tools: { deny: ['refund'] } } }) });
  runpurse = createRunpurse({ baseUrl: gateway.url, apiKey: gateway.apiKey });
});
afterEach(async () => {
  await runpurse.client.close();
  await gateway.remove();
});

const LOOP = { prompt: 'hi', maxOutputTokens: 1_000, stopWhen: isStepCount(5) };
const wait = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));

const carried = (id: string): Model =>
  createOpenAICompatible({ name: 'gateway', baseURL: `${gateway.url}/v1`, apiKey: gateway.apiKey, includeUsage: true })(id);
/** A model elsewhere, which calls these tools and then answers. */
const calling = (...calls: readonly { readonly id: string; readonly name: string }[]) =>
  scripted((_count, { prompt }) => (prompt.at(-1)?.role === 'tool' ? {} : { calls }));

async function runNow(runId = 'run-1') {
  await runpurse.client.flush();
  const run = await gateway.readRun(runId);
  return { ...run, held: run?.budgets[0]?.held_usd };
}

/** The run once it has ended; as it is when it does not. */
async function ended() {
  for (let tries = 0; tries < 50; tries += 1) {
    const run = await runNow();
    if (run.status !== 'running') return run;
    await wait(100);
  }
  return runNow();
}

async function thrownBy(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => 'nothing was thrown',
    (error: unknown) => error,
  );
}

describe('each tool call is one of its own', () => {
  it.each([
    ['the same', ['a', 'a']],
    ['the same, and one like the number that tells them apart', ['a', 'a~2', 'a']],
    ['the same on one line', ['x\ny', 'x y', 'x\ty']],
    ['the same in whole characters', ['q\ud800', 'q\ufffd']],
    ['blank', [' ', '\n']],
  ])('when their ids are %s', async (_, ids) => {
    const { tools, ran } = lookup();
    const model = calling(...ids.map((id) => ({ id, name: 'lookup' })));
    await runpurse.run({ runId: 'run-1' }, (run) => generateText({ ...LOOP, model: run.model(model), tools: run.tools(tools) }));
    const count = ids.length;
    expect(ran).toHaveLength(count);
    expect(await runNow()).toMatchObject({
      status: 'completed',
      cost: { tool_usd: `0.00${count * 2}` },
      counts: { tool_calls: count, steps: count + 2 },
    });
  });

  it('so a denied tool is denied under whichever id', async () => {
    const { tools, ran } = lookup((q) => wait(20).then(() => q));
    const refund = lookup();
    const model = calling({ id: 'a', name: 'lookup' }, { id: 'a~2', name: 'lookup' }, { id: 'a', name: 'refund' });
    await runpurse.run({ runId: 'run-1' }, (run) =>
      generateText({ ...LOOP, model: run.model(model), tools: run.tools({ ...tools, refund: refund.tools.lookup }) }),
    );
    expect([ran, refund.ran]).toEqual([['x', 'x'], []]);
    expect((await runNow()).tools?.map(({ tool, status }) => [tool, status]).sort()).toEqual([
      ['lookup', 'completed'],
      ['lookup', 'completed'],
      ['refund', 'denied'],
    ]);
  });

  it('so a bound on tool calls counts each', async () => {
    const { tools, ran } = lookup();
    const model = calling({ id: 'x\ny', name: 'lookup' }, { id: 'x y', name: 'lookup' });
    await runpurse.run({ runId: 'run-1', bounds: { max_tool_calls: 1 } }, (run) =>
      generateText({ ...LOOP, model: run.model(model), tools: run.tools(tools) }),
    );
    expect(ran).toHaveLength(1);
  });

  it('also in a run that is open twice at once', async () => {
    const { tools, ran } = lookup((q) => wait(50).then(() => q));
    const play = (): Promise<unknown> =>
      runpurse.run({ runId: 'run-1' }, (run) =>
        generateText({ ...LOOP, model: run.model(calling({ id: 'call_0', name: 'lookup' })), tools: run.tools(tools) }),
      );
    await Promise.allSettled([play(), play()]);
    expect(ran).toHaveLength(2);
    expect(await runNow()).toMatchObject({ cost: { tool_usd: '0.004' }, counts: { tool_calls: 2 } });
  });
});

describe('what is wrapped twice is counted once', () => {
  const models: readonly (readonly [string, () => Model])[] = [
    ['carried', () => carried('loop')],
    ['direct', () => scripted(lookThenAnswer)],
  ];
  const ways: readonly (readonly [string, (run: AgentRun, model: Model) => Promise<unknown>])[] = [
    ['at once', (run, model) => generateText({ ...LOOP, model: run.model(run.model(model)), tools: run.tools(run.tools(lookup().tools)) })],
    [
      'by another agent of the run',
      (run, model) => {
        const options = { ...LOOP, model: run.model(model), tools: run.tools(lookup().tools) };
        return run.agent('writer', ({ model: wrap, tools }) =>
          generateText({ ...options, model: wrap(options.model), tools: tools(options.tools) }),
        );
      },
    ],
    [
      'with its tool changed in between',
      (run, model) => {
        const { lookup: mine } = run.tools(lookup().tools);
        const changed: typeof mine = Object.assign({}, mine, { description: 'mine' });
        return generateText({ ...LOOP, model: run.model(model), tools: run.tools({ lookup: changed }) });
      },
    ],
  ];
  it.each(models.flatMap(([mode, model]) => ways.map(([way, play]) => [mode, way, model, play] as const)))(
    '%s, %s',
    async (_mode, _way, model, play) => {
      await runpurse.run({ runId: 'run-1' }, (run) => play(run, model()));
      expect(await runNow()).toMatchObject({
        status: 'completed',
        cost: { tool_usd: '0.002' },
        counts: { requests: 2, tool_calls: 1 },
        held: '0',
      });
    },
  );

  it('and stays carried where that was said the first time', async () => {
    await runpurse.run({ runId: 'run-1' }, (run) => {
      const model = carried('model');
      const hidden: Model = { ...model, provider: 'hidden', supportedUrls: {}, doGenerate: (options) => model.doGenerate(options) };
      const said = run.model(hidden, { carried: true });
      return run.agent('writer', (writer) => generateText({ ...LOOP, model: writer.model(said) }));
    });
    expect((await runNow()).requests?.map(({ source, agent_id }) => [source, agent_id])).toEqual([['gateway', 'writer']]);
  });

  it('in the run that wrapped it last', async () => {
    const kept = await runpurse.run({ runId: 'run-1' }, (run) => ({ model: run.model(scripted(() => ({}))) }));
    await runpurse.run({ runId: 'run-2' }, (run) => generateText({ ...LOOP, model: run.model(kept.model) }));
    expect([(await runNow()).counts?.requests, (await runNow('run-2')).counts?.requests]).toEqual([0, 1]);
  });
});

describe('the worst case of a call past the gateway', () => {
  it.each([
    ['several answers', { stub: { n: 20 } }],
    ['a limit of the provider', { stub: { max_tokens: 4_000 } }],
    ['the same in other words', { openai: { maxCompletionTokens: 4_000 } }],
  ])('holds what is asked of the provider alone: %s', async (_, providerOptions) => {
    const model = scripted(() => ({}));
    const play = runpurse.run({ runId: 'run-1', limitUsd: '0.0025' }, (run) =>
      generateText({ ...LOOP, model: run.model(model), providerOptions }),
    );
    expect(await thrownBy(play)).toMatchObject({ code: 'budget_exceeded' });
    expect(model.sent).toEqual([]);
  });
});

describe('whatever is thrown, its run ends and nothing stays held', () => {
  class Trap extends Error {
    override get message(): string {
      throw new Error('trap');
    }
  }
  const odd: readonly (readonly [string, Error])[] = [
    ['an error whose message is no text', Object.assign(new Error('x'), { message: { code: 1 } })],
    ['an error whose message throws', new Trap()],
    ['null', null as unknown as Error],
  ];
  it.each(odd)('by the work: %s', async (_, thrown) => {
    expect(await thrownBy(runpurse.run({ runId: 'run-1' }, () => Promise.reject(thrown)))).toBe(thrown);
    expect(await runNow()).toMatchObject({ status: 'failed' });
  });

  it.each(odd)('by a tool: %s', async (_, thrown) => {
    const { tools } = lookup(() => Promise.reject(thrown));
    await thrownBy(
      runpurse.run({ runId: 'run-1' }, (run) =>
        generateText({ ...LOOP, model: run.model(scripted(lookThenAnswer)), tools: run.tools(tools) }),
      ),
    );
    const run = await runNow();
    expect(run).toMatchObject({ tools: [{ status: 'failed', cost_usd: '0.002' }], held: '0' });
    expect(run.status).not.toBe('running');
  });

  it.each(odd)('by a model: %s', async (_, thrown) => {
    const model = scripted(() => ({}));
    model.doGenerate = () => Promise.reject(thrown);
    const play = runpurse.run({ runId: 'run-1' }, (run) => generateText({ ...LOOP, model: run.model(model), maxRetries: 0 }));
    expect(await thrownBy(play)).toBe(thrown);
    expect(await runNow()).toMatchObject({ status: 'failed', counts: { requests: 1 }, held: '0' });
  });
});

describe('a result that the run returned', () => {
  const begin = (run: AgentRun, model: Model) =>
    streamText({ ...LOOP, stopWhen: isStepCount(50), model: run.model(model), tools: run.tools(lookup().tools) });
  type Result = ReturnType<typeof begin>;
  const leave = async (stream: AsyncIterable<unknown>): Promise<void> => {
    for await (const _ of stream) break;
  };
  /** Streams words for ever. */
  const endless = () => {
    const cancelled: unknown[] = [];
    const model = scripted(() => ({}));
    const stream = new ReadableStream<StreamPart>({
      start: (controller) => controller.enqueue({ type: 'text-start', id: '1' }),
      pull: (controller) => wait(5).then(() => controller.enqueue({ type: 'text-delta', id: '1', delta: 'word ' })),
      cancel: (reason) => void cancelled.push(reason),
    });
    model.doStream = () => Promise.resolve({ stream });
    return { model, cancelled };
  };

  it.each<[string, (result: Result) => Promise<unknown>]>([
    ['as text', (result) => leave(result.textStream)],
    ['in parts', (result) => leave(result.stream)],
    ['as messages', (result) => leave(result.toUIMessageStream())],
    ['in a response', async (result) => result.toTextStreamResponse().body?.cancel()],
    ['twice', (result) => Promise.all([leave(result.stream), leave(result.textStream)])],
  ])('and its readers left is given up, with the call under way: read %s', async (_, read) => {
    const { model, cancelled } = endless();
    const result = await runpurse.run({ runId: 'run-1' }, (run) => begin(run, model));
    await read(result);
    expect(await ended()).toMatchObject({ status: 'stopped', requests: [{ status: 'aborted' }], held: '0' });
    expect(cancelled).toHaveLength(1);
    expect(await thrownBy(Promise.resolve(result.text))).toMatchObject({ name: 'AbortError' });
  });

  it('and its reader left at its last part is completed', async () => {
    const result = await runpurse.run({ runId: 'run-1' }, (run) => begin(run, scripted(lookThenAnswer)));
    for await (const part of result.stream) if (part.type === 'finish') break;
    expect(await ended()).toMatchObject({ status: 'completed', held: '0' });
    expect(await result.text).toBe('done');
  });

  it('and its reader left in the middle of a loop goes no further', async () => {
    const model = scripted((count) => ({ calls: [{ id: `call_${count}`, name: 'lookup' }] }));
    const result = await runpurse.run({ runId: 'run-1' }, (run) => begin(run, model));
    for await (const part of result.stream) if (part.type === 'tool-result') break;
    expect(await ended()).toMatchObject({ status: 'stopped', held: '0' });
    const { length } = model.sent;
    await wait(100);
    expect(model.sent).toHaveLength(length);
  });

  it.each<[string, (run: AgentRun, model: Model) => Result, (result: Result) => Promise<unknown>]>([
    ['it is read on by a promise', begin, async (result) => [await leave(result.stream), await wait(20), await result.text]],
    ['it has another', begin, (result) => Promise.all([leave(result.stream), result.consumeStream()])],
    [
      'it had one before it was returned',
      (run, model) => {
        const result = begin(run, model);
        void result.consumeStream();
        return result;
      },
      (result) => leave(result.stream),
    ],
  ])('and a reader left goes on when %s', async (_, beginSo, read) => {
    const model = scripted(lookThenAnswer);
    const { doStream } = model;
    model.doStream = (options) => wait(400).then(() => doStream(options));
    const result = await runpurse.run({ runId: 'run-1' }, (run) => beginSo(run, model));
    await read(result);
    expect(await ended()).toMatchObject({ status: 'completed', counts: { requests: 2, tool_calls: 1 }, held: '0' });
    expect(await result.text).toBe('done');
  });
});

describe('a call past the gateway', () => {
  const at = (baseURL: string): LanguageModel => createOpenAICompatible({ name: 'elsewhere', baseURL, apiKey: 'k' })('mock');
  const plain = async (model: LanguageModel): Promise<unknown> => generateText({ ...LOOP, model, maxRetries: 0 });
  const streamed = async (model: LanguageModel): Promise<unknown> => streamText({ ...LOOP, model, maxRetries: 0, onError: () => {} }).text;

  it.each([
    ['that nobody answers, plain', 'http://127.0.0.1:8/v1', plain],
    ['that nobody answers, streamed', 'http://127.0.0.1:8/v1', streamed],
    ['whose name nobody knows', 'http://provider.invalid/v1', plain],
  ])('to an address %s, was not sent and costs nothing', async (_, address, play) => {
    await thrownBy(runpurse.run({ runId: 'run-1' }, (run) => play(run.model(at(address)))));
    expect(await runNow()).toMatchObject({
      status: 'failed',
      requests: [{ status: 'failed', cost_usd: '0', usage: { input_tokens: 0, output_tokens: 0 } }],
      cost: { total_usd: '0' },
      held: '0',
    });
  });

  const retrying = (baseURL: string): LanguageModel =>
    createOpenAICompatible({
      name: 'elsewhere',
      baseURL,
      apiKey: 'k',
      fetch: (input, init) => fetch(input, init).catch(() => fetch('http://127.0.0.1:8', init)),
    })('mock');
  const falling = (baseURL: string): LanguageModel =>
    wrapLanguageModel({
      model: at(baseURL) as Model,
      middleware: { specificationVersion: 'v4', wrapGenerate: ({ doGenerate, params }) => fallBack(doGenerate, params) },
    });
  const fallBack = async (first: () => PromiseLike<Generated>, params: CallOptions): Promise<Generated> => {
    try {
      return await first();
    } catch {
      return (at('http://127.0.0.1:8/v1') as Model).doGenerate(params);
    }
  };

  it.each([
    ['it was one request', at],
    ['a fetch of its own then reached nobody', retrying],
    ['a middleware inside then reached nobody', falling],
  ])('that was sent and lost is charged at what was held for it: %s', async (_, modelAt) => {
    const server = createServer(({ socket }) => socket.destroy()).listen(0);
    const { port } = server.address() as AddressInfo;
    await thrownBy(runpurse.run({ runId: 'run-1' }, (run) => plain(run.model(modelAt(`http://127.0.0.1:${port}/v1`)))));
    server.close();
    expect((await runNow()).cost?.total_usd).not.toBe('0');
  });
});
