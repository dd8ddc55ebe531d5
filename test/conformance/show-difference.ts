/** Says in which places two JSON values differ: `.cost.tool_usd is "0", expected "0.002"`, one place a line. */
export function showDifference(actual: unknown, expected: unknown): string {
  const lines = differences(actual, expected, '');
  return lines.length === 1 ? (lines[0] ?? '') : `\n  ${lines.join('\n  ')}`;
}

function differences(actual: unknown, expected: unknown, path: string): readonly string[] {
  if (isContainer(actual) && isContainer(expected) && Array.isArray(actual) === Array.isArray(expected)) {
    const keys = new Set([...Object.keys(actual), ...Object.keys(expected)]);
    return [...keys].flatMap((key) => differences(actual[key], expected[key], `${path}.${key}`));
  }
  if (JSON.stringify(actual) === JSON.stringify(expected)) return [];
  return [`${path}${path === '' ? '' : ' '}is ${JSON.stringify(actual)}, expected ${JSON.stringify(expected)}`];
}

function isContainer(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}
