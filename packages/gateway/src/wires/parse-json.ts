import { stringEnd } from './top-level-json.ts';

/**
 * `JSON.parse`, but right about escaped keys. V8 takes a key such as `"\u006dax_tokens"` for another one whose spelling
 * begins alike, if such a key was parsed before (https://github.com/nodejs/node/issues/63785, open in Node 24 and 26). A
 * caller could so hide a field from admission that the provider reads. Texts with an escape in any key, which are rare,
 * are read by the slower reader below; all others by V8. Throws what `JSON.parse` throws.
 */
export function parseJson(text: string): unknown {
  const parsed: unknown = JSON.parse(text);
  return text.includes('\\') && hasEscapedKey(text) ? readStrictly(text) : parsed;
}

const BACKSLASH = '\\';
const COLON = 0x3a;
const BLANK = /[ \t\r\n\ufeff]/;

/** Goes from string to string; one that a colon follows is a key. The text is JSON already. */
function hasEscapedKey(text: string): boolean {
  for (let open = text.indexOf('"'); open !== -1;) {
    const end = stringEnd(text, open);
    let after = end;
    while (BLANK.test(text.charAt(after))) after += 1;
    if (text.charCodeAt(after) === COLON && text.slice(open, end).includes(BACKSLASH)) return true;
    open = text.indexOf('"', end);
  }
  return false;
}

/** Reads a text that is JSON already; single strings and scalars are left to V8, which reads those right. */
function readStrictly(text: string): unknown {
  let at = 0;
  const skipBlank = (): string => {
    while (BLANK.test(text.charAt(at))) at += 1;
    return text.charAt(at);
  };
  const scalar = (end: number): unknown => {
    const value: unknown = JSON.parse(text.slice(at, end));
    at = end;
    return value;
  };
  const value = (): unknown => {
    const first = skipBlank();
    if (first === '{') {
      const entries: [string, unknown][] = [];
      at += 1;
      while (skipBlank() !== '}') {
        if (text.charAt(at) === ',') at += 1;
        skipBlank();
        const key = scalar(stringEnd(text, at)) as string;
        skipBlank();
        at += 1;
        entries.push([key, value()]);
      }
      at += 1;
      return Object.fromEntries(entries);
    }
    if (first === '[') {
      const items: unknown[] = [];
      at += 1;
      while (skipBlank() !== ']') {
        if (text.charAt(at) === ',') at += 1;
        items.push(value());
      }
      at += 1;
      return items;
    }
    if (first === '"') return scalar(stringEnd(text, at));
    let end = at;
    while (end < text.length && !/[\s,\]}]/.test(text.charAt(end))) end += 1;
    return scalar(end);
  };
  return value();
}
