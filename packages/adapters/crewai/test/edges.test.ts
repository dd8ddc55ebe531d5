import { execFile } from 'node:child_process';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import type { RunningGateway } from '@runpurse/conformance';
import type { RunShape } from '@runpurse/core';
import { PYTHON, PYTHON_VARIABLES, pythonEnvironment } from './environment.ts';
import { PythonHost } from './python-host.ts';
import { at, CALL_USD, runsIn, sandboxNamed, start, steps } from './stage.ts';

const session_id = 's-1';

let python: PythonHost;
let gateway: RunningGateway;
/** Stands for a provider that the gateway has no part in. */
let provider: RunningGateway;

beforeAll(async () => {
  python = new PythonHost();
  provider = await start();
  await python.ready();
}, 120_000);
beforeEach(async () => {
  gateway = await start({ budgets: [] });
});
afterEach(() => gateway.remove());
afterAll(async () => {
  await python.close();
  await provider.remove();
});

async function restart(more: object): Promise<void> {
  await gateway.remove();
  gateway = await start(more);
}

const placeOf = (isCarried: boolean): RunningGateway => (isCarried ? gateway : provider);
const runs = async (): Promise<readonly RunShape[]> =>
  (await runsIn(gateway, session_id)).toSorted((one, other) => one.started_at.localeCompare(other.started_at));

const WAYS: readonly (readonly [string, boolean])[] = [
  ['through the gateway', true],
  ['past it', false],
];

describe('a model call that runs a function itself', () => {
  const told = (isCarried: boolean, more: object): object => ({
    gateway: at(gateway),
    model_at: at(placeOf(isCarried)),
    session_id,
    model: 'desk',
    function: 'plain',
    in_run: false,
    ...more,
  });

  it.each(WAYS.flatMap(([way, isCarried]) => ['desk', 'claude-desk'].map((model) => [model, way, isCarried] as const)))(
    'has it asked for and charged, in the run it belongs to: %s, %s',
    async (model, _way, isCarried) => {
      for (const in_run of [true, false]) {
        const result = await python.call('function', told(isCarried, { model, in_run }));
        const calls = in_run ? ['x', 'x'] : ['x'];
        expect(result).toEqual({ end: calls.map(() => 'found x').join(', '), calls, problems: [], wrapped: [true, false] });
      }
      const [together, lone, ...others] = await runs();
      expect(others).toEqual([]);
      const call = [`null: ${model} completed`, 'null: lookup completed'];
      expect(steps(together)).toEqual([...call, ...call]);
      expect(together).toMatchObject({ status: 'completed', cost: { model_usd: '0.00202', tool_usd: '0.004' } });
      expect(steps(lone)).toEqual(call);
      expect(lone).toMatchObject({ status: 'completed', cost: { model_usd: CALL_USD, tool_usd: '0.002' } });
    },
  );

  it.each(WAYS.flatMap(([way, isCarried]) => ['plain', "a tool's"].map((name) => [name, way, isCarried] as const)))(
    'does not run it when it is denied: it is refused (%s, %s)',
    async (name, _way, isCarried) => {
      await restart({ budgets: [], policy: { tools: { deny: ['lookup'] } } });
      for (const in_run of [true, false]) {
        const end = in_run ? 'policy_denied, policy_denied' : 'policy_denied';
        const result = await python.call('function', told(isCarried, { in_run, function: name }));
        expect(result).toMatchObject({ end, calls: [], problems: [] });
      }
      for (const run of await runs()) {
        expect(run.tools[0]).toMatchObject({ tool: 'lookup', status: 'denied' });
        expect(run).toMatchObject({ cost: { tool_usd: '0' } });
        for (const request of run.requests) expect(request.cost_usd).toBe(CALL_USD);
      }
      expect((await runs()).map(({ status }) => status)).toEqual(['completed', 'failed']);
    },
  );

  it.each(WAYS)("has a cap that holds for a tool's, %s", async (_way, isCarried) => {
    await restart({ budgets: [{ scope: 'run', id: '*', limit_usd: '10' }], tools: [{ name: 'lookup', price_usd: '6' }] });
    const result = await python.call('function', told(isCarried, { in_run: true, function: "a tool's" }));
    expect(result).toMatchObject({ end: 'found x, budget_exceeded', calls: ['x'] });
  });

  it.each(WAYS)('that calls a model itself keeps the two apart, %s', async (_way, isCarried) => {
    for (const in_run of [true, false])
      expect(await python.call('function', told(isCarried, { in_run, function: 'asking' }))).toMatchObject({
        end: in_run ? 'done, done' : 'done',
        problems: [],
      });
    const [together, ...alone] = await runs();
    expect(together).toMatchObject({ status: 'completed', cost: { total_usd: '0.00804' }, counts: { requests: 4, tool_calls: 2 } });
    expect(alone.map(({ status, counts, cost }) => [status, counts.requests, cost.total_usd])).toEqual([
      ['completed', 1, '0.00301'],
      ['completed', 1, CALL_USD],
    ]);
  });

  it('is asked about again after a patch of somebody else was undone', async () => {
    await restart({ budgets: [], policy: { tools: { deny: ['lookup'] } } });
    const how = { gateway: at(gateway), model_at: at(provider) };
    expect(await python.call('taken_away', how)).toEqual({ end: 'policy_denied', calls: [] });
  });

  describe.each(WAYS)("by LiteLLM's LLM, %s", (_way, isCarried) => {
    const litellm = { model: 'gpt-4o-mini', llm: { is_litellm: true } };
    const providers = [sandboxNamed('openai')];

    it('has it asked for and charged, in the run it belongs to', async () => {
      await restart({ budgets: [], providers });
      for (const in_run of [true, false]) await python.call('function', told(isCarried, { ...litellm, in_run }));
      const [together, lone, ...others] = await runs();
      expect(others).toEqual([]);
      expect(together).toMatchObject({ status: 'completed', cost: { model_usd: '0.00202', tool_usd: '0.004' } });
      expect(lone).toMatchObject({ status: 'completed', cost: { model_usd: CALL_USD, tool_usd: '0.002' } });
    });

    it('does not run it when it is denied', async () => {
      await restart({ budgets: [], providers, policy: { tools: { deny: ['lookup'] } } });
      const result = await python.call('function', told(isCarried, litellm));
      expect(result).toMatchObject({ end: 'policy_denied', calls: [], problems: [] });
      const [run] = await runs();
      expect(run).toMatchObject({ tools: [{ status: 'denied' }], cost: { model_usd: CALL_USD, tool_usd: '0' } });
    });

    it('which it leaves to its caller is over with that call', async () => {
      await restart({ budgets: [], providers });
      expect(await python.call('function', told(isCarried, { ...litellm, function: null }))).toMatchObject({ end: 'list', problems: [] });
      const [run, ...others] = await runs();
      expect(others).toEqual([]);
      expect(run).toMatchObject({ status: 'completed', cost: { total_usd: CALL_USD }, requests: [{ unconfirmed: false }] });
    });

    it('has a cap that holds', async () => {
      await restart({ budgets: [{ scope: 'run', id: '*', limit_usd: '0.0001' }], providers });
      const result = await python.call('function', told(isCarried, { ...litellm, in_run: true }));
      expect(result).toMatchObject({ end: 'budget_exceeded, budget_exceeded', calls: [] });
    });
  });

  it('tells of a function that failed', async () => {
    await python.call('function', told(false, { fails: true }));
    const [run] = await runs();
    expect(run).toMatchObject({ tools: [{ tool: 'lookup', status: 'failed' }], cost: { model_usd: CALL_USD, tool_usd: '0.002' } });
  });
});

describe('a model that declines to answer in shape', () => {
  const ways = WAYS.flatMap(([way, isCarried]) =>
    (isCarried ? [false] : [false, true]).map((intercepted) => [way, intercepted, isCarried] as const),
  );

  it.each(ways.flatMap((way) => [true, false].map((in_crew) => [...way, in_crew] as const)))(
    'is paid for that too, %s (with the interceptor: %s), and is asked again without',
    async (_way, intercepted, isCarried, in_crew) => {
      const declining = await startDeclining();
      const { port } = declining.address() as AddressInfo;
      const url = `http://127.0.0.1:${port}`;
      await restart({
        budgets: [],
        providers: [{ name: 'openai', kind: 'openai', base_url: `${url}/v1`, api_key: 'sk-stub', models: ['desk'] }],
        prices: [{ model: 'desk', input_mtok_usd: '1', output_mtok_usd: '2', max_output_tokens: 1_000, max_input_tokens: 100_000 }],
      });
      const model_at = isCarried ? at(gateway) : { url, key: 'sk-stub' };
      const how = { gateway: at(gateway), model_at, session_id, intercepted, in_crew };
      const result = await python.call('declined', how).finally(() => declining.close());
      expect(result).toEqual({ end: expect.stringContaining('done'), problems: [] });
      const [run, ...others] = await runs();
      expect(others).toEqual([]);
      expect(run).toMatchObject({ status: 'completed', cost: { total_usd: '0.00302' } });
      expect(run?.requests.map(({ unconfirmed }) => unconfirmed)).toEqual([false, false]);
    },
    90_000,
  );
});

describe('an agent that makes a plan first', () => {
  it.each([...WAYS.map((way) => [...way, false] as const), ['past it, with the interceptor', false, true] as const])(
    'pays what the plan used, and the plan is no tool, %s',
    async (_way, isCarried, intercepted) => {
      const how = { gateway: at(gateway), model_at: at(placeOf(isCarried)), session_id, intercepted };
      expect(await python.call('planning', how)).toEqual({ end: 'done', problems: [] });
      const [run, ...others] = await runs();
      expect(others).toEqual([]);
      expect(steps(run)).toEqual(Array(2).fill('planner: planner completed'));
      expect(run).toMatchObject({ status: 'completed', cost: { total_usd: '0.00202' }, counts: { tool_calls: 0 } });
      expect(run?.requests.map(({ unconfirmed }) => unconfirmed)).toEqual([false, false]);
    },
  );
});

describe('an agent by itself', () => {
  const told = (isCarried: boolean, does: string, limit_usd: string): object => ({
    gateway: at(gateway),
    model_at: at(placeOf(isCarried)),
    session_id,
    does,
    limit_usd,
  });

  it.each(WAYS)('has a cap that holds for what its guardrail has it try again, %s', async (_way, isCarried) => {
    expect(await python.call('alone', told(isCarried, 'guard', '0.0035'))).toEqual({ end: 'budget_exceeded', problems: [] });
    const [run, ...others] = await runs();
    expect(others).toEqual([]);
    expect(run).toMatchObject({ status: 'failed', agent_id: 'alone', cost: { total_usd: '0.00202' }, counts: { requests: 2 } });
  });

  it.each(WAYS.flatMap(([way, isCarried]) => ['shape', 'shape in a task'].map((does) => [way, does, isCarried] as const)))(
    'is one run with the call that brings its answer into shape, %s (%s)',
    async (_way, does, isCarried) => {
      expect(await python.call('alone', told(isCarried, does, '1'))).toMatchObject({ problems: [] });
      const [run, ...others] = await runs();
      expect(others).toEqual([]);
      expect(run).toMatchObject({ status: 'completed', agent_id: 'alone', cost: { total_usd: '0.00503' }, counts: { requests: 3 } });
    },
  );
});

describe('a memory', () => {
  const told = (isCarried: boolean, who: string, in_run: boolean): object => ({
    gateway: at(gateway),
    model_at: at(placeOf(isCarried)),
    session_id,
    who,
    in_run,
  });

  it.each(WAYS.flatMap(([way, isCarried]) => [true, false].map((inRun) => [way, inRun, isCarried] as const)))(
    'of a crew is saved within its run, %s (in a block: %s)',
    async (_way, inRun, isCarried) => {
      expect(await python.call('remembering', told(isCarried, 'a crew', inRun))).toEqual({ end: 'done', problems: [], saved: [2, 2] });
      const [run, ...others] = await runs();
      expect(others).toEqual([]);
      expect(run).toMatchObject({ status: 'completed', counts: { requests: 4 }, cost: { total_usd: '0.00404' } });
    },
  );

  it.each(WAYS)('of a flow is saved within its run, %s', async (_way, isCarried) => {
    expect(await python.call('remembering', told(isCarried, 'a flow', false))).toEqual({ end: 'done', problems: [], saved: [2, 2] });
    const [run, ...others] = await runs();
    expect(others).toEqual([]);
    expect(run).toMatchObject({ status: 'completed', counts: { requests: 2 }, cost: { total_usd: '0.00202' } });
  });

  it.each(WAYS.flatMap(([way, isCarried]) => [true, false].map((inRun) => [way, inRun, isCarried] as const)))(
    'of an agent by itself is saved after its run, for the same customer, %s (in a block: %s)',
    async (_way, inRun, isCarried) => {
      expect(await python.call('remembering', told(isCarried, 'an agent', inRun))).toEqual({ end: 'done', problems: [], saved: [0, 2] });
      const all = await runs();
      expect(all.map(({ status, counts }) => [status, counts.requests])).toEqual([2, 1, 1].map((count) => ['completed', count]));
      for (const run of all) expect(run).toMatchObject({ customer_id: 'acme' });
    },
  );

  it('is refused when its run has failed', async () => {
    const result = await python.call('remembering', told(false, 'an agent in a run that fails', true));
    expect(result).toEqual({ end: 'ValueError', problems: [], saved: [0, 0] });
    expect((await runs()).map(({ status, counts }) => [status, counts.requests])).toEqual([['failed', 2]]);
  });
});

describe('a server that goes on', () => {
  it.each(['a crew', 'a flow', 'a call'])(
    'stops and lets go what nobody will end any more: %s',
    async (what) => {
      const how = { gateway: at(gateway), model_at: at(provider), session_id, what };
      expect(await python.call('abandoned', how)).toEqual({
        problems: [],
        open: 0,
        owners: what === 'a flow' ? [false, false, false] : [],
      });
      expect((await runs()).map(({ status }) => status)).toEqual(['stopped', 'stopped', 'stopped', 'completed']);
    },
    30_000,
  );
});

describe('a tool that may be used once', () => {
  it('is charged once, however often its model asks for it', async () => {
    const how = { gateway: at(gateway), model_at: at(provider), session_id };
    expect(await python.call('spent', how)).toEqual({ end: 'done', problems: [], tool_calls: ['x'] });
    const [run] = await runs();
    expect(run).toMatchObject({ cost: { tool_usd: '0.002' }, counts: { tool_calls: 1 } });
  });
});

describe('a crew that is replayed', () => {
  it.each(WAYS)('is a run of its own, %s', async (_way, isCarried) => {
    const how = { gateway: at(gateway), model_at: at(placeOf(isCarried)), session_id };
    expect(await python.call('replayed', how)).toEqual({ ends: ['done', 'done'], problems: [] });
    const all = await runs();
    expect(all).toHaveLength(2);
    for (const run of all)
      expect(run).toMatchObject({ status: 'completed', agent_id: 'desk', cost: { total_usd: '0.00503' }, counts: { steps: 4 } });
  });
});

describe('a gateway', () => {
  it.each(['llm.call.started', 'tool.call.requested'])(
    'whose answer to %s is lost holds nothing for it under the policy closed',
    async (lost) => {
      await restart({});
      const proxy = await losing(lost);
      try {
        const { port } = proxy.address() as AddressInfo;
        const place = { url: `http://127.0.0.1:${port}`, key: gateway.apiKey };
        const isOfModel = lost === 'llm.call.started';
        const result = await python.call('kicked_off', { gateway: place, model_at: at(provider), session_id });
        expect(result).toEqual({ end: isOfModel ? 'GatewayUnavailable' : 'done', tool_calls: [] });
        const [run] = await runs();
        expect(run).toMatchObject({ cost: { total_usd: isOfModel ? '0' : '0.00303', tool_usd: '0' }, budgets: [{ held_usd: '0' }] });
        expect(run?.status).toBe(isOfModel ? 'failed' : 'completed');
      } finally {
        proxy.close();
        proxy.closeAllConnections();
      }
    },
  );

  it('that takes connections and never answers slows the first crew only', async () => {
    const { took } = (await python.call('hanging', { model_at: at(provider) })) as { readonly took: readonly number[] };
    for (const seconds of took.slice(1)) expect(seconds).toBeLessThan(1);
  }, 30_000);
});

describe('a process that just ends', () => {
  const ENDS = {
    'kickoff-in-a-thread-that-is-gone': `
def work():
    try:
        desk_crew(llm_at(place, "desk"), Lookup(interrupted=True)).kickoff()
    except KeyboardInterrupt:
        pass
thread = threading.Thread(target=work)
thread.start()
thread.join()
del thread
gc.collect()`,
    'model-call-of-its-own': `
async def work():
    try:
        await asyncio.wait_for(llm_at(place, "slow").acall("Write it."), 0.5)
    except asyncio.TimeoutError:
        pass
asyncio.run(work())`,
  };

  it('has stopped what was interrupted and never ended: a kickoff in a thread, a model call of its own', async () => {
    await Promise.all(
      Object.entries(ENDS).map(async ([id, work]) => {
        const script = `
import asyncio, gc, sys, threading
sys.path[:0] = ${JSON.stringify([join(PYTHON, 'src'), import.meta.dirname])}
from crews import Lookup, Runpurse, desk_crew, llm_at
place = ${JSON.stringify(at(provider))}
runpurse = Runpurse(${JSON.stringify(gateway.url)}, ${JSON.stringify(gateway.apiKey)}, context={"session_id": "${id}"})
${work}
`;
        const env = { ...process.env, CREWAI_DISABLE_TELEMETRY: 'true', CREWAI_TRACING_ENABLED: 'false', ...PYTHON_VARIABLES };
        await promisify(execFile)(pythonEnvironment(), ['-c', script], { env });
        expect((await runsIn(gateway, id)).map(({ status }) => status)).toEqual(['stopped']);
      }),
    );
  }, 120_000);
});

describe('model calls outside of CrewAI’s crews', () => {
  const place = (isCarried: boolean): object => ({ gateway: at(gateway), model_at: at(placeOf(isCarried)), session_id });

  it.each(WAYS)(
    'wait for none beside them, and cost what they used, %s',
    async (_way, isCarried) => {
      expect(await python.call('at_once', place(isCarried))).toEqual({ said: 3, problems: [] });
      const [run, ...others] = await runs();
      expect(others).toEqual([]);
      expect(run?.requests.map(({ status, cost_usd, unconfirmed }) => [status, cost_usd, unconfirmed])).toEqual(
        Array(3).fill(['completed', CALL_USD, false]),
      );
    },
    90_000,
  );

  it.each(WAYS)("are over with LiteLLM's error, %s", async (_way, isCarried) => {
    await restart({ budgets: [], providers: [sandboxNamed('openai')] });
    const how = { ...place(isCarried), model: 'too-long', llm: { is_litellm: true }, caps: {} };
    expect(await python.call('by_itself', how)).toMatchObject({ end: 'LLMContextLengthExceededError', problems: [] });
    const [run, ...others] = await runs();
    expect(others).toEqual([]);
    expect(run).toMatchObject({ status: 'failed', counts: { requests: 1 } });
  });

  it.each(WAYS)('that go on in the loop of a run that failed are not waited for, %s', async (_way, isCarried) => {
    expect(await python.call('one_fails', place(isCarried))).toMatchObject({ stood_still: false, problems: [] });
    const [run, ...others] = await runs();
    expect(others).toEqual([]);
    expect(run).toMatchObject({ status: 'failed', counts: { requests: 21 } });
    if (!isCarried) expect(run?.requests.map(({ status }) => status)).not.toContain('open'); // Else the gateway still waits for the answers.
  });

  it.each(WAYS)('stand under the caps of each run, %s', async (_way, isCarried) => {
    expect(await python.call('by_itself', { ...place(isCarried), caps: { limit_usd: '0.0001' } })).toMatchObject({
      end: 'budget_exceeded',
    });
    const [run, ...others] = await runs();
    expect(others).toEqual([]);
    expect(run).toMatchObject({ status: 'failed', counts: { requests: 0 }, cost: { total_usd: '0' } });
  });
});

/** Hands everything on to the gateway, and loses its answers to one kind of question. */
async function losing(type: string): Promise<Server> {
  const proxy = createServer((request, response) => {
    void (async () => {
      const body = Buffer.concat(await request.toArray()).toString();
      const headers = { authorization: String(request.headers.authorization), 'content-type': 'application/json' };
      const answer = await fetch(`${gateway.url}${request.url}`, { method: 'POST', headers, body });
      const text = await answer.text();
      if (request.url?.includes('enforce') && body.includes(type)) request.socket.destroy();
      else response.writeHead(answer.status, { 'content-type': 'application/json' }).end(text);
    })();
  });
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  return proxy;
}

/** Declines each request for an answer in shape, at $0.00201; answers others at $0.00101. */
async function startDeclining(): Promise<Server> {
  const server = createServer((request, response) => {
    void (async () => {
      const body = JSON.parse(Buffer.concat(await request.toArray()).toString()) as { readonly response_format?: object };
      const declines = body.response_format !== undefined;
      const message = declines ? { content: null, refusal: 'I do not do shapes.' } : { content: '{"text":"done"}', refusal: null };
      const choice = { index: 0, finish_reason: 'stop', message: { role: 'assistant', ...message } };
      const usage = { prompt_tokens: 10, completion_tokens: declines ? 1_000 : 500, total_tokens: 10 };
      const answer = { id: 'chatcmpl-1', object: 'chat.completion', created: 1, model: 'desk', choices: [choice], usage };
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(answer));
    })();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return server;
}
