import { orThrow } from '@runpurse/core';
import type { experimental_toolCaller, toolSearch, ToolSet } from 'ai';
import type { Failure } from '@runpurse/core/language-model';
import { guarded, insideTool, placeNow, type Live, type Place } from './live.ts';

type Tool = ToolSet[string];
type Execution = Parameters<NonNullable<Tool['execute']>>;
type Execute = (...execution: Execution) => unknown;

/** A tool call that may run. */
interface Running {
  /** Runs code inside the tool call, so that models and tools it uses are seen to stand in it. */
  inside<Result>(work: () => Result): Result;
  /** Reports how the call ended; the first end counts. */
  settle(failure: Failure | undefined): void;
}

/** Where the SDK keeps the search of a `toolSearch` of the user's, which it runs in place of the tool's `execute`. */
const SEARCH = Symbol.for('vercel.ai.toolSearch.search');
type Search = NonNullable<NonNullable<Parameters<typeof toolSearch>[0]>['search']>;

/** What the SDK runs of a tool, and what it makes of a tool that calls others: another one that it runs in its place. */
interface Runnable {
  readonly execute?: Tool['execute'];
  readonly [SEARCH]?: Search | undefined;
  readonly experimental_toolCaller?: Parameters<typeof experimental_toolCaller>[1];
}

/** What a guard guards: a tool that is guarded again, by another agent perhaps, asks once. */
const executeOf = new WeakMap<object, Execute>();
const searchOf = new WeakMap<object, Search>();

/** Tools that ask before they run. A denied one throws, and the AI SDK tells the model so. */
export function guardTools<Tools extends ToolSet>(live: Live, place: Place, tools: Tools): Tools {
  return Object.fromEntries(Object.entries(tools).map(([name, tool]) => [name, guardTool(live, place, name, tool)])) as Tools;
}

function guardTool(live: Live, place: Place, name: string, tool: Tool): Tool {
  const { execute, [SEARCH]: search, experimental_toolCaller: caller } = tool as Runnable;
  const isCaller = caller?.type === 'local';
  if (execute === undefined && !isCaller) return tool; // its provider runs it, or the user's own code after the run
  const ask: Ask = (execution) => begin(live, place, name, execution);
  return standIn<Tool & Runnable>(tool, {
    ...(execute && { execute: guardExecute(ask, executeOf.get(execute) ?? (execute.bind(tool) as Execute)) }),
    ...(search && { [SEARCH]: guardSearch(ask, searchOf.get(search) ?? search) }),
    ...(isCaller && {
      experimental_toolCaller: standIn(caller, {
        bind: (tools) => guardTool(live, place, name, caller.bind(tools)) as ReturnType<typeof caller.bind>,
      }),
    }),
  });
}

type Ask = (execution: Asked) => Promise<Running>;
type Asked = readonly [input: unknown, options: Partial<Pick<Execution[1], 'toolCallId'>>];

function guardExecute(ask: Ask, execute: Execute): NonNullable<Tool['execute']> {
  const plain = async (...execution: Execution): Promise<unknown> => {
    const running = await ask(execution);
    return settled(running, () => {
      const output = execute(...execution);
      return isStreaming(output) ? lastOf(each(running, output)) : output;
    });
  };
  const streaming = async function* (...execution: Execution): AsyncGenerator {
    yield* each(await ask(execution), execute(...execution) as AsyncIterable<unknown>);
  };
  // The SDK asks of what is returned, before it is awaited, whether it streams.
  const guard = isGenerator(execute) ? streaming : plain;
  executeOf.set(guard, execute);
  return guard;
}

/** The SDK tells a search no id of its call, so it gets one. */
function guardSearch(ask: Ask, search: Search): Search {
  const guard: Search = async (options) => settled(await ask([{ query: options.query }, {}]), () => search(options));
  searchOf.set(guard, search);
  return guard;
}

async function settled<Result>(running: Running, work: () => Result | PromiseLike<Result>): Promise<Result> {
  try {
    const result = await running.inside(work);
    running.settle(undefined);
    return result;
  } catch (error) {
    running.settle({ error });
    throw error;
  }
}

/** A thing with some properties of ours. Methods of its class are still called on itself, where their state is. */
function standIn<Thing extends object>(thing: Thing, ours: Partial<Thing>): Thing {
  const own = Object.getOwnPropertyDescriptors<object>(thing) as Record<PropertyKey, PropertyDescriptor>;
  for (const key of Reflect.ownKeys(ours)) {
    const enumerable = own[key]?.enumerable ?? true;
    own[key] = { value: Reflect.get(ours, key), enumerable, writable: true, configurable: true };
  }
  return new Proxy(Object.create(Object.getPrototypeOf(thing) as object | null, own) as Thing, {
    get(copy, key) {
      const value: unknown = Reflect.get(Object.hasOwn(copy, key) ? copy : thing, key);
      return typeof value === 'function' && !Object.hasOwn(copy, key) ? (value.bind(thing) as unknown) : value;
    },
  });
}

async function begin(live: Live, at: Place, tool: string, [input, { toolCallId: given }]: Asked): Promise<Running> {
  const toolCallId = live.run.toolCallId(given);
  const place = placeNow(live, at);
  orThrow(await live.run.authorizeTool({ ...place, tool, toolCallId, stepId: toolCallId, input }));
  const running: Running = {
    inside: (work) => insideTool.run({ live, place: { agentId: place.agentId, parentStepId: toolCallId } }, work),
    settle: (failure) => {
      if (!live.open.delete(running)) return;
      const status = failure === undefined ? 'completed' : 'failed';
      guarded(live, () => live.run.settleTool({ toolCallId, status, error: failure?.error }), undefined);
    },
  };
  live.open.set(running, () => running.settle({ error: new Error('its run ended first') }));
  return running;
}

/** What a streaming tool yields, each piece made inside its call. */
async function* each(running: Running, pieces: AsyncIterable<unknown>): AsyncGenerator {
  const iterator = running.inside(() => pieces[Symbol.asyncIterator]());
  let isOver = false;
  try {
    for (;;) {
      const next = await running.inside(() => iterator.next());
      isOver = next.done === true;
      if (isOver) break;
      yield next.value;
    }
    running.settle(undefined);
  } catch (error) {
    isOver = true;
    running.settle({ error });
    throw error;
  } finally {
    if (!isOver) await running.inside(() => iterator.return?.());
    running.settle({ error: new Error('nobody read it to its end') });
  }
}

async function lastOf(pieces: AsyncIterable<unknown>): Promise<unknown> {
  let last: unknown;
  for await (const piece of pieces) last = piece;
  return last;
}

/** As the SDK decides it, before it awaits: a promise of something that may be iterated, such as a page, is its result. */
function isStreaming(output: unknown): output is AsyncIterable<unknown> {
  return typeof (output as Partial<AsyncIterable<unknown>> | null | undefined)?.[Symbol.asyncIterator] === 'function';
}

function isGenerator(execute: unknown): boolean {
  return Object.prototype.toString.call(execute) === '[object AsyncGeneratorFunction]';
}
