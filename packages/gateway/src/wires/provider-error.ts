import { asObject, asText } from './json.ts';

const LENGTH_MAX = 300;

/** What a provider's error object says, short: its code or type, and its message. Undefined when there is none. */
export function providerError(value: unknown): string | undefined {
  if (value === undefined || value === null) return undefined;
  const text = asText(value);
  const error = asObject(value);
  const label = asText(error?.['code']) ?? asText(error?.['type']);
  const message = text ?? asText(error?.['message']);
  const said = [label, message].filter((part) => part !== undefined && part !== '').join(': ');
  return (said === '' ? 'unnamed error' : said).slice(0, LENGTH_MAX);
}
