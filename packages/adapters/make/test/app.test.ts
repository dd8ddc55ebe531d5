import { readdirSync, statSync } from 'node:fs';
import { join, relative } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { loadApp, type Component } from './renderer/app.ts';
import type { Request } from './renderer/communication.ts';
import { FUNCTIONS, KEYWORDS } from './renderer/functions.ts';
import { namesIn } from './renderer/iml.ts';
import type { Parameter } from './renderer/parameters.ts';
import { expressionsOf } from './renderer/render.ts';
import { mistakesIn, schemaOf } from './schemas.ts';

const app = loadApp();
const { manifest, components } = app;
const modules = components.filter(({ kind }) => kind === 'module');
const codes = components.flatMap((component) =>
  Object.keys(component.code).map((code) => [`${component.id} ${code}`, component, code] as const),
);

function filesIn(folder: string): readonly string[] {
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    return statSync(path).isDirectory() ? filesIn(path) : [relative(app.folder, path)];
  });
}
const parametersOf = (component: Component): readonly Parameter[] =>
  ['params', 'staticParams', 'mappableParams'].flatMap((code) => (component.code[code] ?? []) as readonly Parameter[]);
const interfaceOf = (component: Component) => component.code['interface'] as readonly Parameter[];
const requestsOf = (component: Component): readonly Request[] => [component.code['communication']].flat() as readonly Request[];

describe('the manifest', () => {
  it('fits its schema', () => {
    expect(mistakesIn(manifest, 'makecomapp.schema.json')).toEqual([]);
  });

  it('lists every file of the app, each once', () => {
    const listed = [
      ...Object.values(manifest.generalCodeFiles).filter((path) => path !== null),
      ...components.flatMap(({ files }) => Object.values(files)),
    ];
    expect([...listed, 'makecomapp.json'].sort()).toEqual([...filesIn(app.folder)].sort());
  });

  it('refers to connections and webhooks that are there', () => {
    for (const { connection, webhook } of components) {
      if (typeof connection === 'string') expect(app.find('connection', connection)).toBeDefined();
      if (typeof webhook === 'string') expect(app.find('webhook', webhook)).toBeDefined();
    }
  });

  it('names no account of anyone', () => {
    expect(manifest.origins).toEqual([]);
  });

  it('has every kind of component that was asked for', () => {
    const types = modules.map(({ moduleType }) => moduleType);
    expect(new Set(types)).toEqual(new Set(['action', 'search', 'trigger', 'instant_trigger', 'universal']));
    expect(types.filter((type) => type === 'universal')).toHaveLength(1);
    expect(types.filter((type) => type === 'trigger')).toHaveLength(3);
    expect(types.filter((type) => type === 'instant_trigger')).toHaveLength(3);
  });
});

describe('each file', () => {
  it.each(codes)('%s fits its schema', (_title, component, code) => {
    expect(mistakesIn(component.code[code], schemaOf(component, code))).toEqual([]);
  });

  it('of the general ones fits its schema', () => {
    expect(mistakesIn(app.base, 'base.schema.json')).toEqual([]);
    expect(mistakesIn(app.groups, 'groups.schema.json')).toEqual([]);
  });

  it.each(codes)('%s has only expressions that can be read, of functions and variables that Make documents', (_title, component, code) => {
    const known = new Set([
      'parameters',
      'connection',
      'body',
      'headers',
      'statusCode',
      'item',
      'temp',
      'webhook',
      'scenario',
      '...',
      ...KEYWORDS.keys(),
    ]);
    for (const expression of expressionsOf(component.code[code])) {
      const { variables, functions } = namesIn(expression);
      expect(variables.filter((name) => !known.has(name))).toEqual([]);
      expect(functions.filter((name) => !Object.hasOwn(FUNCTIONS, name))).toEqual([]);
    }
  });

  it('asks for more than nothing: a file that breaks a rule is found', () => {
    expect(mistakesIn({ url: '/v1/runs', method: 'POST' }, 'communication.schema.json')).not.toEqual([]);
    expect(
      mistakesIn({ url: '/v1/runs', response: { error: { message: 'no', type: 'NoSuchError' } } }, 'communication.schema.json'),
    ).not.toEqual([]);
    expect(mistakesIn([{ name: 'x', label: 'X', type: 'select' }], 'parameters.schema.json')).not.toEqual([]);
    expect(mistakesIn({ ...manifest, origins: [{}] }, 'makecomapp.schema.json')).not.toEqual([]);
  });
});

describe('each module', () => {
  it.each(modules.map((component) => [component.id, component] as const))(
    '%s uses the fields it has, and has the fields it uses',
    (_id, component) => {
      const used = new Set(
        [...expressionsOf(component.code['communication']), ...expressionsOf(app.base)].flatMap((expression) =>
          [...expression.matchAll(/\bparameters\.(\w+)/g)].map((match) => match[1] ?? ''),
        ),
      );
      expect([...used].sort()).toEqual(
        parametersOf(component)
          .map(({ name }) => name)
          .sort(),
      );
    },
  );

  it.each(modules.map((component) => [component.id, component] as const))(
    '%s puts out what its interface and its sample show',
    (_id, component) => {
      const names = interfaceOf(component).map(({ name }) => name);
      const sample = component.code['samples'] as Readonly<Record<string, unknown>>;
      expect(Object.keys(sample).sort()).toEqual([...names].sort());
      const source = typeof component.webhook !== 'string' ? component : app.find('webhook', component.webhook);
      const output =
        source.kind === 'webhook'
          ? (source.code['communication'] as { output: object }).output
          : requestsOf(source).at(-1)?.response?.output;
      expect(Object.keys(output ?? {}).sort()).toEqual([...names].sort());
    },
  );

  it('stands in one group', () => {
    expect(app.groups.flatMap((group) => group.modules).sort()).toEqual(modules.map(({ id }) => id).sort());
  });

  it.each(components.map((component) => [component.id, component] as const))(
    '%s takes its options from RPCs that are there',
    (_id, component) => {
      for (const { options } of parametersOf(component))
        if (typeof options === 'string') expect(app.find('rpc', options.slice('rpc://'.length))).toBeDefined();
    },
  );

  it('reads the same of a notice whether it was polled or sent', () => {
    for (const webhook of components.filter(({ kind }) => kind === 'webhook')) {
      const Hook = `${webhook.id.charAt(0).toUpperCase()}${webhook.id.slice(1)}`;
      const polled = JSON.stringify(requestsOf(app.find('module', `poll${Hook}`))[0]?.response?.output);
      const sent = JSON.stringify((webhook.code['communication'] as { output: unknown }).output);
      expect(sent.replaceAll('body.', 'item.')).toBe(polled);
      expect(interfaceOf(app.find('module', `watch${Hook}`))).toEqual(interfaceOf(app.find('module', `poll${Hook}`)));
    }
  });
});

describe('the rules of Make', () => {
  it('are kept by the address: modules stay below the gateway that the connection names', () => {
    for (const component of components.filter(
      ({ kind, moduleType }) => kind !== 'connection' && kind !== 'webhook' && moduleType !== 'instant_trigger',
    ))
      for (const { url } of requestsOf(component)) expect(url).toMatch(/^\//);
    expect(app.base['baseUrl']).toBe('{{connection.url}}');
  });

  it('are kept by the log: Make shows requests, and no key in them', () => {
    expect(app.base['log']).toMatchObject({ sanitize: expect.arrayContaining(['request.headers.authorization']) });
    // Only the base and the connection itself send it.
    for (const component of components) expect(JSON.stringify(component.code)).not.toContain('connection.apiKey');
  });

  it('are kept by the base: it asks for refusals that no platform takes for a broken account', () => {
    expect(app.base['headers']).toMatchObject({ 'runpurse-refusal-status': '422' });
  });
});
