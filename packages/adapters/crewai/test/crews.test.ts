import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import type { RunningGateway } from '@runpurse/conformance';
import type { RunShape } from '@runpurse/core';
import { PYTHON, PYTHON_VARIABLES, pythonEnvironment } from './environment.ts';
import { PythonHost } from './python-host.ts';
import { at, CALL_USD, read, runsIn, sandboxNamed, start, steps } from './stage.ts';

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
  gateway = await start();
});
afterEach(() => gateway.remove());
afterAll(async () => {
  await python.close();
  await provider.remove();
});

const runsOf = (sessionId: string): Promise<readonly RunShape[]> => runsIn(gateway, sessionId);

const DESK = ['researcher: desk completed', 'researcher: lookup completed', 'researcher: desk completed', 'writer: desk completed'];

describe('a crew of two agents', () => {
  it.each([
    ['through the gateway', { model_at: 'gateway' }, 'gateway'],
    ['through the gateway, natively async', { model_at: 'gateway', native_async: true }, 'gateway'],
    ['past the gateway', { model_at: 'provider' }, 'self_reported'],
    ['past the gateway, with the interceptor', { model_at: 'provider', intercepted: true }, 'self_reported'],
  ])('is a run by itself: its steps, agents and costs, %s', async (_title, { model_at, ...how }, source) => {
    const place = model_at === 'gateway' ? gateway : provider;
    const options = { context: { session_id: 's-1', customer_id: 'c-1' } };
    const result = await python.call('desk', { gateway: at(gateway), model_at: at(place), options, ...how });
    expect(result).toEqual({ output: 'done', problems: [], tool_calls: ['x'] });
    const [run, ...others] = await runsOf('s-1');
    expect(others).toEqual([]);
    expect(run).toMatchObject({
      status: 'completed',
      agent_id: 'desk',
      customer_id: 'c-1',
      cost: { model_usd: '0.00303', tool_usd: '0.002', retry_usd: '0', total_usd: '0.00503' },
      counts: { requests: 3, tool_calls: 1, retries: 0, steps: 4 },
    });
    expect(steps(run)).toEqual(DESK);
    expect(run?.requests.map((request) => request.source)).toEqual([source, source, source]);
    expect(run?.budgets).toMatchObject([{ held_usd: '0' }]);
  });

  it.each([
    ['through the gateway', true],
    ['past it', false],
  ])("is that run on Anthropic's wire too, %s", async (_title, isCarried) => {
    const options = { context: { session_id: 's-1' } };
    const place = isCarried ? gateway : provider;
    const how = { model_at: at(place), model: 'claude-desk', intercepted: !isCarried, options };
    expect(await python.call('desk', { gateway: at(gateway), ...how })).toEqual({ output: 'done', problems: [], tool_calls: ['x'] });
    const [run, ...others] = await runsOf('s-1');
    expect(others).toEqual([]);
    expect(steps(run)).toEqual(DESK.map((step) => step.replace('desk', 'claude-desk')));
    expect(run).toMatchObject({ status: 'completed', cost: { model_usd: '0.00303', tool_usd: '0.002', total_usd: '0.00503' } });
  });

  it.each(
    [true, false].flatMap((isCarried) =>
      [true, false].flatMap((native_async) => [true, false].map((stream) => [isCarried, native_async, stream] as const)),
    ),
  )(
    "is that run on LiteLLM's LLM too, through the gateway: %s, natively async: %s, streamed: %s",
    async (isCarried, native_async, stream) => {
      await gateway.remove();
      gateway = await start({ providers: [sandboxNamed('openai')] });
      const options = { context: { session_id: 's-1', customer_id: 'c-1' } };
      const model = 'gpt-4o-mini';
      const how = { model_at: at(isCarried ? gateway : provider), model, llm: { is_litellm: true, stream }, native_async, options };
      expect(await python.call('desk', { gateway: at(gateway), ...how })).toEqual({ output: 'done', problems: [], tool_calls: ['x'] });
      const [run, ...others] = await runsOf('s-1');
      expect(others).toEqual([]);
      expect(steps(run)).toEqual(DESK.map((step) => step.replace(': desk', `: ${model}`)));
      expect(run).toMatchObject({ status: 'completed', customer_id: 'c-1', cost: { model_usd: '0.00303', tool_usd: '0.002' } });
      expect(run?.requests.map(({ unconfirmed }) => unconfirmed)).toEqual([false, false, false]);
      expect((await read<{ data: unknown[] }>(gateway, '/v1/runs')).data).toHaveLength(1);
    },
  );

  it('whose tasks run side by side is one run, and each agent is charged for its own calls', async () => {
    for (const [index, place] of [gateway, provider].entries()) {
      const session_id = `s-${index}`;
      const result = await python.call('side_by_side', { gateway: at(gateway), model_at: at(place), session_id });
      expect(result).toEqual({ output: 'done', problems: [] });
      const [run, ...others] = await runsOf(session_id);
      expect(others).toEqual([]);
      expect(run).toMatchObject({ status: 'completed', cost: { model_usd: '0.00505', tool_usd: '0.004', total_usd: '0.00905' } });
      const byAgent = Map.groupBy(run?.steps ?? [], ({ agent_id }) => agent_id);
      expect([...byAgent].map(([agent, own]) => [agent, own.map(({ name }) => name)]).toSorted()).toEqual([
        ['last', ['desk']],
        ['left', ['desk', 'lookup', 'desk']],
        ['right', ['desk', 'lookup', 'desk']],
      ]);
    }
  });

  it('fifty at once, every other one past the gateway, each have their own calls, tool and cost', async () => {
    const result = await python.call('many', { gateway: at(gateway), provider: at(provider), count: 50 });
    expect(result).toMatchObject({ problems: [] });
    for (let number = 0; number < 50; number += 1) {
      const run = await gateway.readRun(`run ${number}`);
      expect(run).toMatchObject({
        status: 'completed',
        session_id: `session of ${number}`,
        cost: { model_usd: '0.00202', tool_usd: '0.002', retry_usd: '0', total_usd: '0.00402' },
        counts: { requests: 2, tool_calls: 1, steps: 3 },
      });
      const source = number % 2 === 0 ? 'gateway' : 'self_reported';
      expect(run?.requests.map((request) => [request.source, request.agent_id])).toEqual(Array(2).fill([source, `agent ${number}`]));
      expect(new Set(run?.steps.map(({ step_id }) => step_id)).size).toBe(3);
    }
  }, 60_000);

  it('has each call settled before the next is asked about, though CrewAI tells its listeners late, and not all', async () => {
    expect(await python.call('told_late', { gateway: at(gateway), provider: at(provider) })).toEqual({ problems: [] });
    const { data } = await read<{ data: { data: { event_type?: string } }[] }>(gateway, '/v1/events?run_id=late&limit=100');
    const call = ['llm.call.started', 'llm.call.completed'];
    expect(data.flatMap((entry) => entry.data.event_type ?? []).filter((type) => /^(?:llm|tool)\./.test(type))).toEqual([
      ...call,
      'tool.call.requested',
      'tool.call.completed',
      ...call,
      ...call,
    ]);
  });

  it('two of them in a flow are one run, which ends with the flow', async () => {
    expect(await python.call('one_flow', { gateway: at(gateway), session_id: 's-1' })).toEqual({ output: 'done', problems: [] });
    const [run, ...others] = await runsOf('s-1');
    expect(others).toEqual([]);
    expect(steps(run)).toEqual([...DESK, ...DESK]);
    expect(run).toMatchObject({ status: 'completed', cost: { total_usd: '0.01006' } });
  });

  it('asks for what it remembers too, and pays for it once', async () => {
    const options = { context: { session_id: 's-1' } };
    const result = await python.call('desk', { gateway: at(gateway), model_at: at(provider), model: 'again', cache: true, options });
    expect(result).toMatchObject({ output: 'done', problems: [], tool_calls: ['x'] });
    const [run] = await runsOf('s-1');
    expect(run).toMatchObject({ cost: { tool_usd: '0.002' }, counts: { requests: 4, tool_calls: 2 }, budgets: [{ held_usd: '0' }] });
    expect(run?.tools.map(({ cost_usd }) => cost_usd)).toEqual(['0.002', '0']);
  });

  it.each([
    ['through the gateway', false],
    ['past it, in a task', true],
  ])('that Ctrl-C or a timeout ends is a run by itself, and so is what comes after it, %s', async (_title, is_async) => {
    await gateway.remove();
    gateway = await start({ budgets: [] });
    const how = { gateway: at(gateway), model_at: at(is_async ? provider : gateway), session_id: 's-1', is_async };
    expect(await python.call('interrupted', how)).toEqual({ ends: ['interrupted', 'done', 'done', 'done'], problems: [] });
    const runs = (await runsOf('s-1')).toSorted((one, other) => one.started_at.localeCompare(other.started_at));
    expect(runs.slice(0, 3).map(({ status, counts }) => [status, counts.tool_calls])).toEqual([
      ['stopped', 1],
      ['completed', 1],
      ['completed', 1],
    ]);
    for (const run of runs.slice(1, 3)) {
      expect(steps(run)).toEqual(DESK);
      expect(run).toMatchObject({ cost: { total_usd: '0.00503' } });
    }
    expect(runs.slice(3).map(({ cost }) => cost.total_usd)).toEqual([CALL_USD]);
  });
});

describe("a hook of the user's own", () => {
  it.each([
    ['raise', false],
    ['return False', false],
    ['raise', true],
  ])('that keeps a tool from running, by %s, keeps it from being charged (asked for in text: %s)', async (does, by_text) => {
    const how = { gateway: at(gateway), model_at: at(provider), session_id: 's-1', does, by_text };
    expect(await python.call('hooked', how)).toEqual({ output: 'done', problems: [], tool_calls: [] });
    const [run] = await runsOf('s-1');
    expect(run?.steps.map(({ name }) => name)).toContain('lookup');
    expect(run).toMatchObject({ status: 'completed', tools: [], cost: { tool_usd: '0' }, counts: { tool_calls: 0 } });
    expect(run?.budgets).toMatchObject([{ held_usd: '0' }]);
  });

  it.each(['raise', 'return False'])('that keeps a model from being called, by %s, keeps it from being charged', async (does) => {
    const how = { gateway: at(gateway), model_at: at(provider), session_id: 's-1', does, of_models: true };
    expect(await python.call('hooked', how)).toMatchObject({ error: expect.any(String), problems: [], tool_calls: [] });
    const [run] = await runsOf('s-1');
    expect(run).toMatchObject({ status: 'failed', cost: { total_usd: '0' }, budgets: [{ held_usd: '0' }] });
  });

  it('that gives a tool an input the crew does not remember has it asked for and charged', async () => {
    const how = { gateway: at(gateway), model_at: at(provider), model: 'again', session_id: 's-1', does: 'change', cache: true };
    expect(await python.call('hooked', how)).toEqual({ output: 'done', problems: [], tool_calls: ['x', 'y'] });
    const [run] = await runsOf('s-1');
    expect(run).toMatchObject({ cost: { tool_usd: '0.004' }, counts: { tool_calls: 2 } });
  });
});

describe("a model of the user's own that tells nothing", () => {
  it('is asked for and charged at its hold, never nothing, and its tools asked for in text are tools', async () => {
    const result = await python.call('by_text', { gateway: at(gateway), session_id: 's-1' });
    expect(result).toEqual({ output: 'done', problems: [], tool_calls: ['x'] });
    const [run] = await runsOf('s-1');
    expect(steps(run)).toEqual(['researcher: desk completed', 'researcher: lookup completed', 'researcher: desk completed']);
    expect(run).toMatchObject({ status: 'completed', cost: { tool_usd: '0.002' } });
    for (const request of run?.requests ?? []) {
      expect(request).toMatchObject({ unconfirmed: true, usage: null, source: 'self_reported' });
      expect(Number(request.cost_usd)).toBeGreaterThan(0);
    }
  });
});

describe('outside any kickoff', () => {
  it('a call is a run of its own, an agent too, and many are one where the user says so', async () => {
    await gateway.remove();
    gateway = await start({ budgets: [] });
    expect(await python.call('loose', { gateway: at(gateway), provider: at(provider), session_id: 's-1' })).toEqual({ problems: [] });
    const runs = (await runsOf('s-1')).toSorted((a, b) => a.started_at.localeCompare(b.started_at));
    const together = runs.pop();
    expect(runs.map(({ status, cost, steps: own }) => [status, cost.total_usd, own.map(({ name }) => name)])).toEqual([
      ['completed', '0.00402', ['desk', 'lookup', 'desk']],
      ['completed', CALL_USD, ['desk']],
      ['completed', CALL_USD, ['desk']],
    ]);
    expect(runs[0]?.agent_id).toBe('alone');
    expect(together).toMatchObject({ run_id: 'together', status: 'completed', revenue_usd: '0.1', counts: { requests: 3 } });
    expect(steps(together)).toEqual(['null: desk completed', ...['desk', 'lookup', 'desk'].map((name) => `helper: ${name} completed`)]);
  });
});

describe('a refusal', () => {
  const options = { context: { session_id: 's-1' } };

  it.each([
    ['through the gateway', true],
    ['past it', false],
  ])('of a model call is made once, %s, however often the crew would try again', async (_title, isCarried) => {
    await gateway.remove();
    gateway = await start({ policy: { models: { deny: ['desk'] } } });
    const before = (await read<{ data: unknown[] }>(provider, '/v1/runs')).data.length;
    const result = await python.call('desk', { gateway: at(gateway), model_at: at(isCarried ? gateway : provider), options });
    expect(result).toMatchObject({ error: 'Refused', is_hook_aborted: true, code: 'policy_denied', problems: [], tool_calls: [] });
    expect((await read<{ data: unknown[] }>(provider, '/v1/runs')).data).toHaveLength(before);
    const [run] = await runsOf('s-1');
    expect(run).toMatchObject({ status: 'failed', cost: { total_usd: '0' }, counts: { requests: 0 } });
    expect(run?.decisions).toHaveLength(1);
  });

  it('of a call that may cost too much is not one of a smaller call', async () => {
    const result = await python.call('smaller', { gateway: at(gateway) });
    expect(result).toEqual({ ends: ['budget_exceeded', 'done'], problems: [] });
  });

  it.each<[string, boolean, object?]>([
    ['through the gateway', true, {}],
    ['past it', false, {}],
    ['through the gateway, by LiteLLM', true, { model: 'gpt-4o-mini', llm: { is_litellm: true } }],
  ])('of a paused run is over when the run goes on, in its process or another: %s', async (_title, isCarried, how) => {
    const result = await python.call('paused', { gateway: at(gateway), model_at: at(isCarried ? gateway : provider), ...how });
    expect(result).toEqual({ ends: ['done', 'run_paused', 'done', 'run_paused', 'done'], problems: [] });
    const statusOf = async (id: string) => (await read<RunShape>(gateway, `/v1/runs/${id}`)).status;
    expect([await statusOf('paused'), await statusOf('left')]).toEqual(['completed', 'completed']);
  });

  it.each([
    ['desk', 'text'],
    ['odd', 'half a character'],
  ])('of a tool keeps it from running, whatever the model %s asks it for: %s', async (model) => {
    await gateway.remove();
    gateway = await start({ policy: { tools: { deny: ['lookup'] } } });
    const result = await python.call('desk', { gateway: at(gateway), model_at: at(provider), model, options });
    expect(result).toEqual({ output: 'done', problems: [], tool_calls: [] });
    const [run] = await runsOf('s-1');
    expect(run).toMatchObject({ status: 'completed', tools: [{ tool: 'lookup', status: 'denied' }], cost: { tool_usd: '0' } });
  });

  it('of a whole run keeps the crew from starting', async () => {
    await gateway.remove();
    gateway = await start({ policy: { rules: [{ id: 'closed', phase: 'run_update', when: 'true', effect: 'block', reason: 'closed' }] } });
    const result = await python.call('desk', { gateway: at(gateway), model_at: at(gateway), options });
    expect(result).toMatchObject({ error: 'Refused', code: 'policy_denied', tool_calls: [] });
  });
});

describe('a fault of ours', () => {
  const broken = (failure_policy: string) => ({
    gateway: at(gateway),
    model_at: at(provider),
    broken: true,
    options: { failure_policy },
  });

  it('is not felt by the crew', async () => {
    const result = (await python.call('desk', broken('open'))) as { readonly problems: readonly string[] };
    expect(result).toMatchObject({ output: 'done', tool_calls: ['x'] });
    expect(result.problems).toContainEqual(expect.stringMatching(/^adapter_fault: .*a bug of ours/));
  });

  it('lets nothing through when the failure policy is closed', async () => {
    expect(await python.call('desk', broken('closed'))).toMatchObject({
      error: 'GatewayUnavailable',
      is_hook_aborted: true,
      tool_calls: [],
    });
  });
});

describe('a process that just ends', () => {
  it('has told everything: at its end, by an exception, and within a run', async () => {
    await Promise.all(
      [
        ['s-end', ''],
        ['s-exit', 'raise SystemExit(3)'],
        ['s-left', 'left = runpurse.run(run_id="left")\nleft.__enter__()'],
      ].map(async ([sessionId = '', last = '']) => {
        const script = `
import sys
sys.path[:0] = ${JSON.stringify([join(PYTHON, 'src'), import.meta.dirname])}
from crews import Lookup, Runpurse, desk_crew, llm_at
place = ${JSON.stringify(at(gateway))}
runpurse = Runpurse(place["url"], place["key"], context={"session_id": "${sessionId}"})
print(desk_crew(llm_at(${JSON.stringify(at(provider))}, "desk"), Lookup()).kickoff().raw)
${last}
`;
        const env = { ...process.env, CREWAI_DISABLE_TELEMETRY: 'true', CREWAI_TRACING_ENABLED: 'false', ...PYTHON_VARIABLES };
        const ended = promisify(execFile)(pythonEnvironment(), ['-c', script], { env });
        expect((await ended.catch((error: unknown) => error as { stdout: string })).stdout).toContain('done');
        const runs = await runsOf(sessionId);
        expect(runs.find(({ run_id }) => run_id !== 'left')).toMatchObject({ status: 'completed', cost: { total_usd: '0.00503' } });
        expect(runs.find(({ run_id }) => run_id === 'left')?.status).toBe(last.includes('left') ? 'stopped' : undefined);
      }),
    );
  }, 120_000);
});

describe('the bridge', () => {
  interface CrewEvent {
    readonly event_id: string;
    readonly type: string;
    readonly timestamp: string;
  }

  it.each([
    [
      'in its envelope, as webhooks post them',
      (event: CrewEvent) => ({ id: event.event_id, execution_id: 'run-1', type: event.type, timestamp: event.timestamp, data: event }),
      '',
    ],
    ['bare', (event: CrewEvent) => event, '&run_id=run-1'],
  ])('reads the events of a real crew, %s, as the same run', async (_title, wrap, query) => {
    const wrapped: (event: CrewEvent) => object = wrap;
    const { events } = (await python.call('events_of', { provider: at(provider) })) as { readonly events: readonly CrewEvent[] };
    const path = `/v1/ingest/crewai?session_id=s-1${query}`;
    // One by one, in any order and twice, as an unlucky network brings them.
    for (const event of events.toReversed()) await gateway.post(path, wrapped(event));
    const reply = await gateway.post(path, { events: events.map(wrapped) });
    expect(reply).toMatchObject({ accepted: 14, rejected: 0 });
    const run = await gateway.readRun('run-1');
    expect(run).toMatchObject({
      status: 'completed',
      session_id: 's-1',
      cost: { model_usd: '0.00303', tool_usd: '0.002', retry_usd: '0', total_usd: '0.00503' },
      counts: { requests: 3, tool_calls: 1, retries: 0, steps: 4 },
    });
    expect((steps(run) as string[]).toSorted()).toEqual(DESK.toSorted());
    const log = JSON.stringify(await read(gateway, '/v1/events?run_id=run-1&limit=200'));
    expect(log).not.toMatch(/hunter2|Find it|found x/);
  });
});
