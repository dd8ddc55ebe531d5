export { createRunpurse, type AgentRun, type Runpurse, type RunpurseOptions } from './attach.ts';
