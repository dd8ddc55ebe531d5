import { parseEventBody, translateEvent, type AgentEventInput, type EventMapping } from '@runpurse/core';
import type { NotTaken } from './errors.ts';

export type ForeignBody =
  | {
      readonly type: 'events';
      /** In our words, in their order; what the mapping has no row for is left out. */
      readonly events: readonly AgentEventInput[];
      /** Of each of them, its place among those that were sent, for messages. */
      readonly places: readonly string[];
      readonly ignored: number;
    }
  | NotTaken;

/** A body of a framework's own events, one or a batch `{ events: [ … ] }`: read whole, or not at all. */
export function readForeignBody(body: unknown, mapping: EventMapping): ForeignBody {
  const parsed = parseEventBody(body);
  const count = parsed.type === 'events' ? parsed.events.length : 1;
  const invalid = (path: string, message: string): NotTaken => ({
    type: 'error',
    code: 'invalid_event',
    message: `${path === '' ? 'The body' : path} ${message}. Nothing of the body was stored or charged.`,
    param: path === '' ? undefined : path,
    count,
  });
  if (parsed.type === 'invalid') return invalid(parsed.path, parsed.message);
  const isBatch = Object.hasOwn(body as object, 'events');
  const events: AgentEventInput[] = [];
  const places: string[] = [];
  for (const [index, raw] of parsed.events.entries()) {
    const place = isBatch ? `events[${index}]` : '';
    const translated = translateEvent(raw, mapping);
    if (translated.type === 'invalid') return invalid([place, translated.path].filter((part) => part !== '').join('.'), translated.message);
    if (translated.type === 'ignored') continue;
    events.push(translated.event);
    places.push(place);
  }
  return { type: 'events', events, places, ignored: parsed.events.length - events.length };
}
