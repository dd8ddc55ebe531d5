import { hash } from 'node:crypto';
import { normalizeEvent, parseEventBody, type AgentContext, type AgentEvent, type EventMapping, type Refusal } from '@runpurse/core';
import type { Subject } from '../admit/types.ts';
import type { GatewayConfig } from '../config/config.ts';
import type { Ids } from '../gateway.ts';
import { forgedClaim } from '../identify/index.ts';
import type { StoredKey } from '../store/store.ts';
import { moveClaimsAside } from './claims.ts';
import type { NotTaken } from './errors.ts';

/** Who posted: the virtual key, and what the request's headers say (`contextFromHeaders`). */
export interface IngestCaller {
  readonly key: StoredKey;
  readonly context: AgentContext;
}

/** An event that may be taken: canonical, attributed, its claims told apart from what the gateway knows. */
export interface ReadEvent {
  /** Place in the batch, for messages. */
  readonly index: number;
  readonly event: AgentEvent;
  /** The sender gave the id: a second copy is recognised by it. */
  readonly eventIdGiven: boolean;
  /** Of everything the event says, but not of its id. */
  readonly fingerprint: string;
  /** By the sender's clock; ours where it states none. */
  readonly eventAt: number;
  readonly timestampGiven: boolean;
  readonly hasRun: boolean;
  readonly subject: Subject;
  /** It claims to need no decision; the gateway decides by its type all the same. */
  readonly dodges: boolean;
  /** Fields in which the event contradicts the request's headers. */
  readonly conflicts: readonly string[];
  /** Fields that mean something and could not be read. */
  readonly ignored: readonly string[];
}

export type ReadResult = { readonly type: 'events'; readonly events: readonly ReadEvent[] } | NotTaken;

/** Fields that money hangs on: unreadable, they make the event invalid rather than cheaper. */
const MUST_BE_READABLE: ReadonlySet<string> = new Set(
  [
    'usage',
    'cost_usd',
    'revenue_usd',
    'outbound_usd',
    'fees_usd',
    'limit_usd',
    'bounds',
    'max_output_tokens',
    'input_tokens_max',
    'carried',
  ].map((key) => `metadata.${key}`),
);

/** Ids that say where in a run an event stands: headers of a batch can't say it for several events at once. */
const STEP_CONTEXT = [
  'stepId',
  'parentStepId',
  'toolCallId',
  'handoffId',
  'graphNode',
  'attempt',
  'inputHash',
  'iteration',
  'stateHash',
] as const;

/**
 * Reads a whole body or nothing of it: limits, shape, identity. Everything is checked before anything is done, so that a
 * batch with one bad event has no effect at all.
 */
export function readEvents(options: {
  readonly body: unknown;
  readonly bytes: number;
  readonly caller: IngestCaller;
  readonly limits: GatewayConfig['limits'];
  readonly mappings: readonly EventMapping[];
  readonly ids: Ids;
  readonly now: number;
}): ReadResult {
  const { body, bytes, caller, limits, mappings, ids, now } = options;
  const count = isObject(body) && Array.isArray(body['events']) ? body['events'].length : 1;
  const invalid = (path: string, message: string): NotTaken => ({
    type: 'error',
    code: 'invalid_event',
    message: `${path === '' ? 'The body' : path} ${message}. Nothing of the body was stored or charged.`,
    param: path === '' ? undefined : path,
    count,
  });
  if (bytes > limits.max_event_body_bytes) {
    return {
      type: 'error',
      code: 'payload_too_large',
      message: `The body has ${bytes} bytes and may have ${limits.max_event_body_bytes}. Nothing of it was stored or charged. Send fewer events at once.`,
      count,
    };
  }
  const parsed = parseEventBody(body);
  if (parsed.type === 'invalid') return invalid(parsed.path, parsed.message);
  if (parsed.events.length > limits.max_batch_events) {
    return {
      type: 'error',
      code: 'batch_too_large',
      message: `The batch has ${parsed.events.length} events and may have ${limits.max_batch_events}. Nothing of it was stored or charged. Send it in parts.`,
      param: 'events',
      count,
    };
  }
  const isBatch = isObject(body) && Object.hasOwn(body, 'events');
  const context = isBatch ? runContext(caller.context) : caller.context;

  const events: ReadEvent[] = [];
  for (let index = 0; index < parsed.events.length; index += 1) {
    const raw = parsed.events[index];
    const at = (field: string): string => (isBatch ? (field === '' ? `events[${index}]` : `events[${index}].${field}`) : field);
    if (!isObject(raw)) return invalid(at(''), 'must be an event object');
    const metadataBytes = sizeOf(raw['metadata'], limits.max_event_metadata_bytes);
    if (metadataBytes > limits.max_event_metadata_bytes) {
      return {
        type: 'error',
        code: 'metadata_too_large',
        message: `${at('metadata')} has ${metadataBytes} bytes and may have ${limits.max_event_metadata_bytes}. Nothing of the body was stored or charged.`,
        param: at('metadata'),
        count,
      };
    }
    const normalized = normalizeEvent(raw, {
      source: parsed.source,
      framework: parsed.framework,
      context,
      receivedAt: '',
      eventId: () => ids.next('evt'),
      mappings,
    });
    if (normalized.type === 'invalid') return invalid(at(normalized.path), normalized.message);
    const { event } = normalized;
    const unreadable = normalized.ignored.find((path) => MUST_BE_READABLE.has(path));
    if (unreadable !== undefined) return invalid(at(unreadable), 'could not be read: it must have the type the protocol gives it');
    const needsRun = moneyWithoutRun(event);
    if (needsRun !== undefined) return invalid(at('run_id'), `is missing: ${needsRun} is booked on a run`);

    const forged = forgedClaim(caller.key, {
      agentId: event.agent_id,
      memberId: text(raw['member_id'] ?? raw['memberId']),
      workspaceId: text(raw['workspace_id'] ?? raw['workspaceId']),
    });
    if (forged !== undefined)
      return { type: 'refused', refusal: at('') === '' ? forged : { ...forged, param: at(forged.param ?? '') }, count };

    const timestampGiven = event.timestamp !== '';
    const trusted = moveClaimsAside(event, raw);
    events.push({
      index,
      event: timestampGiven ? trusted : { ...trusted, timestamp: new Date(now).toISOString() },
      eventIdGiven: normalized.eventIdGiven,
      fingerprint: normalized.eventIdGiven ? hash('sha1', JSON.stringify({ ...trusted, event_id: '' }), 'base64') : '',
      eventAt: timestampGiven ? Date.parse(event.timestamp) : now,
      timestampGiven,
      hasRun: event.run_id !== undefined,
      subject: subjectOf(event, caller.key, ids),
      dodges: normalized.dodges,
      conflicts: normalized.conflicts,
      ignored: normalized.ignored,
    });
  }
  return { type: 'events', events };
}

/** Whom an event's call is charged to: the key's agent and member come before any claim. */
function subjectOf(event: AgentEvent, key: StoredKey, ids: Ids): Subject {
  const isTool = event.type.startsWith('tool.');
  return {
    workspaceId: key.workspaceId,
    keyId: key.keyId,
    runId: event.run_id ?? ids.next('run'),
    implicitRun: event.run_id === undefined,
    sessionId: event.session_id,
    workflowId: event.workflow_id,
    agentId: key.agentId ?? event.agent_id,
    agentName: event.agent_name,
    memberId: key.memberId,
    customerId: event.customer_id,
    stepId: event.step_id,
    parentStepId: event.parent_step_id,
    toolCallId: event.tool_call_id ?? (isTool ? event.step_id : undefined),
    graphNode: event.graph_node,
    stepKind: event.step_kind === 'unknown' ? undefined : event.step_kind,
    iteration: event.iteration,
    attempt: event.attempt,
    properties: event.metadata.properties,
  };
}

function runContext(context: AgentContext): AgentContext {
  const wide: { -readonly [Key in keyof AgentContext]: AgentContext[Key] } = { ...context };
  for (const field of STEP_CONTEXT) delete wide[field];
  return wide;
}

const AMOUNT_KEYS = ['revenue_usd', 'outbound_usd', 'fees_usd'] as const;

/** The amount an event books, when it names no run to book it on. */
function moneyWithoutRun(event: AgentEvent): string | undefined {
  if (event.run_id !== undefined || !(event.type === 'finance.recorded' || event.type === 'run.completed' || event.type === 'run.failed'))
    return undefined;
  return AMOUNT_KEYS.find((key) => event.metadata[key] !== undefined);
}

/** Bytes of a value as JSON; most are so short that counting characters settles it. */
function sizeOf(value: unknown, bytesMax: number): number {
  if (value === undefined || value === null) return 0;
  try {
    const json = JSON.stringify(value);
    return json.length * 3 <= bytesMax ? json.length : Buffer.byteLength(json);
  } catch {
    // Nested deeper than anyone writes by hand.
    return bytesMax + 1;
  }
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' && value.trim() !== '' ? value.trim() : undefined;
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A session named against the run's own: told before anything is done. */
export function sessionContradiction(read: ReadEvent, runSessionId: string | undefined): Refusal | undefined {
  const claimed = read.event.session_id;
  if (runSessionId === undefined || claimed === undefined || claimed === runSessionId) return undefined;
  return {
    code: 'context_conflict',
    message: `Run ${read.subject.runId} belongs to session ${runSessionId}, but this event says session ${claimed}. Nothing of the body was stored or charged. Keep one session per run, or use a new run id.`,
    param: `events[${read.index}].session_id`,
    details: { run_id: read.subject.runId },
  };
}
