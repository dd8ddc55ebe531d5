import { afterEach, describe, expect, it, jest } from '@jest/globals';
import {
  Agent,
  handoff,
  OpenAIChatCompletionsModel,
  RunContext,
  Runner,
  RunState,
  setTraceProcessors,
  setTracingDisabled,
  webSearchTool,
  withTrace,
} from '@openai/agents';
import { refusalOf } from '@runpurse/core';
import { guardAgent, guardTools } from '../src/index.ts';
import { callOnce, isAnswered, setRealStage, sleep, toolNamed, toolsOf, type Answering, type RealStage } from './real-stage.ts';

// What a hostile reader found a way past: each is played by the real SDK against a real gateway.

const stages: RealStage[] = [];
async function stage(...args: Parameters<typeof setRealStage>): Promise<RealStage> {
  const made = await setRealStage(...args);
  stages.push(made);
  return made;
}
afterEach(async () => {
  setTracingDisabled(false);
  jest.restoreAllMocks();
  await Promise.all(stages.splice(0).map((made) => made.close()));
});

const NO_REFUNDS = { policy: { tools: { deny: ['refund'] } } };
const settings = { maxTokens: 100 };
const agentWith = (...tools: ReturnType<typeof toolNamed>[]) => new Agent({ name: 'support', model: 'm1', modelSettings: settings, tools });
/** As the SDK's `run()`, which keeps the provider it met first. */
const plainly = (at: RealStage, more: object = {}) => new Runner({ modelProvider: at.runpurse.models(), ...more });
const says = (text: string, { body }: Parameters<Answering>[0]) => JSON.stringify(body).includes(text);
const caught = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => undefined,
    (error: unknown) => error,
  );

describe('a denied tool does not run', () => {
  it.each(['everywhere', 'for one runner'])('when tracing is off %s', async (where) => {
    const at = await stage(callOnce('refund'), NO_REFUNDS);
    setTracingDisabled(where === 'everywhere');
    const ran: string[] = [];
    const runner = plainly(at, { tracingDisabled: where !== 'everywhere' });
    const { finalOutput } = await runner.run(guardAgent(agentWith(toolNamed('refund', ran))), 'hi');
    expect([ran, finalOutput]).toEqual([[], 'done']);
    const runs = await at.runs();
    expect(runs.flatMap(toolsOf)).toEqual(['refund denied 0']);
    expect(runs.map(({ status }) => status)).toEqual(['completed', 'completed', 'completed']);
  });

  it.each(['as it is', 'read back'])('when a run() is resumed, its state %s', async (how) => {
    const at = await stage(callOnce('refund'), NO_REFUNDS);
    const ran: string[] = [];
    const agent = guardAgent(agentWith(toolNamed('refund', ran, { needsApproval: true })));
    const { state } = await plainly(at).run(agent, 'hi');
    const kept = how === 'as it is' ? state : await RunState.fromString(agent, state.toString());
    for (const interruption of kept.getInterruptions()) kept.approve(interruption);
    const { finalOutput } = await plainly(at).run(agent, kept as typeof state);
    expect([ran, finalOutput]).toEqual([[], 'done']);
    expect((await at.runs()).flatMap(toolsOf)).toEqual(['refund denied 0']);
  });

  it('when a run() in a guardrail failed and was caught', async () => {
    const at = await stage(async (request) => {
      if (says('CLASSIFY', request)) return { error: { status: 400, code: 'x', message: 'no' } };
      if (!isAnswered(request)) await sleep(100);
      return callOnce('refund')(request, 0);
    }, NO_REFUNDS);
    const ran: string[] = [];
    const classifier = new Agent({ name: 'classifier', model: 'm1' });
    const agent = guardAgent(agentWith(toolNamed('refund', ran)));
    agent.inputGuardrails = [
      {
        name: 'classify',
        execute: async () => {
          await caught(plainly(at).run(classifier, 'CLASSIFY'));
          return { tripwireTriggered: false, outputInfo: {} };
        },
      },
    ];
    await plainly(at).run(agent, 'hi');
    expect(ran).toEqual([]);
    expect((await at.runs()).map((run) => [run.status, toolsOf(run)])).toEqual([['completed', ['refund denied 0']]]);
  });

  it('when another run() of its trace failed', async () => {
    const at = await stage(async (request) => {
      if (says('FAIL', request)) return { error: { status: 400, code: 'x', message: 'no' } };
      if (!isAnswered(request)) await sleep(100);
      return callOnce('refund')(request, 0);
    }, NO_REFUNDS);
    const ran: string[] = [];
    const [failing, agent] = [new Agent({ name: 'failing', model: 'm1' }), guardAgent(agentWith(toolNamed('refund', ran)))];
    await withTrace('both', () => Promise.allSettled([plainly(at).run(failing, 'FAIL'), plainly(at).run(agent, 'hi')]));
    expect(ran).toEqual([]);
    expect((await at.runs()).map((run) => [run.status, toolsOf(run)])).toEqual([['failed', ['refund denied 0']]]);
  });

  it('whatever another run with the same context may do', async () => {
    const rule = { id: 'not-c2', phase: 'tool_call', when: 'customer.id == "c2"', effect: 'block', reason: 'no' };
    const at = await stage(callOnce('refund'), { policy: { rules: [rule] } });
    const ran: string[] = [];
    const slow = toolNamed('refund', ran, { execute: () => (ran.push('x'), sleep(100)) });
    const context = new RunContext({}) as never;
    const ask = (id: string) =>
      at.runpurse.with({ runId: id, customerId: id }, () => at.runpurse.runner().run(agentWith(slow), 'hi', { context }));
    await Promise.all([ask('c1'), ask('c2')]);
    expect(ran).toEqual(['x']);
    expect([toolsOf(await at.read('c1')), toolsOf(await at.read('c2'))]).toEqual([['refund completed 0.003'], ['refund denied 0']]);
  });

  it.each<[string, (ran: string[]) => Agent]>([
    ['is a copy of a guarded one with guardrails of its own', (ran) => agentWith({ ...guarded('refund', ran), inputGuardrails: [] })],
    [
      'got other guardrails after it was guarded',
      (ran) => agentWith(Object.assign(guarded('refund', ran), { inputGuardrails: [LETS_PASS] })),
    ],
    ['stands beside one that is frozen', (ran) => agentWith(Object.freeze(toolNamed('lookup', [])), toolNamed('refund', ran))],
    [
      'belongs to an agent that only its handoff knows',
      (ran) => {
        const named = new Agent({ name: 'named', model: 'm1' });
        const other = new Agent({ name: 'other', instructions: 'OTHER', model: 'm1', tools: [toolNamed('refund', ran)] });
        const transfer = handoff(named, { toolNameOverride: 'transfer' });
        transfer.onInvokeHandoff = async () => other;
        return new Agent({ name: 'front', instructions: 'FRONT', model: 'm1', handoffs: [transfer] });
      },
    ],
    [
      'was added while the agent ran',
      (ran) => {
        const agent = agentWith();
        const add = { execute: () => void agent.tools.push(toolNamed('refund', ran)) };
        agent.tools = [toolNamed('add', [], add)];
        return agent;
      },
    ],
  ])('that %s', async (_, agentOf) => {
    jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
    const ran: string[] = [];
    const at = await stage((request) => {
      const offered = JSON.stringify(request.body.tools ?? []);
      if (says('Policy rule', request) || says('did x', request)) return { content: 'done' };
      const name = ['transfer', 'refund', 'add'].find((each) => offered.includes(`"name":"${each}"`)) ?? 'none';
      return { toolCalls: [{ id: `call of ${name}`, name, args: name === 'transfer' ? {} : { q: 'x' } }] };
    }, NO_REFUNDS);
    await at.runpurse.with({ runId: 'r1' }, () => at.runpurse.runner().run(agentOf(ran), 'hi'));
    expect(ran).toEqual([]);
    expect(toolsOf(await at.read('r1'))).toContain('refund denied 0');
  });

  const LETS_PASS = { type: 'tool_input', name: 'mine', run: async () => ({ behavior: { type: 'allow' } }) } as const;
  const guarded = (name: string, ran: string[]) => {
    const made = toolNamed(name, ran);
    guardTools([made]);
    return made;
  };

  it('and runs unasked only with a warning, where nothing is attached', async () => {
    const warn = jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
    const at = await stage(callOnce('refund'), NO_REFUNDS);
    const ran: string[] = [];
    const agent = guardAgent(agentWith(toolNamed('refund', ran)));
    agent.model = new OpenAIChatCompletionsModel(at.direct(), 'm1');
    await at.runpurse.client.close();
    await new Runner().run(agent, 'hi');
    expect(ran).toEqual(['x']);
    expect(warn.mock.calls.map(([text]) => String(text))).toContainEqual(expect.stringContaining('no Runpurse is attached'));
  });
});

describe('each tool call is charged once', () => {
  it('of parallel runs that share a context and ids', async () => {
    const at = await stage(callOnce('lookup'));
    const slow = toolNamed('lookup', [], { execute: () => sleep(80) });
    const context = new RunContext({}) as never;
    const ids = ['r1', 'r2', 'r3'];
    await Promise.all(ids.map((runId) => at.runpurse.with({ runId }, () => at.runpurse.runner().run(agentWith(slow), 'hi', { context }))));
    for (const id of ids) expect(toolsOf(await at.read(id))).toEqual(['lookup completed 0.002']);
  });

  it.each([false, true])(
    'of agents behind tools whose models use the same ids, the tools they are behind guarded: %s',
    async (isGuarded) => {
      jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
      const at = await stage((request) => {
        if (isAnswered(request)) return { content: 'done' };
        return says('NEST', request)
          ? { toolCalls: [{ id: 'same', name: 'lookup', args: { q: 'x' } }] }
          : { toolCalls: ['o1', 'o2'].map((id) => ({ id, name: 'clerk', args: { input: `NEST ${id}` } })) };
      });
      const nested = guardAgent(agentWith(toolNamed('lookup', [], { execute: () => sleep(80) })));
      const clerk = nested.asTool({ toolName: 'clerk', toolDescription: 'asks nested' });
      const front = new Agent({ name: 'front', model: 'm1', tools: [clerk] });
      if (isGuarded) guardAgent(front);
      await at.runpurse.with({ runId: 'r1' }, () => plainly(at).run(front, 'hi'));
      expect([...toolsOf(await at.read('r1'))].sort()).toEqual([
        'clerk completed 0.01',
        'clerk completed 0.01',
        'lookup completed 0.002',
        'lookup completed 0.002',
      ]);
    },
  );

  it('also when ids are alike but for what can not be seen', async () => {
    const ids = ['a\u0001b', 'a b'];
    const at = await stage((request) =>
      isAnswered(request) ? { content: 'done' } : { toolCalls: ids.map((id) => ({ id, name: 'lookup', args: { q: id } })) },
    );
    await at.runpurse.with({ runId: 'r1' }, () => at.runpurse.runner().run(agentWith(toolNamed('lookup', [])), 'hi'));
    expect(toolsOf(await at.read('r1'))).toEqual(['lookup completed 0.002', 'lookup completed 0.002']);
  });

  it('although nobody guarded it and a guarded one has its name', async () => {
    jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
    const at = await stage((request) => callOnce(says('NEST', request) ? 'lookup' : 'clerk')(request, 0));
    const nested = agentWith(toolNamed('lookup', []));
    const clerk = nested.asTool({ toolName: 'clerk', toolDescription: 'asks nested' });
    const front = new Agent({ name: 'front', model: 'm1', tools: [toolNamed('lookup', []), clerk] });
    await at.runpurse.with({ runId: 'r1' }, () => at.runpurse.runner().run(front, 'hi'));
    expect([...toolsOf(await at.read('r1'))].sort()).toEqual(['clerk completed 0.01', 'lookup completed 0.002']);
  });
});

describe('a tool that was allowed and not called', () => {
  it.each(['rejected', 'never answered', 'approved by another process'])('costs nothing when it waited and was %s', async (how) => {
    const at = await stage(callOnce('lookup'));
    const ran: string[] = [];
    const make = () => agentWith(toolNamed('lookup', ran, { needsApproval: true }));
    const runner = at.runpurse.runner({ toolExecution: { preApprovalInputGuardrails: true } });
    const { state } = await at.runpurse.with({ runId: 'r1' }, () => runner.run(make(), 'hi'));
    expect(await at.read('r1')).toMatchObject({ status: 'paused', cost: { tool_usd: '0' }, budgets: [{ held_usd: '0' }] });
    if (how === 'never answered') return;
    const again = make();
    const kept = await RunState.fromString(again, state.toString());
    for (const interruption of kept.getInterruptions()) {
      if (how === 'rejected') kept.reject(interruption);
      else kept.approve(interruption);
    }
    await at.runpurse.with({ runId: 'r2' }, () => runner.run(again, kept as typeof state));
    const isRun = how !== 'rejected';
    expect(ran).toEqual(isRun ? ['x'] : []);
    expect(toolsOf(await at.read('r2'))).toEqual(isRun ? ['lookup completed 0.002'] : []);
  });

  it.each(['its run was aborted', 'a hook of the runner threw', 'a hook of the agent threw'])('costs nothing when %s', async (why) => {
    const at = await stage(callOnce('lookup'));
    const ran: string[] = [];
    const controller = new AbortController();
    const runner = at.runpurse.runner();
    const lookup = toolNamed('lookup', ran);
    if (why === 'its run was aborted')
      lookup.inputGuardrails = [
        {
          type: 'tool_input',
          name: 'aborts',
          run: async () => (setTimeout(() => controller.abort(), 0), { behavior: { type: 'allow' } as const }),
        },
      ];
    const agent = agentWith(lookup);
    const hook = () => {
      throw new Error('broken hook');
    };
    if (why === 'a hook of the runner threw') runner.on('agent_tool_start', hook);
    if (why === 'a hook of the agent threw') guardAgent(agent).on('agent_tool_start', hook);
    await caught(at.runpurse.with({ runId: 'r1' }, () => runner.run(agent, 'hi', { signal: controller.signal })));
    expect([ran, toolsOf(await at.read('r1'))]).toEqual([[], []]);
    expect(await at.read('r1')).toMatchObject({ cost: { total_usd: '0.000582' }, budgets: [{ held_usd: '0' }] });
  });
});

describe('a cap holds past the gateway', () => {
  it.each<[string, object, 'chat_completions' | 'responses', object[]]>([
    ["with tools of the provider's", {}, 'responses', [webSearchTool()]],
    ['with a larger limit in providerData', { max_tokens: 4000 }, 'chat_completions', []],
    ['with a larger limit in its other name', { max_completion_tokens: 4000 }, 'chat_completions', []],
    ['with a larger limit for Responses', { max_output_tokens: 4000 }, 'responses', []],
    ['with a larger limit in the extra body', { extraBody: { max_output_tokens: 4000 } }, 'responses', []],
    ['with many answers', { n: 20 }, 'chat_completions', []],
    ['with the limit taken away', { max_tokens: null }, 'chat_completions', []],
  ])('%s', async (_, providerData, api, tools) => {
    const at = await stage(() => ({}));
    const agent = new Agent({ name: 'support', model: 'm1', modelSettings: { maxTokens: 50, providerData }, tools: tools as never });
    const runner = at.runpurse.runner({ modelProvider: at.runpurse.models(at.direct(), api) });
    const error = await caught(at.runpurse.with({ runId: 'r1', limitUsd: '0.03' }, () => runner.run(agent, 'hi')));
    expect(refusalOf(error)).toMatchObject({ code: 'budget_exceeded' });
    expect(at.provider.requests).toEqual([]);
  });

  it('and nothing is held for a call that is not sent, because its signal is aborted', async () => {
    const at = await stage(() => ({}));
    const runner = at.runpurse.runner({ modelProvider: at.runpurse.models(at.direct(), 'chat_completions') });
    const signal = AbortSignal.abort();
    await caught(at.runpurse.with({ runId: 'r1' }, () => runner.run(agentWith(), 'hi', { signal })));
    expect(await at.read('r1')).toMatchObject({ status: 'stopped', cost: { total_usd: '0' }, requests: [] });
  });

  const usage = { input_tokens: 100, input_tokens_details: { cached_tokens: 0 }, output_tokens: 50, output_tokens_details: {} };
  it.each(['incomplete', 'failed'].flatMap((status) => [`${status} plain`, `${status} streamed`]))(
    'and a response that ends %s costs what it used',
    async (which) => {
      const [status = '', how] = which.split(' ');
      const at = await stage(() => ({}));
      const response = { id: 'r', object: 'response', model: 'm1', output: [], status, usage, error: null };
      const event = `data: ${JSON.stringify({ type: `response.${status}`, sequence_number: 0, response })}\n\n`;
      const reply = () =>
        how === 'plain' ? Response.json(response) : new Response(event, { headers: { 'content-type': 'text/event-stream' } });
      const client = at.direct({ fetch: async () => reply() });
      const runner = at.runpurse.runner({ modelProvider: at.runpurse.models(client, 'responses') });
      const work = at.runpurse.with({ runId: 'r1' }, async () => {
        if (how === 'plain') return void (await runner.run(agentWith(), 'hi'));
        await (
          await runner.run(agentWith(), 'hi', { stream: true })
        ).completed;
      });
      expect(await caught(work)).toBeInstanceOf(Error);
      await sleep(20);
      expect((await at.read('r1')).requests).toMatchObject([{ status: 'failed', cost_usd: '0.006' }]);
    },
  );
});

describe('what with() states of a run inside a run', () => {
  const limits = { runId: 'r2', customerId: 'c2', limitUsd: '0.0001' };

  it.each(['runner()', 'run()'])('makes another run of it in a tool: %s', async (kind) => {
    const at = await stage((request) => (says('NEST', request) ? {} : callOnce('lookup')(request, 0)));
    const runner = kind === 'run()' ? plainly(at) : at.runpurse.runner();
    let inner: unknown;
    const execute = async () => {
      inner = await caught(at.runpurse.with(limits, () => runner.run(agentWith(), 'NEST')));
    };
    await at.runpurse.with({ runId: 'r1' }, () => at.runpurse.runner().run(agentWith(toolNamed('lookup', [], { execute })), 'hi'));
    expect(refusalOf(inner)).toMatchObject({ code: 'budget_exceeded' });
    await sleep(20);
    expect(await at.read('r2')).toMatchObject({ status: 'failed', customer_id: 'c2', cost: { total_usd: '0' } });
    expect(await at.read('r1')).toMatchObject({ status: 'completed', counts: { requests: 2 } });
  });

  it.each(['runner()', 'run()'])('makes another run of it in a trace: %s', async (kind) => {
    const at = await stage(() => ({}));
    const runner = kind === 'run()' ? plainly(at) : at.runpurse.runner();
    const agent = agentWith();
    await withTrace('flow', async () => {
      await plainly(at).run(agent, 'one');
      await caught(at.runpurse.with(limits, () => runner.run(agent, 'two')));
      await at.runpurse.with({ properties: { plan: 'pro' } }, () => runner.run(agent, 'three'));
    });
    expect((await at.runs()).map(({ status, customer_id, counts }) => [status, customer_id, counts.requests])).toEqual([
      ['completed', null, 2],
      ['failed', 'c2', 0],
    ]);
  });

  it('is the same run however its id has to be written on the wire', async () => {
    const at = await stage(callOnce('lookup'));
    const begin = jest.spyOn(at.runpurse.client, 'run');
    await at.runpurse.with({ runId: ' r\n1 ' }, () => plainly(at).run(guardAgent(agentWith(toolNamed('lookup', []))), 'hi'));
    expect((await at.runs()).map(({ run_id, counts }) => [run_id, counts.requests, counts.tool_calls])).toEqual([['r 1', 2, 1]]);
    expect(begin).toHaveBeenCalledTimes(1);
  });

  it('keeps runs side by side in a trace apart', async () => {
    const at = await stage(() => ({}));
    const ids = ['r1', 'r2'];
    await withTrace('flow', () => Promise.all(ids.map((runId) => at.runpurse.with({ runId }, () => plainly(at).run(agentWith(), 'hi')))));
    for (const id of ids) expect(await at.read(id)).toMatchObject({ status: 'completed', counts: { requests: 1 } });
  });

  it('is another run than the one that ended before it in the background, which has its id', async () => {
    const at = await stage((request) => (says('LATER', request) ? {} : callOnce('lookup')(request, 0)));
    let later: Promise<unknown> = Promise.resolve();
    const execute = () => {
      later = sleep(100).then(() => plainly(at).run(new Agent({ name: 'summary', model: 'm1' }), 'LATER'));
    };
    await at.runpurse.with({ runId: 'r1', customerId: 'c1' }, () =>
      at.runpurse.runner().run(agentWith(toolNamed('lookup', [], { execute })), 'hi'),
    );
    await later;
    await sleep(20);
    const runs = (await at.runs()).map(({ agent_id, customer_id, status }) => [agent_id, customer_id, status]);
    expect(runs).toEqual([
      ['support', 'c1', 'completed'],
      ['summary', 'c1', 'completed'],
    ]);
  });
});

describe('an error that is hard to read', () => {
  const unreadable = {
    get name() {
      throw new Error('the getter of name');
    },
    get message() {
      throw new Error('the getter of message');
    },
  };
  const unreadableError = Object.defineProperty(new Error('odd'), 'message', { get: () => unreadable.message });
  const kinds: [string, unknown][] = [
    ['undefined', undefined],
    ['null', null],
    ['an object without anything', Object.create(null)],
    ['an object whose getters throw', unreadable],
    ['an error whose getters throw', unreadableError],
  ];

  it.each(kinds.flatMap(([name, error]) => ['plain', 'streamed'].map((how) => [name, how, error] as const)))(
    'fails the run: %s, %s',
    async (_name, how, error) => {
      const at = await stage(() => ({}));
      const instructions = () => {
        throw error;
      };
      const agent = new Agent({ name: 'support', model: 'm1', instructions });
      await at.runpurse.with({ runId: 'r1' }, async () => {
        if (how === 'plain')
          await at.runpurse
            .runner()
            .run(agent, 'hi')
            .then(undefined, () => {});
        else await (await at.runpurse.runner().run(agent, 'hi', { stream: true })).completed.then(undefined, () => {});
      });
      await sleep(20);
      expect(await at.read('r1')).toMatchObject({ status: 'failed' });
      expect(at.faults).toEqual([]);
    },
  );

  it.each(kinds)('fails the tool that threw it: %s', async (_name, error) => {
    const at = await stage(callOnce('lookup'));
    const execute = () => {
      throw error;
    };
    const lookup = toolNamed('lookup', [], { errorFunction: null, execute });
    await at.runpurse.with({ runId: 'r1' }, () =>
      at.runpurse
        .runner()
        .run(agentWith(lookup), 'hi')
        .then(undefined, () => {}),
    );
    expect(toolsOf(await at.read('r1'))).toEqual(['lookup failed 0.002']);
    expect(await at.read('r1')).toMatchObject({ status: 'failed', budgets: [{ held_usd: '0' }] });
  });
});

describe('what the SDK tells by tracing', () => {
  it('is told once, however many attachments there are and whoever names the processor again', async () => {
    const [first, at] = [
      await stage(() => ({})),
      await stage((request) =>
        says('transfer_to_billing', request) && !isAnswered(request)
          ? { toolCalls: [{ id: 'c', name: 'transfer_to_billing', args: {} }] }
          : {},
      ),
    ];
    expect(first.runpurse.processor).toBe(at.runpurse.processor);
    setTraceProcessors([at.runpurse.processor]);
    await stage(() => ({}));
    const front = new Agent({ name: 'front', model: 'm1', handoffs: [new Agent({ name: 'billing', model: 'm1' })] });
    await at.runpurse.with({ runId: 'r1' }, () => at.runpurse.runner().run(front, 'hi'));
    expect((await at.read('r1')).steps.filter(({ kind }) => kind === 'handoff')).toMatchObject([{ name: 'billing', status: 'completed' }]);
  });
});

describe('a model call that passes us by', () => {
  it('is warned of, that of an agent behind a tool too', async () => {
    const warn = jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
    const at = await stage((request) =>
      says('NEST', request) && !isAnswered(request) && request.body.tools === undefined ? {} : callOnce('clerk')(request, 0),
    );
    const model = new OpenAIChatCompletionsModel(at.direct(), 'hidden-model');
    const clerk = new Agent({ name: 'nested', model }).asTool({ toolName: 'clerk', toolDescription: 'asks nested' });
    await at.runpurse.runner().run(new Agent({ name: 'front', model: 'm1', tools: [clerk] }), 'hi');
    expect(warn.mock.calls.map(([text]) => String(text))).toEqual([expect.stringContaining('the model "hidden-model" pass Runpurse by')]);
  });

  it('is not one whose stream was left before its end', async () => {
    const warn = jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
    const at = await stage(() => ({ content: 'a long answer of many words' }));
    for (const api of ['chat_completions', 'responses'] as const) {
      const runner = at.runpurse.runner({ modelProvider: at.runpurse.models(at.direct(), api) });
      const streamed = await runner.run(agentWith(), 'hi', { stream: true });
      for await (const event of streamed) if (event.type === 'raw_model_stream_event') break;
      await sleep(100);
    }
    expect((await at.runs()).map(({ status }) => status)).toEqual(['stopped', 'stopped']);
    expect(warn.mock.calls).toEqual([]);
  });
});
