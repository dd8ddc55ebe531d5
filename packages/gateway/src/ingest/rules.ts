import type { Refusal } from '@runpurse/core';
import type { LoggedDecision, RunView } from '../admit/types.ts';
import { auditsOf, decisionsOf } from '../policy/index.ts';
import type { PolicyPhase } from '../policy/policy.ts';
import { eventFacts } from './facts.ts';
import type { ReadEvent } from './read-events.ts';
import type { ReportedCall } from './reported-call.ts';
import type { Taking } from './taking.ts';
import { SKIPPED, type Verdict } from './verdict.ts';

/**
 * Asks the rules of a phase, outside of admission, and logs what they found when `log` is set.
 * @param violated says what was done against a rule, where the call was made already
 */
export function policyVerdict(
  taking: Taking,
  phase: PolicyPhase,
  call: ReportedCall | undefined,
  log: boolean,
  violated?: (rule: string, reason: string) => string,
): Verdict {
  const { gateway, read, run } = taking;
  const { policy, admission } = gateway;
  if (!policy.hasRules(phase)) return SKIPPED;
  const found = policy.evaluate(phase, eventFacts({ subject: read.subject, run, call, store: gateway.store, now: gateway.clock.now() }));
  const refusal: Refusal | undefined =
    found.type === 'denied'
      ? {
          code: 'policy_denied',
          message: (violated ?? refusedBy(taking))(found.by.rule, found.by.reason),
          blockedBy: found.by.rule,
          details: { rule: found.by.rule, rule_revision: found.by.revision },
        }
      : undefined;
  if (log) {
    for (const { match, outcome } of decisionsOf(found)) {
      admission.logDecision({
        subject: loggedSubject(read),
        phase,
        outcome,
        ...(refusal === undefined ? {} : { code: refusal.code }),
        reason: refusal?.message ?? match.reason,
        rule: match.rule,
        ruleRevision: match.revision,
        about: call?.name ?? read.event.name,
        ...(violated !== undefined && outcome === 'denied' ? { violation: true as const } : {}),
      });
    }
  }
  return refusal === undefined ? { type: 'allowed', audits: auditsOf(found) } : { type: 'denied', refusal };
}

const refusedBy =
  ({ read }: Taking) =>
  (rule: string, reason: string): string =>
    `Policy rule "${rule}" refused ${read.event.type}${read.hasRun ? ` of run ${read.subject.runId}` : ''}: ${reason}. To go on: use what the policy allows, or ask its owner to change rule "${rule}".`;

/** Writes a denial into the run's log; a violation is one of a call that was made all the same. */
export function logDenial(taking: Taking, phase: PolicyPhase, refusal: Refusal, about: string | undefined, violation?: true): void {
  const revision = refusal.details?.['rule_revision'];
  taking.gateway.admission.logDecision({
    subject: loggedSubject(taking.read),
    phase,
    outcome: 'denied',
    code: refusal.code,
    reason: refusal.message,
    rule: refusal.blockedBy,
    ruleRevision: typeof revision === 'string' ? revision : undefined,
    about,
    violation,
  });
}

/** A run that was made up for one event is not one to log under. */
function loggedSubject(read: ReadEvent): LoggedDecision['subject'] {
  const { runId, ...subject } = read.subject;
  return read.hasRun ? { ...subject, runId } : subject;
}

/** What a run that is not running answers to whoever asks to go on. */
export function stateRefusal(run: RunView): Refusal | undefined {
  if (run.status === 'running') return undefined;
  if (run.status === 'paused') {
    return {
      code: 'run_paused',
      message: `Run ${run.runId} is paused. To go on: POST /v1/runs/${run.runId}/resume.`,
      details: { run_id: run.runId, run_status: run.status },
    };
  }
  return {
    code: 'run_ended',
    message: `Run ${run.runId} has ended: it is ${run.status}. To go on: start a new run with another id.`,
    details: { run_id: run.runId, run_status: run.status },
  };
}
