import type { Nanos } from '@runpurse/core';
import { budgetConfig, type BudgetConfig, type BudgetScope } from '../config/config.ts';
import type { StoredBudget } from '../store/store.ts';
import type { Budget, Subject } from './types.ts';
import { SCOPE_ID } from './scope-id.ts';
import { windowKey } from './windows.ts';

/** A budget that applies to a call: for which id, and the key of the counter it is checked against. */
export interface BudgetMatch {
  readonly budget: Budget;
  readonly scopeId: string;
  /** Undefined for `request` budgets: each call is alone under them. */
  readonly counterKey: string | undefined;
  readonly limit: Nanos;
  /** The thresholds as amounts, least first. */
  readonly marks: readonly ThresholdMark[];
}

/** A threshold is reached when what is settled is at least `amount`. */
export interface ThresholdMark {
  readonly percent: number;
  readonly amount: Nanos;
}

function marksOf({ limit_usd: limit, thresholds }: BudgetConfig): readonly ThresholdMark[] {
  return thresholds
    .map((percent) => ({ percent, amount: (limit * BigInt(percent) + 99n) / 100n }))
    .sort((one, other) => one.percent - other.percent);
}

export function budgetName(budget: Budget): string {
  const { name, scope, id, window } = budget.config;
  return name ?? `${scope}:${id}${window === 'lifetime' ? '' : ` per ${window}`}`;
}

/** The counter of a scope id in a window instance. One counter serves all budgets of that scope, id and window. */
export function counterKey(scope: BudgetScope, workspaceId: string, scopeId: string, windowInstance: string): string {
  return `${scope}\u0000${workspaceId}\u0000${scopeId}\u0000${windowInstance}`;
}

/** All budgets: the configuration's, the stored ones and each run's own. */
export interface BudgetBook {
  all(): readonly Budget[];
  /** Rises when the budgets change. */
  readonly generation: number;
  /** Reads the stored budgets anew; says whether any changed. */
  reload(stored: readonly StoredBudget[]): boolean;
  /** The budgets that apply to a subject at a time, the run's own cap included. */
  match(subject: Partial<Subject> & { workspaceId: string }, runLimit: Nanos | undefined, now: number): readonly BudgetMatch[];
}

export function createBudgetBook(configured: readonly BudgetConfig[]): BudgetBook {
  const fromConfig = configured.map((config, index): Budget => ({ budgetId: `config_${index}`, config, origin: 'config' }));
  let budgets: readonly Budget[] = fromConfig;
  let marks = new Map(budgets.map((budget) => [budget, marksOf(budget.config)]));
  let signature = '';
  let generation = 0;

  return {
    all: () => budgets,
    get generation() {
      return generation;
    },
    reload(stored) {
      const next = JSON.stringify(stored.map((budget) => [budget.budgetId, budget.body]));
      if (next === signature) return false;
      signature = next;
      generation += 1;
      budgets = [
        ...fromConfig,
        ...stored.map((row): Budget => ({ budgetId: row.budgetId, config: budgetConfig.parse(row.body), origin: 'api' })),
      ];
      marks = new Map(budgets.map((budget) => [budget, marksOf(budget.config)]));
      return true;
    },
    match(subject, runLimit, now) {
      const matches: BudgetMatch[] = [];
      for (const budget of budgets) {
        const { config } = budget;
        if (config.workspace !== undefined && config.workspace !== subject.workspaceId) continue;
        if (config.scope === 'request') {
          matches.push({ budget, scopeId: '*', counterKey: undefined, limit: config.limit_usd, marks: [] });
          continue;
        }
        const scopeId = SCOPE_ID[config.scope](subject);
        if (scopeId === undefined || (config.id !== '*' && config.id !== scopeId)) continue;
        matches.push({
          budget,
          scopeId,
          counterKey: counterKey(config.scope, subject.workspaceId, scopeId, windowKey(config.window, now)),
          limit: config.limit_usd,
          marks: marks.get(budget) ?? [],
        });
      }
      if (runLimit !== undefined && subject.runId !== undefined) matches.push(ownCap(subject.workspaceId, subject.runId, runLimit));
      return matches;
    },
  };
}

/** A run's own cap, as a budget like any other. */
function ownCap(workspaceId: string, runId: string, limit: Nanos): BudgetMatch {
  const config: BudgetConfig = {
    name: `run ${runId}'s own cap`,
    scope: 'run',
    id: runId,
    window: 'lifetime',
    limit_usd: limit,
    action: 'block',
    on_exceed: 'refuse',
    thresholds: [50, 75, 90, 100],
  };
  return {
    budget: { budgetId: `run_${runId}`, origin: 'run', config },
    scopeId: runId,
    counterKey: counterKey('run', workspaceId, runId, ''),
    limit,
    marks: marksOf(config),
  };
}
