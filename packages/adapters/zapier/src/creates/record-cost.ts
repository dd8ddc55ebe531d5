import type { Bundle, Create, ZObject } from 'zapier-platform-core';
import { usageOfTotals } from '@runpurse/core';
import { attach } from '../attach.ts';
import { CALL_ID, KIND, outText, PARENT_STEP, PLACE, RECORDED_OUT, RUN_ID, RUN_OUT, RUN_SAMPLE } from '../fields.ts';
import { amount, choice, count, kindOf, required } from '../inputs.ts';
import { contextOf, placeOf, runRow, textOf } from '../translate.ts';
import { attemptOf, readRunIfReachable, triesOf, type Try } from '../tries.ts';

/** Says what a call came to. The same call recorded twice is charged once. */
async function perform(z: ZObject, bundle: Bundle): Promise<object> {
  const input = bundle.inputData;
  const [runId, callId] = [required(z, input, 'run_id', 'Run ID'), required(z, input, 'call_id', 'Call ID')];
  const name = required(z, input, 'name', 'Tool or Model');
  const [costUsd, usage] = [amount(z, input, 'cost_usd', 'Cost'), usageOf(z, input)];
  const kind = kindOf(z, input);
  const { run, deliver } = attach(z, bundle, { ...contextOf(input, bundle.meta?.zap?.id), runId });
  const error = textOf(input, 'error');
  const status = error === undefined ? choice(z, input, 'status', 'Outcome', ['completed', 'failed']) : 'failed';
  const tries = triesOf(await readRunIfReachable(z, bundle, run.runId), kind, callId);
  const isRecorded = wasRecorded(tries, status);
  const said = { id: callId, call_id: callId, run_id: run.runId, already_recorded: isRecorded };
  if (!isRecorded) {
    const place = placeOf(input, callId, attemptOf(tries));
    const failure = error === undefined ? {} : { error };
    if (kind === 'model') run.recordModel({ ...place, model: name, usage, status, ...failure });
    else run.settleTool({ toolCallId: callId, tool: name, status, costUsd, place, ...failure });
    const warning = await deliver();
    if (warning !== undefined) return { ...said, recorded: false, warning };
  }
  const shape = await readRunIfReachable(z, bundle, run.runId);
  return { ...(shape === undefined ? {} : runRow(shape)), ...said, recorded: true, warning: '' };
}

/** It worked before, or it failed before and is said to have failed: the same report. A success after a failure is another try. */
function wasRecorded(tries: readonly Try[], status: 'completed' | 'failed'): boolean {
  if (tries.some((one) => one.status === 'open')) return false;
  return tries.some((one) => one.status === 'completed') || (status === 'failed' && tries.some((one) => one.status === 'failed'));
}

/** As AI apps tell tokens, totals that contain their parts. Unknown is unknown: then the gateway charges what was held, not nothing. */
function usageOf(z: ZObject, input: Bundle['inputData']) {
  return usageOfTotals({
    input: count(z, input, 'input_tokens', 'Input Tokens', 0),
    cacheRead: count(z, input, 'cached_tokens', 'Of the Input, From a Cache', 0),
    output: count(z, input, 'output_tokens', 'Output Tokens', 0),
    reasoning: count(z, input, 'reasoning_tokens', 'Of the Output, Reasoning', 0),
  });
}

export const recordCost: Create = {
  key: 'record_cost',
  noun: 'Cost',
  display: { label: 'Record a Cost', description: 'Records what a tool (or a model call of another AI app) cost, as part of its run.' },
  operation: {
    perform,
    inputFields: [
      RUN_ID,
      KIND,
      {
        key: 'name',
        label: 'Tool or Model',
        type: 'string',
        required: true,
        helpText: 'As in the Authorize Spend step before it, if there is one.',
      },
      { ...CALL_ID, helpText: `${String(CALL_ID['helpText'])} After an **Authorize Spend** step, map its Call ID.` },
      costFields,
      {
        key: 'status',
        label: 'Outcome',
        type: 'string',
        required: false,
        default: 'completed',
        choices: { completed: 'It worked', failed: 'It failed' },
      },
      {
        key: 'error',
        label: 'Error',
        type: 'string',
        required: false,
        helpText: 'What went wrong; whatever looks like a secret is taken out.',
      },
      ...PLACE,
      PARENT_STEP,
    ] as Create['operation']['inputFields'] & object,
    sample: {
      ...RUN_SAMPLE,
      id: 'call_7',
      call_id: 'call_7',
      status: 'running',
      ended_at: null,
      recorded: true,
      already_recorded: false,
      warning: '',
    },
    outputFields: [...RUN_OUT, outText('call_id', 'Call ID'), ...RECORDED_OUT] as Create['operation']['outputFields'] & object,
  },
};

function costFields(_z: ZObject, { inputData }: Bundle): object[] {
  return inputData['kind'] === 'model'
    ? [
        {
          key: 'input_tokens',
          label: 'Input Tokens',
          type: 'integer',
          required: false,
          helpText: 'Priced by the gateway. Left empty, what was held is charged.',
        },
        { key: 'output_tokens', label: 'Output Tokens', type: 'integer', required: false },
        { key: 'cached_tokens', label: 'Of the Input, From a Cache', type: 'integer', required: false },
        { key: 'reasoning_tokens', label: 'Of the Output, Reasoning', type: 'integer', required: false },
      ]
    : [
        {
          key: 'cost_usd',
          label: 'Cost (USD)',
          type: 'string',
          required: false,
          placeholder: '0.01',
          helpText: 'A price configured in the gateway wins. Left empty without such a price, the cost is unknown, never zero.',
        },
      ];
}
