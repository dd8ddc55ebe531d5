import type { IDataObject } from 'n8n-workflow';
import { refusalIn } from '../../../shared/refusal.ts';
import { fieldsOf } from '../../../shared/attribution.ts';
import { accepted, amount, ask, runOf, stated, text, type Item, type Operation } from '../operation.ts';
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
    const [toolCallId, runId] = [toolCallIdOf(item), runOf(item)];
    const what = { tool: text(item, 'tool'), toolCallId, runId };
    const body = stated({
      ...fieldsOf(item.place),
      tool: what.tool,
      tool_call_id: toolCallId,
      estimated_cost_usd: amount(item, 'estimatedUsd'),
    });
    let reply;
    try {
      reply = await ask(item, { method: 'POST', path: '/v1/tools/authorize', body });
    } catch (error) {
      return unchecked(item, what, error);
    }
    if (reply.status === 502 || reply.status === 503 || reply.status === 504)
      return unchecked(item, what, new Error(`the gateway answered ${reply.status}`));
    const refusal = refusalIn(reply);
    if (refusal !== undefined && text(item, 'onRefusal') === 'output')
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
};

/** Nobody answered: what the credential says for that case, and never quietly. */
function unchecked(item: Item, what: IDataObject, error: unknown): IDataObject {
  if (item.settings.failurePolicy === 'closed') throw error as Error;
  const reason = `Nobody checked this spend: ${error instanceof Error ? error.message : String(error)}. The credential says to go on when the gateway is away.`;
  item.context.addExecutionHints({ message: reason, type: 'warning', location: 'outputPane' });
  return { allowed: true, unchecked: true, reason, ...what };
}
