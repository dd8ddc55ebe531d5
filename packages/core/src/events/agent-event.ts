import type { StepKind, StepSource } from '../attribution/context.ts';
import type { EventMetadata } from './metadata.ts';

export const EVENT_PHASES = ['before', 'after', 'state', 'unknown'] as const;
/** When the event was sent: before the action, after it, or about a state. */
export type EventPhase = (typeof EVENT_PHASES)[number];

export const POLICY_STAGES = ['pre_action', 'post_action', 'audit_only'] as const;
/** `pre_action`: the sender waits for a decision. */
export type PolicyStage = (typeof POLICY_STAGES)[number];

export const STEP_CONFIDENCES = ['high', 'medium', 'low', 'unknown'] as const;
/** How sure the sender is of the step's kind. */
export type StepConfidence = (typeof STEP_CONFIDENCES)[number];

export const EVENT_TRUSTS = ['self_reported', 'adapter_detected', 'gateway_observed', 'registered', 'gateway_executed'] as const;
export type EventTrust = (typeof EVENT_TRUSTS)[number];

/** Version of the event format (Alephant protocol, facts §2c). */
export const EVENT_VERSION = '2026-05-27';

/**
 * One event on the wire and in the log, canonical: what `normalizeEvent` returns and the client sends. Field names are the
 * protocol's; `session_id`, `workflow_id` and `customer_id` are ours. Absent ids are left out, never empty.
 */
export interface AgentEvent {
  readonly version: string;
  /** The key of idempotency: an event sent twice counts once. */
  readonly event_id: string;
  /** One of EVENT_TYPES, or the sender's own word when nothing is known about it. */
  readonly type: string;
  /** Who reported: a framework's name as its adapter states it, or `unknown`. */
  readonly source: string;
  readonly event_phase: EventPhase;
  readonly policy_stage: PolicyStage;
  readonly event_source_trust: EventTrust;
  /** Order within the run by the sender's count. */
  readonly sequence?: number;
  readonly name?: string;
  readonly agent_id?: string;
  readonly agent_name?: string;
  readonly run_id?: string;
  readonly session_id?: string;
  readonly workflow_id?: string;
  readonly customer_id?: string;
  readonly step_id?: string;
  readonly parent_step_id?: string;
  readonly tool_call_id?: string;
  readonly handoff_id?: string;
  readonly graph_node?: string;
  readonly iteration?: number;
  readonly state_hash?: string;
  readonly step_kind: StepKind;
  readonly step_source: StepSource;
  readonly step_confidence: StepConfidence;
  readonly attempt?: number;
  readonly input_hash?: string;
  /** RFC 3339, UTC; empty when its sender leaves it to the gateway. */
  readonly timestamp: string;
  readonly metadata: EventMetadata;
}

/** An event as handed to the client: a type and whatever is known; the rest is filled in. */
export type AgentEventInput = { readonly type: string; readonly metadata?: EventMetadata | undefined } & {
  readonly [Field in Exclude<keyof AgentEvent, 'type' | 'metadata'>]?: AgentEvent[Field] | undefined;
};
