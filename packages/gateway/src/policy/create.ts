import { RunpurseError } from '@runpurse/core';
import type { GatewayConfig, RuleConfig } from '../config/config.ts';
import { compileCondition, failureText } from './condition.ts';
import { GATE_RULE_IDS, gateRules } from './gates.ts';
import type { Policy, PolicyFacts, PolicyPhase, PolicyVerdict, RuleMatch } from './policy.ts';
import { Question, type Rule } from './rule.ts';

/**
 * What beats what, strongest first. The places between block and skip are kept for `require_approval` and `route`
 * (docs/decisions/2026-11-24-policy-effects-to-come.md).
 */
const PRECEDENCE = ['block', 'skip', 'audit', 'allow'] as const satisfies readonly RuleMatch['effect'][];

/**
 * Compiles the rules and gates of runpurse.yaml, once, at start. Throws a RunpurseError `invalid_config` that names
 * every mistake with its rule, its path in the file and its place in the expression.
 */
export function createPolicy(config: GatewayConfig['policy']): Policy {
  const rules = [...gateRules(config), ...ownRules(config.rules)];
  const byPhase: Readonly<Record<PolicyPhase, readonly Rule[]>> = {
    model_request: rules.filter((rule) => rule.phases.includes('model_request')),
    tool_call: rules.filter((rule) => rule.phases.includes('tool_call')),
    run_update: rules.filter((rule) => rule.phases.includes('run_update')),
    endpoint_call: rules.filter((rule) => rule.phases.includes('endpoint_call')),
  };
  return {
    hasRules: (phase) => byPhase[phase].length > 0,
    // Any rule may deny: one that blocks by matching, any other by failing.
    gates: (phase) => byPhase[phase].length > 0,
    evaluate: (phase, facts) => (byPhase[phase].length === 0 ? ALLOWED : evaluate(byPhase[phase], facts)),
  };
}

const ALLOWED: PolicyVerdict = { type: 'allowed', matches: [] };

function evaluate(rules: readonly Rule[], facts: PolicyFacts): PolicyVerdict {
  const question = new Question(facts);
  const matches: RuleMatch[] = [];
  for (const rule of rules) {
    const match = ask(rule, question);
    if (match !== undefined) matches.push(match);
  }
  if (matches.length === 0) return ALLOWED;
  matches.sort((a, b) => PRECEDENCE.indexOf(a.effect) - PRECEDENCE.indexOf(b.effect));
  const strongest = matches[0];
  return strongest?.effect === 'block' ? { type: 'denied', by: strongest, matches } : { type: 'allowed', matches };
}

/** A rule that can't be answered refuses: a policy nobody could check must not be one that let the call through. */
function ask(rule: Rule, question: Question): RuleMatch | undefined {
  const { id, revision, effect } = rule;
  try {
    if (!rule.applies(question)) return undefined;
    return { rule: id, revision, effect, reason: rule.reason(question.facts) };
  } catch (error) {
    return { rule: id, revision, effect: 'block', reason: `Rule "${id}" could not be evaluated: ${failureText(error)}` };
  }
}

function ownRules(configs: readonly RuleConfig[]): readonly Rule[] {
  const mistakes: string[] = [];
  const pathById = new Map<string, string>();
  const rules = configs.map((config, index): Rule => {
    const path = `policy.rules[${index}]`;
    const before = pathById.get(config.id);
    if (before !== undefined) mistakes.push(`${path}.id: rule "${config.id}" is already defined at ${before}`);
    if (GATE_RULE_IDS.has(config.id)) mistakes.push(`${path}.id: "${config.id}" is the name of a ready-made gate; choose another`);
    pathById.set(config.id, path);
    return {
      id: config.id,
      revision: config.revision,
      phases: typeof config.phase === 'string' ? [config.phase] : config.phase,
      effect: config.effect,
      applies: condition(config, path, mistakes),
      reason: () => config.reason ?? `Rule "${config.id}" matched`,
    };
  });
  if (mistakes.length > 0) throw new RunpurseError('invalid_config', mistakes.join('\n'));
  return rules;
}

/** A rule without `when` applies to every call of its phases. */
function condition(config: RuleConfig, path: string, mistakes: string[]): Rule['applies'] {
  if (config.when === undefined) return () => true;
  const compiled = compileCondition(config.when);
  if (compiled.type === 'condition') return (question) => compiled.condition(question.cel);
  const { message, line, column } = compiled;
  mistakes.push(`${path}.when: rule "${config.id}": ${message} at line ${line}, column ${column} of ${JSON.stringify(config.when)}`);
  return () => false;
}
