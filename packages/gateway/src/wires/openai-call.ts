import { bareModel } from '../pricing/model-limits.ts';
import { tierPercent } from '../pricing/service-tier.ts';
import { asText } from './json.ts';
import type { JsonObject } from './wire.ts';

// What the two generating wires of OpenAI's API have in common.

/**
 * Tokens a provider's template adds around the caller's text: its own first system message, the frame of tool
 * definitions. (The frame of each message is covered by the JSON that frames it in the body.)
 */
export const TEMPLATE_TOKENS = 128;
export const TOOLS_TEMPLATE_TOKENS = 640;

/** Models that think without showing it, unless told not to. */
const HIDDEN_REASONING =
  /^(o[1-9](-|$)|gpt-[5-9]|gpt-chat-latest|codex|gemini-(2\.5|[3-9])|grok-([4-9]|3-mini|code))|claude-(opus|sonnet|haiku|fable|mythos)-[5-9]/;
const SHOWS_ALL = /^gpt-5(\.\d)?-chat/;

export function reasonsUnseen(model: string, effort: unknown): boolean {
  if (effort === 'none') return false;
  if (typeof effort === 'string') return true;
  const name = bareModel(model);
  return HIDDEN_REASONING.test(name) && !SHOWS_ALL.test(name);
}

/** The dearest rate a request's `service_tier` asks for. */
export function requestedRate(model: string, serviceTier: unknown): number | undefined {
  return serviceTier === 'priority' || serviceTier === 'fast' ? tierPercent(model, 'priority') : undefined;
}

/** The rate of the tier a reply says it was served in; undefined when it names none. */
export function servedRate(model: string | undefined, serviceTier: unknown): number | undefined {
  const tier = asText(serviceTier);
  if (tier === undefined || model === undefined) return undefined;
  if (tier === 'priority' || tier === 'fast' || tier === 'ultrafast') return tierPercent(model, 'priority');
  return tier === 'flex' ? tierPercent(model, 'flex') : 100;
}

/** A tier without a published price. */
export const UNPRICED_TIER = 'ultrafast';

/**
 * Request fields of gateways and providers beyond OpenAI's own API that let the provider do, and bill, what the body
 * does not bound: other models, searches, plug-ins.
 */
const UNBOUNDED_FIELDS = ['models', 'plugins', 'fallbacks', 'extra_body', 'search_parameters', 'search_settings', 'compound_custom'];

export function unboundedField(body: JsonObject): { readonly param: string; readonly reason: string } | undefined {
  const param = UNBOUNDED_FIELDS.find((name) => body[name] !== undefined && body[name] !== null);
  if (param !== undefined) return { param, reason: `\`${param}\` lets the provider do what has no stated price or bound; leave it out` };
  if (body['service_tier'] === UNPRICED_TIER) {
    return { param: 'service_tier', reason: 'the `ultrafast` tier has no published price; ask for another' };
  }
  return undefined;
}
