import { createHooks, type Hooks } from './attach.ts';
import { settingsOf } from './settings.ts';

const hooks: Hooks = createHooks(settingsOf(process.env));

/** What n8n reads of the file that `EXTERNAL_HOOK_FILES` names. */
export const workflow: Hooks['workflow'] = hooks.workflow;
export const n8n: Hooks['n8n'] = hooks.n8n;
