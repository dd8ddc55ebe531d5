import { NodeOperationError, type ILoadOptionsFunctions, type INodePropertyOptions } from 'n8n-workflow';
import { awayError, oddReplyError, refusalIn, refusedError } from '../../shared/refusal.ts';
import { isObject, send, settingsOf, textOf } from '../../shared/transport.ts';

type Load = (this: ILoadOptionsFunctions) => Promise<INodePropertyOptions[]>;

/** Lists for the fields that name something the gateway knows. */
export const loadOptions: Readonly<Record<'getModels' | 'getTools' | 'getBudgets' | 'getWorkflows' | 'getAgents', Load>> = {
  getModels: listOf('/v1/models', (row) => ({ name: textOf(row['id']), value: textOf(row['id']) })),
  getBudgets: listOf('/v1/budgets', (row) => ({
    name: textOf(row['name']) || `${textOf(row['scope'])} ${textOf(row['id'])}`,
    value: textOf(row['budget_id']),
    description: `$${textOf(row['limit_usd'])}, ${textOf(row['window'])}`,
  })),
  getTools: spentBy('tool'),
  getWorkflows: spentBy('workflow'),
  getAgents: spentBy('agent'),
};

/** What spent something so far, most expensive first; what never did can be typed. */
function spentBy(unit: string): Load {
  return listOf(`/v1/spend?by=${unit}&limit=200`, (row) => ({
    name: textOf(row['id']),
    value: textOf(row['id']),
    description: isObject(row['cost']) ? `$${textOf(row['cost']['total_usd'])} so far` : '',
  }));
}

function listOf(path: string, option: (row: Readonly<Record<string, unknown>>) => INodePropertyOptions): Load {
  return async function () {
    const { baseUrl } = await settingsOf(this);
    let reply;
    try {
      reply = await send(this, baseUrl, { method: 'GET', path });
    } catch (error) {
      throw awayError(this.getNode(), baseUrl, error, 0);
    }
    const refusal = refusalIn(reply);
    if (refusal !== undefined) throw refusedError(this.getNode(), refusal, 0);
    const data = isObject(reply.body) ? reply.body['data'] : undefined;
    if (reply.status !== 200 || !Array.isArray(data)) throw oddReplyError(this.getNode(), reply, 0);
    const options = data.filter(isObject).map(option);
    if (options.some(({ value }) => value === ''))
      throw new NodeOperationError(this.getNode(), `The gateway's list at ${path} can't be read`);
    return options;
  };
}
