import type { CallPlace } from '@runpurse/core';
import { nodeNameToToolName, type ISupplyDataFunctions } from 'n8n-workflow';
import { textOf } from '../shared/transport.ts';
import type { LiveRun } from './live-run.ts';

/**
 * An agent that is another agent's tool works inside that tool's call: what its model does has the call's step as parent.
 * n8n hands the call's id to the tool as `toolCallId`. The tool's name makes no agent: it would become the whole run's, whose
 * own agent has no name unless one is stated.
 */
export function callerOf(context: ISupplyDataFunctions, live: LiveRun, itemIndex: number): CallPlace {
  // Which node the model is connected to is known to n8n's context, but not to its type.
  const { parentNode } = context as unknown as { readonly parentNode?: { readonly name: string } };
  if (parentNode === undefined) return {};
  const tool = nodeNameToToolName(parentNode.name);
  const stated = live.open.get(textOf(context.evaluateExpression('{{ $json.toolCallId }}', itemIndex)));
  const outer = stated?.tool === tool ? stated : [...live.open.values()].find((open) => open.tool === tool);
  return outer === undefined ? {} : { parentStepId: outer.stepId };
}
