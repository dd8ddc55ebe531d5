import { REFUSED_OUT, REFUSED_SAMPLE, RUN_OUT, RUN_SAMPLE, THRESHOLD_OUT, THRESHOLD_SAMPLE } from '../fields.ts';
import { choiceIfAny, count } from '../inputs.ts';
import { noticeTriggers } from './hook.ts';

export const [runEnded, runEndedPolled] = noticeTriggers({
  key: 'run_ended',
  noun: 'Run',
  label: 'Run Ended',
  description: 'Triggers when a run is completed, failed or stopped, with what it cost and earned.',
  event: 'run.ended',
  sample: { ...RUN_SAMPLE, id: 'ntc_2b7f9c31', created_at: '2026-11-24T10:00:21.000Z', denied_calls: 0 },
  outputFields: [
    ...RUN_OUT.map((field) => (field.key === 'id' ? { ...field, label: 'Notice ID' } : field)),
    { key: 'created_at', label: 'Told At', type: 'datetime' },
    { key: 'denied_calls', label: 'Denied Calls', type: 'integer' },
  ],
  inputFields: [
    {
      key: 'status',
      label: 'Status',
      type: 'string',
      required: false,
      choices: { completed: 'Completed', failed: 'Failed', stopped: 'Stopped' },
      helpText: 'Left empty, however it ended.',
    },
  ],
  wanted: (z, input) => {
    const status = choiceIfAny(z, input, 'status', 'Status', ['completed', 'failed', 'stopped']);
    return (row) => status === undefined || row['status'] === status;
  },
});

export const [thresholdCrossed, thresholdCrossedPolled] = noticeTriggers({
  key: 'threshold_crossed',
  noun: 'Threshold',
  label: 'Threshold Crossed',
  description: 'Triggers when a budget has been spent up to one of its thresholds.',
  event: 'budget.threshold',
  sample: THRESHOLD_SAMPLE,
  outputFields: THRESHOLD_OUT,
  inputFields: [
    {
      key: 'at_least',
      label: 'From (%)',
      type: 'integer',
      required: false,
      helpText: 'Only thresholds from here on, such as 90. Left empty, all.',
    },
  ],
  wanted: (z, input) => {
    const least = count(z, input, 'at_least', 'From (%)') ?? 0;
    return (row) => Number(row['threshold_percent']) >= least;
  },
});

export const [callRefused, callRefusedPolled] = noticeTriggers({
  key: 'call_refused',
  noun: 'Call',
  label: 'Call Refused',
  description: 'Triggers when a model or tool call was refused by a budget or a policy.',
  event: 'call.refused',
  sample: REFUSED_SAMPLE,
  outputFields: REFUSED_OUT,
});
