import type { UnderlyingSource } from 'node:stream/web';
import { describe, expect, it } from '@jest/globals';
import { watched, type Failure } from './watched.ts';

function stage(source: UnderlyingSource<string>) {
  const seen: string[] = [];
  const ends: (Failure | undefined)[] = [];
  const stream = watched(
    new ReadableStream<string>(source, { highWaterMark: 0 }),
    (failure) => void ends.push(failure),
    (part) => seen.push(part),
  );
  return { stream, seen, ends };
}

describe('a watched stream', () => {
  it('passes all on, and tells of its end', async () => {
    const { stream, seen, ends } = stage({
      start(controller) {
        controller.enqueue('a');
        controller.enqueue('b');
        controller.close();
      },
    });
    const parts: string[] = [];
    for await (const part of stream) parts.push(part);
    expect([parts, seen, ends]).toEqual([['a', 'b'], ['a', 'b'], [undefined]]);
  });

  it('closes after those told of its end are done with it', async () => {
    const order: string[] = [];
    const source = new ReadableStream<string>({ start: (controller) => controller.close() });
    const stream = watched(source, async () => {
      await new Promise((resolve) => setTimeout(resolve, 5));
      order.push('told');
    });
    await stream.getReader().read();
    order.push('closed');
    expect(order).toEqual(['told', 'closed']);
  });

  it('fails as it would have, and tells so', async () => {
    const error = new Error('lost');
    const { stream, ends } = stage({ pull: (controller) => controller.error(error) });
    await expect(stream.getReader().read()).rejects.toBe(error);
    expect(ends).toEqual([{ error }]);
  });

  it.each([
    [undefined, 'AbortError'],
    [new DOMException('late', 'TimeoutError'), 'TimeoutError'],
  ])('that is given up with %s is cancelled at its source, and told as an %s', async (reason, name) => {
    const cancelled: unknown[] = [];
    const { stream, ends } = stage({ cancel: (given) => void cancelled.push(given) });
    const reader = stream.getReader();
    const reading = reader.read();
    await reader.cancel(reason);
    expect(await reading).toEqual({ done: true, value: undefined });
    expect(cancelled).toEqual([reason]);
    expect(ends).toMatchObject([{ error: { name } }]);
  });

  it('is pulled no earlier than its reader pulls', async () => {
    let pulls = 0;
    const { stream } = stage({
      pull(controller) {
        pulls += 1;
        controller.enqueue('a');
      },
    });
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect(pulls).toBe(0);
    await stream.getReader().read();
    expect(pulls).toBe(1);
  });
});
