import { contextToHeaders, usableId, type AgentContext } from '@runpurse/core';
import type { IExecuteFunctions, INodeProperties, ISupplyDataFunctions } from 'n8n-workflow';
import { collectionOf, fieldOf, fieldsOfItem, idIn } from './fields.ts';

/** Ids the user may state; each that stays empty is filled in from the execution. */
export const attribution: INodeProperties = {
  displayName: 'Attribution',
  name: 'attribution',
  type: 'collection',
  placeholder: 'Add ID',
  default: {},
  description: 'Who pays for it. The execution is the run, its workflow the workflow and this node the step, unless you say otherwise.',
  options: [
    {
      displayName: 'Agent ID',
      name: 'agentId',
      type: 'string',
      default: '',
      description: 'The named doer. Leave it empty when the key is bound to an agent.',
    },
    { displayName: 'Customer ID', name: 'customerId', type: 'string', default: '', description: 'Whose work it is' },
    {
      displayName: 'Run ID',
      name: 'runId',
      type: 'string',
      default: '',
      description: 'One attempt at a task. Default: this execution, also when it is a retry of another.',
    },
    {
      displayName: 'Session ID',
      name: 'sessionId',
      type: 'string',
      default: '',
      placeholder: 'e.g. ={{ $json.sessionId }}',
      description: 'The conversation, customer or task that several runs belong to',
    },
    { displayName: 'Step ID', name: 'stepId', type: 'string', default: '', description: 'Default: this node and item' },
    { displayName: 'Workflow ID', name: 'workflowId', type: 'string', default: '', description: 'Default: this workflow' },
  ],
};

/** What a call belongs to: all that the execution knows, and what the user says instead. */
export interface Place extends AgentContext {
  readonly stepId: string;
  /** What happens here alone: unlike the step, which the user may state, no two items, rounds or executions share it. */
  readonly key: string;
}

/**
 * Where an item of a node stands. Step and key are the same when n8n tries the node again, so that the gateway sees a retry
 * and charges a tool once; another round of a loop, or another execution in the same run, has others.
 */
export function placeOf(context: IExecuteFunctions | ISupplyDataFunctions, instance: string, itemIndex: number, runIndex: number): Place {
  const said = collectionOf(fieldsOfItem(context, itemIndex, [attribution]), 'attribution');
  const workflow = context.getWorkflow();
  const node = context.getNode().name;
  const ownRunId = runIdOf(instance, context.getExecutionId());
  const stated = (name: string): string | undefined => idIn(fieldOf(said, name)) || undefined;
  const runId = stated('runId') ?? ownRunId;
  const here = runIndex === 0 && itemIndex === 0 ? node : `${node} #${runIndex + 1}.${itemIndex + 1}`;
  // n8n does not tell a retry which execution it repeats: there it is the same as in the run's own one.
  const isOwn = runId === ownRunId || context.getMode() === 'retry';
  const key = isOwn ? here : (usableId(`${ownRunId ?? ''}/${here}`) ?? here);
  const place = {
    runId,
    workflowId: stated('workflowId') ?? workflow.id,
    agentId: stated('agentId'),
    graphNode: node,
    stepId: stated('stepId') ?? key,
    sessionId: stated('sessionId'),
    customerId: stated('customerId'),
    key,
  };
  return Object.fromEntries(Object.entries(place).filter(([, value]) => value !== undefined)) as unknown as Place;
}

/** The execution is the run. */
export function runIdOf(instance: string, executionId: string | undefined): string | undefined {
  if (executionId === undefined || executionId === '') return undefined;
  return instance === '' ? executionId : `${instance}-${executionId}`;
}

export function headersOf(place: AgentContext): Record<string, string> {
  return contextToHeaders(place);
}

/** The place in the gateway's JSON. */
export function fieldsOf(place: AgentContext): Record<string, string> {
  return textsOf({ ...runFieldsOf(place), step_id: place.stepId, graph_node: place.graphNode });
}

/** The same without the step. */
export function runFieldsOf(place: AgentContext): Record<string, string> {
  return textsOf({
    run_id: place.runId,
    session_id: place.sessionId,
    workflow_id: place.workflowId,
    agent_id: place.agentId,
    customer_id: place.customerId,
  });
}

function textsOf(fields: Readonly<Record<string, string | undefined>>): Record<string, string> {
  return Object.fromEntries(Object.entries(fields).filter((entry): entry is [string, string] => entry[1] !== undefined));
}
