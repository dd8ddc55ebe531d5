import { afterEach, describe, expect, it } from '@jest/globals';
import { Agent, type AgentConfig } from '@mastra/core/agent';
import { Mastra } from '@mastra/core/mastra';
import { RequestContext } from '@mastra/core/request-context';
import { createStep, createWorkflow } from '@mastra/core/workflows';
import { Observability } from '@mastra/observability';
import { z } from 'zod';
import { answered, GATEWAY, lookThenAnswer, lookup, scripted, setStage, type Stage } from '../test/stage.ts';

const schema = z.object({ q: z.string() });
const shape = { inputSchema: schema, outputSchema: schema };
const opened: Mastra[] = [];
afterEach(async () => void (await Promise.all(opened.splice(0).map((mastra) => mastra.shutdown()))));

/** An agent that is not attached. */
function plain(id: string, model: unknown, more: object = {}): Agent {
  return new Agent({ id, name: id, instructions: 'Help.', model, tools: { lookup: lookup().tool }, ...more } as AgentConfig);
}

function observed(stage: Stage, primitives: Partial<ConstructorParameters<typeof Mastra>[0]>): Mastra {
  const configs = { default: { serviceName: 'test', exporters: [stage.runpurse.exporter()] } };
  const mastra = new Mastra({ ...primitives, logger: false, observability: new Observability({ configs }) } as never);
  opened.push(mastra);
  return mastra;
}

async function told(stage: Stage): Promise<string[]> {
  await new Promise((resolve) => setTimeout(resolve, 50));
  await stage.runpurse.client.flush();
  return stage.types();
}

const handsOver = (name: string) =>
  scripted((_count, { prompt }) =>
    prompt.at(-1)?.role === 'tool' ? { text: 'all' } : { calls: [{ id: 'call_9', name, args: { prompt: 'x' } }] },
  );

describe('the exporter', () => {
  it('tells of an agent that is not attached, and counts its usage once', async () => {
    const stage = setStage();
    const agent = plain('loose', scripted(lookThenAnswer));
    const requestContext = new RequestContext([['runpurse', { sessionId: 'session-1' }]]);
    await observed(stage, { agents: { agent } })
      .getAgent('agent' as never)
      .generate('hi', { requestContext } as never);
    expect(await told(stage)).toEqual(['run.started', 'tool.call.completed', 'llm.call.completed', 'llm.call.completed', 'run.completed']);
    expect(stage.eventsOf('llm.call.completed').map(({ metadata }) => metadata)).toEqual(
      Array(2).fill(
        expect.objectContaining({
          model: 'mock',
          usage: expect.objectContaining({
            input_tokens: 7,
            cache_read_tokens: 2,
            cache_write_5m_tokens: 1,
            output_tokens: 5,
            reasoning_tokens: 1,
          }),
        }),
      ),
    );
    expect(new Set(stage.events.map((event) => `${event.run_id} ${String(event['agent_id'])}`)).size).toBe(1);
  });

  it('adds nothing to what an attached agent tells, but which trace it is in', async () => {
    const stage = setStage();
    const agent = stage.agent(scripted(lookThenAnswer));
    await observed(stage, { agents: { agent } })
      .getAgent('agent' as never)
      .generate('hi');
    const types = await told(stage);
    expect(types.filter((type) => type !== 'trace.linked')).toEqual([
      'run.started',
      'llm.call.started',
      'llm.call.completed',
      'tool.call.requested',
      'tool.call.completed',
      'llm.call.started',
      'llm.call.completed',
      'run.completed',
    ]);
    expect(stage.eventsOf('trace.linked')).toMatchObject([{ metadata: { trace_id: expect.stringMatching(/^[0-9a-f]{32}$/) } }]);
  });

  it('puts an agent that is not attached into the run of the one that called it', async () => {
    const stage = setStage();
    const loose = plain(
      'loose',
      scripted(() => ({})),
      { description: 'helps' },
    );
    const agent = stage.agent(handsOver('agent-loose'), { agents: { loose } });
    await observed(stage, { agents: { agent, loose } })
      .getAgent('agent' as never)
      .generate('hi');
    await told(stage);
    expect(new Set(stage.events.map(({ run_id }) => run_id)).size).toBe(1);
    expect(
      stage
        .eventsOf('llm.call.completed')
        .map((event) => event['agent_id'])
        .toSorted(),
    ).toEqual(['loose', 'support', 'support']);
    expect(stage.events.filter((event) => event['agent_id'] === 'loose')).toMatchObject([
      { type: 'llm.call.completed', parent_step_id: 'call_9' },
    ]);
  });

  it('tells of a workflow that is not attached with its steps and the agents in them', async () => {
    const stage = setStage();
    const loose = plain(
      'loose',
      scripted(() => ({})),
    );
    const ask = createStep({
      id: 'ask',
      ...shape,
      execute: async ({ inputData, tracingContext }) => ({ q: (await loose.generate(inputData.q, { tracingContext } as never)).text }),
    });
    const broken = createStep({
      id: 'broken',
      ...shape,
      execute: async () => {
        throw new Error('broke');
      },
    });
    const flow = createWorkflow({ id: 'flow', ...shape })
      .then(ask)
      .then(broken)
      .commit();
    const mastra = observed(stage, { agents: { loose }, workflows: { flow } });
    await (await mastra.getWorkflow('flow' as never).createRun()).start({ inputData: { q: 'x' } });
    expect(await told(stage)).toEqual([
      'run.started',
      'step.started',
      'step.started',
      'llm.call.completed',
      'step.completed',
      'step.completed',
      'step.started',
      'step.failed',
      'run.failed',
    ]);
    expect(stage.eventsOf('step.started').map((event) => event['name'])).toEqual(['ask', 'loose', 'broken']);
    expect(stage.events.at(-1)).toMatchObject({ workflow_id: 'flow', metadata: { message: 'broke' } });
  });

  it('tells of a call that the gateway carried as carried, by its request', async () => {
    const stage = setStage();
    const agent = plain(
      'loose',
      scripted(() => ({}), GATEWAY),
    );
    await observed(stage, { agents: { agent } })
      .getAgent('agent' as never)
      .generate('hi');
    await told(stage);
    expect(stage.eventsOf('llm.call.completed')).toMatchObject([{ metadata: { carried: true, request_id: 'req_1' } }]);
  });

  it('tells how an agent failed', async () => {
    const stage = setStage();
    const agent = plain(
      'loose',
      scripted(() => ({ throws: answered(500, 'overloaded') })),
    );
    await observed(stage, { agents: { agent } })
      .getAgent('agent' as never)
      .generate('hi')
      .catch(() => {});
    await told(stage);
    expect(stage.events.at(-1)).toMatchObject({ type: 'run.failed', metadata: { status: 'failed', message: 'answered 500' } });
    expect(stage.eventsOf('llm.call.completed')).toEqual([]);
  });

  it('tells of an agent that is cancelled as stopped, and of its call as aborted', async () => {
    const stage = setStage();
    const controller = new AbortController();
    const model = scripted(() => {
      setTimeout(() => controller.abort(), 5);
      return { hangs: true };
    });
    const agent = plain('loose', model);
    await observed(stage, { agents: { agent } })
      .getAgent('agent' as never)
      .generate('hi', { abortSignal: controller.signal } as never);
    expect(await told(stage)).toEqual(['run.started', 'llm.call.failed', 'run.failed']);
    expect(stage.eventsOf('llm.call.failed')).toMatchObject([{ name: 'mock', metadata: { status: 'aborted' } }]);
    expect(stage.events.at(-1)).toMatchObject({ metadata: { status: 'stopped' } });
  });

  it('keeps its faults from Mastra', async () => {
    const stage = setStage();
    const exporter = stage.runpurse.exporter();
    await exporter.exportTracingEvent({ type: 'span_started', exportedSpan: undefined } as never);
    await exporter.exportTracingEvent({ type: 'span_ended', exportedSpan: undefined } as never);
    expect(stage.faults.length).toBeGreaterThan(0);
  });
});
