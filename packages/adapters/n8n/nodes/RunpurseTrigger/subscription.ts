import type { IHookFunctions } from 'n8n-workflow';
import { awayError, oddReplyError, refusalIn, refusedError } from '../shared/refusal.ts';
import { send, settingsOf, type Caller, type GatewayReply, type GatewayRequest } from '../shared/transport.ts';

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
