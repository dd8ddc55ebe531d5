import { askAccepted, runOf, type Operation } from '../operation.ts';

export const get: Operation = {
  value: 'get',
  name: 'Get',
  action: 'Get a run',
  description: 'Its steps, calls, tools, cost, margin and what its budgets still allow',
  properties: [],
  execute: (item) => askAccepted(item, { method: 'GET', path: `/v1/runs/${encodeURIComponent(runOf(item))}` }),
};
