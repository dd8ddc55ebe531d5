import type { BudgetStateShape, Nanos, RunShape, SessionShape } from '@runpurse/core';
import { createBudgetBook, type BudgetMatch } from '../admit/budget-book.ts';
import type { Subject } from '../admit/types.ts';
import { windowDays } from '../admit/windows.ts';
import { budgetState, entriesOfRun, runsOfSession, subjectOfRun } from '../api/read-views.ts';
import type { BudgetScope, GatewayConfig } from '../config/config.ts';
import type { ReserveEntry } from '../store/entry.ts';
import type { SqliteAdmin } from '../store/sqlite/index.ts';
import { foldRun, foldSession } from '../views/index.ts';

/** Runs and sessions read from the data directory, with their budgets as the configuration and the ledger have them. */

export async function readRunFrom(
  admin: SqliteAdmin,
  config: GatewayConfig,
  workspaceId: string,
  runId: string,
): Promise<RunShape | undefined> {
  const row = await admin.run(workspaceId, runId);
  if (row === undefined) return undefined;
  const budgets = await budgetsOf(admin, config, subjectOfRun(row), row.limitNanos);
  return foldRun(await entriesOfRun(admin, workspaceId, runId), { budgets });
}

export async function readSessionFrom(
  admin: SqliteAdmin,
  config: GatewayConfig,
  workspaceId: string,
  sessionId: string,
): Promise<SessionShape | undefined> {
  const rows = await runsOfSession(admin, workspaceId, sessionId);
  const { workflowId, agentId, customerId, memberId } = rows.at(-1) ?? {};
  const budgets = await budgetsOf(admin, config, { workspaceId, sessionId, workflowId, agentId, customerId, memberId }, undefined);
  return foldSession(rows, { budgets });
}

type Place = Partial<Subject> & { readonly workspaceId: string };

/** What the running gateway keeps in memory, worked out from the views: settled spend and the holds of calls in flight. */
async function budgetsOf(
  admin: SqliteAdmin,
  config: GatewayConfig,
  place: Place,
  runLimit: Nanos | undefined,
): Promise<BudgetStateShape[]> {
  const book = createBudgetBook(config.budgets);
  book.reload(admin.budgets());
  const now = Date.now();
  const open = admin.openReservations();
  const states: BudgetStateShape[] = [];
  for (const match of book.match(place, runLimit, now)) {
    if (match.counterKey === undefined) continue;
    const { scope, window, thresholds } = match.budget.config;
    const { fromDay, toDay } = windowDays(window, now);
    const [row] = scope === 'request' ? [] : await admin.spend(place.workspaceId, scope, { id: match.scopeId, fromDay, toDay, limit: 1 });
    const settled = row === undefined ? 0n : row.modelNanos + row.toolNanos + row.retryNanos;
    const held = open
      .filter((reserve) => isUnder(reserve, match, place.workspaceId))
      .reduce((sum, reserve) => sum + BigInt(reserve.hold), 0n);
    const left = match.limit - settled - held;
    const passed = thresholds.filter((percent) => settled * 100n >= match.limit * BigInt(percent));
    states.push(
      budgetState({
        budget: match.budget,
        scopeId: match.scopeId,
        limit: match.limit,
        settled,
        held,
        overage: settled > match.limit ? settled - match.limit : 0n,
        remaining: left > 0n ? left : 0n,
        state: left <= 0n ? 'exceeded' : passed.length === 0 ? 'ok' : String(Math.max(...passed)),
      }),
    );
  }
  return states;
}

const FIELDS: Readonly<Record<Exclude<BudgetScope, 'request'>, keyof ReserveEntry>> = {
  run: 'runId',
  session: 'sessionId',
  workflow: 'workflowId',
  agent: 'agentId',
  member: 'memberId',
  customer: 'customerId',
  workspace: 'workspaceId',
  key: 'keyId',
};

function isUnder(reserve: ReserveEntry, match: BudgetMatch, workspaceId: string): boolean {
  const { scope } = match.budget.config;
  return scope !== 'request' && reserve.workspaceId === workspaceId && reserve[FIELDS[scope]] === match.scopeId;
}
