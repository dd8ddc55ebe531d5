import { amount, askAccepted, runOf, stated, text, type Operation } from '../operation.ts';
import { toolCallIdField, toolCallIdOf } from './tool-fields.ts';

export const settle: Operation = {
  value: 'settle',
  name: 'Settle',
  action: 'Settle the cost of a tool',
  description: 'Say what an authorized tool came to; settling again changes nothing',
  properties: [
    { ...toolCallIdField, default: '={{ $json.toolCallId }}', description: 'As Authorize put it out' },
    {
      displayName: 'Cost (USD)',
      name: 'costUsd',
      type: 'string',
      default: '',
      placeholder: '0.012',
      description: 'What it cost. A price configured in the gateway wins; left empty, what was held is charged.',
    },
    {
      displayName: 'Status',
      name: 'status',
      type: 'options',
      options: [
        { name: 'Completed', value: 'completed' },
        { name: 'Failed', value: 'failed' },
        { name: 'Not Called', value: 'released', description: 'Nothing is charged' },
      ],
      default: 'completed',
    },
  ],
  async execute(item) {
    const body = stated({
      run_id: runOf(item),
      tool_call_id: toolCallIdOf(item),
      status: text(item, 'status'),
      cost_usd: amount(item, 'costUsd'),
    });
    const answer = await askAccepted(item, { method: 'POST', path: '/v1/tools/settle', body });
    return {
      settled: true,
      alreadySettled: answer['status'] === 'already_settled',
      runId: answer['run_id'],
      toolCallId: body['tool_call_id'],
      tool: answer['tool'],
      chargedUsd: answer['charged_usd'],
      overageUsd: answer['overage_usd'],
      budgets: answer['budgets'],
    };
  },
  withoutGateway: (item) => ({ settled: false, runId: runOf(item), toolCallId: toolCallIdOf(item) }),
};
