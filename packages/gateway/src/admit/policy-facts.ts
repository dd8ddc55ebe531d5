import type { Nanos } from '@runpurse/core';
import type { PolicyFacts } from '../policy/policy.ts';
import type { RunState } from './run-state.ts';
import type { CallRequest, Subject } from './types.ts';

const NANOS_PER_USD = 1e9;

/** What policy rules see of a call. Dollars become doubles here, for comparisons in conditions only. */
export function policyFacts(options: {
  readonly call: CallRequest;
  readonly subject: Subject;
  readonly run: RunState;
  readonly attempt: number;
  /** Asked only when a rule reads it: it may have to be read from the ledger. */
  readonly sessionSpent: () => Nanos;
  readonly now: number;
}): PolicyFacts {
  const { call, subject, run, attempt, sessionSpent, now } = options;
  const date = new Date(now);
  const isModel = call.kind === 'model';
  const highest = call.hold === undefined ? null : Number(call.hold) / NANOS_PER_USD;
  return {
    agent: { id: subject.agentId ?? null, name: subject.agentName ?? null },
    run: { id: subject.implicitRun ? null : subject.runId, status: run.status, runtime_s: (now - run.startedAt) / 1000 },
    session: { id: subject.sessionId ?? null },
    workflow: { id: subject.workflowId ?? null },
    tool: { name: isModel ? null : call.name, price_usd: isModel ? null : highest },
    model: { name: isModel ? call.name : null },
    provider: { name: call.provider ?? null },
    endpoint: { id: null },
    member: { id: subject.memberId ?? null },
    workspace: { id: subject.workspaceId },
    customer: { id: subject.customerId ?? null },
    cost: {
      request_max_usd: highest,
      run_usd: Number(run.spent) / NANOS_PER_USD,
      get session_usd() {
        return Number(sessionSpent()) / NANOS_PER_USD;
      },
    },
    counts: {
      requests: run.counts.requests,
      tool_calls: run.counts.toolCalls,
      retries: run.counts.retries,
      steps: run.steps?.size ?? 0,
      attempt,
    },
    time: { hour: date.getUTCHours(), weekday: date.getUTCDay(), iso: date.toISOString() },
  };
}
