import type { IDataObject, IHookFunctions } from 'n8n-workflow';
import { choicesIn, fieldOf, idIn, unusable, type Fields } from '../shared/fields.ts';
import { awayError, oddReplyError, refusalIn, refusedError } from '../shared/refusal.ts';
import { send, settingsOf, type Caller, type GatewayReply, type GatewayRequest } from '../shared/transport.ts';
import { ownWorkflows } from './own-workflows.ts';
import { triggerProperties } from './properties.ts';

/** What n8n keeps of the subscription, per trigger and test or production. */
export interface Subscription {
  webhookId?: string;
  secret?: string;
  /** Ids of the newest notices taken. */
  seen?: string[];
}

export function subscriptionOf(context: IHookFunctions): Subscription {
  return context.getWorkflowStaticData('node');
}

/** What a webhook at the gateway is told of, and where. */
export interface Wanted {
  readonly url: string | undefined;
  readonly events: readonly string[];
  readonly workflow?: string;
  readonly agent?: string;
}

export function wantedBy(context: IHookFunctions): Wanted {
  const node = context.getNode();
  const read = (name: string) => context.getNodeParameter(name, '') as unknown;
  const fields: Fields = { node, itemIndex: undefined, declared: triggerProperties, written: node.parameters, read };
  const field = fieldOf(fields, 'workflow');
  const workflow = idIn(field);
  if (ownWorkflows(context).has(workflow))
    throw unusable(
      field,
      'this workflow is that one, states its ID or calls it, and is not started by what it does itself: choose another',
    );
  const agent = idIn(fieldOf(fields, 'agent'));
  return {
    url: context.getNodeWebhookUrl('default'),
    events: choicesIn(fieldOf(fields, 'events')),
    ...(workflow !== '' && { workflow }),
    ...(agent !== '' && { agent }),
  };
}

/** Whether a webhook that the gateway lists is what the trigger asks for now. */
export function isAsWanted(row: IDataObject, { url, events, workflow, agent }: Wanted): boolean {
  const told = new Set(Array.isArray(row['events']) ? row['events'] : []);
  const isSame = row['url'] === url && row['workflow'] === workflow && row['agent'] === agent;
  return isSame && told.size === new Set(events).size && events.every((event) => told.has(event));
}

/** Gone is gone, whoever removed it. */
export async function unsubscribe(context: IHookFunctions): Promise<void> {
  const known = subscriptionOf(context);
  if (known.webhookId !== undefined)
    await askGateway(context, { method: 'DELETE', path: `/v1/webhooks/${encodeURIComponent(known.webhookId)}` }, [404]);
  delete known.webhookId;
  delete known.secret;
}

/** The gateway's reply, or the error a person sees when activating fails; `fine` are statuses that are none. */
export async function askGateway(context: IHookFunctions, request: GatewayRequest, fine: readonly number[] = []): Promise<GatewayReply> {
  const caller = context as unknown as Caller;
  const { baseUrl } = await settingsOf(caller);
  let reply;
  try {
    reply = await send(caller, baseUrl, request);
  } catch (error) {
    throw awayError(context.getNode(), baseUrl, error, 0);
  }
  if (reply.status < 300 || fine.includes(reply.status)) return reply;
  const refusal = refusalIn(reply);
  throw refusal === undefined ? oddReplyError(context.getNode(), reply, 0) : refusedError(context.getNode(), refusal, 0);
}
