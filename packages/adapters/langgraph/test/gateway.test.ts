import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { sandboxConfig, SAYS_DONE, startGateway, type RunningGateway } from '@runpurse/conformance';
import { Command, END, interrupt, MemorySaver, MessagesAnnotation, START, StateGraph } from '@langchain/langgraph';
import { tool } from 'langchain';
import { z } from 'zod';
import { RunpurseCallbackHandler, withRunpurse } from '../src/index.ts';
import { plainModel } from './stage.ts';
import { benchAdapter } from './bench.ts';

const RUNS = ['0192f8a0-0000-7000-8000-000000000001', '0192f8a0-0000-7000-8000-000000000002'] as const;
let gateway: RunningGateway;
let runpurse: RunpurseCallbackHandler;

beforeEach(async () => {
  // With the rate cap that is always on: 100 model calls a minute.
  gateway = await startGateway({ config: sandboxConfig({ model: SAYS_DONE }, { rate: {} }) });
  runpurse = new RunpurseCallbackHandler({ baseUrl: gateway.url, apiKey: gateway.apiKey });
});
afterEach(async () => {
  await runpurse.client.close();
  await gateway.remove();
});

const model = () => withRunpurse(plainModel(`${gateway.url}/v1`, { model: 'model', apiKey: gateway.apiKey, maxTokens: 1000 }));
const lookup = tool(({ q }) => `found ${q}`, { name: 'lookup', description: 'looks up', schema: z.object({ q: z.string() }) });

describe('on a real gateway', () => {
  it('an interrupted run is paused, and the tool it repeats when resumed is charged once in the session', async () => {
    const llm = model();
    const graph = new StateGraph(MessagesAnnotation)
      .addNode('ask', async () => {
        await lookup.invoke({ type: 'tool_call', id: 'call_1', name: 'lookup', args: { q: 'x' } });
        interrupt('refund?');
        return { messages: [await llm.invoke('hi')] };
      })
      .addEdge(START, 'ask')
      .addEdge('ask', END)
      .compile({ checkpointer: new MemorySaver() })
      .withConfig({ callbacks: [runpurse], configurable: { thread_id: 'thread-1' } });

    await graph.invoke({ messages: ['hi'] }, { runId: RUNS[0] });
    expect(await gateway.readRun(RUNS[0])).toMatchObject({
      status: 'paused',
      session_id: 'thread-1',
      cost: { tool_usd: '0.002', total_usd: '0.002' },
    });

    await graph.invoke(new Command({ resume: 'yes' }), { runId: RUNS[1] });
    expect(await gateway.readRun(RUNS[1])).toMatchObject({
      status: 'completed',
      session_id: 'thread-1',
      cost: { model_usd: '0.00101', tool_usd: '0', total_usd: '0.00101' },
    });
  });

  it('a run that is paused at the gateway stays open for whoever resumes it there', async () => {
    const llm = model();
    const invoke = (node: () => Promise<unknown>) =>
      new StateGraph(MessagesAnnotation)
        .addNode('talk', async () => (await node(), { messages: [await llm.invoke('hi')] }))
        .addEdge(START, 'talk')
        .addEdge('talk', END)
        .compile()
        .invoke({ messages: ['hi'] }, { runId: RUNS[0], callbacks: [runpurse] });
    await expect(invoke(() => gateway.post(`/v1/runs/${RUNS[0]}/pause`, {}))).rejects.toThrow(`/v1/runs/${RUNS[0]}/resume`);
    expect(await gateway.readRun(RUNS[0])).toMatchObject({ status: 'paused' });
    await gateway.post(`/v1/runs/${RUNS[0]}/resume`, {});
    await invoke(async () => {});
    expect(await gateway.readRun(RUNS[0])).toMatchObject({ status: 'completed', counts: { requests: 1 } });
  });

  it('fifty runs at once each have their own two calls and their own cost', async () => {
    const llm = model();
    const graph = new StateGraph(MessagesAnnotation)
      .addNode('talk', async () => ({ messages: await Promise.all([llm.invoke('hi'), llm.withConfig({ stop: ['x'] }).invoke('hi')]) }))
      .addEdge(START, 'talk')
      .addEdge('talk', END)
      .compile()
      .withConfig({ callbacks: [runpurse] });
    const runs = Array.from({ length: 50 }, (_, index) => `run ${index}`);
    // The always-on rate cap is 100 model calls a minute, which is what these are.
    await Promise.all(runs.map((runId) => graph.invoke({ messages: ['hi'] }, { metadata: { runpurse: { runId } } })));
    for (const runId of runs) {
      const run = await gateway.readRun(runId);
      expect(run).toMatchObject({ status: 'completed', cost: { model_usd: '0.00202', retry_usd: '0' }, counts: { requests: 2, steps: 2 } });
      expect(run?.requests.map(({ source, status }) => [source, status])).toEqual([
        ['gateway', 'completed'],
        ['gateway', 'completed'],
      ]);
    }
  });

  it("a node's retry is the retry line, its first attempt the model line", async () => {
    const llm = model();
    let tries = 0;
    const graph = new StateGraph(MessagesAnnotation)
      .addNode(
        'talk',
        async () => {
          const reply = await llm.invoke('hi');
          tries += 1;
          if (tries < 3) throw new Error('not usable');
          return { messages: [reply] };
        },
        { retryPolicy: { maxAttempts: 3, initialInterval: 1, jitter: false, logWarning: false } },
      )
      .addEdge(START, 'talk')
      .addEdge('talk', END)
      .compile()
      .withConfig({ callbacks: [runpurse] });
    await graph.invoke({ messages: ['hi'] }, { runId: RUNS[0] });
    const run = await gateway.readRun(RUNS[0]);
    expect(run?.cost).toEqual({ model_usd: '0.00101', tool_usd: '0', retry_usd: '0.00202', total_usd: '0.00303' });
    expect(run?.requests.map(({ attempt, graph_node }) => [attempt, graph_node])).toEqual([
      [1, 'talk'],
      [2, 'talk'],
      [3, 'talk'],
    ]);
    expect(run?.counts).toMatchObject({ requests: 3, retries: 2 });
  });

  it('what the adapter adds to a call can be measured', async () => {
    const { adapter, ...added } = await benchAdapter({ rounds: 3 });
    expect([adapter, Object.keys(added).length]).toEqual(['langgraph', 3]);
    for (const milliseconds of Object.values(added)) expect(Math.abs(milliseconds)).toBeLessThan(1_000);
  }, 30_000);
});
