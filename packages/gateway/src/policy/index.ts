export { createPolicy } from './create.ts';
export { auditsOf, decisionsOf, type PolicyDecision } from './decisions.ts';
export type { Policy, PolicyFacts, PolicyPhase, PolicyVerdict, RuleMatch } from './policy.ts';
