import type { RunView, Subject } from '../admit/types.ts';
import type { PolicyFacts } from '../policy/policy.ts';
import type { Store } from '../store/store.ts';
import type { ReportedCall } from './reported-call.ts';

const NANOS_PER_USD = 1e9;

/** What policy rules see of an event that admission does not decide: a run update, or a call that was made without asking. */
export function eventFacts(options: {
  readonly subject: Subject;
  readonly run: RunView | undefined;
  readonly call: ReportedCall | undefined;
  readonly store: Pick<Store, 'peekSpent'>;
  readonly now: number;
}): PolicyFacts {
  const { subject, run, call, store, now } = options;
  const date = new Date(now);
  const sessionId = subject.sessionId ?? run?.sessionId;
  const isModel = call?.kind === 'model';
  return {
    agent: { id: subject.agentId ?? run?.agentId ?? null, name: subject.agentName ?? null },
    run: {
      id: subject.implicitRun ? null : subject.runId,
      status: run?.status ?? null,
      runtime_s: run === undefined ? 0 : (now - run.startedAt) / 1000,
    },
    session: { id: sessionId ?? null },
    workflow: { id: subject.workflowId ?? run?.workflowId ?? null },
    tool: { name: isModel ? null : (call?.name ?? null), price_usd: null },
    model: { name: isModel ? (call.name ?? null) : null },
    provider: { name: call?.provider ?? null },
    endpoint: { id: null },
    member: { id: subject.memberId ?? null },
    workspace: { id: subject.workspaceId },
    customer: { id: subject.customerId ?? run?.customerId ?? null },
    cost: {
      request_max_usd: null,
      run_usd: run === undefined ? 0 : Number(run.spent) / NANOS_PER_USD,
      session_usd: sessionId === undefined ? 0 : Number(store.peekSpent(subject.workspaceId, 'session', sessionId).nanos) / NANOS_PER_USD,
    },
    counts: {
      requests: run?.counts.requests ?? 0,
      tool_calls: run?.counts.toolCalls ?? 0,
      retries: run?.counts.retries ?? 0,
      steps: run?.counts.steps ?? 0,
      attempt: subject.attempt ?? 1,
    },
    time: { hour: date.getUTCHours(), weekday: date.getUTCDay(), iso: date.toISOString() },
  };
}
