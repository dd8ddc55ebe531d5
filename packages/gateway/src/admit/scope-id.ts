import type { BudgetScope } from '../config/config.ts';
import type { Subject } from './types.ts';

/** Scopes whose spend is counted; a `request` budget looks at one call alone. */
export type CountedScope = Exclude<BudgetScope, 'request'>;

/** What names whose spend it is: a subject, a ledger row, or as much of either as is known. */
export type Charged = Partial<Pick<Subject, 'runId' | 'sessionId' | 'workflowId' | 'agentId' | 'memberId' | 'customerId' | 'keyId'>> & {
  readonly workspaceId: string;
};

/** The id under which a scope counts a charge; undefined: it does not. */
export const SCOPE_ID: Readonly<Record<CountedScope, (charged: Charged) => string | undefined>> = {
  run: (charged) => charged.runId,
  session: (charged) => charged.sessionId,
  workflow: (charged) => charged.workflowId,
  agent: (charged) => charged.agentId,
  member: (charged) => charged.memberId,
  customer: (charged) => charged.customerId,
  workspace: (charged) => charged.workspaceId,
  key: (charged) => charged.keyId,
};
