import type { Refusal } from '@runpurse/core';
import type { JsonObject } from '../wires/wire.ts';
import type { ReadEvent } from './read-events.ts';

/** What was found about an event. `skipped`: nobody had to be asked. */
export type Verdict =
  | { readonly type: 'allowed'; readonly audits: readonly string[] }
  | { readonly type: 'denied'; readonly refusal: Refusal }
  | { readonly type: 'skipped' };

export const SKIPPED: Verdict = { type: 'skipped' };
export const ALLOWED: Verdict = { type: 'allowed', audits: [] };

/** A problem in the reply, in the protocol's spelling. */
interface Issue {
  readonly field: string;
  readonly reason: string;
  readonly blocked_by?: string;
  readonly reason_message: string;
  readonly actual_value?: string;
  readonly expected_value?: string;
  readonly unit?: string;
}

const POLICY_WORD = { allowed: 'allowed', denied: 'denied', skipped: 'skipped' } as const;

/**
 * The reply's row about one event (facts §2d). `reason` of a denial is the refusal's code, so that a client which gets a
 * 202 can tell a budget from a policy.
 */
export function decisionRow(
  read: ReadEvent,
  verdict: Verdict,
  options: { readonly hasPolicy: boolean; readonly duplicate: boolean },
): JsonObject {
  const { event } = read;
  const refusal = verdict.type === 'denied' ? verdict.refusal : undefined;
  const rule = text(refusal?.details?.['rule']);
  return {
    eventId: event.event_id,
    eventType: event.type,
    runId: event.run_id ?? null,
    stepId: event.step_id ?? null,
    allowed: refusal === undefined,
    policyDecision: POLICY_WORD[verdict.type],
    policyStage: event.policy_stage,
    sinkStatus: 'sent',
    reason:
      refusal?.code ??
      (verdict.type === 'skipped' ? 'policy_skipped_audit_event' : options.hasPolicy ? 'policy_allowed' : 'policy_disabled_allowed'),
    blockedBy: refusal?.blockedBy ?? null,
    routeHint: null,
    snapshotRevision: text(refusal?.details?.['rule_revision']) ?? null,
    reasonMessage: refusal?.message ?? null,
    policyId: rule ?? null,
    policyScope: rule === undefined ? 'AGENT_POLICY_SCOPE_NONE' : 'AGENT_POLICY_SCOPE_WORKSPACE',
    violations: refusal === undefined ? [] : [violation(refusal)],
    warnings: warnings(read, verdict),
    ...(options.duplicate ? { duplicate: true } : {}),
  };
}

function violation(refusal: Refusal): Issue {
  const { details = {} } = refusal;
  const actual = text(details['needed_usd']) ?? text(details['reached']);
  const expected = text(details['remaining_usd']) ?? text(details['limit']);
  return {
    field: refusal.param ?? (refusal.code === 'budget_exceeded' ? 'cost' : 'action'),
    reason: refusal.code,
    ...(refusal.blockedBy === undefined ? {} : { blocked_by: refusal.blockedBy }),
    reason_message: refusal.message,
    ...(actual === undefined ? {} : { actual_value: actual }),
    ...(expected === undefined ? {} : { expected_value: expected }),
    ...(details['needed_usd'] === undefined ? {} : { unit: 'usd' }),
  };
}

function warnings(read: ReadEvent, verdict: Verdict): readonly Issue[] {
  const issues: Issue[] = [];
  if (verdict.type === 'allowed') {
    for (const rule of verdict.audits)
      issues.push({ field: 'policy', reason: 'audited', blocked_by: rule, reason_message: `Rule "${rule}" watches this` });
  }
  for (const field of read.conflicts)
    issues.push({
      field,
      reason: 'context_conflict',
      reason_message: `${field} differs from the request's headers; the event's own word stands`,
    });
  for (const field of read.ignored)
    issues.push({ field, reason: 'unreadable', reason_message: `${field} could not be read and means nothing` });
  return issues;
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' || typeof value === 'number' ? String(value) : undefined;
}
