import { refusalIn } from '../../../shared/refusal.ts';
import { fieldsOf } from '../../../shared/attribution.ts';
import { accepted, amount, ask, choice, required, runOf, stated, type Item, type Operation } from '../operation.ts';
import { toolCallIdField, toolCallIdOf } from './tool-fields.ts';

export const authorize: Operation = {
  value: 'authorize',
  name: 'Authorize',
  action: 'Authorize spend',
  description: 'Ask before a tool or an API costs money; its price is held until settled',
  properties: [
    {
      displayName: 'Tool Name or ID',
      name: 'tool',
      type: 'options',
      typeOptions: { loadOptionsMethod: 'getTools' },
      required: true,
      default: '',
      description:
        'What will be paid for. Choose from the list, or specify an ID using an <a href="https://docs.n8n.io/code/expressions/">expression</a>.',
    },
    {
      displayName: 'Expected Cost (USD)',
      name: 'estimatedUsd',
      type: 'string',
      default: '',
      placeholder: '0.02',
      description: 'What it may cost at most. A price configured in the gateway wins.',
    },
    toolCallIdField,
    {
      displayName: 'When Refused',
      name: 'onRefusal',
      type: 'options',
      options: [
        { name: 'Stop with an Error', value: 'error' },
        { name: 'Go on With Allowed: False', value: 'output' },
      ],
      default: 'error',
      description: 'What becomes of the execution when the gateway says no',
    },
  ],
  async execute(item) {
    const what = whatOf(item);
    const goesOn = choice(item, 'onRefusal') === 'output';
    const body = stated({
      ...fieldsOf(item.place),
      tool: what.tool,
      tool_call_id: what.toolCallId,
      estimated_cost_usd: amount(item, 'estimatedUsd'),
    });
    const reply = await ask(item, { method: 'POST', path: '/v1/tools/authorize', body });
    const refusal = refusalIn(reply);
    if (refusal !== undefined && goesOn)
      return { allowed: false, ...what, code: refusal.code, reason: refusal.message, ...refusal.details };
    const answer = accepted(item, reply);
    return {
      allowed: true,
      ...what,
      reservationId: answer['reservation_id'],
      heldUsd: answer['held_usd'],
      expiresAt: answer['expires_at'],
      warnings: answer['warnings'],
      budgets: answer['budgets'],
    };
  },
  // Settle records it when the gateway is back, and has to know all of it.
  withoutGateway: (item) => ({ allowed: true, ...whatOf(item), ...stated({ estimatedUsd: amount(item, 'estimatedUsd') }) }),
};

function whatOf(item: Item): { readonly tool: string; readonly toolCallId: string; readonly runId: string } {
  return { tool: required(item, 'tool'), toolCallId: toolCallIdOf(item), runId: runOf(item) };
}
