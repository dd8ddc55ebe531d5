import { runFieldsOf } from '../../../shared/attribution.ts';
import { fieldOf, numberIn } from '../../../shared/fields.ts';
import { amount, askAccepted, collection, runOf, stated, type Operation } from '../operation.ts';

const BOUNDS = {
  maxRequests: 'max_requests',
  maxToolCalls: 'max_tool_calls',
  maxSteps: 'max_steps',
  maxRetries: 'max_retries',
  maxRepeats: 'max_repeats',
  maxRuntimeSeconds: 'max_runtime_s',
} as const;

/** What the gateway takes: a bound of none would be a run that may do nothing. */
const typeOptions = { minValue: 1, numberPrecision: 0 };

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
        { displayName: 'Identical Calls in a Row', name: 'maxRepeats', type: 'number', typeOptions, default: 3 },
        { displayName: 'Model Calls', name: 'maxRequests', type: 'number', typeOptions, default: 40 },
        { displayName: 'Retries', name: 'maxRetries', type: 'number', typeOptions: { ...typeOptions, minValue: 0 }, default: 5 },
        { displayName: 'Runtime (Seconds)', name: 'maxRuntimeSeconds', type: 'number', typeOptions, default: 900 },
        { displayName: 'Steps', name: 'maxSteps', type: 'number', typeOptions, default: 100 },
        { displayName: 'Tool Calls', name: 'maxToolCalls', type: 'number', typeOptions, default: 60 },
      ],
    },
  ],
  execute(item) {
    const said = collection(item, 'bounds');
    const bounds = stated(Object.fromEntries(Object.entries(BOUNDS).map(([name, field]) => [field, numberIn(fieldOf(said, name))])));
    const body = stated({
      ...runFieldsOf(item.place),
      limit_usd: amount(item, 'limitUsd'),
      bounds: Object.keys(bounds).length > 0 ? bounds : undefined,
    });
    return askAccepted(item, { method: 'POST', path: '/v1/runs', body });
  },
  withoutGateway: (item) => ({ started: false, run_id: runOf(item) }),
};
