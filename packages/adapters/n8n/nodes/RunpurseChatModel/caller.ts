import type { CallPlace } from '@runpurse/core';
import { nodeNameToToolName, type INode, type ISupplyDataFunctions } from 'n8n-workflow';
import { textOf } from '../shared/transport.ts';
import type { LiveRun } from './live-run.ts';

/** The node that the model is connected to: n8n's context knows it, but not its type. */
export function parentNodeOf(context: ISupplyDataFunctions): INode | undefined {
  return (context as unknown as { readonly parentNode?: INode }).parentNode;
}

/**
 * An agent that is another agent's tool works inside that tool's call: what its model does has the call's step as parent.
 * n8n hands the call's id to the tool as `toolCallId`. The tool's name makes no agent: it would become the whole run's, whose
 * own agent has no name unless one is stated.
 */
export function callerOf(context: ISupplyDataFunctions, live: LiveRun, itemIndex: number): CallPlace {
  const parentNode = parentNodeOf(context);
  if (parentNode === undefined) return {};
  const tool = nodeNameToToolName(parentNode.name);
  const stated = live.open.get(textOf(context.evaluateExpression('{{ $json.toolCallId }}', itemIndex)));
  const outer = stated?.tool === tool ? stated : [...live.open.values()].find((open) => open.tool === tool);
  return outer === undefined ? {} : { parentStepId: outer.stepId };
}
