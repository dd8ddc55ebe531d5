import { isAtGateway } from '@runpurse/core';
import type { NodeData, TaskData } from './n8n.ts';
import { at } from './usage.ts';

/** Nodes whose model calls go through the gateway, by their names or ids; a credential stands for all nodes that use it. */
export interface Carried {
  readonly nodes?: readonly string[] | undefined;
  readonly credentials?: readonly string[] | undefined;
}

/** Where the models that speak the gateway's wires keep the address they call. */
const CALLED_AT = ['configuration.baseURL', 'anthropic_api_url'];

/** What a model was made with, its credential's address too, as n8n wrote it down beside the call. */
export function madeWith({ inputOverride }: TaskData): unknown {
  return inputOverride?.['ai_languageModel']?.[0]?.[0]?.json?.['options'];
}

/**
 * Did the gateway carry, and so charge, this node's model calls? Yes if somebody said so, or if n8n wrote down that they went
 * to the gateway's address. A node of which it wrote nothing is taken to call its provider; its parameters prove nothing,
 * since n8n keeps some that it no longer uses.
 */
export function isCarried(node: NodeData, task: TaskData, baseUrl: string, { nodes = [], credentials = [] }: Carried): boolean {
  const isNamed = (names: readonly string[], { id, name }: { id?: string | null | undefined; name?: string | undefined }): boolean =>
    names.some((each) => each === name || each === id);
  if (isNamed(nodes, node) || Object.values(node.credentials ?? {}).some((credential) => isNamed(credentials, credential))) return true;
  return CALLED_AT.some((path) => {
    const address = at(madeWith(task), path);
    return typeof address === 'string' && isAtGateway(baseUrl, address);
  });
}
