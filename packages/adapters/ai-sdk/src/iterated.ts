import type { Over } from '@runpurse/core/language-model';

/** Whether it is there to be iterated. An event emitter that may be iterated may as well be heard, and then nobody iterates it. */
export function isIterable(value: unknown): value is AsyncIterable<unknown> {
  const { [Symbol.asyncIterator]: iterate, emit } = (value ?? {}) as { readonly [Symbol.asyncIterator]?: unknown; readonly emit?: unknown };
  return typeof iterate === 'function' && typeof emit !== 'function';
}

/** Makes an iterable tell how it ends, in place, for it may be more than an iterable. One that can't be changed is over: it never tells. */
export async function watchIterable(iterable: AsyncIterable<unknown> & { readonly next?: unknown }, over: Over): Promise<void> {
  const iterate = iterable[Symbol.asyncIterator].bind(iterable);
  try {
    // A generator is its own iterator; what else is called `next` may be data, or a page.
    if (typeof iterable.next === 'function' && iterate() === iterable) watchIterator(iterable as AsyncGenerator, over);
    else Object.assign(iterable, { [Symbol.asyncIterator]: () => watchIterator(iterate(), over) });
  } catch {
    await over(undefined);
  }
}

/** Why the run of a stream that its readers left is stopped. */
export const leftByReader = (): Error => new DOMException('The stream was cancelled.', 'AbortError');

type Step = (...args: [] | [unknown]) => Promise<IteratorResult<unknown>>;

function watchIterator(iterator: AsyncIterator<unknown>, over: Over): AsyncIterator<unknown> {
  const telling =
    (step: Step, isLeft = false): Step =>
    async (...args) => {
      try {
        const result = await step(...args);
        if (result.done === true) await over(isLeft ? { error: leftByReader() } : undefined);
        return result;
      } catch (error) {
        await over({ error });
        throw error;
      }
    };
  try {
    // A reader that leaves calls `return`, where there is one.
    const leave: Step = iterator.return?.bind(iterator) ?? ((value) => Promise.resolve({ done: true, value }));
    return Object.assign(iterator, {
      next: telling(iterator.next.bind(iterator)),
      return: telling(leave, true),
      ...(iterator.throw && { throw: telling(iterator.throw.bind(iterator)) }),
    });
  } catch {
    void over(undefined);
    return iterator;
  }
}
