import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { Agent, OpenAIProvider, setTraceProcessors, setTracingDisabled, tool } from '@openai/agents';
import { callsTool, sandboxConfig, startGateway, type RunningGateway } from '@runpurse/conformance';
import { refusalOf } from '@runpurse/core';
import OpenAI from 'openai';
import { z } from 'zod';
import { guardAgent, Runpurse, runpurseFetch } from '../src/index.ts';
import { benchAdapter } from './bench.ts';

setTracingDisabled(false);
setTraceProcessors([]);

let gateway: RunningGateway;
let runpurse: Runpurse;

beforeEach(async () => {
  const scripts = { model: callsTool('lookup'), front: callsTool('transfer_to_billing'), clerk: callsTool('clerk') };
  const tools = [
    { name: 'lookup', price_usd: '0.002' },
    { name: 'clerk', price_usd: '0.01' },
  ];
  gateway = await startGateway({ config: sandboxConfig(scripts, { tools }) });
  runpurse = new Runpurse({ baseUrl: gateway.url, apiKey: gateway.apiKey });
});
afterEach(async () => {
  await runpurse.client.close();
  await gateway.remove();
});

const lookup = tool({ name: 'lookup', description: 'looks up', parameters: z.object({ q: z.string() }), execute: ({ q }) => `found ${q}` });
const support = new Agent({ name: 'support', model: 'model', modelSettings: { maxTokens: 1000 }, tools: [lookup] });

describe('on a real gateway', () => {
  it('fifty runs at once each have their own calls, tool and cost', async () => {
    const runner = runpurse.runner();
    const runs = Array.from({ length: 50 }, (_, index) => `run ${index}`);
    await Promise.all(runs.map((runId) => runpurse.with({ runId, sessionId: `session of ${runId}` }, () => runner.run(support, 'hi'))));
    for (const runId of runs) {
      expect(await gateway.readRun(runId)).toMatchObject({
        status: 'completed',
        session_id: `session of ${runId}`,
        agent_id: 'support',
        cost: { model_usd: '0.00202', tool_usd: '0.002', retry_usd: '0', total_usd: '0.00402' },
        counts: { requests: 2, tool_calls: 1, steps: 3, retries: 0 },
      });
    }
  });

  it('a handoff is a step, and each agent is charged for its own calls', async () => {
    const billing = new Agent({ name: 'billing', model: 'model', modelSettings: { maxTokens: 1000 } });
    const front = new Agent({ name: 'front', model: 'front', modelSettings: { maxTokens: 1000 }, handoffs: [billing] });
    await runpurse.with({ runId: 'run 1' }, () => runpurse.runner().run(front, 'hi')).catch(() => {});
    const run = await gateway.readRun('run 1');
    expect(run?.steps.map(({ name, kind, agent_id }) => [name, kind, agent_id])).toEqual([
      ['front', 'llm_call', 'front'],
      ['billing', 'handoff', 'front'],
      ['model', 'llm_call', 'billing'],
    ]);
  });

  it('a call asked for and then seen to go through the gateway is charged once', async () => {
    const openAIClient = new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: gateway.apiKey, fetch: runpurseFetch() });
    const runner = runpurse.runner({ modelProvider: new OpenAIProvider({ openAIClient: openAIClient as never }) });
    await runpurse.with({ runId: 'run 1' }, () => runner.run(support, 'hi'));
    const run = await gateway.readRun('run 1');
    expect(run?.cost).toEqual({ model_usd: '0.00202', tool_usd: '0.002', retry_usd: '0', total_usd: '0.00402' });
    expect(run?.requests.map(({ source, status }) => [source, status])).toEqual([
      ['gateway', 'completed'],
      ['gateway', 'completed'],
    ]);
    expect(run?.budgets[0]).toMatchObject({ held_usd: '0' });
  });

  it('an agent behind a tool that waits for an approval is paid for once, by the run that began it', async () => {
    const approved = tool({
      name: 'lookup',
      description: 'looks up',
      parameters: z.object({ q: z.string() }),
      needsApproval: true,
      execute: ({ q }) => `found ${q}`,
    });
    const nested = guardAgent(new Agent({ name: 'nested', model: 'model', modelSettings: { maxTokens: 1000 }, tools: [approved] }));
    const clerk = nested.asTool({ toolName: 'clerk', toolDescription: 'asks nested', parameters: z.object({ q: z.string() }) });
    const front = new Agent({ name: 'front', model: 'clerk', modelSettings: { maxTokens: 1000 }, tools: [clerk] });
    const runner = runpurse.runner({ groupId: 'session 1' });
    const { state } = await runpurse.with({ runId: 'run 1' }, () => runner.run(front, 'hi'));
    for (const interruption of state.getInterruptions()) state.approve(interruption);
    await runpurse.with({ runId: 'run 2' }, () => runner.run(front, state));
    expect(await gateway.readRun('run 1')).toMatchObject({
      status: 'paused',
      tools: [{ tool: 'clerk', cost_usd: '0.01' }],
      budgets: [{ held_usd: '0' }],
    });
    expect(await gateway.readRun('run 2')).toMatchObject({
      status: 'completed',
      tools: [{ tool: 'lookup', cost_usd: '0.002' }],
      cost: { model_usd: '0.00202', tool_usd: '0.002', total_usd: '0.00402' },
    });
  });

  it("a run's own cap holds before the call that would pass it", async () => {
    const asked = runpurse.with({ runId: 'run 1', limitUsd: '0.0045' }, () => runpurse.runner().run(support, 'hi'));
    expect(refusalOf(await asked.catch((thrown: unknown) => thrown))).toMatchObject({ code: 'budget_exceeded' });
    const run = await gateway.readRun('run 1');
    expect(run).toMatchObject({ status: 'failed', cost: { total_usd: '0.00301' } });
  });

  it('what the adapter adds to a call can be measured', async () => {
    const { adapter, ...added } = await benchAdapter({ rounds: 3 });
    expect([adapter, Object.keys(added).length]).toEqual(['openai-agents', 3]);
    for (const milliseconds of Object.values(added)) expect(Math.abs(milliseconds)).toBeLessThan(1_000);
  }, 30_000);
});
