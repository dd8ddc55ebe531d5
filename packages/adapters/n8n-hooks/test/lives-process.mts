import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import type { Hooks } from '../src/attach.ts';
import type { RunData, TaskData, WorkflowData } from '../src/n8n.ts';
import type { Life, Lived } from './lives.mts';

/**
 * The engine of the n8n nodes' tests, in what n8n's server does around it: the hooks file is wired into the execution's life
 * cycle (where a refused start is an error of the execution and not of its caller), and an execution that waits or failed is
 * read back from its stored form, to be resumed, or retried under a new id.
 */

/** What is used of n8n-core, whose types are another package's. */
interface Core {
  readonly WorkflowExecute: { new (additionalData: object, mode: string, data: Data | undefined): Engine; readonly prototype: Engine };
  readonly ExecutionLifecycleHooks: new (mode: string, executionId: string, workflow: WorkflowData) => LifeCycle;
}
interface Engine {
  readonly additionalData: object;
  run(options: { readonly workflow: Workflow; readonly startNode?: unknown; readonly pinData?: unknown }): Promise<Ended>;
  runPartialWorkflow2(workflow: Workflow, runData: object, pinData: unknown, dirty: string[], to: object): Promise<Ended>;
  processRunExecutionData(workflow: Workflow): Promise<Ended>;
}
interface LifeCycle {
  addHandler(name: 'workflowExecuteBefore', handler: (workflow: WorkflowData) => Promise<void>): void;
  addHandler(name: 'workflowExecuteAfter', handler: (ended: Ended) => Promise<void>): void;
}
interface Workflow extends WorkflowData {
  readonly connectionsBySourceNode: NonNullable<WorkflowData['connections']>;
  readonly settings: { readonly lives?: readonly Life[]; readonly hooksFile?: string };
}
interface Data {
  resultData: { error?: { message: string }; lastNodeExecuted?: string; runData: Record<string, TaskData[]> };
}
type Ended = RunData & { status: string; readonly data: Data };

const core = createRequire(new URL('../../n8n/test/n8n-process.mts', import.meta.url))('n8n-core') as Core;

const { run } = core.WorkflowExecute.prototype;
core.WorkflowExecute.prototype.run = function ({ workflow }) {
  return live(this.additionalData, workflow);
};

async function live(additionalData: object, workflow: Workflow): Promise<Ended> {
  const { lives = [], hooksFile = '' } = workflow.settings;
  const file = (await import(pathToFileURL(hooksFile).href)) as Hooks;
  const told: Lived[] = [];
  let data: Data | undefined;
  let ended: Ended | undefined;
  for (const life of lives) {
    const { executionId, mode = 'trigger', how } = life;
    const hooks = wired(file, workflow, executionId, mode);
    const around = { ...additionalData, executionId, hooks, currentNodeExecutionIndex: 0 };
    const resumed = how === 'resumed' && { restartExecutionId: executionId };
    ended = await begin(new core.WorkflowExecute({ ...around, ...resumed }, mode, data), workflow, life, data);
    data = JSON.parse(JSON.stringify(ended.data)) as Data;
    told.push({ status: ended.status, error: data.resultData.error?.message });
  }
  if (ended === undefined) throw new Error('no life to play');
  process.send?.({ kind: 'lived', lived: told, runData: data?.resultData.runData });
  return ended;
}

/** As n8n's `hookFunctionsExternalHooks` does, after its `hookFunctionsFinalizeExecutionStatus`. */
function wired(file: Hooks, workflow: Workflow, executionId: string, mode: string): LifeCycle {
  const { id, name, nodes, connectionsBySourceNode: connections } = workflow;
  const workflowData: WorkflowData = { id, name, nodes: Object.values(nodes ?? {}), connections };
  const hooks = new core.ExecutionLifecycleHooks(mode, executionId, workflowData);
  hooks.addHandler('workflowExecuteBefore', async (given) => {
    for (const hook of file.workflow.preExecute) await hook(given, mode);
  });
  hooks.addHandler('workflowExecuteAfter', async (ended) => {
    if (ended.data.resultData.error !== undefined && ended.status !== 'canceled') ended.status = 'error';
    for (const hook of file.workflow.postExecute) await hook(ended, workflowData, executionId);
  });
  return hooks;
}

async function begin(engine: Engine, workflow: Workflow, life: Life, data: Data | undefined): Promise<Ended> {
  const { how, pinned: pinData, until: nodeName = '', changed = [] } = life;
  if (data === undefined) return run.call(engine, { workflow, startNode: Object.values(workflow.nodes ?? {})[0], pinData });
  if (how === 'partly')
    return engine.runPartialWorkflow2(workflow, data.resultData.runData, pinData, [...changed], { nodeName, mode: 'inclusive' });
  if (how === 'retried') forgetError(data);
  return engine.processRunExecutionData(workflow);
}

/** What n8n's "Retry" takes out of the failed execution before it goes on from there. */
function forgetError({ resultData }: Data): void {
  delete resultData.error;
  const tasks = resultData.runData[resultData.lastNodeExecuted ?? ''];
  if (tasks?.at(-1)?.error !== undefined) tasks.pop();
}

await import('../../n8n/test/n8n-process.mts');
