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
