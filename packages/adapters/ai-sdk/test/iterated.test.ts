import { EventEmitter } from 'node:events';
import { PassThrough, Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { sandboxConfig, SAYS_DONE, startGateway, type RunningGateway } from '@runpurse/conformance';
import { generateText, isStepCount, streamText } from 'ai';
import { createRunpurse, type AgentRun, type Runpurse } from '../src/index.ts';
import { lookThenAnswer, lookup, scripted } from './stage.ts';

let gateway: RunningGateway;
let runpurse: Runpurse;

beforeEach(async () => {
  gateway = await startGateway({ config: sandboxConfig({ mock: SAYS_DONE }) });
  runpurse = createRunpurse({ baseUrl: gateway.url, apiKey: gateway.apiKey });
});
afterEach(async () => {
  await runpurse.client.close();
  await gateway.remove();
});

const LOOP = { prompt: 'hi', maxOutputTokens: 1_000, stopWhen: isStepCount(5) };
const wait = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));

async function runNow(runId = 'run-1') {
  await runpurse.client.flush();
  const run = await gateway.readRun(runId);
  return { ...run, held: run?.budgets[0]?.held_usd };
}

/** The run once it has ended; as it is when it does not. */
async function ended() {
  for (let tries = 0; tries < 50; tries += 1) {
    const run = await runNow();
    if (run.status !== 'running') return run;
    await wait(100);
  }
  return runNow();
}

async function thrownBy(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => 'nothing was thrown',
    (error: unknown) => error,
  );
}

describe('what the run returned to be iterated', () => {
  const words = (run: AgentRun): AsyncGenerator<string> =>
    (async function* () {
      yield* streamText({ ...LOOP, model: run.model(scripted(lookThenAnswer)), tools: run.tools(lookup().tools) }).textStream;
      yield (await generateText({ ...LOOP, model: run.model(scripted(() => ({}))) })).text;
    })();
  /** An iterable that is no generator, with something else to it, and whose iterators cannot be told that they are left. */
  const iterable = (run: AgentRun) => {
    const own = words(run);
    return { name: 'mine', [Symbol.asyncIterator]: (): AsyncIterator<string> => ({ next: () => own.next() }) };
  };
  const whole = { status: 'completed', counts: { requests: 3, tool_calls: 1 }, held: '0' };
  const readAll = async (pieces: AsyncIterable<unknown>): Promise<unknown[]> => {
    const read: unknown[] = [];
    for await (const piece of pieces) read.push(piece);
    return read;
  };

  it.each<[string, (run: AgentRun) => AsyncIterable<unknown>]>([
    ['an async generator', words],
    ['an iterable', iterable],
    ['a stream of Node', (run) => Readable.from(words(run))],
  ])('is the run until its end, and stops it when it is left: %s', async (_, begin) => {
    expect(await readAll(await runpurse.run({ runId: 'run-1' }, begin))).toEqual(['done', 'done']);
    expect(await ended()).toMatchObject(whole);
    for await (const _piece of await runpurse.run({ runId: 'run-2' }, begin)) break;
    await wait(50);
    expect(await runNow('run-2')).toMatchObject({ status: 'stopped', held: '0' });
  });

  it('fails the run with its error', async () => {
    const mine = new Error('no such order');
    const failing = await runpurse.run({ runId: 'run-1' }, async function* () {
      yield await Promise.reject<unknown>(mine);
    });
    expect(await thrownBy(readAll(failing))).toBe(mine);
    expect(await runNow()).toMatchObject({ status: 'failed' });
  });

  it('stays what it was', async () => {
    const result = await runpurse.run({ runId: 'run-1' }, iterable);
    expect([result.name, await readAll(result)]).toEqual(['mine', ['done', 'done']]);
  });

  const files = async function* () {
    yield* await Promise.resolve(['f1', 'f2']);
  };
  const page = (next: unknown) => ({ next, [Symbol.asyncIterator]: files });
  it.each([
    ['the address of the next one', page('https://provider.test/files?page=2')],
    ['no next one', page(null)],
    ['a way to the next one', page(() => 'page 2')],
  ])('may be a page with %s', async (_, given) => {
    const { next } = given;
    expect(await runpurse.run({ runId: 'run-1' }, () => given)).toBe(given);
    expect(given.next).toBe(next);
    expect(await runNow()).toMatchObject({ status: 'running' });
    expect(await readAll(given)).toEqual(['f1', 'f2']);
    expect(await runNow()).toMatchObject({ status: 'completed' });
  });

  class Getting {
    get [Symbol.asyncIterator]() {
      return files;
    }
  }
  it.each([
    ['cannot be watched', new Getting()],
    ['is an event emitter, which may be heard instead', Object.assign(new EventEmitter(), { [Symbol.asyncIterator]: files })],
  ])('ends the run at once when it %s', async (_, given) => {
    expect(await runpurse.run({ runId: 'run-1' }, () => given)).toBe(given);
    expect(await runNow()).toMatchObject({ status: 'completed' });
    expect(await readAll(given)).toEqual(['f1', 'f2']);
  });

  it('is read though its iterators cannot be watched', async () => {
    const given = {
      [Symbol.asyncIterator]: () => Object.freeze({ next: () => Promise.resolve({ done: true as const, value: undefined }) }),
    };
    expect(await readAll(await runpurse.run({ runId: 'run-1' }, () => given))).toEqual([]);
    expect(await runNow()).toMatchObject({ status: 'completed' });
  });

  it('may be piped by Node', async () => {
    await pipeline(await runpurse.run({ runId: 'run-1' }, (run) => Readable.from(words(run))), new PassThrough().resume());
    expect(await ended()).toMatchObject(whole);
  });
});
