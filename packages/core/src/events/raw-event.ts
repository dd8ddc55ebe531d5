import { z } from 'zod';

/** Longest id or name an event may carry, in characters. */
export const EVENT_TEXT_MAX = 256;

/** An id or name: text, or a whole number as some platforms count. Blank is the same as absent. */
const text = z.union([z.string().max(EVENT_TEXT_MAX, `must be at most ${EVENT_TEXT_MAX} characters`), z.number().int()]).nullish();

/** An id by which spend is looked up. Control characters and halves of characters survive neither a URL nor a database. */
const spendId = text.refine(
  (value) => typeof value !== 'string' || !/[\p{Cc}\p{Cs}]/u.test(value.trim()),
  'must not hold control characters',
);

/** An id or name as it is compared: without the spaces around it, undefined when nothing is left. */
export function eventText(value: string | number | null | undefined): string | undefined {
  if (value === null || value === undefined) return undefined;
  const trimmed = String(value).trim();
  return trimmed === '' ? undefined : trimmed;
}

/** A word of an enumeration or a number the protocol reads leniently: anything, looked at later. */
const lenient = z.unknown().optional();

/**
 * An event as anyone may send it: all optional, ids and names checked, enumerations and counters read leniently, unknown
 * fields kept. `type` may be spelled `event`, `agent_name` may be spelled `agentName`.
 */
export const rawAgentEvent = z.looseObject({
  version: text,
  event_id: text,
  type: text,
  event: text,
  source: text,
  framework: text,
  event_phase: lenient,
  policy_stage: lenient,
  event_source_trust: lenient,
  sequence: lenient,
  name: text,
  agent_name: text,
  agentName: text,
  agent_id: spendId,
  run_id: spendId,
  session_id: spendId,
  workflow_id: spendId,
  customer_id: spendId,
  step_id: text,
  parent_step_id: text,
  tool_call_id: text,
  handoff_id: text,
  graph_node: text,
  iteration: lenient,
  state_hash: text,
  step_kind: lenient,
  step_source: lenient,
  step_confidence: lenient,
  attempt: lenient,
  input_hash: text,
  timestamp: lenient,
  metadata: z.record(z.string(), z.unknown()).nullish(),
});
export type RawAgentEvent = z.infer<typeof rawAgentEvent>;

/** Limits of a plain Alephant gateway (facts §2c); a Runpurse gateway's own are wider and in its configuration. */
export const EVENT_LIMITS = {
  batchEvents: 100,
  /** Of the whole body, not of one event. */
  bodyBytes: 65_536,
  metadataBytes: 8_192,
} as const;

const batch = z.looseObject({ source: text, framework: text, events: z.array(z.unknown(), 'must be a list of events') });

/** The body of `POST /v1/agent/events`: one event, or several under one source. Each event is still to be normalized. */
export type EventBody =
  | {
      readonly type: 'events';
      readonly source: string | undefined;
      readonly framework: string | undefined;
      readonly events: readonly unknown[];
    }
  | { readonly type: 'invalid'; readonly path: string; readonly message: string };

export function parseEventBody(body: unknown): EventBody {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) {
    return { type: 'invalid', path: '', message: 'must be an event object or { "events": [ … ] }' };
  }
  if (!Object.hasOwn(body, 'events')) return { type: 'events', source: undefined, framework: undefined, events: [body] };
  const parsed = batch.safeParse(body);
  if (!parsed.success) return { type: 'invalid', ...firstIssue(parsed.error) };
  return { type: 'events', source: eventText(parsed.data.source), framework: eventText(parsed.data.framework), events: parsed.data.events };
}

/** The path and text of the first thing that is wrong. */
export function firstIssue(error: z.ZodError): { path: string; message: string } {
  const issue = error.issues[0];
  return { path: issue?.path.map(String).join('.') ?? '', message: issue?.message ?? 'is not valid' };
}
