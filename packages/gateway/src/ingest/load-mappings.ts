import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  EVENT_PHASES,
  EVENT_TYPES,
  MAPPED_ID_FIELDS,
  METADATA_FIELDS,
  POLICY_STAGES,
  STEP_KINDS,
  sourceName,
  type EventMapping,
} from '@runpurse/core';
import { z } from 'zod';
import { mistakesOf, keysAllowedBy } from '../config/issues.ts';
import { ConfigError } from '../config/load.ts';

/** The mappings that come with the gateway. Data: what this code knows of frameworks is what these files say. */
const OWN = fileURLToPath(new URL('../../mappings/', import.meta.url));

const word = z.string().min(1).max(128);
const names = z.array(word);
const fields = z.partialRecord(z.enum(MAPPED_ID_FIELDS), names);
const row = z.strictObject({
  type: z.enum(Object.keys(EVENT_TYPES) as [keyof typeof EVENT_TYPES]),
  event_phase: z.enum(EVENT_PHASES).optional(),
  policy_stage: z.enum(POLICY_STAGES).optional(),
  step_kind: z.enum(STEP_KINDS).optional(),
  when: z.union([z.strictObject({ field: word, words: names }), z.strictObject({ field: word, absent: z.literal(true) })]).optional(),
  fields: fields.optional(),
});
const spelling = z.strictObject({
  input: word,
  needs: word.optional(),
  output: word,
  cache_read: names.optional(),
  cache_write: names.optional(),
  reasoning: names.optional(),
  input_is_uncached: z.boolean().optional(),
});

/** A mapping file: core's `EventMapping`, as data. Strict: an unknown key is a mistake and is named. */
const mappingFile = z.strictObject({
  source: word.refine((text) => sourceName(text) === text, 'must be lower-case, with _ for -'),
  aliases: names.optional(),
  events: z.record(word, z.union([row, z.array(row).min(1)])),
  type_aliases: z.record(word, word).optional(),
  fields: fields.optional(),
  body: word.optional(),
  metadata: z.partialRecord(z.enum(Object.keys(METADATA_FIELDS) as [keyof typeof METADATA_FIELDS]), names).optional(),
  usage: z.strictObject({ field: word, spellings: z.array(spelling).min(1) }).optional(),
}) satisfies z.ZodType<EventMapping>;

/** All that a gateway knows to read: its own files, those of the operator's directory, and what the host hands over; the last of a source wins. */
export function registeredMappings(directory: string | undefined, given: readonly EventMapping[]): readonly EventMapping[] {
  const all = [...readMappings(OWN), ...(directory === undefined ? [] : readMappings(directory)), ...given];
  return [...new Map(all.map((mapping) => [mapping.source, mapping])).values()];
}

/** The mapping files of a directory. Throws `ConfigError` with the file and the offending path. */
export function readMappings(directory: string): readonly EventMapping[] {
  let files: readonly string[];
  try {
    files = readdirSync(directory).filter((file) => file.endsWith('.json'));
  } catch (error) {
    throw new ConfigError(
      `Cannot read the event mappings of ${directory}: ${(error as NodeJS.ErrnoException).code ?? String(error)}. It must be a directory of .json files.`,
      error,
    );
  }
  return files.toSorted().map((file) => parseMapping(readFileSync(join(directory, file), 'utf8'), file));
}

function parseMapping(text: string, file: string): EventMapping {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new ConfigError(`${file}: not valid JSON`, error);
  }
  const result = mappingFile.safeParse(value);
  if (result.success) return result.data;
  const mistakes = mistakesOf(result.error.issues, value, keysAllowedBy(mappingFile));
  throw new ConfigError(mistakes.map(({ path, message }) => `${file}: ${path === '' ? '' : `${path}: `}${message}`).join('\n'));
}
