import { finished, Readable } from 'node:stream';
import { watched, type Failure, type Over } from '@runpurse/core/language-model';
import { isIterable, leftByReader, watchIterable } from './iterated.ts';

/**
 * Does work and tells when it is over: when it settles, or, when it settled for a stream (what `streamText` or
 * `streamObject` returned, a `Response`, a stream of the web or of Node, or what else is iterated), when that ended.
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
  else if (result instanceof Readable) watchNodeStream(result, over);
  else if (isIterable(result) && !(result instanceof ReadableStream) && Object.isExtensible(result)) await watchIterable(result, over);
  else await over(undefined);
  return result;
}

/** What tells of the end of a result of the SDK without consuming it. The promise that its public getter gives would. */
interface StreamingResult {
  baseStream?: unknown;
  readonly _finishReason?: { readonly promise: PromiseLike<unknown> };
  readonly finishReason?: PromiseLike<unknown>;
  readonly consumeStream?: () => PromiseLike<void>;
  /** Rejects the promises of a result that are still open, `finishReason` among them. */
  readonly rejectResultPromises?: (error: unknown) => void;
}

/** Readers to come read from `baseStream`. Of those that came before, `finishReason` tells; what is then left costs nothing to read. */
function watchResult(result: StreamingResult, over: Over): void {
  const { baseStream } = result;
  const isOurs = isUnread(baseStream);
  if (isOurs) result.baseStream = watchedForAll(baseStream, over, (error) => giveUp(result, over, error));
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

/** How long a result that all its readers left may wait for another one. */
const LEFT_MS = 250;

/**
 * The SDK splits the stream of a result for each reader and keeps the rest for the next one, so that it does not end when all
 * of them leave it. `leave` is told then, unless another one comes.
 */
function watchedForAll(stream: ReadableStream, over: Over, leave: (reason: Error) => Promise<void>): ReadableStream {
  let readers = 0;
  let isLeft = false;
  const leaveIfAlone = (): void => {
    if (readers > 0 || isLeft) return;
    isLeft = true;
    void leave(leftByReader()).catch(() => {}); // it failed, which was told
  };
  const splitting = (whole: ReadableStream): ReadableStream =>
    Object.assign(whole, {
      tee(): [ReadableStream, ReadableStream] {
        const [own, rest] = ReadableStream.prototype.tee.call(whole);
        readers += 1;
        const end: Over = (failure) => {
          readers -= 1;
          if (failure !== undefined) setTimeout(leaveIfAlone, LEFT_MS);
        };
        return [watched(own, end), splitting(rest)];
      },
    });
  return splitting(watched(stream, (failure) => (isLeft ? undefined : over(failure))));
}

/** Cancels the rest. A reader that came before we watched keeps the stream going, and this waiting for its end. */
async function giveUp(result: StreamingResult, over: Over, error: Error): Promise<void> {
  await (result.baseStream as ReadableStream).cancel(error);
  if (result.rejectResultPromises === undefined) await over({ error });
  else result.rejectResultPromises(error); // those it has not kept: who waits for one would wait for ever
}

/** A stream of Node may also be piped, and then nobody iterates it. */
function watchNodeStream(stream: Readable, over: Over): void {
  finished(stream, { writable: false }, (error) => {
    void over(error ? { error: error.code === 'ERR_STREAM_PREMATURE_CLOSE' ? leftByReader() : error } : undefined);
  });
}

function isUnread(stream: unknown): stream is ReadableStream {
  return stream instanceof ReadableStream && !stream.locked;
}
