import { refusalOf, redactText, type Refusal } from '@runpurse/core';
import { NodeOperationError, type INode } from 'n8n-workflow';
import { isObject, textOf, type GatewayReply } from './transport.ts';

/** The gateway's no in a reply, or undefined when it said yes or it was no word of its own. */
export function refusalIn(reply: GatewayReply): Refusal | undefined {
  if (reply.status < 400) return undefined;
  return refusalOf({ status: reply.status, error: isObject(reply.body) ? reply.body['error'] : undefined, headers: reply.headers });
}

const WHAT_NOW: Readonly<Record<string, string>> = {
  budget_exceeded: 'Raise the budget, or wait for its next window, or let the run end here. Nothing was spent.',
  policy_denied: 'A rule of your gateway forbids it; whoever keeps its policy can change that. Nothing was spent.',
  run_paused: 'Resume the run at the gateway ("runpurse runs" or POST /v1/runs/ID/resume), or raise the cap that paused it.',
  run_ended: 'This run has ended. A new execution is a new run; or state another Run ID under Attribution.',
  context_conflict: 'A run belongs to one session. For another one state a Run ID of its own under Attribution, beside the Session ID.',
  conflict: 'It was allowed and paid before under this ID, so it is not paid again. For another payment state another ID.',
  invalid_key: 'Check the virtual key in the Runpurse credential.',
  rate_limited: 'Too many calls a minute with this key. Slow down (Loop Over Items with a Wait), or raise rate.requests_per_minute.',
  not_found: 'The gateway knows nothing of that ID in the workspace of this key.',
  price_unknown: 'A budget applies, and nobody told the gateway what this costs. Set a price in runpurse.yaml.',
};

/** A refusal as n8n shows it: what happened as its message, what to do below. */
export function refusedError(node: INode, refusal: Refusal, itemIndex: number): NodeOperationError {
  const error = new NodeOperationError(node, refusal.message, {
    itemIndex,
    description: WHAT_NOW[refusal.code] ?? `The gateway answered ${refusal.code}.`,
    functionality: 'regular',
  });
  Object.assign(error.context, { code: refusal.code });
  return error;
}

/** An answer that is neither a yes nor a refusal of ours. */
export function oddReplyError(node: INode, reply: GatewayReply, itemIndex: number): NodeOperationError {
  const said = isObject(reply.body) && isObject(reply.body['error']) ? textOf(reply.body['error']['message']) : '';
  return new NodeOperationError(node, `The gateway answered ${reply.status}${said === '' ? '' : `: ${redactText(said)}`}`, {
    itemIndex,
    // A gateway that speaks says itself what is wrong.
    ...(said === '' && { description: 'Is the Gateway URL of the credential that of a Runpurse gateway?' }),
  });
}

/** Somebody stopped the execution while the gateway was asked: nobody is away. */
export function cancelledError(node: INode, itemIndex: number): NodeOperationError {
  return new NodeOperationError(node, 'The execution was cancelled', { itemIndex });
}

/** No answer of the gateway at all; what follows is the failure policy's choice. */
export class GatewayAwayError extends NodeOperationError {}

export function awayError(node: INode, baseUrl: string, cause: unknown, itemIndex: number): GatewayAwayError {
  return new GatewayAwayError(node, `The Runpurse gateway at ${shownUrl(baseUrl)} can't be reached`, {
    itemIndex,
    description: `${redactText(cause instanceof Error ? cause.message : String(cause))}. Is it running, and is the Gateway URL of the credential right as seen from n8n?`,
  });
}

/** An address without the password that may stand in it. */
function shownUrl(url: string): string {
  return url.replace(/\/\/[^/@]*@/, '//');
}
