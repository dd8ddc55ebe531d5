import { RunpurseError, type Step as OpenStep } from '@runpurse/core';
import type { PublicSchema } from '@mastra/core/schema';
import {
  createStep,
  type DefaultEngineType,
  type Step,
  type WorkflowFinishCallbackResult,
  type WorkflowOptions,
  type WorkflowStartCallbackInfo,
} from '@mastra/core/workflows';
import { endRun, frameNow, frames, guarded, linkTrace, makeLive, obstacleOf, type Host, type Live, type Place } from './live.ts';
import { contextOf, type Context } from './translate.ts';

/** One run of a workflow while it lasts, from its first step to its last, suspensions included. */
interface Flow {
  readonly live: Live;
  readonly place: Place;
  readonly isOwner: boolean;
}

/** The parts of what Mastra hands to a step that are looked at. */
export interface StepParams {
  readonly runId: string;
  readonly workflowId: string;
  readonly requestContext?: Context | undefined;
  readonly inputData?: unknown;
  readonly tracingContext?: { readonly currentSpan?: { readonly traceId: string } | undefined } | undefined;
  suspend?(...args: readonly never[]): unknown;
}
export interface StepLike {
  readonly id: string;
  execute(params: never): unknown;
}

/** A step that hands on what it is given, or does not. */
export type Gate<Data> = Step<string, unknown, Data, Data, unknown, unknown, DefaultEngineType>;

export interface GateOptions<Data> {
  /** What the step is called, in the workflow and in policies. */
  readonly id: string;
  /** Of what passes through: a gate hands on what it is given. */
  readonly schema: PublicSchema<Data>;
  /** Ask for this tool, its policy and its price, instead of asking whether the run may go on. */
  readonly tool?: string | undefined;
  /** What happens when the gateway says no. Default: the error is thrown, and the workflow fails. It may `bail(…)` or `suspend(…)`. */
  readonly refused?: ((refusal: RunpurseError, params: GateParams) => unknown) | undefined;
}
export interface GateParams extends StepParams {
  bail(result: unknown): unknown;
  suspend(payload?: unknown): unknown;
}

export interface Workflows {
  attach<Options extends WorkflowLike>(options: Options): Options;
  step<Shown extends StepLike>(step: Shown): Shown;
  gate<Data>(options: GateOptions<Data>): Gate<Data>;
}

/** The parts of `createWorkflow`'s options that are looked at. */
export interface WorkflowLike {
  readonly id: string;
  readonly options?: WorkflowOptions;
}

/** A workflow's run is one of ours: begun before its first step, ended however it ends. Its steps are told from inside. */
export function workflowsOf(host: Host): Workflows {
  /** Runs of workflows by their own id: a nested workflow shares its run's id with the one around it. */
  const flows = new Map<string, Flow>();
  const keyOf = ({ workflowId, runId }: Pick<StepParams, 'workflowId' | 'runId'>): string => `${workflowId}\n${runId}`;
  /** Steps that wait to be resumed. */
  const suspended = new Map<string, OpenStep>();

  async function begin(info: StepParams): Promise<Flow> {
    const { runId, workflowId, requestContext } = info;
    const around = frameNow();
    const stated = { runId, name: workflowId, workflowId, ...host.defaults, ...contextOf(requestContext) };
    const flow: Flow = {
      live: around?.live ?? makeLive(host, host.client.run(stated)),
      place: around?.place ?? {},
      isOwner: around === undefined,
    };
    const obstacle = obstacleOf(await flow.live.run.start());
    if (obstacle !== undefined) throw obstacle;
    flows.set(keyOf(info), flow);
    return flow;
  }

  /** The run around a step: of the step or tool it is inside of, or its workflow's. One begun in another process goes on here. */
  async function flowFor(params: StepParams): Promise<Omit<Flow, 'isOwner'> | undefined> {
    return frameNow() ?? flows.get(keyOf(params)) ?? (host.attached.has(`workflow_run ${params.workflowId}`) ? begin(params) : undefined);
  }

  async function end(result: WorkflowFinishCallbackResult): Promise<void> {
    const { status, error, tripwire } = result;
    const flow = flows.get(keyOf(result));
    if (flow === undefined || PENDING.has(status)) return;
    flows.delete(keyOf(result));
    if (!flow.isOwner) return;
    if (status === 'canceled') return endRun(flow.live, { type: 'stopped' });
    if (status === 'failed' || status === 'tripwire')
      return endRun(flow.live, { type: 'failed', error: tripwire?.reason ?? error?.message ?? 'failed' });
    return endRun(flow.live, { type: 'completed' });
  }

  return {
    attach(options) {
      host.attached.add(`workflow_run ${options.id}`);
      const { options: theirs } = options;
      const onStart = async (info: WorkflowStartCallbackInfo): Promise<void> => {
        await theirs?.onStart?.(info);
        await begin(info);
      };
      const onFinish = async (result: WorkflowFinishCallbackResult): Promise<void> => {
        try {
          await theirs?.onFinish?.(result);
        } finally {
          await end(result);
        }
      };
      return { ...options, options: { ...theirs, onStart, onFinish } };
    },

    step: (step) =>
      replaced(step, async (params: StepParams) => {
        const flow = await flowFor(params);
        if (flow === undefined) return step.execute(params as never);
        const { live, place } = flow;
        guarded(host, () => linkTrace(live, params.tracingContext?.currentSpan?.traceId), undefined);
        const key = `${keyOf(params)}\n${step.id}`;
        const open = suspended.get(key) ?? live.run.step({ name: step.id, kind: 'planning', ...place });
        suspended.delete(key);
        const suspend = (...args: readonly never[]): unknown => {
          suspended.set(key, open);
          return params.suspend?.(...args);
        };
        try {
          const inside = { live, place: { agentId: place.agentId, parentStepId: open.stepId } };
          const output = await frames.run(inside, () => step.execute({ ...params, suspend } as never));
          if (!suspended.has(key)) open.complete();
          return output;
        } catch (error) {
          open.fail(error);
          throw error;
        }
      }),

    gate<Data>({ id, schema, tool, refused }: GateOptions<Data>) {
      const execute = async (params: GateParams): Promise<unknown> => {
        const flow = await flowFor(params);
        if (flow === undefined)
          throw new RunpurseError(
            'invalid_option',
            `The gate "${id}" stands in a workflow that is not attached: createWorkflow(withWorkflow({ … })).`,
          );
        const obstacle = await (tool === undefined ? askStep(flow, id) : askTool(flow, tool, params.inputData));
        if (obstacle === undefined) return params.inputData;
        if (refused === undefined) throw obstacle;
        return refused(obstacle, params);
      };
      return createStep({ id, inputSchema: schema, outputSchema: schema, execute } as never) as unknown as Gate<Data>;
    },
  };
}

/** States that a workflow's run goes on from. */
const PENDING: ReadonlySet<string> = new Set(['suspended', 'waiting', 'paused', 'pending', 'running']);

/** Whether the run may go on with this step: by its policies, and because nobody stopped or paused it. */
async function askStep({ live: { host, run }, place }: Omit<Flow, 'isOwner'>, name: string): Promise<RunpurseError | undefined> {
  const { runId, sessionId, workflowId, customerId, agentId } = run.context;
  const event = {
    run_id: runId,
    session_id: sessionId,
    workflow_id: workflowId,
    customer_id: customerId,
    agent_id: place.agentId ?? agentId,
    step_id: crypto.randomUUID(),
    parent_step_id: place.parentStepId,
    name,
    step_kind: 'checkpoint',
    step_source: 'runtime',
    step_confidence: 'high',
  } as const;
  const obstacle = obstacleOf(await host.client.ask({ ...event, type: 'step.started', event_phase: 'before', policy_stage: 'pre_action' }));
  if (obstacle === undefined) run.record({ ...event, type: 'step.completed', event_phase: 'after', policy_stage: 'post_action' });
  return obstacle;
}

async function askTool({ live: { run }, place }: Omit<Flow, 'isOwner'>, tool: string, input: unknown): Promise<RunpurseError | undefined> {
  const toolCallId = crypto.randomUUID();
  const obstacle = obstacleOf(await run.authorizeTool({ ...place, tool, toolCallId, stepId: toolCallId, input }));
  if (obstacle === undefined) run.settleTool({ toolCallId, status: 'completed' });
  return obstacle;
}

/** A step, or a workflow used as one, that is the same but for how it executes. */
function replaced<Shown extends StepLike>(step: Shown, execute: (params: StepParams) => unknown): Shown {
  return new Proxy(step, {
    get(target, key) {
      if (key === 'execute') return execute;
      const value: unknown = Reflect.get(target, key, target);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
}
