import { afterEach, describe, expect, it, jest } from '@jest/globals';
import { Agent, Runner, setTracingDisabled } from '@openai/agents';
import { guardAgent, guardTools } from '../src/index.ts';
import { callOnce, setRealStage, sleep, toolNamed, toolsOf, type RealStage } from './real-stage.ts';

// What the gateway is told of a run, and what it charges for that: each is played by the real SDK against a real gateway.

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

const caught = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => undefined,
    (error: unknown) => error,
  );
const agentWith = (...tools: ReturnType<typeof toolNamed>[]) => new Agent({ name: 'support', model: 'm1', tools });
const runnerOf = (at: RealStage, kind: string, models = at.runpurse.models()) =>
  kind === 'runner()' ? at.runpurse.runner({ modelProvider: models }) : new Runner({ modelProvider: models });

/** The provider's client, which makes something else of the arguments its model answers with. */
const answering = (at: RealStage, args: string) =>
  at.direct({
    fetch: async (...sent) => {
      const reply = await fetch(...sent);
      const body = (await reply.text()).replace(/"arguments":"(?:[^"\\]|\\.)*"/, `"arguments":${JSON.stringify(args)}`);
      return new Response(body, { headers: { 'content-type': 'application/json' } });
    },
  });

describe('a guardrail that stops a run', () => {
  const outputInfo = { text: 'SECRET' };
  const execute = async () => (await sleep(50), { tripwireTriggered: true, outputInfo });
  const guarded = {
    'an input guardrail': { inputGuardrails: [{ name: 'no-secrets', execute }] },
    'an output guardrail': { outputGuardrails: [{ name: 'no-secrets', execute }] },
  };

  it.each(Object.keys(guarded).flatMap((which) => ['runner()', 'run()'].map((kind) => [which, kind] as const)))(
    'is told by its name, and nothing of what it says: %s of a %s',
    async (which, kind) => {
      const at = await stage(() => ({}));
      const agent = new Agent({ name: 'support', model: 'm1', ...guarded[which as keyof typeof guarded] });
      await expect(at.runpurse.with({ runId: 'r1' }, () => runnerOf(at, kind).run(agent, 'hi'))).rejects.toThrow('SECRET');
      await sleep(20);
      expect(await at.read('r1')).toMatchObject({ status: 'failed', status_reason: expect.stringContaining('guardrail triggered') });
      const reply = await fetch(`${at.gateway.url}/v1/events?limit=100`, { headers: { authorization: `Bearer ${at.gateway.apiKey}` } });
      const events = await reply.text();
      expect(events).toContain('no-secrets');
      expect(events).not.toContain('SECRET');
    },
  );
});

describe('a tool nobody guarded that failed', () => {
  it.each(['that is guarded in another agent', 'that was never called'])(
    'is told and charged though it has the name of one %s',
    async (which) => {
      jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
      const at = await stage((request) => callOnce(JSON.stringify(request.body).includes('NEST') ? 'lookup' : 'clerk')(request, 0));
      const broken = toolNamed('lookup', [], {
        execute: () => {
          throw new Error('after the work');
        },
      });
      const clerk = agentWith(broken).asTool({ toolName: 'clerk', toolDescription: 'asks nested' });
      const other = toolNamed('lookup', []);
      if (which === 'that was never called') guardTools([other]);
      const front = new Agent({ name: 'front', model: 'm1', tools: which === 'that was never called' ? [clerk] : [other, clerk] });
      await at.runpurse.with({ runId: 'r1' }, () => at.runpurse.runner().run(front, 'hi'));
      expect([...toolsOf(await at.read('r1'))].sort()).toEqual(['clerk completed 0.01', 'lookup failed 0.002']);
    },
  );
});

describe('a guarded tool called with arguments that', () => {
  it.each(
    [
      ['are no JSON', '{"q'],
      ['do not fit its schema', '{"q":5}'],
    ].flatMap(([what, args]) =>
      ['runner()', 'run()'].flatMap((kind) => ['on', 'off'].map((tracing) => [what, kind, tracing, args] as const)),
    ),
  )('%s costs nothing: %s with tracing %s', async (_, kind, tracing, args) => {
    const warn = jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
    setTracingDisabled(tracing === 'off');
    const at = await stage(callOnce('lookup'));
    const ran: string[] = [];
    const runner = runnerOf(at, kind, at.runpurse.models(answering(at, args ?? ''), 'chat_completions'));
    const { finalOutput } = await runner.run(guardAgent(agentWith(toolNamed('lookup', ran))), 'hi');
    await sleep(20);
    const runs = await at.runs();
    expect([ran, finalOutput, runs.flatMap(toolsOf)]).toEqual([[], 'done', []]);
    for (const run of runs) expect(run).toMatchObject({ status: 'completed', cost: { tool_usd: '0' }, budgets: [{ held_usd: '0' }] });
    expect(warn.mock.calls).toEqual([]);
  });
});

describe('with tracing off a tool call', () => {
  const nothingIsLeft = async (at: RealStage): Promise<readonly string[]> => {
    await sleep(20);
    const runs = await at.runs();
    expect(runs.map(({ status }) => status)).not.toContain('running');
    for (const { budgets } of runs) expect(budgets).toMatchObject([{ held_usd: '0' }]);
    return runs.flatMap(toolsOf);
  };
  const cancelling = (controller: AbortController) => ({
    type: 'tool_input' as const,
    name: 'cancels',
    run: async () => (setTimeout(() => controller.abort(), 0), { behavior: { type: 'allow' as const } }),
  });
  const ways = ['runner()', 'run()'].flatMap((kind) => ['everywhere', 'for its runner'].map((off) => [kind, off] as const));
  /** Of a run of the SDK's own runner without tracing nobody tells that it was left: see the README. */
  const isTold = ([kind, off]: (typeof ways)[number]): boolean => kind === 'runner()' || off === 'everywhere';
  const untraced = (at: RealStage, kind: string, off: string, config: object = {}) => {
    setTracingDisabled(off === 'everywhere');
    const more = { tracingDisabled: off !== 'everywhere', ...config };
    return kind === 'runner()' ? at.runpurse.runner(more) : new Runner({ modelProvider: at.runpurse.models(), ...more });
  };

  it.each(ways.flatMap((way) => ['runner', 'agent'].map((whose) => [...way, whose] as const)))(
    "that a hook of the host's throws at is charged: %s, off %s, on the %s",
    async (kind, off, whose) => {
      const at = await stage(callOnce('lookup'));
      const agent = guardAgent(agentWith(toolNamed('lookup', [])));
      const runner = untraced(at, kind, off);
      (whose === 'agent' ? agent : runner).on('agent_tool_end', () => {
        throw new Error('hook');
      });
      expect(String(await caught(runner.run(agent, 'hi')))).toContain('hook');
      expect(await nothingIsLeft(at)).toEqual(['lookup completed 0.002']);
    },
  );

  it.each([...ways.map((way) => [...way, false] as const), ...ways.filter(isTold).map((way) => [...way, true] as const)])(
    'that was allowed and then not made, because its run was aborted, costs nothing: %s, off %s, streamed %s',
    async (kind, off, stream) => {
      const at = await stage(callOnce('lookup'));
      const controller = new AbortController();
      const ran: string[] = [];
      const agent = guardAgent(agentWith(toolNamed('lookup', ran, { inputGuardrails: [cancelling(controller)] })));
      const { signal } = controller;
      const runner = untraced(at, kind, off);
      if (stream) await caught((await runner.run(agent, 'hi', { stream, signal })).completed);
      else await caught(runner.run(agent, 'hi', { signal }));
      expect([ran, await nothingIsLeft(at)]).toEqual([[], []]);
    },
  );

  it.each(ways.filter(isTold))('that a person is asked about first is charged when it is made: %s, off %s', async (kind, off) => {
    const at = await stage(callOnce('lookup'));
    const ran: string[] = [];
    const agent = guardAgent(agentWith(toolNamed('lookup', ran, { needsApproval: true })));
    const runner = untraced(at, kind, off, { toolExecution: { preApprovalInputGuardrails: true } });
    const { state, interruptions } = await runner.run(agent, 'hi');
    expect(await nothingIsLeft(at)).toEqual([]);
    for (const interruption of interruptions) state.approve(interruption);
    await runner.run(agent, state);
    expect([ran, await nothingIsLeft(at)]).toEqual([['x'], ['lookup completed 0.002']]);
  });
});

describe('a tool that takes longer than its timeout', () => {
  it.each(['on', 'off'])('failed, and is charged, though the model is told so: tracing %s', async (tracing) => {
    setTracingDisabled(tracing === 'off');
    const at = await stage(callOnce('lookup'));
    const slow = toolNamed('lookup', [], { timeoutMs: 20, execute: () => sleep(60) });
    await at.runpurse.with({ runId: 'r1' }, () => at.runpurse.runner().run(agentWith(slow), 'hi'));
    expect(toolsOf(await at.read('r1'))).toEqual(['lookup failed 0.002']);
  });
});
