import { NodeOperationError, type INode, type ISupplyDataFunctions } from 'n8n-workflow';
import { parentNodeOf } from './caller.ts';

/** Agents of n8n's AI Agent node before version 2 that give their model no tools, and read what to run out of its text. */
const READ_TEXT = new Map([
  ['conversationalAgent', 'Conversational Agent'],
  ['planAndExecuteAgent', 'Plan and Execute Agent'],
  ['reActAgent', 'ReAct Agent'],
]);

/** Such an agent would run a tool that is denied: the model is not lent to it while each tool is to be asked for. */
export function refuseTextAgent(context: ISupplyDataFunctions, itemIndex: number): void {
  const parent = parentNodeOf(context);
  const agent = parent?.type === '@n8n/n8n-nodes-langchain.agent' ? READ_TEXT.get(String(parent.parameters['agent'])) : undefined;
  if (parent === undefined || agent === undefined || !hasTools(context, parent)) return;
  throw new NodeOperationError(
    context.getNode(),
    `The ${agent} reads its tools out of the model's text, so that none of them can be asked for: use the Tools Agent, or turn Ask Before Tools off. Nothing was spent.`,
    { itemIndex },
  );
}

function hasTools(context: ISupplyDataFunctions, { name }: INode): boolean {
  return context.getParentNodes(name, { connectionType: 'ai_tool', depth: 1 }).some(({ disabled }) => !disabled);
}
