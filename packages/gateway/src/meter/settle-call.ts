import type { Admission, Reservation, Settled } from '../admit/types.ts';
import type { PlannedCall } from '../admit/plan-call.ts';
import { chargeFor } from '../pricing/index.ts';
import type { PriceBook } from '../pricing/price-card.ts';
import type { ExchangeFault } from '../proxy/exchange.ts';
import type { ReplyFacts } from '../wires/wire.ts';

/** How a carried call ended, as the exchange saw it. */
export type CallEnd =
  /** A whole reply with a status below 400. */
  | { readonly type: 'answered'; readonly facts: ReplyFacts }
  /** The provider said no: nothing was produced. */
  | { readonly type: 'rejected'; readonly status: number; readonly facts: ReplyFacts | undefined }
  /** A reply too long to meter was passed on. */
  | { readonly type: 'unmetered'; readonly reason: string }
  /** The reply broke off, or we cut it. */
  | { readonly type: 'partial'; readonly facts: ReplyFacts; readonly reason: string; readonly byCaller: boolean }
  /** No reply began. */
  | { readonly type: 'silent'; readonly fault: ExchangeFault; readonly streamed: boolean };

/**
 * Turns the end of a call into its settlement: prices the model that ANSWERED, charges broken replies for what was
 * produced, and charges the hold where nobody can know. Ends the reservation.
 */
export function settleCall(parts: { readonly admission: Admission; readonly prices: PriceBook }, plan: PlannedCall, reservation: Reservation, end: CallEnd): Settled | undefined {
  const { admission } = parts;
  switch (end.type) {
    case 'answered':
      return admission.settle(reservation.id, { status: end.facts.error === undefined ? 'completed' : 'failed', ...charged(parts, plan, reservation, end.facts), ...errorOf(end.facts.error) });
    case 'partial':
      return admission.settle(reservation.id, {
        status: end.byCaller ? 'aborted' : 'failed',
        ...charged(parts, plan, reservation, end.facts),
        error: end.facts.error ?? end.reason,
      });
    case 'rejected':
      // A provider that bills a refused call says so in a usage block.
      return admission.settle(reservation.id, {
        status: 'failed',
        ...(end.facts?.usage === undefined ? { cost: 0n } : charged(parts, plan, reservation, end.facts)),
        error: `the provider answered ${end.status}`,
      });
    case 'unmetered':
      return admission.settle(reservation.id, { status: 'completed', cost: undefined, unconfirmed: true, error: end.reason });
    case 'silent': {
      // A stream's head comes before its first token, so no head means nothing was made; a plain reply comes whole at the end.
      const isNothingMade = end.fault.type === 'unreachable' || (end.fault.type === 'no_answer' && end.streamed);
      return admission.settle(reservation.id, {
        status: end.fault.type === 'aborted' ? 'aborted' : 'failed',
        ...(isNothingMade ? { cost: 0n } : { cost: undefined, unconfirmed: true as const }),
        error: end.fault.message,
      });
    }
  }
}

function charged(parts: { readonly prices: PriceBook }, plan: PlannedCall, reservation: Reservation, facts: ReplyFacts) {
  const card = parts.prices.findAnswered(plan.provider, plan.model, facts.model) ?? plan.card;
  if (card === undefined) return { cost: undefined, ...(facts.usage === undefined ? {} : { usage: facts.usage }), ...(facts.model === undefined ? {} : { model: facts.model }) };
  const charge = chargeFor(facts, card, plan.call, reservation.hold);
  return {
    cost: charge.cost,
    ...(charge.usage === undefined ? {} : { usage: charge.usage }),
    ...(charge.unconfirmed ? { unconfirmed: true as const } : {}),
    ...(facts.model === undefined ? {} : { model: facts.model }),
    price: { source: card.source, version: card.version },
  };
}

function errorOf(error: string | undefined): { error?: string } {
  return error === undefined ? {} : { error };
}
