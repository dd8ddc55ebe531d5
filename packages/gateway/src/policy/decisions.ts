import type { PolicyVerdict, RuleMatch } from './policy.ts';

/** A match that the ledger records, with the outcome a reader sees. */
export interface PolicyDecision {
  readonly match: RuleMatch;
  readonly outcome: 'allowed' | 'denied' | 'audited' | 'skipped';
}

const OUTCOMES = { block: 'denied', skip: 'skipped', audit: 'audited', allow: 'allowed' } as const;

/**
 * What of a verdict is logged, so that the model path and the event path log alike: the rule that denied; or the skip
 * that mutes the rest; or every audit; or, with nothing stronger, every allow. No match, nothing logged.
 */
export function decisionsOf(verdict: Pick<PolicyVerdict, 'matches'>): readonly PolicyDecision[] {
  const strongest = verdict.matches[0];
  if (strongest === undefined) return [];
  const { effect } = strongest;
  const logged = effect === 'block' || effect === 'skip' ? [strongest] : verdict.matches.filter((match) => match.effect === effect);
  return logged.map((match) => ({ match, outcome: OUTCOMES[match.effect] }));
}

/** The rules that watch the call: warnings in replies, and `x-runpurse-policy`. */
export function auditsOf(verdict: Pick<PolicyVerdict, 'matches'>): readonly string[] {
  return decisionsOf(verdict).flatMap(({ match, outcome }) => (outcome === 'audited' ? [match.rule] : []));
}
