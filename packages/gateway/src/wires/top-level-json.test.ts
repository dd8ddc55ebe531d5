import { isDeepStrictEqual } from 'node:util';
import { describe, expect, it } from '@jest/globals';
import { createRandom, type Random } from '../pricing/fixtures/random.ts';
import { parseJson } from './parse-json.ts';
import { spliceTopLevel, topLevelMembers } from './top-level-json.ts';

const splice = (text: string, values: Record<string, string>): string => spliceTopLevel(text, new Map(Object.entries(values)));

describe('splicing top-level values', () => {
  it.each([
    ['replaces one value and keeps the rest', '{"model":"a/b","n":1}', { model: '"b"' }, '{"model":"b","n":1}'],
    [
      'keeps white space, order and number spellings',
      '{ "n" : 1e0 ,\n\t"model" :  "a" , "seed": 12345678901234567890, "t": 1.0 }',
      { model: '"b"' },
      '{ "n" : 1e0 ,\n\t"model" :  "b" , "seed": 12345678901234567890, "t": 1.0 }',
    ],
    [
      'looks only at the top level',
      '{"messages":[{"model":"in"}],"x":{"model":"in"},"model":"out"}',
      { model: '"b"' },
      '{"messages":[{"model":"in"}],"x":{"model":"in"},"model":"b"}',
    ],
    [
      'is not misled by what a string holds',
      '{"a":"\\"model\\":\\"x\\"","b":"}{][,:","model":"out"}',
      { model: '"b"' },
      '{"a":"\\"model\\":\\"x\\"","b":"}{][,:","model":"b"}',
    ],
    [
      'reads a string that ends in backslashes',
      '{"a":"\\\\","model":"m\\\\\\"","b":"\\\\\\\\"}',
      { model: '"b"' },
      '{"a":"\\\\","model":"b","b":"\\\\\\\\"}',
    ],
    ['knows an escaped key', '{"mod\\u0065l":"a"}', { model: '"b"' }, '{"mod\\u0065l":"b"}'],
    ['adds what is missing', '{"model":"a"}', { max_tokens: '5' }, '{"max_tokens":5,"model":"a"}'],
    ['adds to an empty object', ' { } ', { model: '"b"' }, ' {"model":"b" } '],
    [
      'adds and replaces at once',
      '{"model":"a","x":null}',
      { model: '"b"', max_tokens: '5', stream_options: '{"include_usage":true}' },
      '{"max_tokens":5,"stream_options":{"include_usage":true},"model":"b","x":null}',
    ],
    ['replaces scalars', '{"max_tokens":null,"n":true}', { max_tokens: '7' }, '{"max_tokens":7,"n":true}'],
    ['replaces a scalar at the end', '{"max_tokens":100\n}', { max_tokens: '7' }, '{"max_tokens":7\n}'],
    ['replaces an object', '{"stream_options":{"a":{"b":["}"]}},"z":1}', { stream_options: '{}' }, '{"stream_options":{},"z":1}'],
    ['keeps a byte order mark', '\ufeff{"model":"a"}', { model: '"b"' }, '\ufeff{"model":"b"}'],
    ['keeps emoji and lone surrogates', '{"x":"🎉\\ud83c","model":"a"}', { model: '"b"' }, '{"x":"🎉\\ud83c","model":"b"}'],
  ])('%s', (_, text, values, expected) => expect(splice(text, values as unknown as Record<string, string>)).toBe(expected));

  it.each([
    [
      'leaves the last of twins, which is the one that was admitted',
      '{"model":"dear","n":1,"model":"cheap"}',
      {},
      '{"n":1,"model":"cheap"}',
    ],
    [
      'settles twins when the value changes',
      '{"max_tokens":100000, "a":1, "max_tokens":1}',
      { max_tokens: '9' },
      '{"a":1, "max_tokens":9}',
    ],
    ['settles triplets', '{"n":1,"n":2,"n":3}', {}, '{"n":3}'],
    ['settles a twin in other spelling', '{"model":"dear","mod\\u0065l":"cheap"}', {}, '{"mod\\u0065l":"cheap"}'],
  ])('%s', (_, text, values, expected) => {
    const result = splice(text, values);
    expect(result).toBe(expected);
    expect(JSON.parse(result)).toEqual({
      ...(JSON.parse(text) as object),
      ...Object.fromEntries(Object.entries(values).map(([key, value]) => [key, JSON.parse(value) as unknown])),
    });
  });

  it('gives back the very text when there is nothing to do', () => {
    const text = '{"a":1 , "b":[1,2]}';
    expect(splice(text, {})).toBe(text);
  });

  it('finds members where they stand', () => {
    const text = '{"a": 1, "b" :[true] }';
    expect(topLevelMembers(text).map(({ key, valueStart, valueEnd }) => [key, text.slice(valueStart, valueEnd)])).toEqual([
      ['a', '1'],
      ['b', '[true]'],
    ]);
  });
});

const SEED = Number(process.env['RUNPURSE_SEED'] ?? Date.now() % 1_000_000);

function randomValue(random: Random, depth: number): unknown {
  const kind = random.integer(0, depth > 2 ? 3 : 5);
  if (kind === 0) return random.pick(['', '"', '\\', '\\"', '}', '{"model":1}', 'é🎉', '\n\t', 'a,b:c', '\u2028', '\\\\"']);
  if (kind === 1) return random.pick([0, -1.5e10, 1e21, 42]);
  if (kind === 2) return random.pick([true, false, null]);
  if (kind === 3) return 'x'.repeat(random.integer(0, 40));
  if (kind === 4) return Array.from({ length: random.integer(0, 4) }, () => randomValue(random, depth + 1));
  return Object.fromEntries(
    Array.from({ length: random.integer(0, 4) }, () => [random.pick(['model', 'a', '"', 'n\\', '']), randomValue(random, depth + 1)]),
  );
}

describe(`random bodies (seed ${SEED})`, () => {
  it('parse to the same with the values put in, however they are spaced', () => {
    const random = createRandom(SEED);
    for (let round = 0; round < 2000; round += 1) {
      const body = Object.fromEntries(
        Array.from({ length: random.integer(0, 6) }, () => [
          random.pick(['model', 'max_tokens', 'messages', '"q"', '\\', 'x']),
          randomValue(random, 0),
        ]),
      );
      const text = JSON.stringify(body, null, random.pick([undefined, 2, '\t']));
      const values = new Map([['model', '"new"'], ...(random.chance(0.5) ? [['max_tokens', '5'] as const] : [])]);
      const expected: unknown = { ...body, ...Object.fromEntries([...values].map(([key, value]) => [key, JSON.parse(value) as unknown])) };
      const spliced = spliceTopLevel(text, values);
      if (!isDeepStrictEqual(parseJson(spliced), expected)) throw new Error(`seed ${SEED}, round ${round}: ${text} became ${spliced}`);
      expect(spliceTopLevel(text, new Map())).toBe(text);
    }
  });
});
