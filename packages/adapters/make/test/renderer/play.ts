import type { App, Component } from './app.ts';
import { send, type Answer, type Base, type Logged, type Request, type ResponseDirectives } from './communication.ts';
import { isTruthy } from './functions.ts';
import type { Scope } from './iml.ts';
import { readParameters, type Empties, type Parameter } from './parameters.ts';
import { render } from './render.ts';
import { text } from './text.ts';

export type Bundle = Readonly<Record<string, unknown>>;
type Given = Readonly<Record<string, unknown>>;

/** Where a polling trigger stands; kept from one cycle of the scenario to the next. */
export interface PollState {
  date: number;
  /** Ids of that very moment. */
  ids: readonly string[];
}

/** Plays an app's components as Make would, over real HTTP. One player is one connection of one user. */
export interface Player {
  /** What Make's console shows of every request, oldest first. */
  readonly log: readonly Logged[];
  /** The connection's label in Make. */
  readonly label: string;
  /** An action or the universal module: one bundle. */
  action(module: string, given?: Given): Promise<Bundle>;
  /** A search: any number of bundles. */
  search(module: string, given?: Given): Promise<readonly Bundle[]>;
  /** One cycle of a polling trigger: what is new since the cycle before, oldest first. */
  poll(module: string, state: PollState, given?: Given): Promise<readonly Bundle[]>;
  /** What the "Choose where to start" panel of a polling trigger lists. */
  epoch(module: string, given?: Given): Promise<readonly Bundle[]>;
  /** Options of a dropdown. */
  rpc(id: string, given?: Given): Promise<readonly Bundle[]>;
  /** The scenario is switched on: registers the hook's address, and keeps what the service answers. */
  attach(webhook: string, url: string, given?: Given): Promise<Bundle>;
  /** The hook is removed. */
  detach(webhook: string, kept: Bundle, given?: Given): Promise<void>;
  /** The service posts to the hook: what it is answered, and the bundle an instant trigger starts with. */
  receive(webhook: string, body: unknown): { readonly status: number; readonly bundle: Bundle };
}

export interface PlayerOptions {
  readonly empties?: Empties;
  /** False: the connection was verified long ago, and is not verified again. */
  readonly verify?: boolean;
  /** What Make hands an app as `scenario`; its documentation names the variable and not what it holds. */
  readonly scenario?: Bundle;
  /** Instead of the time the app asks for. */
  readonly timeoutMs?: number;
}

/** Makes a connection with these fields, which Make verifies, and plays the app with it. Throws a MakeError when it does not verify. */
export async function openConnection(app: App, fields: Given, options: PlayerOptions = {}): Promise<Player> {
  const empties = options.empties ?? 'omitted';
  const log: Logged[] = [];
  const [connectionComponent] = app.components.filter(({ kind }) => kind === 'connection');
  if (connectionComponent === undefined) throw new Error('the app has no connection');
  const given = readParameters(parametersOf(connectionComponent, 'params'), fields, empties);
  // A connection inherits nothing from Base.
  const verified =
    options.verify === false
      ? undefined
      : await run({}, connectionComponent.code['communication'], { parameters: given, now: new Date() }, log);
  const metadata = render(verified?.response.metadata ?? {}, verified?.scope ?? {}) as { value?: unknown };
  const connection = given;
  const base: Base = { ...app.base, ...(options.timeoutMs === undefined ? {} : { timeout: options.timeoutMs }) };

  const scopeOf = (component: Component, types: readonly string[], from: Given): Scope => ({
    now: new Date(),
    connection,
    scenario: options.scenario,
    parameters: readParameters(
      types.flatMap((type) => parametersOf(component, type)),
      from,
      empties,
    ),
    temp: {},
    data: {},
  });
  const module = (id: string, ...types: readonly string[]): Component => {
    const component = app.find('module', id);
    if (!types.includes(component.moduleType ?? '')) throw new Error(`${id} is a ${component.moduleType}, not ${types.join(' or ')}`);
    return component;
  };
  const moduleScope = (component: Component, from: Given): Scope => scopeOf(component, ['staticParams', 'mappableParams'], from);

  return {
    log,
    label: text(metadata.value),
    async action(id, from = {}) {
      const component = module(id, 'action', 'universal');
      const last = await run(base, component.code['communication'], moduleScope(component, from), log);
      return render(last.response.output ?? '{{body}}', last.scope) as Bundle;
    },
    async search(id, from = {}) {
      const component = module(id, 'search');
      return all(base, component.code['communication'], moduleScope(component, from), log);
    },
    async poll(id, state, from = {}) {
      const component = module(id, 'trigger');
      const scope = moduleScope(component, from);
      return poll(base, component.code['communication'] as Request, scope, state, log);
    },
    async epoch(id, from = {}) {
      const component = module(id, 'trigger');
      const communication = component.code['communication'] as Request;
      const own = component.code['epoch'] as Request;
      const merged = { ...communication, ...own, response: { ...communication.response, ...own.response } };
      return all(base, merged, moduleScope(component, from), log);
    },
    async rpc(id, from = {}) {
      const component = app.find('rpc', id);
      return all(base, component.code['communication'], scopeOf(component, ['params'], from), log);
    },
    async attach(id, url, from = {}) {
      const component = app.find('webhook', id);
      const scope = { ...scopeOf(component, ['params'], from), webhook: { url } };
      const last = await run(base, component.code['attach'], scope, log);
      return render(last.response.data ?? {}, last.scope) as Bundle;
    },
    async detach(id, kept, from = {}) {
      const component = app.find('webhook', id);
      await run(base, component.code['detach'], { ...scopeOf(component, ['params'], from), webhook: kept }, log);
    },
    receive(id, body) {
      const communication = app.find('webhook', id).code['communication'] as {
        readonly output: unknown;
        readonly respond: { readonly status: number };
      };
      const scope = { body, connection, now: new Date() };
      return { status: Number(render(communication.respond.status, scope)), bundle: render(communication.output, scope) as Bundle };
    },
  };
}

const parametersOf = (component: Component, type: string): readonly Parameter[] => (component.code[type] ?? []) as readonly Parameter[];

/** All requests of a communication in their order, each seeing what those before kept in `temp`; the last one's answer is the module's. */
async function run(base: Base, communication: unknown, scope: Scope, log: Logged[]): Promise<Answer> {
  const requests = (Array.isArray(communication) ? communication : [communication]) as readonly Request[];
  let answer: Answer = { scope, response: {}, items: undefined };
  for (const request of requests) {
    const before: Scope = { ...scope, temp: answer.scope['temp'] };
    if (request.condition !== undefined && !isTruthy(render(request.condition, before))) continue;
    answer = await send(base, request, before, log);
  }
  return answer;
}

/** What a search, an RPC or an epoch lists: the items of each page, as long as there are more pages and the limit is not reached. */
async function all(base: Base, communication: unknown, scope: Scope, log: Logged[]): Promise<readonly Bundle[]> {
  const bundles: Bundle[] = [];
  for await (const { answer, limit } of pages(base, communication as Request, scope, log)) {
    for (const item of answer.items ?? []) {
      if (bundles.length >= limit) return bundles;
      bundles.push(outputOf(answer.response, { ...answer.scope, item }));
    }
    if (bundles.length >= limit) return bundles;
  }
  return bundles;
}

async function* pages(base: Base, request: Request, scope: Scope, log: Logged[]) {
  let next: Request | undefined = request;
  while (next !== undefined) {
    const answer: Answer = await send(base, next, scope, log);
    const { limit } = answer.response;
    yield { answer, limit: limit === undefined ? Infinity : Number(render(limit, answer.scope)) };
    const { pagination } = request;
    if (pagination === undefined || !isTruthy(render(pagination.condition, answer.scope))) return;
    const qs = render(pagination.qs ?? {}, answer.scope) as Record<string, unknown>;
    next = { ...request, qs: { ...request.qs, ...qs } };
  }
}

function outputOf(response: ResponseDirectives, scope: Scope): Bundle {
  return render(response.output ?? '{{item}}', scope) as Bundle;
}

/**
 * A trigger of type `date` and order `desc`: pages are read until one reaches back to what is known, what is newer is
 * sorted by date and id, and at most `limit` of the oldest are handed on, so that the next cycle goes on from there.
 */
async function poll(base: Base, request: Request, scope: Scope, state: PollState, log: Logged[]): Promise<readonly Bundle[]> {
  const found: { date: number; id: string; bundle: Bundle }[] = [];
  let limit = Infinity;
  let reachedKnown = false;
  for await (const page of pages(base, request, scope, log)) {
    limit = page.limit;
    const { trigger } = page.answer.response;
    if (trigger?.type !== 'date' || trigger.order !== 'desc') throw new Error('only date triggers, newest first, are played');
    for (const item of page.answer.items ?? []) {
      const inside = { ...page.answer.scope, item };
      const date = Date.parse(text(render(trigger.date, inside)));
      const id = text(render(trigger.id, inside));
      if (Number.isNaN(date) || id === '') throw new Error('an item has no date or no id');
      if (date < state.date) reachedKnown = true;
      else if (date > state.date || !state.ids.includes(id)) found.push({ date, id, bundle: outputOf(page.answer.response, inside) });
    }
    if (reachedKnown) break;
  }
  const fresh = found.sort((a, b) => a.date - b.date || a.id.localeCompare(b.id)).slice(0, limit);
  const last = fresh.at(-1);
  if (last !== undefined) {
    const ids = fresh.filter(({ date }) => date === last.date).map(({ id }) => id);
    state.ids = last.date === state.date ? [...state.ids, ...ids] : ids;
    state.date = last.date;
  }
  return fresh.map(({ bundle }) => bundle);
}
