import type { z } from 'zod';
import { STEP_KINDS, STEP_SOURCES, type AgentContext, type StepKind, type StepSource } from '../attribution/context.ts';
import {
  EVENT_PHASES,
  EVENT_TRUSTS,
  EVENT_VERSION,
  POLICY_STAGES,
  STEP_CONFIDENCES,
  type AgentEvent,
  type EventPhase,
  type EventTrust,
  type PolicyStage,
  type StepConfidence,
} from './agent-event.ts';
import { EVENT_TYPES, NO_MEANING, guessEventType, isEventType, type TypeMeaning } from './event-types.ts';
import { mappedEvent, mappingOf, rawField, sourceName, type EventMapping, type MappedIdField } from './mapping.ts';
import { METADATA_FIELDS } from './metadata.ts';
import { EVENT_TEXT_MAX, eventText, firstIssue, rawAgentEvent, type RawAgentEvent } from './raw-event.ts';
import { redact, redactText } from './redact.ts';

/** What a batch, its headers and the receiver add to an event. */
export interface EventDefaults {
  readonly source?: string | undefined;
  readonly framework?: string | undefined;
  /** Header context of the request: fills ids the event leaves out. */
  readonly context?: AgentContext | undefined;
  /** RFC 3339; stands in for a missing or unreadable timestamp. */
  readonly receivedAt: string;
  /** Makes an id for an event without one. */
  readonly eventId: () => string;
  /** Registered by adapters; without them raw types are guessed from their words. */
  readonly mappings?: readonly EventMapping[] | undefined;
}

/** What the sender stated, word for word of the protocol; undefined where it stated nothing that can be read. */
export interface EventClaims {
  readonly event_phase: EventPhase | undefined;
  readonly policy_stage: PolicyStage | undefined;
  readonly step_kind: StepKind | undefined;
  readonly step_source: StepSource | undefined;
  readonly step_confidence: StepConfidence | undefined;
  readonly event_source_trust: EventTrust | undefined;
}

export type NormalizeResult =
  | {
      readonly type: 'event';
      readonly event: AgentEvent;
      /** The sender gave the event id: only then can a second copy be recognised. */
      readonly eventIdGiven: boolean;
      readonly claims: EventClaims;
      /** What the type means, whatever was claimed. */
      readonly implied: TypeMeaning;
      /** The type asks before an action, but the sender claims that nobody needs to be asked. */
      readonly dodges: boolean;
      /** Fields in which the event contradicts the request's headers; the event's word stands. */
      readonly conflicts: readonly string[];
      /** Paths of values that mean something but could not be read. */
      readonly ignored: readonly string[];
    }
  | { readonly type: 'invalid'; readonly path: string; readonly message: string };

const CONTEXT_FIELDS = [
  ['agent_id', 'agentId'],
  ['agent_name', 'agentName'],
  ['run_id', 'runId'],
  ['session_id', 'sessionId'],
  ['workflow_id', 'workflowId'],
  ['customer_id', 'customerId'],
  ['step_id', 'stepId'],
  ['parent_step_id', 'parentStepId'],
  ['tool_call_id', 'toolCallId'],
  ['handoff_id', 'handoffId'],
  ['graph_node', 'graphNode'],
  ['state_hash', 'stateHash'],
  ['input_hash', 'inputHash'],
] as const satisfies readonly (readonly [keyof AgentEvent, keyof AgentContext])[];

/** Ids a plain Alephant event has no field for: senders put them into metadata. */
const FROM_METADATA: ReadonlySet<string> = new Set(['session_id', 'workflow_id', 'customer_id']);

/** Raw fields that are kept, as metadata. Every other unknown field is dropped. */
const KEPT_RAW_FIELDS = [
  'frameworkVersion',
  'rawEventType',
  'rawEventName',
  'traceId',
  'trace_id',
  'spanId',
  'span_id',
  'executionId',
  'execution_id',
  'workflowId',
  'nodeId',
  'node_id',
  'nodeName',
  'nodeType',
  'taskId',
  'task_id',
  'toolName',
] as const;

/** Keys only the gateway writes. What a sender puts there is moved aside, so that nobody can forge a decision. */
const GATEWAY_KEYS = ['policy', 'sinkStatus', 'billing'] as const;

const SELF_CLAIMABLE_TRUST: ReadonlySet<EventTrust> = new Set(['self_reported', 'adapter_detected']);
const STATUS_WORDS: Readonly<Record<string, string>> = {
  success: 'completed',
  succeeded: 'completed',
  ok: 'completed',
  done: 'completed',
  finished: 'completed',
  error: 'failed',
  errored: 'failed',
  failure: 'failed',
  cancelled: 'aborted',
  canceled: 'aborted',
};

/**
 * Turns an event of any sender into the canonical one. Pure and idempotent: a canonical event comes back as it is.
 * Lenient as the protocol, without its traps: a canonical type is known without any source, what the sender leaves out
 * follows from the type, an ending is never taken for a new request, and what it claims is told apart from what it means.
 */
export function normalizeEvent(raw: unknown, defaults: EventDefaults): NormalizeResult {
  const parsed = rawAgentEvent.safeParse(raw);
  if (!parsed.success) return { type: 'invalid', ...firstIssue(parsed.error) };
  const sent = parsed.data;
  const ignored: string[] = [];

  const stated = sourceName(eventText(sent.source) ?? eventText(sent.framework) ?? defaults.source ?? defaults.framework ?? 'unknown');
  const mapping = mappingOf(stated, defaults.mappings ?? []);
  const source = mapping?.source ?? (stated === '' ? 'unknown' : stated);
  const reading = readType(sent, mapping);
  const claims = readClaims(sent);
  const metadata = readMetadata(sent, reading.rawType, ignored);
  const { ids, conflicts } = readIds(sent, metadata, mapping, defaults.context);
  const eventId = eventText(sent.event_id);
  const counters = readCounters(sent, defaults.context, ignored);

  const event: AgentEvent = {
    version: eventText(sent.version) ?? EVENT_VERSION,
    event_id: eventId ?? defaults.eventId(),
    type: reading.type,
    source,
    event_phase: known(claims.event_phase) ?? reading.implied.event_phase,
    policy_stage: claims.policy_stage ?? reading.implied.policy_stage,
    event_source_trust: trustOf(claims.event_source_trust, source),
    ...counters,
    ...(typeof ids['name'] === 'string' ? { name: redactText(ids['name']) } : {}),
    ...omitName(ids),
    step_kind: known(claims.step_kind) ?? reading.implied.step_kind,
    step_source: known(claims.step_source) ?? reading.stepSource,
    step_confidence: known(claims.step_confidence) ?? reading.confidence,
    timestamp: readTimestamp(sent.timestamp) ?? defaults.receivedAt,
    metadata: metadata,
  };
  const asks = event.event_phase === 'before' && event.policy_stage === 'pre_action' && isSure(event.step_confidence);
  return {
    type: 'event',
    event,
    eventIdGiven: eventId !== undefined,
    claims,
    implied: reading.implied,
    dodges: reading.implied.policy_stage === 'pre_action' && !asks,
    conflicts,
    ignored,
  };
}

/** The protocol's rule for a decision: before the action, waiting for an answer, by a sender that is sure. */
export function asksForDecision(event: AgentEvent): boolean {
  return event.event_phase === 'before' && event.policy_stage === 'pre_action' && isSure(event.step_confidence);
}

function isSure(confidence: StepConfidence): boolean {
  return confidence === 'high' || confidence === 'medium';
}

function known<Word extends string>(word: Word | undefined): Word | undefined {
  return word === 'unknown' ? undefined : word;
}

interface TypeReading {
  readonly type: string;
  readonly rawType: string | undefined;
  readonly implied: TypeMeaning;
  readonly stepSource: StepSource;
  readonly confidence: StepConfidence;
}

/** Canonical types are taken at their word, then the source's mapping, then a guess by words; else the type stays as sent. */
function readType(sent: RawAgentEvent, mapping: EventMapping | undefined): TypeReading {
  const type = eventText(sent.type) ?? eventText(sent.event) ?? 'unknown';
  if (isEventType(type)) return { type, rawType: undefined, implied: EVENT_TYPES[type], stepSource: 'runtime', confidence: 'high' };
  const row = mapping === undefined ? undefined : mappedEvent(mapping, type, sent);
  if (row !== undefined) {
    const base = EVENT_TYPES[row.type];
    const implied: TypeMeaning = {
      event_phase: row.event_phase ?? base.event_phase,
      policy_stage: row.policy_stage ?? base.policy_stage,
      step_kind: row.step_kind ?? base.step_kind,
    };
    return { type: row.type, rawType: type, implied, stepSource: 'runtime', confidence: 'high' };
  }
  const guess = guessEventType(type);
  if (guess !== undefined) {
    return { type: guess, rawType: type, implied: EVENT_TYPES[guess], stepSource: 'heuristic', confidence: 'medium' };
  }
  return { type: redactText(type), rawType: undefined, implied: NO_MEANING, stepSource: 'heuristic', confidence: 'low' };
}

function readClaims(sent: RawAgentEvent): EventClaims {
  return {
    event_phase: word(sent.event_phase, EVENT_PHASES),
    policy_stage: word(sent.policy_stage, POLICY_STAGES),
    step_kind: word(sent.step_kind, STEP_KINDS),
    step_source: word(sent.step_source, STEP_SOURCES),
    step_confidence: word(sent.step_confidence, STEP_CONFIDENCES),
    event_source_trust: word(sent.event_source_trust, EVENT_TRUSTS),
  };
}

function word<Word extends string>(value: unknown, words: readonly Word[]): Word | undefined {
  if (typeof value !== 'string') return undefined;
  const text = value.trim().toLowerCase().replaceAll('-', '_');
  return words.find((candidate) => candidate === text);
}

/** Nobody can claim to be registered or to be the gateway, and a stranger can't claim to be an adapter. */
function trustOf(claimed: EventTrust | undefined, source: string): EventTrust {
  return claimed !== undefined && source !== 'unknown' && SELF_CLAIMABLE_TRUST.has(claimed) ? claimed : 'self_reported';
}

type IdFields = { [Key in (typeof CONTEXT_FIELDS)[number][0] | 'name']?: string };

function readIds(
  sent: RawAgentEvent,
  metadata: Record<string, unknown>,
  mapping: EventMapping | undefined,
  context: AgentContext | undefined,
): { ids: IdFields; conflicts: readonly string[] } {
  const ids: IdFields = {};
  const conflicts: string[] = [];
  const name = eventText(sent.name) ?? mappedId(sent, mapping, 'name');
  if (name !== undefined) ids.name = name;
  for (const [field, contextField] of CONTEXT_FIELDS) {
    const own =
      eventText(sent[field]) ??
      (field === 'agent_name' ? eventText(sent.agentName) : undefined) ??
      mappedId(sent, mapping, field) ??
      fromMetadata(metadata, field);
    const header = context?.[contextField];
    const value = own ?? header;
    if (value !== undefined) ids[field] = value;
    if (own !== undefined && header !== undefined && own !== header) conflicts.push(field);
  }
  return { ids, conflicts };
}

function omitName({ name: _name, ...ids }: IdFields): Omit<IdFields, 'name'> {
  return ids;
}

function mappedId(sent: RawAgentEvent, mapping: EventMapping | undefined, field: string): string | undefined {
  for (const rawName of mapping?.fields?.[field as MappedIdField] ?? []) {
    const id = idText(rawField(sent, rawName, mapping?.body));
    if (id !== undefined) return id;
  }
  return undefined;
}

function fromMetadata(metadata: Record<string, unknown>, field: string): string | undefined {
  if (!FROM_METADATA.has(field) || !Object.hasOwn(metadata, field)) return undefined;
  const id = idText(metadata[field]);
  if (id !== undefined) delete metadata[field];
  return id;
}

function idText(value: unknown): string | undefined {
  if (typeof value !== 'string' && !Number.isSafeInteger(value)) return undefined;
  const text = String(value).trim();
  return text === '' || text.length > EVENT_TEXT_MAX ? undefined : text;
}

interface Counters {
  sequence?: number;
  iteration?: number;
  attempt?: number;
}

const COUNTERS = [
  ['sequence', 0, Number.MAX_SAFE_INTEGER],
  ['iteration', 0, 4_294_967_295],
  ['attempt', 1, 4_294_967_295],
] as const;

function readCounters(sent: RawAgentEvent, context: AgentContext | undefined, ignored: string[]): Counters {
  const counters: Counters = {};
  for (const [field, least, most] of COUNTERS) {
    const own = sent[field];
    const isReadable = typeof own === 'number' && Number.isInteger(own) && own >= least && own <= most;
    if (!isReadable && own !== undefined && own !== null) ignored.push(field);
    const value = isReadable ? own : field === 'sequence' ? undefined : context?.[field];
    if (value !== undefined) counters[field] = value;
  }
  return counters;
}

const RFC_3339 = /^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)$/;

function readTimestamp(value: unknown): string | undefined {
  if (typeof value !== 'string' || !RFC_3339.test(value)) return undefined;
  const at = Date.parse(value);
  return Number.isNaN(at) ? undefined : new Date(at).toISOString();
}

function readMetadata(sent: RawAgentEvent, rawType: string | undefined, ignored: string[]): Record<string, unknown> {
  const metadata = redact(sent.metadata ?? {}) as Record<string, unknown>;
  for (const key of KEPT_RAW_FIELDS) {
    const value = sent[key];
    if (value !== undefined && value !== null && typeof value !== 'object' && !Object.hasOwn(metadata, key)) metadata[key] = redact(value);
  }
  if (rawType !== undefined && !Object.hasOwn(metadata, 'raw_event_type')) metadata['raw_event_type'] = redactText(rawType);
  for (const key of GATEWAY_KEYS) moveAside(metadata, key);
  readAlephantCost(metadata);
  for (const key in METADATA_FIELDS) {
    if (Object.hasOwn(metadata, key)) readKnownKey(metadata, key as keyof typeof METADATA_FIELDS, ignored);
  }
  return metadata;
}

/** `cost` is the protocol's float; ours is a decimal string. */
function readAlephantCost(metadata: Record<string, unknown>): void {
  if (typeof metadata['cost'] !== 'number') return;
  metadata['cost_usd'] ??= metadata['cost'];
  delete metadata['cost'];
}

/** Gives a key that carries meaning its type; what can't be read is moved aside, means nothing, and is listed. */
function readKnownKey(metadata: Record<string, unknown>, key: keyof typeof METADATA_FIELDS, ignored: string[]): void {
  const value = metadata[key];
  if (value === undefined || value === null) {
    delete metadata[key];
    return;
  }
  const schema: z.ZodType = METADATA_FIELDS[key];
  const read = schema.safeParse(key === 'status' ? statusWord(value) : value);
  if (read.success) {
    metadata[key] = read.data;
    return;
  }
  ignored.push(`metadata.${key}`);
  moveAside(metadata, key);
}

function statusWord(value: unknown): unknown {
  if (typeof value !== 'string') return value;
  const text = value.trim().toLowerCase();
  return STATUS_WORDS[text] ?? text;
}

function moveAside(metadata: Record<string, unknown>, key: string): void {
  if (!Object.hasOwn(metadata, key)) return;
  let aside = `${key}_original`;
  for (let count = 1; Object.hasOwn(metadata, aside); count += 1) aside = `${key}_original_${count}`;
  metadata[aside] = metadata[key];
  delete metadata[key];
}
