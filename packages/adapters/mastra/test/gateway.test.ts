import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { Agent, type AgentConfig } from '@mastra/core/agent';
import { RequestContext } from '@mastra/core/request-context';
import { createStep, createWorkflow } from '@mastra/core/workflows';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { startGateway, type RunningGateway } from '@runpurse/conformance';
import { z } from 'zod';
import { createRunpurse, type Runpurse } from '../src/index.ts';
import { benchAdapter } from './bench.ts';
import { lookup } from './stage.ts';

let gateway: RunningGateway;
let runpurse: Runpurse;

beforeEach(async () => {
  const usage = { input_tokens: 10, output_tokens: 500 };
  gateway = await startGateway({
    config: {
      providers: [
        {
          name: 'sandbox',
          kind: 'sandbox',
          scripts: {
            model: [{ text: 'done', usage }],
            loop: [
              { tool_calls: [{ name: 'lookup', arguments: { q: 'x' } }], usage },
              { text: 'done', usage },
            ],
          },
        },
      ],
      rate: { requests_per_minute: 1000 },
      tools: [
        { name: 'lookup', price_usd: '0.002' },
        { name: 'payment', price_usd: '0.04' },
      ],
      budgets: [{ scope: 'run', id: '*', limit_usd: '0.05' }],
    } as never,
  });
  runpurse = createRunpurse({ baseUrl: gateway.url, apiKey: gateway.apiKey });
});
afterEach(async () => {
  await runpurse.client.close();
  await gateway.remove();
});

const url = (): { readonly url: string; readonly apiKey: string } => ({ url: `${gateway.url}/v1`, apiKey: gateway.apiKey });

function agentOn(model: unknown, more: object = {}): Agent {
  const options = { id: 'support', name: 'Support', instructions: 'Help.', model, tools: { lookup: lookup().tool }, ...more };
  return new Agent(runpurse.withRunpurse({ ...options, defaultOptions: { modelSettings: { maxOutputTokens: 1000 } } } as AgentConfig));
}

const stating = (context: object): { readonly requestContext: RequestContext } => ({
  requestContext: new RequestContext([['runpurse', context]]),
});

describe('on a real gateway', () => {
  it('fifty runs at once on one agent, every other one streamed, each have their own calls, their own tool and their own cost', async () => {
    const agent = agentOn({ id: 'runpurse/loop', ...url() });
    const runs = Array.from({ length: 50 }, (_, index) => `run ${index}`);
    const answers = await Promise.all(
      runs.map(async (runId, index) => {
        const options = stating({ runId, customerId: `customer ${index}`, sessionId: `session ${index}` });
        return index % 2 === 0 ? (await agent.generate('hi', options)).text : (await agent.stream('hi', options)).text;
      }),
    );
    expect(new Set(answers)).toEqual(new Set(['done']));
    for (const [index, runId] of runs.entries()) {
      const run = await gateway.readRun(runId);
      expect(run).toMatchObject({
        status: 'completed',
        agent_id: 'support',
        customer_id: `customer ${index}`,
        session_id: `session ${index}`,
        cost: { model_usd: '0.00202', tool_usd: '0.002', retry_usd: '0', total_usd: '0.00402' },
        counts: { requests: 2, tool_calls: 1, steps: 3 },
      });
      expect(run?.requests.map(({ source, status }) => [source, status])).toEqual(Array(2).fill(['gateway', 'completed']));
      expect(new Set(run?.steps.map(({ step_id }) => step_id)).size).toBe(3);
    }
  });

  it.each<[string, () => unknown]>([
    ['a model that Mastra makes from a url', () => ({ id: 'runpurse/model', ...url() })],
    ['the Responses API', () => ({ id: 'openai/model', ...url(), api: 'responses' })],
    [
      'a provider of the AI SDK',
      () => createOpenAICompatible({ name: 'gateway', baseURL: `${gateway.url}/v1`, apiKey: gateway.apiKey })('model'),
    ],
  ])('a call of %s, plain and streamed, is carried and priced once', async (_, model) => {
    const agent = agentOn(model());
    await runpurse.run({ runId: 'run-1' }, async () => {
      await agent.generate('hi');
      return (await agent.stream('hi there')).getFullOutput();
    });
    const run = await gateway.readRun('run-1');
    expect(run).toMatchObject({
      status: 'completed',
      cost: { model_usd: '0.00202', total_usd: '0.00202' },
      counts: { requests: 2, steps: 2 },
    });
    expect(run?.requests.map(({ source, usage }) => [source, usage?.input_tokens, usage?.output_tokens])).toEqual(
      Array(2).fill(['gateway', 10, 500]),
    );
  });

  it('a run is refused the call that would pass its own cap', async () => {
    const { tripwire } = await agentOn({ id: 'runpurse/model', ...url() }).generate('hi', stating({ runId: 'run-1', limitUsd: '0.0015' }));
    expect(tripwire).toMatchObject({ processorId: 'runpurse', metadata: { code: 'budget_exceeded', runId: 'run-1' } });
    expect(await gateway.readRun('run-1')).toMatchObject({ status: 'failed', cost: { total_usd: '0' }, counts: { requests: 0 } });
  });

  it('a workflow is one run with what its steps spend, and a gate stops it at its cap', async () => {
    const schema = z.object({ q: z.string() });
    const shape = { inputSchema: schema, outputSchema: schema };
    const agent = agentOn({ id: 'runpurse/loop', ...url() });
    const paid: string[] = [];
    const { withWorkflow, step, gate } = runpurse;
    const ask = createStep({ id: 'ask', ...shape, execute: async ({ inputData }) => ({ q: (await agent.generate(inputData.q)).text }) });
    const pay = createStep({ id: 'pay', ...shape, execute: async ({ inputData }) => (paid.push(inputData.q), inputData) });
    const payment = (id: string) => gate({ id, schema, tool: 'payment' });
    const flow = createWorkflow(withWorkflow({ id: 'refund', ...shape }))
      .then(step(ask))
      .then(payment('first-payment'))
      .then(pay)
      .then(payment('second-payment'))
      .then(pay)
      .commit();
    const run = await flow.createRun();
    expect(await run.start({ inputData: { q: 'x' } })).toMatchObject({ status: 'failed' });
    expect(paid).toEqual(['done']);
    const shown = await gateway.readRun(run.runId);
    expect(shown).toMatchObject({
      status: 'failed',
      workflow_id: 'refund',
      cost: { model_usd: '0.00202', tool_usd: '0.042', total_usd: '0.04402' },
      counts: { requests: 2, tool_calls: 2 },
    });
    const asked = shown?.steps.find(({ name }) => name === 'ask');
    expect(shown?.requests.map(({ parent_step_id, agent_id }) => [parent_step_id, agent_id])).toEqual(
      Array(2).fill([asked?.step_id, 'support']),
    );
  });

  it('a workflow somebody stopped is held at its gate', async () => {
    const schema = z.object({ q: z.string() });
    const { withWorkflow, gate } = runpurse;
    const ran: string[] = [];
    const shape = { inputSchema: schema, outputSchema: schema };
    const stop = createStep({
      id: 'stop',
      ...shape,
      execute: async ({ inputData, runId }) => {
        await fetch(`${gateway.url}/v1/runs/${runId}/stop`, {
          method: 'POST',
          headers: { authorization: `Bearer ${gateway.apiKey}`, 'content-type': 'application/json' },
          body: '{}',
        });
        return inputData;
      },
    });
    const next = createStep({ id: 'next', ...shape, execute: async ({ inputData }) => (ran.push('next'), inputData) });
    const flow = createWorkflow(withWorkflow({ id: 'flow', ...shape }))
      .then(stop)
      .then(gate({ id: 'go-on', schema }))
      .then(next)
      .commit();
    const run = await flow.createRun();
    expect(await run.start({ inputData: { q: 'x' } })).toMatchObject({ status: 'failed' });
    expect(ran).toEqual([]);
    expect(await gateway.readRun(run.runId)).toMatchObject({ status: 'stopped' });
  });

  it('what the adapter adds to a call can be measured', async () => {
    const { adapter, ...added } = await benchAdapter({ rounds: 3 });
    expect([adapter, Object.keys(added).length]).toEqual(['mastra', 3]);
    for (const milliseconds of Object.values(added)) expect(Math.abs(milliseconds)).toBeLessThan(1_000);
  }, 30_000);
});
