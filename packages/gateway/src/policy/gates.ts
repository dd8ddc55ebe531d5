import type { GatewayConfig } from '../config/config.ts';
import { compileGlobs } from './glob.ts';
import type { PolicyFacts, PolicyPhase } from './policy.ts';
import type { Rule } from './rule.ts';

interface GateKind {
  readonly phase: PolicyPhase;
  readonly noun: string;
  /** The names a pattern may match; empty when the call states none. */
  readonly names: (facts: PolicyFacts) => readonly string[];
}

const isBlank = (name: string | null): name is null | '' => name === null || name === '';

const GATES = {
  models: {
    phase: 'model_request',
    noun: 'model',
    names: ({ model, provider }) =>
      isBlank(model.name) ? [] : isBlank(provider.name) ? [model.name] : [model.name, `${provider.name}/${model.name}`],
  },
  providers: { phase: 'model_request', noun: 'provider', names: ({ provider }) => (isBlank(provider.name) ? [] : [provider.name]) },
  tools: { phase: 'tool_call', noun: 'tool', names: ({ tool }) => (isBlank(tool.name) ? [] : [tool.name]) },
} as const satisfies Record<string, GateKind>;

/** Ids the gates use; a rule of one's own can't take one of them. */
export const GATE_RULE_IDS: ReadonlySet<string> = new Set(Object.keys(GATES).flatMap((gate) => [`${gate}.allow`, `${gate}.deny`]));

/**
 * The gates of the configuration as block rules `models.deny`, `models.allow` and so on. A call that names no model,
 * provider or tool can't be shown to be allowed: both lists refuse it, so leaving the name out is no way round.
 */
export function gateRules(policy: GatewayConfig['policy']): readonly Rule[] {
  const rules: Rule[] = [];
  for (const [gate, { phase, noun, names }] of Object.entries(GATES) as [keyof typeof GATES, GateKind][]) {
    const lists = policy[gate];
    const subject = (facts: PolicyFacts): string => {
      const name = names(facts)[0];
      return name === undefined ? `A ${noun} without a name` : `${noun} ${JSON.stringify(name)}`;
    };
    if (lists?.deny !== undefined) {
      const denied = compileGlobs(lists.deny, { ignoreCase: true });
      rules.push({
        id: `${gate}.deny`,
        revision: '1',
        phases: [phase],
        effect: 'block',
        applies: ({ facts }) => {
          const candidates = names(facts);
          return candidates.length === 0 || candidates.some(denied);
        },
        reason: (facts) => `${subject(facts)} is on the deny list`,
      });
    }
    if (lists?.allow !== undefined) {
      const allowed = compileGlobs(lists.allow, { ignoreCase: false });
      rules.push({
        id: `${gate}.allow`,
        revision: '1',
        phases: [phase],
        effect: 'block',
        applies: ({ facts }) => !names(facts).some(allowed),
        reason: (facts) => `${subject(facts)} is not on the allow list`,
      });
    }
  }
  return rules;
}
