import type { IDataObject } from 'n8n-workflow';
import { runFieldsOf } from '../../../shared/attribution.ts';
import { askAccepted, id, type Operation } from '../operation.ts';

export const status: Operation = {
  value: 'status',
  name: 'Status',
  action: 'Get the status of budgets',
  description: 'The budgets of the workspace, and whether this run, session and workflow may still spend',
  properties: [
    {
      displayName: 'Budget Name or ID',
      name: 'budget',
      type: 'options',
      typeOptions: { loadOptionsMethod: 'getBudgets' },
      default: '',
      description:
        'Leave empty for all. Choose from the list, or specify an ID using an <a href="https://docs.n8n.io/code/expressions/">expression</a>.',
    },
  ],
  async execute(item) {
    const wanted = id(item, 'budget');
    const { data } = await askAccepted(item, { method: 'GET', path: '/v1/budgets' });
    const budgets = (data as IDataObject[]).filter(
      (budget) => wanted === '' || budget['budget_id'] === wanted || budget['name'] === wanted,
    );
    const check = await askAccepted(item, { method: 'POST', path: '/v1/check', body: runFieldsOf(item.place) });
    return { maySpend: check['allowed'], answers: check['answers'], budgets };
  },
};
