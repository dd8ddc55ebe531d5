import type { Bundle, Search, ZObject } from 'zapier-platform-core';
import type { BudgetStateShape } from '@runpurse/core';
import { read } from '../attach.ts';
import { BUDGET_OUT, BUDGET_SAMPLE } from '../fields.ts';
import { budgetRow, byRemaining, textOf } from '../translate.ts';

const PATHS: Readonly<Record<string, string>> = {
  run: 'runs',
  session: 'sessions',
  workflow: 'workflows',
  agent: 'agents',
  workspace: 'workspaces',
};

/** The budgets that hold for something, the tightest first. */
async function perform(z: ZObject, bundle: Bundle): Promise<object[]> {
  const [level, id] = [textOf(bundle.inputData, 'level'), textOf(bundle.inputData, 'scope_id')];
  const path = PATHS[level ?? ''];
  if (path === undefined || id === undefined)
    throw new z.errors.Error('Say whose budget: choose Level and fill in its ID.', 'invalid_input', 400);
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
