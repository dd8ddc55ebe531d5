import type { AgentContext } from './context.ts';

/** Numbers and the like are written out; what is no text is left out. */
export function usableProperties(properties: AgentContext['properties']): AgentContext['properties'] {
  if (properties === undefined) return undefined;
  const isPlain = (value: unknown): boolean => ['string', 'number', 'boolean', 'bigint'].includes(typeof value);
  return Object.fromEntries(Object.entries(properties).flatMap(([name, value]) => (isPlain(value) ? [[name, String(value)]] : [])));
}
