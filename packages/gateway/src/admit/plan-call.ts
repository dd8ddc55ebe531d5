import { hash } from 'node:crypto';
import type { Nanos, Refusal } from '@runpurse/core';
import type { PriceBook, PriceCard, WorstCase } from '../pricing/price-card.ts';
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
  const bounds = card === undefined ? undefined : worstBounds(call, card);

  let clampedLimit: number | undefined;
  const fit =
    card === undefined || bounds === undefined
      ? undefined
      : (available: Nanos, mayClamp: boolean): Nanos | undefined => {
          const counted = call.inputUnbounded === true ? bounds.inputTokens : Math.min(bounds.inputTokens, wire.countInputTokens(body, model));
          const exact: WorstCase = { ...bounds, inputTokens: counted };
          const hold = card.worstCase(exact);
          if (hold <= available) return hold;
          if (!mayClamp || call.choices === 0) return undefined;
          const within = card.outputTokensWithin(available, exact);
          const perChoice = within === undefined ? 0 : Math.floor(within / call.choices);
          if (perChoice < 1) return undefined;
          clampedLimit = perChoice;
          return card.worstCase({ ...exact, outputTokens: perChoice * call.choices });
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
        source: 'gateway',
        id,
        hold: card === undefined || bounds === undefined ? undefined : card.worstCase(bounds),
        fit,
        fingerprint: hash('sha1', text, 'base64'),
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

/** The most tokens a call can use; undefined when its output has no known limit, so no worst case exists. */
function worstBounds(call: ModelCall, card: PriceCard): WorstCase | undefined {
  const perChoice = call.choices === 0 ? 0 : (call.outputTokensLimit ?? card.outputTokensMax);
  const inputTokens = call.inputUnbounded === true ? card.inputTokensMax : call.inputTokensMax;
  if (perChoice === undefined || inputTokens === undefined) return undefined;
  return { inputTokens, outputTokens: perChoice * call.choices, webSearches: call.webSearchesMax, audioOutput: call.audioOutput };
}
