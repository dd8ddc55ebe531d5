export { RunpurseCallbackHandler, type RunpurseOptions } from './attach.ts';
export { runpurseFetch, withRunpurse } from './carry.ts';
export { runpurseMiddleware } from './middleware.ts';
export type { RunpurseMetadata } from './translate.ts';
