export { formatUsd, parseUsd, type Nanos } from './money/nanos.ts';
export {
  HEADER_VALUE_BYTES_MAX,
  contextFromHeaders,
  contextToHeaders,
  isContextHeader,
  type HeaderContext,
  type IncomingHeaders,
} from './attribution/headers.ts';
export { STEP_KINDS, STEP_SOURCES, type AgentContext, type StepKind, type StepSource } from './attribution/context.ts';
export {
  EVENT_PHASES,
  EVENT_TRUSTS,
  EVENT_VERSION,
  POLICY_STAGES,
  STEP_CONFIDENCES,
  type AgentEvent,
  type AgentEventInput,
  type EventPhase,
  type EventTrust,
  type PolicyStage,
  type StepConfidence,
} from './events/agent-event.ts';
export { EVENT_TYPES, isEventType, type EventType, type TypeMeaning } from './events/event-types.ts';
export {
  MAPPED_ID_FIELDS,
  mappingOf,
  sourceName,
  type EventMapping,
  type MappedEvent,
  type MappedFields,
  type MappedIdField,
  type MappedUsage,
} from './events/mapping.ts';
export { translateEvent, type Translation } from './events/translate-event.ts';
export { asksForDecision, normalizeEvent, type EventClaims, type EventDefaults, type NormalizeResult } from './events/normalize.ts';
export { EVENT_LIMITS, EVENT_TEXT_MAX, parseEventBody, rawAgentEvent, type EventBody, type RawAgentEvent } from './events/raw-event.ts';
export { REDACTED, isSecretName, redact, redactText } from './events/redact.ts';
export {
  EVENT_STATUSES,
  METADATA_FIELDS,
  reportedBounds,
  reportedUsage,
  type EventMetadata,
  type ReportedBounds,
  type ReportedUsage,
} from './events/metadata.ts';
export { usageOfTotals, type UsageTotals } from './events/usage-of-totals.ts';
export { REFUSALS, type Refusal, type RefusalCode } from './decisions/refusal.ts';
export { refusalOf } from './decisions/refusal-of.ts';
export { ALLOWED, orThrow, type Decision } from './decisions/decision.ts';
export { GatewayUnavailableError, RefusedError, RunpurseError } from './errors/runpurse-error.ts';
export { createGatewayClient } from './client/gateway-client.ts';
export { isUntold, UNTOLD_ENDS } from './shapes/untold.ts';
export { isAtGateway } from './client/is-at-gateway.ts';
export type { Ids, Timers, Transport, TransportRequest, TransportResponse } from './client/transport.ts';
export type { Dialect, DrainedRequest, FailurePolicy, GatewayClient, GatewayClientOptions, Problem } from './client/client.ts';
export { usableId } from './run/usable-id.ts';
export type {
  CallPlace,
  ModelCall,
  ModelResult,
  Run,
  RunBounds,
  RunEnd,
  RunFinance,
  RunOptions,
  Step,
  StepStart,
  Told,
  ToolCall,
  ToolResult,
} from './run/run.ts';
export { runEndOf } from './run/run-end.ts';
export { errorText } from './errors/error-text.ts';
export {
  RUN_STATUSES,
  budgetStateShape,
  costShape,
  countsShape,
  decisionShape,
  marginShape,
  requestShape,
  runShape,
  runSummaryShape,
  sessionShape,
  stepShape,
  toolShape,
  usageShape,
  usd,
  type BudgetStateShape,
  type DecisionShape,
  type RequestShape,
  type RunShape,
  type RunStatus,
  type RunSummaryShape,
  type SessionShape,
  type StepShape,
  type ToolShape,
  type UsageShape,
} from './shapes/run.ts';
export { verifyWebhook, type ReceivedWebhook, type WebhookVerdict } from './webhook/verify-webhook.ts';
