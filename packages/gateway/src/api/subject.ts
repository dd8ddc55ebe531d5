import type { Refusal } from '@runpurse/core';
import type { Subject } from '../admit/types.ts';
import { forgedClaim } from '../identify/index.ts';
import type { StoredKey } from '../store/store.ts';

/** What a request body may claim about where it belongs. */
export interface Claims {
  readonly run_id: string;
  readonly session_id?: string | undefined;
  readonly workflow_id?: string | undefined;
  readonly agent_id?: string | undefined;
  readonly agent_name?: string | undefined;
  readonly customer_id?: string | undefined;
  readonly step_id?: string | undefined;
  readonly parent_step_id?: string | undefined;
  readonly graph_node?: string | undefined;
  readonly tool_call_id?: string | undefined;
  readonly attempt?: number | undefined;
}

/** The subject of a request body: identity from the key first, and a claim that contradicts it is refused. */
export function subjectOf(caller: StoredKey, claims: Claims): Subject | Refusal {
  const forged = forgedClaim(caller, { agentId: claims.agent_id });
  if (forged !== undefined) return forged;
  return {
    workspaceId: caller.workspaceId,
    keyId: caller.keyId,
    runId: claims.run_id,
    implicitRun: false,
    sessionId: claims.session_id,
    workflowId: claims.workflow_id,
    agentId: caller.agentId ?? claims.agent_id,
    agentName: claims.agent_name,
    memberId: caller.memberId,
    customerId: claims.customer_id,
    stepId: claims.step_id,
    parentStepId: claims.parent_step_id,
    graphNode: claims.graph_node,
    toolCallId: claims.tool_call_id,
    attempt: claims.attempt,
  };
}
