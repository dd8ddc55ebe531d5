import type { IDataObject } from 'n8n-workflow';
import { amountIn, fieldOf, unusable } from '../../../shared/fields.ts';
import { askAccepted, choice, id, required, stated, type Item, type Operation } from '../operation.ts';

export const create: Operation = {
  value: 'create',
  name: 'Create',
  action: 'Create a budget',
  description: 'Cap what a run, session, customer … may cost. Needs a key with admin rights.',
  properties: [
    {
      displayName: 'Scope',
      name: 'scope',
      type: 'options',
      options: ['agent', 'customer', 'key', 'member', 'request', 'run', 'session', 'workflow', 'workspace'].map((value) => ({
        name: value[0]?.toUpperCase() + value.slice(1),
        value,
      })),
      default: 'session',
    },
    {
      displayName: 'Of',
      name: 'scopeId',
      type: 'string',
      default: '*',
      description: 'ID of the one it is about; * gives each its own counter',
    },
    { displayName: 'Limit (USD)', name: 'limitUsd', type: 'string', required: true, default: '', placeholder: '20' },
    {
      displayName: 'Window',
      name: 'window',
      type: 'options',
      options: [
        { name: 'Day', value: 'day' },
        { name: 'Lifetime', value: 'lifetime' },
        { name: 'Month', value: 'month' },
      ],
      default: 'lifetime',
    },
    {
      displayName: 'When It Is Spent',
      name: 'budgetAction',
      type: 'options',
      options: [
        { name: 'Only Tell', value: 'alert_only' },
        { name: 'Pause the Run', value: 'pause' },
        { name: 'Refuse', value: 'block' },
      ],
      default: 'block',
    },
    {
      displayName: 'Name',
      name: 'budgetName',
      type: 'string',
      default: '',
      description: 'How refusals and alerts call it. Made again under the same name for the same one, it is replaced, not doubled.',
    },
    {
      displayName: 'Budget ID',
      name: 'budgetId',
      type: 'string',
      default: '',
      description: 'Of a budget to replace; its counters stay',
    },
  ],
  async execute(item) {
    const wanted = {
      name: id(item, 'budgetName'),
      scope: choice(item, 'scope'),
      id: required(item, 'scopeId', 'give the ID of the one the budget is for, or * for each of them'),
      window: choice(item, 'window'),
      limit_usd: limitOf(item),
      action: choice(item, 'budgetAction'),
    };
    const budgetId = id(item, 'budgetId');
    const body = stated({ budget_id: budgetId, idempotency_key: budgetId === '' ? keyOf(wanted) : '', ...wanted });
    return askAccepted(item, { method: 'POST', path: '/v1/budgets', body });
  },
};

/** One budget of a name for each it is about, so that a workflow which runs every hour makes one and not hundreds. */
function keyOf({ name, scope, id: scopeId }: Pick<IDataObject, 'name' | 'scope' | 'id'>): string {
  return name === '' ? '' : `n8n:${JSON.stringify([name, scope, scopeId])}`;
}

function limitOf(item: Item): string {
  const field = fieldOf(item.fields, 'limitUsd');
  const limit = amountIn(field);
  if (limit === undefined) throw unusable(field, 'give dollars such as 20');
  return limit;
}
