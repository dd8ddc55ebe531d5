import type { IDataObject, IHookFunctions, IWebhookFunctions, NodeTypeAndVersion } from 'n8n-workflow';
import { isObject, jsonOf, textOf } from '../shared/transport.ts';

const OURS = 'n8n-nodes-runpurse.';
/** What Runpurse's node does without making or ending a run; its models, chats, spends, events, starts and ends do. */
const MAKES_NO_RUN = new Set(['budget/create', 'budget/status', 'run/get', 'run/stop', 'session/get']);
/** Nodes that run another workflow. */
const CALLERS = new Set([
  'n8n-nodes-base.executeWorkflow',
  '@n8n/n8n-nodes-langchain.toolWorkflow',
  '@n8n/n8n-nodes-langchain.retrieverWorkflow',
]);

/**
 * Workflows of which this one makes runs itself, so that it would start itself for ever: its own, its error workflow's, those
 * that Runpurse nodes behind the trigger make runs of, and those that nodes behind it call. What an expression says is not known here.
 */
export function ownWorkflows(context: IHookFunctions | IWebhookFunctions): ReadonlySet<string> {
  const behind = context.getChildNodes(context.getNode().name, { includeNodeParameters: true });
  // n8n's type leaves out what its function takes: models and tools, and theirs.
  const connectionType = 'ALL_NON_MAIN' as 'ai_tool';
  const lent = behind.flatMap(({ name }) => context.getParentNodes(name, { includeNodeParameters: true, connectionType }));
  const ids = [context.getWorkflow().id, context.getWorkflowSettings().errorWorkflow, ...[...behind, ...lent].flatMap(namedBy)];
  return new Set(ids.filter((id): id is string => typeof id === 'string' && id !== '' && !id.startsWith('=')));
}

function namedBy({ type, parameters = {}, disabled }: NodeTypeAndVersion): readonly unknown[] {
  if (disabled) return [];
  const { attribution, resource, operation, workflowId: called, workflowJson } = parameters as IDataObject;
  if (type.startsWith(OURS) && MAKES_NO_RUN.has(`${textOf(resource)}/${textOf(operation)}`)) return [];
  if (type.startsWith(OURS)) return [isObject(attribution) && textOf(attribution['workflowId']).trim()];
  if (!CALLERS.has(type)) return [];
  const inline = jsonOf(textOf(workflowJson));
  return [isObject(called) ? called['value'] : called, isObject(inline) && inline['id']];
}
