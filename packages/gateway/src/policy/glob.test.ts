import { describe, expect, it } from '@jest/globals';
import { compileGlobs } from './glob.ts';

describe('a glob', () => {
  it.each<[string, string, boolean]>([
    ['gpt-4o', 'gpt-4o', true],
    ['gpt-4o', 'gpt-4o-mini', false],
    ['gpt-4*', 'gpt-4', true],
    ['gpt-4*', 'gpt-4o-mini', true],
    ['*', '', true],
    ['*', 'anything', true],
    ['*-mini', 'gpt-4o-mini', true],
    ['*-mini', 'gpt-4o-mini-2', false],
    ['a*b*c', 'abc', true],
    ['a*b*c', 'a-b-c', true],
    ['a*b*c', 'ac', false],
    ['a*a', 'a', false],
    ['ab*ba', 'aba', false],
    ['a**b', 'ab', true],
    ['*b*b*', 'ab', false],
    ['a.c', 'abc', false],
    ['a?c', 'abc', false],
    ['[a]', 'a', false],
    ['openai/*', 'openai/gpt-4o', true],
  ])('%s against %j is %s', (pattern, name, expected) => {
    expect(compileGlobs([pattern], { ignoreCase: false })(name)).toBe(expected);
  });

  it('agrees with the regular expression it stands for, on random texts', () => {
    const seed = Number(process.env['SEED'] ?? Math.floor(Math.random() * 2 ** 31));
    let state = seed;
    const below = (n: number): number => {
      state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
      return (state >>> 8) % n;
    };
    const text = (letters: string, length: number): string => Array.from({ length }, () => letters.charAt(below(letters.length))).join('');
    for (let round = 0; round < 5_000; round += 1) {
      const pattern = text('ab*', below(6));
      const name = text('ab', below(7));
      const regex = new RegExp(`^${pattern.replaceAll('*', '.*')}$`);
      const answer = { seed, pattern, name, matches: compileGlobs([pattern], { ignoreCase: false })(name) };
      expect(answer).toEqual({ seed, pattern, name, matches: regex.test(name) });
    }
  });
});
