import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { ConfigError, defaultConfig, loadConfig, parseConfig } from './load.ts';

const DESIGN_EXAMPLE = `
providers:
  - { name: openai, kind: openai, base_url: https://api.openai.com/v1, api_key: \${OPENAI_API_KEY} }
  - { name: anthropic, kind: anthropic, api_key: \${ANTHROPIC_API_KEY} }
  - { name: sandbox, kind: sandbox }
rate:     { requests_per_minute: 100 }        # always on, per key; only the operator raises it
tools:    [ { name: customer_lookup, price_usd: "0.002" } ]
budgets:
  - { scope: run, id: "*", window: lifetime, limit_usd: "0.50", action: block, on_exceed: clamp }
  - { scope: session, id: "*", limit_usd: "20", action: block, thresholds: [50, 75, 90, 100] }
bounds:   [ { scope: run, id: "*", max_requests: 40, max_tool_calls: 60, max_runtime_s: 900, max_retries: 5, max_repeats: 3 } ]
`;

function message(text: string, environment: Record<string, string> = {}): string {
  try {
    parseConfig(text, 'runpurse.yaml', environment);
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    return (error as ConfigError).message;
  }
  throw new Error('the configuration was taken as valid');
}

describe('runpurse.yaml', () => {
  it('reads the example of the design, secrets filled in from the environment', () => {
    const config = parseConfig(DESIGN_EXAMPLE, 'runpurse.yaml', { OPENAI_API_KEY: 'sk-a', ANTHROPIC_API_KEY: 'sk-b' });
    expect(config.providers.map(({ name, api_key }) => [name, api_key])).toEqual([
      ['openai', 'sk-a'],
      ['anthropic', 'sk-b'],
      ['sandbox', undefined],
    ]);
    expect(config.budgets[0]).toMatchObject({ scope: 'run', id: '*', limit_usd: 500_000_000n, action: 'block', on_exceed: 'clamp' });
    expect(config.tools[0]?.price_usd).toBe(2_000_000n);
    expect(config.bounds[0]?.max_repeats).toBe(3);
  });

  it('is the sandbox provider alone when there is no file or the file is empty', () => {
    for (const config of [defaultConfig(), parseConfig('', 'runpurse.yaml', {}), parseConfig('# nothing\n', 'runpurse.yaml', {})]) {
      expect(config.providers.map(({ kind }) => kind)).toEqual(['sandbox']);
      expect(config.rate.requests_per_minute).toBe(100);
      expect(config.budgets).toEqual([]);
    }
  });

  it.each([
    ['braces and quotes', 'a"b{c}: d #e'],
    ['a leading star', '*alias'],
    ['digits only', '123456'],
    ['a line break', 'one\ntwo'],
  ])('takes a secret with %s as the text it is', (_what, secret) => {
    const config = parseConfig('providers: [ { name: p, kind: sandbox, scripts: ${SECRET} } ]', 'runpurse.yaml', { SECRET: secret });
    expect(config.providers[0]?.scripts).toBe(secret);
  });

  it('takes a key without the line break that files and secret stores leave behind it', () => {
    const config = parseConfig('providers: [ { name: p, kind: openai, api_key: ${SECRET} } ]', 'runpurse.yaml', { SECRET: 'sk-1\n' });
    expect(config.providers[0]?.api_key).toBe('sk-1');
  });

  it('says that a key can be no header before the first call fails, and does not show it', () => {
    const read = (): unknown =>
      parseConfig('providers: [ { name: p, kind: openai, api_key: ${SECRET} } ]', 'runpurse.yaml', { SECRET: 'sk-planted\nsecond' });
    expect(read).toThrow('runpurse.yaml: providers[0].api_key: holds a space, a line break or another character that no header can carry');
    expect(read).not.toThrow(/planted/);
  });

  it('fills a variable inside a longer text, leaves $${NAME} as text and does not ask for one in a comment', () => {
    const text =
      '# uses ${NOT_ASKED}\nproviders: [ { name: p, kind: openai, base_url: "https://${HOST}/v1", headers: { X-Literal: "$${HOST}" } } ]';
    const [provider] = parseConfig(text, 'runpurse.yaml', { HOST: 'api.example.com' }).providers;
    expect(provider?.base_url).toBe('https://api.example.com/v1');
    expect(provider?.headers).toEqual({ 'X-Literal': '${HOST}' });
  });

  it('takes a number from the environment where a number is wanted', () => {
    expect(parseConfig('rate: { requests_per_minute: ${RPM} }', 'runpurse.yaml', { RPM: '250' }).rate.requests_per_minute).toBe(250);
  });

  it.each([
    [
      'a missing variable',
      'providers:\n  - { name: a, kind: sandbox }\n  - { name: openai, kind: openai, api_key: ${OPENAI_API_KEY} }',
      'runpurse.yaml: providers[1].api_key: the environment variable OPENAI_API_KEY is not set. Set it, or take it out of runpurse.yaml.',
    ],
    [
      'an amount that is none',
      'budgets:\n  - { scope: run, limit_usd: "1" }\n  - { scope: run, limit_usd: ten }',
      'runpurse.yaml: budgets[1].limit_usd: must be a dollar amount such as "0.50" (up to 9 decimals), not "ten"',
    ],
    [
      'a negative amount',
      'budgets: [ { scope: run, limit_usd: -1 } ]',
      'runpurse.yaml: budgets[0].limit_usd: must be a dollar amount such as "0.50" (up to 9 decimals), not -1',
    ],
    ['a missing amount', 'budgets: [ { scope: run } ]', 'runpurse.yaml: budgets[0].limit_usd: is missing'],
    [
      'an amount of the wrong kind',
      'budgets: [ { scope: run, limit_usd: [1] } ]',
      'runpurse.yaml: budgets[0].limit_usd: must be text or a number, not a list',
    ],
    [
      'an unknown scope',
      'budgets: [ { scope: team, limit_usd: 1 } ]',
      'runpurse.yaml: budgets[0].scope: must be one of request, run, session, workflow, agent, member, customer, workspace, key, not "team"',
    ],
    [
      'an unknown action',
      'budgets: [ { scope: run, limit_usd: 1, action: explode } ]',
      'runpurse.yaml: budgets[0].action: must be block, alert_only or pause, not "explode"',
    ],
    [
      'a misspelt key',
      'budgets: [ { scope: run, limit_usd: 1, on_excede: clamp } ]',
      'runpurse.yaml: budgets[0].on_excede: is not known here; did you mean on_exceed?',
    ],
    ['a misspelt section', 'budget: []', 'runpurse.yaml: budget: is not known here; did you mean budgets?'],
    ['a number as text', 'rate: { requests_per_minute: "many" }', 'runpurse.yaml: rate.requests_per_minute: must be a number, not "many"'],
    [
      'a fraction of a request',
      'rate: { requests_per_minute: 1.5 }',
      'runpurse.yaml: rate.requests_per_minute: must be a whole number, not 1.5',
    ],
    ['no requests at all', 'rate: { requests_per_minute: 0 }', 'runpurse.yaml: rate.requests_per_minute: must be more than 0'],
    [
      'a bad URL',
      'providers: [ { name: a, kind: openai, base_url: "ftp://x" } ]',
      'runpurse.yaml: providers[0].base_url: must be a URL such as "https://api.example.com/v1", not "ftp://x"',
    ],
    [
      'an upper-case provider',
      'providers: [ { name: OpenAI, kind: openai } ]',
      'runpurse.yaml: providers[0].name: must be lower-case letters, digits, - or _, not "OpenAI"',
    ],
    [
      'a threshold above 100',
      'budgets: [ { scope: run, limit_usd: 1, thresholds: [150] } ]',
      'runpurse.yaml: budgets[0].thresholds[0]: must be at most 100',
    ],
    ['a list that is none', 'tools: { name: x }', 'runpurse.yaml: tools: must be a list, not an object'],
    [
      'two providers of one name',
      'providers: [ { name: a, kind: sandbox }, { name: a, kind: openai } ]',
      'runpurse.yaml: providers[1].name: "a" is already used by providers[0]; each must be unique.',
    ],
    [
      'two tools of one name',
      'tools: [ { name: t, price_usd: 1 }, { name: t, price_usd: 2 } ]',
      'runpurse.yaml: tools[1].name: "t" is already used by tools[0]; each must be unique.',
    ],
    [
      'two rules of one id',
      'policy: { rules: [ { id: r, phase: tool_call, effect: block }, { id: r, phase: tool_call, effect: audit } ] }',
      'runpurse.yaml: policy.rules[1].id: "r" is already used by policy.rules[0]; each must be unique.',
    ],
    [
      'two prices of one model',
      'prices: [ { model: m, input_mtok_usd: 1, output_mtok_usd: 1 }, { model: m, input_mtok_usd: 2, output_mtok_usd: 1 } ]',
      'runpurse.yaml: prices[1].model: "m" is already used by prices[0]; each must be unique.',
    ],
    [
      'a rule that does not compile',
      'policy: { rules: [ { id: r, phase: tool_call, effect: block, when: "tool.nmae ==" } ] }',
      expect.stringMatching(/^runpurse\.yaml: policy\.rules\[0\]\.when: rule "r": .*line 1/),
    ],
    [
      'an effect of a later version',
      'policy: { rules: [ { id: r, phase: tool_call, effect: route } ] }',
      'runpurse.yaml: policy.rules[0].effect: "route" comes with a later version of Runpurse; until then a rule can allow, block, audit, skip',
    ],
    ['text instead of a mapping', 'hello', 'runpurse.yaml: must be an object, not "hello"'],
  ])('names the path of %s', (_what, text, expected) => {
    expect(message(text)).toEqual(expected);
  });

  it('tells every mistake at once, one a line', () => {
    expect(message('rate: { requests_per_minute: 0 }\ntools: 3').split('\n')).toHaveLength(2);
  });

  it('never prints a value that came from the environment', () => {
    const text = message('providers: [ { name: a, kind: openai, timeout_s: ${SECRET} } ]', { SECRET: 'sk-very-secret' });
    expect(text).toBe('runpurse.yaml: providers[0].timeout_s: must be a number');
  });

  it('says where the YAML itself is broken, with the text as written', () => {
    const text = message('providers:\n  - { name: a, api_key: ${KEY}\n', { KEY: 'x' });
    expect(text).toMatch(/^runpurse\.yaml: not valid YAML: .*line \d+/s);
    expect(text).not.toContain('runpurse-env');
    expect(message('rate: {}\nrate: {}\n')).toMatch(/Map keys must be unique/);
  });

  it('says which file is not there, and takes paths from where the file lies', () => {
    const directory = mkdtempSync(join(tmpdir(), 'runpurse-config-'));
    try {
      const file = join(directory, 'runpurse.yaml');
      expect(() => loadConfig(file, {})).toThrow(`Cannot read the configuration ${file}: there is no such file.`);
      writeFileSync(file, 'rate: { requests_per_minute: 7 }');
      expect(loadConfig(file, {}).rate.requests_per_minute).toBe(7);
      writeFileSync(file, 'providers: [ { name: sandbox, kind: sandbox, scripts: scripts/agent.yaml } ]');
      expect(loadConfig(file, {}).providers[0]?.scripts).toBe(join(directory, 'scripts', 'agent.yaml'));
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});
