import type { RunningGateway } from '@runpurse/conformance';
import type { WorkflowFile } from './n8n.mts';

/** Small workflows for tests, as n8n writes them. */

export interface NodeSpec {
  readonly name: string;
  /** Of the Runpurse node unless stated. */
  readonly type?: string;
  readonly version?: number;
  readonly parameters?: object;
  readonly [field: string]: unknown;
}

export interface Credential {
  readonly baseUrl: string;
  readonly apiKey: string;
  readonly failurePolicy?: 'open' | 'closed';
  readonly instance?: string;
}

export function credentialOf({ url, apiKey }: Pick<RunningGateway, 'url' | 'apiKey'>, more: Partial<Credential> = {}): Credential {
  return { baseUrl: url, apiKey, ...more };
}

/** Nodes one after the other, behind a manual trigger. */
export function chainOf(credential: Credential, nodes: readonly NodeSpec[], { id = 'wf1', name = 'Flow' } = {}): WorkflowFile {
  const all = [
    nodeOf(credential, { name: 'Start', type: 'n8n-nodes-base.manualTrigger' }),
    ...nodes.map((node) => nodeOf(credential, node)),
  ];
  return {
    id,
    name,
    nodes: all,
    connections: Object.fromEntries(
      all.slice(0, -1).map((node, at) => [node.name, { main: [[{ node: all[at + 1]?.name ?? '', type: 'main', index: 0 }]] }]),
    ),
    settings: { executionOrder: 'v1' },
  };
}

export function nodeOf(
  credential: Credential,
  { name, type = 'n8n-nodes-runpurse.runpurse', version = 1, parameters = {}, ...more }: NodeSpec,
) {
  const isOurs = type.startsWith('n8n-nodes-runpurse.');
  return {
    id: name,
    name,
    type,
    typeVersion: version,
    position: [0, 0],
    parameters,
    ...(isOurs && { credentials: { runpurseApi: { id: JSON.stringify(credential), name: 'Runpurse' } } }),
    ...more,
  };
}

/** A workflow file as the user has it after importing it and choosing their credential. */
export function withCredential(file: WorkflowFile, credential: Credential): WorkflowFile {
  return { ...file, nodes: file.nodes.map((node) => ('credentials' in node ? { ...node, ...nodeCredential(credential) } : node)) };
}

function nodeCredential(credential: Credential): object {
  return { credentials: { runpurseApi: { id: JSON.stringify(credential), name: 'Runpurse' } } };
}
