import { describe, expect, it } from '@jest/globals';
import { gatewayConfig } from '../config/config.ts';
import { createPolicy } from './create.ts';
import { auditsOf, decisionsOf } from './decisions.ts';
import type { PolicyFacts, PolicyPhase } from './policy.ts';

type Changes = { readonly [V in keyof PolicyFacts]?: Partial<PolicyFacts[V]> };

/** Facts of a call nobody said much about; a test states what it is about. */
function factsWith(changes: Changes = {}): PolicyFacts {
  return {
    agent: { id: null, name: null, ...changes.agent },
    run: { id: 'run-1', status: 'running', runtime_s: 12.5, ...changes.run },
    session: { id: null, ...changes.session },
    workflow: { id: null, ...changes.workflow },
    tool: { name: null, price_usd: null, ...changes.tool },
    model: { name: null, ...changes.model },
    provider: { name: null, ...changes.provider },
    endpoint: { id: null, ...changes.endpoint },
    member: { id: null, ...changes.member },
    workspace: { id: 'acme', ...changes.workspace },
    customer: { id: null, ...changes.customer },
    cost: { request_max_usd: null, run_usd: 0, session_usd: 0, ...changes.cost },
    counts: { requests: 0, tool_calls: 0, retries: 0, steps: 0, attempt: 1, ...changes.counts },
    time: { hour: 14, weekday: 2, iso: '2026-11-24T14:00:00.000Z', ...changes.time },
  };
}

const policyOf = (policy: unknown) => createPolicy(gatewayConfig.parse({ policy }).policy);

const whenRule = (when: string, more: object = {}) =>
  policyOf({ rules: [{ id: 'r', phase: 'model_request', effect: 'block', when, ...more }] });

function errorOf(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
  return 'no error';
}

describe('a condition', () => {
  it.each<[string, Changes, boolean]>([
    ['counts.requests > 5', { counts: { requests: 6 } }, true],
    ['counts.requests > 5', { counts: { requests: 5 } }, false],
    ['counts.requests > 5.5', { counts: { requests: 6 } }, true],
    ['counts.attempt == 2', { counts: { attempt: 2 } }, true],
    ['cost.run_usd > 0.5', { cost: { run_usd: 0.51 } }, true],
    ['cost.run_usd > 0.5', { cost: { run_usd: 0.5 } }, false],
    ['cost.run_usd > 1', { cost: { run_usd: 1.01 } }, true],
    ['cost.run_usd == 1', { cost: { run_usd: 1 } }, true],
    ['cost.run_usd != 1', { cost: { run_usd: 1 } }, false],
    ['cost.run_usd * 2 > 1', { cost: { run_usd: 0.6 } }, true],
    ['cost.run_usd / counts.requests > 0.1', { cost: { run_usd: 1 }, counts: { requests: 9 } }, true],
    ['cost.request_max_usd > 1', { cost: { request_max_usd: 2 } }, true],
    ['cost.request_max_usd != null && cost.request_max_usd > 1', { cost: { request_max_usd: null } }, false],
    ['run.runtime_s > 12', {}, true],
    ['agent.id == "support"', { agent: { id: 'support' } }, true],
    ['agent.id == "support"', { agent: { id: null } }, false],
    ['agent.id != "support"', { agent: { id: null } }, true],
    ['agent.id == null', {}, true],
    ['agent.id in ["a", "b"]', { agent: { id: 'b' } }, true],
    ['agent.id in ["a", "b"]', {}, false],
    ['!(workspace.id in ["acme"])', {}, false],
    ['model.name.startsWith("gpt-")', { model: { name: 'gpt-4o' } }, true],
    ['model.name.matches("^gpt-[45]")', { model: { name: 'gpt-3.5' } }, false],
    ['(agent.id == null ? "none" : agent.id) == "none"', {}, true],
    ['[agent.id, "x"].size() == 2', {}, true],
    ['time.hour >= 9 && time.hour < 17 && time.weekday < 6', {}, true],
    ['provider.name == "openai" && customer.id == "c-1"', { provider: { name: 'openai' }, customer: { id: 'c-1' } }, true],
  ])('%s with %j is %s', (when, changes, matches) => {
    const verdict = whenRule(when).evaluate('model_request', factsWith(changes));
    expect(verdict.matches.map((match) => match.reason)).toEqual(matches ? ['Rule "r" matched'] : []);
    expect(verdict.type).toBe(matches ? 'denied' : 'allowed');
  });

  it.each([
    ['cost.run_us > 1', 'No such key: run_us at line 1, column 6 of "cost.run_us > 1"'],
    ['counts["request"] > 1', 'No such key: request at line 1, column 1'],
    ['agnt.id == "a"', 'Unknown variable: agnt at line 1, column 1'],
    ['cost.run_usd > 1 &&\n  agent.idd == "a"', 'No such key: idd at line 2, column 9'],
    ['cost.run_usd >', 'Unexpected token: EOF at line 1, column 15'],
    ['agent.id > 5', 'no such overload: string > int at line 1, column 1'],
    ['cost.run_usd == "1"', 'no such overload: double == string at line 1, column 1'],
    ['counts.requests', 'must be true or false, but is int'],
    ['agent.id', 'must be true or false, but is string'],
    ['dyn("yes")', 'must be true or false, but is dyn'],
    ['model.name.matches("^(gpt")', 'Invalid regular expression: /^(gpt/: Unterminated group at line 1, column 20'],
    ['"x".matches(model.name)', 'matches() needs its pattern written out as text at line 1, column 13'],
    ['["x"].exists(n, n.matches(tool.name))', 'matches() needs its pattern written out as text'],
  ])('%j is a mistake at start that names rule, path and place', (when, mistake) => {
    const message = errorOf(() =>
      policyOf({
        rules: [
          { id: 'fine', phase: 'tool_call', effect: 'audit' },
          { id: 'cap', phase: 'tool_call', effect: 'block', when },
        ],
      }),
    );
    expect(message).toContain(`policy.rules[1].when: rule "cap": ${mistake}`);
  });

  it('reports all mistakes of a file at once', () => {
    const rule = (id: string, when: string) => ({ id, phase: 'tool_call', effect: 'block', when });
    const message = errorOf(() => policyOf({ rules: [rule('a', 'x'), rule('a', 'true'), rule('tools.deny', 'y')] }));
    expect(message.split('\n')).toEqual([
      expect.stringContaining('policy.rules[0].when: rule "a": Unknown variable: x'),
      'policy.rules[1].id: rule "a" is already defined at policy.rules[0]',
      'policy.rules[2].id: "tools.deny" is the name of a ready-made gate; choose another',
      expect.stringContaining('policy.rules[2].when: rule "tools.deny": Unknown variable: y'),
    ]);
  });

  it.each<[string, string]>([
    ['agent.id.startsWith("support")', 'found no matching overload'],
    ['cost.request_max_usd > 1', 'no such overload'],
    ['counts.requests / counts.retries > 1', 'division by zero'],
  ])('%s that fails at run time refuses, whatever its effect', (when, why) => {
    for (const effect of ['allow', 'audit', 'skip', 'block']) {
      const verdict = whenRule(when, { effect, revision: 7 }).evaluate('model_request', factsWith());
      expect(verdict).toMatchObject({
        type: 'denied',
        by: { rule: 'r', revision: '7', effect: 'block', reason: expect.stringContaining('Rule "r" could not be evaluated: ') },
      });
      expect(verdict.type === 'denied' && verdict.by.reason).toContain(why);
    }
  });

  it('that fails refuses even when another rule skips', () => {
    const policy = policyOf({
      rules: [
        { id: 'skip-all', phase: 'model_request', effect: 'skip' },
        { id: 'broken', phase: 'model_request', effect: 'audit', when: 'agent.id.startsWith("a")' },
      ],
    });
    expect(policy.evaluate('model_request', factsWith())).toMatchObject({ type: 'denied', by: { rule: 'broken' } });
  });
});

describe('precedence', () => {
  // Effects of the rules in file order; what comes out; what is logged.
  it.each<[readonly string[], 'allowed' | 'denied', readonly string[]]>([
    [[], 'allowed', []],
    [['allow'], 'allowed', ['allowed r0@1']],
    [['audit'], 'allowed', ['audited r0@1']],
    [['skip'], 'allowed', ['skipped r0@1']],
    [['block'], 'denied', ['denied r0@1']],
    [['allow', 'allow'], 'allowed', ['allowed r0@1', 'allowed r1@2']],
    [['allow', 'audit'], 'allowed', ['audited r1@2']],
    [['audit', 'allow', 'audit'], 'allowed', ['audited r0@1', 'audited r2@3']],
    [['audit', 'skip', 'allow'], 'allowed', ['skipped r1@2']],
    [['skip', 'audit'], 'allowed', ['skipped r0@1']],
    [['allow', 'block'], 'denied', ['denied r1@2']],
    [['audit', 'block'], 'denied', ['denied r1@2']],
    [['skip', 'block'], 'denied', ['denied r1@2']],
    [['allow', 'audit', 'skip', 'block', 'block'], 'denied', ['denied r3@4']],
  ])('of %j is %s and logs %j', (effects, type, logged) => {
    const policy = policyOf({
      rules: effects.map((effect, index) => ({ id: `r${index}`, revision: index + 1, phase: 'tool_call', effect })),
    });
    const verdict = policy.evaluate('tool_call', factsWith());
    expect(verdict.type).toBe(type);
    expect(decisionsOf(verdict).map(({ outcome, match }) => `${outcome} ${match.rule}@${match.revision}`)).toEqual(logged);
    expect(verdict.matches).toHaveLength(effects.length);
  });

  it('carries the reason the operator wrote', () => {
    const policy = policyOf({ rules: [{ id: 'no-night', phase: 'tool_call', effect: 'block', reason: 'Nobody watches at night' }] });
    expect(policy.evaluate('tool_call', factsWith())).toMatchObject({ type: 'denied', by: { reason: 'Nobody watches at night' } });
  });
});

describe('phases', () => {
  it('a rule is asked in its phases alone', () => {
    const policy = policyOf({ rules: [{ id: 'r', phase: ['model_request', 'run_update'], effect: 'block' }] });
    const denied = (['model_request', 'tool_call', 'run_update', 'endpoint_call'] as PolicyPhase[]).map((phase) => [
      phase,
      policy.evaluate(phase, factsWith()).type,
      policy.hasRules(phase),
      policy.gates(phase),
    ]);
    expect(denied).toEqual([
      ['model_request', 'denied', true, true],
      ['tool_call', 'allowed', false, false],
      ['run_update', 'denied', true, true],
      ['endpoint_call', 'allowed', false, false],
    ]);
  });
});

describe('gates', () => {
  const model = (name: string | null, provider: string | null = 'openai'): Changes => ({ model: { name }, provider: { name: provider } });
  const tool = (name: string | null): Changes => ({ tool: { name } });

  it.each<[string, object, PolicyPhase, Changes, string | undefined]>([
    ['denied by name', { models: { deny: ['gpt-4*'] } }, 'model_request', model('gpt-4o'), 'models.deny'],
    ['denied in other letters', { models: { deny: ['gpt-4*'] } }, 'model_request', model('GPT-4o'), 'models.deny'],
    ['denied with its provider', { models: { deny: ['openai/*'] } }, 'model_request', model('gpt-4o'), 'models.deny'],
    ['of another name', { models: { deny: ['gpt-4*'] } }, 'model_request', model('gpt-5'), undefined],
    ['allowed by name', { models: { allow: ['gpt-4o*', 'claude-*'] } }, 'model_request', model('claude-5', 'anthropic'), undefined],
    ['allowed with its provider', { models: { allow: ['openai/gpt-4o'] } }, 'model_request', model('gpt-4o'), undefined],
    ['allowed with another provider', { models: { allow: ['openai/gpt-4o'] } }, 'model_request', model('gpt-4o', 'azure'), 'models.allow'],
    ['not in the allow list', { models: { allow: ['gpt-4o'] } }, 'model_request', model('gpt-4o-mini'), 'models.allow'],
    ['allowed but in other letters', { models: { allow: ['gpt-4o'] } }, 'model_request', model('GPT-4o'), 'models.allow'],
    ['both allowed and denied', { models: { allow: ['gpt-*'], deny: ['gpt-4o'] } }, 'model_request', model('gpt-4o'), 'models.deny'],
    ['without name, under a deny list', { models: { deny: ['gpt-4o'] } }, 'model_request', model(null), 'models.deny'],
    ['with a blank name, under a deny list', { models: { deny: ['gpt-4o'] } }, 'model_request', model(''), 'models.deny'],
    ['without name, under an allow list', { models: { allow: ['gpt-4o'] } }, 'model_request', model(null), 'models.allow'],
    ['of a denied provider', { providers: { deny: ['openai'] } }, 'model_request', model('x'), 'providers.deny'],
    ['of no allowed provider', { providers: { allow: ['anthropic'] } }, 'model_request', model('x'), 'providers.allow'],
    ['of an allowed provider', { providers: { allow: ['open*'] } }, 'model_request', model('x'), undefined],
    ['tool denied', { tools: { deny: ['delete_*'] } }, 'tool_call', tool('delete_user'), 'tools.deny'],
    ['tool not denied', { tools: { deny: ['delete_*'] } }, 'tool_call', tool('read_user'), undefined],
    ['tool not in the allow list', { tools: { allow: ['read_*'] } }, 'tool_call', tool('send_mail'), 'tools.allow'],
    ['tool without name', { tools: { deny: ['delete_*'] } }, 'tool_call', tool(null), 'tools.deny'],
    ['tool with a blank name', { tools: { deny: ['delete_*'] } }, 'tool_call', tool(''), 'tools.deny'],
    ['tool under an empty allow list', { tools: { allow: [] } }, 'tool_call', tool('any'), 'tools.allow'],
    ['a tool list does not gate models', { tools: { allow: [] } }, 'model_request', model('gpt-4o'), undefined],
  ])('%s', (_title, policy, phase, changes, by) => {
    const verdict = policyOf(policy).evaluate(phase, factsWith(changes));
    expect(verdict.type === 'denied' ? verdict.by.rule : undefined).toBe(by);
  });

  it('say what was refused and by which list', () => {
    const verdict = policyOf({ models: { deny: ['gpt-4o'] } }).evaluate('model_request', factsWith(model('gpt-4o')));
    expect(verdict).toMatchObject({ by: { rule: 'models.deny', revision: '1', reason: 'model "gpt-4o" is on the deny list' } });
  });
});

describe('effects to come', () => {
  it.each(['require_approval', 'route'])('%s is refused by the schema, which says it comes later', (effect) => {
    const parsed = gatewayConfig.safeParse({ policy: { rules: [{ id: 'r', phase: 'tool_call', effect }] } });
    expect(parsed.error?.issues).toMatchObject([
      {
        path: ['policy', 'rules', 0, 'effect'],
        message: `"${effect}" comes with a later version of Runpurse; until then a rule can allow, block, audit, skip`,
      },
    ]);
  });

  it('a misspelt effect lists the ones there are', () => {
    const parsed = gatewayConfig.safeParse({ policy: { rules: [{ id: 'r', phase: 'tool_call', effect: 'deny' }] } });
    expect(parsed.error?.issues[0]?.message).toBe('must be one of allow, block, audit, skip, not "deny"');
  });
});

describe('what a call is warned of', () => {
  it.each<[readonly string[], readonly string[]]>([
    [[], []],
    [
      ['audit', 'allow', 'audit'],
      ['r0', 'r2'],
    ],
    [['audit', 'skip'], []],
    [['audit', 'block'], []],
  ])('with rules %j are the audits %j', (effects, audits) => {
    const policy = policyOf({ rules: effects.map((effect, index) => ({ id: `r${index}`, phase: 'tool_call', effect })) });
    expect(auditsOf(policy.evaluate('tool_call', factsWith()))).toEqual(audits);
  });
});
