import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Refusal } from '@runpurse/core';
import { planCall } from './admit/plan-call.ts';
import { LEDGER_UNAVAILABLE } from './admit/refusals.ts';
import type { AdmissionResult } from './admit/types.ts';
import type { Gateway } from './gateway.ts';
import { identify } from './identify/index.ts';
import { carry } from './proxy/carry.ts';
import { forwardHeaders } from './proxy/forward-headers.ts';
import { readBody } from './proxy/read-body.ts';
import { respondRefusal } from './proxy/respond.ts';
import { StoreError } from './store/store.ts';
import { parseBody } from './wires/parse-body.ts';
import type { Wire } from './wires/wire.ts';

/**
 * A model call's way through the gateway: identify → admit → proxy → meter → ledger.
 * Up to `carry` nothing has been called or charged; from there on the reservation is settled exactly once.
 */
export async function handleModelCall(
  gateway: Gateway,
  wire: Wire,
  request: IncomingMessage,
  response: ServerResponse,
  query: string,
): Promise<void> {
  const refuse = (refusal: Refusal, requestId?: string): void => respondRefusal(response, wire, refusal, requestId);

  // identify: whose call, and whom it is charged to
  const caller = identify(gateway, request.headers);
  if (caller.type === 'refused') return refuse(caller.refusal);
  const { subject } = caller;

  const read = await readBody(request, gateway.config.limits.max_request_bytes);
  if (read.type === 'gone') return;
  if (read.type === 'refused') return refuse(read.refusal);
  const parsed = parseBody(read.text);
  if (parsed.type === 'invalid') return refuse(parsed.refusal);

  // admit: policy, bounds and every matching budget; the hold is durable when this resolves
  const id = gateway.ids.next('req');
  const planned = planCall({ providers: gateway.providers, prices: gateway.prices, wire, body: parsed.body, text: read.text, subject, id });
  if (planned.type === 'refused') return refuse(planned.refusal, id);
  const { plan } = planned;
  let admitted: AdmissionResult;
  try {
    admitted = await gateway.admission.admit(plan.request);
  } catch (fault) {
    if (fault instanceof StoreError) return refuse(LEDGER_UNAVAILABLE, id);
    throw fault;
  }
  if (admitted.type === 'refused') return refuse(admitted.refusal, id);
  const { reservation, audits } = admitted;
  if (response.destroyed) {
    gateway.admission.settle(id, { status: 'released', cost: 0n, error: 'the caller left before the call was made' });
    return;
  }

  // proxy → meter → ledger: the provider's reply passes through, is metered, and settles the hold
  try {
    const headers = forwardHeaders(request.rawHeaders, request.headers.connection, plan.provider);
    if (plan.provider.kind === 'sandbox') headers.push('x-sandbox-attempt', String(reservation.attempt));
    const path = plan.provider.basePath + wire.path.slice('/v1'.length) + joinQueries(plan.provider.query, query);
    const body = wire.changeBody(read.text, parsed.body, plan.change());
    carry(gateway, { wire, plan, reservation, audits, response, path, headers, body });
  } catch (fault) {
    // A fault of ours before the call was made; once it is made, `carry` settles and this changes nothing.
    gateway.admission.settle(id, { status: 'released', cost: 0n });
    throw fault;
  }
}

/** Two queries, each empty or with its question mark, as one. */
function joinQueries(one: string, other: string): string {
  return one === '' || other === '' ? one + other : `${one}&${other.slice(1)}`;
}
