import { afterEach, describe, expect, it, jest } from '@jest/globals';
import { Agent, retryPolicies, run, setDefaultModelProvider, setTracingDisabled, tool, withTrace, Runner } from '@openai/agents';
import { RunpurseError, refusalOf } from '@runpurse/core';
import { z } from 'zod';
import { carried, lookupTool, setStage, type Stage } from '../test/stage.ts';
import type { SentCall, SentEvent, StubAnswer } from '@runpurse/conformance';
import { attachRunpurse, guardTools } from './index.ts';

const stages: Stage[] = [];
async function stage(...args: Parameters<typeof setStage>): Promise<Stage> {
  const made = await setStage(...args);
  stages.push(made);
  return made;
}
afterEach(async () => {
  setTracingDisabled(false);
  jest.restoreAllMocks();
  await Promise.all(stages.splice(0).map((made) => made.close()));
});

const APIS = ['chat_completions', 'responses'] as const;
const denies = (type: string, code = 'policy_denied', status = 403) => {
  return (event: SentEvent) => (event.type === type ? { code, status, message: `${type} is denied by no-${type}` } : undefined);
};

/** Calls `lookup` once, then answers with text. */
function lookThenAnswer({ body }: SentCall): StubAnswer {
  const told = JSON.stringify(body.messages ?? body.input);
  return body.tools === undefined || body.tools.length === 0 || /"role":"tool"|function_call_output/.test(told)
    ? { content: 'done' }
    : { toolCalls: [{ id: 'call_1', name: 'lookup', args: { q: 'x' } }] };
}

async function drain(runner: Runner, agent: Agent, input: string): Promise<string> {
  const streamed = await runner.run(agent, input, { stream: true });
  let text = '';
  for await (const piece of streamed.toTextStream()) text += piece;
  await streamed.completed;
  return text;
}

const RUN = [
  'run.started',
  'trace.linked',
  'llm.call.completed',
  'tool.call.requested',
  'tool.call.completed',
  'llm.call.completed',
  'run.completed',
];

describe('a run of a runner', () => {
  it.each(APIS.flatMap((api) => [`${api} plain`, `${api} streamed`]))('over %s is told from its start to its end', async (way) => {
    const [api, how] = way.split(' ') as [(typeof APIS)[number], string];
    const at = await stage({ answer: lookThenAnswer });
    const runner = at.runpurse.runner({ modelProvider: at.runpurse.models(at.openai(), api), groupId: 'group-1' });
    const agent = new Agent({ name: 'support', model: 'gpt-test', tools: [lookupTool().lookup] });
    const output = how === 'plain' ? (await runner.run(agent, 'hi')).finalOutput : await drain(runner, agent, 'hi');
    await at.runpurse.client.flush();
    expect(output).toBe('done');
    expect(at.types()).toEqual(RUN);
    const [{ run_id } = { run_id: '' }] = at.events;
    for (const event of at.events)
      expect(event).toMatchObject({ run_id, session_id: 'group-1', agent_id: 'support', source: 'openai_agents' });
    expect(at.requests.map(carried)).toEqual(
      at.eventsOf('llm.call.completed').map(({ step_id }) => ({
        run: run_id,
        session: 'group-1',
        step: step_id,
        parent: undefined,
        agent: 'support',
        attempt: '1',
      })),
    );
    expect(at.requests.map(({ path }) => path)).toEqual(Array(2).fill(api === 'responses' ? '/v1/responses' : '/v1/chat/completions'));
    for (const { metadata } of at.eventsOf('llm.call.completed')) {
      expect(metadata).toMatchObject({
        carried: true,
        model: 'gpt-test-2026',
        request_id: 'req_1',
        usage: { input_tokens: 8, cache_read_tokens: 2, output_tokens: 5, reasoning_tokens: 1 },
      });
    }
    expect(at.faults).toEqual([]);
  });

  it('is what with() says it is, before the options, before the SDK', async () => {
    const at = await stage({}, { agentId: 'default-agent', workflowId: 'default-workflow', customerId: 'default-customer' });
    const runner = at.runpurse.runner({ workflowName: 'refunds', groupId: 'group-1' });
    const stated = { runId: 'run-1', sessionId: 'session-1', customerId: 'customer-1', limitUsd: '0.50', bounds: { max_requests: 3 } };
    await at.runpurse.with(stated, () => runner.run(new Agent({ name: 'support', model: 'gpt-test' }), 'hi'));
    expect(at.events[0]).toMatchObject({
      run_id: 'run-1',
      session_id: 'session-1',
      customer_id: 'customer-1',
      workflow_id: 'default-workflow',
      agent_id: 'default-agent',
      name: 'refunds',
      metadata: { limit_usd: '0.5', bounds: { max_requests: 3 } },
    });
  });

  it('that is denied does not begin', async () => {
    const at = await stage({ deny: denies('run.started', 'budget_exceeded', 402) });
    const error: unknown = await at.runpurse
      .runner()
      .run(new Agent({ name: 'support', model: 'gpt-test' }), 'hi')
      .catch((thrown: unknown) => thrown);
    expect(refusalOf(error)).toMatchObject({ code: 'budget_exceeded' });
    expect(at.requests).toEqual([]);
    expect(at.types()).toEqual(['run.started']);
  });

  it('that fails ends failed, with the reason, and reports the call that failed as free', async () => {
    const at = await stage({ answer: () => ({ error: { status: 400, code: 'context_length_exceeded', message: 'too long' } }) });
    const asked = at.runpurse.runner().run(new Agent({ name: 'support', model: 'gpt-test' }), 'hi');
    await expect(asked).rejects.toThrow('too long');
    expect(at.events.at(-1)).toMatchObject({
      type: 'run.failed',
      metadata: { status: 'failed', message: expect.stringContaining('too long') },
    });
    expect(at.eventsOf('llm.call.failed')[0]?.metadata).toMatchObject({ usage: { input_tokens: 0, output_tokens: 0 } });
  });

  it.each(['plain', 'streamed'])('that is cancelled while %s ends stopped, its call aborted', async (how) => {
    const controller = new AbortController();
    const at = await stage({
      answer: () => new Promise((resolve) => setTimeout(() => (controller.abort(), setTimeout(() => resolve({}), 50)), 5)),
    });
    const agent = new Agent({ name: 'support', model: 'gpt-test' });
    const { signal } = controller;
    if (how === 'plain') await expect(at.runpurse.runner().run(agent, 'hi', { signal })).rejects.toThrow();
    else await (await at.runpurse.runner().run(agent, 'hi', { stream: true, signal })).completed.catch(() => {});
    await new Promise((resolve) => setTimeout(resolve, 50));
    await at.runpurse.client.flush();
    expect(at.events.at(-1)).toMatchObject({ type: 'run.failed', metadata: { status: 'stopped', message: 'cancelled' } });
    expect(at.eventsOf('llm.call.failed')[0]?.metadata).toMatchObject({ status: 'aborted' });
  });

  it('that an input guardrail stops ends failed, the guardrail in its log', async () => {
    const at = await stage();
    const guardrail = {
      name: 'no-homework',
      runInParallel: false,
      execute: async () => ({ tripwireTriggered: true, outputInfo: {} }),
    };
    const agent = new Agent({ name: 'support', model: 'gpt-test', inputGuardrails: [guardrail] });
    await expect(at.runpurse.runner().run(agent, 'hi')).rejects.toThrow();
    expect(at.requests).toEqual([]);
    expect(at.eventsOf('guardrail.tripped')[0]).toMatchObject({
      name: 'no-homework',
      metadata: { guardrail: 'no-homework', triggered: true },
    });
    expect(at.events.at(-1)).toMatchObject({ type: 'run.failed', metadata: { status: 'failed' } });
  });

  it('that waits for an approval is paused; approved, it goes on as another run of the session', async () => {
    const at = await stage({ answer: lookThenAnswer });
    const runner = at.runpurse.runner({ groupId: 'group-1' });
    const ran: string[] = [];
    const lookup = tool({
      name: 'lookup',
      description: 'looks up',
      parameters: z.object({ q: z.string() }),
      needsApproval: true,
      execute: ({ q }) => String(ran.push(q)),
    });
    const agent = new Agent({ name: 'support', model: 'gpt-test', tools: [lookup] });
    const { state, interruptions } = await runner.run(agent, 'hi');
    expect(at.types()).toEqual(['run.started', 'trace.linked', 'llm.call.completed', 'approval.requested']);
    expect(at.events.at(-1)?.metadata).toMatchObject({ status: 'paused' });
    for (const interruption of interruptions) state.approve(interruption);
    await runner.run(agent, state);
    expect(ran).toEqual(['x']);
    expect(new Set(at.events.map((event) => event.run_id)).size).toBe(2);
    expect(new Set(at.events.map((event) => event['session_id']))).toEqual(new Set(['group-1']));
    expect(at.types().slice(4)).toEqual([
      'run.started',
      'tool.call.requested',
      'tool.call.completed',
      'llm.call.completed',
      'run.completed',
    ]);
  });

  it('that is begun in the background of one that is over is another', async () => {
    const at = await stage({
      answer: (request) => (JSON.stringify(request.body).includes('You summarize.') ? {} : lookThenAnswer(request)),
    });
    const runner = at.runpurse.runner();
    const summary = new Agent({ name: 'summary', instructions: 'You summarize.', model: 'gpt-test' });
    let later: Promise<unknown> = Promise.resolve();
    const { lookup } = lookupTool(() => {
      later = new Promise((resolve) => setTimeout(resolve, 60)).then(() => runner.run(summary, 'sum up'));
      return 'found';
    });
    await runner.run(new Agent({ name: 'support', model: 'gpt-test', tools: [lookup] }), 'hi');
    await later;
    const runs = at.eventsOf('run.started').map(({ run_id, agent_id }) => [run_id, agent_id]);
    expect(runs.map(([, agent]) => agent)).toEqual(['support', 'summary']);
    expect(carried(at.requests.at(-1) as SentCall)).toMatchObject({ run: runs[1]?.[0], agent: 'summary', parent: undefined });
  });

  it('holds nothing of a call that its end outran', async () => {
    const at = await stage({ answer: () => new Promise((resolve) => setTimeout(() => resolve({}), 60)) });
    const guardrail = { name: 'slow', execute: () => new Promise<never>((_, reject) => setTimeout(() => reject(new Error('broken')), 20)) };
    const agent = new Agent({ name: 'support', model: 'gpt-test', inputGuardrails: [guardrail] });
    await expect(at.runpurse.runner().run(agent, 'hi')).rejects.toThrow('broken');
    await new Promise((resolve) => setTimeout(resolve, 80));
    await at.runpurse.client.flush();
    const calls = at.types().filter((type) => type.startsWith('llm.'));
    expect(calls).toHaveLength(1);
    expect(at.events.at(-1)?.type).toBe('run.failed');
  });
});

describe('a run made by run(), past our runner', () => {
  const agentOf = (...tools: Parameters<typeof guardTools>[0][]) =>
    new Agent({ name: 'support', model: 'gpt-test', tools: tools.flat() as never });

  /** The SDK's `run()` keeps the provider it met first, a runner of one's own the one it meets. */
  const runPlain = (agent: Agent, input: string) => new Runner().run(agent, input);

  async function attached(...args: Parameters<typeof setStage>): Promise<Stage> {
    const at = await stage(...args);
    setDefaultModelProvider(at.runpurse.models());
    return at;
  }

  it('is attached in one line, before the first of them', async () => {
    const at = await stage();
    const runpurse = attachRunpurse({ baseUrl: at.url, apiKey: 'rp_test', client: at.runpurse.client, sessionId: 'session-1' });
    await run(agentOf(), 'hi');
    await runpurse.client.flush();
    expect(at.requests.map((request) => carried(request).session)).toEqual(['session-1']);
    expect(at.types().filter((type) => type.startsWith('run.'))).toEqual(['run.started', 'run.completed']);
  });

  it('is of the group and the name of the trace around it, by our runner too, unless it states its own', async () => {
    const at = await stage();
    const runs = [at.runpurse.runner(), at.runpurse.runner({ groupId: 'group-2', workflowName: 'orders' })];
    await withTrace(
      'refunds',
      async () => {
        for (const runner of runs) await runner.run(agentOf(), 'hi');
      },
      { groupId: 'group-1' },
    );
    const begun = at.events.filter(({ type }) => type === 'run.started');
    expect(begun.map(({ name, session_id }) => [name, session_id])).toEqual([
      ['refunds', 'group-1'],
      ['orders', 'group-2'],
    ]);
  });

  it('is a run as long as its trace, its session the group', async () => {
    const at = await attached({ answer: lookThenAnswer });
    const { lookup } = lookupTool();
    await withTrace('refunds', () => runPlain(agentOf(guardTools([lookup])), 'hi'), { groupId: 'group-1' });
    expect(at.types().filter((type) => type !== 'trace.linked')).toEqual(RUN.filter((type) => type !== 'trace.linked'));
    for (const event of at.events) expect(event).toMatchObject({ session_id: 'group-1', agent_id: 'support' });
    expect(at.events[0]).toMatchObject({ name: 'refunds' });
  });

  it('is one run with the others of its trace, and side by side with them', async () => {
    const at = await attached();
    await withTrace('both', () => Promise.all([runPlain(agentOf(), 'one'), runPlain(agentOf(), 'two')]));
    expect(at.types().filter((type) => type.startsWith('run.'))).toEqual(['run.started', 'run.completed']);
    expect(new Set(at.requests.map((request) => carried(request).run)).size).toBe(1);
  });

  it('that fails ends failed; what follows in its trace is another run', async () => {
    const at = await attached({
      answer: (_, count) => (count === 1 ? { error: { status: 400, code: 'bad', message: 'too long' } } : {}),
    });
    await withTrace('twice', async () => {
      await runPlain(agentOf(), 'hi').catch(() => {});
      await new Promise((resolve) => setTimeout(resolve, 10));
      await runPlain(agentOf(), 'hi again');
    });
    const runs = at.events.filter(({ type }) => type.startsWith('run.'));
    expect(runs.map(({ type }) => type)).toEqual(['run.started', 'run.failed', 'run.started', 'run.completed']);
    expect(runs[1]).toMatchObject({ run_id: runs[0]?.run_id, metadata: { message: expect.stringContaining('too long') } });
    expect(runs[3]?.run_id).toBe(runs[2]?.run_id);
    expect(runs[2]?.run_id).not.toBe(runs[0]?.run_id);
  });

  it('is asked for before it begins', async () => {
    const at = await attached({ deny: denies('run.started') });
    const error: unknown = await runPlain(agentOf(), 'hi').catch((thrown: unknown) => thrown);
    expect(refusalOf(error)).toMatchObject({ code: 'policy_denied' });
    expect(at.requests).toEqual([]);
    await at.runpurse.client.flush();
    expect(at.types()).toEqual(['run.started']);
  });

  it('ends for the reason it ended, not for one it got over', async () => {
    const at = await attached({
      answer: (_, count) => (count === 1 ? { error: { status: 500, code: 'x', message: 'overloaded' } } : { toolCalls: [] }),
    });
    const retry = { maxRetries: 1, backoff: { initialDelayMs: 1 }, policy: retryPolicies.httpStatus([500]) };
    const broken = { name: 'broken', execute: () => Promise.reject(new Error('the guardrail broke')) };
    const agent = new Agent({ name: 'support', model: 'gpt-test', modelSettings: { retry }, outputGuardrails: [broken] });
    await expect(runPlain(agent, 'hi')).rejects.toThrow('the guardrail broke');
    await new Promise((resolve) => setTimeout(resolve, 10));
    await at.runpurse.client.flush();
    expect(at.events.at(-1)).toMatchObject({ type: 'run.failed', metadata: { message: expect.stringContaining('the guardrail broke') } });
  });

  it('is each call a run of its own when tracing is off, still asked for and carried', async () => {
    setTracingDisabled(true);
    const at = await attached();
    await runPlain(agentOf(), 'hi');
    expect(at.types()).toEqual(['run.started', 'llm.call.completed', 'run.completed']);
    expect(at.requests.map((request) => carried(request).run)).toEqual([at.events[0]?.run_id]);
  });
});

describe('with tracing off', () => {
  it('a run of a runner has the same events but those of traces, and the same headers', async () => {
    setTracingDisabled(true);
    const at = await stage({ answer: lookThenAnswer });
    const runner = at.runpurse.runner({ groupId: 'group-1' });
    await runner.run(new Agent({ name: 'support', model: 'gpt-test', tools: [lookupTool().lookup] }), 'hi');
    expect(at.types()).toEqual(RUN.filter((type) => type !== 'trace.linked'));
    for (const request of at.requests) expect(carried(request)).toMatchObject({ session: 'group-1', agent: 'support' });
  });
});

describe('a fault of ours', () => {
  it('never reaches the host, and is told', async () => {
    const at = await stage({ answer: lookThenAnswer });
    jest.spyOn(at.runpurse.client, 'run').mockImplementationOnce((options) => {
      const real = Object.getPrototypeOf(at.runpurse.client) as typeof at.runpurse.client;
      const made = real.run.call(at.runpurse.client, options);
      made.recordModel = made.settleTool = () => {
        throw new Error('broken');
      };
      return made;
    });
    const { lookup } = lookupTool();
    const { finalOutput } = await at.runpurse.runner().run(new Agent({ name: 'support', model: 'gpt-test', tools: [lookup] }), 'hi');
    expect(finalOutput).toBe('done');
    expect(at.faults).toEqual(Array(3).fill(new Error('broken')));
  });

  it('is not an option that can not be read: that is told at once, before anything is spent', async () => {
    const at = await stage();
    const asked = at.runpurse.with({ limitUsd: 'a lot' }, () =>
      at.runpurse.runner().run(new Agent({ name: 'a', model: 'gpt-test' }), 'hi'),
    );
    await expect(asked).rejects.toMatchObject({ code: 'invalid_option' });
    expect(RunpurseError.isInstance(await asked.catch((error: unknown) => error))).toBe(true);
    expect(at.requests).toEqual([]);
  });
});
