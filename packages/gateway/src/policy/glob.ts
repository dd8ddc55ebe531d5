/**
 * A gate's patterns (`gpt-4*`, `openai/*`) as one test of names; `*` stands for any text. `ignoreCase` is for deny
 * lists: what is denied must not come back in other letters, while what is allowed is allowed as written.
 */
export function compileGlobs(patterns: readonly string[], options: { readonly ignoreCase: boolean }): (name: string) => boolean {
  const fold = (text: string): string => (options.ignoreCase ? text.toLowerCase() : text);
  const globs = patterns.map((pattern) => fold(pattern).split('*'));
  return (name) => {
    const folded = fold(name);
    return globs.some((parts) => matches(parts, folded));
  };
}

/** Greedy from the left, in linear time: no pattern can make a name slow to test. */
function matches(parts: readonly string[], name: string): boolean {
  const first = parts[0] ?? '';
  const last = parts.at(-1) ?? '';
  if (parts.length === 1) return name === first;
  if (name.length < first.length + last.length || !name.startsWith(first) || !name.endsWith(last)) return false;
  const end = name.length - last.length;
  let from = first.length;
  for (const part of parts.slice(1, -1)) {
    const at = name.indexOf(part, from);
    if (at === -1 || at + part.length > end) return false;
    from = at + part.length;
  }
  return true;
}
