import type { AgentEvent } from '@runpurse/core';

/**
 * Keys by which a sender could pass for the gateway: decisions, bills, trust. What it writes there is kept, as
 * `…_original`, and never believed. (`policy`, `billing` and `sinkStatus` were moved by core already.)
 */
const isGatewayKey = (key: string): boolean =>
  key === 'event_source_trust' ||
  key === 'context_conflict' ||
  ((key.startsWith('billing_') || key.startsWith('policy_')) && !/_original(?:_\d+)?$/.test(key));

/** The event without forged claims: trust is what the gateway knows, which of a sender's word is `self_reported`. */
export function moveClaimsAside(event: AgentEvent, raw: Readonly<Record<string, unknown>>): AgentEvent {
  const forged = Object.keys(event.metadata).filter(isGatewayKey);
  const claimedTrust = raw['event_source_trust'];
  const claimsTrust = typeof claimedTrust === 'string' && claimedTrust !== event.event_source_trust;
  if (forged.length === 0 && !claimsTrust) return event;
  const metadata: Record<string, unknown> = { ...event.metadata };
  const aside = (key: string, value: unknown): void => {
    let name = `${key}_original`;
    for (let count = 1; Object.hasOwn(metadata, name); count += 1) name = `${key}_original_${count}`;
    metadata[name] = value;
  };
  for (const key of forged) {
    aside(key, metadata[key]);
    delete metadata[key];
  }
  if (claimsTrust) aside('event_source_trust', claimedTrust.slice(0, 64));
  return { ...event, metadata };
}
