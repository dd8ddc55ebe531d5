import { hash } from 'node:crypto';
import type { Nanos, Refusal } from '@runpurse/core';
import { boundsOf, outputLimitWithin } from '../pricing/index.ts';
import type { PriceBook, PriceCard } from '../pricing/price-card.ts';
import type { Provider, Providers } from '../proxy/providers.ts';
import type { BodyChange, JsonObject, ModelCall, Wire } from '../wires/wire.ts';
import type { CallRequest, Subject } from './types.ts';

/** A model call understood: where it goes, what it can cost, and what must change in its body. */
export interface PlannedCall {
  readonly request: CallRequest;
  readonly call: ModelCall;
  readonly body: JsonObject;
  readonly provider: Provider;
  /** The model without provider prefix, as the provider gets it. */
  readonly model: string;
  /** Undefined: price unknown. */
  readonly card: PriceCard | undefined;
  /** What admission changes in the body; read it after `admit`. */
  change(): BodyChange;
}

export type Planned = { readonly type: 'planned'; readonly plan: PlannedCall } | { readonly type: 'refused'; readonly refusal: Refusal };

/** Reads, resolves and prices a model call. Changes nothing. */
export function planCall(options: {
  readonly wire: Wire;
  readonly body: JsonObject;
  readonly text: string;
  readonly subject: Subject;
  readonly id: string;
  readonly providers: Providers;
  readonly prices: PriceBook;
}): Planned {
  const { wire, body, text, subject, id, providers, prices } = options;
  const read = wire.readCall(body, Buffer.byteLength(text));
  if (read.type === 'invalid') return { type: 'refused', refusal: read.refusal };
  const { call } = read;
  const resolved = providers.resolve(call.model, wire.providerKind);
  if (resolved.type === 'refused') return resolved;
  const { provider, model } = resolved;
  const card = prices.find(provider, model) ?? prices.fallback;
  const bounded = card === undefined ? undefined : boundsOf(call, card);

  let fingerprint: string | undefined;
  let clampedLimit: number | undefined;
  const fit = (available: Nanos, mayClamp: boolean): Nanos | undefined => {
    if (card === undefined) return undefined;
    const inputTokens = wire.countInputTokens(body, model);
    const exact = boundsOf(call, card, { inputTokens });
    if (exact.type === 'unbounded') return undefined;
    const hold = card.worstCase(exact.bounds);
    if (hold <= available) return hold;
    const limit = mayClamp ? outputLimitWithin(call, card, available, { inputTokens }) : undefined;
    if (limit === undefined) return undefined;
    const clamped = boundsOf({ ...call, outputTokensLimit: limit }, card, { inputTokens });
    if (clamped.type === 'unbounded') return undefined;
    clampedLimit = limit;
    return card.worstCase(clamped.bounds);
  };

  const asksStreamUsage = wire.name === 'chat' && call.stream && !call.wantsStreamUsage;
  return {
    type: 'planned',
    plan: {
      request: {
        subject,
        kind: 'model',
        name: model,
        provider: provider.name,
        otherNames: call.otherModels,
        source: 'gateway',
        id,
        hold: card !== undefined && bounded?.type === 'bounded' ? card.worstCase(bounded.bounds) : undefined,
        unbounded: bounded?.type === 'unbounded' ? bounded.refusal : undefined,
        fit,
        fingerprint: () => (fingerprint ??= hash('sha1', text, 'base64')),
      },
      call,
      body,
      provider,
      model,
      card,
      change: () => ({
        ...(model === call.model ? {} : { model }),
        ...(clampedLimit === undefined ? {} : { outputTokensLimit: clampedLimit }),
        ...(asksStreamUsage ? { streamUsage: true as const } : {}),
      }),
    },
  };
}
