import type { Failure } from './live.ts';

/** Told once, with what went wrong if anything did. */
type Over = (failure: Failure | undefined) => void | Promise<void>;

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
        await over({ error: new DOMException('The stream was cancelled.', 'AbortError') });
        await reader.cancel(reason);
      },
    },
    { highWaterMark: 0 },
  );
}

/**
 * Does work and tells when it is over: when it settles, or, when it settled for a stream (what `streamText` returns, a
 * `Response` or a `ReadableStream`), when that ended.
 */
export async function untilOver<Result>(work: () => Result | PromiseLike<Result>, over: Over): Promise<Result> {
  let result: Result;
  try {
    result = await work();
  } catch (error) {
    await over({ error });
    throw error;
  }
  if (result instanceof ReadableStream) return watched(result, over) as Result;
  if (result instanceof Response && result.body !== null) return new Response(watched(result.body, over), result) as Result;
  // `streamText` has no public end that does not consume the stream; all its readers read from here.
  const streaming = result as { baseStream?: unknown } | null | undefined;
  if (streaming?.baseStream instanceof ReadableStream) streaming.baseStream = watched(streaming.baseStream, over);
  else await over(undefined);
  return result;
}
