import { createHash } from 'node:crypto';
import { text } from './text.ts';

/** An expression that Make could not read either, or of which nobody knows what Make makes of it. */
export class ImlError extends Error {
  override readonly name = 'ImlError';
}

export function isTruthy(value: unknown): boolean {
  return value !== undefined && value !== null && value !== false && value !== '' && value !== 0;
}

/** Words that stand for a value. */
export const KEYWORDS: ReadonlyMap<string, unknown> = new Map<string, unknown>([
  ['true', true],
  ['false', false],
  ['null', null],
  ['undefined', undefined],
  ['emptystring', ''],
  ['emptyarray', []],
  ['space', ' '],
  ['newline', '\n'],
]);

const list = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);
const field = (item: unknown, key: unknown): unknown =>
  typeof item === 'object' && item !== null ? Object.entries(item).find(([name]) => name === key)?.[1] : undefined;

/**
 * The built-in functions the app and its blueprints use, and no other: what
 * https://help.make.com/general-functions and its sister pages say of them. A call of anything else fails a test.
 */
export const FUNCTIONS: Readonly<Record<string, (...args: unknown[]) => unknown>> = {
  if: (condition, then, otherwise) => (isTruthy(condition) ? then : otherwise),
  ifempty: (value, otherwise) => (value === undefined || value === null || value === '' ? otherwise : value),
  length: (value) => (typeof value === 'string' ? value.length : list(value).length),
  substring: (value, start, end) => text(value).slice(Number(start), Number(end)),
  trim: (value) => text(value).trim(),
  encodeURL: (value) => encodeURIComponent(text(value)),
  sha256: (value) => createHash('sha256').update(text(value)).digest('hex'),
  parseNumber: (value) => Number(text(value)),
  toString: (value: unknown) => text(value),
  /** An array of collections to one collection. */
  toCollection: (array, key, value) => Object.fromEntries(list(array).map((item) => [text(field(item, key)), field(item, value)])),
  /** One key of each collection of an array, of those alone whose filter key is among the filter's values. */
  map: (array, key, filterKey, filterValues) =>
    list(array)
      .filter(
        (item) =>
          filterKey === undefined ||
          text(filterValues)
            .split(',')
            .includes(text(field(item, filterKey))),
      )
      .map((item) => field(item, key)),
  contains: (within, value) => (Array.isArray(within) ? within.includes(value) : text(within).includes(text(value))),
  last: (array) => list(array).at(-1),
  join: (array, separator) => list(array).map(text).join(text(separator)),
};
