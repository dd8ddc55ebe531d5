import type { Failure } from './live.ts';

/**
 * A stream, unchanged, that tells what passes and how it ends: read to its end, failed, or given up by its reader. It is
 * pulled no earlier than its own reader pulls. Told twice of an end, `over` takes no notice.
 */
export function watched<Part>(
  stream: ReadableStream<Part>,
  over: (failure: Failure | undefined) => void,
  see: (part: Part) => void,
): ReadableStream<Part> {
  const reader = stream.getReader();
  let isCancelled = false;
  return new ReadableStream<Part>(
    {
      async pull(controller) {
        try {
          const next = await reader.read();
          if (isCancelled) return;
          if (!next.done) {
            see(next.value);
            controller.enqueue(next.value);
            return;
          }
          over(undefined);
          controller.close();
        } catch (error) {
          if (isCancelled) return;
          over({ error });
          controller.error(error);
        }
      },
      async cancel(reason) {
        isCancelled = true; // which ends the read under way, as if the stream were done
        const isLate = (reason as { readonly name?: unknown } | undefined)?.name === 'TimeoutError';
        over({ error: isLate ? reason : new DOMException('The stream was cancelled.', 'AbortError') });
        await reader.cancel(reason);
      },
    },
    { highWaterMark: 0 },
  );
}
