import type { Over } from '@runpurse/core/language-model';

export function isIterable(value: unknown): value is AsyncIterable<unknown> {
  return typeof (value as { readonly [Symbol.asyncIterator]?: unknown } | null | undefined)?.[Symbol.asyncIterator] === 'function';
}

/** Makes an iterable tell how it ends, in place, for it may be more than an iterable. A generator is its own iterator. */
export function watchIterable(iterable: AsyncIterable<unknown>, over: Over): void {
  if ('next' in iterable) return void watchIterator(iterable as AsyncGenerator, over);
  const iterate = iterable[Symbol.asyncIterator].bind(iterable);
  Object.assign(iterable, { [Symbol.asyncIterator]: () => watchIterator(iterate(), over) });
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
  // A reader that leaves calls `return`, where there is one.
  const leave: Step = iterator.return?.bind(iterator) ?? ((value) => Promise.resolve({ done: true, value }));
  return Object.assign(iterator, {
    next: telling(iterator.next.bind(iterator)),
    return: telling(leave, true),
    ...(iterator.throw && { throw: telling(iterator.throw.bind(iterator)) }),
  });
}
