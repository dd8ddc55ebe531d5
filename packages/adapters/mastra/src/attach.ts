import type { AgentConfig } from '@mastra/core/agent';
import type { ObservabilityExporter } from '@mastra/core/observability';
import type { GatewayClient, Run, RunOptions } from '@runpurse/core';
import { createClient, type NodeClientOptions } from '@runpurse/core/axios';
import { endWhenIdle } from './background.ts';
import { beginRun, endRun, failureSaid, frames, guarded, type Host, type Live } from './live.ts';
import { beginExecution } from './execution.ts';
import { exporterOf } from './exporter.ts';
import { attachmentOf, overheard } from './processor.ts';
import { guardOf, type Guard } from './tools.ts';
import { workflowsOf, type Gate, type GateOptions, type StepLike, type WorkflowLike } from './workflow.ts';
import { isCancellation, watched } from '@runpurse/core/language-model';
import { defined, noteEndpoint, type Context } from './translate.ts';

/** What belongs to no run in particular (`workflowId`, `limitUsd`, …) is the default of each run. */
export interface RunpurseOptions extends Omit<RunOptions, 'runId'>, Pick<NodeClientOptions, 'failurePolicy' | 'dialect' | 'onProblem'> {
  /** The gateway's address. A model call sent there is carried; any other is authorized before and reported after. */
  readonly baseUrl: string;
  /** The virtual key. */
  readonly apiKey: string;
  /** A client of your own instead of one made from these options. */
  readonly client?: GatewayClient | undefined;
  /** Told about faults of this adapter, which the host never feels. Default: a warning on the console. */
  readonly onFault?: ((fault: unknown) => void) | undefined;
}

export interface Runpurse {
  readonly client: GatewayClient;
  /**
   * An agent's options, bounded and accounted for: each `generate` or `stream` is a run, which ends with it. `carried`:
   * whether its models' calls go through the gateway, for models that hide their address.
   */
  withRunpurse<Options extends AttachableOptions>(options: Options, more?: { readonly carried?: boolean | undefined }): Options;
  /** Tools that something else calls than an agent's model, such as Code Mode's: each call asks first, in the run around it. */
  tools<Tools extends object>(tools: Tools): Tools;
  /** A workflow's options (for `createWorkflow`): each of its runs is a run here, and one that may not begin does not. */
  withWorkflow<Options extends WorkflowLike>(options: Options): Options;
  /** A workflow's step that is told of, and what agents and tools inside it do, in the workflow's run. */
  step<Shown extends StepLike>(step: Shown): Shown;
  /** A step that asks the gateway before the workflow goes on. */
  gate<Data>(options: GateOptions<Data>): Gate<Data>;
  /** An exporter for Mastra's `Observability`, for agents and workflows that are not attached: they are told of, not bounded. */
  exporter(): ObservabilityExporter;
  /** Does work as one run, whatever agents it uses. Throws RefusedError when the run may not begin; ends however `work` ends. */
  run<Result>(context: RunOptions, work: (run: Run) => Result | PromiseLike<Result>): Promise<Result>;
}

/** The parts of Mastra's `AgentConfig` that are looked at, whatever its tools, output and request context. */
type AttachableOptions = Pick<AgentConfig, 'id' | 'inputProcessors' | 'outputProcessors' | 'hooks'> & {
  readonly model: unknown;
  readonly tools?: unknown;
  readonly agents?: unknown;
  readonly memory?: unknown;
};

/** Attaches Runpurse to Mastra; one serves any number of agents and runs at once. */
export function createRunpurse(options: RunpurseOptions): Runpurse {
  const { baseUrl, apiKey, client: own, failurePolicy, dialect, onProblem, onFault = warn, ...defaults } = options;
  const client = own ?? createClient({ source: 'mastra', baseUrl, apiKey, failurePolicy, dialect, ...(onProblem && { onProblem }) });
  const host: Host = {
    client,
    gateway: baseUrl,
    onFault,
    defaults: defined(defaults),
    attached: new Set(),
    traced: new Map(),
    runs: new Map(),
    tasks: new Map(),
  };
  const workflows = workflowsOf(host);
  return {
    client,
    tools: (tools) =>
      guardOf(({ requestContext }) => beginExecution({ host }, requestContext as Context | undefined)).tools(tools) as never,
    withWorkflow: workflows.attach,
    step: workflows.step,
    gate: workflows.gate,
    exporter: () => exporterOf(host),
    withRunpurse: (agentOptions, { carried } = {}) => attached(host, agentOptions, carried),
    async run(context, work) {
      const live = await beginRun(host, { ...host.defaults, ...context });
      return untilOver(live, () => work(live.run));
    },
  };
}

const IS_ATTACHED = Symbol.for('runpurse.mastra.attached');
interface Attached {
  readonly [IS_ATTACHED]?: unknown;
}

function attached<Options extends AttachableOptions>(host: Host, options: Options, carried: boolean | undefined): Options {
  if ((options as Attached)[IS_ATTACHED] === true) return options; // twice is once
  const { processor, guard } = attachmentOf({ host, id: options.id, carried });
  host.attached.add(`agent_run ${options.id}`);
  warnOfUnattached(host, options);
  guarded(host, () => warnOfTitles(options), undefined);
  const { inputProcessors: inputs = [], outputProcessors: outputs = [] } = options;
  return {
    ...options,
    [IS_ATTACHED]: true,
    model: noted(options.model),
    ...(options.tools !== undefined && { tools: guardedTools(options.tools, guard) }),
    // Last of all before the model, first after it: what another processor stops has not been asked for.
    inputProcessors:
      typeof inputs === 'function'
        ? async (context) => [...(await inputs(context)).map(overheard), processor]
        : [...inputs.map(overheard), processor],
    outputProcessors:
      typeof outputs === 'function'
        ? async (context) => [processor, ...(await outputs(context)).map(overheard)]
        : [processor, ...outputs.map(overheard)],
    hooks: guard.hooks(options.hooks),
  };
}

/** The agent's own tools, or the function that gives them. */
function guardedTools(tools: unknown, guard: Guard): unknown {
  if (typeof tools !== 'function') return typeof tools === 'object' && tools !== null ? guard.tools(tools) : tools;
  const give = tools as (...args: readonly unknown[]) => unknown;
  return async (...args: readonly unknown[]) => guardedTools(await give(...args), guard);
}

function warnOfUnattached(host: Host, { id, agents }: AttachableOptions): void {
  const known = typeof agents === 'object' && agents !== null ? (Object.values(agents) as readonly { readonly id?: unknown }[]) : [];
  const loose = known.map((agent) => String(agent.id)).filter((agentId) => !host.attached.has(`agent_run ${agentId}`));
  if (loose.length === 0) return;
  process.emitWarning(
    `The agent "${id}" hands over to ${loose.map((agentId) => `"${agentId}"`).join(', ')}, not attached: what is done there is neither asked for nor counted. Make them with withRunpurse(…) too.`,
    'RunpurseWarning',
  );
}

/** Mastra calls a title's model, the agent's own too, past everything that stands around the agent. */
function warnOfTitles({ id, memory }: AttachableOptions): void {
  const { getMergedThreadConfig: read } = (memory ?? {}) as { readonly getMergedThreadConfig?: () => { readonly generateTitle?: unknown } };
  const title = typeof read === 'function' ? read.call(memory).generateTitle : undefined;
  if (title === undefined || title === false) return;
  process.emitWarning(
    `The memory of the agent "${id}" makes titles (generateTitle): the model calls for them are neither asked for nor counted in its runs. Leave it out, or give it a model at the gateway, where they are runs of their own.`,
    'RunpurseWarning',
  );
}

/** Notes where a provider's models send their requests, before Mastra wraps and hides them. */
function noted(model: unknown): unknown {
  if (typeof model === 'function') {
    const resolve = model as (...args: readonly unknown[]) => unknown;
    return async (...args: readonly unknown[]) => noted(await resolve(...args));
  }
  if (Array.isArray(model)) return model.map((each: { readonly model: unknown }) => ({ ...each, model: noted(each.model) }));
  noteEndpoint(model);
  return model;
}

/** What `agent.generate`, `agent.stream`, `agent.network` and a workflow's `run.stream` give. */
interface Output {
  readonly _waitUntilFinished?: () => Promise<void>;
  readonly result?: unknown;
  readonly finishReason?: unknown;
  readonly status?: unknown;
  readonly error?: unknown;
  readonly tripwire?: { readonly reason: string } | undefined;
}

async function untilOver<Result>(live: Live, work: () => Result | PromiseLike<Result>): Promise<Result> {
  try {
    const result = await frames.run({ live, place: {} }, work);
    const output: Output = typeof result === 'object' && result !== null ? result : {};
    const settled = output._waitUntilFinished?.() ?? (isPromise(output.result) ? output.result.catch(() => {}) : undefined);
    if (settled !== undefined) void settled.then(async () => endWith(live, await saidBy(output)));
    // Of a part of an output, such as its text, nothing else tells the end.
    else if (!(result instanceof ReadableStream) || result.locked) await endWith(live, output);
    else return watched(result, (failure) => (failure === undefined ? endWhenIdle(live) : failed(live, failure.error))) as Result;
    return result;
  } catch (error) {
    await failed(live, error);
    throw error;
  }
}

async function failed(live: Live, error: unknown): Promise<void> {
  await endRun(live, isCancellation(error, undefined) ? { type: 'stopped' } : { type: 'failed', error });
}

function isPromise(value: unknown): value is Promise<unknown> {
  return value instanceof Promise;
}

/** What a stream that has ended tells, some of it as promises. */
async function saidBy(stream: Output): Promise<Output> {
  const { tripwire, error } = stream;
  const [finishReason, status] = await Promise.all([stream.finishReason, stream.status]).catch(() => [undefined, 'failed']);
  return { tripwire, error, finishReason, status };
}

/** Mastra's results tell of a refusal, an error or a cancel without throwing it. */
async function endWith(live: Live, { tripwire, error, finishReason, status }: Output): Promise<void> {
  if (tripwire !== undefined) return endRun(live, { type: 'failed', error: failureSaid(live, tripwire.reason) });
  if (error !== undefined) return endRun(live, { type: 'failed', error });
  if (finishReason === 'aborted' || status === 'canceled') return endRun(live, { type: 'stopped' });
  if (status === 'failed') return endRun(live, { type: 'failed', error: live.failure?.error ?? 'failed' });
  return endWhenIdle(live);
}

function warn(fault: unknown): void {
  console.warn('Runpurse: a fault in the Mastra adapter, your run goes on.', fault);
}
