import { describe, expect, it } from '@jest/globals';
import { sessionShape } from '@runpurse/core';
import type { RunRow } from '../store/store.ts';
import { foldSession, summarizeRun } from './index.ts';

const AT = Date.UTC(2026, 10, 24, 12);

function row(runId: string, fields: Partial<RunRow> = {}): RunRow {
  return {
    workspaceId: 'acme',
    runId,
    keyId: 'key_1',
    sessionId: 'customer_492',
    workflowId: undefined,
    agentId: undefined,
    memberId: undefined,
    customerId: undefined,
    status: 'completed',
    statusReason: undefined,
    implicit: false,
    startedAt: AT,
    endedAt: AT + 1000,
    modelNanos: 0n,
    toolNanos: 0n,
    retryNanos: 0n,
    revenueNanos: undefined,
    outboundNanos: 0n,
    feesNanos: 0n,
    unknownCosts: 0,
    unconfirmedCosts: 0,
    unknownNames: [],
    requests: 1,
    toolCalls: 0,
    retries: 0,
    steps: 1,
    limitNanos: undefined,
    bounds: undefined,
    ...fields,
  };
}

describe('a session’s shape', () => {
  it('is the article’s: five runs of $0.182, sold for $0.10, at a loss', () => {
    const costs = [18n, 34n, 41n, 67n, 22n];
    const rows = costs.map((cost, number) =>
      row(`run_${number + 1}`, {
        startedAt: AT + number * 60_000,
        endedAt: AT + number * 60_000 + 900,
        modelNanos: cost * 1_000_000n,
        ...(number === 4 ? { revenueNanos: 100_000_000n } : {}),
      }),
    );
    const session = foldSession(rows.toReversed(), { budgets: [] });
    expect(session).toMatchObject({
      session_id: 'customer_492',
      cost: { model_usd: '0.182', total_usd: '0.182' },
      revenue_usd: '0.1',
      margin: { known_usd: '-0.082', percent: '-82.0' },
      counts: { runs: 5, requests: 5, steps: 5 },
      started_at: '2026-11-24T12:00:00.000Z',
      ended_at: '2026-11-24T12:04:00.900Z',
    });
    expect(session?.runs.map((run) => run.run_id)).toEqual(['run_1', 'run_2', 'run_3', 'run_4', 'run_5']);
    expect(session?.runs[0]).toEqual(summarizeRun(row('run_1', { startedAt: AT, endedAt: AT + 900, modelNanos: 18_000_000n })));
    expect(sessionShape.parse(session)).toEqual(session);
  });

  it('has not ended while one of its runs goes on', () => {
    expect(foldSession([row('a'), row('b', { status: 'running', endedAt: undefined })], { budgets: [] })?.ended_at).toBeNull();
  });

  it('has the agent, workflow and customer that its first runs state', () => {
    const rows = [
      row('b', { startedAt: AT + 5, customerId: 'late' }),
      row('a', { agentId: 'support' }),
      row('c', { startedAt: AT + 9, agentId: 'other', customerId: 'later', workflowId: 'w' }),
    ];
    expect(foldSession(rows, { budgets: [] })).toMatchObject({ agent_id: 'support', customer_id: 'late', workflow_id: 'w' });
  });

  it('names every unknown of its runs once', () => {
    expect(
      foldSession([row('a', { unknownNames: ['tool:x', 'model:y'] }), row('b', { unknownNames: ['tool:x'] })], { budgets: [] })?.margin
        .unknown,
    ).toEqual(['model:y', 'tool:x']);
  });

  it('is none without runs', () => {
    expect(foldSession([], { budgets: [] })).toBeUndefined();
  });
});
