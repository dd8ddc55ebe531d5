import { describe, expect, it } from '@jest/globals';
import { ImlError } from './functions.ts';
import { evaluate, namesIn } from './iml.ts';
import { render } from './render.ts';

const scope = {
  body: { id: 7, data: [{ prop: 'a' }, { prop: 'b' }], user: 'ada', empty: '', nothing: null, 'first name': 'Ada' },
  headers: { 'x-hook-type': 'run' },
  parameters: { url: '/v1/runs', on: false },
  item: { name: 'World' },
};

describe('an expression, as Make documents it', () => {
  const rows: readonly (readonly [expression: string, value: unknown])[] = [
    ['body.id', 7],
    ['body.data[2].prop', 'b'],
    ['body.data[1].prop', 'a'],
    ['body.data[-1].prop', 'b'],
    ['body.data[0]', undefined],
    ['body.data[9].prop', undefined],
    ['headers.`x-hook-type`', 'run'],
    ['body.`first name`', 'Ada'],
    ["'Hello, ' + item.name", 'Hello, World'],
    ['"Hello, " + item.name', 'Hello, World'],
    ['body.id + 1', 8],
    ["'' + body.gone + '!'", '!'],
    ['2 + 3 * 4', 14],
    ['(2 + 3) * 4', 20],
    ['10 % 4 - -1', 3],
    ["body.id == '7'", false],
    ['body.id = 7', true],
    ['body.id === 7', true],
    ['body.id != 8', true],
    ['body.id > 6 && body.id <= 7', true],
    ['body.gone || body.user', 'ada'],
    ['!body.empty', true],
    ['!(body.id == 7) || parameters.on', false],
    ['if(body.id > 100, body.user, false)', false],
    ['if(body.id > 1; body.user; false)', 'ada'],
    ['ifempty(body.empty, body.user)', 'ada'],
    ['ifempty(body.nothing, undefined)', undefined],
    ['ifempty(body.id, body.user)', 7],
    ["length('abc')", 3],
    ["trim(' a b ')", 'a b'],
    ['trim(body.gone)', ''],
    ['length(body.data)', 2],
    ['length(body.gone)', 0],
    ["map(body.data, 'prop')", ['a', 'b']],
    ["map(body.data, 'prop', 'prop', 'b')", ['b']],
    ["contains(map(body.data, 'prop'), 'b')", true],
    ["last(map(body.data, 'prop'))", 'b'],
    ["last(map(body.data, 'prop', 'prop', 'c'))", undefined],
    ["encodeURL('a b/c?')", 'a%20b%2Fc%3F'],
    ["substring('/v1', 1, 3)", 'v1'],
    ['true && null', null],
    ['emptystring', ''],
  ];
  it.each(rows)('{{%s}}', (expression, value) => {
    expect(evaluate(expression, scope)).toEqual(value);
  });

  it('of a blueprint speaks of modules by their numbers', () => {
    const bundles = { 1: { ticket: 'T-1', 'first name': 'Ada', choices: [{ message: 'hi' }] }, 12: { value: 3 } };
    expect(evaluate('1.ticket', bundles)).toBe('T-1');
    expect(evaluate('12.value', bundles)).toBe(3);
    expect(evaluate('1.`first name`', bundles)).toBe('Ada');
    expect(evaluate('1.choices[].message', bundles)).toBe('hi');
    expect(evaluate('ifempty(1.gone; 1.ticket)', bundles)).toBe('T-1');
    expect(evaluate('1.ticket = "T-1" & 12.value > 2', bundles)).toBe(true);
    expect(evaluate('`1`', bundles)).toBe(bundles[1]);
  });

  it.each(['noSuchFunction(1)', 'body.', '1 +', "'open", 'if(1, 2', 'a b', '{}'])(
    'that no one could read is an error: {{%s}}',
    (expression) => {
      expect(() => evaluate(expression, scope)).toThrow(ImlError);
    },
  );

  it('tells what it speaks of', () => {
    expect(namesIn("if(body.id == 1, parameters.url, 'x' + encodeURL(item.name))")).toEqual({
      variables: ['body', 'parameters', 'item'],
      functions: ['if', 'encodeURL'],
    });
  });

  it('reads no inherited property', () => {
    expect(evaluate('body.constructor', scope)).toBeUndefined();
    expect(evaluate('body.toString', scope)).toBeUndefined();
  });
});

describe('a template', () => {
  it('that is one expression keeps its type; within text it becomes text; what is undefined is gone', () => {
    const template = {
      id: '{{body.id}}',
      text: 'no. {{body.id}} of {{body.gone}}',
      gone: '{{body.gone}}',
      list: ['{{body.user}}', 1],
      plain: true,
      two: '{{body.id}}{{body.id}}',
    };
    expect(render(template, scope)).toEqual({ id: 7, text: 'no. 7 of ', list: ['ada', 1], plain: true, two: '77' });
  });

  it('spreads a collection', () => {
    const parameters = { headers: [{ key: 'x-a', value: '1' }] };
    expect(render({ base: 'b', '{{...}}': "{{toCollection(parameters.headers, 'key', 'value')}}" }, { parameters })).toEqual({
      base: 'b',
      'x-a': '1',
    });
    expect(render({ base: 'b', '{{...}}': "{{toCollection(parameters.headers, 'key', 'value')}}" }, { parameters: {} })).toEqual({
      base: 'b',
    });
  });
});
