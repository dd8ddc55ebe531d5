export { createRunpurse, type Runpurse, type RunpurseOptions } from './attach.ts';
export type { RunpurseTripwire } from './live.ts';
export { mastraEvents } from './mapping.ts';
export type { Gate, GateOptions, GateParams } from './workflow.ts';
