/**
 * How calls of models that follow the language-model specification (V2 to V4, as several frameworks have it) read in our
 * words: their usage in disjoint classes, what a reply or a stream's parts say, how a failed call ended, what bounds one,
 * and how a stream of parts is followed to its end.
 */
export {
  answerOf,
  answerWith,
  asText,
  outputMax,
  boundsOf,
  failureOf,
  isCancellation,
  isUnsent,
  requestIdOf,
  type Answer,
  type ModelCallOptions,
  type ModelReply,
  type ModelStreamPart,
} from './answer.ts';
export { usageOf, type ModelUsage, type ProviderMetadata } from './usage.ts';
export { watched, type Failure, type Over } from './watched.ts';
