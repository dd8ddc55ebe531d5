import { isDeepStrictEqual } from 'node:util';
import { describe, expect, it } from '@jest/globals';
import { createRandom } from '../pricing/fixtures/random.ts';
import { parseBody } from './parse-body.ts';
import { parseJson } from './parse-json.ts';
import { WIRES } from './index.ts';

describe('parsing JSON', () => {
  it('does not let a poisoned key hide what the provider reads', () => {
    parseJson('{"model":"x","max_tokens":1,"\\\\u006dax_t":5}');
    const text = '{"model":"x","max_tokens":1,"\\u006dax_tokens":100000}';
    expect(parseJson(text)).toEqual({ model: 'x', max_tokens: 100_000 });
    const body = parseBody(`{"messages":[{}],${text.slice(1)}`);
    const call = body.type === 'parsed' ? WIRES.get('/v1/chat/completions')?.readCall(body.body, 100) : undefined;
    expect(call).toMatchObject({ type: 'call', call: { outputTokensLimit: 100_000 } });
  });

  it('knows a nested key too', () => {
    parseJson('{"tools":[{"\\\\u0074y":1}]}');
    expect(parseJson('{"tools":[{"\\u0074ype":"web_search"}]}')).toEqual({ tools: [{ type: 'web_search' }] });
  });

  it.each([
    ['{"a":1,"a":2}', '{"a":2}'],
    ['{"\\u0061":[1,{"b":null}],"c":-1.5e3 , "d" : true}', '{"a":[1,{"b":null}],"c":-1500,"d":true}'],
    ['{"\\u0061":1,"a":2}', '{"a":2}'],
    [' [ ] ', '[]'],
    ['{"\\"":{"\\\\":"}"},"__proto__":{"x":1}}', '{"\\"":{"\\\\":"}"},"__proto__":{"x":1}}'],
    ['"\\n"', '"\\n"'],
    ['{"\\n":{}, "x":[[],[{}]]}', '{"\\n":{},"x":[[],[{}]]}'],
  ])('reads %s', (text, expected) => expect(JSON.stringify(parseJson(text))).toBe(expected));

  it.each(['', '{', '{"a"}', '{"\\u00zz":1}', '{"a":1}x', "{'a':1}"])('refuses %p', (text) =>
    expect(() => parseJson(text)).toThrow(SyntaxError),
  );

  it('reads what it writes, whatever the keys (random)', () => {
    const seed = Number(process.env['RUNPURSE_SEED'] ?? Date.now() % 1_000_000);
    const random = createRandom(seed);
    const key = (): string => random.pick(['\\', '"', 'n\\', '', 'a', 'model', '\n', 'é', '\\u006d', 'm', '\u2028', '{"']);
    for (let round = 0; round < 3000; round += 1) {
      const value = { [key()]: random.pick(['\\"', 1, null, 'x']), [key()]: { [key()]: [{ [key()]: '":' }] } };
      const parsed = parseJson(JSON.stringify(value, null, random.pick([undefined, 1])));
      if (!isDeepStrictEqual(parsed, value))
        throw new Error(`seed ${seed}, round ${round}: ${JSON.stringify(value)} was read as ${JSON.stringify(parsed)}`);
    }
  });
});
