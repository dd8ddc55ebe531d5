import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';

/**
 * A plain Alephant gateway's `POST /v1/agent/events` as facts §2c–2d and §3 describe it, traps included: canonical types
 * are believed from source `alephant` only, nothing is derived from them, a denial is a 202, redaction is by substring,
 * unknown fields vanish, a batch is not atomic. It stands in for the real thing in tests.
 */
export interface AlephantGateway {
  readonly url: string;
  /** What its sink got, in order. */
  readonly sunk: SunkEvent[];
  /** Requests as they came. */
  readonly requests: { readonly path: string; readonly headers: IncomingHttpHeaders; readonly body: string }[];
  rules: AlephantRules;
  close(): Promise<void>;
}

export interface AlephantRules {
  /** 409 for conflicts instead of a mark. */
  readonly strict?: boolean;
  readonly enabled?: boolean;
  readonly policyIsDown?: boolean;
  /** Reason to deny an event that the policy is asked about. */
  readonly deny?: (event: SunkEvent) => string | undefined;
}

export interface SunkEvent {
  readonly event_id: string;
  readonly type: string;
  readonly source: string;
  readonly event_phase: string;
  readonly policy_stage: string;
  readonly step_kind: string;
  readonly step_source: string;
  readonly step_confidence: string;
  readonly run_id?: string;
  readonly step_id?: string;
  readonly tool_call_id?: string;
  readonly metadata: Record<string, unknown>;
  readonly conflict: boolean;
  /** `allowed`, `denied`, or `skipped` when the policy was not asked. */
  readonly decision: string;
}

const KEY = /^Bearer vk-\S+$/;
const TEXTS = [
  'version',
  'event_id',
  'type',
  'name',
  'agent_name',
  'agent_id',
  'run_id',
  'step_id',
  'parent_step_id',
  'tool_call_id',
  'handoff_id',
  'graph_node',
  'step_kind',
  'step_source',
  'step_confidence',
  'event_phase',
  'policy_stage',
  'input_hash',
  'timestamp',
  'source',
  'framework',
];
const ALEPHANT_SOURCES = new Set(['alephant', 'alephant_agent', 'alephant-agent']);
const SECRET_PARTS = ['authorization', 'cookie', 'api_key', 'apikey', 'token', 'password', 'secret', 'payment_signature'];
const FINGERPRINT = ['parent_step_id', 'step_kind', 'graph_node', 'tool_call_id', 'attempt', 'input_hash'];
const HEADER_FIELDS = { 'alephant-agent-id': 'agent_id', 'alephant-run-id': 'run_id', 'alephant-step-id': 'step_id' } as const;
/** Events without a known source: what the gateway makes of canonical types (facts, interop gotchas). */
const MISREAD: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  'run.completed': { type: 'step.completed', event_phase: 'after', policy_stage: 'post_action', step_confidence: 'medium' },
  'tool.result.received': { type: 'tool.call.requested', event_phase: 'before', policy_stage: 'pre_action', step_confidence: 'medium' },
  'tool.call.failed': { type: 'tool.call.requested', event_phase: 'before', policy_stage: 'pre_action', step_confidence: 'medium' },
};

type Json = Record<string, unknown>;

class Refused extends Error {
  readonly status: number;
  readonly code: string;
  constructor(status: number, code: string) {
    super(code);
    this.status = status;
    this.code = code;
  }
}

export async function startAlephantGateway(): Promise<AlephantGateway> {
  const fingerprints = new Map<string, string>();
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const body = Buffer.concat(chunks).toString();
      gateway.requests.push({ path: request.url ?? '', headers: request.headers, body });
      const reply = (status: number, value: object): void => {
        response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
      };
      try {
        reply(202, handle(request.method ?? '', (request.url ?? '').split('?')[0] ?? '', request.headers, body));
      } catch (error) {
        if (!(error instanceof Refused)) throw error;
        reply(error.status, { error: { type: 'agent_gateway_error', code: error.code, message: `agent gateway: ${error.code}` } });
      }
    });
  });

  function handle(method: string, path: string, headers: IncomingHttpHeaders, body: string): object {
    if (path !== '/v1/agent/events' || gateway.rules.enabled === false) throw new Refused(404, 'disabled');
    if (method !== 'POST') throw new Refused(405, 'method_not_allowed');
    if (!KEY.test(headers.authorization ?? '')) throw new Refused(401, 'missing_auth');
    if (Buffer.byteLength(body) > 65_536) throw new Refused(413, 'payload_too_large');
    const parsed = parse(body);
    const isBatch = Array.isArray(parsed['events']);
    const events = (isBatch ? parsed['events'] : [parsed]) as Json[];
    if (events.length > 100) throw new Refused(413, 'batch_too_large');
    const decisions = events.map((event) => accept(event, isBatch ? parsed : {}, headers));
    return { accepted: events.length, rejected: 0, allowed: decisions.every(({ allowed }) => allowed), decisions };
  }

  function accept(sent: Json, batch: Json, headers: IncomingHttpHeaders) {
    for (const field of TEXTS) if (sent[field] !== undefined && typeof sent[field] !== 'string') throw new Refused(400, 'invalid_json');
    const metadata = redactBySubstring(sent['metadata'] ?? {}) as Json;
    if (Buffer.byteLength(JSON.stringify(metadata)) > 8_192) throw new Refused(413, 'metadata_too_large');
    const source = String(sent['source'] ?? sent['framework'] ?? batch['source'] ?? batch['framework'] ?? 'unknown');
    const read = ALEPHANT_SOURCES.has(source) ? sent : { type: 'unknown', step_confidence: 'low', ...MISREAD[String(sent['type'])] };
    const stated = (field: string, fallback: string): string => (typeof read[field] === 'string' ? read[field] : fallback);
    const id = (field: string): Json => (typeof sent[field] === 'string' ? { [field]: sent[field] } : {});
    const isContextConflict = Object.entries(HEADER_FIELDS).some(
      ([header, field]) => headers[header] !== undefined && sent[field] !== undefined && headers[header] !== sent[field],
    );
    const isStepConflict = conflicts(sent);
    if (gateway.rules.strict === true && isContextConflict) throw new Refused(409, 'context_conflict');
    if (gateway.rules.strict === true && isStepConflict) throw new Refused(409, 'step_conflict');

    const event: SunkEvent = {
      event_id: String(sent['event_id'] ?? 'evt_made'),
      type: stated('type', 'unknown'),
      source: ALEPHANT_SOURCES.has(source) ? 'alephant' : 'unknown',
      event_phase: stated('event_phase', 'unknown'),
      policy_stage: stated('policy_stage', 'audit_only'),
      step_kind: stated('step_kind', 'unknown'),
      step_source: stated('step_source', 'heuristic'),
      step_confidence: stated('step_confidence', 'low'),
      ...id('run_id'),
      ...id('step_id'),
      ...id('tool_call_id'),
      metadata,
      conflict: isContextConflict || isStepConflict,
      decision: 'skipped',
    };
    const asked =
      event.event_phase === 'before' && event.policy_stage === 'pre_action' && ['high', 'medium'].includes(event.step_confidence);
    if (asked && gateway.rules.policyIsDown === true) throw new Refused(502, 'policy_unavailable');
    const reason = asked ? gateway.rules.deny?.(event) : undefined;
    const decision = !asked ? 'skipped' : reason === undefined ? 'allowed' : 'denied';
    gateway.sunk.push({ ...event, decision });
    return {
      eventId: event.event_id,
      eventType: event.type,
      runId: event.run_id,
      stepId: event.step_id,
      allowed: decision !== 'denied',
      policyDecision: decision,
      policyStage: event.policy_stage,
      sinkStatus: 'sent',
      reason: decision === 'skipped' ? 'policy_skipped_audit_event' : decision === 'denied' ? 'agent_policy_denied' : '',
      blockedBy: decision === 'denied' ? 'agent.tools' : '',
      reasonMessage: reason ?? '',
      policyId: 'pol_1',
      policyScope: 'AGENT_POLICY_SCOPE_AGENT',
      violations: reason === undefined ? [] : [{ field: 'tool_name', reason: 'denied', reason_message: reason }],
      warnings: asked && reason === undefined ? [{ field: 'cost', reason_message: 'close to the limit' }] : [],
    };
  }

  function conflicts(sent: Json): boolean {
    if (typeof sent['step_id'] !== 'string') return false;
    const key = `${String(sent['agent_id'])} ${String(sent['run_id'])} ${sent['step_id']}`;
    const print = JSON.stringify(FINGERPRINT.map((field) => sent[field] ?? null));
    const before = fingerprints.get(key);
    fingerprints.set(key, before ?? print);
    return before !== undefined && before !== print;
  }

  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const gateway: AlephantGateway = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    sunk: [],
    requests: [],
    rules: {},
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
  return gateway;
}

function parse(body: string): Json {
  try {
    const value: unknown = JSON.parse(body);
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Json;
  } catch {
    // falls through
  }
  throw new Refused(400, 'invalid_json');
}

function redactBySubstring(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(redactBySubstring);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, item]) => [
      name,
      SECRET_PARTS.some((part) => name.toLowerCase().includes(part)) ? '[redacted]' : redactBySubstring(item),
    ]),
  );
}
