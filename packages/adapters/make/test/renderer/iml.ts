import { FUNCTIONS, ImlError, isTruthy, KEYWORDS } from './functions.ts';
import { text } from './text.ts';

/**
 * Expressions of IML, Make's mapping language, as the app's files use them and as
 * https://developers.make.com/custom-apps-documentation/block-elements/iml describes them: strict equality, `&&`, `||`,
 * `!`, arithmetic, calls, properties, backticks around names that are no identifiers, arrays that begin at 1. Arguments
 * are parted by commas in an app's files and by semicolons in a blueprint; there `&` and `|` mean and, or.
 */
export type Scope = Readonly<Record<string, unknown>>;

type Node =
  | { readonly type: 'value'; readonly value: unknown }
  | { readonly type: 'name'; readonly name: string }
  | { readonly type: 'property'; readonly of: Node; readonly key: string }
  | { readonly type: 'item'; readonly of: Node; readonly index: Node }
  | { readonly type: 'call'; readonly name: string; readonly args: readonly Node[] }
  | { readonly type: 'not' | 'negative'; readonly of: Node }
  | { readonly type: 'binary'; readonly operator: string; readonly left: Node; readonly right: Node };

const TOKEN =
  /\s*(?:(?<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")|`(?<quoted>[^`]*)`|(?<number>\d+(?:\.\d+)?)|(?<name>[A-Za-z_]\w*)|(?<sign>===|!==|==|!=|<=|>=|&&|\|\||[-+*/%<>=!&|().,;[\]]))/y;

interface Token {
  readonly kind: 'text' | 'quoted' | 'number' | 'name' | 'sign' | 'end';
  readonly value: string;
}

function tokensOf(source: string): readonly Token[] {
  const tokens: Token[] = [];
  const text = source.trimEnd();
  TOKEN.lastIndex = 0;
  while (TOKEN.lastIndex < text.length) {
    const at = TOKEN.lastIndex;
    const match = TOKEN.exec(text);
    if (match === null) throw new ImlError(`can't read ${JSON.stringify(text.slice(at, at + 20))} in {{${source}}}`);
    const [kind, value] = Object.entries(match.groups ?? {}).find(([, found]) => found !== undefined) ?? ['end', ''];
    tokens.push({ kind: kind as Token['kind'], value: value ?? '' });
  }
  return [...tokens, { kind: 'end', value: '' }];
}

/** Stronger binds tighter. */
const STRENGTH: Readonly<Record<string, number>> = {
  '||': 1,
  '|': 1,
  '&&': 2,
  '&': 2,
  '=': 3,
  '==': 3,
  '===': 3,
  '!=': 3,
  '!==': 3,
  '<': 4,
  '<=': 4,
  '>': 4,
  '>=': 4,
  '+': 5,
  '-': 5,
  '*': 6,
  '/': 6,
  '%': 6,
};

function parse(source: string): Node {
  const tokens = tokensOf(source);
  let at = 0;
  const peek = (): Token => tokens[at] ?? { kind: 'end', value: '' };
  const take = (): Token => {
    const token = peek();
    at += 1;
    return token;
  };
  const isSign = (value: string): boolean => peek().kind === 'sign' && peek().value === value;
  const expectSign = (value: string): void => {
    if (!isSign(value)) throw new ImlError(`expected ${value} but found ${JSON.stringify(peek().value)} in {{${source}}}`);
    at += 1;
  };

  function expression(least: number): Node {
    let left = unary();
    for (;;) {
      const { kind, value } = peek();
      const strength = kind === 'sign' ? STRENGTH[value] : undefined;
      if (strength === undefined || strength < least) return left;
      at += 1;
      left = { type: 'binary', operator: value, left, right: expression(strength + 1) };
    }
  }

  function unary(): Node {
    if (isSign('!')) {
      at += 1;
      return { type: 'not', of: unary() };
    }
    if (isSign('-')) {
      at += 1;
      return { type: 'negative', of: unary() };
    }
    return postfix(primary());
  }

  function primary(): Node {
    const token = take();
    switch (token.kind) {
      case 'text':
        return { type: 'value', value: token.value.slice(1, -1).replace(/\\(.)/g, '$1') };
      case 'number': {
        // `1.status` in a blueprint: the module's number, then a property; the token took the dot only if digits follow.
        return isSign('.') ? { type: 'name', name: token.value } : { type: 'value', value: Number(token.value) };
      }
      case 'quoted':
        return { type: 'name', name: token.value };
      case 'name': {
        if (!isSign('(')) return { type: 'name', name: token.value };
        at += 1;
        const args: Node[] = [];
        while (!isSign(')')) {
          args.push(expression(1));
          if (isSign(',') || isSign(';')) at += 1;
          else if (!isSign(')')) throw new ImlError(`expected , or ) in {{${source}}}`);
        }
        at += 1;
        return { type: 'call', name: token.value, args };
      }
      default: {
        if (token.value !== '(') throw new ImlError(`did not expect ${JSON.stringify(token.value)} in {{${source}}}`);
        const inner = expression(1);
        expectSign(')');
        return inner;
      }
    }
  }

  function postfix(of: Node): Node {
    let node = of;
    for (;;) {
      if (isSign('.')) {
        at += 1;
        const key = take();
        if (key.kind === 'sign' || key.kind === 'end') throw new ImlError(`expected a name after the dot in {{${source}}}`);
        node = { type: 'property', of: node, key: key.value };
      } else if (isSign('[')) {
        at += 1;
        // `[]` takes the first item, as in `{{1.choices[].message}}`.
        node = { type: 'item', of: node, index: isSign(']') ? { type: 'value', value: 1 } : expression(1) };
        expectSign(']');
      } else return node;
    }
  }

  const whole = expression(1);
  if (peek().kind !== 'end') throw new ImlError(`did not expect ${JSON.stringify(peek().value)} in {{${source}}}`);
  return whole;
}

/** What an expression speaks of, for tests that look at every one. */
export function namesIn(source: string): { readonly variables: readonly string[]; readonly functions: readonly string[] } {
  const variables: string[] = [];
  const functions: string[] = [];
  const visit = (node: Node): void => {
    if (node.type === 'name') variables.push(node.name);
    if (node.type === 'call') functions.push(node.name);
    for (const part of Object.values(node)) {
      if (Array.isArray(part)) part.forEach((arg: Node) => visit(arg));
      else if (typeof part === 'object' && part !== null && 'type' in part) visit(part as Node);
    }
  };
  visit(parse(source));
  return { variables, functions };
}

const parsed = new Map<string, Node>();

/** The value of one expression, without its mustaches. A name nobody defined is undefined; a function nobody documents is an error. */
export function evaluate(source: string, scope: Scope): unknown {
  let node = parsed.get(source);
  if (node === undefined) parsed.set(source, (node = parse(source)));
  return valueOf(node, scope);
}

function valueOf(node: Node, scope: Scope): unknown {
  switch (node.type) {
    case 'value':
      return node.value;
    case 'name':
      if (node.name in scope) return scope[node.name];
      if (KEYWORDS.has(node.name)) return KEYWORDS.get(node.name);
      return undefined;
    case 'property':
      return propertyOf(valueOf(node.of, scope), node.key);
    case 'item': {
      const list = valueOf(node.of, scope);
      const index = Number(valueOf(node.index, scope));
      return Array.isArray(list) && index !== 0 ? (list as unknown[]).at(index < 0 ? index : index - 1) : undefined;
    }
    case 'call': {
      const call = Object.hasOwn(FUNCTIONS, node.name) ? FUNCTIONS[node.name] : undefined;
      if (call === undefined) throw new ImlError(`Make documents no function ${node.name}`);
      return call(...node.args.map((arg) => valueOf(arg, scope)));
    }
    case 'not':
      return !isTruthy(valueOf(node.of, scope));
    case 'negative':
      return -Number(valueOf(node.of, scope));
    case 'binary':
      return OPERATORS[node.operator]?.(
        () => valueOf(node.left, scope),
        () => valueOf(node.right, scope),
      );
  }
}

function propertyOf(of: unknown, key: string): unknown {
  if (typeof of !== 'object' || of === null) return undefined;
  return Object.hasOwn(of, key) ? (of as Record<string, unknown>)[key] : undefined;
}

type Operand = () => unknown;
const equal = (left: Operand, right: Operand): boolean => left() === right();
const and = (left: Operand, right: Operand): unknown => {
  const value = left();
  return isTruthy(value) ? right() : value;
};
const or = (left: Operand, right: Operand): unknown => {
  const value = left();
  return isTruthy(value) ? value : right();
};
const OPERATORS: Readonly<Record<string, (left: Operand, right: Operand) => unknown>> = {
  '||': or,
  '|': or,
  '&&': and,
  '&': and,
  '=': equal,
  '==': equal,
  '===': equal,
  '!=': (left, right) => !equal(left, right),
  '!==': (left, right) => !equal(left, right),
  '<': (left, right) => Number(left()) < Number(right()),
  '<=': (left, right) => Number(left()) <= Number(right()),
  '>': (left, right) => Number(left()) > Number(right()),
  '>=': (left, right) => Number(left()) >= Number(right()),
  '+': (left, right) => {
    const [a, b] = [left(), right()];
    return typeof a === 'number' && typeof b === 'number' ? a + b : `${text(a)}${text(b)}`;
  },
  '-': (left, right) => Number(left()) - Number(right()),
  '*': (left, right) => Number(left()) * Number(right()),
  '/': (left, right) => Number(left()) / Number(right()),
  '%': (left, right) => Number(left()) % Number(right()),
};
