import { expect, it } from '@jest/globals';
import { showDifference } from './show-difference.ts';

it.each([
  { actual: 2, expected: 3, shown: 'is 2, expected 3' },
  { actual: { cost: { tool_usd: '0' } }, expected: { cost: { tool_usd: '0.002' } }, shown: '.cost.tool_usd is "0", expected "0.002"' },
  { actual: { tools: [] }, expected: { tools: ['a'] }, shown: '.tools.0 is undefined, expected "a"' },
  { actual: null, expected: { status: 'failed' }, shown: 'is null, expected {"status":"failed"}' },
  { actual: { a: 1, b: 2 }, expected: { a: 0, b: 0 }, shown: '\n  .a is 1, expected 0\n  .b is 2, expected 0' },
])('a difference is shown by its place: $shown', ({ actual, expected, shown }) => {
  expect(showDifference(actual, expected)).toBe(shown);
});
