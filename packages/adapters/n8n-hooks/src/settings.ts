import type { HooksOptions } from './attach.ts';
import type { Carried } from './carried.ts';

/** The hooks' settings from the environment n8n was started with; a mistake is told when n8n starts, not when money is spent. */
export function settingsOf(environment: Readonly<Record<string, string | undefined>>): HooksOptions {
  const said = (name: string): string => environment[name]?.trim() ?? '';
  const apiKey = said('RUNPURSE_KEY');
  if (apiKey === '') throw new Error('RUNPURSE_KEY is not set: the hooks file of Runpurse needs a virtual key ("runpurse keys create").');
  return {
    baseUrl: said('RUNPURSE_URL') || 'http://127.0.0.1:8787',
    apiKey,
    failurePolicy: oneOf(said('RUNPURSE_FAILURE_POLICY'), 'RUNPURSE_FAILURE_POLICY', ['open', 'closed']),
    instance: said('RUNPURSE_INSTANCE'),
    steps: oneOf(said('RUNPURSE_STEPS'), 'RUNPURSE_STEPS', ['all', 'ai']),
    carried: carriedOf(said('RUNPURSE_CARRIED')),
  };
}

/** The first is the default. */
function oneOf<const Words extends readonly [string, ...string[]]>(value: string, name: string, words: Words): Words[number] {
  if (value === '') return words[0];
  const found = words.find((word) => word === value);
  if (found === undefined) throw new Error(`${name} is "${value}"; it must be ${words.join(' or ')}.`);
  return found;
}

/** `node:NAME` and `credential:NAME`, parted by commas; an id in place of the name says it of one alone, and may stand for a name with a comma. */
function carriedOf(value: string): Carried {
  const entries = value === '' ? [] : value.split(',').map((entry) => /^\s*(node|credential):\s*(\S.*?)\s*$/.exec(entry) ?? entry.trim());
  const wrong = entries.find((entry) => typeof entry === 'string');
  if (wrong !== undefined)
    throw new Error(`RUNPURSE_CARRIED holds "${wrong}"; it must be node:NAME or credential:NAME, several parted by commas.`);
  const named = (kind: string): readonly string[] =>
    entries.flatMap((entry) => (entry[1] === kind && entry[2] !== undefined ? [entry[2]] : []));
  return { nodes: named('node'), credentials: named('credential') };
}
