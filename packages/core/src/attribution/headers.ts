import { redactText } from '../events/redact.ts';
import { STEP_KINDS, STEP_SOURCES, type AgentContext } from './context.ts';
import { usableProperties } from './properties.ts';

/** Longest header value that is read (the Alephant protocol's `max-header-value-bytes`); longer ones are ignored. */
export const HEADER_VALUE_BYTES_MAX = 256;

/** Request headers as Node hands them over: lower-case names, repeated ones joined or as an array. */
export type IncomingHeaders = Readonly<Record<string, string | readonly string[] | undefined>>;

/** What the headers say, and which of ours could not be used (empty, too long, not a number, contradicting). */
export interface HeaderContext {
  readonly context: AgentContext;
  readonly ignored: readonly string[];
}

type Field = Exclude<keyof AgentContext, 'properties'>;
type Draft = { -readonly [Key in keyof AgentContext]: AgentContext[Key] };

/** Header name behind `Alephant-` or `runpurse-`, and its field. The order is the order in which headers are written. */
const FIELD_BY_SUFFIX: Readonly<Record<string, Field>> = {
  'Agent-Id': 'agentId',
  'Agent-Name': 'agentName',
  'Run-Id': 'runId',
  'Session-Id': 'sessionId',
  'Session-Name': 'sessionName',
  'Session-Path': 'sessionPath',
  'Workflow-Id': 'workflowId',
  'Customer-Id': 'customerId',
  'Step-Id': 'stepId',
  'Parent-Step-Id': 'parentStepId',
  'Tool-Call-Id': 'toolCallId',
  'Handoff-Id': 'handoffId',
  'Graph-Node': 'graphNode',
  Iteration: 'iteration',
  'State-Hash': 'stateHash',
  'Step-Kind': 'stepKind',
  'Step-Source': 'stepSource',
  'Step-Attempt': 'attempt',
  'Step-Input-Hash': 'inputHash',
};

const ALEPHANT = 'alephant-';
const RUNPURSE = 'runpurse-';
const X_ALEPHANT = 'x-alephant-';
const X_RUNPURSE = 'x-runpurse-';
const HELICONE = 'helicone-';
const PROPERTY = 'property-';
/** Both spellings have prefixes of one length, so what follows is cut off at one place. */
const PREFIX_LENGTH = ALEPHANT.length;

const FIELD_BY_LOWER_SUFFIX: ReadonlyMap<string, Field> = new Map(
  Object.entries(FIELD_BY_SUFFIX).map(([suffix, field]) => [suffix.toLowerCase(), field]),
);

/** Ours or another gateway's attribution by exact name. W3C trace context names the run when nothing better does, so it goes too. */
const CONTEXT_NAMES: ReadonlySet<string> = new Set([
  'x-litellm-trace-id',
  'traceparent',
  'tracestate',
  'collector-step-id',
  'collector-parent-step-id',
  'collector-retry-count',
]);

/**
 * True for every header that speaks to a gateway about attribution: those are stripped before the provider sees the
 * call. `name` must be lower-case. Called for each header of each request, so it allocates nothing.
 */
export function isContextHeader(name: string): boolean {
  switch (name.charCodeAt(0)) {
    case 97: // a
      return name.startsWith(ALEPHANT);
    case 114: // r
      return name.startsWith(RUNPURSE);
    case 104: // h
      return name.startsWith(HELICONE);
    case 120: // x
      return name.startsWith(X_ALEPHANT) || name.startsWith(X_RUNPURSE) || CONTEXT_NAMES.has(name);
    case 116: // t
    case 99: // c
      return CONTEXT_NAMES.has(name);
    default:
      return false;
  }
}

const TRACEPARENT = /^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?$/;
const NO_TRACE = '0'.repeat(32);
const UINT32 = /^\d{1,10}$/;
const UINT32_MAX = 4_294_967_295;
/** RFC 8187's mark for text that a header can't hold as it is. */
const ENCODED = "UTF-8''";
const PLAIN = /^[\x20-\x7e]*$/;

const KINDS: ReadonlySet<string> = new Set(STEP_KINDS);
const SOURCES: ReadonlySet<string> = new Set(STEP_SOURCES);

function uint32(text: string, least: number): number | undefined {
  if (!UINT32.test(text)) return undefined;
  const value = Number(text);
  return value >= least && value <= UINT32_MAX ? value : undefined;
}

function enumText(text: string, values: ReadonlySet<string>): string {
  const word = text.toLowerCase().replaceAll('-', '_');
  return values.has(word) ? word : 'unknown';
}

const CONTROL = /\p{Cc}/u;

/** An id by which spend is looked up, on one line as in clients: dropped, the call would stand under no cap. */
function spendId(text: string): string | undefined {
  if (!CONTROL.test(text)) return text;
  const line = text.replace(/\p{Cc}+/gu, ' ').trim();
  return line === '' ? undefined : line;
}

/** Reads a field's text; undefined when it can't be used. Fields not listed are text as it is. */
const READERS: { readonly [Key in Field]?: (text: string) => AgentContext[Key] } = {
  runId: spendId,
  sessionId: spendId,
  workflowId: spendId,
  agentId: spendId,
  customerId: spendId,
  iteration: (text) => uint32(text, 0),
  attempt: (text) => uint32(text, 1),
  stepKind: (text) => enumText(text, KINDS) as AgentContext['stepKind'],
  stepSource: (text) => enumText(text, SOURCES) as AgentContext['stepSource'],
};

function headerText(value: string | readonly string[] | undefined): string | undefined {
  const raw = typeof value === 'string' ? value : value?.[0];
  if (raw === undefined) return undefined;
  const text = raw.trim();
  if (text === '') return undefined;
  if (!text.startsWith(ENCODED)) return text.length > HEADER_VALUE_BYTES_MAX ? undefined : fromBytes(text);
  const encoded = text.slice(ENCODED.length);
  if (encoded.length > 3 * HEADER_VALUE_BYTES_MAX) return undefined;
  try {
    const decoded = decodeURIComponent(encoded).trim();
    return decoded === '' ? undefined : decoded;
  } catch {
    return undefined;
  }
}

const BEYOND_ASCII = /[\x80-\xff]/;

/** HTTP servers hand on a header's bytes as Latin-1; curl, Go and others send UTF-8, which an event's JSON spells as text. */
function fromBytes(text: string): string {
  if (!BEYOND_ASCII.test(text)) return text;
  try {
    return decodeURIComponent(text.replace(/[%\x80-\xff]/g, (byte) => `%${byte.charCodeAt(0).toString(16)}`));
  } catch {
    // Not UTF-8: Latin-1 indeed.
    return text;
  }
}

/**
 * What a request's headers say about who and what it belongs to. `Alephant-*` wins over `runpurse-*` for the same field;
 * other gateways' ids (`Helicone-Session-Id`, `x-litellm-trace-id`, `traceparent`) fill in only where neither spoke.
 * Names must be lower-case. What can't be used is listed, never an error: attribution doesn't break a call.
 */
export function contextFromHeaders(headers: IncomingHeaders): HeaderContext {
  const context: Draft = {};
  const ignored: string[] = [];
  let properties: [string, string][] | undefined;
  let seconds: string[] | undefined;

  for (const name in headers) {
    const first = name.charCodeAt(0);
    if (first === 97 && name.startsWith(ALEPHANT)) read(name);
    else if (first === 114 && name.startsWith(RUNPURSE)) (seconds ??= []).push(name);
  }
  if (seconds !== undefined) for (const name of seconds) read(name);
  if (properties !== undefined) context.properties = Object.fromEntries(properties);
  readForeign(headers, context);
  return { context, ignored };

  function read(name: string): void {
    const suffix = name.slice(PREFIX_LENGTH);
    const field = FIELD_BY_LOWER_SUFFIX.get(suffix);
    if (field === undefined && !suffix.startsWith(PROPERTY)) return;
    const text = headerText(headers[name]);
    const reader = field === undefined ? undefined : READERS[field];
    const value = text === undefined || reader === undefined ? text : reader(text);
    if (value === undefined) {
      ignored.push(name);
    } else if (field === undefined) {
      const property = suffix.slice(PROPERTY.length);
      if (property === '' || properties?.some(([known]) => known === property) === true) ignored.push(name);
      else (properties ??= []).push([property, String(value)]);
    } else if (context[field] === undefined) {
      (context as Record<Field, unknown>)[field] = value;
    } else if (context[field] !== value) {
      ignored.push(name);
    }
  }
}

function readForeign(headers: IncomingHeaders, context: Draft): void {
  if (context.agentId === undefined && 'x-alephant-agent' in headers) context.agentId = headerText(headers['x-alephant-agent']);
  if (context.sessionId === undefined && 'helicone-session-id' in headers) context.sessionId = headerText(headers['helicone-session-id']);
  if (context.runId !== undefined && context.sessionId !== undefined) return;
  const trace = headerText(headers['x-litellm-trace-id']);
  if (trace !== undefined) {
    context.sessionId ??= trace;
    context.runId ??= trace;
  }
  if (context.runId !== undefined) return;
  const traceId = TRACEPARENT.exec(headerText(headers['traceparent']) ?? '')?.[1];
  if (traceId !== undefined && traceId !== NO_TRACE) context.runId = traceId;
}

/**
 * The headers that carry a context on a model call. Text outside printable ASCII is written in RFC 8187's encoding, so
 * that a name in any script neither breaks the host's HTTP client nor is lost; what can't fit is left out.
 */
export function contextToHeaders(context: AgentContext): Record<string, string> {
  const headers: Record<string, string> = {};
  for (const suffix in FIELD_BY_SUFFIX) {
    const field = FIELD_BY_SUFFIX[suffix];
    const value = field === undefined ? undefined : context[field];
    if (value !== undefined) write(headers, `Alephant-${suffix}`, String(value));
  }
  for (const [property, value] of Object.entries(usableProperties(context.properties) ?? {})) {
    if (HEADER_TOKEN.test(property)) write(headers, `Alephant-Property-${property}`, redactText(value));
  }
  return headers;
}

const HEADER_TOKEN = /^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$/;

function write(headers: Record<string, string>, name: string, value: string): void {
  const text = value.trim();
  if (text === '') return;
  const written = PLAIN.test(text) && !text.startsWith(ENCODED) ? text : ENCODED + encodeURIComponent(text.toWellFormed());
  const longest = written === text ? HEADER_VALUE_BYTES_MAX : ENCODED.length + 3 * HEADER_VALUE_BYTES_MAX;
  if (written.length <= longest) headers[name] = written;
}
