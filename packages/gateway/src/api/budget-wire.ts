import type { z } from 'zod';
import { formatUsd } from '@runpurse/core';
import { budgetName } from '../admit/budget-book.ts';
import type { Budget } from '../admit/types.ts';
import type { budgetShape } from './shapes.ts';

/** A budget as the API and the CLI show it. */
export function budgetWire(budget: Budget): z.output<typeof budgetShape> {
  const { config } = budget;
  return {
    budget_id: budget.budgetId,
    name: budgetName(budget),
    origin: budget.origin,
    workspace_id: config.workspace ?? null,
    scope: config.scope,
    id: config.id,
    window: config.window,
    limit_usd: formatUsd(config.limit_usd),
    action: config.action,
    on_exceed: config.on_exceed,
    thresholds: [...config.thresholds],
  };
}
