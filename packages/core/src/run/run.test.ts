import { describe, expect, it } from '@jest/globals';
import {
  createGatewayClient,
  orThrow,
  RefusedError,
  runEndOf,
  RunpurseError,
  type GatewayClientOptions,
  type Run,
  type RunOptions,
} from '../index.ts';
import { accepted, eventsOf, refused, scriptedHost, type Reply, type SentEvent } from '../../test/scripted-host.ts';

function openRun(
  run: RunOptions = { runId: 'run-1', sessionId: 'session-1', agentId: 'agent-1' },
  options: Partial<GatewayClientOptions> = {},
) {
  const host = scriptedHost(options);
  const client = createGatewayClient(host.options);
  return { ...host, client, run: client.run(run) };
}

describe('a run', () => {
  it('begins with a question that carries its cap and bounds, asked once however often it is started', async () => {
    const { run, transport } = openRun({
      runId: 'run-1',
      name: 'support',
      limitUsd: '0.50',
      bounds: { max_requests: 40 },
      sessionName: 'Ann',
      properties: { plan: 'pro' },
    });
    const [first, second] = await Promise.all([run.start(), run.start()]);
    expect(first).toBe(second);
    expect(transport.requests).toHaveLength(1);
    expect(transport.requests[0]?.url).toContain('enforce=true');
    expect(transport.events[0]).toMatchObject({
      type: 'run.started',
      name: 'support',
      run_id: 'run-1',
      event_phase: 'before',
      policy_stage: 'pre_action',
      sequence: 1,
      metadata: { limit_usd: '0.5', bounds: { max_requests: 40 }, session_name: 'Ann', properties: { plan: 'pro' } },
    });
  });

  it('carries session, workflow, customer and agent as fields of every event', async () => {
    const { run, transport } = openRun({ runId: 'r', sessionId: 's', workflowId: 'w', customerId: 'c', agentId: 'a', agentName: 'Ann' });
    await run.start();
    run.step({ name: 'x', kind: 'planning' }).complete();
    run.record({ type: 'checkpoint.created' });
    run.finance({ revenueUsd: '1' });
    await run.end({ status: 'completed' });
    expect(transport.events).toHaveLength(6);
    for (const event of transport.events) {
      expect(event).toMatchObject({
        run_id: 'r',
        session_id: 's',
        workflow_id: 'w',
        customer_id: 'c',
        agent_id: 'a',
        agent_name: 'Ann',
        source: 'toy',
        event_source_trust: 'adapter_detected',
      });
    }
    expect(transport.events.map(({ sequence }) => sequence)).toEqual([1, 2, 3, 4, 5, 6]);
  });

  it('gets an id when it is given none, and none is shared', () => {
    const { client } = openRun();
    const [first, second] = [client.run(), client.run()];
    expect(first.runId).toMatch(/^run_/);
    expect(first.runId).not.toBe(second.runId);
    expect(first.headers()).toEqual({ 'Alephant-Run-Id': first.runId });
  });

  it('ends once, with reason and money, and has delivered its events by then', async () => {
    const { run, client, transport } = openRun();
    run.step({ name: 'x', kind: 'planning' });
    await run.end({ status: 'stopped', reason: 'user left', revenueUsd: '0.1', outboundUsd: '0.02', feesUsd: '0.001' });
    await run.end({ status: 'completed' });
    expect(client.pending).toBe(0);
    expect(transport.events.map(({ type }) => type)).toEqual(['step.started', 'run.failed']);
    expect(transport.events[1]).toMatchObject({
      event_phase: 'after',
      metadata: { status: 'stopped', message: 'user left', revenue_usd: '0.1', outbound_usd: '0.02', fees_usd: '0.001' },
    });
  });

  it('ends at once when the gateway is away, and is delivered when it is back', async () => {
    const { run, client, transport, timers } = openRun();
    transport.reply = () => new Error('down');
    await run.end({ status: 'completed' });
    expect(client.pending).toBe(1);
    transport.reply = () => accepted;
    await timers.advance(60_000);
    expect(client.pending).toBe(0);
  });

  it.each<readonly [RunOptions, string]>([
    [{ limitUsd: 'a lot' }, 'limitUsd'],
    [{ limitUsd: '-1' }, 'limitUsd'],
    [{ bounds: { max_requests: 0 } }, 'bounds.max_requests'],
    [{ bounds: { max_requsts: 5 } as object }, 'bounds'],
  ])('does not begin with a cap that holds nothing: %j', (options, named) => {
    const { client } = openRun();
    expect(() => client.run(options)).toThrow(named);
    expect(() => client.run(options)).toThrow(RunpurseError);
  });

  it('reports an amount that is none as a problem, not as zero', async () => {
    const { run, transport, problems } = openRun();
    run.settleTool({ toolCallId: 'c', tool: 't', status: 'completed', costUsd: 'cheap' });
    await run.end({ status: 'completed', revenueUsd: '1e3' });
    expect(transport.events.map(({ metadata }) => [metadata['cost_usd'], metadata['revenue_usd']])).toEqual([
      [undefined, undefined],
      [undefined, undefined],
    ]);
    expect(problems.map(({ message }) => message.split(' ')[0])).toEqual(['costUsd', 'revenueUsd']);
  });
});

describe('a call that its host may tell again from another process', () => {
  it('is told under the id given, and alike whenever it is told', async () => {
    const tell = async (at: number) => {
      const { run, transport, timers } = openRun();
      await timers.advance(at);
      await run.authorizeModel({ stepId: 'm', model: 'gpt-x', carried: false, eventId: 'm-ask' });
      run.recordModel({ stepId: 'm', model: 'gpt-x', eventId: 'm-end' });
      await run.authorizeTool({ tool: 'lookup', toolCallId: 't', stepId: 't', eventId: 't-ask' });
      run.settleTool({ toolCallId: 't', status: 'completed', eventId: 't-end' });
      await run.end({ status: 'completed' });
      return transport.events;
    };
    const [now, later] = [await tell(0), await tell(60_000)];
    expect(now.slice(0, 4).map((event) => [event.event_id, event['timestamp']])).toEqual(
      ['m-ask', 'm-end', 't-ask', 't-end'].map((id) => [id, undefined]),
    );
    expect(later.slice(0, 4)).toEqual(now.slice(0, 4));
    expect(now[4]).toMatchObject({ event_id: expect.stringMatching(/^evt_/), timestamp: expect.any(String) });
  });
});

describe('a model call', () => {
  const call = {
    stepId: 'm-1',
    parentStepId: 'p-1',
    graphNode: 'think',
    agentId: 'helper',
    model: 'gpt-x',
    provider: 'sandbox',
    maxOutputTokens: 64,
    inputTokensMax: 900,
    carried: false,
  } as const;

  it('that the gateway carries is asked about by the gateway itself, and its report says so', async () => {
    const { run, transport } = openRun();
    expect(await run.authorizeModel({ ...call, carried: true })).toMatchObject({ type: 'allowed' });
    expect(transport.requests).toHaveLength(0);
    run.recordModel({ stepId: 'm-1', model: 'gpt-x', requestId: 'req_1', carried: true });
    await run.end({ status: 'completed' });
    expect(transport.events[0]).toMatchObject({
      type: 'llm.call.completed',
      step_id: 'm-1',
      parent_step_id: 'p-1',
      metadata: { carried: true, request_id: 'req_1' },
    });
  });

  it('that goes elsewhere is asked about with its bounds, and settled by its usage in the same place', async () => {
    const { run, transport } = openRun();
    await run.authorizeModel({ ...call, attempt: 2 });
    run.recordModel({ stepId: 'm-1', model: 'gpt-x-2026', usage: { input_tokens: 10, cache_read_tokens: 4, output_tokens: null } });
    await run.end({ status: 'completed' });
    const place = { step_id: 'm-1', parent_step_id: 'p-1', graph_node: 'think', agent_id: 'helper', attempt: 2, step_kind: 'llm_call' };
    expect(transport.events[0]).toMatchObject({
      ...place,
      type: 'llm.call.started',
      metadata: { model: 'gpt-x', provider: 'sandbox', max_output_tokens: 64, input_tokens_max: 900 },
    });
    expect(transport.events[1]).toMatchObject({
      ...place,
      type: 'llm.call.completed',
      metadata: { model: 'gpt-x-2026', status: 'completed', usage: { input_tokens: 10, cache_read_tokens: 4, output_tokens: null } },
    });
  });

  it.each([
    ['failed', { error: new Error('503 overloaded') }, { status: 'failed', message: '503 overloaded' }],
    ['was cancelled', { error: new Error('aborted'), status: 'aborted' as const }, { status: 'aborted', message: 'aborted' }],
  ])('that %s is reported as such', async (_title, result, metadata) => {
    const { run, transport } = openRun();
    run.recordModel({ stepId: 'm-1', model: 'gpt-x', ...result });
    await run.end({ status: 'failed' });
    expect(transport.events[0]).toMatchObject({ type: 'llm.call.failed', event_phase: 'after', metadata });
  });

  it('without usage is reported without usage, not with zeros', async () => {
    const { run, transport } = openRun();
    run.recordModel({ stepId: 'm-1', model: 'gpt-x' });
    await run.end({ status: 'completed' });
    expect(transport.events[0]?.metadata).toEqual({ model: 'gpt-x', status: 'completed' });
  });

  it('has headers that say whose call it is and where it stands', () => {
    const { run } = openRun();
    expect(
      run.headers({
        stepId: 'm-1',
        parentStepId: 'p-1',
        graphNode: 'think',
        agentId: 'helper',
        attempt: 2,
        stepKind: 'llm_call',
        iteration: 0,
      }),
    ).toEqual({
      'Alephant-Run-Id': 'run-1',
      'Alephant-Session-Id': 'session-1',
      'Alephant-Agent-Id': 'helper',
      'Alephant-Step-Id': 'm-1',
      'Alephant-Parent-Step-Id': 'p-1',
      'Alephant-Graph-Node': 'think',
      'Alephant-Step-Attempt': '2',
      'Alephant-Step-Kind': 'llm_call',
      'Alephant-Iteration': '0',
    });
  });

  it('names the same id in headers and events when the id does not fit a header', async () => {
    const long = `  ${'step '.repeat(80)}é  `;
    const { run, transport } = openRun({ runId: long, sessionId: `${long}2` });
    const headers = run.headers({ stepId: long });
    await run.authorizeTool({ tool: 't', toolCallId: 'c', stepId: long });
    expect(headers['Alephant-Run-Id']).toBe(transport.events[0]?.['run_id']);
    expect(headers['Alephant-Step-Id']).toBe(transport.events[0]?.['step_id']);
    expect(headers['Alephant-Session-Id']).toBe(transport.events[0]?.['session_id']);
    expect(headers['Alephant-Session-Id']).not.toBe(headers['Alephant-Run-Id']);
  });
});

describe('a tool call', () => {
  const call = { tool: 'lookup', toolCallId: 'c-1', stepId: 't-1', graphNode: 'tools', input: { b: 1, a: 'ann@example.com' } } as const;

  it('is asked about, then settled once, in the same place and with the same fingerprint', async () => {
    const { run, transport } = openRun();
    expect(orThrow(await run.authorizeTool(call)).type).toBe('allowed');
    run.settleTool({ toolCallId: 'c-1', status: 'completed', costUsd: '0.002' });
    run.settleTool({ toolCallId: 'c-1', status: 'completed', costUsd: '0.002' });
    await run.end({ status: 'completed' });
    const place = {
      step_id: 't-1',
      graph_node: 'tools',
      tool_call_id: 'c-1',
      name: 'lookup',
      step_kind: 'tool_call',
      input_hash: transport.events[0]?.['input_hash'],
    };
    expect(place.input_hash).toMatch(/^sha256:[0-9a-f]{64}$/);
    expect(transport.events.slice(0, 2)).toEqual([
      expect.objectContaining({ ...place, type: 'tool.call.requested', event_phase: 'before', metadata: { tool_name: 'lookup' } }),
      expect.objectContaining({
        ...place,
        type: 'tool.call.completed',
        event_phase: 'after',
        metadata: { tool_name: 'lookup', status: 'completed', cost_usd: '0.002' },
      }),
    ]);
    expect(transport.events).toHaveLength(3);
    expect(transport.requests.map(({ body = '' }) => body).join('')).not.toContain('ann@example.com');
  });

  it('has the same fingerprint for the same input in any order of keys, and another for another input', async () => {
    const { run, transport } = openRun();
    await run.authorizeTool(call);
    await run.authorizeTool({ ...call, toolCallId: 'c-2', input: { a: 'ann@example.com', b: 1 } });
    await run.authorizeTool({ ...call, toolCallId: 'c-3', input: { a: 'bob@example.com', b: 1 } });
    const [first, second, third] = transport.events.map((event) => event['input_hash']);
    expect(second).toBe(first);
    expect(third).not.toBe(first);
  });

  it('has a fingerprint that no secret of its input goes into, since short secrets could be guessed from it', async () => {
    const { run, transport } = openRun();
    await run.authorizeTool({ ...call, input: { password: 'hunter2', user: 1 } });
    await run.authorizeTool({ ...call, toolCallId: 'c-2', input: { password: 'other', user: 1 } });
    const [first, second] = transport.events.map((event) => event['input_hash']);
    expect(second).toBe(first);
  });

  it('that was denied is a value, throws on request, and reports no end', async () => {
    const { run, transport } = openRun();
    transport.reply = (_request, events) => (events[0]?.type === 'tool.call.requested' ? refused(402, 'budget_exceeded') : accepted);
    const decision = await run.authorizeTool(call);
    expect(decision).toMatchObject({ type: 'denied', proceed: false });
    expect(() => orThrow(decision)).toThrow(RefusedError);
    run.settleTool({ toolCallId: 'c-1', status: 'failed' });
    await run.end({ status: 'failed' });
    expect(transport.events.map(({ type }) => type)).toEqual(['tool.call.requested', 'run.failed']);
  });

  it('asked about twice before it ends is one call with one answer', async () => {
    const { run, transport } = openRun();
    const [first, second] = await Promise.all([run.authorizeTool(call), run.authorizeTool(call)]);
    expect(second).toBe(first);
    expect(transport.requests).toHaveLength(1);
  });

  it('tried again is a call of its own, and the newest open try is the one that is settled', async () => {
    const { run, transport } = openRun();
    await run.authorizeTool({ ...call, attempt: 1 });
    run.settleTool({ toolCallId: 'c-1', status: 'failed', error: 'boom' });
    await run.authorizeTool({ ...call, attempt: 2 });
    run.settleTool({ toolCallId: 'c-1', status: 'completed' });
    run.settleTool({ toolCallId: 'c-1', status: 'completed' });
    await run.end({ status: 'completed' });
    expect(transport.events.map(({ type, attempt }) => `${type} ${String(attempt)}`)).toEqual([
      'tool.call.requested 1',
      'tool.call.failed 1',
      'tool.call.requested 2',
      'tool.call.completed 2',
      'run.completed undefined',
    ]);
  });

  it('is settled before the next question is asked, so that its hold no longer counts', async () => {
    const { run, transport } = openRun();
    await run.authorizeTool(call);
    run.settleTool({ toolCallId: 'c-1', status: 'completed' });
    await run.authorizeTool({ ...call, toolCallId: 'c-2' });
    expect(transport.events.map(({ type }) => type)).toEqual(['tool.call.requested', 'tool.call.completed', 'tool.call.requested']);
  });

  it('is asked about whatever is in the ids that users and models wrote', async () => {
    const ids = { runId: 'run\n1', sessionId: ' bob\u0007 ', customerId: 'ann\ud83d', agentId: 'a\u0000b' };
    const { run, transport, problems } = openRun(ids);
    const decision = await run.authorizeTool({ stepId: 's', tool: 'lookup', toolCallId: 'call\udcff\n1', input: { q: '\ud800' } });
    expect([decision.type, problems]).toEqual(['allowed', []]);
    expect(transport.events).toMatchObject([
      { run_id: 'run 1', session_id: 'bob', customer_id: 'ann\ufffd', agent_id: 'a b', tool_call_id: 'call\ufffd 1' },
    ]);
    expect(decodeURIComponent(run.headers()['Alephant-Session-Id'] ?? '')).toBe('bob');
  });

  it('with an input that cannot be fingerprinted is asked about all the same', async () => {
    const { run, transport, problems } = openRun();
    const input = new Proxy(
      {},
      {
        ownKeys: () => {
          throw new Error('trap');
        },
      },
    );
    expect((await run.authorizeTool({ ...call, input })).type).toBe('allowed');
    expect(transport.events[0]?.['input_hash']).toBeUndefined();
    expect(problems).toHaveLength(1);
  });
});

describe('ids of tool calls', () => {
  const idsOf = (given: readonly (string | undefined)[], run = openRun().run) => given.map((id) => run.toolCallId(id));

  it.each([
    ['repeated ones', ['a', 'a', 'a'], ['a', 'a~2', 'a~3']],
    ['those that look like a repeated one', ['a', 'a~2', 'a', 'a~2'], ['a', 'a~2', 'a~3', 'a~2~2']],
    ['those that read the same on one line', ['x\ny', 'x y', 'x\ty'], ['x y', 'x y~2', 'x y~3']],
    ['names of every object', ['__proto__', 'constructor'], ['__proto__', 'constructor']],
  ])('tell %s apart', (_, given, expected) => {
    expect(idsOf(given)).toEqual(expected);
  });

  it('are made where there is none, and stay short enough for a header', () => {
    const [none, empty, long, again] = idsOf([undefined, ' ', 'x'.repeat(300), 'x'.repeat(300)]);
    expect(new Set([none, empty, long, again]).size).toBe(4);
    for (const id of [none, empty, long, again]) expect(id).toMatch(/^.{1,256}$/);
  });

  it('are shared by the handles of a run, and by no other run', async () => {
    const { client } = openRun();
    const [one, other, another] = ['r', 'r', 'r2'].map((runId) => client.run({ runId }));
    expect([one?.toolCallId('a'), other?.toolCallId('a'), another?.toolCallId('a')]).toEqual(['a', 'a~2', 'a']);
    await one?.end({ status: 'completed' });
    expect(client.run({ runId: 'r' }).toolCallId('a')).toBe('a');
  });
});

it('a tool under the id of another open one is asked about, and the open one is settled all the same', async () => {
  const { run, transport } = openRun();
  await run.authorizeTool({ stepId: 's', tool: 'lookup', toolCallId: 't' });
  transport.reply = () => refused(409, 'conflict');
  expect((await run.authorizeTool({ stepId: 's', tool: 'refund', toolCallId: 't' })).type).toBe('denied');
  transport.reply = () => accepted;
  run.settleTool({ toolCallId: 't', status: 'completed' });
  await run.end({ status: 'completed' });
  expect(transport.events.map(({ type, name }) => [type, name])).toEqual([
    ['tool.call.requested', 'lookup'],
    ['tool.call.requested', 'refund'],
    ['tool.call.completed', 'lookup'],
    ['run.completed', undefined],
  ]);
});

describe('ids and properties from an untyped host', () => {
  it('that are numbers are written out', async () => {
    const ids = { runId: 1, sessionId: 42, customerId: 7n } as unknown as RunOptions;
    const { run, transport, problems } = openRun({
      ...ids,
      properties: { seats: 3, plan: { deep: true }, note: 'Bearer sk-live-5e1f0c2d9a8b7c6d5e4f' } as never,
    });
    const headers = run.headers();
    expect(headers).toMatchObject({
      'Alephant-Run-Id': '1',
      'Alephant-Session-Id': '42',
      'Alephant-Customer-Id': '7',
      'Alephant-Property-seats': '3',
    });
    expect(JSON.stringify(headers)).not.toMatch(/plan|5e1f0c2d/);
    await run.start();
    expect(transport.events[0]).toMatchObject({ run_id: '1', metadata: { properties: { seats: '3' } } });
    expect(problems).toEqual([]);
  });

  it.each([{ sessionId: {} }, { customerId: ['a'] }, { workflowId: true }])('that are none are told: %j', (ids) => {
    expect(() => openRun(ids as never)).toThrow(/^(sessionId|customerId|workflowId) must be a text, not/);
  });
});

it('a tool that was allowed and never ran costs nothing, is told once, and is asked for anew', async () => {
  const { run, transport } = openRun();
  const call = { stepId: 's', tool: 'lookup', toolCallId: 't' };
  await run.authorizeTool(call);
  for (let twice = 0; twice < 2; twice += 1)
    run.settleTool({ toolCallId: 't', status: 'failed', error: 'a hook skipped it', neverRan: true });
  await run.authorizeTool(call);
  expect(transport.events.map(({ type, step_id, metadata }) => [type, step_id, metadata['released']])).toEqual([
    ['tool.call.requested', 's', undefined],
    ['tool.call.failed', 's', true],
    ['tool.call.requested', 's', undefined],
  ]);
});

describe('a question that got no answer', () => {
  const ask = {
    tool: (run: Run) => run.authorizeTool({ stepId: 's', tool: 'lookup', toolCallId: 't' }),
    model: (run: Run) => run.authorizeModel({ stepId: 's', model: 'm', carried: false }),
  };
  /** Its questions are answered with `reply`, reports are taken. */
  const answered = (reply: Reply, authorize: 'open' | 'closed') => {
    const opened = openRun(undefined, { failurePolicy: { authorize } });
    opened.transport.reply = ({ url }) => (url.includes('enforce=true') ? reply : accepted);
    return opened;
  };
  const LOST = new Error('timeout of 5000ms exceeded');

  it.each(['tool', 'model'] as const)('gives back what may be held, where the %s call is not made for it', async (kind) => {
    const { run, client, transport } = answered(LOST, 'closed');
    expect(await ask[kind](run)).toMatchObject({ type: 'unavailable', proceed: false });
    await client.flush();
    const { type, step_id, tool_call_id, metadata } = transport.events.at(-1) as SentEvent;
    expect([type, step_id, tool_call_id, metadata]).toEqual([
      kind === 'tool' ? 'tool.call.failed' : 'llm.call.failed',
      's',
      kind === 'tool' ? 't' : undefined,
      expect.objectContaining({ released: true, message: 'the gateway gave no answer, so it was not made' }),
    ]);
  });

  it.each(['tool', 'model'] as const)('releases nothing where the %s call is made all the same, or was refused', async (kind) => {
    const open = answered(LOST, 'open');
    expect(await ask[kind](open.run)).toMatchObject({ type: 'unavailable', proceed: true });
    const denied = answered(refused(402, 'budget_exceeded'), 'closed');
    expect(await ask[kind](denied.run)).toMatchObject({ type: 'denied' });
    await Promise.all([open.client.flush(), denied.client.flush()]);
    for (const { transport } of [open, denied]) expect(transport.events.filter(({ metadata }) => metadata['released'])).toEqual([]);
  });
});

it('a settlement does not depend on whether the error can be read', async () => {
  const { run, transport } = openRun();
  const error = new Proxy(new Error(), {
    get: () => {
      throw new Error('trap');
    },
  });
  await run.authorizeTool({ stepId: 's', tool: 'lookup', toolCallId: 't' });
  run.settleTool({ toolCallId: 't', status: 'failed', error });
  await run.end({ status: 'failed' });
  expect(transport.events[1]).toMatchObject({ type: 'tool.call.failed', metadata: { message: 'failed' } });
});

describe('a step', () => {
  it('begins and ends once under one id', async () => {
    const { run, transport } = openRun();
    const step = run.step({ name: 'researcher', kind: 'handoff', parentStepId: 't-1', agentId: 'researcher' });
    step.fail(new Error('no'));
    step.complete();
    await run.end({ status: 'completed' });
    expect(transport.events.slice(0, 2)).toEqual([
      expect.objectContaining({
        type: 'step.started',
        step_id: step.stepId,
        parent_step_id: 't-1',
        agent_id: 'researcher',
        name: 'researcher',
        step_kind: 'handoff',
      }),
      expect.objectContaining({
        type: 'step.failed',
        step_id: step.stepId,
        step_kind: 'handoff',
        metadata: { status: 'failed', message: 'no' },
      }),
    ]);
    expect(transport.events).toHaveLength(3);
  });
});

it('a run that waits for a person says so, delivers it, and is not ended', async () => {
  const { run, transport } = openRun();
  await run.pause('refund of order 7?');
  expect(transport.events).toMatchObject([
    {
      type: 'approval.requested',
      event_phase: 'state',
      step_kind: 'approval',
      metadata: { status: 'paused', message: 'refund of order 7?' },
    },
  ]);
  await run.end({ status: 'completed' });
  expect(transport.events.at(-1)?.type).toBe('run.completed');
});

it.each([
  ['by its own pause', { code: 'run_paused', message: 'paused', details: { run_id: 'run-1' } }, new Error('no answer'), false],
  ['by a pause that is over', { code: 'run_paused', message: 'paused', details: { run_id: 'run-1' } }, refused(404, 'not_found'), true],
  ['by the pause of a run inside it', { code: 'run_paused', message: 'paused', details: { run_id: 'run-2' } }, accepted, true],
  ['by its cap', { code: 'budget_exceeded', message: 'spent', details: { run_id: 'run-1' } }, accepted, true],
] as const)('a run that is stopped %s is over, or goes on', async (_, refusal, read, isEnd) => {
  const { run, client, transport } = openRun();
  run.step({ name: 'x', kind: 'planning' });
  await client.flush();
  transport.reply = ({ method }) => (method === 'GET' ? read : accepted);
  await run.end(runEndOf(new Error('node failed', { cause: new RefusedError(refusal) })));
  expect(client.pending).toBe(0);
  const told = () =>
    transport.requests
      .filter(({ method }) => method === 'POST')
      .flatMap(eventsOf)
      .map(({ type }) => type);
  expect(told()).toEqual(['step.started', ...(isEnd ? ['run.failed'] : [])]);
  await run.end({ status: 'completed' });
  expect(told().at(-1)).toBe(isEnd ? 'run.failed' : 'run.completed');
});
