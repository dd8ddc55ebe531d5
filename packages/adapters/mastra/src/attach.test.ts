import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { InMemoryStore } from '@mastra/core/storage';
import { Agent as RealAgent, type Agent, type AgentConfig } from '@mastra/core/agent';
import { MockMemory } from '@mastra/core/memory';
import { Mastra } from '@mastra/core/mastra';
import { RequestContext } from '@mastra/core/request-context';
import { createTool } from '@mastra/core/tools';
import { createStep, createWorkflow } from '@mastra/core/workflows';
import { denies } from '@runpurse/conformance';
import { refusalOf } from '@runpurse/core';
import { getEventListeners } from 'node:events';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { z } from 'zod';
import { answered, GATEWAY, lookThenAnswer, lookup, PROVIDER, scripted, setStage, standing, type Stage } from '../test/stage.ts';

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

type CallOptions = Exclude<Parameters<Agent['resumeGenerate']>[1], undefined>;
type Output = Awaited<ReturnType<Agent['generate']>>;
const ways = {
  generate: (agent: Agent, options: object = {}): Promise<Output> => agent.generate('hi', options as CallOptions),
  stream: async (agent: Agent, options: object = {}): Promise<Output> =>
    (await agent.stream('hi', options as never)).getFullOutput() as Promise<Output>,
};
const WAYS = Object.entries(ways);

// Mastra prints what it also throws; here failures are meant.
beforeEach(() => void jest.spyOn(console, 'error').mockImplementation(() => {}));
afterEach(() => void jest.restoreAllMocks());

async function thrownBy(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => undefined,
    (error: unknown) => error,
  );
}

const soon = (ms = 50): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

async function sent(stage: Stage): Promise<string[]> {
  await stage.runpurse.client.flush();
  return stage.types();
}

function end(stage: Stage): unknown {
  return stage.events.at(-1);
}

/** Without what no two runs have in common, and the name of the model, which Mastra notes for agents with processors only. */
function stripped(value: unknown): unknown {
  return JSON.parse(
    JSON.stringify(value, (key, each: unknown) => (/id$|At$|timestamp|^model$|^request$|^response$/i.test(key) ? undefined : each)) ??
      'null',
  );
}

describe('a run', () => {
  it.each(WAYS)('of %s is told from its start to its end, carried or not', async (_, play) => {
    for (const [at, types] of [
      [PROVIDER, PLAIN_RUN],
      [GATEWAY, CARRIED_RUN],
    ] as const) {
      const stage = setStage();
      const requestContext = new RequestContext([
        ['runpurse', { runId: 'run-1', sessionId: 'session-1', customerId: 'customer-1', limitUsd: '0.50' }],
      ]);
      const output = await play(stage.agent(scripted(lookThenAnswer, at)), { requestContext });
      expect(output.text).toBe('done');
      expect(stage.types()).toEqual(types);
      for (const event of stage.events)
        expect(event).toMatchObject({
          run_id: 'run-1',
          session_id: 'session-1',
          customer_id: 'customer-1',
          agent_id: 'support',
          source: 'mastra',
        });
      expect(stage.events[0]?.metadata).toMatchObject({ limit_usd: '0.5' });
      const usage = { input_tokens: 7, cache_read_tokens: 2, cache_write_5m_tokens: 1, output_tokens: 5, reasoning_tokens: 1 };
      expect(stage.eventsOf('llm.call.completed').map(({ metadata }) => metadata)).toEqual(
        Array(2).fill(
          expect.objectContaining({
            model: 'mock-2026',
            usage: expect.objectContaining(usage),
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
    const direct = scripted(() => ({}));
    const requestContext = new RequestContext([['runpurse', { runId: 'run-1', customerId: 'customer-1' }]]);
    const modelSettings = { headers: { 'x-mine': '1' } };
    await stage.agent(carried).generate('hi', { requestContext, modelSettings });
    await stage.agent(direct).generate('hi', { modelSettings });
    const steps = stage.eventsOf('llm.call.completed').map((event) => event['step_id']);
    expect(new Set(steps).size).toBe(3);
    expect(carried.sent.map(standing)).toEqual(
      steps.slice(0, 2).map((step) => expect.objectContaining({ run: 'run-1', agent: 'support', customer: 'customer-1', step })),
    );
    expect(carried.sent[0]?.headers).toMatchObject({ 'x-mine': '1' });
    expect(Object.keys(direct.sent[0]?.headers ?? {}).filter((name) => /alephant|runpurse/i.test(name))).toEqual([]);
    expect(JSON.stringify(stage.events)).not.toContain('Help.');
  });

  it.each<[string, object, string]>([
    ['the memory’s thread', { memory: { thread: 'thread-1', resource: 'user-1' } }, 'thread-1'],
    ['what the RequestContext states', { requestContext: new RequestContext([['runpurse', { sessionId: 'mine' }]]) }, 'mine'],
  ])('has as its session %s', async (_, options, session) => {
    const stage = setStage();
    const agent = stage.agent(scripted(() => ({})));
    await agent.generate('hi', options as CallOptions);
    expect(stage.events[0]?.['session_id']).toBe(session);
  });

  it.each(WAYS)('of %s that may not begin trips before its first call', async (_, play) => {
    const stage = setStage({ deny: denies('run.started', 'budget_exceeded', 402) });
    const model = scripted(() => ({}));
    const { tripwire, text } = await play(stage.agent(model));
    expect(tripwire).toMatchObject({ processorId: 'runpurse', metadata: { code: 'budget_exceeded', status: 402 } });
    expect([text, model.sent, stage.types()]).toEqual(['', [], ['run.started']]);
  });

  it('with a cap that cannot be read does not begin', async () => {
    const stage = setStage();
    const model = scripted(() => ({}));
    const requestContext = new RequestContext([['runpurse', { limitUsd: 'lots' }]]);
    expect(await thrownBy(stage.agent(model).generate('hi', { requestContext }))).toMatchObject({
      message: expect.stringContaining('limitUsd'),
    });
    expect([model.sent, stage.types()]).toEqual([[], []]);
  });

  it.each(WAYS)('of %s that is cancelled ends stopped, and the call under way is told', async (_, play) => {
    const stage = setStage();
    const controller = new AbortController();
    const model = scripted(() => {
      setTimeout(() => controller.abort(), 5);
      return { hangs: true };
    });
    const { finishReason } = await play(stage.agent(model), { abortSignal: controller.signal });
    expect(finishReason).toBe('aborted');
    expect(stage.types()).toEqual(['run.started', 'llm.call.started', 'llm.call.failed', 'run.failed']);
    expect(stage.events.slice(2).map(({ metadata }) => metadata['status'])).toEqual(['aborted', 'stopped']);
  });

  it.each(WAYS)('of %s that is cancelled while its tool runs ends stopped, and the tool is settled', async (_, play) => {
    const stage = setStage();
    const controller = new AbortController();
    const { tool } = lookup(async () => {
      controller.abort();
      await soon(20);
      return 'late';
    });
    const model = scripted(lookThenAnswer);
    await play(stage.agent(model, { tools: { lookup: tool } }), { abortSignal: controller.signal });
    expect(model.sent).toHaveLength(1);
    expect(end(stage)).toMatchObject({ type: 'run.failed', metadata: { status: 'stopped' } });
    expect(stage.types().filter((type) => /^tool.call.(completed|failed)$/.test(type))).toHaveLength(1);
  });

  it('that is cancelled ends stopped although something in it never ends', async () => {
    const stage = setStage();
    const controller = new AbortController();
    const { tool } = lookup(() => {
      controller.abort();
      return new Promise(() => {});
    });
    void stage.agent(scripted(lookThenAnswer), { tools: { lookup: tool } }).generate('hi', { abortSignal: controller.signal });
    await soon(1_500);
    expect(end(stage)).toMatchObject({ type: 'run.failed', metadata: { status: 'stopped' } });
    expect(stage.eventsOf('tool.call.failed')).toHaveLength(1);
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
    await stage.agent(model).generate('hi', { abortSignal: controller.signal });
    expect(model.sent).toEqual([]);
    expect(stage.eventsOf('llm.call.failed')[0]?.metadata).toMatchObject({
      status: 'aborted',
      usage: { input_tokens: 0, output_tokens: 0 },
    });
    expect(end(stage)).toMatchObject({ metadata: { status: 'stopped' } });
  });

  it.each(WAYS)('of %s whose model fails ends failed with its reason, and the error is the host’s', async (_, play) => {
    const stage = setStage();
    const error = answered(500, 'overloaded');
    const result = await thrownBy(
      play(stage.agent(scripted(() => ({ throws: error })))).then((output) => {
        throw output.error as Error;
      }),
    );
    expect(result).toMatchObject({ message: 'answered 500' });
    expect(end(stage)).toMatchObject({ type: 'run.failed', metadata: { status: 'failed', message: 'answered 500' } });
    expect(stage.eventsOf('llm.call.failed')[0]?.metadata).toMatchObject({ usage: { input_tokens: 0, output_tokens: 0 } });
  });

  it('whose stream breaks off reports the call once, as failed, with unknown usage', async () => {
    const stage = setStage();
    await thrownBy(ways.stream(stage.agent(scripted(() => ({ loses: new Error('socket') })))));
    expect(stage.eventsOf('llm.call.failed').map(({ metadata }) => [metadata['message'], metadata['usage']])).toEqual([
      ['socket', undefined],
    ]);
    expect(end(stage)).toMatchObject({ type: 'run.failed', metadata: { message: 'socket' } });
  });

  it('of an agent that was attached twice is told once', async () => {
    const stage = setStage();
    const { withRunpurse } = stage.runpurse;
    const options = { id: 'support', name: 'Support', instructions: '', model: scripted(lookThenAnswer), tools: { lookup: lookup().tool } };
    await new RealAgent(withRunpurse({ ...withRunpurse(options as unknown as AgentConfig) })).generate('hi');
    expect(stage.types()).toEqual(PLAIN_RUN);
  });

  it('leaves nothing on a signal that many runs share', async () => {
    const stage = setStage();
    const controller = new AbortController();
    const agent = stage.agent(scripted(lookThenAnswer));
    await Promise.all(Array.from({ length: 20 }, () => agent.generate('hi', { abortSignal: controller.signal })));
    expect(stage.eventsOf('run.completed')).toHaveLength(20);
    expect(getEventListeners(controller.signal, 'abort')).toEqual([]);
    controller.abort();
    await soon();
    expect(stage.eventsOf('run.failed')).toEqual([]);
  });

  it('leaves the agent’s answer, steps and messages as they are without it', async () => {
    const plain = new RealAgent({
      id: 'support',
      name: 'Support',
      instructions: 'Help.',
      model: scripted(lookThenAnswer),
      tools: { lookup: lookup().tool },
    } as unknown as AgentConfig);
    for (const play of Object.values(ways)) {
      const [without, withIt] = [await play(plain), await play(setStage().agent(scripted(lookThenAnswer)))];
      for (const key of ['text', 'steps', 'toolResults', 'usage', 'finishReason', 'messages'] as const)
        expect([key, stripped(withIt[key])]).toEqual([key, stripped(without[key])]);
    }
  });

  it('of a durable agent is told alike', async () => {
    const stage = setStage();
    const agent = stage.agent(scripted(lookThenAnswer), { durable: { cleanupTimeoutMs: 10 } });
    const mastra = new Mastra({ agents: { agent }, storage: new InMemoryStore(), logger: false });
    const output = await mastra.getAgent('agent').stream('hi');
    expect(await ((output as { readonly output?: typeof output }).output ?? output).text).toBe('done');
    await soon();
    expect(stage.types()).toEqual(PLAIN_RUN);
    await mastra.shutdown();
  });

  it('of a network of agents is one inside run(…)', async () => {
    const stage = setStage();
    const worker = stage.agent(scripted(lookThenAnswer), { id: 'worker', name: 'worker', description: 'works' });
    const choices = [
      { primitiveId: 'worker', primitiveType: 'agent', prompt: 'do it', selectionReason: 'it can' },
      {
        isComplete: true,
        completionReason: 'done',
        finalResult: 'all',
        primitiveId: 'none',
        primitiveType: 'none',
        prompt: '',
        selectionReason: '',
      },
    ];
    const model = scripted((count) => ({ text: JSON.stringify(choices[count - 1]) }));
    const boss = stage.agent(model, { id: 'boss', name: 'boss', agents: { worker }, memory: new MockMemory() });
    await stage.runpurse.run({ runId: 'run-1' }, async () => {
      for await (const chunk of await boss.network('go', { memory: { thread: 'thread-1', resource: 'user-1' } })) void chunk;
    });
    expect(new Set(stage.events.map(({ run_id }) => run_id))).toEqual(new Set(['run-1']));
    expect(stage.eventsOf('llm.call.completed').map((event) => event['agent_id'])).toEqual(['boss', 'worker', 'worker', 'boss']);
    expect(end(stage)).toMatchObject({ type: 'run.completed' });
  });

  it('of generateLegacy is told from its start to its end, without its models', async () => {
    const stage = setStage();
    const answer = { finishReason: 'stop', usage: { promptTokens: 1, completionTokens: 1 }, rawCall: { rawPrompt: null, rawSettings: {} } };
    const model = {
      specificationVersion: 'v1',
      provider: 'scripted',
      modelId: 'old',
      defaultObjectGenerationMode: 'json',
      doGenerate: async ({ prompt }: { readonly prompt: readonly { readonly role: string }[] }) =>
        prompt.at(-1)?.role === 'tool'
          ? { ...answer, text: 'done' }
          : {
              ...answer,
              finishReason: 'tool-calls',
              toolCalls: [{ toolCallType: 'function', toolCallId: 'call_1', toolName: 'lookup', args: '{"q":"x"}' }],
            },
    };
    const { text } = await stage.agent(model).generateLegacy('hi', { maxSteps: 3 });
    expect(text).toBe('done');
    expect(await sent(stage)).toEqual(['run.started', 'tool.call.requested', 'tool.call.completed', 'run.completed']);
    expect(new Set(stage.events.map(({ run_id }) => run_id)).size).toBe(1);
  });

  it('ends completed when its steps are used up', async () => {
    const stage = setStage();
    await stage.agent(scripted(() => ({ calls: [{ name: 'lookup' }] }))).generate('hi', { maxSteps: 2 });
    expect(end(stage)).toMatchObject({ type: 'run.completed' });
    expect(stage.eventsOf('tool.call.completed').map((event) => event['tool_call_id'])).toEqual(['call_1', 'call_1~2']);
  });
});

describe('another processor', () => {
  type Other = NonNullable<Exclude<AgentConfig['inputProcessors'], (...args: never[]) => unknown>>[number];
  const trips = (hook: string, from = 0): Other => {
    let count = 0;
    return {
      id: 'other',
      [hook]: ({ abort, part }: { readonly abort: (reason: string) => never; readonly part?: unknown }) =>
        (count += 1) > from ? abort('not allowed') : part,
    } as unknown as Other;
  };
  const cases: readonly (readonly [string, () => Partial<AgentConfig>])[] = [
    ['before its second step', () => ({ inputProcessors: [trips('processInputStep', 1)] })],
    ['in the stream', () => ({ outputProcessors: [trips('processOutputStream') as never] })],
    ['after a step', () => ({ outputProcessors: [trips('processOutputStep') as never] })],
    ['given by a function', () => ({ inputProcessors: () => [trips('processInputStep', 1)] })],
    [
      'by a throw',
      () => ({
        outputProcessors: [
          {
            id: 'other',
            processOutputStep: () => {
              throw new Error('not allowed');
            },
          } as never,
        ],
      }),
    ],
  ];
  it.each(cases)('that stops an agent %s ends its run failed', async (_, options) => {
    for (const play of Object.values(ways)) {
      const stage = setStage();
      await thrownBy(play(stage.agent(scripted(lookThenAnswer), options())));
      await sent(stage);
      const ends = stage.events.filter(({ type }) => /^run\.(completed|failed)/.test(type));
      expect(ends).toMatchObject([{ type: 'run.failed', metadata: { status: 'failed', message: 'not allowed' } }]);
      expect(new Set(stage.events.map(({ run_id }) => run_id)).size).toBe(1);
      if (play === ways.generate) expect(stage.eventsOf('llm.call.completed')[0]?.metadata).toMatchObject({ usage: { output_tokens: 5 } });
    }
  });

  it('that stops an agent for it to try again lets its run go on', async () => {
    const stage = setStage();
    let count = 0;
    const strict = {
      id: 'other',
      processOutputStep: ({ abort }: { readonly abort: (reason: string, options: object) => never }) =>
        (count += 1) === 1 ? abort('say it better', { retry: true }) : undefined,
    };
    const agent = stage.agent(
      scripted(() => ({})),
      { outputProcessors: [strict as never], maxProcessorRetries: 1 },
    );
    expect((await agent.generate('hi')).text).toBe('done');
    expect(stage.types()).toEqual([
      'run.started',
      'llm.call.started',
      'llm.call.completed',
      'llm.call.started',
      'llm.call.completed',
      'run.completed',
    ]);
    expect(stage.eventsOf('llm.call.completed').map((event) => event['attempt'])).toEqual([1, 1]);
  });

  it('that stops an agent before its first step has nothing begun', async () => {
    const stage = setStage();
    await stage.agent(scripted(lookThenAnswer), { inputProcessors: [trips('processInputStep')] }).generate('hi');
    expect(await sent(stage)).toEqual([]);
  });

  it('keeps its own fields, methods and private parts', async () => {
    class Counting {
      readonly id = 'counting';
      #count = 0;
      processInputStep(): object {
        this.#count += 1;
        return {};
      }
      get count(): number {
        return this.#count;
      }
    }
    const counting = new Counting();
    await setStage()
      .agent(scripted(lookThenAnswer), { inputProcessors: [counting as unknown as Other] })
      .generate('hi');
    expect(counting.count).toBe(2);
  });
});

describe('a refused model call', () => {
  it.each(WAYS)('of %s is not made and trips the agent, carried or not', async (_, play) => {
    const refused = answered(402, 'budget_exceeded');
    const asked = { deny: denies('llm.call.started', 'budget_exceeded', 402) };
    for (const [model, options, calls] of [
      [scripted(() => ({})), asked, 0],
      [scripted(() => ({ throws: refused }), GATEWAY), {}, 1],
    ] as const) {
      const stage = setStage(options);
      const output = await play(stage.agent(model));
      expect(output.text).toBe('');
      expect(output.tripwire).toMatchObject({ processorId: 'runpurse', metadata: { code: 'budget_exceeded', status: 402 } });
      expect(refusalOf(output.tripwire?.metadata)).toMatchObject({ code: 'budget_exceeded', message: output.tripwire?.reason });
      expect(model.sent).toHaveLength(calls);
      expect(end(stage)).toMatchObject({ type: 'run.failed', metadata: { status: 'failed', message: output.tripwire?.reason } });
      expect(stage.types().filter((type) => /llm.call.(completed|failed)/.test(type))).toEqual([]);
    }
  });

  it.each(WAYS)('of %s is not tried again, nor with another model', async (_, play) => {
    const stage = setStage();
    const models = [409, 503].map((status) =>
      scripted(() => ({ throws: answered(status, status === 409 ? 'run_ended' : 'ledger_unavailable') }), GATEWAY),
    );
    const agent = stage.agent(models.map((model) => ({ model, maxRetries: 2 })));
    expect(await play(agent)).toMatchObject({ tripwire: { metadata: { code: 'run_ended' } } });
    expect(models.map((model) => model.sent.length)).toEqual([1, 0]);
  });

  it('that is a rate limit is waited out, as the same attempt', async () => {
    const stage = setStage();
    const model = scripted((count) => (count === 1 ? { throws: answered(429, 'rate_limited') } : {}), GATEWAY);
    await stage.agent(model, { maxRetries: 1 }).generate('hi');
    expect(model.sent.map(standing).map(({ attempt }) => attempt)).toEqual(['1', '1']);
    expect(await sent(stage)).toEqual(['run.started', 'llm.call.completed', 'run.completed']);
  });

  it.each(WAYS)('of %s is an error where the agent’s output processors are replaced', async (_, play) => {
    const stage = setStage({ deny: denies('llm.call.started') });
    const model = scripted(() => ({}));
    const error = await thrownBy(
      play(stage.agent(model), { outputProcessors: [] }).then((output) => {
        throw output.error as Error;
      }),
    );
    expect(error).toMatchObject({ name: 'RefusedError', code: 'policy_denied' });
    expect(model.sent).toEqual([]);
  });

  it.each(WAYS)('of %s for want of a gateway trips under the closed policy only', async (_, play) => {
    for (const closed of [true, false]) {
      const stage = setStage({ closed, deny: () => 'lost' });
      const model = scripted(() => ({}));
      const { tripwire } = await play(stage.agent(model));
      expect([model.sent.length, tripwire?.metadata]).toEqual(
        closed ? [0, expect.objectContaining({ code: 'gateway_unavailable' })] : [1, undefined],
      );
    }
  });
});

describe('a model call', () => {
  it.each(WAYS)('of %s that is tried again, or with a fallback, is the same step’s next attempt', async (_, play) => {
    const stage = setStage();
    const failing = scripted(() => ({ throws: answered(500, 'overloaded') }), PROVIDER, 'first');
    const agent = stage.agent([
      { model: failing, maxRetries: 1 },
      { model: scripted(lookThenAnswer, PROVIDER, 'second'), maxRetries: 0 },
    ]);
    await play(agent);
    const calls = stage.events.filter(({ type }) => /llm.call.(completed|failed)/.test(type));
    expect(calls.map((event) => [event['name'], event['attempt']])).toEqual([
      ['first', 1],
      ['first', 2],
      ['second-2026', 3],
      ['second-2026', 1],
    ]);
    expect(new Set(calls.slice(0, 3).map((event) => event['step_id'])).size).toBe(1);
  });

  it('of a model that prepareStep put in is bounded and carried like any other', async () => {
    const stage = setStage();
    const other = scripted(lookThenAnswer, GATEWAY, 'other');
    const agent = stage.agent(scripted(() => ({})));
    await agent.generate('hi', { prepareStep: () => ({ model: other, modelSettings: {} }) } as never);
    expect(other.sent).toHaveLength(2);
    expect(stage.eventsOf('llm.call.completed').map(({ metadata }) => metadata['model'])).toEqual(['other-2026', 'other-2026']);
    expect(stage.eventsOf('llm.call.started')).toHaveLength(2); // it hides its address, so it is asked for
  });

  it.each<[string, object, string]>([
    ['in the system message', { jsonPromptInjection: true }, 'Help.'],
    ['in the user’s message, the only one', { jsonPromptInjection: 'inline' }, ''],
  ])('of which Mastra changes the prompt %s is still known', async (_, more, instructions) => {
    const stage = setStage();
    const agent = stage.agent(
      scripted(() => ({ text: '{"a":"b"}' })),
      { instructions },
    );
    const output: { readonly object: unknown } = await agent.generate('hi', {
      structuredOutput: { schema: z.object({ a: z.string() }), ...more },
    } as never);
    expect(output.object).toEqual({ a: 'b' });
    expect(stage.types()).toEqual(['run.started', 'llm.call.started', 'llm.call.completed', 'run.completed']);
  });

  it('is asked for with its worst case, tools and files included', async () => {
    const stage = setStage();
    const big = 'x'.repeat(10_000);
    const agent = stage.agent(
      scripted(() => ({})),
      { instructions: big },
    );
    await agent.generate('hi', { modelSettings: { maxOutputTokens: 77 } });
    const { metadata } = stage.eventsOf('llm.call.started')[0] ?? {};
    expect(metadata).toMatchObject({ max_output_tokens: 77 });
    expect(metadata?.['input_tokens_max']).toBeGreaterThan(10_000 + JSON.stringify({ q: { type: 'string' } }).length);
  });

  it('refused by a provider that is no gateway of ours is the provider’s failure', async () => {
    const stage = setStage();
    const error = await thrownBy(stage.agent(scripted(() => ({ throws: answered(402, 'budget_exceeded') }))).generate('hi'));
    expect(error).toMatchObject({ message: 'answered 402' });
    expect(stage.eventsOf('llm.call.failed')).toHaveLength(1);
  });

  it('that turns out to have been carried is warned of, once', async () => {
    const warn = jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
    const stage = setStage();
    const hidden = { ...scripted(() => ({}), GATEWAY), config: undefined };
    await stage.agent(hidden).generate('hi');
    await stage.agent(hidden).generate('hi');
    expect(warn.mock.calls.filter(([text]) => String(text).includes('carried: true'))).toHaveLength(1);
  });

  it('whose model hides its address is carried when that is said', async () => {
    const stage = setStage();
    const hidden = { ...scripted(lookThenAnswer), config: undefined };
    const { withRunpurse } = stage.runpurse;
    const options = { id: 'support', name: 'Support', instructions: '', model: hidden, tools: { lookup: lookup().tool } };
    await new RealAgent(withRunpurse(options as unknown as AgentConfig, { carried: true })).generate('hi');
    expect(stage.types()).toEqual(CARRIED_RUN);
    expect(standing(hidden.sent[0] ?? { prompt: [] })).toMatchObject({ agent: 'support', attempt: '1' });
  });
});

describe('a tool', () => {
  it.each(WAYS)('of %s that is denied does not run, the model is told, and the run goes on', async (_, play) => {
    const stage = setStage({ deny: denies('tool.call.requested') });
    const { tool, ran } = lookup();
    const model = scripted(lookThenAnswer);
    expect((await play(stage.agent(model, { tools: { lookup: tool } }))).text).toBe('done');
    expect(ran).toEqual([]);
    expect(JSON.stringify(model.sent[1]?.prompt)).toContain('is denied by no-tool.call.requested');
    expect(stage.types().filter((type) => /^tool.call.(completed|failed)$/.test(type))).toEqual([]);
    expect(end(stage)).toMatchObject({ type: 'run.completed' });
  });

  it('that fails is told to be failed, and its secrets stay', async () => {
    const stage = setStage();
    const { tool } = lookup(() => {
      throw new Error('broke with key sk-live-0123456789abcdef0123456789abcdef');
    });
    expect((await stage.agent(scripted(lookThenAnswer), { tools: { lookup: tool } }).generate('hi')).text).toBe('done');
    expect(stage.eventsOf('tool.call.failed')).toHaveLength(1);
    expect(JSON.stringify(stage.events)).not.toContain('0123456789abcdef');
  });

  it('is asked for past an own hook of the call, and by the hook past an own processor', async () => {
    const stage = setStage({ deny: denies('tool.call.requested') });
    const { tool, ran } = lookup();
    const agent = stage.agent(scripted(lookThenAnswer), { tools: { lookup: tool } });
    await agent.generate('hi', { hooks: { beforeToolCall: () => undefined } });
    await agent.generate('hi', { inputProcessors: [] });
    expect(ran).toEqual([]);
    expect(stage.eventsOf('tool.call.requested')).toHaveLength(2);
  });

  it('keeps the hooks of the agent, before and after', async () => {
    const heard: string[] = [];
    const hooks: NonNullable<AgentConfig['hooks']> = {
      beforeToolCall: ({ toolName }) => void heard.push(`before ${toolName}`),
      afterToolCall: ({ output }) => void heard.push(`after ${String(output)}`),
    };
    const stage = setStage();
    await stage.agent(scripted(lookThenAnswer), { hooks }).generate('hi');
    expect(heard).toEqual(['before lookup', 'after found x']);
    expect(stage.eventsOf('tool.call.requested')).toHaveLength(1);
  });

  it('of a call with processors of its own is asked for, and that its models were not is warned of', async () => {
    const warn = jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
    const replaced = (): unknown[] => warn.mock.calls.filter(([text]) => String(text).includes('"replacing" replaced its inputProcessors'));
    const agent = setStage().agent(scripted(lookThenAnswer), { id: 'replacing' });
    await agent.generate('hi');
    expect(replaced()).toHaveLength(0);
    for (let calls = 0; calls < 2; calls += 1) await agent.generate('hi', { inputProcessors: [] });
    expect(replaced()).toHaveLength(1);
  });

  it('past an own processor of the call is settled by the hook, in a run that ends with the call', async () => {
    for (const [run, ending] of [
      [() => 'found', 'tool.call.completed'],
      [() => Promise.reject(new Error('broke')), 'tool.call.failed'],
    ] as const) {
      const stage = setStage();
      const agent = stage.agent(scripted(lookThenAnswer), { tools: { lookup: lookup(run).tool } });
      await agent.generate('hi', { inputProcessors: [] });
      expect(await sent(stage)).toEqual(['run.started', 'tool.call.requested', ending, 'run.completed']);
    }
  });

  it('that a hook of the agent skips is not asked for by ours', async () => {
    const stage = setStage();
    const { tool, ran } = lookup();
    const hooks: NonNullable<AgentConfig['hooks']> = { beforeToolCall: () => ({ proceed: false, output: 'not today' }) };
    const model = scripted(lookThenAnswer);
    await stage.agent(model, { hooks, tools: { lookup: tool } }).generate('hi', { inputProcessors: [] });
    expect(ran).toEqual([]);
    expect(JSON.stringify(model.sent[1]?.prompt)).toContain('not today');
    expect(stage.eventsOf('tool.call.requested')).toEqual([]);
  });

  it('that hands over to another agent has what that does in its call, and in its run', async () => {
    for (const play of Object.values(ways)) {
      const stage = setStage();
      const researcher = stage.agent(scripted(lookThenAnswer), { id: 'researcher', name: 'Researcher', description: 'researches' });
      const model = scripted((_count, { prompt }) =>
        prompt.at(-1)?.role === 'tool' ? { text: 'all' } : { calls: [{ id: 'call_9', name: 'agent-researcher', args: { prompt: 'x' } }] },
      );
      await play(stage.agent(model, { agents: { researcher } }));
      const inside = stage.events.filter((event) => event['agent_id'] === 'researcher');
      expect(inside.map(({ type }) => type)).toEqual(PLAIN_RUN.slice(1, -1));
      expect(new Set(inside.map((event) => event['parent_step_id']))).toEqual(new Set(['call_9']));
      expect(new Set(stage.events.map(({ run_id }) => run_id)).size).toBe(1);
      expect(stage.types().filter((type) => /^run\./.test(type))).toEqual(['run.started', 'run.completed']);
    }
  });

  it('whose own agent is cancelled by itself does not end the run around it', async () => {
    const stage = setStage();
    const researcher = stage.agent(
      scripted(() => ({ hangs: true })),
      { id: 'researcher' },
    );
    const { tool } = lookup(async () => {
      const own = new AbortController();
      setTimeout(() => own.abort(), 5);
      const { finishReason } = await researcher.generate('hi', { abortSignal: own.signal });
      await soon(1_200);
      return finishReason;
    });
    expect((await stage.agent(scripted(lookThenAnswer), { tools: { lookup: tool } }).generate('hi')).text).toBe('done');
    expect(stage.types().filter((type) => /^run\./.test(type))).toEqual(['run.started', 'run.completed']);
    expect(stage.eventsOf('llm.call.failed')).toMatchObject([{ agent_id: 'researcher', metadata: { status: 'aborted' } }]);
  });
});

describe('a suspended tool', () => {
  const suspends = createTool({
    id: 'lookup',
    description: 'looks up',
    inputSchema: z.object({ q: z.string() }),
    suspendSchema: z.object({ why: z.string() }),
    resumeSchema: z.object({ ok: z.boolean() }),
    execute: async (_input, { agent }) => {
      if (agent?.resumeData === undefined) return await agent?.suspend({ why: 'ask' });
      return 'resumed';
    },
  });
  const approved = createTool({
    id: 'lookup',
    description: 'looks up',
    inputSchema: z.object({ q: z.string() }),
    requireApproval: true,
    execute: async () => 'approved',
  });

  it.each<[string, unknown, (agent: Agent, runId: string) => Promise<{ getFullOutput(): Promise<unknown> }>]>([
    ['that is resumed', suspends, (agent, runId) => agent.resumeStream({ ok: true }, { runId, toolCallId: 'call_1' })],
    ['that is approved', approved, (agent, runId) => agent.approveToolCall({ runId, toolCallId: 'call_1' })],
  ])('%s goes on in the same run, asked for once', async (_, tool, resume) => {
    const stage = setStage();
    const agent = stage.agent(scripted(lookThenAnswer), { tools: { lookup: tool } as never });
    new Mastra({ agents: { agent }, storage: new InMemoryStore(), logger: false });
    const suspended = await agent.stream('hi');
    expect((await suspended.getFullOutput()).finishReason).toBe('suspended');
    expect((await sent(stage)).filter((type) => /^run\.(completed|failed)/.test(type))).toEqual([]);
    await (await resume(agent, suspended.runId)).getFullOutput();
    expect((await sent(stage)).filter((type) => type !== 'approval.requested')).toEqual(PLAIN_RUN);
    expect(new Set(stage.events.map(({ run_id }) => run_id)).size).toBe(1);
  });

  it.each<[string, unknown, (agent: Agent, runId: string) => Promise<{ getFullOutput(): Promise<unknown> }>, string[]]>([
    [
      'that is resumed was asked for where it began',
      suspends,
      (agent, runId) => agent.resumeStream({ ok: true }, { runId, toolCallId: 'call_1' }),
      ['first tool.call.requested'],
    ],
    [
      'that is approved had not begun, and is asked for',
      approved,
      (agent, runId) => agent.approveToolCall({ runId, toolCallId: 'call_1' }),
      ['second tool.call.requested', 'second tool.call.completed'],
    ],
  ])('in another process, %s', async (_, tool, resume, expected) => {
    const storage = new InMemoryStore();
    const processes = { first: setStage(), second: setStage() };
    const [first, second] = Object.values(processes).map((stage) => {
      const agent = stage.agent(scripted(lookThenAnswer), { tools: { lookup: tool } as never });
      new Mastra({ agents: { agent }, storage, logger: false });
      return agent;
    }) as [Agent, Agent];
    const suspended = await first.stream('hi');
    await suspended.getFullOutput();
    await (await resume(second, suspended.runId)).getFullOutput();
    const told: string[] = [];
    for (const [name, stage] of Object.entries(processes))
      told.push(...(await sent(stage)).filter((type) => type.startsWith('tool.')).map((type) => `${name} ${type}`));
    expect(told).toEqual(expected);
    expect(processes.second.types().at(-1)).toBe('run.completed');
  });
});

describe('run(…)', () => {
  it('ends with the workflow’s stream it returns', async () => {
    const stage = setStage();
    const shape = { inputSchema: z.object({}), outputSchema: z.object({}) };
    const step = createStep({ id: 'wait', ...shape, execute: async () => (await soon(20), {}) });
    const run = await createWorkflow({ id: 'flow', ...shape })
      .then(step)
      .commit()
      .createRun();
    const stream = await stage.runpurse.run({}, () => run.stream({ inputData: {} }));
    expect(stage.types()).toEqual(['run.started']);
    await stream.result;
    await soon();
    expect(stage.types()).toEqual(['run.started', 'run.completed']);
  });

  it('is one run over all the agents in it', async () => {
    const stage = setStage();
    const first = stage.agent(scripted(lookThenAnswer));
    const second = stage.agent(scripted(() => ({})));
    await stage.runpurse.run({ runId: 'run-1', limitUsd: '0.50' }, async () => {
      await first.generate('hi');
      return second.generate('hi');
    });
    expect(stage.types().filter((type) => /^run\./.test(type))).toEqual(['run.started', 'run.completed']);
    expect(new Set(stage.events.map(({ run_id }) => run_id))).toEqual(new Set(['run-1']));
    expect(stage.eventsOf('llm.call.completed').map((event) => [event['agent_id'], event['parent_step_id']])).toEqual(
      Array(3).fill(['support', undefined]),
    );
  });

  it('ends with the stream it returns, once that is read', async () => {
    const stage = setStage();
    const stream = await stage.runpurse.run({}, () => stage.agent(scripted(lookThenAnswer)).stream('hi'));
    expect(stage.types()).not.toContain('run.completed');
    expect(await stream.text).toBe('done');
    await soon();
    expect(stage.types()).toEqual(PLAIN_RUN);
  });

  it.each<[string, (stage: Stage) => Promise<unknown>, object]>([
    ['failed, when its work throws', () => Promise.reject(new Error('mine')), { status: 'failed', message: 'mine' }],
    ['stopped, when its work is cancelled', () => Promise.reject(new DOMException('x', 'AbortError')), { status: 'stopped' }],
    [
      'failed, when its agent trips',
      (stage) =>
        stage
          .agent(
            scripted(() => ({})),
            { inputProcessors: [{ id: 'other', processInputStep: ({ abort }) => abort('not allowed') }] },
          )
          .generate('hi'),
      { status: 'failed', message: 'not allowed' },
    ],
  ])('ends %s', async (_, work, metadata) => {
    const stage = setStage();
    await thrownBy(stage.runpurse.run({}, () => work(stage)));
    expect(end(stage)).toMatchObject({ type: 'run.failed', metadata });
  });

  it('takes in nothing that begins after it has ended', async () => {
    const stage = setStage();
    let late: Promise<unknown> = Promise.resolve();
    await stage.runpurse.run({ runId: 'run-1' }, () => {
      late = soon().then(() => stage.agent(scripted(() => ({}))).generate('hi'));
    });
    await late;
    expect(stage.eventsOf('run.started')).toHaveLength(2);
    expect(stage.eventsOf('llm.call.completed')[0]?.run_id).not.toBe('run-1');
  });

  it('that may not begin throws, and does nothing', async () => {
    const stage = setStage({ deny: denies('run.started') });
    const work = jest.fn(() => 'done');
    expect(await thrownBy(stage.runpurse.run({}, work))).toMatchObject({ name: 'RefusedError', code: 'policy_denied' });
    expect(work).not.toHaveBeenCalled();
  });
});

describe('fifty runs at once', () => {
  it('on one agent, plain and streamed, are told apart in every event and header', async () => {
    const stage = setStage();
    const { tool } = lookup(async (q) => {
      await soon(Math.random() * 20);
      return q;
    });
    for (const at of [PROVIDER, GATEWAY]) {
      const model = scripted(lookThenAnswer, at);
      const agent = stage.agent(model, { tools: { lookup: tool } });
      await Promise.all(
        Array.from({ length: 50 }, (_, index) => {
          const requestContext = new RequestContext([['runpurse', { runId: `${at} ${index}`, customerId: `customer ${index}` }]]);
          return (index % 2 === 0 ? ways.generate : ways.stream)(agent, { requestContext });
        }),
      );
      for (let index = 0; index < 50; index += 1) {
        const events = stage.events.filter(({ run_id }) => run_id === `${at} ${index}`);
        expect(events.map(({ type }) => type)).toEqual(at === PROVIDER ? PLAIN_RUN : CARRIED_RUN);
        expect(new Set(events.map((event) => event['customer_id']))).toEqual(new Set([`customer ${index}`]));
        expect(events.map((event) => event['sequence'])).toEqual(events.map((_, place) => place + 1));
      }
      if (at === GATEWAY) {
        const told = stage.eventsOf('llm.call.completed').map((event) => `${event.run_id} ${String(event['step_id'])}`);
        const carried = model.sent.map(standing).map(({ run, step }) => `${String(run)} ${String(step)}`);
        expect(new Set(carried).size).toBe(100);
        expect(told.filter((each) => each.startsWith(GATEWAY)).toSorted()).toEqual(carried.toSorted());
      }
    }
  });
});

describe('what nobody tells the end of', () => {
  it('is ended when nobody can go on with it', async () => {
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    const stage = setStage();
    await (async () => {
      // As a stream that is never read: begun, and then forgotten by everybody.
      const { beginExecution } = await import('./execution.ts');
      const host = {
        client: stage.client,
        gateway: GATEWAY,
        onFault: () => {},
        defaults: {},
        attached: new Set<string>(),
        traced: new Map(),
        runs: new Map(),
        tasks: new Map(),
      };
      await beginExecution({ host, id: 'support', carried: undefined }, undefined);
    })();
    for (let tries = 0; tries < 50 && !stage.types().includes('run.failed'); tries += 1) {
      collect();
      await soon(10);
    }
    expect(end(stage)).toMatchObject({ type: 'run.failed', metadata: { status: 'failed' } });
  });
});

describe('a fault of ours', () => {
  it('does not reach the agent, and is heard', async () => {
    const stage = setStage();
    const requestContext = new RequestContext([['runpurse', { sessionId: 7, customerId: ['x'] }]]);
    const agent = stage.agent(scripted(() => ({}), undefined));
    expect((await agent.generate('hi', { requestContext })).text).toBe('done');
    expect(stage.events[0]).not.toHaveProperty('customer_id');
    const frozen = Object.freeze({ ...scripted(() => ({})) });
    expect((await stage.agent(frozen).generate('hi')).text).toBe('done');
  });
});
