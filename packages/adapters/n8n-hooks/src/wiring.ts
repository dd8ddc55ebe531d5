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

/** The agents that what a node was lent ends at: a node that lends it on, such as a Model Selector, is none. */
export function endsOf(workflow: WorkflowData, name: string, kind: string, seen: readonly string[] = []): readonly string[] {
  const users = seen.includes(name) ? [] : usersOf(workflow, name, kind);
  return users.length === 0 ? [name] : users.flatMap((user) => endsOf(workflow, user, kind, [...seen, name]));
}

export function hasModel(workflow: WorkflowData, name: string): boolean {
  return nodesOf(workflow).some((model) => usersOf(workflow, model.name, 'ai_languageModel').includes(name));
}

const TOOL_NAME_LENGTH_MAX = 64;

/** How n8n names a node's tool to the model, and Runpurse's model to the gateway: as n8n-workflow's `nodeNameToToolName`. */
export function toolNameOf(node: string): string {
  const name = node.replace(/[^a-zA-Z0-9_-]+/g, '_');
  return name.length > TOOL_NAME_LENGTH_MAX ? name.slice(0, TOOL_NAME_LENGTH_MAX).replace(/[_-]+$/, '') : name;
}
