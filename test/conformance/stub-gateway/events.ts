/** An agent event as an adapter sent it. */
export type SentEvent = Record<string, unknown> & {
  readonly type: string;
  readonly run_id: string;
  readonly metadata: Record<string, unknown>;
};

/** A refusal the gateway answers with. */
export interface Denial {
  readonly status: number;
  readonly code: string;
  readonly message: string;
}

/** Decides on each event; `lost`: the gateway cannot be reached. */
export type Deny = (event: SentEvent) => Denial | 'lost' | undefined;

/** Denies events of one type. */
export const denies =
  (type: string, code = 'policy_denied', status = 403): ((event: SentEvent) => Denial | undefined) =>
  (event) =>
    event.type === type ? { status, code, message: `${type} is denied by no-${type}` } : undefined;

/** What was sent so far, in order, and how to look at it. */
export interface EventLog {
  readonly events: SentEvent[];
  types(): string[];
  eventsOf(type: string): SentEvent[];
}

export function eventLog(): EventLog {
  const events: SentEvent[] = [];
  return {
    events,
    types: () => events.map(({ type }) => type),
    eventsOf: (type) => events.filter((event) => event.type === type),
  };
}

/** Notes the events of a posted body and answers as the gateway does; undefined when it is `lost`, and nothing is noted. */
export function takeEvents(
  body: string,
  { events }: EventLog,
  deny?: Deny,
): { readonly status: number; readonly json: object } | undefined {
  const sent = JSON.parse(body) as { readonly events?: readonly SentEvent[] } & SentEvent;
  const batch = sent.events ?? [sent];
  const denial = batch.map((event) => deny?.(event)).find((found) => found !== undefined);
  if (denial === 'lost') return undefined;
  events.push(...batch);
  if (denial === undefined) return { status: 202, json: { accepted: batch.length, rejected: 0, allowed: true, decisions: [] } };
  const { status, message, code } = denial;
  return { status, json: { error: { message, type: 'policy_error', param: null, code } } };
}
