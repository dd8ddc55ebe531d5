import { toCelFacts, type CelFacts } from './condition.ts';
import type { PolicyFacts, PolicyPhase, RuleMatch } from './policy.ts';

/** A rule as it is asked: compiled at start, from a CEL condition or from a ready-made gate. */
export interface Rule {
  readonly id: string;
  readonly revision: string;
  readonly phases: readonly PolicyPhase[];
  readonly effect: RuleMatch['effect'];
  /** True, false, or throws: then nobody knows, and the call is refused. */
  readonly applies: (question: Question) => boolean;
  readonly reason: (facts: PolicyFacts) => string;
}

/** One decision's facts. CEL's form of them is made when the first CEL rule asks, and once. */
export class Question {
  readonly facts: PolicyFacts;
  #cel: CelFacts | undefined;

  constructor(facts: PolicyFacts) {
    this.facts = facts;
  }

  get cel(): CelFacts {
    return (this.#cel ??= toCelFacts(this.facts));
  }
}
