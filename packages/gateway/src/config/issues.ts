import type { z } from 'zod';

type Issue = z.core.$ZodIssue;

/** One mistake in what somebody wrote: where it stands and what it must be, ready to print. */
export interface Mistake {
  /** `budgets[1].limit_usd`; empty for the whole value. */
  readonly path: string;
  /** `must be a whole number, not "ten"`. */
  readonly message: string;
}

/** `['budgets', 1, 'limit_usd']` as a person writes it: `budgets[1].limit_usd`. */
export function pathText(path: readonly PropertyKey[]): string {
  return path.map((part, index) => (typeof part === 'number' ? `[${part}]` : index === 0 ? String(part) : `.${String(part)}`)).join('');
}

const KINDS: Readonly<Record<string, string>> = {
  string: 'text',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  object: 'an object',
  record: 'an object',
  array: 'a list',
};

function kind(expected: string): string {
  return KINDS[expected] ?? expected;
}

const SHOWN_MAX = 40;

/** The value at fault, short enough for one line; containers by their kind, so that no content spills into a message. */
function shown(value: unknown): string {
  if (Array.isArray(value)) return 'a list';
  if (value === null) return 'null';
  if (typeof value === 'object') return 'an object';
  const text = typeof value === 'bigint' ? String(value) : (JSON.stringify(value) ?? 'nothing');
  return text.length > SHOWN_MAX ? `${text.slice(0, SHOWN_MAX)}…` : text;
}

function valueAt(root: unknown, path: readonly PropertyKey[]): unknown {
  let value = root;
  for (const part of path) {
    if (typeof value !== 'object' || value === null) return undefined;
    value = (value as Record<PropertyKey, unknown>)[part];
  }
  return value;
}

const FORMATS: Readonly<Record<string, string>> = {
  url: 'a URL such as "https://api.example.com/v1"',
  datetime: 'a time such as "2026-11-24T09:30:00Z"',
  date: 'a day such as "2026-11-24"',
};

const SIZES: Readonly<Record<string, string>> = { string: ' characters', array: ' items', map: ' keys', object: ' keys' };

function bound(issue: { origin: string; inclusive?: boolean | undefined }, limit: number | bigint, side: 'at least' | 'at most'): string {
  const unit = SIZES[issue.origin];
  if (unit !== undefined) return `must have ${side} ${limit}${limit === 1 ? unit.slice(0, -1) : unit}`;
  if (issue.inclusive === false) return side === 'at least' ? `must be more than ${limit}` : `must be less than ${limit}`;
  return `must be ${side} ${limit}`;
}

/** The known key nearest to a misspelt one, when it is near enough to be meant. */
function nearest(key: string, known: readonly string[]): string | undefined {
  const within = Math.max(1, Math.floor(key.length / 3));
  return known
    .map((candidate) => ({ candidate, distance: editDistance(key, candidate) }))
    .filter(({ distance }) => distance <= within)
    .sort((a, b) => a.distance - b.distance)[0]?.candidate;
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const substitute = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, substitute));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}

function sentence(issue: Issue, value: unknown, knownKeys: (path: readonly PropertyKey[]) => readonly string[]): string {
  switch (issue.code) {
    case 'invalid_type':
      if (value === undefined) return `is missing: it must be ${kind(issue.expected)}`;
      return `must be ${kind(issue.expected)}, not ${shown(value)}`;
    case 'invalid_value':
      if (!issue.message.startsWith('Invalid')) return issue.message;
      if (value === undefined) return `is missing: it must be ${issue.values.map(String).join(', ')}`;
      return issue.values.length === 1
        ? `must be ${String(issue.values[0])}, not ${shown(value)}`
        : `must be one of ${issue.values.map(String).join(', ')}, not ${shown(value)}`;
    case 'unrecognized_keys': {
      const [key = ''] = issue.keys;
      const meant = nearest(key, knownKeys(issue.path));
      return `is not known here${meant === undefined ? '' : `; did you mean ${meant}?`}`;
    }
    case 'too_small':
      return issue.origin === 'string' && issue.minimum === 1 ? 'must not be empty' : bound(issue, issue.minimum, 'at least');
    case 'too_big':
      return bound(issue, issue.maximum, 'at most');
    case 'invalid_format':
      if (FORMATS[issue.format] !== undefined) return `must be ${FORMATS[issue.format]}, not ${shown(value)}`;
      return issue.message.startsWith('Invalid') ? `has the wrong form: ${shown(value)}` : `${issue.message}, not ${shown(value)}`;
    case 'invalid_union': {
      if (value === undefined) return 'is missing';
      const kinds = issue.errors.flat().map((error) => (error.code === 'invalid_type' ? kind(error.expected) : undefined));
      const named = [...new Set(kinds.filter((text) => text !== undefined))];
      return named.length > 0 ? `must be ${named.join(' or ')}, not ${shown(value)}` : `has a value that is not allowed: ${shown(value)}`;
    }
    default:
      return issue.message;
  }
}

function nestedUnionIssue(issue: Issue): Issue {
  if (issue.code !== 'invalid_union') return issue;
  // A union member that got past the type check names the real mistake; of several the first is told.
  const inner = issue.errors.find(
    (errors) => errors.length > 0 && errors.every((error) => error.code !== 'invalid_type' || error.path.length > 0),
  )?.[0];
  return inner === undefined ? issue : nestedUnionIssue({ ...inner, path: [...issue.path, ...inner.path] });
}

/**
 * Zod's issues in words for the person who wrote the value, most telling first. `knownKeys` gives the keys allowed at a
 * path, for "did you mean".
 */
export function mistakesOf(
  issues: readonly Issue[],
  root: unknown,
  knownKeys: (path: readonly PropertyKey[]) => readonly string[] = () => [],
): readonly Mistake[] {
  return issues.map(nestedUnionIssue).map((issue) => {
    const path = issue.code === 'unrecognized_keys' ? [...issue.path, issue.keys[0] ?? ''] : issue.path;
    return { path: pathText(path), message: sentence(issue, valueAt(root, path), knownKeys) };
  });
}

/** The keys a zod object schema allows at a path, read from the schema itself. */
export function keysAllowedBy(schema: z.ZodType): (path: readonly PropertyKey[]) => readonly string[] {
  return (path) => {
    let current: unknown = schema;
    for (const part of path) {
      const definition = unwrapped(current);
      current = definition?.shape?.[String(part)] ?? definition?.element;
    }
    return Object.keys(unwrapped(current)?.shape ?? {});
  };
}

interface Definition {
  readonly shape?: Readonly<Record<string, unknown>>;
  readonly element?: unknown;
  readonly innerType?: unknown;
}

function unwrapped(schema: unknown): Definition | undefined {
  const definition = (schema as { def?: Definition } | undefined)?.def;
  return definition?.innerType === undefined ? definition : unwrapped(definition.innerType);
}
