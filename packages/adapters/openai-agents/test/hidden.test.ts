import { afterEach, describe, expect, it, jest } from '@jest/globals';
import {
  Agent,
  getClientToolSearchExecutor,
  handoff,
  OpenAIProvider,
  Runner,
  setTracingDisabled,
  toolSearchTool,
  type Handoff,
  type HostedTool,
  type MCPServer,
} from '@openai/agents';
import { SandboxAgent, shell } from '@openai/agents/sandbox';
import { UnixLocalSandboxClient } from '@openai/agents/sandbox/local';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { guardAgent, guardTools } from '../src/index.ts';
import { callOnce, isAnswered, setRealStage, sleep, toolNamed, toolsOf, type Answering, type RealStage } from './real-stage.ts';

// Tools and models that an agent does not show, found by a hostile reader: each is played by the real SDK against a real gateway.

const folder = mkdtempSync(join(tmpdir(), 'runpurse-hidden-'));
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
  rmSync(folder, { recursive: true, force: true });
});

const PRICES = { tools: ['refund', 'exec_command'].map((name) => ({ name, price_usd: '0.003' })) };
const DENIED = { ...PRICES, policy: { tools: { deny: ['refund', 'exec_command'] } } };

const serverOf = (ran: string[]): MCPServer => ({
  name: 'orders',
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
    ran.push('x');
    return [{ type: 'text', text: 'did x' }];
  },
});

describe('a sandbox agent, which runs as a copy of itself', () => {
  const made = join(folder, 'made');
  /** Calls the shell of its sandbox and the tool of its MCP server. */
  const answer: Answering = (request) =>
    isAnswered(request)
      ? { content: 'done' }
      : {
          toolCalls: [
            { id: 'c1', name: 'exec_command', args: { cmd: `mkdir -p '${made}'` } },
            { id: 'c2', name: 'refund', args: { q: 'x' } },
          ],
        };
  const runBoxed = async (at: RealStage, how: string, ran: string[]): Promise<readonly string[]> => {
    const boxed = new SandboxAgent({ name: 'boxed', model: 'm1', capabilities: [shell()], mcpServers: [serverOf(ran)] });
    const config = { modelProvider: at.runpurse.models(undefined, 'chat_completions'), sandbox: { client: new UnixLocalSandboxClient() } };
    const runner = how.startsWith('runner()') ? at.runpurse.runner(config) : new Runner(config);
    const agent = how.startsWith('runner()') ? boxed : guardAgent(boxed);
    await at.runpurse.with({ runId: 'r1' }, async () => {
      if (how.endsWith('plain')) await runner.run(agent, 'hi');
      else await (await runner.run(agent, 'hi', { stream: true })).completed;
    });
    return [...toolsOf(await at.read('r1'))].sort();
  };
  const ways = ['runner() plain', 'runner() streamed', 'guardAgent() plain', 'guardAgent() streamed'];

  it.each(ways)('does not run its denied tools: %s', async (how) => {
    const at = await stage(answer, DENIED);
    const ran: string[] = [];
    expect(await runBoxed(at, how, ran)).toEqual(['exec_command denied 0', 'refund denied 0']);
    expect([ran, existsSync(made)]).toEqual([[], false]);
  });

  it.each(ways)('is charged once for each that is allowed: %s', async (how) => {
    const at = await stage(answer, PRICES);
    const ran: string[] = [];
    expect(await runBoxed(at, how, ran)).toEqual(['exec_command completed 0.003', 'refund completed 0.003']);
    expect([ran, existsSync(made)]).toEqual([['x'], true]);
  });
});

describe('a denied tool does not run', () => {
  it('that only a copy of a guarded agent gets', async () => {
    const at = await stage(callOnce('refund'), DENIED);
    const ran: string[] = [];
    const copy = guardAgent(new Agent({ name: 'support', model: 'm1' })).clone({ mcpServers: [serverOf(ran)] });
    await at.runpurse.with({ runId: 'r1' }, () => new Runner({ modelProvider: at.runpurse.models() }).run(copy, 'hi'));
    expect([ran, toolsOf(await at.read('r1'))]).toEqual([[], ['refund denied 0']]);
  });

  it.each(['from the start', 'set after it was guarded', 'around ours'])('that an own getAllTools finds, %s', async (when) => {
    const at = await stage(callOnce('refund'), DENIED);
    const ran: string[] = [];
    const agent = new Agent({ name: 'support', model: 'm1' });
    if (when !== 'from the start') guardAgent(agent);
    const before = agent.getAllTools.bind(agent);
    agent.getAllTools = async (...args) => [...(when === 'around ours' ? await before(...args) : []), toolNamed('refund', ran)];
    await at.runpurse.with({ runId: 'r1' }, () => at.runpurse.runner().run(agent, 'hi'));
    expect([ran, toolsOf(await at.read('r1'))]).toEqual([[], ['refund denied 0']]);
  });

  // A tool search of the client's is a call of the model's, answered by the SDK with what `execute` finds.
  const searches: Answering = (request, count) => {
    const search = { type: 'tool_search_call', id: 'ts', call_id: 'ts1', execution: 'client', status: 'completed', arguments: { q: 'x' } };
    return count === 1 ? { hosted: [search], content: '' } : callOnce('refund')(request, count);
  };
  const parameters = { type: 'object', properties: { q: { type: 'string' } }, required: ['q'], additionalProperties: false };
  const searchOf = (execute: () => unknown): HostedTool =>
    toolSearchTool({ execution: 'client', description: 'finds tools', parameters, execute } as never);
  const runSearch = async (at: RealStage, search: HostedTool): Promise<readonly string[]> => {
    const runner = at.runpurse.runner({ modelProvider: at.runpurse.models(at.direct(), 'responses') });
    const agent = new Agent({ name: 'support', model: 'm1', tools: [search] });
    await at.runpurse.with({ runId: 'r1' }, () => runner.run(agent, 'hi'));
    return toolsOf(await at.read('r1'));
  };

  it.each<[string, (found: ReturnType<typeof toolNamed>) => unknown]>([
    ['one', (found) => found],
    ['a list', (found) => [found]],
    ['later', async (found) => [found]],
  ])('that a tool search finds: %s', async (_, answerOf) => {
    const at = await stage(searches, DENIED);
    const ran: string[] = [];
    expect(
      await runSearch(
        at,
        searchOf(() => answerOf(toolNamed('refund', ran, { deferLoading: true }))),
      ),
    ).toEqual(['refund denied 0']);
    expect(ran).toEqual([]);
  });

  it('and one that a tool search finds and that is allowed is charged once', async () => {
    const at = await stage(searches, PRICES);
    const ran: string[] = [];
    expect(
      await runSearch(
        at,
        searchOf(() => toolNamed('refund', ran, { deferLoading: true })),
      ),
    ).toEqual(['refund completed 0.003']);
    expect(ran).toEqual(['x']);
  });

  it('and a tool search that finds nothing, or runs elsewhere, is left as it is', async () => {
    const [found, hosted] = guardTools([searchOf(() => undefined), toolSearchTool()]);
    expect(await getClientToolSearchExecutor(found)?.({} as never)).toBeUndefined();
    expect(getClientToolSearchExecutor(hosted)).toBeUndefined();
  });
});

describe('an agent that is frozen', () => {
  const answer: Answering = (request) => {
    const offered = JSON.stringify(request.body.tools ?? []);
    if (/did x|Policy rule/.test(JSON.stringify(request.body))) return { content: 'done' };
    if (offered.includes('refund')) return { toolCalls: [{ id: 'c2', name: 'refund', args: { q: 'x' } }] };
    return offered.includes('transfer_to_back') ? { toolCalls: [{ id: 'c1', name: 'transfer_to_back', args: {} }] } : { content: 'done' };
  };
  const twoAgents = (ran: string[], frozen: string): { readonly front: Agent; readonly back: Agent } => {
    const back = new Agent({ name: 'back', model: 'm1', tools: [toolNamed('refund', ran)] });
    const beside = new Agent({ name: 'beside', model: 'm1' });
    const front = new Agent({ name: 'front', model: 'm1', handoffs: [beside, back] });
    for (const agent of [front, beside, back]) if (agent.name === frozen) Object.freeze(agent);
    return { front, back };
  };

  it.each(['front', 'back', 'beside'])('leaves the tools it has, and every other agent, guarded: %s', async (frozen) => {
    const warn = jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
    const at = await stage(answer, DENIED);
    const ran: string[] = [];
    const { front } = twoAgents(ran, frozen);
    const { finalOutput } = await at.runpurse.with({ runId: 'r1' }, () => at.runpurse.runner().run(front, 'hi'));
    expect([ran, finalOutput, toolsOf(await at.read('r1')), at.faults]).toEqual([[], 'done', ['refund denied 0'], []]);
    expect(warn.mock.calls.map(([text]) => text)).toEqual([expect.stringContaining(`"${frozen}" gets later`)]);
  });

  it('is guarded as far as it can be by guardAgent() too', async () => {
    jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
    const at = await stage(answer, DENIED);
    const ran: string[] = [];
    const { back } = twoAgents(ran, 'back');
    await at.runpurse.with({ runId: 'r1' }, () => new Runner({ modelProvider: at.runpurse.models() }).run(guardAgent(back), 'hi'));
    expect([ran, toolsOf(await at.read('r1'))]).toEqual([[], ['refund denied 0']]);
  });

  it.each<[string, (agents: ReturnType<typeof twoAgents>) => void, number]>([
    ['is run', () => {}, 0],
    ['is what a handoff makes', ({ front, back }) => void (front.handoffs = [makes(back)]), 1],
  ])('does not run when nothing may run unasked and it %s', async (_, arrange, calls) => {
    jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
    const at = await stage(answer, PRICES, { failurePolicy: { authorize: 'closed' } });
    const ran: string[] = [];
    const agents = twoAgents(ran, 'back');
    arrange(agents);
    const error: unknown = await at.runpurse
      .runner()
      .run(agents.front, 'hi')
      .catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'adapter_fault' });
    expect([ran, at.provider.requests.length, (await at.runs()).length]).toEqual([[], calls, calls]);
  });
  const makes = (made: Agent): Handoff => {
    const transfer = handoff(new Agent({ name: 'named', model: 'm1' }), { toolNameOverride: 'transfer_to_back' });
    transfer.onInvokeHandoff = async () => made;
    return transfer;
  };
});

describe('an agent behind a tool that brings a model provider', () => {
  it.each([
    ["goes uncounted with a warning that says how to count it, when the provider is the host's", false, 2],
    ['is counted when the provider is ours', true, 3],
  ])('%s', async (_, isOurs, counted) => {
    const warn = jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
    const at = await stage((request) => (request.body.tools === undefined ? {} : callOnce('clerk')(request, 0)));
    const theirs = new OpenAIProvider({ openAIClient: at.direct(), useResponses: false });
    const modelProvider = isOurs ? at.runpurse.models(theirs) : theirs;
    const clerk = new Agent({ name: 'nested', model: 'm1' }).asTool({
      toolName: 'clerk',
      toolDescription: 'asks nested',
      runConfig: { modelProvider },
    });
    const front = new Agent({ name: 'front', model: 'm1', tools: [clerk] });
    await at.runpurse.with({ runId: 'r1' }, () => at.runpurse.runner().run(front, 'hi'));
    expect((await at.read('r1')).counts.requests).toBe(counted);
    expect(at.provider.requests).toHaveLength(3);
    const told = expect.stringContaining('runpurse.models(provider)') as unknown;
    expect(warn.mock.calls.map(([text]) => text)).toEqual(isOurs ? [] : [told]);
  });
});

describe('an agent whose listeners can not be changed', () => {
  const deaf = (...tools: ReturnType<typeof toolNamed>[]): Agent => {
    const agent = new Agent({ name: 'support', model: 'm1', tools: guardTools(tools) });
    const { eventEmitter } = agent as unknown as { readonly eventEmitter: object };
    for (const each of [eventEmitter, ...Object.values<unknown>({ ...eventEmitter })]) Object.freeze(each);
    return agent;
  };
  const runnerOf = (at: RealStage, kind: string) =>
    kind === 'runner()' ? at.runpurse.runner() : new Runner({ modelProvider: at.runpurse.models() });

  it.each([
    ['runner()', 'open'],
    ['run()', 'open'],
    ['run()', 'closed'],
  ] as const)('does not run its denied tools: %s under the policy %s', async (kind, authorize) => {
    jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
    const at = await stage(callOnce('refund'), DENIED, { failurePolicy: { authorize } });
    const ran: string[] = [];
    await at.runpurse.with({ runId: 'r1' }, () => runnerOf(at, kind).run(deaf(toolNamed('refund', ran)), 'hi'));
    expect([ran, toolsOf(await at.read('r1'))]).toEqual([[], ['refund denied 0']]);
  });

  it.each(['runner()', 'run()'].flatMap((kind) => ['on', 'off'].map((tracing) => [kind, tracing] as const)))(
    'is charged for those that run: %s with tracing %s',
    async (kind, tracing) => {
      jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
      setTracingDisabled(tracing === 'off');
      const at = await stage(callOnce('refund'), PRICES);
      const ran: string[] = [];
      await runnerOf(at, kind).run(deaf(toolNamed('refund', ran)), 'hi');
      await sleep(20);
      const runs = await at.runs();
      expect([ran, runs.flatMap(toolsOf)]).toEqual([['x'], ['refund completed 0.003']]);
      for (const run of runs) expect(run).toMatchObject({ status: 'completed', budgets: [{ held_usd: '0' }] });
    },
  );
});

describe('a tool that can not be asked for by a fault of ours', () => {
  it.each([
    ['open', ['x']],
    ['closed', []],
  ] as const)('under the policy %s runs so often: %j', async (authorize, expected) => {
    const at = await stage(callOnce('refund'), PRICES, { failurePolicy: { authorize } });
    const ran: string[] = [];
    const begin = at.runpurse.client.run.bind(at.runpurse.client);
    jest.spyOn(at.runpurse.client, 'run').mockImplementation((options) =>
      Object.assign(begin(options), {
        toolCallId: () => {
          throw new Error('ours');
        },
      }),
    );
    const agent = new Agent({ name: 'support', model: 'm1', tools: [toolNamed('refund', ran)] });
    const error: unknown = await at.runpurse
      .runner()
      .run(agent, 'hi')
      .catch((thrown: unknown) => thrown);
    expect(ran).toEqual(expected);
    if (authorize === 'closed') expect(String(error)).toContain('does not run unasked');
  });
});
