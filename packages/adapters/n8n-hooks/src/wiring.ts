import type { NodeData, WorkflowData } from './n8n.ts';

/** What the type of each of Runpurse's own nodes begins with. */
export const OURS = 'n8n-nodes-runpurse.';

export function nodesOf({ nodes }: WorkflowData): readonly NodeData[] {
  return Array.isArray(nodes) ? (nodes as readonly NodeData[]) : Object.values(nodes ?? {});
}

/** The nodes that a model or tool is lent to. */
export function usersOf({ connections }: WorkflowData, name: string, kind: string): readonly string[] {
  return (connections?.[name]?.[kind] ?? []).flatMap((outputs) => outputs ?? []).map(({ node }) => node);
}

export function isToolOf(workflow: WorkflowData, name: string): boolean {
  return usersOf(workflow, name, 'ai_tool').length > 0;
}

export function hasTools(workflow: WorkflowData, name: string): boolean {
  return nodesOf(workflow).some((tool) => usersOf(workflow, tool.name, 'ai_tool').includes(name));
}
