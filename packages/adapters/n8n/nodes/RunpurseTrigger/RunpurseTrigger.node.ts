import { verifyWebhook } from '@runpurse/core';
import { NodeConnectionTypes, NodeOperationError } from 'n8n-workflow';
import type { IDataObject, IHookFunctions, INodeType, INodeTypeDescription, IWebhookFunctions, IWebhookResponseData } from 'n8n-workflow';
import { loadOptions } from '../Runpurse/methods/load-options.ts';
import { isObject, textOf } from '../shared/transport.ts';
import { ownWorkflows } from './own-workflows.ts';
import { triggerProperties } from './properties.ts';
import { askGateway, isAsWanted, subscriptionOf, unsubscribe, wantedBy, type Subscription } from './subscription.ts';

/** So many notices are remembered, that none which is delivered twice starts a workflow twice. */
const SEEN_MAX = 500;

/** Whose run ended or whose call was refused. */
function workflowIn({ data }: IDataObject): unknown {
  if (!isObject(data)) return undefined;
  return isObject(data['run']) ? data['run']['workflow_id'] : data['workflow'];
}

/** As much of n8n's response as is used. */
interface Answerable {
  status(status: number): { send(text: string): unknown };
}

/** Starts a workflow when a run ends, a budget crosses a threshold or a call is refused. */
export class RunpurseTrigger implements INodeType {
  description: INodeTypeDescription = {
    displayName: 'Runpurse Trigger',
    name: 'runpurseTrigger',
    icon: { light: 'file:../../icons/runpurse.svg', dark: 'file:../../icons/runpurse.dark.svg' },
    group: ['trigger'],
    version: 1,
    subtitle: '={{ $parameter["events"].join(", ") }}',
    description: 'Starts when a run ends, a budget crosses a threshold or a call is refused',
    defaults: { name: 'Runpurse Trigger' },
    inputs: [],
    outputs: [NodeConnectionTypes.Main],
    credentials: [{ name: 'runpurseApi', required: true }],
    webhooks: [{ name: 'default', httpMethod: 'POST', responseMode: 'onReceived', path: 'webhook' }],
    properties: triggerProperties,
  };

  methods = { loadOptions: { getWorkflows: loadOptions.getWorkflows, getAgents: loadOptions.getAgents } };

  webhookMethods = {
    default: {
      async checkExists(this: IHookFunctions): Promise<boolean> {
        const known = subscriptionOf(this);
        if (known.webhookId === undefined) return false;
        const { body } = await askGateway(this, { method: 'GET', path: '/v1/webhooks' });
        const data = isObject(body) && Array.isArray(body['data']) ? (body['data'] as IDataObject[]) : [];
        const wanted = wantedBy(this);
        return data.some((row) => row['id'] === known.webhookId && isAsWanted(row, wanted));
      },

      /** In place of one that this n8n had under another address, or the user filled in otherwise. */
      async create(this: IHookFunctions): Promise<boolean> {
        const wanted = wantedBy(this);
        await unsubscribe(this);
        const description = `n8n: ${this.getWorkflow().name ?? 'workflow'}`.slice(0, 500);
        const { body } = await askGateway(this, { method: 'POST', path: '/v1/webhooks', body: { ...wanted, description } });
        if (!isObject(body) || textOf(body['id']) === '' || textOf(body['secret']) === '')
          throw new NodeOperationError(this.getNode(), 'The gateway made no webhook');
        Object.assign(subscriptionOf(this), { webhookId: body['id'], secret: body['secret'] });
        return true;
      },

      async delete(this: IHookFunctions): Promise<boolean> {
        await unsubscribe(this);
        return true;
      },
    },
  };

  async webhook(this: IWebhookFunctions): Promise<IWebhookResponseData> {
    const known = this.getWorkflowStaticData('node') as Subscription;
    const request = this.getRequestObject() as unknown as { rawBody?: Uint8Array; readRawBody?: () => Promise<void> };
    if (request.rawBody === undefined) await request.readRawBody?.();
    const verdict = verifyWebhook({
      secret: known.secret ?? '',
      headers: this.getHeaderData(),
      body: Buffer.from(request.rawBody ?? []).toString('utf8'),
      now: Date.now(),
    });
    if (verdict.type === 'refused') {
      (this.getResponseObject() as unknown as Answerable).status(401).send(`Not taken: ${verdict.reason}`);
      return { noWebhookResponse: true };
    }
    if (ownWorkflows(this).has(textOf(workflowIn(this.getBodyData())))) return { webhookResponse: 'of this workflow itself' };
    const seen = (known.seen ??= []);
    if (seen.includes(verdict.id)) return { webhookResponse: 'known already' };
    seen.push(verdict.id);
    seen.splice(0, Math.max(0, seen.length - SEEN_MAX));
    return { workflowData: [[{ json: this.getBodyData() }]] };
  }
}
