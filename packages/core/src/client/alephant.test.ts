import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { axiosTransport, nodeIds, nodeTimers } from '../axios/index.ts';
import { createGatewayClient, type GatewayClient, type GatewayClientOptions, type Problem } from '../index.ts';
import { startAlephantGateway, type AlephantGateway } from '../../test/alephant-gateway.ts';

let gateway: AlephantGateway;
let problems: Problem[];
beforeEach(async () => {
  gateway = await startAlephantGateway();
  problems = [];
});
afterEach(() => gateway.close());

function clientOf(options: Partial<GatewayClientOptions> = {}): GatewayClient {
  return createGatewayClient({
    baseUrl: gateway.url,
    apiKey: 'vk-test-0123456789abcdef',
    transport: axiosTransport(),
    timers: nodeTimers,
    ids: nodeIds,
    source: 'toy',
    dialect: 'alephant',
    onProblem: (problem) => problems.push(problem),
    ...options,
  });
}

async function send(body: object): Promise<{ status: number; reply: Record<string, unknown> }> {
  const response = await fetch(`${gateway.url}/v1/agent/events`, {
    method: 'POST',
    headers: { authorization: 'Bearer vk-x' },
    body: JSON.stringify(body),
  });
  return { status: response.status, reply: (await response.json()) as Record<string, unknown> };
}

describe('the fixture holds the traps of a plain Alephant gateway', () => {
  it('takes canonical events without source for something else, a failed tool for a new request', async () => {
    await send({ events: [{ type: 'run.started' }, { type: 'tool.call.failed' }] });
    expect(gateway.sunk.map(({ type, decision }) => [type, decision])).toEqual([
      ['unknown', 'skipped'],
      ['tool.call.requested', 'allowed'],
    ]);
  });

  it('asks no policy about a canonical event that does not spell out phase, stage and confidence', async () => {
    gateway.rules = { deny: () => 'never' };
    expect(await send({ source: 'alephant', type: 'tool.call.requested' })).toMatchObject({ status: 202, reply: { allowed: true } });
  });

  it('denies with a 202, and blanks usage', async () => {
    gateway.rules = { deny: () => 'never' };
    const { status, reply } = await send({
      source: 'alephant',
      type: 'tool.call.requested',
      event_phase: 'before',
      policy_stage: 'pre_action',
      step_confidence: 'high',
      metadata: { input_tokens: 5 },
    });
    expect([status, reply['allowed']]).toEqual([202, false]);
    expect(gateway.sunk[0]?.metadata).toEqual({ input_tokens: '[redacted]' });
  });
});

describe('a run against a plain Alephant gateway', () => {
  async function playRun(client: GatewayClient): Promise<void> {
    const run = client.run({ runId: 'run-1', sessionId: 'session-1', workflowId: 'flow-1', customerId: 'customer-1', agentId: 'agent-1' });
    await run.start();
    await run.authorizeModel({ stepId: 'model-1', model: 'gpt-x', carried: true });
    run.recordModel({ stepId: 'model-1', model: 'gpt-x', usage: { input_tokens: 100, output_tokens: 20 }, carried: true });
    await run.authorizeTool({ tool: 'lookup', toolCallId: 'call-1', stepId: 'tool-1', input: { id: 7 } });
    run.settleTool({ toolCallId: 'call-1', status: 'completed', costUsd: '0.002' });
    run.step({ name: 'helper', kind: 'handoff', stepId: 'nested-1' }).fail(new Error('no'));
    await run.authorizeTool({ tool: 'lookup', toolCallId: 'call-2', stepId: 'tool-2', attempt: 1 });
    run.settleTool({ toolCallId: 'call-2', status: 'failed', error: 'boom', place: { attempt: 1 } });
    await run.authorizeTool({ tool: 'lookup', toolCallId: 'call-2', stepId: 'tool-2', attempt: 2 });
    run.settleTool({ toolCallId: 'call-2', status: 'completed', place: { attempt: 2 } });
    await run.end({ status: 'completed', revenueUsd: '0.10' });
  }

  it('reads event for event as it was meant, and each question was put to the policy', async () => {
    await playRun(clientOf());
    expect(
      gateway.sunk.map(({ type, step_kind, event_phase, policy_stage, step_source, step_confidence, decision }) =>
        [type, step_kind, event_phase, policy_stage, step_source, step_confidence, decision].join(' '),
      ),
    ).toEqual([
      'run.started planning before pre_action runtime high allowed',
      'llm.call.started llm_call before pre_action runtime high allowed',
      'llm.call.completed llm_call after post_action runtime high skipped',
      'tool.call.requested tool_call before pre_action runtime high allowed',
      'tool.call.completed tool_call after post_action runtime high skipped',
      'step.started handoff state audit_only runtime high skipped',
      'step.failed handoff after post_action runtime high skipped',
      'tool.call.requested tool_call before pre_action runtime high allowed',
      'tool.call.failed tool_call after post_action runtime high skipped',
      'tool.call.requested tool_call before pre_action runtime high allowed',
      'tool.call.completed tool_call after post_action runtime high skipped',
      'run.completed final_answer after post_action runtime high skipped',
    ]);
    expect(gateway.sunk.every(({ source, run_id }) => source === 'alephant' && run_id === 'run-1')).toBe(true);
    expect(problems).toEqual([]);
  });

  it('causes no conflict even in strict mode, retries included', async () => {
    gateway.rules = { strict: true };
    await playRun(clientOf());
    expect(gateway.sunk).toHaveLength(12);
    expect(gateway.sunk.some(({ conflict }) => conflict)).toBe(false);
    expect(problems).toEqual([]);
  });

  it('carries session, workflow, customer and adapter in metadata, the session in its header too, and no enforcement', async () => {
    await playRun(clientOf());
    for (const { metadata } of gateway.sunk) {
      expect(metadata).toMatchObject({ adapter: 'toy', session_id: 'session-1', workflow_id: 'flow-1', customer_id: 'customer-1' });
    }
    expect(gateway.requests.every(({ headers }) => headers['alephant-session-id'] === 'session-1')).toBe(true);
    expect(new Set(gateway.requests.map(({ path }) => path))).toEqual(new Set(['/v1/agent/events']));
  });

  it('keeps usage, cost and retries readable through a redaction by substring', async () => {
    await playRun(clientOf());
    expect(gateway.sunk[2]?.metadata).toMatchObject({ model: 'gpt-x', usage: { input: 100, output: 20 } });
    expect(gateway.sunk[4]?.metadata).toMatchObject({ tool_name: 'lookup', cost: 0.002, cost_usd: '0.002' });
    expect(gateway.sunk[9]?.metadata).toMatchObject({ retry_count: 1 });
    expect(gateway.requests.map(({ body }) => body).join('')).not.toContain('_tokens');
  });

  it('uses the same step id for a retry in headers as in events', async () => {
    const run = clientOf().run({ runId: 'run-1' });
    expect(run.headers({ stepId: 's', attempt: 2 })['Alephant-Step-Id']).toBe('s~2');
    await run.authorizeModel({ stepId: 's', model: 'm', attempt: 2, carried: false });
    expect(gateway.sunk[0]?.step_id).toBe('s~2');
  });

  it('honours a 202 with allowed: false', async () => {
    gateway.rules = { deny: ({ metadata }) => (metadata['tool_name'] === 'refund' ? 'refunds need a human' : undefined) };
    const run = clientOf().run({ runId: 'run-1' });
    expect(await run.authorizeTool({ tool: 'lookup', toolCallId: 'a', stepId: 's1' })).toEqual({
      type: 'allowed',
      proceed: true,
      warnings: ['close to the limit'],
    });
    expect(await run.authorizeTool({ tool: 'refund', toolCallId: 'b', stepId: 's2' })).toEqual({
      type: 'denied',
      proceed: false,
      refusal: { code: 'policy_denied', message: 'refunds need a human', blockedBy: 'agent.tools' },
    });
  });

  it.each([
    ['has no policy service', { policyIsDown: true }],
    ['has its agent events switched off', { enabled: false }],
  ])('leaves it to the failure policy when the gateway %s', async (_title, rules) => {
    gateway.rules = rules;
    const call = { tool: 'lookup', toolCallId: 'a', stepId: 's1' };
    expect(await clientOf().run().authorizeTool(call)).toMatchObject({ type: 'unavailable', proceed: true });
    expect(
      await clientOf({ failurePolicy: { authorize: 'closed' } })
        .run()
        .authorizeTool(call),
    ).toMatchObject({ type: 'unavailable', proceed: false });
  });

  it('delivers thousands of events of many sessions within 100 events and 64 KiB a body', async () => {
    const client = clientOf();
    for (let index = 0; index < 2_000; index += 1) {
      client.record({
        type: 'step.started',
        run_id: `run-${index % 50}`,
        session_id: `session-${index % 50}`,
        sequence: index,
        metadata: { note: 'n'.repeat(index % 6_000) },
      });
    }
    expect(await client.flush()).toBe(0);
    expect(gateway.sunk).toHaveLength(2_000);
    expect(new Set(gateway.sunk.map(({ event_id }) => event_id)).size).toBe(2_000);
    for (const { headers, body } of gateway.requests) {
      const sessions = new Set(
        (JSON.parse(body) as { events: { metadata: { session_id: string } }[] }).events.map(({ metadata }) => metadata.session_id),
      );
      expect(headers['alephant-session-id']).toBe(sessions.size === 1 ? [...sessions][0] : undefined);
    }
    for (const { run_id, metadata } of gateway.sunk) expect(metadata['session_id']).toBe(run_id?.replace('run', 'session'));
  });

  it('says plainly that it has no reads', async () => {
    await expect(clientOf().readRun('run-1')).rejects.toThrow('no reads');
  });
});
