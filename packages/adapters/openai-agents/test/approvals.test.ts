import { afterEach, describe, expect, it } from '@jest/globals';
import { Agent, getAllMcpTools, OpenAIProvider, Runner, RunState, tool, type MCPServer, type Tool } from '@openai/agents';
import { refusalOf } from '@runpurse/core';
import { z } from 'zod';
import { guardAgent, guardTools } from '../src/index.ts';
import { callOnce, isAnswered, setRealStage, sleep, toolNamed, toolsOf, type RealStage } from './real-stage.ts';

// The SDK's own approvals beside ours: each is played by the real SDK against a real gateway.

const stages: RealStage[] = [];
async function stage(...args: Parameters<typeof setRealStage>): Promise<RealStage> {
  const made = await setRealStage(...args);
  stages.push(made);
  return made;
}
afterEach(async () => {
  await Promise.all(stages.splice(0).map((made) => made.close()));
});

const NO_REFUNDS = { policy: { tools: { deny: ['refund'] } } };
const plainly = (at: RealStage) => new Runner({ modelProvider: new OpenAIProvider({ openAIClient: at.direct(), useResponses: false }) });
const caught = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => undefined,
    (error: unknown) => error,
  );
/** The state as another process has it, everything in it approved. */
async function readBack(agent: Agent, state: { toString(): string }): Promise<RunState<unknown, Agent>> {
  const kept = await RunState.fromString<unknown, Agent>(agent, state.toString());
  for (const interruption of kept.getInterruptions()) kept.approve(interruption);
  return kept;
}

const serverOf = (name: string, ran: string[]): MCPServer => ({
  name,
  cacheToolsList: false,
  connect: async () => {},
  close: async () => {},
  invalidateToolsCache: async () => {},
  listTools: async () => [
    {
      name: 'refund',
      description: 'refunds',
      inputSchema: { type: 'object', properties: { q: { type: 'string' } }, required: ['q'], additionalProperties: false },
    },
  ],
  callTool: async () => {
    ran.push(name);
    return [{ type: 'text', text: 'did x' }];
  },
});

describe("a guarded tool's approval", () => {
  const normalized = z.object({ action: z.string().trim().toLowerCase() });
  const defaulted = z.object({ id: z.string(), force: z.boolean().default(true) });

  it.each<[string, z.ZodObject, object, (args: Record<string, unknown>) => boolean]>([
    ['normalized', normalized, { action: ' DELETE' }, ({ action }) => action === 'delete'],
    ['filled in', defaulted, { id: 'x' }, ({ force }) => force === true],
  ])('is asked for with the arguments as its schema has %s them', async (_, parameters, args, isDangerous) => {
    const at = await stage((request) =>
      isAnswered(request) ? { content: 'done' } : { toolCalls: [{ id: 'c1', name: 'refund', args: args }] },
    );
    const ran: unknown[] = [];
    const refund = tool({
      name: 'refund',
      description: 'refunds',
      parameters,
      strict: true,
      needsApproval: async (_context, given) => isDangerous(given),
      execute: async (given) => void ran.push(given),
    });
    const { interruptions } = await at.runpurse.runner().run(new Agent({ name: 'support', model: 'm1', tools: [refund as Tool] }), 'hi');
    expect([ran, interruptions.length]).toEqual([[], 1]);
  });

  it.each(['by the runner', 'at once'])('is of one MCP server and serves no other, guarded %s', async (when) => {
    const at = await stage(callOnce('refund'));
    const ran: string[] = [];
    const agentOn = async (server: string): Promise<Agent> => {
      const tools = (await getAllMcpTools([serverOf(server, ran)])).map((each) => ({ ...each, needsApproval: async () => true }));
      return new Agent({ name: 'support', model: 'm1', tools: when === 'at once' ? guardTools(tools as Tool[]) : tools });
    };
    const runner = at.runpurse.runner();
    const { state } = await runner.run(await agentOn('bank'), 'hi');
    const other = await agentOn('other bank');
    const error = await caught(readBack(other, state).then((kept) => runner.run(other, kept)));
    expect(String(error)).toContain('MCP recipient binding');
    const again = await agentOn('bank');
    await runner.run(again, await readBack(again, state));
    expect(ran).toEqual(['bank']);
  });
});

describe('a denied tool of a run that is resumed does not run', () => {
  class Dynamic extends Agent {
    readonly #ran: string[];
    constructor(ran: string[]) {
      super({ name: 'support', model: 'm1' });
      this.#ran = ran;
    }
    override async getAllTools(): Promise<never> {
      return [toolNamed('refund', this.#ran, { needsApproval: true })] as never;
    }
  }
  class Served extends Agent {
    override async getMcpTools(...args: Parameters<Agent['getMcpTools']>): Promise<never> {
      return (await super.getMcpTools(...args)).map((each) => ({ ...each, needsApproval: async () => true })) as never;
    }
  }

  it.each<[string, (ran: string[]) => Agent]>([
    ['an own getAllTools made', (ran) => new Dynamic(ran)],
    ['an MCP server has', (ran) => new Served({ name: 'support', model: 'm1', mcpServers: [serverOf('bank', ran)] })],
  ])('that %s, read back before anybody guarded the agent', async (_, agentOf) => {
    const at = await stage(callOnce('refund'), NO_REFUNDS);
    const ran: string[] = [];
    const { state } = await plainly(at).run(agentOf(ran), 'hi');
    const again = agentOf(ran);
    const kept = await readBack(again, state);
    await at.runpurse.with({ runId: 'r2' }, () => at.runpurse.runner().run(again, kept));
    expect([ran, toolsOf(await at.read('r2'))]).toEqual([[], ['refund denied 0']]);
  });
});

describe('a run that waits for an approval, resumed under its own id', () => {
  it('is refused before anything is asked, and goes on once the gateway was told to', async () => {
    const at = await stage(callOnce('lookup'));
    const ran: string[] = [];
    const agent = new Agent({ name: 'support', model: 'm1', tools: [toolNamed('lookup', ran, { needsApproval: true })] });
    const runner = at.runpurse.runner();
    const again = (input: Parameters<typeof runner.run>[1]) => at.runpurse.with({ runId: 'r1' }, () => runner.run(agent, input as 'hi'));
    const { state } = await again('hi');
    const error = await caught(again(await readBack(agent, state)));
    expect(refusalOf(error)).toMatchObject({ code: 'run_paused', message: expect.stringContaining('/v1/runs/r1/resume') });
    expect(await at.read('r1')).toMatchObject({ status: 'paused', tools: [], requests: [{ status: 'completed' }] });
    const headers = { authorization: `Bearer ${at.gateway.apiKey}` };
    expect((await fetch(`${at.gateway.url}/v1/runs/r1/resume`, { method: 'POST', headers })).status).toBe(200);
    await again(await readBack(agent, state));
    expect([ran, toolsOf(await at.read('r1'))]).toEqual([['x'], ['lookup completed 0.002']]);
    expect(await at.read('r1')).toMatchObject({ status: 'completed' });
  });

  it('is not ended by a call that is refused because the gateway paused it', async () => {
    const at = await stage(callOnce('lookup'));
    const headers = { authorization: `Bearer ${at.gateway.apiKey}` };
    const pause = async () => String((await fetch(`${at.gateway.url}/v1/runs/r1/pause`, { method: 'POST', headers })).status);
    const agent = new Agent({ name: 'support', model: 'm1', tools: [toolNamed('lookup', [], { execute: pause })] });
    const error = await caught(at.runpurse.with({ runId: 'r1' }, () => at.runpurse.runner().run(agent, 'hi')));
    expect(refusalOf(error)).toMatchObject({ code: 'run_paused' });
    expect(await at.read('r1')).toMatchObject({ status: 'paused', budgets: [{ held_usd: '0' }] });
  });

  it('is refused inside another run, which fails of it and is ended', async () => {
    const at = await stage((request) => callOnce(JSON.stringify(request.body).includes('NESTED') ? 'refund' : 'lookup')(request, 0));
    const runner = at.runpurse.runner();
    const agent = new Agent({ name: 'nested', model: 'm1', tools: [toolNamed('refund', [], { needsApproval: true })] });
    const inner = (input: Parameters<typeof runner.run>[1]) => at.runpurse.with({ runId: 'r1' }, () => runner.run(agent, input as 'hi'));
    const { state } = await inner('NESTED');
    const goOn = async () => String((await inner(await readBack(agent, state))).finalOutput);
    const lookup = toolNamed('lookup', [], { execute: goOn, errorFunction: null });
    const front = new Agent({ name: 'front', model: 'm1', tools: [lookup] });
    const error = await caught(at.runpurse.with({ runId: 'r2' }, () => runner.run(front, 'hi')));
    expect(refusalOf(error)).toMatchObject({ code: 'run_paused' });
    expect(await at.read('r1')).toMatchObject({ status: 'paused' });
    expect(await at.read('r2')).toMatchObject({ status: 'failed', budgets: [{ held_usd: '0' }] });
  });
});

describe('a run made by run() that is resumed', () => {
  it.each(['as it is', 'read back'].flatMap((how) => [false, true].map((stream) => [how, stream] as const)))(
    'ends, its state %s, streamed %s',
    async (how, stream) => {
      const at = await stage(callOnce('lookup'));
      const ran: string[] = [];
      const agent = guardAgent(new Agent({ name: 'support', model: 'm1', tools: [toolNamed('lookup', ran, { needsApproval: true })] }));
      const runner = new Runner({ modelProvider: at.runpurse.models() });
      const runOf = async (input: RunState<unknown, Agent> | string) => {
        if (!stream) return runner.run(agent, input as 'hi');
        const streamed = await runner.run(agent, input as 'hi', { stream });
        await streamed.completed;
        return streamed;
      };
      const { state, interruptions } = await runOf('hi');
      for (const interruption of interruptions) state.approve(interruption);
      await runOf(how === 'as it is' ? (state as RunState<unknown, Agent>) : await readBack(agent, state));
      await sleep(20);
      expect([ran, (await at.runs()).map(({ status }) => status)]).toEqual([['x'], ['completed', 'completed']]);
    },
  );

  it.each(['as it is', 'read back'])(
    'is one run until its own work is over, where an agent behind a tool asked, its state %s',
    async (how) => {
      const at = await stage((request, count) =>
        callOnce(JSON.stringify(request.body).includes('NESTED') ? 'lookup' : 'clerk')(request, count),
      );
      const ran: string[] = [];
      const make = (): Agent => {
        const nested = new Agent({
          name: 'nested',
          instructions: 'NESTED',
          model: 'm1',
          tools: [toolNamed('lookup', ran, { needsApproval: true })],
        });
        const clerk = guardAgent(nested).asTool({ toolName: 'clerk', toolDescription: 'c' });
        return guardAgent(new Agent({ name: 'front', model: 'm1', tools: [clerk] }));
      };
      const runner = new Runner({ modelProvider: at.runpurse.models() });
      const { state, interruptions } = await at.runpurse.with({ runId: 'r1' }, () => runner.run(make(), 'hi'));
      for (const interruption of interruptions) state.approve(interruption);
      const [agent, kept] =
        how === 'as it is' ? [make(), state] : await (async (again) => [again, await readBack(again, state)] as const)(make());
      const { finalOutput } = await at.runpurse.with({ runId: 'r2' }, () => runner.run(agent, kept as RunState<unknown, Agent>));
      await sleep(20);
      expect([finalOutput, ran, (await at.runs()).map(({ run_id, status }) => [run_id, status])]).toEqual([
        'done',
        ['x'],
        [
          ['r1', 'completed'],
          ['r2', 'completed'],
        ],
      ]);
      expect(toolsOf(await at.read('r2')).toSorted()).toEqual(['clerk completed 0.01', 'lookup completed 0.002']);
    },
  );

  it('ends with its own work, also when the agent behind a tool fails of what was approved', async () => {
    let isBroken = false;
    const at = await stage((request, count) => {
      const isNested = JSON.stringify(request.body).includes('NESTED');
      if (isNested && isBroken) return { error: { status: 400, code: 'bad', message: 'bad' } };
      return callOnce(isNested ? 'lookup' : 'clerk')(request, count);
    });
    const make = (): Agent => {
      const tools = [toolNamed('lookup', [], { needsApproval: true })];
      const nested = guardAgent(new Agent({ name: 'nested', instructions: 'NESTED', model: 'm1', tools }));
      return guardAgent(new Agent({ name: 'front', model: 'm1', tools: [nested.asTool({ toolName: 'clerk', toolDescription: 'c' })] }));
    };
    const runner = new Runner({ modelProvider: at.runpurse.models() });
    const { state } = await runner.run(make(), 'hi');
    const again = make();
    isBroken = true;
    const { finalOutput } = await runner.run(again, await readBack(again, state));
    await sleep(20);
    expect([finalOutput, (await at.runs()).map(({ status }) => status)]).toEqual(['done', ['completed', 'completed']]);
  });

  it('ends though one before it in its trace failed', async () => {
    let isBroken = true;
    const at = await stage((request, count) =>
      isBroken && count > 1 ? { error: { status: 400, code: 'bad', message: 'bad' } } : callOnce('lookup')(request, count),
    );
    const agent = guardAgent(new Agent({ name: 'support', model: 'm1', tools: [toolNamed('lookup', [], { needsApproval: true })] }));
    const runner = new Runner({ modelProvider: at.runpurse.models() });
    const { state } = await runner.run(agent, 'hi');
    await caught(runner.run(agent, await readBack(agent, state)));
    isBroken = false;
    await runner.run(agent, await readBack(agent, state));
    const inOneTrace = new Runner({ modelProvider: at.runpurse.models(), traceId: `trace_${'0'.repeat(32)}` });
    const free = guardAgent(new Agent({ name: 'free', model: 'm1', tools: [toolNamed('lookup', [])] }));
    isBroken = true;
    await caught(inOneTrace.run(free, 'hi'));
    isBroken = false;
    for (let times = 0; times < 2; times += 1) await inOneTrace.run(free, 'hi');
    await sleep(20);
    expect((await at.runs()).map(({ status }) => status)).toEqual(['completed', 'failed', 'completed', 'failed', 'completed', 'completed']);
  });
});
