import { afterEach, describe, expect, it } from '@jest/globals';
import { Agent, OpenAIProvider, retryPolicies, type Model } from '@openai/agents';
import { refusalOf } from '@runpurse/core';
import OpenAI from 'openai';
import { z } from 'zod';
import { carried, lookupTool, setStage, type Stage } from '../test/stage.ts';
import type { SentCall, SentEvent, StubAnswer } from '@runpurse/conformance';
import { guardAgent, runpurseFetch } from './index.ts';

const stages: Stage[] = [];
async function stage(...args: Parameters<typeof setStage>): Promise<Stage> {
  const made = await setStage(...args);
  stages.push(made);
  return made;
}
afterEach(async () => {
  await Promise.all(stages.splice(0).map((made) => made.close()));
});

const support = (settings: object = {}) => new Agent({ name: 'support', model: 'gpt-test', modelSettings: settings });
const failing =
  (...failures: readonly number[]) =>
  (_: SentCall, count: number): StubAnswer =>
    failures.includes(count) ? { error: { status: 500, code: 'overloaded', message: 'overloaded' } } : {};
const deny =
  (type: string, attempt = 1) =>
  (event: SentEvent) =>
    event.type === type && (event['attempt'] ?? 1) === attempt
      ? { code: 'budget_exceeded', status: 402, message: 'the cap is met' }
      : undefined;
const callsOf = (at: Stage) =>
  at.events.filter(({ type }) => type.startsWith('llm.call')).map(({ type, step_id, attempt = 1 }) => [type, step_id, attempt]);

describe('a carried call', () => {
  it('tried again by its client keeps its step, counts its attempts, and is reported once', async () => {
    const at = await stage({ answer: failing(1) });
    await at.runpurse.runner({ modelProvider: at.runpurse.models(at.openai({ maxRetries: 1 })) }).run(support(), 'hi');
    const [first, second] = at.requests.map(carried);
    expect([first?.['attempt'], second?.['attempt']]).toEqual(['1', '2']);
    expect(second?.['step']).toBe(first?.['step']);
    expect(at.requests.map(({ headers }) => headers['x-stainless-retry-count'])).toEqual([undefined, undefined]);
    expect(callsOf(at)).toEqual([['llm.call.completed', first?.['step'], 2]]);
  });

  it("tried again by the SDK's own policy keeps its step too", async () => {
    const at = await stage({ answer: failing(1) });
    const retry = { maxRetries: 1, backoff: { initialDelayMs: 1 }, policy: retryPolicies.httpStatus([500]) };
    await at.runpurse.runner({ modelProvider: at.runpurse.models(at.openai()) }).run(support({ retry }), 'hi');
    const [first, second] = at.requests.map(carried);
    expect(second).toEqual({ ...first, attempt: '2' });
    expect(callsOf(at)).toEqual([
      ['llm.call.failed', first?.['step'], 1],
      ['llm.call.completed', first?.['step'], 2],
    ]);
  });

  it('that the gateway refuses surfaces as the client says it, is not tried again and not reported', async () => {
    const refused = { error: { status: 402, code: 'budget_exceeded', message: 'the cap is met' } };
    const at = await stage({ answer: () => refused });
    const retry = {
      maxRetries: 3,
      backoff: { initialDelayMs: 1 },
      policy: retryPolicies.any(retryPolicies.httpStatus([402]), retryPolicies.providerSuggested()),
    };
    const error: unknown = await at.runpurse
      .runner({ modelProvider: at.runpurse.models(at.openai({ maxRetries: 2 })) })
      .run(support({ retry }), 'hi')
      .catch((thrown: unknown) => thrown);
    expect(refusalOf(error)).toMatchObject({ code: 'budget_exceeded' });
    expect(at.requests).toHaveLength(1);
    expect(callsOf(at)).toEqual([]);
    expect(at.events.at(-1)).toMatchObject({ type: 'run.failed', metadata: { message: expect.stringContaining('the cap is met') } });
  });

  it('by a provider of the host with our fetch is found out on the way', async () => {
    const at = await stage();
    const openAIClient = new OpenAI({ baseURL: `${at.url}/v1`, apiKey: 'rp_test', fetch: runpurseFetch() });
    await at.runpurse.runner({ modelProvider: new OpenAIProvider({ openAIClient }) }).run(support(), 'hi');
    expect(at.eventsOf('llm.call.completed')[0]?.metadata).toMatchObject({ carried: true });
    expect(carried(at.requests[0] as SentCall)['step']).toBe(at.eventsOf('llm.call.completed')[0]?.step_id);
  });
});

describe('a call that goes elsewhere', () => {
  async function elsewhere(
    answer: (request: SentCall, count: number) => StubAnswer,
    denied: ReturnType<typeof deny> = () => undefined,
    maxRetries = 0,
  ) {
    const [at, provider] = [await stage({ deny: denied }), await stage({ answer })];
    return { at, provider, models: at.runpurse.models(provider.openai({ maxRetries })) };
  }

  it('is asked for with its bounds, reported with its usage, and carries nothing of ours', async () => {
    const { at, provider, models } = await elsewhere(() => ({}));
    await at.runpurse.runner({ modelProvider: models }).run(support({ maxTokens: 100 }), 'hi');
    expect(callsOf(at).map(([type]) => type)).toEqual(['llm.call.started', 'llm.call.completed']);
    expect(at.eventsOf('llm.call.started')[0]?.metadata).toMatchObject({
      model: 'gpt-test',
      max_output_tokens: 100,
      input_tokens_max: expect.any(Number),
    });
    expect(at.eventsOf('llm.call.completed')[0]?.metadata).toMatchObject({
      model: 'gpt-test-2026',
      usage: { input_tokens: 8, output_tokens: 5 },
    });
    expect(Object.keys(provider.requests[0]?.headers ?? {}).filter((name) => /alephant|runpurse/.test(name))).toEqual([]);
  });

  it.each(['plain', 'streamed'])('that is denied is not made, %s', async (how) => {
    const { at, provider, models } = await elsewhere(() => ({}), deny('llm.call.started'));
    const runner = at.runpurse.runner({ modelProvider: models });
    const asked =
      how === 'plain' ? runner.run(support(), 'hi') : runner.run(support(), 'hi', { stream: true }).then(({ completed }) => completed);
    expect(refusalOf(await asked.catch((thrown: unknown) => thrown))).toMatchObject({ code: 'budget_exceeded' });
    expect(provider.requests).toEqual([]);
    await at.runpurse.client.flush();
    expect(callsOf(at).map(([type]) => type)).toEqual(['llm.call.started']);
    expect(at.events.at(-1)).toMatchObject({ type: 'run.failed' });
  });

  it('is asked for again before each try of its client', async () => {
    const { at, provider, models } = await elsewhere(failing(1), undefined, 1);
    await at.runpurse.runner({ modelProvider: models }).run(support(), 'hi');
    expect(provider.requests).toHaveLength(2);
    expect(callsOf(at).map(([type, , attempt]) => [type, attempt])).toEqual([
      ['llm.call.started', 1],
      ['llm.call.failed', 1],
      ['llm.call.started', 2],
      ['llm.call.completed', 2],
    ]);
  });

  it('whose second try is denied is not tried again', async () => {
    const { at, provider, models } = await elsewhere(failing(1), deny('llm.call.started', 2), 2);
    const error: unknown = await at.runpurse
      .runner({ modelProvider: models })
      .run(support(), 'hi')
      .catch((thrown: unknown) => thrown);
    expect(refusalOf(error)).toMatchObject({ code: 'budget_exceeded' });
    expect(provider.requests).toHaveLength(1);
    expect(callsOf(at).map(([type]) => type)).toEqual(['llm.call.started', 'llm.call.failed', 'llm.call.started']);
  });

  it("by any provider of the host's is asked for and reported, its usage the SDK's", async () => {
    const at = await stage();
    const model: Model = {
      getResponse: async () => ({
        usage: { requests: 1, inputTokens: 7, outputTokens: 3, totalTokens: 10, inputTokensDetails: [], outputTokensDetails: [] } as never,
        output: [{ type: 'message', role: 'assistant', status: 'completed', content: [{ type: 'output_text', text: 'ok' }] }],
      }),
      getStreamedResponse: () => {
        throw new Error('never streamed');
      },
    };
    await at.runpurse.runner({ modelProvider: { getModel: () => model } }).run(support(), 'hi');
    expect(at.eventsOf('llm.call.completed')[0]?.metadata).toMatchObject({
      model: 'gpt-test',
      usage: { input_tokens: 7, output_tokens: 3 },
    });
  });
});

describe('fifty runs at once in one process', () => {
  it.each(['chat_completions', 'responses'] as const)('over %s never mix: no event, header or cost is on another run', async (api) => {
    const asks = (request: SentCall, name: string, id: string): StubAnswer =>
      JSON.stringify(request.body).includes(`"${id}"`) ? { content: `answer of ${id}` } : { toolCalls: [{ id, name, args: { q: id } }] };
    const at = await stage({
      answer: (request) => {
        const text = JSON.stringify(request.body);
        const [, index = ''] = /task (\d+)\b/.exec(text) ?? [];
        const given = text.includes('You are nested.') ? asks(request, 'lookup', `inner-${index}`) : asks(request, 'ask', `outer-${index}`);
        return new Promise((resolve) => setTimeout(() => resolve(given), Math.random() * 5));
      },
    });
    const { lookup } = lookupTool();
    const nested = guardAgent(new Agent({ name: 'nested', instructions: 'You are nested.', model: 'gpt-test', tools: [lookup] }));
    const ask = nested.asTool({
      toolName: 'ask',
      toolDescription: 'asks nested',
      parameters: z.object({ q: z.string() }),
      inputBuilder: ({ params }) => `task ${params.q.replace('outer-', '')}`,
    });
    const outer = new Agent({ name: 'outer', instructions: 'You are outer.', model: 'gpt-test', tools: [ask] });
    const runner = at.runpurse.runner({ modelProvider: at.runpurse.models(at.openai(), api) });
    await Promise.all(
      Array.from({ length: 50 }, (_, index) =>
        at.runpurse.with({ runId: `run ${index}`, sessionId: `session ${index}` }, async () => {
          if (index % 2 === 0) return void (await runner.run(outer, `task ${index}`));
          const streamed = await runner.run(outer, `task ${index}`, { stream: true });
          for await (const _event of streamed);
        }),
      ),
    );
    await new Promise((resolve) => setTimeout(resolve, 20));
    await at.runpurse.client.flush();

    expect(at.requests).toHaveLength(200);
    const stepOf = new Map(at.eventsOf('llm.call.completed').map((event) => [event['step_id'], event.run_id]));
    for (const request of at.requests) {
      const [, index] = /task (\d+)\b/.exec(JSON.stringify(request.body)) ?? [];
      const isNested = JSON.stringify(request.body).includes('You are nested.');
      const { run, session, agent, parent, step } = carried(request);
      expect({ run, session, agent, parent }).toEqual({
        run: `run ${index}`,
        session: `session ${index}`,
        agent: isNested ? 'nested' : 'outer',
        parent: isNested ? `outer-${index}` : undefined,
      });
      expect(stepOf.get(step)).toBe(run);
    }
    for (let index = 0; index < 50; index += 1) {
      const events = at.events.filter(({ run_id }) => run_id === `run ${index}`);
      expect(
        events.filter(({ type }) => type !== 'trace.linked').map(({ type, session_id, tool_call_id }) => [type, session_id, tool_call_id]),
      ).toEqual(
        [
          ['run.started', undefined],
          ['llm.call.completed', undefined],
          ['tool.call.requested', `outer-${index}`],
          ['llm.call.completed', undefined],
          ['tool.call.requested', `inner-${index}`],
          ['tool.call.completed', `inner-${index}`],
          ['llm.call.completed', undefined],
          ['tool.call.completed', `outer-${index}`],
          ['llm.call.completed', undefined],
          ['run.completed', undefined],
        ].map(([type, id]) => [type, `session ${index}`, id]),
      );
    }
    expect(at.faults).toEqual([]);
  });
});
