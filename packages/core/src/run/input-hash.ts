import { redact } from '../events/redact.ts';
import { sha256 } from './sha256.ts';

/**
 * Fingerprint of a call's input, so that the gateway sees identical calls in a row without seeing what they say. Secrets
 * are taken out first: a hash of a short secret could be guessed.
 */
export function inputHash(input: unknown): string | undefined {
  if (input === undefined) return undefined;
  return `sha256:${sha256(stableJson(redact(input)))}`;
}

/** JSON with object keys in order: the same data gives the same text. */
function stableJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(stableJson).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'null';
  const fields = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${fields.map(([name, item]) => `${JSON.stringify(name)}:${stableJson(item)}`).join(',')}}`;
}
