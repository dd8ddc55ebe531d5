import { formatUsd, type BudgetStateShape, type Refusal, type RunShape, type SessionShape } from '@runpurse/core';
import type { BudgetState, Subject } from '../admit/types.ts';
import type { Gateway } from '../gateway.ts';
import type { RunRow, Sequenced, Store } from '../store/store.ts';
import { foldRun, foldSession } from '../views/index.ts';

const ENTRIES_PAGE = 1000;
const RUNS_PAGE = 500;

/** Everything the ledger holds of a run. */
export async function entriesOfRun(store: Pick<Store, 'entries'>, workspaceId: string, runId: string): Promise<readonly Sequenced[]> {
  const entries: Sequenced[] = [];
  for (;;) {
    const page = await store.entries({ workspaceId, runId, order: 'asc', afterSeq: entries.at(-1)?.seq, limit: ENTRIES_PAGE });
    entries.push(...page);
    if (page.length < ENTRIES_PAGE) return entries;
  }
}

/** All runs of a session. */
export async function runsOfSession(store: Pick<Store, 'runs'>, workspaceId: string, sessionId: string): Promise<readonly RunRow[]> {
  const rows: RunRow[] = [];
  let cursor: string | undefined;
  do {
    const page = await store.runs({ workspaceId, sessionId, cursor, limit: RUNS_PAGE });
    rows.push(...page.rows);
    cursor = page.nextCursor;
  } while (cursor !== undefined);
  return rows;
}

/** A run as it stands, budgets included; undefined when the workspace does not know it. */
export async function readRun(gateway: Gateway, workspaceId: string, runId: string): Promise<RunShape | undefined> {
  const row = await gateway.store.run(workspaceId, runId);
  if (row === undefined) return undefined;
  return foldRun(await entriesOfRun(gateway.store, workspaceId, runId), { budgets: budgetStatesFor(gateway, subjectOfRun(row)) });
}

/** A session over its runs, as it stands. */
export async function readSession(gateway: Gateway, workspaceId: string, sessionId: string): Promise<SessionShape | undefined> {
  const rows = await runsOfSession(gateway.store, workspaceId, sessionId);
  const { workflowId, agentId, customerId, memberId } = rows.at(-1) ?? {};
  return foldSession(rows, { budgets: budgetStatesFor(gateway, { workspaceId, sessionId, workflowId, agentId, customerId, memberId }) });
}

/** Whose budgets a run counts to. */
export function subjectOfRun(row: RunRow): Partial<Subject> & { readonly workspaceId: string } {
  const { workspaceId, runId, keyId, sessionId, workflowId, agentId, customerId, memberId } = row;
  return { workspaceId, runId, keyId, sessionId, workflowId, agentId, customerId, memberId };
}

export function runNotFound(runId: string): Refusal {
  return {
    code: 'not_found',
    message: `There is no run ${runId} in this workspace. Check the id and the key's workspace.`,
    details: { run_id: runId },
  };
}

export function sessionNotFound(sessionId: string): Refusal {
  return {
    code: 'not_found',
    message: `There is no session ${sessionId} in this workspace. Check the id and the key's workspace.`,
    details: { session_id: sessionId },
  };
}

/** The budgets that apply to a subject, on the wire. */
export function budgetStatesFor(gateway: Gateway, subject: Partial<Subject> & { workspaceId: string }): BudgetStateShape[] {
  return gateway.admission.budgetStates(subject).map(budgetState);
}

/** A budget's state on the wire. */
export function budgetState(state: BudgetState): BudgetStateShape {
  const { config } = state.budget;
  return {
    scope: config.scope,
    id: state.scopeId,
    window: config.window,
    action: config.action,
    limit_usd: formatUsd(state.limit),
    settled_usd: formatUsd(state.settled),
    held_usd: formatUsd(state.held),
    overage_usd: formatUsd(state.overage),
    remaining_usd: formatUsd(state.remaining),
    state: state.state,
  };
}
