export { attachRunpurse, Runpurse, type RunpurseOptions } from './attach.ts';
export { runpurseFetch } from './carry.ts';
export { openAiAgentsEvents } from './mapping.ts';
export { guardAgent, guardTools } from './tools.ts';
export type { RunpurseContext } from './translate.ts';
