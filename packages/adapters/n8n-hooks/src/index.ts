export { createHooks, type Hooks, type HooksOptions } from './attach.ts';
export type { Carried } from './carried.ts';
export type { RunData, WorkflowData } from './n8n.ts';
export type { StepsOf } from './translate.ts';
