import { createHash } from 'node:crypto';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { setTimeout as after } from 'node:timers/promises';
import { inspect } from 'node:util';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type * as Core from 'n8n-core';
import type * as Flow from 'n8n-workflow';
import type { FromN8n, HooksFile, NodeFailure, Played, ToN8n } from './n8n.mts';

/**
 * n8n's own engine in a process of its own: loads the built package as n8n does (its directory loader), the AI Agent and the
 * basic nodes beside it, and executes workflows with `WorkflowExecute`. Only n8n's database, server and editor are missing.
 */

const require = createRequire(import.meta.url);
const core = require('n8n-core') as typeof Core;
const flow = require('n8n-workflow') as typeof Flow;
createRequire(require.resolve('n8n-core'))('reflect-metadata');
withoutNativeAddons();

const UNUSED_URL = 'http://127.0.0.1:9/';

/** The agent's oldest version opens databases; their compiled parts are neither built here nor used. */
function withoutNativeAddons(): void {
  const Module = require('node:module') as { _load: (request: string, ...rest: unknown[]) => unknown };
  const load = Module._load.bind(Module);
  Module._load = (request, ...rest) => (request === 'sqlite3' ? {} : load(request, ...rest));
}

const ours = new core.PackageDirectoryLoader(process.env['RUNPURSE_N8N_PACKAGE'] ?? dirname(import.meta.dirname));
const agents = new core.LazyPackageDirectoryLoader(dirname(require.resolve('@n8n/n8n-nodes-langchain/package.json')));
const basics = new core.LazyPackageDirectoryLoader(dirname(require.resolve('n8n-nodes-base/package.json')));
for (const loader of [ours, agents, basics]) await loader.loadAll();
const loaders = new Map([ours, agents, basics].map((loader) => [loader.packageName, loader]));

/** A tool as a scenario scripts it: what it does is decided by the test in the other process. */
class ScriptedTool {
  description = {
    displayName: 'Scripted Tool',
    name: 'scriptedTool',
    group: ['transform'],
    version: 1,
    description: 'A tool of a test',
    defaults: { name: 'Scripted Tool' },
    inputs: ['main'],
    outputs: ['main'],
    usableAsTool: true as const,
    properties: [
      { displayName: 'Arguments', name: 'args', type: 'json', default: '{}' },
      { displayName: 'Result Field', name: 'field', type: 'string', default: 'result' },
    ],
  };

  async execute(this: Flow.IExecuteFunctions): Promise<Flow.INodeExecutionData[][]> {
    const said = this.getNodeParameter('args', 0) as unknown;
    const args = (typeof said === 'string' ? JSON.parse(said) : said) as Record<string, unknown>;
    const result = await runTool(this.getExecutionId(), this.getNode().name, args);
    return [[{ json: { [String(this.getNodeParameter('field', 0))]: result }, pairedItem: { item: 0 } }]];
  }
}

const scripted = new ScriptedTool() as unknown as Flow.INodeType;
const asTool = new Map<string, Flow.INodeType>();

function nodeOf(type: string): Flow.INodeType | Flow.IVersionedNodeType {
  if (type === 'test.scriptedTool') return scripted;
  const dot = type.lastIndexOf('.');
  const loader = loaders.get(type.slice(0, dot));
  if (loader === undefined) throw new Error(`no package of node ${type}`);
  return loader.getNode(type.slice(dot + 1)).type;
}

const nodeTypes: Flow.INodeTypes = {
  getByName: nodeOf,
  getByNameAndVersion(type, version) {
    // An ordinary node becomes a tool as n8n makes it one: `xTool` is `x` with the fields an agent needs.
    const isTool = type.endsWith('Tool') && type !== 'test.scriptedTool' && !knows(type);
    const found = flow.NodeHelpers.getVersionedNodeType(nodeOf(isTool ? type.slice(0, -4) : type), version);
    if (!isTool && type !== 'test.scriptedTool') return found;
    const known = asTool.get(type);
    if (known !== undefined) return known;
    const tool = toolOf(found);
    asTool.set(type, tool);
    return tool;
  },
  getKnownTypes: () => ({}),
};

function knows(type: string): boolean {
  const dot = type.lastIndexOf('.');
  return loaders.get(type.slice(0, dot))?.known.nodes[type.slice(dot + 1)] !== undefined;
}

/** As n8n's node types registry does it: outputs a tool, and its description is what the model reads. */
function toolOf(node: Flow.INodeType): Flow.INodeType {
  const tool = Object.create(node) as Flow.INodeType;
  const { properties } = node.description;
  tool.description = {
    ...node.description,
    name: `${node.description.name}Tool`,
    inputs: [],
    outputs: ['ai_tool'],
    properties: [
      ...properties,
      { displayName: 'Description', name: 'toolDescription', type: 'string', default: node.description.description },
    ],
  };
  return tool;
}

const CREDENTIAL_CHECKS = new flow.Workflow({ nodes: [], connections: {}, active: false, nodeTypes });

/** Credentials as n8n keeps them: a node only knows an id. */
const stored = new Map<string, string>();

/** The tests' workflows hold a credential's data as JSON in place of its id. */
function storeCredentials(nodes: readonly Flow.INode[]): Flow.INode[] {
  return nodes.map((node) => ({
    ...node,
    ...(node.credentials && {
      credentials: Object.fromEntries(
        Object.entries(node.credentials).map(([type, { id, name }]) => {
          const known = `cred-${createHash('sha256')
            .update(id ?? '')
            .digest('hex')
            .slice(0, 16)}`;
          stored.set(known, id ?? '{}');
          return [type, { id: known, name }];
        }),
      ),
    }),
  }));
}

/** A type's own `authenticate` puts them on requests, as in n8n. */
class Credentials extends flow.ICredentialsHelper {
  getParentTypes(): string[] {
    return [];
  }
  isCredentialUsableByNode(): boolean {
    return true;
  }
  async authenticate(
    credentials: Flow.ICredentialDataDecryptedObject,
    type: string,
    request: Flow.IHttpRequestOptions | Flow.IRequestOptionsSimplified,
  ): Promise<Flow.IHttpRequestOptions> {
    const options = request as Flow.IHttpRequestOptions;
    const { authenticate } = credentialOf(type);
    if (authenticate === undefined) return options;
    if (typeof authenticate === 'function') return authenticate(credentials, options);
    const headers = authenticate.properties.headers ?? {};
    for (const [name, value] of Object.entries(headers))
      options.headers = { ...options.headers, [name]: String(resolved(String(value), credentials)) };
    return options;
  }
  async preAuthentication(): Promise<undefined> {
    return undefined;
  }
  async runPreAuthentication(): Promise<undefined> {
    return undefined;
  }
  async getCredentials(): Promise<Flow.ICredentials> {
    throw new Error('credentials are read decrypted');
  }
  async getDecrypted(_data: unknown, details: Flow.INodeCredentialsDetails): Promise<Flow.ICredentialDataDecryptedObject> {
    return JSON.parse(stored.get(details.id ?? '') ?? '{}') as Flow.ICredentialDataDecryptedObject;
  }
  async updateCredentials(): Promise<void> {}
  async updateCredentialsOauthTokenData(): Promise<void> {}
  getCredentialsProperties(type: string): Flow.INodeProperties[] {
    return credentialOf(type).properties;
  }
}

function credentialOf(type: string): Flow.ICredentialType {
  for (const loader of loaders.values()) if (loader.known.credentials[type] !== undefined) return loader.getCredential(type).type;
  throw new Error(`no credential type ${type}`);
}

function resolved(value: string, credentials: Flow.ICredentialDataDecryptedObject): unknown {
  const node = { id: 'c', name: 'Credential', type: 'n8n-nodes-base.noOp', typeVersion: 1, position: [0, 0], parameters: {} };
  return CREDENTIAL_CHECKS.expression.getSimpleParameterValue(node as unknown as Flow.INode, value, 'internal', {
    $credentials: credentials,
  });
}

function additionalDataOf(executionId: string | undefined, hooks?: Core.ExecutionLifecycleHooks): Flow.IWorkflowExecuteAdditionalData {
  return {
    ...(executionId !== undefined && { executionId }),
    ...(hooks && { hooks }),
    credentialsHelper: new Credentials(),
    currentNodeExecutionIndex: 0,
    variables: {},
    restApiUrl: UNUSED_URL,
    instanceBaseUrl: UNUSED_URL,
    webhookBaseUrl: `${UNUSED_URL}webhook`,
    webhookTestBaseUrl: `${UNUSED_URL}webhook-test`,
    webhookWaitingBaseUrl: UNUSED_URL,
    formWaitingBaseUrl: UNUSED_URL,
    formBaseUrl: UNUSED_URL,
    formTestBaseUrl: UNUSED_URL,
    logAiEvent() {},
    setExecutionStatus() {},
  } as unknown as Flow.IWorkflowExecuteAdditionalData;
}

function workflowOf(data: Flow.IWorkflowBase): Flow.Workflow {
  return new flow.Workflow({
    id: data.id,
    name: data.name,
    nodes: storeCredentials(data.nodes),
    connections: data.connections,
    active: false,
    nodeTypes,
    settings: data.settings ?? {},
  });
}

const running = new Map<string, { cancel(): void }>();

async function execute(message: Extract<ToN8n, { kind: 'execute' }>): Promise<Played> {
  const data = message.workflow as unknown as Flow.IWorkflowBase;
  const mode = message.mode as Flow.WorkflowExecuteMode;
  const workflow = workflowOf(data);
  const hooks = new core.ExecutionLifecycleHooks(mode, message.executionId, data);
  if (message.isStreamed === true) hooks.addHandler('sendChunk', () => {});
  hooks.addHandler('nodeExecuteBefore', async (name) => {
    if (message.noted?.includes(name)) await runTool(message.executionId, name, {});
  });
  const external = message.hooks === undefined ? undefined : await hooksOf(message.hooks);
  for (const hook of external?.workflow?.preExecute ?? []) await hook(workflow, mode, {}, undefined);
  const startNode = workflow.getNode(message.start) ?? undefined;
  const execution = new core.WorkflowExecute(
    { ...additionalDataOf(message.executionId, hooks), ...(message.isStreamed === true && { streamingEnabled: true }) },
    mode,
  ).run({
    workflow,
    ...(startNode && { startNode }),
    ...(message.input && { pinData: { [message.start]: message.input as unknown as Flow.INodeExecutionData[] } }),
  });
  running.set(message.executionId, execution);
  const run = await execution.finally(() => running.delete(message.executionId));
  for (const hook of external?.workflow?.postExecute ?? []) await hook(run, data, message.executionId, {});
  const { resultData } = run.data;
  ended.push(new WeakRef(run.data));
  return {
    status: run.status,
    ...(resultData.error && { error: failureOf(resultData.error) }),
    nodes: Object.fromEntries(
      Object.entries(resultData.runData).map(([name, tasks]) => [
        name,
        tasks.map(({ data: output, error, hints }) => ({
          items: JSON.parse(JSON.stringify(Object.values(output ?? {})[0]?.[0] ?? [])) as Played['nodes'][string][number]['items'],
          ...(error && { error: failureOf(error) }),
          ...(hints && { hints: hints.map((hint) => hint.message) }),
        })),
      ]),
    ),
  };
}

function decline({ callId, tool, words }: Extract<ToN8n, { kind: 'decline' }>): unknown {
  const path = join(
    dirname(require.resolve('@n8n/n8n-nodes-langchain/package.json')),
    'dist/utils/agent-execution/processHitlResponses.js',
  );
  const { processHitlResponses } = require(path) as { processHitlResponses: (response: object, item: number) => Processed };
  const action = {
    id: callId,
    nodeName: 'Approve',
    input: {},
    metadata: { itemIndex: 0, hitl: { gatedToolNodeName: tool, toolName: tool } },
  };
  const data = { data: { ai_tool: [[{ json: { data: { approved: false, chatInput: words } } }]] } };
  const { processedResponse } = processHitlResponses({ metadata: {}, actionResponses: [{ action, data }] }, 0);
  return processedResponse.actionResponses[0]?.data.data.ai_tool[0]?.[0]?.json.output;
}

interface Processed {
  readonly processedResponse: {
    readonly actionResponses: readonly { readonly data: { readonly data: { readonly ai_tool: readonly DeclinedItem[][] } } }[];
  };
}

interface DeclinedItem {
  readonly json: { readonly output: string };
}

const ended: WeakRef<object>[] = [];

async function held(): Promise<number> {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  for (let times = 0; times < 5; times += 1) {
    await after(20);
    collect();
  }
  return ended.filter((each) => each.deref() !== undefined).length;
}

let hookFiles = 0;
const hookFilesLoaded = new Map<string, ExternalHooks>();

/** Loads a hooks file as n8n does when it starts, anew for each environment. */
async function hooksOf({ path, environment }: HooksFile): Promise<ExternalHooks> {
  const key = JSON.stringify([path, environment]);
  const loaded = hookFilesLoaded.get(key);
  if (loaded !== undefined) return loaded;
  Object.assign(process.env, environment);
  const file = pathToFileURL(path);
  file.search = String((hookFiles += 1));
  const hooks = (await import(file.href)) as ExternalHooks;
  hookFilesLoaded.set(key, hooks);
  return hooks;
}

interface ExternalHooks {
  readonly workflow?: {
    readonly preExecute?: readonly ((...given: unknown[]) => Promise<void>)[];
    readonly postExecute?: readonly ((...given: unknown[]) => Promise<void>)[];
  };
}

async function options(message: Extract<ToN8n, { kind: 'options' }>): Promise<unknown> {
  const [node] = storeCredentials([message.node as unknown as Flow.INode]);
  if (node === undefined) throw new Error('no node');
  const type = nodeTypes.getByNameAndVersion(node.type, node.typeVersion);
  const method = type.methods?.loadOptions?.[message.method];
  if (method === undefined) throw new Error(`${node.type} has no option list ${message.method}`);
  const workflow = workflowOf({ id: 'w', name: 'w', nodes: [node], connections: {} } as unknown as Flow.IWorkflowBase);
  return method.call(new core.LoadOptionsContext(workflow, node, additionalDataOf(undefined), '') as Flow.ILoadOptionsFunctions);
}

/** A trigger's life at its gateway, and what it makes of a delivery. Static data lasts as long as this process. */
const staticData = new Map<string, Flow.IDataObject>();

async function hook(message: Extract<ToN8n, { kind: 'hook' }>): Promise<unknown> {
  const data = message.workflow as unknown as Flow.IWorkflowBase;
  const workflow = workflowOf(data);
  workflow.staticData = staticData.get(data.id) ?? workflow.staticData;
  staticData.set(data.id, workflow.staticData);
  const node = workflow.getNode(message.node);
  if (node === null) throw new Error(`no node ${message.node}`);
  const type = nodeTypes.getByNameAndVersion(node.type, node.typeVersion);
  const webhook = {
    webhookDescription: { name: 'default', path: 'webhook', httpMethod: 'POST', isFullPath: true },
  } as unknown as Flow.IWebhookData;
  const data_ = { ...additionalDataOf(undefined), webhookBaseUrl: message.webhookBaseUrl };
  if (message.method !== 'receive') {
    const context = new core.HookContext(workflow, node, data_, 'trigger', 'activate', webhook);
    Object.assign(context, { getNodeWebhookUrl: () => message.webhookBaseUrl });
    return type.webhookMethods?.default?.[message.method].call(context as Flow.IHookFunctions);
  }
  const response = new Said();
  const request = {
    headers: message.headers,
    body: JSON.parse(message.body) as unknown,
    rawBody: Buffer.from(message.body),
    query: {},
    params: {},
  };
  const context = new core.WebhookContext(
    workflow,
    node,
    { ...data_, httpRequest: request, httpResponse: response },
    'trigger',
    webhook,
    [],
    null,
  );
  const result = await type.webhook?.call(context as Flow.IWebhookFunctions);
  return { ...response.said, items: result?.workflowData?.[0]?.map(({ json }) => json) ?? null };
}

/** What a webhook node answers with. */
class Said {
  said: { status?: number; body?: string } = {};
  status(status: number): this {
    this.said.status = status;
    return this;
  }
  setHeader(): this {
    return this;
  }
  send(body: unknown): this {
    this.said.body = String(body);
    return this;
  }
  json(body: unknown): this {
    return this.send(JSON.stringify(body));
  }
  end(body?: unknown): this {
    return body === undefined ? this : this.send(body);
  }
}

/** The credential test n8n makes when the user saves: the request the type declares, as it declares it. */
async function testCredential(message: Extract<ToN8n, { kind: 'test-credential' }>): Promise<unknown> {
  const type = credentialOf(message.type);
  const credentials = message.data as Flow.ICredentialDataDecryptedObject;
  const request = type.test?.request;
  if (request === undefined) throw new Error('the credential has no test');
  const helper = new Credentials();
  const options_ = await helper.authenticate(credentials, message.type, {
    url: `${String(resolved(String(request.baseURL), credentials))}${String(request.url)}`,
    method: 'GET',
  });
  const response = await fetch(options_.url, { headers: options_.headers as Record<string, string> });
  return response.status;
}

function failureOf(error: { readonly message: string; readonly description?: unknown; readonly cause?: unknown }): NodeFailure {
  return {
    message: error.message,
    ...(typeof error.description === 'string' && { description: error.description }),
    said: inspect(error, { depth: 12, breakLength: Infinity }),
  };
}

let calls = 0;
const waiting = new Map<number, (answer: Extract<ToN8n, { kind: 'tool-answer' }>) => void>();

async function runTool(executionId: string, name: string, args: Record<string, unknown>): Promise<string> {
  const call = (calls += 1);
  const answer = await new Promise<Extract<ToN8n, { kind: 'tool-answer' }>>((resolve) => {
    waiting.set(call, resolve);
    say({ kind: 'tool', call, executionId, name, args });
  });
  if (answer.error !== undefined) throw new Error(answer.error);
  return answer.result ?? '';
}

function say(message: FromN8n): void {
  process.send?.(message);
}

async function handle(message: ToN8n): Promise<unknown> {
  switch (message.kind) {
    case 'execute':
      return execute(message);
    case 'options':
      return options(message);
    case 'hook':
      return hook(message);
    case 'test-credential':
      return testCredential(message);
    case 'cancel':
      return running.get(message.executionId)?.cancel();
    case 'describe':
      return ours.types.nodes.map(({ name, version, usableAsTool, iconUrl, group }) => ({ name, version, usableAsTool, iconUrl, group }));
    case 'decline':
      return decline(message);
    case 'held':
      return held();
    case 'tool-answer':
      waiting.get(message.call)?.(message);
      return waiting.delete(message.call);
  }
}

process.on('message', (message: ToN8n) => {
  handle(message).then(
    (value) => message.kind !== 'tool-answer' && say({ kind: 'answer', id: message.id, value: value ?? null }),
    (error: unknown) => say({ kind: 'answer', id: message.id, error: error instanceof Error ? error.message : String(error) }),
  );
});
process.on('disconnect', () => process.exit(0));
process.on('unhandledRejection', (error) => process.stderr.write(`${String(error)}\n`));
say({ kind: 'ready' });
