import type { AgentEvent } from '../events/agent-event.ts';
import type { EventMetadata, ReportedUsage } from '../events/metadata.ts';
import type { Dialect } from './client.ts';

/** How one kind of gateway wants to be spoken to. The rest of the client does not know which one it is. */
export interface WireDialect {
  /** Asks one question; a denial comes with its own status, or as `allowed: false`. */
  readonly askPath: string;
  readonly reportPath: string;
  /** The event as this gateway reads it. */
  write(event: AgentEvent): Readonly<Record<string, unknown>>;
  /** Headers for a body that holds these events. */
  headers(events: readonly { readonly sessionId: string | undefined }[]): Readonly<Record<string, string>>;
  /** Must a model call that goes through the gateway be asked about beforehand? */
  readonly asksCarriedCalls: boolean;
  /** The step id of a try: some gateways take a second try under the same id for a conflict. */
  stepId(stepId: string, attempt: number | undefined): string;
  /** Are runs and sessions readable? */
  readonly hasReads: boolean;
}

const EVENTS_PATH = '/v1/agent/events';

const runpurse: WireDialect = {
  askPath: `${EVENTS_PATH}?enforce=true`,
  reportPath: EVENTS_PATH,
  write: ({ timestamp, ...event }) => ({ ...event, ...timeOf(timestamp) }),
  headers: () => ({}),
  asksCarriedCalls: false,
  stepId: (stepId) => stepId,
  hasReads: true,
};

/**
 * A plain Alephant gateway (facts §2c). Canonical events are believed only from source `alephant`, with phase, stage, kind
 * and confidence spelled out; there is no session, workflow or customer field; usage keys that hold the word `token` are
 * blanked by its redaction; a step's fingerprint holds the attempt, so that a retry needs a step id of its own.
 */
const alephant: WireDialect = {
  askPath: EVENTS_PATH,
  reportPath: EVENTS_PATH,
  write({ session_id, workflow_id, customer_id, iteration, state_hash, source, metadata, timestamp, ...event }) {
    return {
      ...event,
      ...timeOf(timestamp),
      ...(event.step_id === undefined ? {} : { step_id: alephant.stepId(event.step_id, event.attempt) }),
      source: 'alephant',
      metadata: defined({
        ...alephantMetadata(metadata, event.attempt),
        adapter: source,
        session_id,
        workflow_id,
        customer_id,
        iteration,
        state_hash,
      }),
    };
  },
  headers(events) {
    const sessionId = events[0]?.sessionId;
    const shared = sessionId !== undefined && events.every((event) => event.sessionId === sessionId);
    return shared ? { 'alephant-session-id': sessionId } : {};
  },
  asksCarriedCalls: true,
  stepId: (stepId, attempt) => (attempt === undefined || attempt <= 1 ? stepId : `${stepId}~${attempt}`),
  hasReads: false,
};

export const DIALECTS: Readonly<Record<Dialect, WireDialect>> = { runpurse, alephant };

function alephantMetadata({ usage, cost_usd, ...metadata }: EventMetadata, attempt: number | undefined): Record<string, unknown> {
  return {
    ...metadata,
    cost_usd,
    cost: cost_usd === undefined ? undefined : Number(cost_usd),
    retry_count: metadata.retry_count ?? (attempt === undefined ? undefined : attempt - 1),
    usage: usage === undefined ? undefined : withoutTokenWord(usage),
  };
}

/** `input_tokens` as `input`, so that a redaction by substring leaves the figure alone. */
function withoutTokenWord(usage: ReportedUsage): Record<string, unknown> {
  return Object.fromEntries(Object.entries(usage).map(([name, count]) => [name.replace(/_tokens$/, ''), count]));
}

function timeOf(timestamp: string): { readonly timestamp?: string } {
  return timestamp === '' ? {} : { timestamp };
}

function defined(fields: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}
