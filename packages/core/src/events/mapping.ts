import type { AgentEvent } from './agent-event.ts';
import { wordsOf, type EventType, type TypeMeaning } from './event-types.ts';

/** What one raw event of a framework is. What is left out follows from the canonical type. */
export interface MappedEvent extends Partial<TypeMeaning> {
  readonly type: EventType;
  /** Only when this raw field holds one of these words; the first row that fits is taken. */
  readonly when?: { readonly field: string; readonly words: readonly string[] } | undefined;
}

export type MappedIdField =
  'agent_id' | 'run_id' | 'session_id' | 'workflow_id' | 'step_id' | 'parent_step_id' | 'tool_call_id' | 'graph_node' | 'name';

/**
 * How a framework's raw events read in ours: plain data that lies with the framework's adapter and is registered with
 * the gateway, so that events sent without an adapter are understood too. Core knows no framework by name.
 */
export interface EventMapping {
  /** Canonical name of the source, lower-case with `_`. */
  readonly source: string;
  readonly aliases?: readonly string[] | undefined;
  /** By raw type, spelled as the framework spells it. */
  readonly events: Readonly<Record<string, MappedEvent | readonly MappedEvent[]>>;
  /** Raw fields (of the event, else of its metadata) that hold an id; the first that is there is taken. */
  readonly fields?: Readonly<Partial<Record<MappedIdField, readonly string[]>>> | undefined;
}

type RawFields = Readonly<Record<string, unknown>>;

/** The row for a raw type, if its conditions hold. */
export function mappedEvent(mapping: EventMapping, rawType: string, raw: RawFields): MappedEvent | undefined {
  const rows = Object.hasOwn(mapping.events, rawType) ? mapping.events[rawType] : undefined;
  if (rows === undefined) return undefined;
  const list: readonly MappedEvent[] = 'type' in rows ? [rows] : rows;
  return list.find(({ when }) => {
    if (when === undefined) return true;
    const value = rawField(raw, when.field);
    return typeof value === 'string' && wordsOf(value).some((word) => when.words.includes(word));
  });
}

/** A raw field, of the event itself or of its metadata. */
export function rawField(raw: RawFields, field: string): unknown {
  if (Object.hasOwn(raw, field)) return raw[field];
  const metadata = raw['metadata'];
  return typeof metadata === 'object' && metadata !== null && Object.hasOwn(metadata, field) ? (metadata as RawFields)[field] : undefined;
}

/** The mapping of a source by its name or an alias. */
export function mappingOf(source: string, mappings: readonly EventMapping[]): EventMapping | undefined {
  return mappings.find((mapping) => mapping.source === source || mapping.aliases?.includes(source) === true);
}

/** A source's name as it is compared: lower-case, `-` read as `_`. */
export function sourceName(text: string): AgentEvent['source'] {
  return text.trim().toLowerCase().replaceAll('-', '_').slice(0, 64);
}
