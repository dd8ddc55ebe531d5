import { formatUsd } from '@runpurse/core';
import { budgetConfig, type BudgetConfig } from './config.ts';
import { keysAllowedBy, mistakesOf, type Mistake } from './issues.ts';

/** A budget as somebody wrote it, through the API or the CLI, checked as runpurse.yaml's are. */
export function parseBudget(
  written: Readonly<Record<string, unknown>>,
): { readonly type: 'budget'; readonly config: BudgetConfig } | ({ readonly type: 'invalid' } & Mistake) {
  const result = budgetConfig.safeParse(written);
  if (result.success) return { type: 'budget', config: result.data };
  const [mistake] = mistakesOf(result.error.issues, written, keysAllowedBy(budgetConfig));
  return { type: 'invalid', ...(mistake ?? { path: '', message: 'is not valid' }) };
}

/** A budget as the store keeps it: as it would stand in runpurse.yaml. */
export function budgetBody(config: BudgetConfig): Readonly<Record<string, unknown>> {
  const { limit_usd: limit, ...rest } = config;
  return { ...Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== undefined)), limit_usd: formatUsd(limit) };
}
