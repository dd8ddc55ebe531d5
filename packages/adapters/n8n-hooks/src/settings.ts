import type { HooksOptions } from './attach.ts';

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
  };
}

/** The first is the default. */
function oneOf<const Words extends readonly [string, ...string[]]>(value: string, name: string, words: Words): Words[number] {
  if (value === '') return words[0];
  const found = words.find((word) => word === value);
  if (found === undefined) throw new Error(`${name} is "${value}"; it must be ${words.join(' or ')}.`);
  return found;
}
