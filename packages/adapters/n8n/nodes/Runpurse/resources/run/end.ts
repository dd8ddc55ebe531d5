import { parseUsd } from '@runpurse/core';
import type { IDataObject } from 'n8n-workflow';
import { runFieldsOf } from '../../../shared/attribution.ts';
import { textOf, type GatewayRequest } from '../../../shared/transport.ts';
import { accepted, amount, ask, askAccepted, choice, reasonOf, runOf, stated, warned, type Item, type Operation } from '../operation.ts';

export const end: Operation = {
  value: 'end',
  name: 'End',
  action: 'End a run',
  description: 'Say how the run ended and what it earned; the output has its cost and margin',
  properties: [
    {
      displayName: 'Status',
      name: 'status',
      type: 'options',
      options: [
        { name: 'Completed', value: 'completed' },
        { name: 'Failed', value: 'failed' },
        { name: 'Stopped', value: 'stopped' },
      ],
      default: 'completed',
    },
    {
      displayName: 'Revenue (USD)',
      name: 'revenueUsd',
      type: 'string',
      default: '',
      placeholder: '5.00',
      description: 'What the run earned; margin is this less its costs',
    },
    { displayName: 'Fees (USD)', name: 'feesUsd', type: 'string', default: '', description: 'Fees of platforms and payments' },
    { displayName: 'Paid to Others (USD)', name: 'outboundUsd', type: 'string', default: '', description: 'Payments the run made' },
    { displayName: 'Reason', name: 'reason', type: 'string', default: '', description: 'Why it ended so' },
  ],
  async execute(item) {
    const body = stated({
      status: choice(item, 'status'),
      reason: reasonOf(item),
      revenue_usd: amount(item, 'revenueUsd'),
      fees_usd: amount(item, 'feesUsd'),
      outbound_usd: amount(item, 'outboundUsd'),
    });
    const path = `/v1/runs/${encodeURIComponent(runOf(item))}/end`;
    const end: GatewayRequest = { method: 'POST', path, body, survivesCancel: true };
    const reply = await ask(item, end);
    if (reply.status !== 404) return endedAs(item, accepted(item, reply), body);
    // A run that spent nothing is not known yet; it may have earned something all the same.
    await askAccepted(item, { method: 'POST', path: '/v1/runs', body: runFieldsOf(item.place), survivesCancel: true });
    return endedAs(item, await askAccepted(item, end), body);
  },
  withoutGateway: (item) => ({ ended: false, run_id: runOf(item) }),
};

/** A run ends once: the revenue of a second End is not added to that of the first. */
function endedAs(item: Item, run: IDataObject, said: IDataObject): IDataObject {
  const [earned, stated] = [textOf(run['revenue_usd']), textOf(said['revenue_usd'])];
  if (stated === '' || parseUsd(earned) === parseUsd(stated)) return run;
  const message = `Run ${runOf(item)} has a revenue of ${earned === '' ? 'nobody knows what' : `$${earned}`}, not of the $${stated} stated here: it had ended before, or earned something besides. End a run once, with all it earned.`;
  return { ...run, ...warned(item, [message]) };
}
