import type { Admission, Outcome, Reservation, Settled } from '../admit/types.ts';
import type { Clock } from '../gateway.ts';
import type { PlannedCall } from '../admit/plan-call.ts';
import { chargeFor, type CallEnd } from '../pricing/index.ts';
import type { PriceBook } from '../pricing/price-card.ts';
import type { ExchangeFault } from '../proxy/exchange.ts';
import type { ReplyFacts } from '../wires/wire.ts';

/** How a carried call ended, as the exchange saw it. */
export type CallOutcome =
  /** A whole reply with a status below 400. */
  | { readonly type: 'answered'; readonly facts: ReplyFacts }
  /** The provider said no: nothing was produced, unless its reply holds usage. */
  | { readonly type: 'rejected'; readonly status: number; readonly facts: ReplyFacts | undefined }
  /** A reply too long to meter was passed on. */
  | { readonly type: 'unmetered'; readonly reason: string }
  /** The reply broke off, or was cut. */
  | { readonly type: 'partial'; readonly facts: ReplyFacts; readonly reason: string; readonly byCaller: boolean }
  /** No reply began. */
  | { readonly type: 'silent'; readonly fault: ExchangeFault; readonly streamed: boolean };

export interface SettleParts {
  readonly admission: Admission;
  readonly prices: PriceBook;
  readonly clock: Clock;
}

/**
 * Turns the end of a call into its settlement: prices the model that ANSWERED, charges broken replies for what was
 * produced, and charges the hold where nobody can know. Ends the reservation.
 */
export function settleCall(parts: SettleParts, plan: PlannedCall, reservation: Reservation, end: CallOutcome): Settled | undefined {
  const { admission } = parts;
  switch (end.type) {
    case 'answered': {
      const isBroken = end.facts.error !== undefined || !end.facts.complete;
      return admission.settle(reservation.id, {
        status: isBroken ? 'failed' : 'completed',
        ...charged(parts, plan, reservation, end.facts, 'replied'),
        ...(isBroken ? { error: end.facts.error ?? 'the stream ended before it was complete' } : {}),
      });
    }
    case 'partial':
      return admission.settle(reservation.id, {
        status: end.byCaller ? 'aborted' : 'failed',
        ...charged(parts, plan, reservation, end.facts, end.byCaller ? 'aborted' : 'broken'),
        error: end.facts.error ?? end.reason,
      });
    case 'rejected':
      // A provider that bills a refused call says so in a usage block.
      return admission.settle(reservation.id, {
        status: 'failed',
        ...(end.facts?.usage === undefined ? { cost: 0n } : charged(parts, plan, reservation, end.facts, 'replied')),
        error: `the provider answered ${end.status}`,
      });
    case 'unmetered':
      return admission.settle(reservation.id, { status: 'completed', cost: undefined, unconfirmed: true, error: end.reason });
    case 'silent': {
      const status = end.fault.type === 'aborted' ? 'aborted' : 'failed';
      const error = end.fault.message;
      if (end.fault.type === 'unreachable') return admission.settle(reservation.id, { status, cost: 0n, error });
      // A plain reply comes whole when the work is done, so without it nobody knows how much was.
      if (!end.streamed) return admission.settle(reservation.id, { status, cost: undefined, unconfirmed: true, error });
      // A stream's head comes before its first token: refused before it began, or read its input and made nothing yet.
      if (end.fault.type === 'no_answer') return admission.settle(reservation.id, { status, cost: 0n, error });
      return admission.settle(reservation.id, {
        status,
        ...charged(parts, plan, reservation, NOTHING_SEEN, status === 'aborted' ? 'aborted' : 'broken'),
        error,
      });
    }
  }
}

/** A stream of which not even the head came. */
const NOTHING_SEEN: ReplyFacts = { model: undefined, usage: undefined, outputBytes: 0, complete: false, error: undefined };

function charged(
  parts: SettleParts,
  plan: PlannedCall,
  reservation: Reservation,
  facts: ReplyFacts,
  end: CallEnd,
): Omit<Outcome, 'status'> {
  const isAsAsked = facts.model === undefined || facts.model === plan.model;
  const card = isAsAsked ? plan.card : (parts.prices.findAnswered(plan.provider, plan.model, facts.model) ?? plan.card);
  const hold = reservation.priceUnknown ? undefined : reservation.hold;
  const { cost, usage, unconfirmed } = chargeFor(facts, card, plan.call, hold, { end, elapsedMs: parts.clock.now() - reservation.at });
  return {
    cost,
    usage,
    unconfirmed: unconfirmed ? true : undefined,
    model: facts.model,
    price: card === undefined ? undefined : { source: card.source, version: card.version },
  };
}
