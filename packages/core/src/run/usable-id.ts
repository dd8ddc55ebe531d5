import type { AgentContext } from '../attribution/context.ts';
import { HEADER_VALUE_BYTES_MAX } from '../attribution/headers.ts';
import { utf8ByteLength } from '../client/byte-length.ts';
import type { CallPlace } from './run.ts';
import { sha256 } from './sha256.ts';

export const ID_FIELDS = [
  'agentId',
  'agentName',
  'runId',
  'sessionId',
  'workflowId',
  'customerId',
  'stepId',
  'parentStepId',
  'toolCallId',
  'handoffId',
  'graphNode',
] as const;

const CONTROL = /\p{Cc}+/gu;

/**
 * The same id in headers and events: trimmed, on one line, of whole characters, and when too long for a header cut, with a hash
 * that keeps it unique. Ids come from users and models too, and one that the gateway can't take would leave its call unasked.
 */
export function usableId(id: string | undefined): string | undefined {
  // Untyped hosts hand numbers over, and what is no id at all.
  const stated: unknown = id;
  const given = typeof stated === 'number' || typeof stated === 'bigint' ? String(stated) : stated;
  if (typeof given !== 'string') return undefined;
  const text = given.replace(CONTROL, ' ').trim().toWellFormed();
  if (text === '') return undefined;
  return utf8ByteLength(text) <= HEADER_VALUE_BYTES_MAX ? text : `${text.slice(0, 48).toWellFormed()}~${sha256(text)}`;
}

export function usableIds<Place extends CallPlace & AgentContext>(place: Place): Place {
  const usable: Record<string, unknown> = { ...(place as object) };
  for (const field of ID_FIELDS) {
    if (Object.hasOwn(place, field)) usable[field] = usableId(place[field]);
  }
  return definedOnly(usable) as Place;
}

export function definedOnly<Fields extends object>(fields: Fields): Fields {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Fields;
}
