import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import type { Agent } from '@mastra/core/agent';
import { Agent as PlainAgent } from '@mastra/core/agent';
import { Mastra } from '@mastra/core/mastra';
import { MockMemory } from '@mastra/core/memory';
import { RequestContext } from '@mastra/core/request-context';
import { InMemoryStore } from '@mastra/core/storage';
import { createCodeMode, createTool } from '@mastra/core/tools';
import { createStep, createWorkflow } from '@mastra/core/workflows';
import { LocalSandbox } from '@mastra/core/workspace';
import { startGateway, type RunningGateway } from '@runpurse/conformance';
import { orThrow } from '@runpurse/core';
import { z } from 'zod';
import { createRunpurse, type Runpurse } from '../src/index.ts';
import { agentWith, lookThenAnswer, scripted, type Reply } from './stage.ts';

// Ways past the policy, the price and the cap that Mastra leaves open, each played on a real gateway.

let gateway: RunningGateway;
let runpurse: Runpurse;
let warnings: string[];

async function start(policy: object = {}): Promise<RunningGateway> {
  const usage = { input_tokens: 10, output_tokens: 500 };
  return startGateway({
    config: {
      providers: [
        {
          name: 'sandbox',
          kind: 'sandbox',
          scripts: {
            broken: [{ error: { status: 500, message: 'broke' } }],
            model: [{ text: 'done', usage }],
            mock: [{ text: 'x' }],
            'mock-2026': [{ text: 'x' }],
          },
        },
      ],
      rate: { requests_per_minute: 1000 },
      tools: [
        { name: 'lookup', price_usd: '0.002' },
        { name: 'payment', price_usd: '0.04' },
        { name: 'agent-sub', price_usd: '0.5' },
      ],
      budgets: [{ scope: 'run', id: '*', limit_usd: '5' }],
      policy: { tools: { deny: ['danger'] } },
      ...policy,
    } as never,
  });
}

beforeEach(async () => {
  gateway = await start();
  runpurse = createRunpurse({ baseUrl: gateway.url, apiKey: gateway.apiKey });
  // Mastra prints what it also returns; here failures are meant.
  jest.spyOn(console, 'error').mockImplementation(() => {});
  warnings = [];
  jest.spyOn(process, 'emitWarning').mockImplementation((text) => void warnings.push(String(text)));
});
afterEach(async () => {
  jest.restoreAllMocks();
  await runpurse.client.close();
  await gateway.remove();
});

/** A tool of this name that notes when it runs. */
function toolOf(name: string, run: (context: ToolContext) => unknown = () => 'did it', more: object = {}) {
  const ran: unknown[] = [];
  const inputSchema = z.object({ q: z.string() });
  const execute = async (input: unknown, context: unknown): Promise<unknown> => {
    ran.push(input);
    return run(context as ToolContext);
  };
  return { ran, tool: createTool({ id: name, description: name, inputSchema, execute, ...more } as never) };
}
interface Runnable {
  readonly execute: (...args: readonly unknown[]) => unknown;
}
interface ToolContext {
  readonly agent?: { readonly resumeData?: unknown; suspend(payload?: object): Promise<unknown> };
}
const RESUMABLE = { suspendSchema: z.any(), resumeSchema: z.any() };
const suspending = (payload?: object) =>
  toolOf('lookup', ({ agent }) => (agent?.resumeData === undefined ? agent?.suspend(payload) : 'resumed'), RESUMABLE);

const calls = (name: string, args: object = { q: 'x' }, id = 'call_1') =>
  scripted((_count, { prompt }) => (prompt.at(-1)?.role === 'tool' ? { text: 'done' } : { calls: [{ name, args, id }] }));

const agentOn = (model: unknown, more: object = {}): Agent => agentWith(runpurse, model, more);
const inRun = (runId: string, more: object = {}) => ({ requestContext: new RequestContext([['runpurse', { runId, ...more }]]) });

async function read(runId = 'run-1') {
  await runpurse.client.flush();
  const run = await gateway.readRun(runId);
  return run && { ...run, calls: run.tools?.map(({ tool, status, cost_usd }) => [tool, status, cost_usd]) };
}

interface ShownRun {
  readonly run_id: string;
  readonly status: string;
  readonly customer_id: string | null;
}
async function runsShown(): Promise<readonly ShownRun[]> {
  const headers = { authorization: `Bearer ${gateway.apiKey}` };
  const answer = (await (await fetch(`${gateway.url}/v1/runs`, { headers })).json()) as { readonly data: readonly ShownRun[] };
  return answer.data;
}

const kept = (agent: Agent): Agent => new Mastra({ agents: { agent }, storage: new InMemoryStore(), logger: false }).getAgent('agent');
const soon = (ms = 50): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

describe('a tool is asked for', () => {
  it.each([[true], [{ x: 1 }], ['yes']])('though the model writes resumeData %j into its arguments', async (resumeData) => {
    for (const isStreamed of [false, true]) {
      const { tool, ran } = toolOf('danger');
      const agent = agentOn(calls('danger', { q: 'x', resumeData, suspendPayload: { why: 1 } }), { tools: { danger: tool } });
      const runId = `run-${isStreamed}`;
      if (isStreamed) await (await agent.stream('hi', inRun(runId))).getFullOutput();
      else await agent.generate('hi', inRun(runId));
      expect(ran).toEqual([]);
      expect(await read(runId)).toMatchObject({ calls: [['danger', 'denied', '0']] });
    }
  });

  it('and charged, though its model says it was resumed', async () => {
    const { tool, ran } = toolOf('lookup');
    await agentOn(calls('lookup', { q: 'x', resumeData: 1 }), { tools: { lookup: tool } }).generate('hi', inRun('run-1'));
    expect(ran).toHaveLength(1);
    expect(await read()).toMatchObject({ calls: [['lookup', 'completed', '0.002']], cost: { tool_usd: '0.002' } });
  });

  it('each time, though its model’s ids repeat and one looks like a repeated one', async () => {
    const { tool, ran } = toolOf('lookup');
    const ids = ['a', 'a~2', 'a', 'a\n'];
    const model = scripted((count) => {
      const id = ids[count - 1];
      return id === undefined ? { text: 'done' } : { calls: [{ name: 'lookup', args: { q: String(count) }, id }] };
    });
    await agentOn(model, { tools: { lookup: tool } }).generate('hi', inRun('run-1'));
    expect(ran).toHaveLength(4);
    expect(await read()).toMatchObject({ cost: { tool_usd: '0.008' }, counts: { tool_calls: 4 } });
  });

  it('in a network, which calls an agent’s tools by itself', async () => {
    for (const [name, expected] of [
      ['danger', [0, 'denied', '0']],
      ['lookup', [1, 'completed', '0.002']],
    ] as const) {
      const { tool, ran } = toolOf(name);
      const choices = [
        { primitiveId: name, primitiveType: 'tool', prompt: '{"q":"x"}', selectionReason: 'it can' },
        {
          isComplete: true,
          completionReason: 'done',
          finalResult: 'all',
          primitiveId: 'none',
          primitiveType: 'none',
          prompt: '',
          selectionReason: '',
        },
      ];
      const model = scripted((count) => ({ text: JSON.stringify(choices[count - 1] ?? choices[1]) }));
      const agent = agentOn(model, { tools: { [name]: tool }, memory: new MockMemory() });
      await runpurse.run({ runId: name }, async () => {
        for await (const chunk of await agent.network('go', { memory: { thread: 'thread-1', resource: 'user-1' } })) void chunk;
      });
      const run = await read(name);
      expect([ran.length, run?.calls]).toEqual([expected[0], [[name, expected[1], expected[2]]]]);
    }
  });

  it('in a network outside of any run, in one that ends with the call', async () => {
    const { tool, ran } = toolOf('lookup');
    const agent = agentOn(
      scripted(() => ({})),
      { tools: { lookup: tool } },
    );
    const { lookup: own } = (await agent.listTools()) as unknown as Record<
      string,
      { execute(input: object, context: object): Promise<unknown> }
    >;
    expect(await own?.execute({ q: 'x' }, { ...inRun('run-1'), agent: { toolCallId: 'step-1' } })).toBe('did it');
    expect(ran).toHaveLength(1);
    expect(await read()).toMatchObject({ status: 'completed', calls: [['lookup', 'completed', '0.002']] });
  });

  it.each<[string, (danger: unknown) => object, object]>([
    ['with processors and hooks of the call’s own', () => ({ inputProcessors: [], hooks: { beforeToolCall: () => undefined } }), {}],
    ['from a function', () => ({ inputProcessors: [], hooks: { beforeToolCall: () => undefined } }), { isFunction: true }],
    ['that prepareStep puts in', (danger) => ({ prepareStep: () => ({ tools: { danger } }) }), { isHidden: true }],
    ['that prepareStep puts in the place of another', (danger) => ({ prepareStep: () => ({ tools: { danger } }) }), {}],
  ])('%s', async (_, options, { isFunction = false, isHidden = false }: { isFunction?: boolean; isHidden?: boolean }) => {
    for (const isStreamed of [false, true]) {
      const { tool, ran } = toolOf('danger');
      const tools = isHidden ? {} : { danger: tool };
      const agent = agentOn(calls('danger'), { tools: isFunction ? () => tools : tools });
      const runId = `run-${isStreamed}`;
      const all = { ...inRun(runId), ...options(tool) } as never;
      if (isStreamed) await (await agent.stream('hi', all)).getFullOutput();
      else await agent.generate('hi', all);
      expect(ran).toEqual([]);
      expect(await read(runId)).toMatchObject({ calls: [['danger', 'denied', '0']] });
    }
  });

  it('by prepareStep, once, and told to trip when it must not run', async () => {
    const agent = agentOn(calls('danger'), { tools: {} });
    const { tripwire } = await agent.generate('hi', {
      ...inRun('run-1'),
      prepareStep: () => ({ tools: { danger: toolOf('danger').tool } }),
    } as never);
    expect(tripwire).toMatchObject({ metadata: { code: 'policy_denied', runId: 'run-1' } });
    expect(await read()).toMatchObject({ status: 'failed', requests: [{ status: 'completed', usage: { output_tokens: 5 } }] });
    const { tool, ran } = toolOf('lookup');
    const given = { ...inRun('run-2'), prepareStep: () => ({ tools: { lookup: tool } }) };
    expect((await agentOn(calls('lookup'), { tools: {} }).generate('hi', given as never)).text).toBe('done');
    expect(ran).toHaveLength(1);
    expect(await read('run-2')).toMatchObject({ status: 'completed', calls: [['lookup', 'completed', '0.002']] });
  });

  it('that prepareStep puts into a durable agent', async () => {
    const { tool, ran } = toolOf('danger');
    const durable = agentOn(calls('danger'), { tools: {}, durable: { cleanupTimeoutMs: 10 } });
    const mastra = new Mastra({ agents: { agent: durable }, storage: new InMemoryStore(), logger: false });
    const options = { ...inRun('run-1'), prepareStep: () => ({ tools: { danger: tool } }) };
    const output = await mastra.getAgent('agent').stream('hi', options as never);
    await ((output as { readonly output?: typeof output }).output ?? output).text.catch(() => undefined);
    await soon(100);
    expect(ran).toEqual([]);
    expect(await read()).toMatchObject({ calls: [['danger', 'denied', '0']] });
    await mastra.shutdown();
  });

  it.each([false, true])('of which prepareStep gives a copy that runs something else, in a stream: %s', async (isStreamed) => {
    for (const [name, expected] of [
      ['danger', [0, 'denied', '0']],
      ['lookup', [1, 'completed', '0.002']],
    ] as const) {
      const { tool, ran } = toolOf(name);
      const own: unknown[] = [];
      const execute = (input: unknown): string => (own.push(input), 'own');
      const prepareStep = ({ tools }: { readonly tools: Record<string, object> }) => ({ tools: { [name]: { ...tools[name], execute } } });
      const agent = agentOn(calls(name), { tools: { [name]: tool } });
      const options = { ...inRun(name), prepareStep } as never;
      if (isStreamed) await (await agent.stream('hi', options)).getFullOutput();
      else await agent.generate('hi', options);
      await soon(100); // Mastra may run a tool after its tripwire
      expect([ran.length, own.length, (await read(name))?.calls]).toEqual([0, expected[0], [[name, expected[1], expected[2]]]]);
    }
  });

  it('once, of which prepareStep gives a copy that goes on to it', async () => {
    const { tool, ran } = toolOf('lookup');
    const wrapping = ({ execute, ...rest }: Runnable) => ({ ...rest, execute: (...args: readonly unknown[]) => execute(...args) });
    const prepareStep = ({ tools }: { readonly tools: { readonly lookup: Runnable } }) => ({ tools: { lookup: wrapping(tools.lookup) } });
    await agentOn(calls('lookup'), { tools: { lookup: tool } }).generate('hi', { ...inRun('run-1'), prepareStep } as never);
    expect(ran).toHaveLength(1);
    expect(await read()).toMatchObject({ status: 'completed', calls: [['lookup', 'completed', '0.002']] });
  });

  it('that another calls with its own context, under any name', async () => {
    for (const [name, expected] of [
      ['danger', [0, 'denied', '0']],
      ['lookup', [1, 'completed', '0.002']],
    ] as const) {
      const { tool, ran } = toolOf(name);
      let own: Record<string, unknown> = {};
      const outer = toolOf('outer', (context) => (own[name] as Runnable).execute({ q: 'y' }, context));
      const tools = { [name]: tool, 'pays.out': outer.tool };
      const options = runpurse.withRunpurse({ id: 'support', name: 'S', instructions: '', model: calls('pays_out'), tools } as never);
      own = (options as { readonly tools: typeof own }).tools;
      await new PlainAgent(options).generate('hi', inRun(name));
      const run = await read(name);
      expect([outer.ran.length, ran.length]).toEqual([1, expected[0]]);
      expect(run?.calls).toEqual([
        ['pays_out', name === 'danger' ? 'failed' : 'completed', null],
        [name, expected[1], expected[2]],
      ]);
    }
  });

  it('that Code Mode runs, when they are guarded', async () => {
    const [lookup, danger] = [toolOf('lookup'), toolOf('danger')];
    const tools = runpurse.tools({ lookup: lookup.tool, danger: danger.tool });
    const sandbox = await mkdtemp(join(tmpdir(), 'runpurse-mastra-'));
    const { tool } = createCodeMode({ tools, sandbox: new LocalSandbox({ workingDirectory: sandbox }) });
    const code = `await external_lookup({ q: 'x' }); return external_danger({ q: 'y' });`;
    const agent = agentOn(calls(tool.id, { code }), { tools: { [tool.id]: tool } });
    await agent.generate('hi', inRun('run-1'));
    await rm(sandbox, { recursive: true });
    expect([lookup.ran.length, danger.ran.length]).toEqual([1, 0]);
    expect((await read())?.calls).toEqual([
      [tool.id, 'completed', null],
      ['lookup', 'completed', '0.002'],
      ['danger', 'denied', '0'],
    ]);
  });

  it('once, when both a hook and the tool itself could ask', async () => {
    const { tool } = toolOf('lookup');
    await agentOn(calls('lookup'), { tools: { lookup: tool } }).generate('hi', { ...inRun('run-1'), inputProcessors: [] });
    expect(await read()).toMatchObject({ status: 'completed', calls: [['lookup', 'completed', '0.002']] });
  });

  it('by the gateway its own agent is attached to, inside a run of another', async () => {
    const other = await start({ policy: { tools: { deny: ['lookup'] } } });
    const theirs = createRunpurse({ baseUrl: other.url, apiKey: other.apiKey });
    const { tool, ran } = toolOf('lookup');
    const inner = agentWith(theirs, calls('lookup'), { id: 'inner', tools: { lookup: tool } });
    const outer = toolOf('lookup', async () => (await inner.generate('hi', inRun('theirs'))).text);
    await agentOn(calls('lookup'), { tools: { lookup: outer.tool } }).generate('hi', inRun('run-1'));
    await theirs.client.flush();
    expect(ran).toEqual([]);
    expect((await other.readRun('theirs'))?.tools?.map(({ status }) => status)).toEqual(['denied']);
    expect(await read()).toMatchObject({ counts: { requests: 2, tool_calls: 1 } });
    await theirs.client.close();
    await other.remove();
  });
});

describe('a suspended tool', () => {
  it.each([[{ why: 1 }], [undefined]])('that Mastra resumes, suspended with %j, is asked for once', async (payload) => {
    const { tool } = suspending(payload);
    const agent = kept(agentOn(lookThenAnswerModel(), { tools: { lookup: tool } }));
    const suspended = await agent.stream('hi', inRun('run-1'));
    await suspended.getFullOutput();
    await (await agent.resumeStream({ ok: true }, { runId: suspended.runId, toolCallId: 'call_1' })).getFullOutput();
    expect(await read()).toMatchObject({ status: 'completed', calls: [['lookup', 'completed', '0.002']] });
  });

  it('that the model resumes itself is charged once, and its run ends with nothing open', async () => {
    const { tool, ran } = suspending({ why: 1 });
    const replies: Reply[] = [
      { calls: [{ name: 'lookup', id: 'c1' }] },
      { calls: [{ name: 'lookup', id: 'c2', args: { q: 'x', resumeData: { ok: true } } }] },
      { text: 'done' },
    ];
    const model = scripted((count) => replies[count - 1] ?? {});
    const defaultOptions = { autoResumeSuspendedTools: true };
    const agent = kept(agentOn(model, { tools: { lookup: tool }, memory: new MockMemory(), defaultOptions }));
    const options = { ...inRun('run-1'), memory: { thread: 'thread-1', resource: 'user-1' } };
    await (await agent.stream('hi', options)).getFullOutput();
    await (await agent.stream('yes', options)).getFullOutput();
    expect(ran).toHaveLength(2);
    expect(await read()).toMatchObject({
      status: 'completed',
      cost: { tool_usd: '0.002' },
      calls: [['lookup', 'completed', '0.002']],
    });
  });

  it.each(['approveToolCall', 'declineToolCall'] as const)('%s under the same RequestContext ends the run', async (answer) => {
    const { tool } = toolOf('lookup', undefined, { requireApproval: true });
    const agent = kept(agentOn(lookThenAnswerModel(), { tools: { lookup: tool } }));
    const options = inRun('run-1');
    const suspended = await agent.stream('hi', options);
    await suspended.getFullOutput();
    await (await agent[answer]({ runId: suspended.runId, ...options })).getFullOutput();
    expect(await read()).toMatchObject({ status: 'completed' });
  });
});

const lookThenAnswerModel = () => scripted(lookThenAnswer);

describe('a run with no id stated that waits for an approval', () => {
  type Answer = 'approveToolCall' | 'declineToolCall';
  const CONTEXTS: readonly (readonly [string, (first: object) => object])[] = [
    ['none', () => ({})],
    ['the same', (requestContext) => ({ requestContext })],
    ['a new one', () => ({ requestContext: new RequestContext([['runpurse', { customerId: 'a' }]]) })],
  ];
  /** The id of the tool call that waits. */
  async function asked({ fullStream }: { readonly fullStream: unknown }): Promise<string | undefined> {
    let id: string | undefined;
    for await (const { type, payload } of fullStream as AsyncIterable<{ type: string; payload: { toolCallId: string } }>)
      if (type === 'tool-call-approval') id = payload.toolCallId;
    return id;
  }

  it.each((['approveToolCall', 'declineToolCall'] as const).flatMap((answer) => CONTEXTS.map((context) => [answer, ...context] as const)))(
    'goes on with %s, its RequestContext %s, below its cap',
    async (answer: Answer, _, contextOf) => {
      const { tool, ran } = toolOf('payment', undefined, { requireApproval: true });
      let made = 0;
      const model = scripted(() => ((made += 1) <= 6 ? { calls: [{ name: 'payment', id: `c${made}` }] } : { text: 'done' }));
      const agent = kept(agentOn(model, { tools: { payment: tool } }));
      const requestContext = new RequestContext([['runpurse', { customerId: 'a', limitUsd: '0.1' }]]);
      const stream = await agent.stream('hi', { requestContext });
      const { runId } = stream;
      let toolCallId = await asked(stream);
      while (toolCallId !== undefined) toolCallId = await asked(await agent[answer]({ runId, toolCallId, ...contextOf(requestContext) }));
      await runpurse.client.flush();
      expect(await runsShown()).toMatchObject([{ status: answer === 'approveToolCall' ? 'failed' : 'completed', customer_id: 'a' }]);
      expect(ran).toHaveLength(answer === 'approveToolCall' ? 2 : 0);
    },
  );

  it('goes on though its answer was written into a message that the caller gave', async () => {
    const { tool, ran } = toolOf('payment', undefined, { requireApproval: true });
    let made = 0;
    const model = scripted(() => ((made += 1) <= 6 ? { calls: [{ name: 'payment', id: `c${made}` }] } : { text: 'done' }));
    const agent = kept(agentOn(model, { tools: { payment: tool } }));
    const requestContext = new RequestContext([['runpurse', { customerId: 'a', limitUsd: '0.1' }]]);
    const messages = [
      { id: 'm1', role: 'user', parts: [{ type: 'text', text: 'hi' }] },
      { id: 'm2', role: 'assistant', parts: [{ type: 'text', text: 'well' }] },
    ];
    const stream = await agent.stream(messages as never, { requestContext });
    const { runId } = stream;
    let toolCallId = await asked(stream);
    while (toolCallId !== undefined) toolCallId = await asked(await agent.approveToolCall({ runId, toolCallId, requestContext }));
    await runpurse.client.flush();
    expect(await runsShown()).toMatchObject([{ status: 'failed', customer_id: 'a' }]);
    expect(ran).toHaveLength(2);
  });

  it('is not taken over by another call in the RequestContext that answered it', async () => {
    const [lookup, payment] = ['lookup', 'payment'].map((name) => toolOf(name, undefined, { requireApproval: true }).tool);
    const model = scripted((_count, { prompt }) => {
      const text = JSON.stringify(prompt);
      if (!text.includes('WAIT')) return { text: 'done' };
      return text.includes('tool-result')
        ? { text: 'done' }
        : {
            calls: [
              { name: 'lookup', id: 'c1' },
              { name: 'payment', id: 'c2' },
            ],
          };
    });
    const agent = kept(agentOn(model, { tools: { lookup, payment } }));
    const stream = await agent.stream('WAIT', { requestContext: new RequestContext([['runpurse', { customerId: 'a' }]]) });
    const { runId } = stream;
    await asked(stream);
    const requestContext = new RequestContext([['runpurse', { customerId: 'b' }]]);
    const second = await asked(await agent.approveToolCall({ runId, toolCallId: 'c1', requestContext }));
    expect(second).toBe('c2');
    await agent.generate('another', { requestContext });
    await runpurse.client.flush();
    expect((await runsShown()).map(({ customer_id, status }) => [customer_id, status]).toSorted()).toEqual([
      ['a', 'running'],
      ['b', 'completed'],
    ]);
    await asked(await agent.approveToolCall({ runId, toolCallId: 'c2', requestContext }));
    await runpurse.client.flush();
    expect((await runsShown()).map(({ customer_id, status }) => [customer_id, status]).toSorted()).toEqual([
      ['a', 'completed'],
      ['b', 'completed'],
    ]);
  });

  it('is told from another that is answered at the same time in the same RequestContext', async () => {
    const { tool } = toolOf('lookup', () => soon(20).then(() => 'found'), { requireApproval: true });
    const agent = kept(agentOn(lookThenAnswerModel(), { tools: { lookup: tool } }));
    const waiting = await Promise.all(
      ['a', 'b'].map(async (customerId) => {
        const stream = await agent.stream('hi', { requestContext: new RequestContext([['runpurse', { customerId }]]) });
        await asked(stream);
        return stream.runId;
      }),
    );
    const requestContext = new RequestContext();
    await Promise.all(waiting.map(async (runId) => asked(await agent.approveToolCall({ runId, requestContext }))));
    await runpurse.client.flush();
    const runs = await runsShown();
    expect(runs.map(({ customer_id, status }) => [customer_id, status]).toSorted()).toEqual([
      ['a', 'completed'],
      ['b', 'completed'],
    ]);
    for (const run of runs) expect(run).toMatchObject({ counts: { requests: 2, tool_calls: 1 } });
  });
});

describe('what a sub-agent’s tool waits for', () => {
  const delegating = (...names: string[]) =>
    scripted((_count, { prompt }) =>
      prompt.at(-1)?.role === 'tool'
        ? { text: 'done' }
        : { calls: names.map((name) => ({ name, id: `to ${name}`, args: { prompt: 'x' } })) },
    );
  const subOf = (id: string, tool: unknown) =>
    agentOn(calls('lookup', { q: 'x' }, 'functions.lookup:0'), { id, description: id, tools: { lookup: tool } });

  it.each([
    ['approveToolCall', 1],
    ['declineToolCall', 0],
  ] as const)('an approval: %s goes on with the delegation, which is asked for once', async (answer, times) => {
    const { tool, ran } = toolOf('lookup', undefined, { requireApproval: true });
    const boss = kept(agentOn(delegating('agent-sub'), { id: 'boss', agents: { sub: subOf('sub', tool) } }));
    const waiting = await boss.stream('hi', inRun('run-1', { limitUsd: '0.9' }));
    await waiting.getFullOutput();
    await (await boss[answer]({ runId: waiting.runId, toolCallId: 'to agent-sub' })).getFullOutput();
    expect(ran).toHaveLength(times);
    const shown = await read();
    expect(shown).toMatchObject({ status: 'completed' });
    expect(shown?.calls).toEqual([
      ['agent-sub', 'completed', '0.5'],
      ...Array.from({ length: times }, () => ['lookup', 'completed', '0.002']),
    ]);
  });

  it('to be resumed is charged once, though the models of two agents give the same ids', async () => {
    const agents = Object.fromEntries(['one', 'two'].map((id) => [id, subOf(id, suspending({ why: id }).tool)]));
    const boss = kept(agentOn(delegating('agent-one', 'agent-two'), { id: 'boss', agents, memory: new MockMemory() }));
    const waiting = await boss.stream('hi', { ...inRun('run-1'), memory: { thread: 'thread-1', resource: 'user-1' } });
    await waiting.consumeStream();
    for (const name of Object.keys(agents))
      await (await boss.resumeStream({ ok: true }, { runId: waiting.runId, toolCallId: `to agent-${name}` })).consumeStream();
    const shown = await read();
    expect(shown).toMatchObject({ status: 'completed', cost: { tool_usd: '0.004' } });
    expect(shown?.calls.filter(([tool]) => tool === 'lookup')).toEqual(Array(2).fill(['lookup', 'completed', '0.002']));
  });
});

describe('a stream with background tasks', () => {
  const backgroundTasks = { tools: { lookup: true, payment: true } };
  const defaultOptions = { modelSettings: { maxOutputTokens: 10 } };
  const inBackground = (model: unknown, tools: Record<string, unknown>, more: object = {}): Agent =>
    new Mastra({
      agents: { agent: agentOn(model, { tools, memory: new MockMemory(), backgroundTasks, defaultOptions }) },
      storage: new InMemoryStore(),
      logger: false,
      backgroundTasks: { enabled: true, ...more },
    }).getAgent('agent');
  const onThread = (thread: string) => ({ memory: { thread, resource: 'user-1' } });
  const untilIdle = async (agent: Agent, options: object): Promise<string[]> =>
    partsOf(await agent.stream('hi', { ...onThread('thread-1'), ...options, untilIdle: true } as never));
  async function partsOf({ fullStream }: { readonly fullStream: unknown }): Promise<string[]> {
    const types: string[] = [];
    for await (const { type } of fullStream as AsyncIterable<{ readonly type: string }>) types.push(type);
    return types;
  }
  async function ended(runId = 'run-1') {
    for (let tries = 0; tries < 60 && (await read(runId))?.status === 'running'; tries += 1) await soon(200);
    return read(runId);
  }

  it.each<[string, object]>([
    ['with no id stated', {}],
    ['under the id stated', { runId: 'run-1' }],
  ])('until idle is one run with what they make it say, %s, and ends after that', async (_, stated) => {
    const { tool } = toolOf('lookup', () => soon(150).then(() => 'found'));
    const model = scripted((count) => (count === 1 ? { calls: [{ name: 'lookup' }] } : { text: 'done' }));
    const requestContext = new RequestContext([['runpurse', stated]]);
    const types = await untilIdle(inBackground(model, { lookup: tool }), { requestContext });
    expect(types).not.toContain('tripwire');
    await runpurse.client.flush();
    const runs = await runsShown();
    expect(runs).toHaveLength(1);
    expect(await read(runs[0]?.run_id)).toMatchObject({
      status: 'completed',
      counts: { requests: 3, tool_calls: 1 },
      calls: [['lookup', 'completed', '0.002']],
    });
  });

  it('until idle stands under one cap', async () => {
    const { tool, ran } = toolOf('payment', () => soon(50).then(() => 'paid'));
    const model = scripted((count) =>
      count % 2 === 1 && count < 12 ? { calls: [{ name: 'payment', id: `c${count}` }] } : { text: 'done' },
    );
    const requestContext = new RequestContext([['runpurse', { limitUsd: '0.1' }]]);
    await untilIdle(inBackground(model, { payment: tool }), { requestContext });
    expect(ran).toHaveLength(2);
  });

  it.each<[string, string, Readonly<Record<number, Partial<Reply>>>, () => Promise<unknown>]>([
    ['failed', '0.0403', {}, async () => {}],
    ['failed', '1', { 2: { throws: Object.assign(new Error('bad'), { statusCode: 400 }) } }, async () => {}],
    ['stopped', '1', {}, async () => gateway.post(`/v1/runs/${(await runsShown())[0]?.run_id}/stop`, {})],
  ])(
    'until idle is one run to its end, and what they make it say after that no other: %s %s %j',
    async (status, limitUsd, odd, meanwhile) => {
      const { tool, ran } = toolOf('payment', async () => {
        await meanwhile();
        await soon(150);
      });
      const model = scripted((count) => odd[count] ?? (count < 12 ? { calls: [{ name: 'payment', id: `c${count}` }] } : {}));
      const requestContext = new RequestContext([['runpurse', { limitUsd }]]);
      await untilIdle(inBackground(model, { payment: tool }), { requestContext });
      await runpurse.client.flush();
      expect(await runsShown()).toMatchObject([{ status }]);
      expect(ran.length).toBeLessThanOrEqual(2);
    },
  );

  it('are told to the run that lasts, also beside those of one that failed before it', async () => {
    const pending: (() => void)[] = [];
    const { tool } = toolOf('lookup', () => new Promise((resolve) => pending.push(() => resolve('found'))));
    const replies: readonly Partial<Reply>[] = [
      { calls: [{ name: 'lookup', id: 'c1' }] },
      { throws: Object.assign(new Error('bad'), { statusCode: 400 }) },
      { calls: [{ name: 'lookup', id: 'c2' }] },
    ];
    const agent = inBackground(
      scripted((count) => replies[count - 1] ?? { text: 'done' }),
      { lookup: tool },
    );
    const first = untilIdle(agent, { requestContext: new RequestContext() });
    for (let tries = 0; pending.length < 1 && tries < 100; tries += 1) await soon(20);
    await soon(300);
    const second = untilIdle(agent, { requestContext: new RequestContext() });
    for (let tries = 0; pending.length < 2 && tries < 100; tries += 1) await soon(20);
    await soon(300);
    for (const resolve of pending) resolve();
    const types = (await Promise.all([first, second])).flat();
    await runpurse.client.flush();
    expect((await runsShown()).map(({ status }) => status).toSorted()).toEqual(['completed', 'failed']);
    expect(types.filter((type) => type === 'tripwire').length).toBeLessThanOrEqual(1);
  }, 20_000);

  it('that need an approval go on in its run', async () => {
    const { tool } = toolOf('lookup', () => soon(100).then(() => 'found'), { requireApproval: true });
    const model = scripted((count) => (count === 1 ? { calls: [{ name: 'lookup' }] } : { text: 'done' }));
    const agent = inBackground(model, { lookup: tool });
    const waiting = await agent.stream('hi', { ...onThread('thread-1'), untilIdle: true } as never);
    await partsOf(waiting);
    await partsOf(await agent.approveToolCall({ runId: waiting.runId, ...onThread('thread-1'), untilIdle: true }));
    await runpurse.client.flush();
    const runs = await runsShown();
    expect(runs).toHaveLength(1);
    expect(await ended(runs[0]?.run_id)).toMatchObject({ status: 'completed', calls: [['lookup', 'completed', '0.002']] });
  }, 20_000);

  it('that the agent waits for ends with its answer', async () => {
    const { tool } = toolOf('lookup', () => soon(20).then(() => 'found'));
    const args = { q: 'x', _background: { disposition: 'awaited' } };
    const agent = inBackground(calls('lookup', args), { lookup: tool });
    await (await agent.stream('hi', { ...inRun('run-1'), memory: { thread: 'thread-1', resource: 'user-1' } })).getFullOutput();
    expect(await read()).toMatchObject({ status: 'completed', calls: [['lookup', 'completed', '0.002']] });
  });

  it('of which no turn is told ends soon after its task', async () => {
    const { tool } = toolOf('lookup', () => soon(50).then(() => 'found'));
    const agent = inBackground(
      scripted((count) => (count === 1 ? { calls: [{ name: 'lookup' }] } : {})),
      { lookup: tool },
    );
    await (await agent.stream('hi', { ...inRun('run-1'), memory: { thread: 'thread-1', resource: 'user-1' } })).getFullOutput();
    expect((await read())?.status).toBe('running');
    expect(await ended()).toMatchObject({ status: 'completed', calls: [['lookup', 'completed', '0.002']] });
  }, 20_000);

  it('until idle that run(…) returns stands under its cap to its end, and ends it', async () => {
    const { tool, ran } = toolOf('payment', () => soon(50).then(() => 'paid'));
    const model = scripted((count) =>
      count % 2 === 1 && count < 12 ? { calls: [{ name: 'payment', id: `c${count}` }] } : { text: 'done' },
    );
    const agent = inBackground(model, { payment: tool });
    const stream = await runpurse.run({ runId: 'run-1', limitUsd: '0.1' }, () =>
      agent.stream('hi', { ...onThread('thread-1'), untilIdle: true } as never),
    );
    await partsOf(stream);
    expect(ran).toHaveLength(2);
    expect(await runsShown()).toHaveLength(1);
    expect(await ended()).toMatchObject({ status: 'completed', cost: { tool_usd: '0.08' }, counts: { requests: 13 } });
  }, 20_000);

  it.each<[string, (ask: () => Promise<unknown>) => Promise<unknown>]>([
    ['run(…)', (ask) => runpurse.run({ runId: 'run-1' }, ask)],
    [
      'a workflow’s step',
      async (ask) => {
        const schema = z.object({});
        const shape = { inputSchema: schema, outputSchema: schema };
        const step = createStep({ id: 'ask', ...shape, execute: async () => (await ask(), {}) });
        const flow = createWorkflow(runpurse.withWorkflow({ id: 'flow', ...shape }))
          .then(runpurse.step(step))
          .commit();
        return (await flow.createRun({ runId: 'run-1' })).start({ inputData: {} });
      },
    ],
  ])(
    'that wait for each other in %s all run, and it ends after them',
    async (_, within) => {
      const { tool, ran } = toolOf('lookup', () => soon(50).then(() => 'found'));
      const lookups = Array.from({ length: 3 }, (__, index) => ({ name: 'lookup', id: `c${index}` }));
      const model = scripted((count) => (count === 1 ? { calls: lookups } : { text: 'done' }));
      const agent = inBackground(model, { lookup: tool }, { globalConcurrency: 1, perAgentConcurrency: 1 });
      await within(async () => (await agent.stream('hi', onThread('thread-1'))).text);
      expect(await ended()).toMatchObject({ status: 'completed', calls: Array(3).fill(['lookup', 'completed', '0.002']) });
      expect(ran).toHaveLength(3);
    },
    20_000,
  );

  it('until idle each go on in their own run, on threads that share a RequestContext', async () => {
    const { tool } = toolOf('lookup', () => soon(60).then(() => 'found'));
    let made = 0;
    const model = scripted((_count, { prompt }) =>
      JSON.stringify(prompt).includes('tool-result') ? { text: 'done' } : { calls: [{ name: 'lookup', id: `c${(made += 1)}` }] },
    );
    const agent = inBackground(model, { lookup: tool });
    const requestContext = new RequestContext([['runpurse', { customerId: 'customer-1' }]]);
    const threads = ['1', '2', '3'];
    const told = await Promise.all(threads.map((thread) => untilIdle(agent, { ...onThread(thread), requestContext })));
    expect(told.flat()).not.toContain('tripwire');
    await runpurse.client.flush();
    const runs = await runsShown();
    expect(runs).toHaveLength(threads.length);
    for (const run of runs) expect(run).toMatchObject({ status: 'completed', counts: { requests: 3 } });
  });
});

describe('a run tells how it ended', () => {
  it.each([false, true])('stopped, when an abort makes its tool fail, in a stream: %s', async (isStreamed) => {
    const controller = new AbortController();
    const { tool } = toolOf('lookup', () => {
      controller.abort();
      throw new Error('aborted');
    });
    const agent = agentOn(lookThenAnswerModel(), { tools: { lookup: tool } });
    const options = { ...inRun('run-1'), abortSignal: controller.signal };
    if (isStreamed) await (await agent.stream('hi', options)).getFullOutput();
    else await agent.generate('hi', options);
    expect(await read()).toMatchObject({ status: 'stopped', calls: [['lookup', 'failed', '0.002']] });
  });

  it('failed, when a network in it is refused its routing', async () => {
    const boss = kept(
      agentOn(
        scripted(() => ({ text: '{}' })),
        { id: 'boss', agents: { sub: agentOn(lookThenAnswerModel(), { id: 'sub', description: 'sub' }) }, memory: new MockMemory() },
      ),
    );
    await runpurse.run({ runId: 'run-1', limitUsd: '0.00001' }, async () => {
      const network = await boss.network('hi', { memory: { thread: 'thread-1', resource: 'user-1' }, maxSteps: 2 });
      for await (const chunk of network) void chunk;
      return network;
    });
    await soon();
    expect(await read()).toMatchObject({ status: 'failed' });
  });
});

describe('a tool that did not run costs nothing', () => {
  it('because Mastra rejected its arguments, and is told to have failed', async () => {
    const { tool, ran } = toolOf('lookup');
    const inner = { wrong: 'sk-proj-0123456789abcdef0123456789' };
    await agentOn(calls('lookup', inner), { tools: { lookup: tool } }).generate('hi', inRun('run-1'));
    expect(ran).toEqual([]);
    expect(await read()).toMatchObject({ status: 'completed', cost: { tool_usd: '0' }, calls: [] });
  });

  it.each<[string, () => never | { readonly proceed: false; readonly output: string }]>([
    ['skipped', () => ({ proceed: false, output: 'not today' })],
    [
      'failed',
      () => {
        throw new Error('theirs');
      },
    ],
  ])('because a hook of the agent %s', async (_, beforeToolCall) => {
    const { tool, ran } = toolOf('lookup');
    await agentOn(calls('lookup'), { tools: { lookup: tool }, hooks: { beforeToolCall } }).generate('hi', inRun('run-1'));
    expect(ran).toEqual([]);
    expect(await read()).toMatchObject({ status: 'completed', calls: [] });
  });

  it('but one whose result Mastra rejects ran, and failed; one before a hook that fails ran well', async () => {
    const { tool } = toolOf('lookup', () => 7, { outputSchema: z.string() });
    await agentOn(calls('lookup'), { tools: { lookup: tool } }).generate('hi', inRun('run-1'));
    expect(await read()).toMatchObject({ calls: [['lookup', 'failed', '0.002']] });
    const afterToolCall = (): never => {
      throw new Error('theirs');
    };
    await agentOn(calls('lookup'), { tools: { lookup: toolOf('lookup').tool }, hooks: { afterToolCall } }).generate('hi', inRun('run-2'));
    expect(await read('run-2')).toMatchObject({ calls: [['lookup', 'completed', '0.002']] });
  });

  it.each([true, false])('because onDelegationStart lets an agent go on: %s', async (proceed) => {
    const sub = agentOn(
      scripted(() => ({ text: '[Delegation Rejected] says the model' })),
      { id: 'sub', description: 'helps' },
    );
    const delegation = { onDelegationStart: () => ({ proceed, rejectionReason: 'no' }) };
    const agent = agentOn(calls('agent-sub', { prompt: 'help' }), { tools: {}, agents: { sub } });
    await agent.generate('hi', { ...inRun('run-1'), delegation } as never);
    expect((await read())?.calls).toEqual(proceed ? [['agent-sub', 'completed', '0.5']] : []);
  });

  it('because it is denied, of generateLegacy too, whose run goes on', async () => {
    const answer = { finishReason: 'stop', usage: { promptTokens: 1, completionTokens: 1 }, rawCall: { rawPrompt: null, rawSettings: {} } };
    const toolCalls = [{ toolCallType: 'function', toolCallId: 'call_1', toolName: 'danger', args: '{"q":"x"}' }];
    const model = {
      specificationVersion: 'v1',
      provider: 'scripted',
      modelId: 'old',
      defaultObjectGenerationMode: 'json',
      doGenerate: async ({ prompt }: { readonly prompt: readonly { readonly role: string }[] }) =>
        prompt.at(-1)?.role === 'tool' ? { ...answer, text: 'done' } : { ...answer, finishReason: 'tool-calls', toolCalls },
    };
    const { tool, ran } = toolOf('danger');
    const { text } = await agentOn(model, { tools: { danger: tool } }).generateLegacy('hi', { maxSteps: 3, ...inRun('run-1') } as never);
    expect([text, ran]).toEqual(['done', []]);
    expect(await read()).toMatchObject({ status: 'completed', calls: [['danger', 'denied', '0']] });
  });
});

describe('calls at once under one run id', () => {
  it('are each counted, and end the run with the last of them', async () => {
    const slow = (ms: number): Agent => {
      const model = scripted(() => ({}));
      const { doGenerate } = model as unknown as { doGenerate(options: object): Promise<unknown> };
      Object.assign(model, { doGenerate: async (options: object) => soon(ms).then(() => doGenerate(options)) });
      return agentOn(model);
    };
    await Promise.all([slow(20), slow(120), slow(220)].map((agent) => agent.generate('hi', inRun('run-1'))));
    const run = await read();
    expect(run).toMatchObject({ status: 'completed', counts: { requests: 3 } });
    expect(run?.requests.map(({ status, usage }) => [status, usage?.output_tokens])).toEqual(Array(3).fill(['completed', 5]));
  });
});

describe('a fallback', () => {
  it.each<[string, boolean, string]>([
    ['past the gateway after one through it', true, 'self_reported'],
    ['through the gateway after one past it', false, 'gateway'],
  ])('%s is charged, as a retry', async (_, isFirstCarried, source) => {
    const carried = { id: `runpurse/${isFirstCarried ? 'broken' : 'model'}`, url: `${gateway.url}/v1`, apiKey: gateway.apiKey };
    const direct = scripted(() => (isFirstCarried ? { text: 'done' } : { throws: new Error('socket') }));
    const models = isFirstCarried ? [carried, direct] : [direct, carried];
    const agent = agentOn(
      models.map((model) => ({ model, maxRetries: 0 })),
      { defaultOptions: { modelSettings: { maxOutputTokens: 1000 } } },
    );
    expect((await agent.generate('hi', inRun('run-1'))).text).toBe('done');
    const run = await read();
    expect(run?.requests.map(({ status, attempt }) => [status, attempt])).toEqual([
      ['failed', 1],
      ['completed', 2],
    ]);
    expect(run?.requests[1]?.source).toBe(source);
    expect(Number(run?.requests[1]?.cost_usd)).toBeGreaterThan(0);
    expect(run?.cost.retry_usd).toBe(run?.requests[1]?.cost_usd);
  });
});

describe('models of one name behind two addresses', () => {
  const at = (baseURL: string, apiKey = gateway.apiKey) =>
    createOpenAICompatible({ name: 'same', baseURL, apiKey, includeUsage: true })('model');
  const past = () => scripted(() => ({ text: 'past' }), 'http://127.0.0.1:9/v1', 'model');
  const through = () => Object.defineProperty(at(`${gateway.url}/v1`), 'provider', { value: 'scripted' });
  const defaultOptions = { modelSettings: { maxOutputTokens: 1000 } };
  const capped = (runId: string) => inRun(runId, { limitUsd: '0.0000001' });

  it.each<[string, () => { readonly model: unknown; readonly options?: object }]>([
    ['of fallbacks', () => ({ model: [past(), through()].map((model) => ({ model, maxRetries: 0 })) })],
    ['that prepareStep gives', () => ({ model: through(), options: { prepareStep: () => ({ model: past() }) } })],
    ['given to the call', () => ({ model: through(), options: { model: past() } })],
  ])('are told apart: one past the gateway is held to the cap, %s', async (_, make) => {
    const { model, options } = make();
    const { tripwire } = await agentOn(model, { defaultOptions }).generate('hi', { ...capped('run-1'), ...options } as never);
    expect(tripwire).toMatchObject({ metadata: { code: 'budget_exceeded' } });
    await agentOn(model, { defaultOptions }).generate('hi', { ...inRun('run-2'), ...options } as never);
    expect((await read('run-2'))?.requests).toMatchObject([{ source: 'self_reported', status: 'completed' }]);
  });

  it('are told apart, each call counted once, of a model chosen by the call', async () => {
    const model = async ({ requestContext }: { readonly requestContext: RequestContext }) => {
      await soon(Math.random() * 20);
      return requestContext.get('where') === 'past' ? past() : through();
    };
    const agent = agentOn(model, { defaultOptions });
    await Promise.all(
      Array.from({ length: 10 }, async (_, index) => {
        const { requestContext } = inRun(`run-${index}`);
        requestContext.set('where', index % 2 === 0 ? 'past' : 'through');
        await agent.generate('hi', { requestContext });
      }),
    );
    for (let index = 0; index < 10; index += 1) {
      const source = index % 2 === 0 ? 'self_reported' : 'gateway';
      expect((await read(`run-${index}`))?.requests).toMatchObject([{ source, status: 'completed' }]);
    }
    expect(warnings).toEqual([]);
  });

  it('said to be carried, are charged when one was not, with a warning', async () => {
    const model = past();
    const { doGenerate } = model as unknown as { doGenerate(options: object): Promise<{ readonly response: object }> };
    const headers = { 'content-type': 'application/json' };
    const answering = async (options: object) =>
      doGenerate(options).then((answer) => ({ ...answer, response: { ...answer.response, headers } }));
    Object.assign(model, { doGenerate: answering });
    const options = { id: 'support', name: 'S', instructions: '', model };
    const agent = new PlainAgent(runpurse.withRunpurse(options as never, { carried: true }));
    for (const runId of ['run-1', 'run-2']) {
      await agent.generate('hi', inRun(runId));
      const requests = (await read(runId))?.requests;
      expect(requests).toMatchObject([{ source: 'self_reported', status: 'completed', usage: { output_tokens: 5 } }]);
    }
    expect(warnings).toEqual([expect.stringContaining('past the gateway')]);
  });
});

const prompt = z.object({ prompt: z.string() });
const shape = { inputSchema: prompt, outputSchema: prompt };
const own = (id: string, execute: (context: { readonly requestContext: RequestContext }) => unknown = () => undefined) =>
  createStep({
    id,
    inputSchema: z.any(),
    outputSchema: prompt,
    execute: async (params) => (await execute(params as never), { prompt: 'hi' }),
  });
async function started(flow: { createRun(): Promise<unknown> }, options: object = {}) {
  new Mastra({ workflows: { flow: flow as never }, storage: new InMemoryStore(), logger: false });
  const run = (await flow.createRun()) as {
    readonly runId: string;
    start(options: object): Promise<{ status: string }>;
    cancel(): Promise<void>;
  };
  return { run, status: (await run.start({ inputData: { prompt: 'hi' }, ...options })).status };
}

describe('a workflow’s run', () => {
  it.each([false, true])('goes on after a nested workflow without step(…), attached: %s', async (isAttached) => {
    const { withWorkflow, step, gate } = runpurse;
    const agent = agentOn(lookThenAnswerModel());
    const asks = (id: string) => step(own(id, () => agent.generate('hi')));
    const inner = createWorkflow(isAttached ? withWorkflow({ id: 'inner', ...shape }) : { id: 'inner', ...shape })
      .then(asks('inside'))
      .commit();
    const flow = createWorkflow(withWorkflow({ id: 'flow', ...shape }))
      .then(inner as never)
      .then(asks('after'))
      .then(gate({ id: 'pay', schema: prompt, tool: 'payment' }) as never)
      .commit();
    const { run, status } = await started(flow);
    expect(status).toBe('success');
    expect(await read(run.runId)).toMatchObject({
      status: 'completed',
      counts: { requests: 4, tool_calls: 3 },
      cost: { tool_usd: '0.044' },
    });
  });

  it.each<[string, (agent: Agent) => unknown]>([
    ['in a step that is not wrapped', (agent) => own('ask', ({ requestContext }) => agent.generate('hi', { requestContext }))],
    ['as a step', (agent) => createStep(agent)],
  ])('goes on after an agent %s, under the run id stated', async (_, stepOf) => {
    const { withWorkflow, gate } = runpurse;
    const flow = createWorkflow(withWorkflow({ id: 'flow', ...shape }))
      .then(stepOf(agentOn(lookThenAnswerModel())) as never)
      .then(own('back') as never)
      .then(gate({ id: 'pay', schema: prompt, tool: 'payment' }) as never)
      .commit();
    expect((await started(flow, inRun('run-1'))).status).toBe('success');
    expect(await read()).toMatchObject({ status: 'completed', counts: { requests: 2, tool_calls: 2 }, cost: { tool_usd: '0.042' } });
  });

  it('holds the agents that are its steps to its cap, and tells of them', async () => {
    const { withWorkflow, step } = runpurse;
    const [first, second] = ['first', 'second'].map((id) =>
      step(createStep(agentOn(lookThenAnswerModel(), { id, name: id, defaultOptions: { modelSettings: { maxOutputTokens: 10 } } }))),
    );
    const flow = createWorkflow(withWorkflow({ id: 'flow', ...shape }))
      .then(first as never)
      .then(own('back') as never)
      .then(second as never)
      .commit();
    const requestContext = new RequestContext([['runpurse', { limitUsd: '0.0035' }]]);
    const { run } = await started(flow, { requestContext });
    const shown = await read(run.runId);
    expect(shown?.calls).toEqual([
      ['lookup', 'completed', '0.002'],
      ['lookup', 'denied', '0'],
    ]);
    expect(shown?.steps.map(({ name }) => name)).toEqual(expect.arrayContaining(['first', 'second']));
    expect(new Set(shown?.requests.map(({ agent_id }) => agent_id))).toEqual(new Set(['first', 'second']));
  });

  it.each([
    ['danger', 'failed', 'denied', '0'],
    ['lookup', 'success', 'completed', '0.002'],
  ])('asks for a tool that is its step: %s', async (name, status, expected, cost) => {
    const { tool, ran } = toolOf(name, () => ({ q: 'y' }), { outputSchema: z.object({ q: z.string() }) });
    const q = z.object({ q: z.string() });
    const flow = createWorkflow(runpurse.withWorkflow({ id: 'flow', inputSchema: q, outputSchema: q }))
      .then(runpurse.step(createStep(tool as never)) as never)
      .commit();
    const { run, ...result } = await started(flow, { inputData: { q: 'x' } });
    expect([result.status, ran.length]).toEqual([status, status === 'success' ? 1 : 0]);
    expect((await read(run.runId))?.calls).toEqual([[name, expected, cost]]);
  });

  it.each<[string, (suspend: (...args: never[]) => unknown) => unknown]>([
    [
      'a step',
      () =>
        runpurse.step(
          createStep({ id: 'waits', ...shape, suspendSchema: z.object({}), execute: async ({ suspend }) => (await suspend({})) as never }),
        ),
    ],
    ['a gate', () => runpurse.gate({ id: 'waits', schema: prompt, tool: 'danger', refused: (_, { suspend }) => suspend({}) })],
  ])('that is cancelled while %s waits ends stopped, with nothing open', async (_, waiting) => {
    const flow = createWorkflow(runpurse.withWorkflow({ id: 'flow', ...shape }))
      .then(waiting(() => undefined) as never)
      .commit();
    const { run, status } = await started(flow);
    expect(status).toBe('suspended');
    await run.cancel();
    await soon();
    const shown = await read(run.runId);
    expect(shown?.status).toBe('stopped');
    expect(shown?.steps.filter(({ status: of }) => of === 'open')).toEqual([]);
  });

  it('is stopped by a gate that was only told of the refusal, which is asked once', async () => {
    const heard: string[] = [];
    const work = jest.fn();
    const refused = ({ code }: { readonly code: string }): void => void heard.push(code);
    const flow = createWorkflow({ ...runpurse.withWorkflow({ id: 'flow', ...shape }), retryConfig: { attempts: 2, delay: 1 } })
      .then(runpurse.gate({ id: 'pay', schema: prompt, tool: 'danger', refused }) as never)
      .then(own('work', work) as never)
      .commit();
    const { run, status } = await started(flow);
    expect([status, heard]).toEqual(['failed', ['policy_denied']]);
    expect(work).not.toHaveBeenCalled();
    expect(await read(run.runId)).toMatchObject({ status: 'failed', calls: [['danger', 'denied', '0']] });
  });
});

describe('a workflow that Mastra repeats, resumes or takes apart', () => {
  const q = z.object({ q: z.string() });
  const flowOf = (id: string, more: object = {}) =>
    createWorkflow(runpurse.withWorkflow({ id, inputSchema: q, outputSchema: q, ...more } as never)) as unknown as Chain;
  interface Chain {
    then(step: unknown): Chain;
    foreach(step: unknown, options?: object): Chain;
    parallel(steps: readonly unknown[]): Chain;
    commit(): { createRun(options?: object): Promise<FlowRun> };
  }
  interface FlowRun {
    start(options: object): Promise<{ readonly status: string }>;
    resume(options: object): Promise<{ readonly status: string }>;
    timeTravel(options: object): Promise<{ readonly status: string }>;
  }
  const pay = (id: string) => runpurse.gate({ id, schema: q, tool: 'payment' });
  const keptFlow = (flow: ReturnType<Chain['commit']>, storage = new InMemoryStore()) => {
    new Mastra({ workflows: { flow: flow as never }, storage, logger: false });
    return flow;
  };

  it('stands under its cap with nested workflows in a foreach', async () => {
    const nested = flowOf('nested').then(pay('pay')).commit();
    const flow = flowOf('flow', { inputSchema: z.array(q), outputSchema: z.any() })
      .foreach(runpurse.step(nested as never))
      .commit();
    const run = await flow.createRun({ runId: 'run-1' });
    const requestContext = new RequestContext([['runpurse', { limitUsd: '0.09' }]]);
    const inputData = ['1', '2', '3'].map((each) => ({ q: each }));
    expect(await run.start({ inputData, requestContext })).toMatchObject({ status: 'failed' });
    expect(await read()).toMatchObject({
      status: 'failed',
      calls: [
        ['payment', 'completed', '0.04'],
        ['payment', 'completed', '0.04'],
        ['payment', 'denied', '0'],
      ],
    });
  });

  /** A flow with a tool step that waits, kept by a process of its own each time it is asked for. */
  function waitingFlow(run: (resumes: number) => unknown = () => undefined) {
    const storage = new InMemoryStore();
    let resumes = 0;
    const payment = createTool({
      id: 'payment',
      description: 'pays',
      inputSchema: q,
      outputSchema: q,
      ...RESUMABLE,
      execute: async (_: unknown, context: unknown) => {
        const { workflow } = context as { readonly workflow: { readonly resumeData?: unknown; suspend(payload?: object): unknown } };
        if (workflow.resumeData === undefined) return workflow.suspend();
        await run((resumes += 1));
        return { q: 'paid' };
      },
    } as never);
    return ({ withWorkflow, step }: Runpurse) => {
      const options = withWorkflow({ id: 'flow', inputSchema: q, outputSchema: q });
      const flow = createWorkflow(options) as unknown as Chain;
      return keptFlow(
        flow
          .then(step(createStep(payment as never, { retries: 1 } as never)))

          .commit(),
        storage,
      );
    };
  }

  it.each<[string, string | undefined, number, number]>([
    ['once', undefined, 0, 1],
    ['once, under a cap of one call', '0.05', 0, 1],
    ['again when it failed and is tried again', undefined, 1, 2],
  ])('asks for a tool step resumed in another process %s, and ends', async (_, limitUsd, fails, asked) => {
    const flowIn = waitingFlow((resumes) => {
      if (resumes <= fails) throw new Error('broke');
    });
    const run = await flowIn(runpurse).createRun({ runId: 'run-1' });
    const requestContext = new RequestContext([['runpurse', { limitUsd }]]);
    expect(await run.start({ inputData: { q: 'x' }, requestContext })).toMatchObject({ status: 'suspended' });
    const elsewhere = createRunpurse({ baseUrl: gateway.url, apiKey: gateway.apiKey });
    const same = await flowIn(elsewhere).createRun({ runId: 'run-1' });
    expect(await same.resume({ step: 'payment', resumeData: { ok: true } })).toMatchObject({ status: 'success' });
    await elsewhere.client.close();
    expect(await read()).toMatchObject({ status: 'completed', counts: { tool_calls: asked } });
  });

  it.each<[string, object, readonly string[]]>([
    ['with data', { resumeData: { ok: true } }, ['0', '1', '2', '3']],
    ['without data', {}, ['0', '1', '2', '3']],
    ['with data, of items that are alike', { resumeData: { ok: true } }, ['x', 'x', 'x', 'x']],
  ])('asks for each item of a foreach over a tool step that waits, resumed %s by its index, once', async (_, resumed, items) => {
    for (const [runId, limitUsd] of [
      ['run-1', undefined],
      ['run-2', '0.09'],
    ] as const) {
      const ran: string[] = [];
      let runs = 0;
      const tool = createTool({
        id: 'payment',
        description: 'pays',
        inputSchema: q,
        outputSchema: q,
        ...RESUMABLE,
        execute: async (input: { readonly q: string }, { workflow }: { readonly workflow: { suspend(): unknown } }) => {
          runs += 1;
          if (runs <= 2) return workflow.suspend();
          ran.push(input.q);
          return input;
        },
      } as never);
      const flow = keptFlow(
        flowOf('flow', { inputSchema: z.array(q), outputSchema: z.any() })
          .foreach(runpurse.step(createStep(tool as never)), { concurrency: 2 })
          .commit(),
      );
      const run = await flow.createRun({ runId });
      const requestContext = new RequestContext([['runpurse', { limitUsd }]]);
      let result = await run.start({ inputData: items.map((each) => ({ q: each })), requestContext });
      for (let index = 0; result.status === 'suspended'; index += 1)
        result = await run.resume({ step: 'payment', ...resumed, forEachIndex: index, requestContext });
      const shown = await read(runId);
      expect(shown?.status).toBe(limitUsd === undefined ? 'completed' : 'failed');
      expect(shown?.calls?.filter(([, status]) => status === 'completed')).toHaveLength(ran.length);
      expect(shown?.cost).toMatchObject({ tool_usd: limitUsd === undefined ? '0.16' : '0.08' });
    }
  });

  /** Keeps a workflow's state as databases do. */
  function jsonStore(): InMemoryStore {
    const store = new InMemoryStore();
    const { workflows } = store.stores as unknown as Record<'workflows', Record<string, (kept: { snapshot?: unknown }) => unknown>>;
    const persist = workflows['persistWorkflowSnapshot']?.bind(workflows);
    workflows['persistWorkflowSnapshot'] = (kept) => persist?.({ ...kept, snapshot: JSON.parse(JSON.stringify(kept.snapshot)) as unknown });
    return store;
  }

  it.each([
    ['each item of a foreach', true],
    ['a step', false],
  ])('charges %s once when its storage gave back its input as JSON', async (_, isEach) => {
    const input = z.object({ q: z.string(), note: z.string().optional(), due: z.any() });
    const seen = new Set<string>();
    const tool = createTool({
      id: 'payment',
      description: 'pays',
      inputSchema: input,
      outputSchema: z.any(),
      ...RESUMABLE,
      execute: async (given: { readonly q: string }, { workflow }: { readonly workflow: { suspend(): unknown } }) => {
        if (seen.has(given.q)) return given;
        seen.add(given.q);
        return workflow.suspend();
      },
    } as never);
    const step = runpurse.step(createStep(tool as never));
    const flow = isEach
      ? flowOf('flow', { inputSchema: z.array(input), outputSchema: z.any() })
          .foreach(step, { concurrency: 3 })
          .commit()
      : flowOf('flow', { inputSchema: input, outputSchema: z.any() }).then(step).commit();
    const run = await keptFlow(flow, jsonStore()).createRun({ runId: 'run-1' });
    const items = ['1', '2', '3'].map((each) => ({ q: each, note: undefined, due: new Date(0) }));
    let result = await run.start({ inputData: isEach ? items : items[0] });
    for (let index = 0; result.status === 'suspended'; index += 1)
      result = await run.resume({ step: 'payment', ...(isEach && { resumeData: { ok: true }, forEachIndex: index }) });
    expect(result.status).toBe('success');
    expect((await read())?.calls).toEqual(Array(isEach ? 3 : 1).fill(['payment', 'completed', '0.04']));
  });

  it.each([['that has ended'], ['that nobody began']])('is one run when an id %s is started several times at once', async (which) => {
    const flow = keptFlow(flowOf('flow').then(pay('a')).commit());
    const start = async () => (await flow.createRun({ runId: 'run-1' })).start({ inputData: { q: 'x' } });
    const before = which === 'that has ended' ? [await start()] : [];
    await Promise.all([start(), start(), start()]);
    await runpurse.client.flush();
    const headers = { authorization: `Bearer ${gateway.apiKey}` };
    const { data } = (await (await fetch(`${gateway.url}/v1/runs`, { headers })).json()) as { readonly data: readonly object[] };
    expect(data).toHaveLength(before.length + 1);
    for (const shown of data) expect(shown).toMatchObject({ status: 'completed' });
  });

  it('is a run of another id when it is started again, or travels in time, unless its id is stated', async () => {
    const flow = keptFlow(
      flowOf('flow')
        .then(runpurse.step(createStep({ id: 'a', inputSchema: q, outputSchema: q, execute: async ({ inputData }) => inputData })))
        .then(pay('b'))
        .commit(),
    );
    const run = await flow.createRun({ runId: 'run-1' });
    const inputData = { q: 'x' };
    for (const play of [() => run.start({ inputData }), () => run.timeTravel({ step: 'b', inputData }), () => run.start({ inputData })])
      expect(await play()).toMatchObject({ status: 'success' });
    expect(await read()).toMatchObject({ status: 'completed', cost: { tool_usd: '0.04' } });
    const headers = { authorization: `Bearer ${gateway.apiKey}` };
    const { data } = (await (await fetch(`${gateway.url}/v1/runs`, { headers })).json()) as {
      readonly data: readonly { readonly status: string; readonly cost: object }[];
    };
    expect(data).toHaveLength(3);
    for (const shown of data) expect(shown).toMatchObject({ status: 'completed', cost: { tool_usd: '0.04' } });
    await expect((await flow.createRun()).start({ inputData, ...inRun('run-1') })).rejects.toMatchObject({ code: 'run_ended' });
  });

  it('stays stopped when somebody stopped it', async () => {
    const flow = keptFlow(flowOf('flow').then(pay('a')).commit());
    await runpurse.client.run({ runId: 'run-1' }).start();
    await gateway.post('/v1/runs/run-1/stop', {});
    const run = await flow.createRun({ runId: 'run-1' });
    await expect(run.start({ inputData: { q: 'x' } })).rejects.toMatchObject({ code: 'run_ended' });
  });
});

describe('a run that is paused at the gateway', () => {
  const post = (action: string) => gateway.post(`/v1/runs/run-1/${action}`, {});
  const paused = () => toolOf('lookup', () => post('pause')).tool;
  const shape = { inputSchema: z.object({ q: z.string() }), outputSchema: z.object({ q: z.string() }) };

  it.each<[string, () => Promise<unknown>]>([
    ['an agent', () => agentOn(calls('lookup'), { tools: { lookup: paused() } }).generate('hi', inRun('run-1'))],
    ['run(…)', () => runpurse.run({ runId: 'run-1' }, () => agentOn(calls('lookup'), { tools: { lookup: paused() } }).generate('hi'))],
    [
      'a workflow',
      async () => {
        const { withWorkflow, step, gate } = runpurse;
        const flow = createWorkflow(withWorkflow({ id: 'flow', ...shape }))
          .then(step(createStep({ id: 'pause', ...shape, execute: async ({ inputData }) => (await post('pause'), inputData) })))
          .then(gate({ id: 'go-on', schema: shape.inputSchema }))
          .commit();
        return (await flow.createRun({ runId: 'run-1' })).start({ inputData: { q: 'x' } });
      },
    ],
  ])('stays open for whoever resumes it there: of %s', async (_, play) => {
    await play();
    expect(await read()).toMatchObject({ status: 'paused' });
    await post('resume');
    await agentOn(scripted(() => ({ text: 'done' }))).generate('hi', inRun('run-1'));
    expect(await read()).toMatchObject({ status: 'completed' });
  });

  it('fails the run around it, and stays open itself', async () => {
    const inside = () =>
      runpurse.run({ runId: 'run-1' }, async (run) => {
        await post('pause');
        orThrow(await run.authorizeTool({ tool: 'lookup', toolCallId: 'call_1', stepId: 'call_1' }));
      });
    await expect(runpurse.run({ runId: 'run-2' }, inside)).rejects.toMatchObject({ code: 'run_paused' });
    expect([(await read('run-1'))?.status, (await read('run-2'))?.status]).toEqual(['paused', 'failed']);
  });
});

it('a part of a stream that run(…) returns keeps the run open until it is read', async () => {
  const stream = await runpurse.run({ runId: 'run-1' }, async () => (await agentOn(calls('lookup')).stream('hi')).textStream);
  const texts: string[] = [];
  for await (const text of stream) texts.push(text);
  expect(texts.join('')).toBe('done');
  expect(await read()).toMatchObject({ status: 'completed', counts: { requests: 2 }, calls: [['lookup', 'completed', '0.002']] });
});

describe('what is not counted is warned of', () => {
  it('of titles that its memory makes', () => {
    const model = scripted(() => ({}));
    agentOn(model, { id: 'plain', memory: new MockMemory() });
    expect(warnings).toEqual([]);
    for (const generateTitle of [true, { model }]) {
      const memory = new MockMemory({ options: { generateTitle } as never });
      agentOn(model, { id: 'titled', memory });
    }
    expect(warnings).toEqual(Array(2).fill(expect.stringContaining('"titled" makes titles')));
  });

  it('of a model that only structures the output', async () => {
    const structurer = scripted(() => ({ text: '{"a":"b"}' }));
    const structuredOutput = { schema: z.object({ a: z.string() }), model: structurer };
    await agentOn(
      scripted(() => ({ text: 'a is b' })),
      { id: 'structuring' },
    ).generate('hi', { structuredOutput } as never);
    expect(warnings.filter((text) => text.includes('"structuring" structures its output'))).toHaveLength(1);
  });

  it('of an agent that is handed over to, and not attached', () => {
    const loose = new PlainAgent({ id: 'loose', name: 'loose', instructions: '', model: scripted(() => ({})) } as never);
    agentOn(
      scripted(() => ({})),
      { id: 'boss', agents: { loose } },
    );
    agentOn(
      scripted(() => ({})),
      {
        id: 'boss',
        agents: {
          held: agentOn(
            scripted(() => ({})),
            { id: 'held' },
          ),
        },
      },
    );
    expect(warnings).toEqual([expect.stringContaining('"boss" hands over to "loose"')]);
  });
});
