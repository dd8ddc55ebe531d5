import { Environment, type ASTNode } from '@marcbachmann/cel-js';
import type { PolicyFacts } from './policy.ts';

/**
 * A rule's `when`, compiled once at start. CEL has no nullable types, so each expression meets two environments: the
 * strict one types every fact (a typo or a comparison of text with a number fails at start, with its place), the
 * running one lets the same facts be null. Facts and their types are listed once, here.
 */
const FACT_TYPES = {
  agent: { id: 'text', name: 'text' },
  run: { id: 'text', status: 'text', runtime_s: 'double' },
  session: { id: 'text' },
  workflow: { id: 'text' },
  tool: { name: 'text', price_usd: 'amount' },
  model: { name: 'text' },
  provider: { name: 'text' },
  endpoint: { id: 'text' },
  member: { id: 'text' },
  workspace: { id: 'string' },
  customer: { id: 'text' },
  cost: { request_max_usd: 'amount', run_usd: 'double', session_usd: 'double' },
  counts: { requests: 'int', tool_calls: 'int', retries: 'int', steps: 'int', attempt: 'int' },
  time: { hour: 'int', weekday: 'int', iso: 'string' },
} as const satisfies { readonly [V in keyof PolicyFacts]: { readonly [F in keyof PolicyFacts[V]]: FactType } };

/** `text` and `amount` are a string and a double that may be null. */
type FactType = 'text' | 'amount' | 'string' | 'double' | 'int';

const STRICT: Readonly<Record<FactType, string>> = { text: 'string', amount: 'double', string: 'string', double: 'double', int: 'int' };
const RUNNING: Readonly<Record<FactType, string>> = { text: 'dyn', amount: 'dyn', string: 'string', double: 'double', int: 'int' };

function environment(types: Readonly<Record<FactType, string>>): Environment {
  const cel = new Environment({ homogeneousAggregateLiterals: false, limits: { maxAstNodes: 2_000, maxDepth: 50 } });
  // Standard CEL has no arithmetic between int and double; for `cost.run_usd / counts.requests` one wants it.
  for (const [left, right] of [
    ['int', 'double'],
    ['double', 'int'],
  ]) {
    cel.registerOperator(`${left} + ${right}: double`, (a: unknown, b: unknown) => Number(a) + Number(b));
    cel.registerOperator(`${left} - ${right}: double`, (a: unknown, b: unknown) => Number(a) - Number(b));
    cel.registerOperator(`${left} * ${right}: double`, (a: unknown, b: unknown) => Number(a) * Number(b));
    cel.registerOperator(`${left} / ${right}: double`, (a: unknown, b: unknown) => Number(a) / Number(b));
  }
  cel.registerOperator('double == int', (a: unknown, b: unknown) => Number(a) === Number(b));
  if (types === STRICT) {
    cel.registerOperator('string == null', () => false);
    cel.registerOperator('double == null', () => false);
  }
  for (const [variable, fields] of Object.entries(FACT_TYPES)) {
    cel.registerVariable({
      name: variable,
      schema: Object.fromEntries(Object.entries(fields).map(([field, type]) => [field, types[type]])),
    });
  }
  return cel;
}

const strict = environment(STRICT);
const running = environment(RUNNING);

/** Facts in CEL's own terms: counts are bigints. Made once per decision, for all rules. */
export type CelFacts = Readonly<Record<string, unknown>>;

export function toCelFacts(facts: PolicyFacts): CelFacts {
  const { counts, time } = facts;
  return {
    ...facts,
    counts: {
      requests: BigInt(counts.requests),
      tool_calls: BigInt(counts.tool_calls),
      retries: BigInt(counts.retries),
      steps: BigInt(counts.steps),
      attempt: BigInt(counts.attempt),
    },
    time: { hour: BigInt(time.hour), weekday: BigInt(time.weekday), iso: time.iso },
  };
}

/** Answers true or false, or throws: an absent text has no `startsWith`, an unknown price no size. */
export type Condition = (facts: CelFacts) => boolean;

export type Compiled =
  | { readonly type: 'condition'; readonly condition: Condition }
  | { readonly type: 'mistake'; readonly message: string; readonly line: number; readonly column: number };

/** Compiles a CEL expression over `PolicyFacts`; a mistake in it is a value with its place (counted from 1). */
export function compileCondition(source: string): Compiled {
  const checked = strict.check(source);
  if (!checked.valid) return mistake(source, checked.error);
  if (checked.type !== 'bool') {
    return { type: 'mistake', message: `must be true or false, but is ${checked.type ?? 'of unknown type'}`, line: 1, column: 1 };
  }
  const evaluate = running.parse(source);
  const runningCheck = evaluate.check();
  if (!runningCheck.valid) return mistake(source, runningCheck.error);
  const pattern = unsafePattern(evaluate.ast);
  if (pattern !== undefined) return { type: 'mistake', message: pattern.message, ...place(source, pattern.node.start) };
  return {
    type: 'condition',
    condition: (facts) => {
      const result: unknown = evaluate(facts);
      if (typeof result !== 'boolean') throw new TypeError(`gave ${typeof result}, not true or false`);
      return result;
    },
  };
}

/** What an evaluation failure says in one line, without the source excerpt cel-js adds. */
export function failureText(error: unknown): string {
  if (error instanceof Error) return 'summary' in error && typeof error.summary === 'string' ? error.summary : error.message;
  return String(error);
}

function mistake(source: string, error: { summary: string; range?: { start: number } | undefined } | undefined): Compiled {
  return { type: 'mistake', message: error?.summary ?? 'is not valid CEL', ...place(source, error?.range?.start ?? 0) };
}

function place(source: string, offset: number): { line: number; column: number } {
  const before = source.slice(0, offset).split('\n');
  return { line: before.length, column: (before.at(-1)?.length ?? 0) + 1 };
}

/**
 * The first `matches` whose pattern is no literal or no regular expression. Patterns stand in the operator's file,
 * never in a caller's text, and a broken one is found at start.
 */
function unsafePattern(node: ASTNode): { message: string; node: ASTNode } | undefined {
  if (node.op === 'call' || node.op === 'rcall') {
    const pattern = node.args[0] === 'matches' ? node.args.flat().at(-1) : undefined;
    if (isNode(pattern)) {
      if (pattern.op !== 'value' || typeof pattern.args !== 'string')
        return { message: 'matches() needs its pattern written out as text', node: pattern };
      try {
        new RegExp(pattern.args);
      } catch (error) {
        return { message: failureText(error), node: pattern };
      }
    }
  }
  for (const child of childrenOf(node.args)) {
    const found = unsafePattern(child);
    if (found !== undefined) return found;
  }
  return undefined;
}

function childrenOf(args: unknown): ASTNode[] {
  if (isNode(args)) return [args];
  return Array.isArray(args) ? args.flatMap(childrenOf) : [];
}

function isNode(value: unknown): value is ASTNode {
  return typeof value === 'object' && value !== null && 'op' in value && 'args' in value;
}
