import type { AgentEventInput } from './agent-event.ts';
import { MAPPED_ID_FIELDS, mappedEvent, rawField, type EventMapping, type MappedEvent, type MappedFields } from './mapping.ts';
import { isUsed, type METADATA_FIELDS, type ReportedUsage } from './metadata.ts';
import { EVENT_TEXT_MAX } from './raw-event.ts';
import { usageOfTotals } from './usage-of-totals.ts';

export type Translation =
  | { readonly type: 'event'; readonly event: AgentEventInput }
  /** Nothing the mapping has a row for: frameworks tell of much that is neither an action nor money. */
  | { readonly type: 'ignored' }
  | { readonly type: 'invalid'; readonly path: string; readonly message: string };

type RawFields = Readonly<Record<string, unknown>>;
/** Longest text that is taken over from a framework, such as an error's. */
const MESSAGE_MAX = 500;

/**
 * A framework's own event as one of ours, by its mapping alone: only what the mapping names is read, so prompts, tool
 * inputs and results stay where they are. For senders that post a framework's events as they come; pure.
 */
export function translateEvent(raw: unknown, mapping: EventMapping): Translation {
  if (!isObject(raw)) return { type: 'invalid', path: '', message: 'must be an event object' };
  const body = mapping.body === undefined || raw[mapping.body] === undefined ? {} : raw[mapping.body];
  if (!isObject(body)) return { type: 'invalid', path: mapping.body ?? '', message: 'must be an object' };
  const rawType = rawField(raw, 'type', mapping.body);
  if (typeof rawType !== 'string' || rawType.trim() === '')
    return { type: 'invalid', path: 'type', message: 'must be the name of an event, as its framework spells it' };
  const row = mappedEvent(mapping, rawType.trim(), raw);
  if (row === undefined) return { type: 'ignored' };
  const { type, event_phase, policy_stage, step_kind } = row;
  return {
    type: 'event',
    event: {
      type,
      source: mapping.source,
      ...definedOnly({ event_phase, policy_stage, step_kind }),
      ...readFields(raw, row, mapping),
      metadata: { ...readMetadata(raw, mapping), raw_event_type: rawType.trim() },
    },
  };
}

function readFields(raw: RawFields, row: MappedEvent, mapping: EventMapping): Record<string, string> {
  const fields: MappedFields = { ...mapping.fields, ...row.fields };
  const read: Record<string, string> = {};
  for (const field of MAPPED_ID_FIELDS) {
    const text = first(fields[field], (name) => oneLine(rawField(raw, name, mapping.body)));
    // What is longer than any id is none: a description, say, that stands where a name may stand.
    if (text !== undefined && text.length <= EVENT_TEXT_MAX) read[field] = text;
  }
  return read;
}

function readMetadata(raw: RawFields, mapping: EventMapping): Record<string, unknown> {
  const metadata: Record<string, unknown> = {};
  for (const [key, names] of Object.entries(mapping.metadata ?? {}) as [keyof typeof METADATA_FIELDS, readonly string[]][]) {
    const value = first(names, (name) => plainValue(rawField(raw, name, mapping.body)));
    if (value !== undefined) metadata[key] = value;
  }
  const usage = readUsage(raw, mapping);
  return usage === undefined ? metadata : { ...metadata, usage };
}

function readUsage(raw: RawFields, mapping: EventMapping): ReportedUsage | undefined {
  if (mapping.usage === undefined) return undefined;
  const usage = rawField(raw, mapping.usage.field, mapping.body);
  if (!isObject(usage)) return undefined;
  const spelling = mapping.usage.spellings.find(
    ({ input, needs }) => countAt(usage, input) !== undefined && (needs === undefined || countAt(usage, needs) !== undefined),
  );
  if (spelling === undefined) return undefined;
  const sum = (names: readonly string[] | undefined): number | undefined => first(names, (name) => countAt(usage, name));
  const input = countAt(usage, spelling.input) ?? 0;
  const cacheRead = sum(spelling.cache_read);
  const cacheWrite = sum(spelling.cache_write);
  return usageOfTotals({
    input: spelling.input_is_uncached === true ? input + (cacheRead ?? 0) + (cacheWrite ?? 0) : input,
    cacheRead,
    cacheWrite,
    output: countAt(usage, spelling.output),
    reasoning: sum(spelling.reasoning),
  });
}

function countAt(holder: unknown, path: string): number | undefined {
  let value = holder;
  for (const part of path.split('.')) value = isObject(value) && Object.hasOwn(value, part) ? value[part] : undefined;
  return isUsed(value) ? value : undefined;
}

/** Texts and numbers; an object where a text belongs is somebody's content, and stays out. */
function plainValue(value: unknown): string | number | boolean | undefined {
  if (typeof value === 'string') return value.trim() === '' ? undefined : value.slice(0, MESSAGE_MAX).toWellFormed();
  return typeof value === 'number' || typeof value === 'boolean' ? value : undefined;
}

/** An id or name; frameworks read theirs from files, where line ends slip in. */
function oneLine(value: unknown): string | undefined {
  if (typeof value !== 'string' && !Number.isSafeInteger(value)) return undefined;
  const text = String(value)
    .toWellFormed()
    .replace(/[\s\p{Cc}]+/gu, ' ')
    .trim();
  return text === '' ? undefined : text;
}

function first<Value>(names: readonly string[] | undefined, read: (name: string) => Value | undefined): Value | undefined {
  for (const name of names ?? []) {
    const value = read(name);
    if (value !== undefined) return value;
  }
  return undefined;
}

function definedOnly<Fields extends object>(fields: Fields): Partial<Fields> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Partial<Fields>;
}

function isObject(value: unknown): value is RawFields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
