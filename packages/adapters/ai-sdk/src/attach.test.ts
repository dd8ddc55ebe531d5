import { afterEach, describe, expect, it, jest } from '@jest/globals';
import { RefusedError, refusalOf } from '@runpurse/core';
import {
  experimental_streamTextLowMemory,
  generateText,
  isStepCount,
  simulateReadableStream,
  streamObject,
  streamText,
  tool,
  ToolLoopAgent,
  wrapLanguageModel,
} from 'ai';
import { z } from 'zod';
import { denies } from '@runpurse/conformance';
import { answered, GATEWAY, lookThenAnswer, lookup, scripted, setStage, standing, type Reply } from '../test/stage.ts';
import type { AgentRun } from './index.ts';

const PLAIN_RUN = [
  'run.started',
  'llm.call.started',
  'llm.call.completed',
  'tool.call.requested',
  'tool.call.completed',
  'llm.call.started',
  'llm.call.completed',
  'run.completed',
];
const CARRIED_RUN = PLAIN_RUN.filter((type) => type !== 'llm.call.started');
const LOOP = { prompt: 'hi', stopWhen: isStepCount(5) };
/** The SDK prints what it tells no `onError`; here failures are meant. */
const quiet = { onError: () => {} };

afterEach(() => void jest.restoreAllMocks());

async function thrownBy(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => undefined,
    (error: unknown) => error,
  );
}

/** A model that is always called with this signal. */
function withSignal(model: ReturnType<AgentRun['model']>, abortSignal: AbortSignal): ReturnType<AgentRun['model']> {
  return wrapLanguageModel({ model, middleware: { transformParams: async ({ params }) => ({ ...params, abortSignal }) } });
}

const soon = () => new Promise((resolve) => setTimeout(resolve, 50));

async function read(stream: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of stream);
}

describe('a run', () => {
  const ways: readonly (readonly [string, (run: AgentRun, at: string) => Promise<unknown>])[] = [
    [
      'generateText',
      (run, at) => generateText({ ...LOOP, model: run.model(scripted(lookThenAnswer, at)), tools: run.tools(lookup().tools) }),
    ],
    [
      'streamText',
      (run, at) => read(streamText({ ...LOOP, model: run.model(scripted(lookThenAnswer, at)), tools: run.tools(lookup().tools) }).stream),
    ],
    [
      'a ToolLoopAgent',
      (run, at) =>
        new ToolLoopAgent({ model: run.model(scripted(lookThenAnswer, at)), tools: run.tools(lookup().tools) }).generate({ prompt: 'hi' }),
    ],
    [
      'a streamed ToolLoopAgent',
      async (run, at) =>
        read(
          (
            await new ToolLoopAgent({ model: run.model(scripted(lookThenAnswer, at)), tools: run.tools(lookup().tools) }).stream({
              prompt: 'hi',
            })
          ).textStream,
        ),
    ],
  ];
  it.each(ways)('of %s is told from its start to its end, carried or not', async (_, play) => {
    for (const [at, types] of [
      ['http://provider.test', PLAIN_RUN],
      [GATEWAY, CARRIED_RUN],
    ] as const) {
      const stage = setStage();
      await stage.runpurse.run({ runId: 'run-1', sessionId: 'session-1', agentId: 'support', limitUsd: '0.50' }, (run) => play(run, at));
      expect(stage.types()).toEqual(types);
      for (const event of stage.events)
        expect(event).toMatchObject({ run_id: 'run-1', session_id: 'session-1', agent_id: 'support', source: 'ai_sdk' });
      expect(stage.events[0]?.metadata).toMatchObject({ limit_usd: '0.5' });
      expect(stage.eventsOf('llm.call.completed').map(({ metadata }) => metadata)).toEqual(
        Array(2).fill(
          expect.objectContaining({
            model: 'mock-2026',
            usage: expect.objectContaining({
              input_tokens: 7,
              cache_read_tokens: 2,
              cache_write_5m_tokens: 1,
              output_tokens: 5,
              reasoning_tokens: 1,
            }),
            ...(at === GATEWAY && { carried: true, request_id: 'req_1' }),
          }),
        ),
      );
      expect(stage.eventsOf('tool.call.requested')[0]).toMatchObject({ tool_call_id: 'call_1', name: 'lookup' });
      expect(stage.faults).toEqual([]);
    }
  });

  it('puts each carried call under a step of its own, in its headers as in its events, and sends nothing of ours elsewhere', async () => {
    const stage = setStage();
    const carried = scripted(lookThenAnswer, GATEWAY);
    const direct = scripted(() => ({}), 'http://provider.test');
    await stage.runpurse.run({ runId: 'run-1', agentId: 'support' }, async (run) => {
      await generateText({ ...LOOP, model: run.model(carried), tools: run.tools(lookup().tools), headers: { 'x-mine': '1' } });
      await generateText({ ...LOOP, model: run.model(direct) });
    });
    const steps = stage.eventsOf('llm.call.completed').map((event) => event['step_id']);
    expect(new Set(steps).size).toBe(3);
    expect(carried.sent.map(standing)).toEqual(
      steps.slice(0, 2).map((step) => expect.objectContaining({ run: 'run-1', agent: 'support', step })),
    );
    expect(carried.sent[0]?.headers).toMatchObject({ 'x-mine': '1' });
    expect(Object.keys(direct.sent[0]?.headers ?? {}).filter((name) => /alephant|runpurse/i.test(name))).toEqual([]);
  });

  it('that is denied does not begin', async () => {
    const stage = setStage({ deny: denies('run.started', 'budget_exceeded', 402) });
    const work = jest.fn(() => 'done');
    const error = await thrownBy(stage.runpurse.run({}, work));
    expect(RefusedError.isInstance(error)).toBe(true);
    expect(work).not.toHaveBeenCalled();
    expect(stage.types()).toEqual(['run.started']);
  });

  it('that fails ends failed with its reason, and rejects with the same error', async () => {
    const stage = setStage();
    const mine = new Error('no such order');
    expect(await thrownBy(stage.runpurse.run({}, () => Promise.reject(mine)))).toBe(mine);
    expect(stage.events.at(-1)).toMatchObject({ type: 'run.failed', metadata: { status: 'failed', message: 'no such order' } });
  });

  it.each([
    ['without a reason', undefined],
    ['for a reason of the caller', new Error('the user left')],
  ])('cancelled %s ends stopped, plain and streamed', async (_, reason) => {
    for (const isStreamed of [false, true]) {
      const stage = setStage();
      const controller = new AbortController();
      const abortSignal = controller.signal;
      const model = scripted((): Reply => {
        setTimeout(() => controller.abort(reason), 5);
        return { hangs: true };
      });
      if (!isStreamed) {
        model.doGenerate = () => {
          setTimeout(() => controller.abort(reason), 5);
          return new Promise((_resolve, reject) => abortSignal.addEventListener('abort', () => reject(abortSignal.reason as Error)));
        };
      }
      await thrownBy(
        stage.runpurse.run({}, async (run) => {
          if (!isStreamed) return generateText({ prompt: 'hi', model: run.model(model), abortSignal });
          return read(streamText({ prompt: 'hi', model: run.model(model), abortSignal }).stream);
        }),
      );
      expect(stage.types()).toEqual(['run.started', 'llm.call.started', 'llm.call.failed', 'run.failed']);
      expect(stage.events.slice(2).map(({ metadata }) => metadata['status'])).toEqual(['aborted', 'stopped']);
    }
  });

  it.each([false, true])('that takes longer than its time-out ends failed (streamed: %s)', async (isStreamed) => {
    const stage = setStage();
    const model = scripted(() => ({ hangs: true }));
    model.doGenerate = ({ abortSignal }) =>
      new Promise((_resolve, reject) => abortSignal?.addEventListener('abort', () => reject(abortSignal.reason as Error)));
    await thrownBy(
      stage.runpurse.run({}, async (run) => {
        const options = { prompt: 'hi', model: run.model(model), timeout: 20 };
        await (isStreamed ? read(streamText(options).stream) : generateText(options));
      }),
    );
    expect(stage.events.at(-1)).toMatchObject({
      type: 'run.failed',
      metadata: { status: 'failed', message: expect.stringMatching(/time/i) },
    });
    expect(stage.eventsOf('llm.call.failed')).toHaveLength(1);
  });

  it('cancelled while the gateway is asked makes no call, and what was held costs nothing', async () => {
    const controller = new AbortController();
    const stage = setStage({
      deny: ({ type }) => {
        if (type === 'llm.call.started') controller.abort();
        return undefined;
      },
    });
    const model = scripted(() => ({}));
    await thrownBy(
      stage.runpurse.run({}, (run) => generateText({ prompt: 'hi', model: run.model(model), abortSignal: controller.signal })),
    );
    expect(model.sent).toEqual([]);
    expect(stage.eventsOf('llm.call.failed')[0]?.metadata).toMatchObject({
      status: 'aborted',
      usage: { input_tokens: 0, output_tokens: 0 },
    });
    expect(stage.events.at(-1)?.metadata).toMatchObject({ status: 'stopped' });
  });

  it.each<[string, (run: AgentRun) => Promise<unknown>]>([
    [
      'after a loop that its stop condition ended, and another call',
      async (run) => {
        await read(streamText({ prompt: 'hi', model: run.model(scripted(lookThenAnswer)), tools: run.tools(lookup().tools) }).stream);
        return generateText({ prompt: 'hi', model: run.model(scripted(() => ({}))) });
      },
    ],
    [
      'after a loop inside a tool that its stop condition ended',
      (run) => {
        const { tools } = lookup(() =>
          read(streamText({ prompt: 'in', model: run.model(scripted(lookThenAnswer)), tools: run.tools(lookup().tools) }).stream),
        );
        return generateText({ prompt: 'hi', model: run.model(scripted(lookThenAnswer)), tools: run.tools(tools) });
      },
    ],
  ])('cancelled when all is done is completed: %s', async (_, work) => {
    const stage = setStage();
    const controller = new AbortController();
    await stage.runpurse.run({}, async (run) => {
      const signalled: AgentRun = { ...run, model: (model) => withSignal(run.model(model), controller.signal) };
      await work(signalled);
      controller.abort();
    });
    expect(stage.events.at(-1)?.type).toBe('run.completed');
  });

  it('cancelled while a tool runs ends stopped, streamed too, and the tool is settled', async () => {
    for (const isStreamed of [false, true]) {
      const stage = setStage();
      const controller = new AbortController();
      const { tools } = lookup(() => {
        controller.abort();
        return new Promise((resolve) => setTimeout(() => resolve('late'), 20));
      });
      const model = scripted(lookThenAnswer);
      await thrownBy(
        stage.runpurse.run({}, async (run) => {
          const options = { ...LOOP, model: run.model(model), tools: run.tools(tools), abortSignal: controller.signal };
          await (isStreamed ? read(streamText(options).stream) : generateText(options));
        }),
      );
      expect(model.sent).toHaveLength(1);
      expect(stage.events.at(-1)).toMatchObject({ type: 'run.failed', metadata: { status: 'stopped' } });
      expect(stage.types().filter((type) => /^tool.call.(completed|failed)$/.test(type))).toHaveLength(1);
    }
  });
});

describe('fifty runs at once', () => {
  it('past the gateway, plain and streamed, on one model and one set of tools, are told apart in every event', async () => {
    const stage = setStage();
    const model = scripted((_count, { prompt }) => (prompt.at(-1)?.role === 'tool' ? { text: 'done' } : { calls: [{ name: 'lookup' }] }));
    const { tools } = lookup((q) => new Promise((resolve) => setTimeout(() => resolve(q), Math.random() * 20)));
    await Promise.all(
      Array.from({ length: 50 }, (_, index) =>
        stage.runpurse.run({ runId: `run ${index}`, agentId: `agent ${index}` }, async (run) => {
          const options = { ...LOOP, model: run.model(model), tools: run.tools(tools) };
          await (index % 2 === 0 ? generateText(options) : read(streamText(options).stream));
        }),
      ),
    );
    for (let index = 0; index < 50; index += 1) {
      const events = stage.events.filter(({ run_id }) => run_id === `run ${index}`);
      expect(events.map(({ type }) => type)).toEqual(PLAIN_RUN);
      expect(new Set(events.map((event) => event['agent_id']))).toEqual(new Set([`agent ${index}`]));
      expect(events.map((event) => event['sequence'])).toEqual(events.map((_, place) => place + 1));
    }
    const steps = stage.eventsOf('llm.call.completed').map((event) => event['step_id']);
    expect(new Set(steps).size).toBe(100);
  });
});

describe('a refused model call', () => {
  it.each([
    ['generateText', (run: AgentRun, model: ReturnType<typeof scripted>) => generateText({ prompt: 'hi', model: run.model(model) })],
    [
      'streamText',
      async (run: AgentRun, model: ReturnType<typeof scripted>) => {
        for await (const part of streamText({ ...quiet, prompt: 'hi', model: run.model(model) }).stream)
          if (part.type === 'error') throw part.error;
      },
    ],
  ])('of %s is not made and not tried again', async (_, call) => {
    const stage = setStage({ deny: denies('llm.call.started', 'budget_exceeded', 402) });
    const model = scripted(() => ({}));
    const error = await thrownBy(stage.runpurse.run({}, async (run) => void (await call(run, model))));
    expect(refusalOf(error)).toMatchObject({ code: 'budget_exceeded' });
    expect(model.sent).toEqual([]);
    expect(stage.types()).toEqual(['run.started', 'llm.call.started', 'run.failed']);
    expect(stage.events.at(-1)?.metadata['message']).toContain('is denied by');
  });

  it('ends a stream that nobody looks at for errors as failed', async () => {
    const stage = setStage({ deny: denies('llm.call.started', 'budget_exceeded', 402) });
    await stage.runpurse.run({}, (run) => read(streamText({ ...quiet, prompt: 'hi', model: run.model(scripted(() => ({}))) }).textStream));
    expect(stage.events.at(-1)).toMatchObject({
      type: 'run.failed',
      metadata: { status: 'failed', message: expect.stringContaining('is denied by') },
    });
  });

  it.each([
    ['run_ended', 409],
    ['ledger_unavailable', 503],
  ])('that the gateway refused with %s is not tried again, though the SDK would', async (code, status) => {
    const stage = setStage();
    const model = scripted(() => ({ throws: answered(status, code) }), GATEWAY);
    const error = await thrownBy(stage.runpurse.run({}, (run) => generateText({ prompt: 'hi', model: run.model(model) })));
    expect(refusalOf(error)).toMatchObject({ code });
    expect(model.sent).toHaveLength(1);
    expect(stage.types()).toEqual(['run.started', 'run.failed']);
  });

  it('that only comes too fast is tried again by the SDK, as the same attempt', async () => {
    const stage = setStage();
    const model = scripted((count) => (count === 1 ? { throws: answered(429, 'rate_limited') } : {}), GATEWAY);
    await stage.runpurse.run({}, (run) => generateText({ prompt: 'hi', model: run.model(model) }));
    const [first, second] = model.sent.map(standing);
    expect([second?.['step'], second?.['attempt']]).toEqual([first?.['step'], first?.['attempt']]);
    expect(stage.types()).toEqual(['run.started', 'llm.call.completed', 'run.completed']);
  });

  it('is not made while nobody can be asked and the failure policy is closed', async () => {
    const stage = setStage({ closed: true, deny: ({ type }) => (type === 'llm.call.started' ? 'lost' : undefined) });
    const model = scripted(() => ({}));
    expect(await thrownBy(stage.runpurse.run({}, (run) => generateText({ prompt: 'hi', model: run.model(model) })))).toMatchObject({
      code: 'gateway_unavailable',
    });
    expect(model.sent).toEqual([]);
  });
});

describe('a retried model call', () => {
  const failsOnce = (count: number): Reply => (count === 1 ? { throws: answered(500, 'overloaded') } : {});
  it.each([
    ['generateText', (run: AgentRun, model: ReturnType<typeof scripted>) => generateText({ prompt: 'hi', model: run.model(model) })],
    [
      'streamText',
      (run: AgentRun, model: ReturnType<typeof scripted>) => read(streamText({ prompt: 'hi', model: run.model(model) }).stream),
    ],
  ])('of %s is the second attempt of its step, asked for and reported as such', async (_, call) => {
    for (const at of [GATEWAY, undefined]) {
      const stage = setStage();
      const model = scripted(failsOnce, at);
      await stage.runpurse.run({}, async (run) => void (await call(run, model)));
      const ends = stage.events.filter(({ type }) => /^llm.call.(completed|failed)$/.test(type));
      expect(ends.map((event) => [event.type, event['attempt']])).toEqual([
        ['llm.call.failed', 1],
        ['llm.call.completed', 2],
      ]);
      expect(new Set(ends.map((event) => event['step_id'])).size).toBe(1);
      expect(ends[0]?.metadata['usage']).toMatchObject({ input_tokens: 0, output_tokens: 0 });
      if (at === GATEWAY) expect(model.sent.map((sent) => standing(sent)['attempt'])).toEqual(['1', '2']);
      expect(stage.events.at(-1)?.type).toBe('run.completed');
    }
  });

  it.each<[string, (run: AgentRun, model: ReturnType<typeof scripted>) => Promise<void>]>([
    ['by the SDK', (run, model) => read(streamText({ ...quiet, prompt: 'hi', model: run.model(model), streamRetries: 1 }).stream)],
    [
      'by the caller',
      async (run, model) => {
        await read(streamText({ ...quiet, prompt: 'hi', model: run.model(model) }).stream);
        await read(streamText({ ...quiet, prompt: 'hi', model: run.model(model) }).stream);
      },
    ],
  ])('of a stream that broke off is the second attempt, made again %s, and what the first used is unknown', async (_, call) => {
    const stage = setStage();
    const model = scripted((count) => (count === 1 ? { breaks: new Error('reset') } : {}));
    await stage.runpurse.run({}, (run) => call(run, model));
    const ends = stage.events.filter(({ type }) => /^llm.call.(completed|failed)$/.test(type));
    expect(ends.map((event) => [event.type, event['attempt'], event.metadata['usage'] === undefined])).toEqual([
      ['llm.call.failed', 1, true],
      ['llm.call.completed', 2, false],
    ]);
    expect(stage.events.at(-1)?.type).toBe('run.completed');
  });

  it('is not what another prompt, or the same prompt after a success, is', async () => {
    const stage = setStage();
    const model = scripted(() => ({}));
    await stage.runpurse.run({}, async (run) => {
      await generateText({ prompt: 'hi', model: run.model(model) });
      await generateText({ prompt: 'hi', model: run.model(model) });
      await thrownBy(generateText({ prompt: 'one', model: run.model(scripted(() => ({ throws: answered(400, 'bad') }))) }));
      await generateText({ prompt: 'two', model: run.model(model) });
      const failing = scripted(failsOnce);
      await generateText({ prompt: 'hi', model: run.model(failing) });
      await generateText({ prompt: 'hi', model: run.model(failing) });
    });
    expect(stage.events.filter(({ type }) => type === 'llm.call.started').map((event) => event['attempt'])).toEqual([1, 1, 1, 1, 1, 2, 1]);
  });
});

describe('a stream that the run returns', () => {
  it.each<[string, (run: AgentRun) => unknown, (result: unknown) => Promise<unknown>]>([
    ['as a result', (run) => loop(run), (result) => read((result as { stream: AsyncIterable<unknown> }).stream)],
    [
      'as a result of which only a promise is awaited',
      (run) => loop(run),
      async (result) => (result as { text: PromiseLike<string> }).text,
    ],
    ['as a Response', (run) => loop(run).toUIMessageStreamResponse(), async (result) => (result as Response).text()],
    [
      'as a result that it has begun to pipe itself',
      (run) => {
        const result = loop(run);
        void read(result.stream);
        return result;
      },
      () => soon(),
    ],
    [
      'as a result that it reads later, beside its caller',
      async (run) => {
        const result = loop(run);
        setTimeout(() => void read(result.stream), 10);
        return result;
      },
      () => soon(),
    ],
    [
      'as a result for one reader',
      (run) => experimental_streamTextLowMemory({ ...LOOP, model: run.model(scripted(lookThenAnswer)), tools: run.tools(lookup().tools) }),
      async (result) => {
        await read((result as { stream: AsyncIterable<unknown> }).stream);
        await soon();
      },
    ],
    ['as a ReadableStream', (run) => loop(run).toUIMessageStream(), (result) => read(result as AsyncIterable<unknown>)],
  ])('%s ends the run when it has been read, not before', async (_, work, readIt) => {
    const stage = setStage();
    const result = await stage.runpurse.run({}, (run) => work(run));
    expect(stage.types()).not.toContain('run.completed');
    await readIt(result);
    await soon(); // a promise of the SDK resolves before its stream closes
    expect(stage.types()).toEqual(PLAIN_RUN);
  });

  it('as a result that it has read to its end is over', async () => {
    const stage = setStage();
    const result = await stage.runpurse.run({}, async (run) => {
      const streamed = loop(run);
      await read(streamed.stream);
      return streamed;
    });
    await soon();
    expect(stage.types()).toEqual(PLAIN_RUN);
    expect(await result.text).toBe('done');
  });

  it('of objects ends the run too, and calls made when it ends are part of it', async () => {
    const stage = setStage();
    const result = await stage.runpurse.run({}, (run) =>
      streamObject({
        model: run.model(scripted(() => ({ text: '{"a":"b"}' }))),
        schema: z.object({ a: z.string() }),
        prompt: 'hi',
        onFinish: async () => void (await generateText({ prompt: 'title', model: run.model(scripted(() => ({}))) })),
      }),
    );
    await read(result.partialObjectStream);
    await soon();
    expect(stage.types().slice(-4)).toEqual(['llm.call.completed', 'llm.call.started', 'llm.call.completed', 'run.completed']);
  });

  it('of objects that it reads already ends the run when that is done, with its call completed', async () => {
    const stage = setStage();
    await stage.runpurse.run({}, (run) => {
      const model = run.model(scripted(() => ({ text: '{"a":"b"}' })));
      const result = streamObject({ model, schema: z.object({ a: z.string() }), prompt: 'hi' });
      void read(result.partialObjectStream);
      return result;
    });
    await soon();
    expect(stage.types()).toEqual(['run.started', 'llm.call.started', 'llm.call.completed', 'run.completed']);
  });

  it('whose connection is lost fails the run', async () => {
    const stage = setStage();
    const model = scripted(() => ({ loses: new Error('reset') }));
    const result = await stage.runpurse.run({}, (run) => streamText({ ...quiet, prompt: 'hi', model: run.model(model) }));
    expect(await thrownBy(read(result.stream))).toMatchObject({ message: 'reset' });
    await soon();
    expect(stage.eventsOf('llm.call.failed')[0]?.metadata).toMatchObject({ status: 'failed', message: 'reset' });
    expect(stage.events.at(-1)).toMatchObject({ type: 'run.failed', metadata: { status: 'failed', message: 'reset' } });
  });

  it('keeps the status and the headers of a Response', async () => {
    const stage = setStage();
    const response = await stage.runpurse.run({}, (run) => loop(run).toTextStreamResponse({ status: 201, headers: { 'x-mine': '1' } }));
    expect([response.status, response.headers.get('x-mine'), await response.text()]).toEqual([201, '1', 'done']);
  });

  it('stops the run when its reader gives it up', async () => {
    const stage = setStage();
    const response = await stage.runpurse.run({}, (run) =>
      streamText({ prompt: 'hi', model: run.model(scripted(() => ({ hangs: true }))) }).toTextStreamResponse(),
    );
    const reader = response.body?.getReader();
    await reader?.read();
    await reader?.cancel();
    expect(stage.events.at(-1)).toMatchObject({ type: 'run.failed', metadata: { status: 'stopped' } });
    expect(stage.eventsOf('llm.call.failed')[0]?.metadata).toMatchObject({ status: 'aborted' });
  });

  it('fails the run when it fails itself', async () => {
    const stage = setStage();
    const broken = new ReadableStream({ pull: (controller) => controller.error(new Error('disk full')) });
    const stream = await stage.runpurse.run({}, () => broken);
    expect(await thrownBy(read(stream))).toMatchObject({ message: 'disk full' });
    expect(stage.events.at(-1)).toMatchObject({ type: 'run.failed', metadata: { message: 'disk full' } });
  });

  function loop(run: AgentRun) {
    return streamText({ ...LOOP, model: run.model(scripted(lookThenAnswer)), tools: run.tools(lookup().tools) });
  }
});

describe('a tool', () => {
  it.each([false, true])('that is denied does not run, and the model is told (streamed: %s)', async (isStreamed) => {
    const stage = setStage({ deny: denies('tool.call.requested') });
    const { tools, ran } = lookup();
    const model = scripted(lookThenAnswer);
    await stage.runpurse.run({}, async (run) => {
      const options = { ...LOOP, model: run.model(model), tools: run.tools(tools) };
      await (isStreamed ? read(streamText(options).stream) : generateText(options));
    });
    expect(ran).toEqual([]);
    expect(JSON.stringify(model.sent[1]?.prompt)).toContain('tool.call.requested is denied by no-tool.call.requested');
    expect(stage.types().filter((type) => type.startsWith('tool.') || type.startsWith('run.'))).toEqual([
      'run.started',
      'tool.call.requested',
      'run.completed',
    ]);
  });

  it('that fails is settled as failed, and the model is told', async () => {
    const stage = setStage();
    const { tools } = lookup(() => Promise.reject(new Error('no index')));
    const model = scripted(lookThenAnswer);
    await stage.runpurse.run({}, (run) => generateText({ ...LOOP, model: run.model(model), tools: run.tools(tools) }));
    expect(stage.eventsOf('tool.call.failed')[0]).toMatchObject({ tool_call_id: 'call_1', metadata: { message: 'no index' } });
    expect(JSON.stringify(model.sent[1]?.prompt)).toContain('no index');
  });

  it('whose id a provider uses again is a call of its own', async () => {
    const stage = setStage();
    const { tools } = lookup();
    const model = scripted((count) => (count < 3 ? { calls: [{ id: 'call_0', name: 'lookup' }] } : {}));
    await stage.runpurse.run({}, (run) => generateText({ ...LOOP, model: run.model(model), tools: run.tools(tools) }));
    expect(stage.eventsOf('tool.call.completed').map((event) => event['tool_call_id'])).toEqual(['call_0', 'call_0~2']);
  });

  it('that streams shows each piece, and what its last pieces use stands inside its call', async () => {
    const stage = setStage();
    const inner = scripted(() => ({ text: 'inner' }), GATEWAY);
    const shown: unknown[] = [];
    await stage.runpurse.run({}, async (run) => {
      const research = tool({
        inputSchema: z.object({ q: z.string() }),
        async *execute() {
          yield 'searching';
          yield await run.agent('researcher', async (scope) => (await generateText({ prompt: 'go', model: scope.model(inner) })).text);
        },
      });
      const model = run.model(scripted((count) => (count === 1 ? { calls: [{ name: 'research' }] } : {})));
      for await (const part of streamText({ ...LOOP, model, tools: run.tools({ research }) }).stream)
        if (part.type === 'tool-result') shown.push([part.preliminary, part.output]);
    });
    expect(shown).toEqual([
      [true, 'searching'],
      [true, 'inner'],
      [undefined, 'inner'],
    ]);
    expect(inner.sent.map(standing)).toEqual([expect.objectContaining({ parent: 'call_1', agent: 'researcher' })]);
    expect(stage.eventsOf('tool.call.completed')).toHaveLength(1);
  });

  it('that streams without being a generator gives its last piece; one that breaks off is settled as failed', async () => {
    const stage = setStage();
    const inputSchema = z.object({ q: z.string() });
    const streaming = tool({ inputSchema, execute: () => simulateReadableStream({ chunks: ['a', 'b'] }) as AsyncIterable<string> });
    const broken = tool({
      inputSchema,
      async *execute() {
        yield 'a';
        throw new Error('lost');
      },
    });
    const model = scripted((count) => (count === 1 ? { calls: [{ name: 'lookup' }, { id: 'call_2', name: 'broken' }] } : {}));
    const { steps } = await stage.runpurse.run({}, (run) =>
      generateText({ ...LOOP, model: run.model(model), tools: run.tools({ lookup: streaming, broken }) }),
    );
    expect(steps[0]?.toolResults.map(({ output }) => output)).toEqual(['b']);
    expect([...stage.eventsOf('tool.call.completed'), ...stage.eventsOf('tool.call.failed')].map((event) => event['tool_call_id'])).toEqual(
      ['call_1', 'call_2'],
    );
  });

  it('in which a stream fails may still succeed, and so may its run', async () => {
    const stage = setStage();
    await stage.runpurse.run({}, (run) => {
      const { tools } = lookup(async () => {
        await read(streamText({ ...quiet, prompt: 'in', model: run.model(scripted(() => ({ breaks: new Error('reset') }))) }).textStream);
        return 'nothing found';
      });
      return generateText({ prompt: 'hi', model: run.model(scripted(lookThenAnswer)), tools: run.tools(tools) });
    });
    expect(stage.eventsOf('llm.call.failed')).toHaveLength(1);
    expect(stage.types().slice(-2)).toEqual(['tool.call.completed', 'run.completed']);
  });

  it('that streams and is given up is settled as failed, and told so', async () => {
    const stage = setStage();
    let wasTold = false;
    const endless = tool({
      inputSchema: z.object({}),
      async *execute() {
        try {
          for (;;) yield 'a';
        } finally {
          wasTold = true;
        }
      },
    });
    await stage.runpurse.run({}, async (run) => {
      const { execute } = run.tools({ endless }).endless;
      for await (const _ of execute({}, { toolCallId: 'call_1', messages: [], context: {} }) as AsyncIterable<string>) break;
      expect(wasTold).toBe(true);
    });
    expect(stage.eventsOf('tool.call.failed')[0]?.metadata).toMatchObject({ message: 'nobody read it to its end' });
  });

  it('without `execute` is left as it is', async () => {
    const stage = setStage();
    const client = tool({ inputSchema: z.object({ q: z.string() }), outputSchema: z.string() });
    await stage.runpurse.run({}, (run) => {
      expect(run.tools({ client }).client).toBe(client);
      return generateText({ ...LOOP, model: run.model(scripted(() => ({ calls: [{ name: 'client' }] }))), tools: run.tools({ client }) });
    });
    expect(stage.eventsOf('tool.call.requested')).toEqual([]);
    expect(stage.events.at(-1)?.type).toBe('run.completed');
  });
});

describe('another agent', () => {
  it('outside of tools is a step of its own, inside which its calls and tools stand', async () => {
    const stage = setStage();
    const model = scripted(lookThenAnswer, GATEWAY);
    await stage.runpurse.run({ agentId: 'editor' }, (run) =>
      run.agent('writer', (writer) => generateText({ ...LOOP, model: writer.model(model), tools: writer.tools(lookup().tools) })),
    );
    const step = stage.eventsOf('step.started')[0]?.['step_id'];
    expect(stage.eventsOf('step.started')[0]).toMatchObject({ name: 'writer', step_kind: 'handoff', agent_id: 'writer' });
    expect(model.sent.map(standing)).toEqual(Array(2).fill(expect.objectContaining({ agent: 'writer', parent: step })));
    expect(stage.eventsOf('tool.call.completed')[0]).toMatchObject({ agent_id: 'writer', parent_step_id: step });
    expect(stage.types().slice(-2)).toEqual(['step.completed', 'run.completed']);
  });

  it('is who uses a model of the run inside its tools', async () => {
    const stage = setStage();
    const inner = scripted(() => ({}), GATEWAY);
    await stage.runpurse.run({ agentId: 'editor' }, (run) => {
      const { tools } = lookup(async () => (await generateText({ prompt: 'in', model: run.model(inner) })).text);
      return run.agent('writer', (writer) =>
        generateText({ ...LOOP, model: writer.model(scripted(lookThenAnswer)), tools: writer.tools(tools) }),
      );
    });
    expect(inner.sent.map(standing)).toEqual([expect.objectContaining({ agent: 'writer', parent: 'call_1' })]);
  });

  it('that fails fails its step', async () => {
    const stage = setStage();
    await thrownBy(stage.runpurse.run({}, (run) => run.agent('writer', () => Promise.reject(new Error('no ink')))));
    expect(stage.eventsOf('step.failed')[0]?.metadata).toMatchObject({ message: 'no ink' });
  });

  it('inside a tool stands in its call, two side by side each in theirs, also streamed', async () => {
    const stage = setStage();
    const inner = scripted(() => ({}), GATEWAY);
    const outer = scripted(
      (count) =>
        count === 1
          ? {
              calls: [
                { id: 'a', name: 'ask' },
                { id: 'b', name: 'ask' },
              ],
            }
          : {},
      GATEWAY,
    );
    await stage.runpurse.run({ agentId: 'boss' }, async (run) => {
      const ask = tool({
        inputSchema: z.object({ q: z.string() }),
        execute: (_input, { toolCallId }) =>
          run.agent(`helper-${toolCallId}`, async (helper) => streamText({ prompt: 'go', model: helper.model(inner) }).text),
      });
      await generateText({ ...LOOP, model: run.model(outer), tools: run.tools({ ask }) });
    });
    expect(inner.sent.map(standing).map(({ agent, parent }) => [agent, parent])).toEqual([
      ['helper-a', 'a'],
      ['helper-b', 'b'],
    ]);
    expect(outer.sent.map(standing).map(({ agent, parent }) => [agent, parent])).toEqual(Array(2).fill(['boss', undefined]));
  });
});

describe('the host is never disturbed', () => {
  it('by a model that hides its address: it is asked and reported, or carried when that is said', async () => {
    const warned = jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
    const stage = setStage();
    const inner = scripted(() => ({}), GATEWAY);
    const hidden = wrapLanguageModel({ model: inner, middleware: {} });
    await stage.runpurse.run({}, async (run) => {
      await generateText({ prompt: 'hi', model: run.model(hidden) });
      await generateText({ prompt: 'hi', model: run.model(hidden, { carried: true }) });
      await generateText({ prompt: 'hi', model: wrapLanguageModel({ model: inner, middleware: [run.middleware({ carried: true })] }) });
    });
    expect(inner.sent.map((sent) => standing(sent)['run'] !== undefined)).toEqual([false, true, true]);
    expect(warned).toHaveBeenCalledTimes(1);
    expect(warned.mock.calls[0]?.[0]).toContain('{ carried: true }');
  });

  it('by what it can not read: the call is made and the fault reported', async () => {
    const stage = setStage();
    const model = Object.assign(
      scripted(() => ({})),
      {
        config: {
          url: () => {
            throw new Error('no url');
          },
        },
      },
    );
    const odd: Record<string, unknown> = {};
    odd['self'] = odd;
    const { text } = await stage.runpurse.run({}, (run) =>
      generateText({ model: run.model(model), messages: [{ role: 'user', content: 'hi', providerOptions: { mock: odd as never } }] }),
    );
    expect(text).toBe('done');
    expect(stage.faults.map(String)).toEqual(['Error: no url', expect.stringContaining('circular')]);
    expect(stage.types()).toEqual(['run.started', 'llm.call.started', 'llm.call.completed', 'run.completed']);
  });

  it('by a report that fails', async () => {
    const stage = setStage();
    const { client } = stage.runpurse;
    const begin = client.run.bind(client);
    jest.spyOn(client, 'run').mockImplementation((context) => {
      const run = begin(context);
      for (const report of ['recordModel', 'settleTool', 'end'] as const)
        jest.spyOn(run, report).mockImplementation(() => {
          throw new Error(report);
        });
      return run;
    });
    const { text } = await stage.runpurse.run({}, (run) =>
      generateText({ ...LOOP, model: run.model(scripted(lookThenAnswer)), tools: run.tools(lookup().tools) }),
    );
    expect(text).toBe('done');
    expect(stage.faults.map(String)).toEqual(['Error: recordModel', 'Error: settleTool', 'Error: recordModel', 'Error: end']);
  });

  it('by a gateway that is away', async () => {
    const stage = setStage({ deny: () => 'lost' });
    const { tools, ran } = lookup();
    const { text } = await stage.runpurse.run({}, (run) =>
      generateText({ ...LOOP, model: run.model(scripted(lookThenAnswer)), tools: run.tools(tools) }),
    );
    expect([text, ran]).toEqual(['done', ['x']]);
  });
});
