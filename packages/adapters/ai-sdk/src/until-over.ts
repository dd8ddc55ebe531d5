import { watched, type Failure, type Over } from '@runpurse/core/language-model';

/**
 * Does work and tells when it is over: when it settles, or, when it settled for a stream (what `streamText` or
 * `streamObject` returned, a `Response` or a `ReadableStream`), when that ended.
 */
export async function untilOver<Result>(work: () => Result | PromiseLike<Result>, over: Over): Promise<Result> {
  let result: Result;
  try {
    result = await work();
  } catch (error) {
    await over({ error });
    throw error;
  }
  if (isUnread(result)) return watched(result, over) as Result;
  if (result instanceof Response && isUnread(result.body)) return new Response(watched(result.body, over), result) as Result;
  if (typeof result === 'object' && result !== null && ('baseStream' in result || 'consumeStream' in result))
    watchResult(result as StreamingResult, over);
  else await over(undefined);
  return result;
}

/** What tells of the end of a result of the SDK without consuming it. The promise that its public getter gives would. */
interface StreamingResult {
  baseStream?: unknown;
  readonly _finishReason?: { readonly promise: PromiseLike<unknown> };
  readonly finishReason?: PromiseLike<unknown>;
  readonly consumeStream?: () => PromiseLike<void>;
}

/** Readers to come read from `baseStream`. Of those that came before, `finishReason` tells; what is then left costs nothing to read. */
function watchResult(result: StreamingResult, over: Over): void {
  const { baseStream } = result;
  const isOurs = isUnread(baseStream);
  if (isOurs) result.baseStream = watched(baseStream, over);
  if (isOurs && result.consumeStream === undefined) return;
  const settled = result._finishReason?.promise ?? (baseStream === undefined ? result.finishReason : undefined);
  const readRest = async (failure: Failure | undefined): Promise<void> => {
    await result.consumeStream?.();
    await over(failure);
  };
  settled
    ?.then(
      () => readRest(undefined),
      (error: unknown) => readRest({ error }),
    )
    .then(undefined, () => over(undefined));
}

function isUnread(stream: unknown): stream is ReadableStream {
  return stream instanceof ReadableStream && !stream.locked;
}
