import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { sandboxConfig, SAYS_DONE, startGateway, type RunningGateway } from '@runpurse/conformance';
import { experimental_toolCaller, generateText, isStepCount, streamText, tool, toolSearch, type Tool, type ToolSet } from 'ai';
import { z } from 'zod';
import { createRunpurse, type AgentRun, type Runpurse } from '../src/index.ts';
import { lookup, scripted } from './stage.ts';

/** Tools that are more than an object with an `execute`, on a real gateway. */
let gateway: RunningGateway;
let runpurse: Runpurse;

beforeEach(async () => {
  gateway = await startGateway({ config: sandboxConfig({ mock: SAYS_DONE }, { policy: { tools: { deny: ['refund'] } } }) });
  runpurse = createRunpurse({ baseUrl: gateway.url, apiKey: gateway.apiKey });
});
afterEach(async () => {
  await runpurse.client.close();
  await gateway.remove();
});

const LOOP = { prompt: 'hi', maxOutputTokens: 1_000, stopWhen: isStepCount(3) };
const inputSchema = z.object({ q: z.string() });

/** A model that calls this tool and then answers. */
const calling = (name: string, args?: object) =>
  scripted((count) => (count === 1 ? { calls: [{ id: 'call_1', name, ...(args && { args }) }] } : {}));
type Scripted = ReturnType<typeof calling>;

/** What the model was last told that its tool gave. */
const toldTo = ({ sent }: Scripted): unknown => {
  const part = sent.at(-1)?.prompt.at(-1)?.content[0];
  return typeof part === 'object' && part.type === 'tool-result' && 'value' in part.output ? part.output.value : part;
};

async function toolsOf() {
  await runpurse.client.flush();
  const run = await gateway.readRun('run-1');
  return run?.tools.map((call) => [call.tool, call.status]);
}

describe('a tool that calls others', () => {
  /** As Code Mode is one: what it is bound to is told when a generation begins. */
  const code = (own: Partial<Tool> = { execute: () => Promise.reject(new Error('bound to nothing')) }) =>
    experimental_toolCaller(tool({ description: 'code', inputSchema, ...own } as Tool), {
      type: 'local',
      bind: ({ lookup: bound }) =>
        tool({
          description: 'code',
          inputSchema,
          execute: async (input, options) => `code said ${String(await bound?.execute?.(input, { ...options, toolCallId: 'call_2' }))}`,
        }),
    });
  const options = (run: AgentRun, model: Scripted, tools: ToolSet, name: string) => ({
    ...LOOP,
    model: run.model(model),
    tools: run.tools(tools),
    experimental_toolCallers: { lookup: [name as 'AI_SDK_DIRECT_TOOL_CALL'] },
  });

  it.each<[string, (given: ReturnType<typeof options>) => Promise<unknown>]>([
    ['generateText', (given) => generateText(given)],
    ['streamText', async (given) => streamText(given).text],
  ])('runs them, and each is asked for and recorded once: %s', async (_, play) => {
    const { tools, ran } = lookup();
    const model = calling('code');
    await runpurse.run({ runId: 'run-1' }, (run) => play(options(run, model, run.tools({ ...tools, code: code() }), 'code')));
    expect([ran, toldTo(model)]).toEqual([['x'], 'code said found x']);
    expect(await toolsOf()).toEqual([
      ['code', 'completed'],
      ['lookup', 'completed'],
    ]);
  });

  it.each([
    ['', undefined],
    [', also where only what it binds can run', {}],
  ])('is asked for itself%s', async (_, own) => {
    const { tools, ran } = lookup();
    const model = calling('refund');
    await runpurse.run({ runId: 'run-1' }, (run) => generateText(options(run, model, { ...tools, refund: code(own) }, 'refund')));
    expect([ran, toldTo(model)]).toEqual([[], expect.stringContaining('refund')]);
    expect(await toolsOf()).toEqual([['refund', 'denied']]);
  });
});

describe('a search for tools', () => {
  const searching = (name: string, asked: string[]) => ({
    ...{ [name]: toolSearch({ search: ({ query, tools }) => (asked.push(query), tools.map((found) => found.name)) }) },
    lookup: { ...lookup().tools.lookup, deferLoading: true },
  });
  const model = (name: string): Scripted => calling(name, { query: 'weather' });

  it('is asked for, and finds nothing when it is denied', async () => {
    const asked: string[] = [];
    const denied = model('refund');
    await runpurse.run({ runId: 'run-1' }, (run) =>
      generateText({ ...LOOP, model: run.model(denied), tools: run.tools(searching('refund', asked)) }),
    );
    expect([asked, toldTo(denied)]).toEqual([[], expect.stringContaining('refund')]);
    expect(await toolsOf()).toEqual([['refund', 'denied']]);
  });

  it('is recorded once, and what it finds can be called', async () => {
    const asked: string[] = [];
    const allowed = scripted(
      (count) =>
        [{ calls: [{ name: 'find', args: { query: 'weather' } }] }, { calls: [{ id: 'call_2', name: 'lookup' }] }, {}][count - 1] ?? {},
    );
    await runpurse.run({ runId: 'run-1' }, (run) =>
      generateText({ ...LOOP, model: run.model(allowed), tools: run.tools(run.tools(searching('find', asked))) }),
    );
    expect([asked, toldTo(allowed)]).toEqual([['weather'], 'found x']);
    expect(await toolsOf()).toEqual([
      ['find', 'completed'],
      ['lookup', 'completed'],
    ]);
  });
});

it('a tool that is an object of a class keeps its methods, and they their object', async () => {
  class Counter {
    readonly inputSchema = inputSchema;
    #ran = 0;
    get description() {
      return `ran ${this.#ran} times`;
    }
    execute() {
      this.#ran += 1;
      return Promise.resolve('unread');
    }
    toModelOutput() {
      return { type: 'text' as const, value: `ran ${this.#ran} times` };
    }
  }
  const model = calling('lookup');
  await runpurse.run({ runId: 'run-1' }, (run) =>
    generateText({ ...LOOP, model: run.model(model), tools: run.tools(run.tools({ lookup: new Counter() })) }),
  );
  expect(toldTo(model)).toBe('ran 1 times');
  expect(model.sent[0]?.tools).toMatchObject([{ description: 'ran 0 times' }]);
  expect(await toolsOf()).toEqual([['lookup', 'completed']]);
});

describe('a tool whose result may be iterated', () => {
  /** As a client gives the page of a list: iterated, it asks for the next one. */
  class Page {
    readonly data = ['best', 'worst'];
    toJSON(): object {
      return { data: this.data };
    }
    async *[Symbol.asyncIterator](): AsyncGenerator<string> {
      yield* this.data;
      iterated += 1;
    }
  }
  let iterated = 0;
  beforeEach(() => {
    iterated = 0;
  });

  it.each<[string, () => unknown]>([
    ['a promise of a page', async () => new Page()],
    ['a page', () => new Page()],
    [
      'a promise that may be iterated itself',
      () => Object.assign(Promise.resolve(new Page()), { [Symbol.asyncIterator]: () => new Page()[Symbol.asyncIterator]() }),
    ],
  ])('tells the model what it would without us: %s', async (_, execute) => {
    const page = { page: tool({ description: 'a page', inputSchema, execute } as Tool) };
    const plain = calling('page');
    await generateText({ ...LOOP, model: plain, tools: page });
    const before = iterated;
    const model = calling('page');
    await runpurse.run({ runId: 'run-1' }, (run) => generateText({ ...LOOP, model: run.model(model), tools: run.tools(page) }));
    expect(toldTo(model)).toEqual(toldTo(plain));
    expect(iterated).toBe(2 * before);
    expect(await toolsOf()).toEqual([['page', 'completed']]);
  });
});
