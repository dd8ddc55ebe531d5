import type { Bundle, Search, ZObject } from 'zapier-platform-core';
import type { BudgetStateShape } from '@runpurse/core';
import { read } from '../attach.ts';
import { BUDGET_OUT, BUDGET_SAMPLE } from '../fields.ts';
import { idOf, invalid, textOf } from '../inputs.ts';
import { budgetRow, byRemaining } from '../translate.ts';

const PATHS: ReadonlyMap<string | undefined, string> = new Map([
  ['run', 'runs'],
  ['session', 'sessions'],
  ['workflow', 'workflows'],
  ['agent', 'agents'],
  ['workspace', 'workspaces'],
]);

/** The budgets that hold for something, the tightest first. */
async function perform(z: ZObject, bundle: Bundle): Promise<object[]> {
  const id = idOf(z, bundle.inputData, 'scope_id', 'ID');
  const path = PATHS.get(textOf(z, bundle.inputData, 'level', 'Level')?.toLowerCase());
  if (path === undefined || id === undefined) throw invalid(z, 'Say whose budget: choose Level and fill in its ID.');
  const found = await read<{ readonly budgets: readonly BudgetStateShape[] }>(z, bundle, `/v1/${path}/${encodeURIComponent(id)}`);
  return byRemaining(found?.budgets ?? []).map(budgetRow);
}

export const budgetStatus: Search = {
  key: 'budget_status',
  noun: 'Budget',
  display: {
    label: 'Find Budget Status',
    description: 'Finds what the tightest budget of a run, session, workflow, agent or workspace leaves.',
  },
  operation: {
    perform,
    inputFields: [
      {
        key: 'level',
        label: 'Level',
        type: 'string',
        required: true,
        choices: { run: 'Run', session: 'Session', workflow: 'Workflow', agent: 'Agent', workspace: 'Workspace' },
      },
      { key: 'scope_id', label: 'ID', type: 'string', required: true, helpText: 'Of the run, session, workflow, agent or workspace.' },
    ],
    sample: BUDGET_SAMPLE,
    outputFields: BUDGET_OUT as Search['operation']['outputFields'] & object,
  },
};
