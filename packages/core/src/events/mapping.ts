import type { AgentEvent } from './agent-event.ts';
import { wordsOf, type EventType, type TypeMeaning } from './event-types.ts';
import type { METADATA_FIELDS } from './metadata.ts';

/** What one raw event of a framework is. What is left out follows from the canonical type. */
export interface MappedEvent extends Partial<{ readonly [Key in keyof TypeMeaning]: TypeMeaning[Key] | undefined }> {
  readonly type: EventType;
  /** Only when this raw field holds one of these words, or holds nothing; the first row that fits is taken. */
  readonly when?:
    { readonly field: string; readonly words: readonly string[] } | { readonly field: string; readonly absent: true } | undefined;
  /** Ids that this raw type keeps elsewhere than the others. */
  readonly fields?: MappedFields | undefined;
}

export const MAPPED_ID_FIELDS = [
  'event_id',
  'timestamp',
  'agent_id',
  'run_id',
  'session_id',
  'workflow_id',
  'customer_id',
  'step_id',
  'parent_step_id',
  'tool_call_id',
  'graph_node',
  'name',
] as const;
export type MappedIdField = (typeof MAPPED_ID_FIELDS)[number];
/** Raw fields that hold an id; the first that is there is taken. */
export type MappedFields = Readonly<Partial<Record<MappedIdField, readonly string[]>>>;

/** One way a framework spells usage, told by the name of its input count. Names may be paths such as `details.cached`. */
export interface MappedUsage {
  readonly input: string;
  /** This way only when this name is there too. */
  readonly needs?: string | undefined;
  readonly output: string;
  readonly cache_read?: readonly string[] | undefined;
  readonly cache_write?: readonly string[] | undefined;
  readonly reasoning?: readonly string[] | undefined;
  /** The input count leaves out what was read from and written to a cache. */
  readonly input_is_uncached?: boolean | undefined;
}

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
  /** Other spellings of those types, such as the names of their classes. */
  readonly type_aliases?: Readonly<Record<string, string>> | undefined;
  /** Looked for in the event, then in its metadata, then in its body. */
  readonly fields?: MappedFields | undefined;
  /** Field of the envelope that the framework's own event lies in. */
  readonly body?: string | undefined;
  /** Metadata that carries meaning, by the raw fields that hold it. */
  readonly metadata?: Readonly<Partial<Record<keyof typeof METADATA_FIELDS, readonly string[]>>> | undefined;
  /** The raw field that holds a model call's usage, and its spellings; the first that fits is taken. */
  readonly usage?: { readonly field: string; readonly spellings: readonly MappedUsage[] } | undefined;
}

type RawFields = Readonly<Record<string, unknown>>;

/** The row for a raw type, if its conditions hold. */
export function mappedEvent(mapping: EventMapping, rawType: string, raw: RawFields): MappedEvent | undefined {
  const aliases = mapping.type_aliases ?? {};
  const name = Object.hasOwn(aliases, rawType) ? (aliases[rawType] ?? rawType) : rawType;
  const rows = Object.hasOwn(mapping.events, name) ? mapping.events[name] : undefined;
  if (rows === undefined) return undefined;
  const list: readonly MappedEvent[] = 'type' in rows ? [rows] : rows;
  return list.find(({ when }) => {
    if (when === undefined) return true;
    const value = rawField(raw, when.field, mapping.body);
    if ('absent' in when) return value === undefined || value === null;
    return typeof value === 'string' && wordsOf(value).some((word) => when.words.includes(word));
  });
}

/** A raw field, of the event itself, of its metadata, or of the body its envelope holds. */
export function rawField(raw: RawFields, field: string, body?: string): unknown {
  if (Object.hasOwn(raw, field)) return raw[field];
  for (const inside of ['metadata', body]) {
    const holder = inside !== undefined && Object.hasOwn(raw, inside) ? raw[inside] : undefined;
    if (typeof holder === 'object' && holder !== null && Object.hasOwn(holder, field)) return (holder as RawFields)[field];
  }
  return undefined;
}

/** The mapping of a source by its name or an alias. */
export function mappingOf(source: string, mappings: readonly EventMapping[]): EventMapping | undefined {
  return mappings.find((mapping) => mapping.source === source || mapping.aliases?.includes(source) === true);
}

/** A source's name as it is compared: lower-case, `-` read as `_`. */
export function sourceName(text: string): AgentEvent['source'] {
  return text.trim().toLowerCase().replaceAll('-', '_').slice(0, 64);
}
