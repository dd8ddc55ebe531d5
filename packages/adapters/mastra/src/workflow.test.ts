import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { Mastra } from '@mastra/core/mastra';
import { RequestContext } from '@mastra/core/request-context';
import { InMemoryStore } from '@mastra/core/storage';
import { createStep, createWorkflow } from '@mastra/core/workflows';
import { denies } from '@runpurse/conformance';
import { z } from 'zod';
import { lookThenAnswer, scripted, setStage, type Stage } from '../test/stage.ts';
import type { GateOptions } from './workflow.ts';

const schema = z.object({ q: z.string() });
const step = (id: string, execute: (q: string) => unknown = (q) => q) =>
  createStep({
    id,
    inputSchema: schema,
    outputSchema: schema,
    execute: async ({ inputData }) => ({ q: String(await execute(inputData.q)) }),
  });
const shape = { inputSchema: schema, outputSchema: schema };

// Mastra prints what it also returns; here failures are meant.
beforeEach(() => void jest.spyOn(console, 'error').mockImplementation(() => {}));
afterEach(() => void jest.restoreAllMocks());

/** What was told, as type, name and the name of the step around it. */
function told({ events }: Stage): string[] {
  const names = new Map<unknown, unknown>(
    events.filter(({ type }) => /started|requested/.test(type)).map((event) => [event['step_id'] ?? 'run', event['name']]),
  );
  return events.map((event) =>
    [event.type, event['name'], names.get(event['parent_step_id'])].filter((word) => word !== undefined).join(' '),
  );
}

describe('a run of a workflow', () => {
  it('is told with its steps, and an agent in a step belongs to it', async () => {
    for (const isStreamed of [false, true]) {
      const stage = setStage();
      const { withWorkflow, step: shown } = stage.runpurse;
      const agent = stage.agent(scripted(lookThenAnswer));
      const flow = createWorkflow(withWorkflow({ id: 'flow', ...shape }))
        .then(shown(step('ask', async (q) => (await agent.generate(q)).text)))
        .then(step('untold'))
        .commit();
      const requestContext = new RequestContext([['runpurse', { sessionId: 'session-1', customerId: 'customer-1' }]]);
      const run = await flow.createRun();
      const start = { inputData: { q: 'x' }, requestContext: requestContext as never };
      const result = isStreamed ? await run.stream(start).result : await run.start(start);
      expect(result).toMatchObject({ status: 'success', result: { q: 'done' } });
      expect(told(stage)).toEqual([
        'run.started flow',
        'step.started ask',
        'llm.call.started mock ask',
        'llm.call.completed mock-2026 ask',
        'tool.call.requested lookup ask',
        'tool.call.completed lookup ask',
        'llm.call.started mock ask',
        'llm.call.completed mock-2026 ask',
        'step.completed ask',
        'run.completed flow',
      ]);
      for (const event of stage.events)
        expect(event).toMatchObject({ run_id: run.runId, workflow_id: 'flow', session_id: 'session-1', customer_id: 'customer-1' });
      expect(stage.eventsOf('llm.call.completed')[0]).toMatchObject({ agent_id: 'support' });
    }
  });

  it('that may not begin does not, and keeps its own callbacks', async () => {
    const stage = setStage({ deny: denies('run.started') });
    const work = jest.fn((q: string) => q);
    const [onStart, onFinish] = [jest.fn(() => {}), jest.fn(() => {})];
    const flow = createWorkflow(stage.runpurse.withWorkflow({ id: 'flow', ...shape, options: { onStart, onFinish } }))
      .then(step('work', work))
      .commit();
    const run = await flow.createRun();
    await expect(run.start({ inputData: { q: 'x' } })).rejects.toMatchObject({ code: 'policy_denied' });
    expect(work).not.toHaveBeenCalled();
    const open = setStage();
    const again = createWorkflow(open.runpurse.withWorkflow({ id: 'flow', ...shape, options: { onStart, onFinish } }))
      .then(step('work', work))
      .commit();
    await (await again.createRun()).start({ inputData: { q: 'x' } });
    expect([onStart.mock.calls.length, onFinish.mock.calls.length, work.mock.calls.length]).toEqual([2, 1, 1]);
    expect(open.types()).toEqual(['run.started', 'run.completed']);
  });

  it.each<[string, (abort: () => void) => unknown, object]>([
    [
      'failed with its reason, when a step fails',
      () => {
        throw new Error('broke');
      },
      { status: 'failed', message: 'broke' },
    ],
    [
      'stopped, when it is cancelled',
      async (abort) => {
        abort();
        await new Promise((resolve) => setTimeout(resolve, 20));
      },
      { status: 'stopped' },
    ],
  ])('ends %s', async (_, work, metadata) => {
    const stage = setStage();
    const { withWorkflow, step: shown } = stage.runpurse;
    let cancel = (): void => {};
    const flow = createWorkflow(withWorkflow({ id: 'flow', ...shape }))
      .then(shown(step('work', () => work(cancel))))
      .then(step('next'))
      .commit();
    const run = await flow.createRun();
    cancel = () => void run.cancel();
    await run.start({ inputData: { q: 'x' } });
    expect(stage.events.at(-1)).toMatchObject({ type: 'run.failed', run_id: run.runId, metadata });
  });

  it('that is suspended goes on in the same run and step, and a nested one belongs to it', async () => {
    const stage = setStage();
    const { withWorkflow, step: shown } = stage.runpurse;
    const waits = createStep({
      id: 'waits',
      ...shape,
      suspendSchema: z.object({}),
      resumeSchema: z.object({ ok: z.boolean() }),
      execute: async ({ inputData, resumeData, suspend }) => (resumeData === undefined ? ((await suspend({})) as never) : inputData),
    });
    const inner = createWorkflow(withWorkflow({ id: 'inner', ...shape }))
      .then(shown(step('inside')))
      .commit();
    const flow = createWorkflow(withWorkflow({ id: 'flow', ...shape }))
      .then(shown(waits))
      .then(shown(inner) as never)
      .commit();
    new Mastra({ workflows: { flow }, storage: new InMemoryStore(), logger: false });
    const run = await flow.createRun();
    expect(await run.start({ inputData: { q: 'x' } })).toMatchObject({ status: 'suspended' });
    expect(await run.resume({ step: 'waits', resumeData: { ok: true } })).toMatchObject({ status: 'success' });
    expect(told(stage)).toEqual([
      'run.started flow',
      'step.started waits',
      'step.completed waits',
      'step.started inner',
      'step.started inside inner',
      'step.completed inside inner',
      'step.completed inner',
      'run.completed flow',
    ]);
    expect(new Set(stage.events.map(({ run_id }) => run_id))).toEqual(new Set([run.runId]));
  });

  it('fifty at once are told apart, shared agents and all', async () => {
    const stage = setStage();
    const { withWorkflow, step: shown } = stage.runpurse;
    const agent = stage.agent(scripted(lookThenAnswer));
    const wait = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, Math.random() * 20));
    const flow = createWorkflow(withWorkflow({ id: 'flow', ...shape }))
      .then(shown(step('wait', async (q) => wait().then(() => q))))
      .then(shown(step('ask', async (q) => (await agent.generate(q)).text)))
      .commit();
    const runs = await Promise.all(Array.from({ length: 50 }, async () => flow.createRun()));
    const requestContext = new RequestContext(); // one for all of them
    await Promise.all(runs.map((run) => run.start({ inputData: { q: 'x' }, requestContext: requestContext })));
    const types = told(stage).length / 50;
    for (const { runId } of runs) {
      const events = stage.events.filter(({ run_id }) => run_id === runId);
      expect(events).toHaveLength(types);
      expect(events.map((event) => event['sequence'])).toEqual(events.map((_, place) => place + 1));
      expect(events.at(-1)?.type).toBe('run.completed');
    }
  });
});

describe('a gate', () => {
  async function through(stage: Stage, options: Partial<GateOptions<{ q: string }>> = {}) {
    const work = jest.fn((q: string) => q);
    const { withWorkflow, gate } = stage.runpurse;
    const flow = createWorkflow(withWorkflow({ id: 'flow', ...shape }))
      .then(gate({ id: 'may-pay', schema, ...options }))
      .then(step('pay', work))
      .commit();
    const run = await flow.createRun();
    const result = (await run.start({ inputData: { q: 'x' } })) as {
      readonly status: string;
      readonly result?: unknown;
      readonly error?: Error;
    };
    return { result, work };
  }

  it('hands on what it is given when the gateway agrees', async () => {
    const stage = setStage();
    const { result, work } = await through(stage);
    expect(result).toMatchObject({ status: 'success', result: { q: 'x' } });
    expect(work).toHaveBeenCalledTimes(1);
    expect(stage.eventsOf('step.started')[0]).toMatchObject({
      name: 'may-pay',
      event_phase: 'before',
      policy_stage: 'pre_action',
      step_confidence: 'high',
      run_id: stage.events[0]?.run_id,
      workflow_id: 'flow',
    });
  });

  it('stops the workflow before the next step when it does not, and the run says why', async () => {
    const stage = setStage({ deny: denies('step.started') });
    const { result, work } = await through(stage);
    expect(result).toMatchObject({ status: 'failed', error: { message: expect.stringContaining('is denied') } });
    expect(work).not.toHaveBeenCalled();
    expect(stage.events.at(-1)).toMatchObject({ type: 'run.failed', metadata: { message: expect.stringContaining('is denied') } });
  });

  it('does instead what it is told to, such as to bail', async () => {
    const stage = setStage({ deny: denies('step.started') });
    const { result, work } = await through(stage, { refused: ({ code }, { bail }) => bail({ q: code }) });
    expect(result).toMatchObject({ status: 'success', result: { q: 'policy_denied' } });
    expect(work).not.toHaveBeenCalled();
  });

  it('for a tool asks for its policy and price', async () => {
    for (const isDenied of [false, true]) {
      const stage = setStage(isDenied ? { deny: denies('tool.call.requested', 'budget_exceeded', 402) } : {});
      const { work } = await through(stage, { tool: 'payment' });
      expect(work).toHaveBeenCalledTimes(isDenied ? 0 : 1);
      expect(stage.eventsOf('tool.call.requested')).toMatchObject([{ name: 'payment' }]);
      expect(stage.eventsOf('tool.call.completed')).toHaveLength(isDenied ? 0 : 1);
    }
  });

  it('under the closed policy does not open while the gateway is away', async () => {
    for (const closed of [true, false]) {
      const stage = setStage({ closed, deny: ({ type }) => (type === 'run.started' ? undefined : 'lost') });
      const { work } = await through(stage);
      expect(work).toHaveBeenCalledTimes(closed ? 0 : 1);
    }
  });

  it('in a workflow that is not attached fails it, rather than letting everything pass', async () => {
    const stage = setStage();
    const work = jest.fn((q: string) => q);
    const flow = createWorkflow({ id: 'loose', ...shape })
      .then(stage.runpurse.gate({ id: 'may-pay', schema }))
      .then(step('pay', work))
      .commit();
    const run = await flow.createRun();
    expect(await run.start({ inputData: { q: 'x' } })).toMatchObject({
      status: 'failed',
      error: { message: expect.stringContaining('withWorkflow') },
    });
    expect(work).not.toHaveBeenCalled();
  });
});
