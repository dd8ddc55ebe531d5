import { orThrow } from '@runpurse/core';
import type { ToolSet } from 'ai';
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

/** What a guard guards: a tool that is guarded again, by another agent perhaps, asks once. */
const executeOf = new WeakMap<object, Execute>();

/** Tools that ask before they run. A denied one throws, and the AI SDK tells the model so. */
export function guardTools<Tools extends ToolSet>(live: Live, place: Place, tools: Tools): Tools {
  return Object.fromEntries(Object.entries(tools).map(([name, tool]) => [name, guardTool(live, place, name, tool)])) as Tools;
}

function guardTool(live: Live, place: Place, name: string, tool: Tool): Tool {
  if (tool.execute === undefined) return tool; // its provider runs it, or the user's own code after the run
  const execute = executeOf.get(tool.execute) ?? (tool.execute.bind(tool) as Execute);
  const plain = async (...execution: Execution): Promise<unknown> => {
    const running = await begin(live, place, name, execution);
    try {
      const output = await running.inside(() => execute(...execution));
      const whole = isIterable(output) ? await lastOf(each(running, output)) : output;
      running.settle(undefined);
      return whole;
    } catch (error) {
      running.settle({ error });
      throw error;
    }
  };
  const streaming = async function* (...execution: Execution): AsyncGenerator {
    const running = await begin(live, place, name, execution);
    yield* each(running, execute(...execution) as AsyncIterable<unknown>);
  };
  // The SDK asks of what is returned, before it is awaited, whether it streams.
  const guard = isGenerator(execute) ? streaming : plain;
  executeOf.set(guard, execute);
  return { ...tool, execute: guard };
}

async function begin(live: Live, at: Place, tool: string, [input, { toolCallId: given }]: Execution): Promise<Running> {
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

function isIterable(value: unknown): value is AsyncIterable<unknown> {
  return typeof (value as { readonly [Symbol.asyncIterator]?: unknown } | null | undefined)?.[Symbol.asyncIterator] === 'function';
}

function isGenerator(execute: unknown): boolean {
  return Object.prototype.toString.call(execute) === '[object AsyncGeneratorFunction]';
}
