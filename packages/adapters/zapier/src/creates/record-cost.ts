import type { Bundle, Create, ZObject } from 'zapier-platform-core';
import { parseUsd, usageOfTotals, type ReportedUsage, type ToolShape } from '@runpurse/core';
import { attach } from '../attach.ts';
import { CALL_ID, KIND, outText, outUsd, PARENT_STEP, PLACE, RECORDED_OUT, RUN_ID, RUN_OUT, RUN_SAMPLE } from '../fields.ts';
import { amount, choice, contextOf, count, kindOf, nameOf, placeOf, requiredId, textOf, TOKENS_MAX } from '../inputs.ts';
import { runRow } from '../translate.ts';
import {
  ANOTHER_CALL,
  anotherTools,
  attemptOf,
  endIdOf,
  readRunIfReachable,
  triesOf,
  untoldOf,
  usedBefore,
  type Call,
  type Try,
} from '../tries.ts';

type Status = 'completed' | 'failed';

/** Says what a call came to. The same call recorded twice, or by copies of the same instant, is charged once. */
async function perform(z: ZObject, bundle: Bundle): Promise<object> {
  const input = bundle.inputData;
  const [runId, callId] = [requiredId(z, input, 'run_id', 'Run ID'), requiredId(z, input, 'call_id', 'Call ID')];
  const name = nameOf(z, input, 'Tool or Model');
  const [costUsd, usage] = [amount(z, input, 'cost_usd', 'Cost'), usageOf(z, input)];
  const kind = kindOf(z, input);
  const error = textOf(z, input, 'error', 'Error');
  const outcome = choice(z, input, 'status', 'Outcome', ['completed', 'failed']);
  const status = error === undefined ? outcome : 'failed';
  const { run, deliver } = attach(z, bundle, { ...contextOf(z, input, bundle.meta?.zap?.id), runId });
  const call: Call = { runId, callId, kind, name };
  const conflict = new z.errors.Error(usedBefore(call, RECORDED_OTHERWISE), 'conflict', 409);
  const before = await readRunIfReachable(z, bundle, runId);
  if (anotherTools(before, call) !== undefined) throw new z.errors.Error(usedBefore(call, ANOTHER_CALL), 'conflict', 409);
  const tries = triesOf(before, call);
  const earlier = recordedBefore(tries, status);
  if (earlier !== undefined && kind === 'model' && contradicts(earlier, status, name, usage)) throw conflict;
  const attempt = (earlier ?? untoldOf(tries))?.attempt ?? attemptOf(tries);
  const said = { id: callId, call_id: callId, run_id: runId, already_recorded: earlier !== undefined };
  // A tool's end is told again: its id keeps it from being charged twice, and the gateway knows whether it is the same.
  if (earlier === undefined || kind === 'tool') {
    const place = placeOf(z, input, callId, attempt);
    const end = { status, eventId: endIdOf(call, attempt), ...(error === undefined ? {} : { error }) };
    if (kind === 'model') run.recordModel({ ...place, ...end, model: name, usage });
    else run.settleTool({ ...end, toolCallId: callId, tool: name, costUsd, place });
    const warning = await deliver(conflict);
    if (warning !== undefined) return { ...said, recorded: false, warning };
  }
  const shape = await readRunIfReachable(z, bundle, runId);
  if (shape === undefined) return { ...said, recorded: true, warning: '' };
  // Asked for in the meantime, or before the run could be read.
  const other = anotherTools(shape, call);
  if (other !== undefined) throw new z.errors.Error(usedBefore(call, chargedAs(other, name)), 'conflict', 409);
  const booked = triesOf(shape, call).findLast((one) => one.attempt === attempt);
  return { ...runRow(shape), ...said, ...bookedRow(booked, kind === 'tool' ? costUsd : undefined), recorded: true };
}

function chargedAs({ tool, cost_usd }: ToolShape, said: string): string {
  const price = cost_usd === null ? 'at an unknown price' : `$${cost_usd}`;
  return `authorized as tool ${tool}: it was charged as that (${price}), and nothing was recorded for tool ${said}.`;
}

/** What the gateway made of the report: its own price wins over a stated one, and a hold that ran out stands as it was charged. */
function bookedRow(booked: Try | undefined, statedUsd: string | undefined): object {
  if (booked === undefined) return { warning: '' };
  const { name, costUsd } = booked;
  const isOther = statedUsd !== undefined && (costUsd === null || parseUsd(costUsd) !== parseUsd(statedUsd));
  const warning = isOther
    ? `${costUsd === null ? 'An unknown cost' : `$${costUsd}`} was booked for ${name}, not the stated $${statedUsd}: the gateway’s own price, or a hold that ran out before, stands.`
    : '';
  return { name, cost_usd: costUsd, warning };
}

const RECORDED_OTHERWISE =
  'recorded before, and otherwise: of another model or tool, with another outcome, or with other tokens or another cost. What was recorded first stands, nothing was added.';

/** It worked before, or it failed before and is said to have failed: the same report. A success after a failure is another try. */
function recordedBefore(tries: readonly Try[], status: Status): Try | undefined {
  if (untoldOf(tries) !== undefined) return undefined;
  return tries.findLast((one) => one.status === status) ?? tries.findLast((one) => one.status === 'completed');
}

const TOKENS = ['input_tokens', 'cache_read_tokens', 'output_tokens', 'reasoning_tokens'] as const;

function contradicts({ status, told }: Try, said: Status, name: string, usage: ReportedUsage | undefined): boolean {
  if (status !== said) return true;
  if (told === undefined) return false;
  return !`/${name}`.endsWith(`/${told.model}`) || TOKENS.some((token) => (told.usage?.[token] ?? null) !== (usage?.[token] ?? null));
}

/** As AI apps tell tokens, totals that contain their parts. Unknown is unknown: then the gateway charges what was held, not nothing. */
function usageOf(z: ZObject, input: Bundle['inputData']) {
  const tokens = (name: string, label: string): number | undefined => count(z, input, name, label, 0, TOKENS_MAX);
  return usageOfTotals({
    input: tokens('input_tokens', 'Input Tokens'),
    cacheRead: tokens('cached_tokens', 'Of the Input, From a Cache'),
    output: tokens('output_tokens', 'Output Tokens'),
    reasoning: tokens('reasoning_tokens', 'Of the Output, Reasoning'),
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
      name: 'customer_lookup',
      cost_usd: '0.002',
      status: 'running',
      ended_at: null,
      recorded: true,
      already_recorded: false,
      warning: '',
    },
    outputFields: [
      ...RUN_OUT,
      outText('call_id', 'Call ID'),
      outText('name', 'Booked as Model or Tool'),
      outUsd('cost_usd', 'Booked Cost (USD)'),
      ...RECORDED_OUT,
    ] as Create['operation']['outputFields'] & object,
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
