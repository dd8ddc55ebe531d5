import type { Bundle, Create, ZObject } from 'zapier-platform-core';
import type { RunBounds } from '@runpurse/core';
import { attach, mayGoOn } from '../attach.ts';
import { DECISION_OUT, PLACE, RUN_OUT, RUN_SAMPLE } from '../fields.ts';
import { amount, contextOf, count, nameIfAny } from '../inputs.ts';
import { runRow } from '../translate.ts';
import { readRun } from '../tries.ts';

/** Begins a run. With a Run ID of the user's own a replay comes back to the same run. */
async function perform(z: ZObject, bundle: Bundle): Promise<object> {
  const input = bundle.inputData;
  const attached = attach(z, bundle, {
    ...contextOf(z, input, bundle.meta?.zap?.id),
    name: nameIfAny(z, input, 'Name'),
    limitUsd: amount(z, input, 'limit_usd', 'Cap'),
    bounds: boundsOf(z, input),
  });
  const { run } = attached;
  const warning = await mayGoOn(z, attached, await run.start());
  if (warning !== undefined)
    return { id: run.runId, run_id: run.runId, status: 'running', allowed: true, decision: 'unavailable', reason: '', warning };
  const shape = await readRun(z, bundle, run.runId);
  return {
    ...(shape === undefined ? { id: run.runId, run_id: run.runId } : runRow(shape)),
    allowed: true,
    decision: 'allowed',
    reason: '',
    warning: '',
  };
}

function boundsOf(z: ZObject, input: Bundle['inputData']): RunBounds {
  return {
    max_requests: count(z, input, 'max_requests', 'Most Model Calls'),
    max_tool_calls: count(z, input, 'max_tool_calls', 'Most Tool Calls'),
    max_runtime_s: count(z, input, 'max_runtime_s', 'Longest Runtime'),
  };
}

export const startRun: Create = {
  key: 'start_run',
  noun: 'Run',
  display: {
    label: 'Start Run',
    description: 'Begins a run, so that what this Zap does has one cost, one cap and one margin.',
  },
  operation: {
    perform,
    inputFields: [
      {
        key: 'run_id',
        label: 'Run ID',
        type: 'string',
        required: false,
        helpText:
          'Something unlike for every run of this Zap, such as the trigger’s ID: a replay then comes back to the same run. Left empty, one is made.',
      },
      ...(PLACE as Create['operation']['inputFields'] & object),
      { key: 'name', label: 'Name', type: 'string', required: false, helpText: 'What the run is called in the log.' },
      {
        key: 'limit_usd',
        label: 'Cap (USD)',
        type: 'string',
        required: false,
        placeholder: '0.50',
        helpText: 'The most this run may cost. It only tightens what the gateway’s operator set.',
      },
      { key: 'max_requests', label: 'Most Model Calls', type: 'integer', required: false },
      { key: 'max_tool_calls', label: 'Most Tool Calls', type: 'integer', required: false },
      { key: 'max_runtime_s', label: 'Longest Runtime (Seconds)', type: 'integer', required: false },
    ],
    sample: { ...RUN_SAMPLE, status: 'running', ended_at: null, allowed: true, decision: 'allowed', reason: '', warning: '' },
    outputFields: [...RUN_OUT, ...DECISION_OUT] as Create['operation']['outputFields'] & object,
  },
};
