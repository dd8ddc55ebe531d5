import type { ReserveEntry, SettleEntry } from '../entry.ts';
import type { SpendScope } from '../store.ts';
import type { RunFold } from '../../views/run-fold.ts';

/** A scope and the id in it under which spend is summed. */
export type ScopeId = readonly [scope: SpendScope, id: string];

/** Where a call's cost is booked. What the call does not state itself it has from its run. */
export function callScopes(run: RunFold, reserve: ReserveEntry, settle: SettleEntry): ScopeId[] {
  const scopes: ScopeId[] = [
    ['workspace', reserve.workspaceId],
    ['key', reserve.keyId],
  ];
  addRun(scopes, run);
  add(scopes, 'member', reserve.memberId ?? run.memberId);
  add(scopes, 'customer', reserve.customerId ?? run.customerId);
  add(scopes, 'agent', reserve.agentId ?? run.agentId);
  add(scopes, 'workflow', reserve.workflowId ?? run.workflowId);
  add(scopes, 'session', reserve.sessionId ?? run.sessionId);
  if (reserve.kind === 'model') {
    scopes.push(['model', settle.model ?? reserve.name]);
    add(scopes, 'provider', reserve.provider);
  } else scopes.push(['tool', reserve.name]);
  return scopes;
}

/** Where a run's revenue and payments are booked. */
export function runScopes(run: RunFold): ScopeId[] {
  const scopes: ScopeId[] = [
    ['workspace', run.workspaceId],
    ['key', run.keyId],
  ];
  addRun(scopes, run);
  add(scopes, 'member', run.memberId);
  add(scopes, 'customer', run.customerId);
  add(scopes, 'agent', run.agentId);
  add(scopes, 'workflow', run.workflowId);
  add(scopes, 'session', run.sessionId);
  return scopes;
}

/** A run made for one call has its spend in its own row; a second row for each of them would double the views. */
function addRun(scopes: ScopeId[], run: RunFold): void {
  if (!run.implicit) scopes.push(['run', run.runId]);
}

function add(scopes: ScopeId[], scope: SpendScope, id: string | undefined): void {
  if (id !== undefined) scopes.push([scope, id]);
}
