import type { IDataObject } from 'n8n-workflow';
import { runFieldsOf } from '../../../shared/attribution.ts';
import { amount, askAccepted, runOf, stated, type Operation } from '../operation.ts';

const BOUNDS = {
  maxRequests: 'max_requests',
  maxToolCalls: 'max_tool_calls',
  maxSteps: 'max_steps',
  maxRetries: 'max_retries',
  maxRepeats: 'max_repeats',
  maxRuntimeSeconds: 'max_runtime_s',
} as const;

export const start: Operation = {
  value: 'start',
  name: 'Start',
  action: 'Start a run',
  description: 'Begin the run of this execution, with a cap of its own',
  properties: [
    {
      displayName: 'Cap (USD)',
      name: 'limitUsd',
      type: 'string',
      default: '',
      placeholder: '0.50',
      description: 'What this run may cost. It can only tighten what the gateway already says.',
    },
    {
      displayName: 'Bounds',
      name: 'bounds',
      type: 'collection',
      placeholder: 'Add Bound',
      default: {},
      options: [
        { displayName: 'Identical Calls in a Row', name: 'maxRepeats', type: 'number', default: 3 },
        { displayName: 'Model Calls', name: 'maxRequests', type: 'number', default: 40 },
        { displayName: 'Retries', name: 'maxRetries', type: 'number', default: 5 },
        { displayName: 'Runtime (Seconds)', name: 'maxRuntimeSeconds', type: 'number', default: 900 },
        { displayName: 'Steps', name: 'maxSteps', type: 'number', default: 100 },
        { displayName: 'Tool Calls', name: 'maxToolCalls', type: 'number', default: 60 },
      ],
    },
  ],
  execute(item) {
    const said = item.context.getNodeParameter('bounds', item.index, {}) as IDataObject;
    const bounds = Object.fromEntries(Object.entries(BOUNDS).flatMap(([name, field]) => (said[name] ? [[field, Number(said[name])]] : [])));
    const body = stated({
      ...runFieldsOf(item.place),
      limit_usd: amount(item, 'limitUsd'),
      bounds: Object.keys(bounds).length > 0 ? bounds : undefined,
    });
    return askAccepted(item, { method: 'POST', path: '/v1/runs', body });
  },
  withoutGateway: (item) => ({ started: false, run_id: runOf(item) }),
};
