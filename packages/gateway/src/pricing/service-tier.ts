import tiers from './data/service-tiers.json' with { type: 'json' };
import { compileGlobs } from '../policy/glob.ts';
import { bareModel } from './model-limits.ts';

/** A way of serving that has a price of its own. OpenAI's `fast` is another word for `priority`. */
export type ServiceTier = 'priority' | 'flex' | 'fast' | 'us';

const TABLE: readonly { readonly matches: (name: string) => boolean; readonly percents: Partial<Record<ServiceTier, number>> }[] =
  tiers.models.map(({ match, source: _source, ...percents }) => ({ matches: compileGlobs([match], { ignoreCase: true }), percents }));

/** What a model served so costs, in percent of its list price (pricing/data/service-tiers.json). */
export function tierPercent(model: string, tier: ServiceTier): number {
  const name = bareModel(model);
  return TABLE.find(({ matches }) => matches(name))?.percents[tier] ?? tiers.otherwise;
}
