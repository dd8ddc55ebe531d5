import type { EventEntry } from '../store/entry.ts';
import type { ReadEvent } from './read-events.ts';

/** The event as the ledger keeps it: where it belongs in columns, the rest of it beside. */
export function eventEntry(
  read: ReadEvent,
  options: { readonly at: number; readonly reservationId: string | undefined; readonly observed: boolean; readonly begun: boolean },
): EventEntry {
  const { event, subject } = read;
  const { at, reservationId, observed, begun } = options;
  return {
    type: 'event',
    at,
    eventAt: read.eventAt,
    eventId: event.event_id,
    ...(read.eventIdGiven ? { dedupe: true as const } : {}),
    eventType: event.type,
    source: event.source,
    workspaceId: subject.workspaceId,
    keyId: subject.keyId,
    ...(read.hasRun && begun ? { runId: subject.runId } : {}),
    ...(subject.sessionId === undefined ? {} : { sessionId: subject.sessionId }),
    ...(subject.workflowId === undefined ? {} : { workflowId: subject.workflowId }),
    ...(subject.agentId === undefined ? {} : { agentId: subject.agentId }),
    ...(subject.memberId === undefined ? {} : { memberId: subject.memberId }),
    ...(subject.customerId === undefined ? {} : { customerId: subject.customerId }),
    ...(subject.stepId === undefined ? {} : { stepId: subject.stepId }),
    ...(subject.parentStepId === undefined ? {} : { parentStepId: subject.parentStepId }),
    ...(subject.toolCallId === undefined ? {} : { toolCallId: subject.toolCallId }),
    ...(subject.graphNode === undefined ? {} : { graphNode: subject.graphNode }),
    ...(event.attempt === undefined ? {} : { attempt: event.attempt }),
    ...(reservationId === undefined ? {} : { reservationId }),
    event: {
      // A run whose begin was refused does not exist: its event is kept, but not under it.
      ...(read.hasRun && !begun ? { run_id: subject.runId } : {}),
      ...(event.name === undefined ? {} : { name: event.name }),
      ...(event.agent_name === undefined ? {} : { agent_name: event.agent_name }),
      step_kind: event.step_kind,
      step_source: event.step_source,
      step_confidence: event.step_confidence,
      event_phase: event.event_phase,
      policy_stage: event.policy_stage,
      // Seen by the gateway itself, when it carried the call that this event speaks of.
      event_source_trust: observed ? 'gateway_observed' : event.event_source_trust,
      ...(event.sequence === undefined ? {} : { sequence: event.sequence }),
      ...(event.iteration === undefined ? {} : { iteration: event.iteration }),
      ...(event.handoff_id === undefined ? {} : { handoff_id: event.handoff_id }),
      ...(event.state_hash === undefined ? {} : { state_hash: event.state_hash }),
      ...(event.input_hash === undefined ? {} : { input_hash: event.input_hash }),
      ...(read.dodges ? { policy_claim_ignored: true } : {}),
      ...(read.conflicts.length > 0 ? { context_conflict: true } : {}),
      ...(read.eventIdGiven ? { fingerprint: read.fingerprint } : {}),
      metadata: event.metadata,
    },
  };
}
