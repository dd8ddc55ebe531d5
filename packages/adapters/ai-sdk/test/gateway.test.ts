import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { callsTool, sandboxConfig, SAYS_DONE, startGateway, type RunningGateway } from '@runpurse/conformance';
import { createOpenAI } from '@ai-sdk/openai';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { generateText, isStepCount, streamText, type LanguageModel } from 'ai';
import { createRunpurse, type Runpurse } from '../src/index.ts';
import { lookup, scripted } from './stage.ts';
import { benchAdapter } from './bench.ts';

let gateway: RunningGateway;
let runpurse: Runpurse;

beforeEach(async () => {
  gateway = await startGateway({ config: sandboxConfig({ model: SAYS_DONE, loop: callsTool('lookup') }) });
  runpurse = createRunpurse({ baseUrl: gateway.url, apiKey: gateway.apiKey });
});
afterEach(async () => {
  await runpurse.client.close();
  await gateway.remove();
});

const compatible = (): ((id: string) => LanguageModel) =>
  createOpenAICompatible({ name: 'gateway', baseURL: `${gateway.url}/v1`, apiKey: gateway.apiKey, includeUsage: true });
const openai = () => createOpenAI({ baseURL: `${gateway.url}/v1`, apiKey: gateway.apiKey });

describe('on a real gateway', () => {
  it('fifty runs at once, every other one streamed, each have their own two calls, their own tool and their own cost', async () => {
    const model = compatible()('loop');
    const runs = Array.from({ length: 50 }, (_, index) => `run ${index}`);
    const answers = await Promise.all(
      runs.map((runId, index) =>
        runpurse.run({ runId, agentId: `agent ${index}` }, async (run) => {
          const options = {
            model: run.model(model),
            tools: run.tools(lookup().tools),
            prompt: 'hi',
            maxOutputTokens: 1000,
            stopWhen: isStepCount(5),
          };
          return index % 2 === 0 ? (await generateText(options)).text : streamText(options).text;
        }),
      ),
    );
    expect(new Set(answers)).toEqual(new Set(['done']));
    for (const [index, runId] of runs.entries()) {
      const run = await gateway.readRun(runId);
      expect(run).toMatchObject({
        status: 'completed',
        agent_id: `agent ${index}`,
        cost: { model_usd: '0.00202', tool_usd: '0.002', retry_usd: '0', total_usd: '0.00402' },
        counts: { requests: 2, tool_calls: 1, steps: 3 },
      });
      expect(run?.requests.map(({ source, status, agent_id }) => [source, status, agent_id])).toEqual(
        Array(2).fill(['gateway', 'completed', `agent ${index}`]),
      );
      expect(new Set(run?.steps.map(({ step_id }) => step_id)).size).toBe(3);
    }
  });

  it.each([
    ['the Responses API', () => openai()('model')],
    ['chat completions', () => openai().chat('model')],
    ['an OpenAI-compatible provider', () => compatible()('model')],
  ])('a call of %s, plain and streamed, is carried and priced once', async (_, model) => {
    await runpurse.run({ runId: 'run-1' }, async (run) => {
      await generateText({ model: run.model(model()), prompt: 'hi', maxOutputTokens: 1000 });
      await streamText({ model: run.model(model()), prompt: 'hi there', maxOutputTokens: 1000 }).text;
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

  it.each([
    ['plain', async (options: Parameters<typeof generateText>[0]) => (await generateText(options)).text],
    ['streamed', (options: Parameters<typeof streamText>[0]) => streamText({ ...options, onError: () => {} }).text],
  ])('a run that is paused at the gateway stays open for whoever resumes it there: %s', async (_, generate) => {
    const play = (work: () => Promise<unknown>) =>
      runpurse.run({ runId: 'run-1' }, async (run) => {
        const tools = run.tools(lookup(work).tools);
        return generate({ model: run.model(compatible()('loop')), tools, prompt: 'hi', maxOutputTokens: 1000, stopWhen: isStepCount(5) });
      });
    // A stream that breaks off throws nothing.
    await play(() => gateway.post('/v1/runs/run-1/pause', {})).catch(() => '');
    expect(await gateway.readRun('run-1')).toMatchObject({ status: 'paused', budgets: [{ held_usd: '0' }] });
    await gateway.post('/v1/runs/run-1/resume', {});
    await play(async () => 'found');
    expect(await gateway.readRun('run-1')).toMatchObject({ status: 'completed', counts: { requests: 3, tool_calls: 2 } });
  });

  it('a run that fails of something else once it was resumed is over, though its pause is behind that', async () => {
    const work = runpurse.run({ runId: 'run-1' }, async (run) => {
      await gateway.post('/v1/runs/run-1/pause', {});
      const paused: unknown = await generateText({ model: run.model(compatible()('model')), prompt: 'hi' }).catch(
        (error: unknown) => error,
      );
      await gateway.post('/v1/runs/run-1/resume', {});
      throw new Error('the database is away', { cause: paused });
    });
    await expect(work).rejects.toThrow('the database is away');
    expect(await gateway.readRun('run-1')).toMatchObject({ status: 'failed' });
  });

  it('a stream that is aborted while its first call is being asked for is stopped, and costs nothing', async () => {
    const controller = new AbortController();
    const model = scripted(() => ({}));
    const { fullStream } = await runpurse.run({ runId: 'run-1' }, (run) => {
      const result = streamText({ model: run.model(model), prompt: 'hi', maxOutputTokens: 1000, abortSignal: controller.signal });
      setTimeout(() => controller.abort(), 0);
      return result;
    });
    for await (const _ of fullStream);
    await runpurse.client.flush();
    expect(model.sent).toEqual([]);
    expect(await gateway.readRun('run-1')).toMatchObject({ status: 'stopped', cost: { total_usd: '0' }, budgets: [{ held_usd: '0' }] });
  });

  it('a run is refused the call that would pass its own cap', async () => {
    const error: unknown = await runpurse
      .run({ runId: 'run-1', limitUsd: '0.0015' }, (run) =>
        generateText({ model: run.model(compatible()('model')), prompt: 'hi', maxOutputTokens: 1000 }),
      )
      .catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ name: 'RefusedError', code: 'budget_exceeded' });
    expect(await gateway.readRun('run-1')).toMatchObject({ status: 'failed', cost: { total_usd: '0' }, counts: { requests: 0 } });
  });

  it('what the adapter adds to a call can be measured', async () => {
    const { adapter, ...added } = await benchAdapter({ rounds: 3 });
    expect([adapter, Object.keys(added).length]).toEqual(['ai-sdk', 3]);
    for (const milliseconds of Object.values(added)) expect(Math.abs(milliseconds)).toBeLessThan(1_000);
  }, 30_000);
});
