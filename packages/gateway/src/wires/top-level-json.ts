/** One member of the outermost object of a JSON text, by where it stands. */
export interface Member {
  readonly key: string;
  /** Where the key's opening quote stands. */
  readonly start: number;
  readonly valueStart: number;
  readonly valueEnd: number;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const COMMA = 0x2c;
const COLON = 0x3a;

/**
 * The members of a JSON text's outermost object, in order, twins included. The text must have been accepted by
 * `JSON.parse` already: this looks for where things stand and checks nothing. Strings are jumped over by a native
 * search, so long prompts cost little.
 */
export function topLevelMembers(text: string): readonly Member[] {
  const members: Member[] = [];
  let at = skipBlank(text, 0) + 1;
  for (;;) {
    at = skipBlank(text, at);
    const code = text.charCodeAt(at);
    if (code === CLOSE_BRACE || Number.isNaN(code)) return members;
    if (code === COMMA) {
      at += 1;
      continue;
    }
    const keyEnd = stringEnd(text, at);
    const raw = text.slice(at + 1, keyEnd - 1);
    const key = raw.includes('\\') ? (JSON.parse(`"${raw}"`) as string) : raw;
    const valueStart = skipBlank(text, text.charCodeAt(keyEnd) === COLON ? keyEnd + 1 : skipBlank(text, keyEnd) + 1);
    const valueEnd = skipValue(text, valueStart);
    members.push({ key, start: at, valueStart, valueEnd });
    at = valueEnd;
  }
}

/**
 * The text with some top-level values replaced or added, and every other byte as it was. Values are given as JSON text.
 * A key that stands twice is settled: `JSON.parse` takes the last, other parsers the first, so only the last is left
 * and whoever reads the text next reads what was admitted.
 */
export function spliceTopLevel(text: string, values: ReadonlyMap<string, string>): string {
  const members = topLevelMembers(text);
  const lastOf = new Map<string, Member>();
  for (const member of members) lastOf.set(member.key, member);
  if (values.size === 0 && lastOf.size === members.length) return text;

  let spliced = '';
  let copied = 0;
  for (const [index, member] of members.entries()) {
    if (lastOf.get(member.key) !== member) {
      // A twin that does not count: a later one always follows it.
      spliced += text.slice(copied, member.start);
      copied = members[index + 1]?.start ?? member.valueEnd;
      continue;
    }
    const value = values.get(member.key);
    if (value === undefined) continue;
    spliced += text.slice(copied, member.valueStart) + value;
    copied = member.valueEnd;
  }
  spliced += text.slice(copied);

  const added = [...values].filter(([key]) => !lastOf.has(key)).map(([key, value]) => `${JSON.stringify(key)}:${value}`);
  if (added.length === 0) return spliced;
  const afterBrace = skipBlank(spliced, 0) + 1;
  return `${spliced.slice(0, afterBrace)}${added.join(',')}${members.length === 0 ? '' : ','}${spliced.slice(afterBrace)}`;
}

/** Where a JSON string that opens at `open` ends: the index after its closing quote. */
export function stringEnd(text: string, open: number): number {
  // Native search finds the end of a string without escaped quotes, which most are; the rest are walked through.
  const quote = text.indexOf('"', open + 1);
  if (quote === -1) return text.length;
  if (text.charCodeAt(quote - 1) !== BACKSLASH) return quote + 1;
  let at = open + 1;
  while (at < text.length) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) return at + 1;
    at += code === BACKSLASH ? 2 : 1;
  }
  return text.length;
}

function skipValue(text: string, start: number): number {
  const first = text.charCodeAt(start);
  if (first === QUOTE) return stringEnd(text, start);
  if (first !== OPEN_BRACE && first !== OPEN_BRACKET) {
    let at = start;
    while (at < text.length && !endsScalar(text.charCodeAt(at))) at += 1;
    return at;
  }
  let depth = 0;
  let at = start;
  while (at < text.length) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) {
      at = stringEnd(text, at);
      continue;
    }
    at += 1;
    if (code === OPEN_BRACE || code === OPEN_BRACKET) depth += 1;
    else if (code === CLOSE_BRACE || code === CLOSE_BRACKET) {
      depth -= 1;
      if (depth === 0) return at;
    }
  }
  return at;
}

function endsScalar(code: number): boolean {
  return code === COMMA || code === CLOSE_BRACE || code === CLOSE_BRACKET || isBlank(code);
}

function skipBlank(text: string, from: number): number {
  let at = from;
  while (isBlank(text.charCodeAt(at))) at += 1;
  return at;
}

/** JSON's white space, and the byte order mark a text may begin with. */
function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x0a || code === 0x0d || code === 0x09 || code === 0xfeff;
}
