import type { Bundle, Create, ZObject } from 'zapier-platform-core';
import { parseUsd, type RunShape } from '@runpurse/core';
import { attach } from '../attach.ts';
import { RECORDED_OUT, RUN_ID, RUN_OUT, RUN_SAMPLE } from '../fields.ts';
import { amount, choice, requiredId, textOf } from '../inputs.ts';
import { runRow } from '../translate.ts';
import { readRunIfReachable } from '../tries.ts';

/** Ends a run with what it earned. Ended twice, its revenue counts once. */
async function perform(z: ZObject, bundle: Bundle): Promise<object> {
  const input = bundle.inputData;
  // Who ends a run says nothing of where it belongs: that was said when it began.
  const { run, deliver } = attach(z, bundle, { runId: requiredId(z, input, 'run_id', 'Run ID') });
  const status = choice(z, input, 'status', 'Outcome', ['completed', 'failed', 'stopped']);
  const revenueUsd = amount(z, input, 'revenue_usd', 'Revenue');
  const wasOver = ((await readRunIfReachable(z, bundle, run.runId))?.ended_at ?? null) !== null;
  await run.end({
    status,
    reason: textOf(z, input, 'reason', 'Reason'),
    revenueUsd,
    outboundUsd: amount(z, input, 'outbound_usd', 'Payments to Others'),
    feesUsd: amount(z, input, 'fees_usd', 'Fees'),
  });
  const unsent = await deliver();
  if (unsent !== undefined) return { id: run.runId, run_id: run.runId, recorded: false, already_recorded: false, warning: unsent };
  const shape = await readRunIfReachable(z, bundle, run.runId);
  if (shape === undefined) return { id: run.runId, run_id: run.runId, recorded: true, already_recorded: wasOver, warning: '' };
  return { ...runRow(shape), ...standing(shape, status, revenueUsd), already_recorded: wasOver };
}

/**
 * A run ends once, by whoever was first: what stands otherwise than this step says was not recorded. Revenue that is told after
 * an end that told none is booked all the same.
 */
function standing(
  { status, revenue_usd }: RunShape,
  said: string,
  revenueUsd: string | undefined,
): { readonly recorded: boolean; readonly warning: string } {
  const isBooked = revenueUsd !== undefined && revenue_usd !== null && parseUsd(revenue_usd) === parseUsd(revenueUsd);
  const isLost = revenueUsd !== undefined && !isBooked;
  if (status === said && !isLost) return { recorded: true, warning: '' };
  const over = `The run was over before, as ${status}`;
  if (isBooked) return { recorded: true, warning: `${over}, and stays so. Revenue of $${revenueUsd} is booked.` };
  const lost = isLost ? ` Revenue of $${revenueUsd} was not booked: ${revenue_usd === null ? 'none' : `$${revenue_usd}`} stands.` : '';
  return { recorded: false, warning: `${over}; what ended it first stands.${lost}` };
}

export const endRun: Create = {
  key: 'end_run',
  noun: 'Run',
  display: { label: 'End Run', description: 'Ends a run and books what it earned, so that its margin is known.' },
  operation: {
    perform,
    inputFields: [
      RUN_ID,
      {
        key: 'status',
        label: 'Outcome',
        type: 'string',
        required: false,
        default: 'completed',
        choices: { completed: 'Completed', failed: 'Failed', stopped: 'Stopped' },
      },
      { key: 'reason', label: 'Reason', type: 'string', required: false, helpText: 'Why it failed or was stopped.' },
      {
        key: 'revenue_usd',
        label: 'Revenue (USD)',
        type: 'string',
        required: false,
        placeholder: '0.10',
        helpText: 'What the work was sold for.',
      },
      { key: 'outbound_usd', label: 'Payments to Others (USD)', type: 'string', required: false },
      { key: 'fees_usd', label: 'Fees (USD)', type: 'string', required: false },
    ] as Create['operation']['inputFields'] & object,
    sample: { ...RUN_SAMPLE, recorded: true, already_recorded: false, warning: '' },
    outputFields: [...RUN_OUT, ...RECORDED_OUT] as Create['operation']['outputFields'] & object,
  },
};
