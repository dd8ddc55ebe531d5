/** A wrapper, because anything can be thrown, `undefined` too. */
export interface Failure {
  readonly error: unknown;
}

/** Told what went wrong, if anything did; told again, it takes no notice. */
export type Over = (failure: Failure | undefined) => void | Promise<void>;

/**
 * A stream, unchanged, that tells what passes and how it ends: read to its end, failed, or given up by its reader. It is
 * pulled no earlier than its own reader pulls, and closes after `over`.
 */
export function watched<Part>(stream: ReadableStream<Part>, over: Over, see?: (part: Part) => void): ReadableStream<Part> {
  const reader = stream.getReader();
  let isCancelled = false;
  return new ReadableStream<Part>(
    {
      async pull(controller) {
        try {
          const next = await reader.read();
          if (isCancelled) return;
          if (!next.done) {
            see?.(next.value);
            controller.enqueue(next.value);
            return;
          }
        } catch (error) {
          if (isCancelled) return;
          await over({ error });
          controller.error(error);
          return;
        }
        await over(undefined);
        controller.close();
      },
      async cancel(reason) {
        isCancelled = true; // which ends the read under way, as if the stream were done
        const isLate = (reason as { readonly name?: unknown } | undefined)?.name === 'TimeoutError';
        await over({ error: isLate ? reason : new DOMException('The stream was cancelled.', 'AbortError') });
        await reader.cancel(reason);
      },
    },
    { highWaterMark: 0 },
  );
}
