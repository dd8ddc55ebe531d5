import { execFile } from 'node:child_process';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { callsTool, sandboxConfig, SAYS_DONE, startGateway, startStubModel, type RunningGateway } from '@runpurse/conformance';
import { refusalOf, type RunShape } from '@runpurse/core';
import {
  Annotation,
  Command,
  END,
  INTERRUPT,
  interrupt,
  MemorySaver,
  MessagesAnnotation,
  Send,
  START,
  StateGraph,
} from '@langchain/langgraph';
import { createAgent, tool } from 'langchain';
import { z } from 'zod';
import { RunpurseCallbackHandler, runpurseMiddleware, withRunpurse } from '../src/index.ts';
import { plainModel } from './stage.ts';

const run = promisify(execFile);
let gateway: RunningGateway;
let runpurse: RunpurseCallbackHandler;

beforeEach(async () => {
  const tools = [
    { name: 'lookup', price_usd: '0.002' },
    { name: 'refund', price_usd: '0.003' },
    { name: 'forbidden', price_usd: '0.001' },
  ];
  const policy = { tools: { deny: ['forbidden'] } };
  gateway = await startGateway({ config: sandboxConfig({ model: SAYS_DONE, agent: callsTool('lookup') }, { tools, policy }) });
  runpurse = new RunpurseCallbackHandler({ baseUrl: gateway.url, apiKey: gateway.apiKey });
});
afterEach(async () => {
  await runpurse.client.close();
  await gateway.remove();
});

const model = (name = 'model') => withRunpurse(plainModel(`${gateway.url}/v1`, { model: name, apiKey: gateway.apiKey, maxTokens: 1000 }));
const schema = z.object({ q: z.string() });
const lookup = tool(({ q }) => `found ${q}`, { name: 'lookup', description: 'looks up', schema });
const forbidden = tool(({ q }) => `did ${q}`, { name: 'forbidden', description: 'is denied', schema });
const runIdOf = (index: number): string => `0192f8a0-0000-7000-8000-${String(index).padStart(12, '0')}`;
const RUN = runIdOf(1);

async function shown(runId = RUN): Promise<RunShape> {
  await runpurse.client.flush();
  const found = await gateway.readRun(runId);
  if (found === undefined) throw new Error(`there is no run ${runId}`);
  return found;
}

async function until(done: () => Promise<boolean>): Promise<void> {
  const giveUpAt = Date.now() + 5_000;
  while (!(await done())) {
    if (Date.now() > giveUpAt) throw new Error('it did not come to that in time');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Of each call, by whom, where and inside what. */
const placesOf = ({ requests, tools }: RunShape) =>
  [...requests.map((call) => ({ ...call, name: call.model })), ...tools.map((call) => ({ ...call, name: call.tool }))].map(
    ({ name, graph_node, agent_id, parent_step_id }) => [name, graph_node, agent_id, parent_step_id],
  );

describe('resumed in another process', () => {
  it('the tools that a thread has paid for, by the model’s id or by hand, are charged once, a held one where it is held', async () => {
    const file = join(tmpdir(), `paused-thread-${crypto.randomUUID()}`);
    const turn = (runId: string, what: string) =>
      run(process.execPath, [
        ...['--conditions=runpurse-source', '--no-warnings', join(import.meta.dirname, 'paused-thread.ts')],
        ...[gateway.url, gateway.apiKey, file, runId, what],
      ]);
    try {
      await turn(runIdOf(1), 'start');
      expect(await shown(runIdOf(1))).toMatchObject({
        status: 'paused',
        session_id: 'thread-1',
        cost: { tool_usd: '0.004' },
        tools: [{ status: 'completed' }, { status: 'completed' }, { tool: 'refund', status: 'open', held_usd: '0.003' }],
      });
      await turn(runIdOf(2), 'resume');
      expect(await shown(runIdOf(2))).toMatchObject({ status: 'paused', tools: [], cost: { total_usd: '0' } });
      expect(await shown(runIdOf(1))).toMatchObject({
        cost: { tool_usd: '0.007' },
        tools: [{}, {}, { status: 'completed' }],
      });
      await turn(runIdOf(3), 'resume');
      expect(await shown(runIdOf(3))).toMatchObject({
        status: 'completed',
        session_id: 'thread-1',
        tools: [],
        cost: { model_usd: '0.00101', total_usd: '0.00101' },
      });
      expect(await runpurse.client.readSession('thread-1')).toMatchObject({ cost: { tool_usd: '0.007', total_usd: '0.00801' } });
    } finally {
      await rm(file, { force: true });
    }
  }, 60_000);
});

describe('resumed by a handler that remembers nothing', () => {
  const State = Annotation.Root({
    said: Annotation<string[]>({ reducer: (before, more) => [...before, ...more], default: () => [] }),
    branch: Annotation<number>({ reducer: (_: number, branch: number) => branch, default: () => 0 }),
  });

  it('branches that all wait inside a subgraph are each charged once, and go on together', async () => {
    const inner = new StateGraph(State)
      .addNode('ask', async ({ branch }) => {
        await lookup.invoke({ type: 'tool_call', id: 'call_1', name: 'lookup', args: { q: String(branch) } });
        return { said: [String(interrupt<string, unknown>(`refund ${branch}?`))] };
      })
      .addEdge(START, 'ask')
      .compile();
    const graph = new StateGraph(State)
      .addNode('work', inner)
      .addConditionalEdges(START, () => [0, 1, 2].map((branch) => new Send('work', { branch, said: [] })))
      .compile({ checkpointer: new MemorySaver() });
    const turn = async (handler: RunpurseCallbackHandler, runId: string, given: unknown) =>
      (await graph.invoke(given as never, { callbacks: [handler], runId, configurable: { thread_id: 'thread-1' } })) as unknown as {
        readonly __interrupt__?: readonly { readonly id?: string }[];
        readonly said: readonly string[];
      };

    const paused = await turn(runpurse, runIdOf(1), {});
    expect(await shown(runIdOf(1))).toMatchObject({ status: 'paused', cost: { tool_usd: '0.006' } });
    const other = new RunpurseCallbackHandler({ baseUrl: gateway.url, apiKey: gateway.apiKey });
    const answers: Record<string, string> = Object.fromEntries((paused.__interrupt__ ?? []).map(({ id = '' }) => [id, 'yes'] as const));
    const { said } = await turn(other, runIdOf(2), new Command({ resume: answers }));
    await other.client.close();
    expect(said).toEqual(['yes', 'yes', 'yes']);
    expect(await shown(runIdOf(2))).toMatchObject({ status: 'completed', tools: [], cost: { total_usd: '0' } });
  });
});

describe('a subgraph', () => {
  const talk = (next?: () => Promise<unknown>) => async () => {
    await next?.();
    await lookup.invoke({ q: 'x' });
    return { messages: [await model().invoke('hi')] };
  };
  const graphOf = (node: string, work: unknown, name?: string) =>
    new StateGraph(MessagesAnnotation)
      .addNode(node, work as never)
      .addEdge(START, node as never)
      .addEdge(node as never, END)
      .compile(name === undefined ? {} : { name });

  it('as a node, and one inside it, keep the run, and each call stands in its own node', async () => {
    const inner = graphOf('inner', talk());
    const middle = new StateGraph(MessagesAnnotation)
      .addNode('middle', talk())
      .addNode('below', inner)
      .addEdge(START, 'middle')
      .addEdge('middle', 'below')
      .addEdge('below', END)
      .compile();
    await graphOf('outer', middle).invoke({ messages: ['hi'] }, { callbacks: [runpurse], runId: RUN });
    const found = await shown();
    expect(found).toMatchObject({ status: 'completed', cost: { model_usd: '0.00202', tool_usd: '0.004' }, counts: { steps: 4 } });
    expect(placesOf(found)).toEqual([
      ['model', 'middle', null, null],
      ['model', 'inner', null, null],
      ['lookup', 'middle', null, null],
      ['lookup', 'inner', null, null],
    ]);
  });

  it('with a name is a step, of its own agent, and what it does stands inside it, called as a node or by hand', async () => {
    const byHand = graphOf('digs', talk(), 'researcher');
    const asNode = graphOf(
      'writes',
      talk(() => byHand.invoke({ messages: ['hi'] })),
      'writer',
    );
    await graphOf('outer', asNode, 'chief').invoke({ messages: ['hi'] }, { callbacks: [runpurse], runId: RUN });
    const found = await shown();
    const stepOf = (name: string) => found.steps.find((step) => step.name === name);
    const [writer, researcher] = [stepOf('writer'), stepOf('researcher')];
    expect(writer).toMatchObject({ kind: 'handoff', status: 'completed', parent_step_id: null, graph_node: 'outer' });
    expect(researcher).toMatchObject({ kind: 'handoff', status: 'completed', parent_step_id: writer?.step_id, graph_node: 'writes' });
    expect(placesOf(found)).toEqual([
      ['model', 'digs', 'researcher', researcher?.step_id],
      ['model', 'writes', 'writer', writer?.step_id],
      ['lookup', 'digs', 'researcher', researcher?.step_id],
      ['lookup', 'writes', 'writer', writer?.step_id],
    ]);
    expect(found).toMatchObject({ agent_id: 'chief', cost: { total_usd: '0.00602' } });
  });

  it('that is refused ends the whole run, and nothing after it is called', async () => {
    const config = { callbacks: [runpurse], runId: RUN, metadata: { runpurse: { limitUsd: '0.0045' } } };
    const nested = graphOf('outer', graphOf('inner', talk(talk())));
    const error: unknown = await nested.invoke({ messages: ['hi'] }, config).catch((thrown: unknown) => thrown);
    expect(refusalOf(error)).toMatchObject({ code: 'budget_exceeded' });
    const found = await shown();
    expect(found).toMatchObject({ status: 'failed', cost: { total_usd: '0.00301', tool_usd: '0.002' } });
  });

  it('that commands its parent is no failure', async () => {
    const inner = graphOf('inner', async () => {
      await model().invoke('hi');
      return new Command({ graph: Command.PARENT, goto: 'next' });
    });
    const outer = new StateGraph(MessagesAnnotation)
      .addNode('outer', inner, { ends: ['next'] })
      .addNode('next', talk())
      .addEdge(START, 'outer')
      .compile();
    await outer.invoke({ messages: ['hi'] }, { callbacks: [runpurse], runId: RUN });
    const found = await shown();
    expect(found).toMatchObject({ status: 'completed', counts: { requests: 2, retries: 0 } });
    expect(found.steps.map(({ status }) => status)).toEqual(['completed', 'completed', 'completed']);
  });
});

describe('streamed', () => {
  const agent = () => createAgent({ model: model('agent'), tools: [lookup], middleware: [runpurseMiddleware()] });
  const input = { messages: ['hi'] };
  const read = async (stream: AsyncIterable<unknown>): Promise<number> => {
    let parts = 0;
    for await (const _ of stream) parts += 1;
    return parts;
  };
  const given = () => ({ callbacks: [runpurse], runId: RUN });
  const MODES = ['values', 'updates', 'messages', 'custom', 'debug', 'tasks', 'checkpoints'] as const;
  const WAYS: Readonly<Record<string, () => Promise<unknown>>> = {
    ...Object.fromEntries(
      MODES.map((streamMode) => [streamMode, async () => read(await agent().stream(input, { ...given(), streamMode } as never))]),
    ),
    'several modes, with those of subgraphs': async () =>
      read(await agent().stream(input, { ...given(), streamMode: ['updates', 'messages'], subgraphs: true } as never)),
    streamEvents: async () => read(agent().streamEvents(input, { ...given(), version: 'v2' })),
  };

  it.each(Object.keys(WAYS))('as %s the run is the same: two model calls, one tool call, once each', async (way) => {
    await WAYS[way]?.();
    const found = await shown();
    expect(found).toMatchObject({
      status: 'completed',
      cost: { model_usd: '0.00202', tool_usd: '0.002', retry_usd: '0', total_usd: '0.00402' },
      counts: { requests: 2, tool_calls: 1, steps: 3, retries: 0 },
    });
    expect(found.requests.map(({ source, status }) => [source, status])).toEqual(Array(2).fill(['gateway', 'completed']));
  });

  it('and left off by its reader, the run does not stay open', async () => {
    for await (const _ of await agent().stream(input, { ...given(), streamMode: 'messages' })) break;
    await until(async () => (await shown()).status !== 'running');
    const found = await shown();
    expect(found).toMatchObject({ status: 'stopped', counts: { requests: 1 } });
    expect([...found.requests, ...found.tools].map(({ status }) => status)).not.toContain('open');
  });

  it('and left off where it asks a human, the run is paused', async () => {
    const graph = new StateGraph(MessagesAnnotation)
      .addNode('ask', async () => {
        await model().invoke('hi');
        interrupt('refund?');
      })
      .addEdge(START, 'ask')
      .compile({ checkpointer: new MemorySaver() });
    const stream = await graph.stream({ messages: ['hi'] }, { ...given(), configurable: { thread_id: 'thread-1' }, streamMode: 'updates' });
    for await (const part of stream) if (INTERRUPT in part) break;
    await until(async () => (await shown()).status !== 'running');
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect((await shown()).status).toBe('paused');
  });
});

describe('branches that `Send` makes', () => {
  const Fan = Annotation.Root({
    said: Annotation<string[]>({ reducer: (before, more) => [...before, ...more], default: () => [] }),
    branch: Annotation<number>(),
  });
  const fanOf = (branches: number, work: (branch: number) => Promise<string>) =>
    new StateGraph(Fan)
      .addNode('work', async ({ branch }) => ({ said: [await work(branch)] }))
      .addConditionalEdges(START, () => Array.from({ length: branches }, (_, branch) => new Send('work', { branch })))
      .addEdge('work', END)
      .compile();
  const work = async (branch: number): Promise<string> => {
    await lookup.invoke({ type: 'tool_call', id: 'call_1', name: 'lookup', args: { q: String(branch) } });
    return (await model().invoke(`branch ${branch}`)).text;
  };

  it('each have steps of their own, and all of them are in the cost of the run', async () => {
    const { said } = await fanOf(8, work).invoke({}, { callbacks: [runpurse], runId: RUN });
    expect(said).toHaveLength(8);
    const found = await shown();
    expect(found).toMatchObject({
      status: 'completed',
      cost: { model_usd: '0.00808', tool_usd: '0.016', retry_usd: '0', total_usd: '0.02408' },
      counts: { requests: 8, tool_calls: 8, steps: 16, retries: 0 },
    });
    const eachIn = (name: string) => Array.from({ length: 8 }, () => [name, 'work', null, null]);
    expect(placesOf(found)).toEqual([...eachIn('model'), ...eachIn('lookup')]);
    expect(new Set(found.tools.map(({ tool_call_id }) => tool_call_id)).size).toBe(8);
  });

  it('stay below the cap of the run together, whichever of them comes first', async () => {
    const config = { callbacks: [runpurse], runId: RUN, metadata: { runpurse: { limitUsd: '0.01' } } };
    const error: unknown = await fanOf(20, work)
      .invoke({}, config)
      .catch((thrown: unknown) => thrown);
    expect(refusalOf(error)).toMatchObject({ code: 'budget_exceeded' });
    const found = await shown();
    expect(found.status).toBe('failed');
    expect(Number(found.cost.total_usd)).toBeLessThanOrEqual(0.01);
  });

  it('past the gateway are asked for one by one, and stay below the cap of the run too', async () => {
    const usage = { input_tokens: 10, cached_tokens: 0, output_tokens: 500, reasoning_tokens: 0 };
    const provider = await startStubModel(Array.from({ length: 20 }, () => ({ text: 'done', usage, delay_ms: 20 })));
    try {
      const direct = withRunpurse(plainModel(`${provider.url}/v1`, { model: 'model', maxTokens: 1000 }));
      const config = { callbacks: [runpurse], runId: RUN, metadata: { runpurse: { limitUsd: '0.01' } } };
      const asked = fanOf(20, async (branch) => (await direct.invoke(`branch ${branch}`)).text).invoke({}, config);
      expect(refusalOf(await asked.catch((thrown: unknown) => thrown))).toMatchObject({ code: 'budget_exceeded' });
      await until(async () => (await shown()).requests.every(({ status }) => status !== 'open'));
      const found = await shown();
      expect(found.status).toBe('failed');
      expect(found.requests.length).toBeGreaterThan(0);
      expect(provider.calls.length).toBeLessThanOrEqual(5);
      expect(Number(found.cost.total_usd)).toBeLessThanOrEqual(0.01);
    } finally {
      await provider.close();
    }
  });

  it('are denied one by one: the others go on', async () => {
    const { said } = await fanOf(4, async (branch) => {
      const chosen = branch === 2 ? forbidden : lookup;
      const call = { type: 'tool_call' as const, id: `call_${branch}`, name: chosen.name, args: { q: 'x' } };
      return chosen.invoke(call).then(
        ({ content }) => String(content),
        (error: unknown) => refusalOf(error)?.code ?? 'failed',
      );
    }).invoke({}, { callbacks: [runpurse], runId: RUN });
    expect(said).toEqual(['found x', 'found x', 'policy_denied', 'found x']);
    const found = await shown();
    expect(found).toMatchObject({ status: 'completed', cost: { total_usd: '0.006' } });
    expect(found.tools.map(({ tool: name, status }) => [name, status]).sort()).toEqual([
      ['forbidden', 'denied'],
      ['lookup', 'completed'],
      ['lookup', 'completed'],
      ['lookup', 'completed'],
    ]);
  });

  it('of fifty runs at once stay with their own run', async () => {
    const runs = Array.from({ length: 50 }, (_, index) => runIdOf(index + 1));
    await Promise.all(runs.map((runId) => fanOf(2, work).invoke({}, { callbacks: [runpurse], runId })));
    for (const runId of runs) {
      expect(await shown(runId)).toMatchObject({
        status: 'completed',
        cost: { model_usd: '0.00202', tool_usd: '0.004', total_usd: '0.00602' },
        counts: { requests: 2, tool_calls: 2, steps: 4, retries: 0 },
      });
    }
  }, 60_000);
});
