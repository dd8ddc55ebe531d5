import { isDeepStrictEqual } from 'node:util';
import { RefusedError, RunpurseError, usableId, type Step as OpenStep } from '@runpurse/core';
import type { PublicSchema } from '@mastra/core/schema';
import {
  createStep,
  type DefaultEngineType,
  type Step,
  type WorkflowFinishCallbackResult,
  type WorkflowOptions,
  type WorkflowStartCallbackInfo,
} from '@mastra/core/workflows';
import { endWhenIdle } from './background.ts';
import {
  beginPart,
  endOnAbort,
  endRun,
  failureSaid,
  frameNow,
  frames,
  guarded,
  linkTrace,
  obstacleOf,
  type HeldStep,
  type Host,
  type Live,
  type Part,
} from './live.ts';
import { contextOf, type Context } from './translate.ts';

/** The parts of what Mastra hands to a step that are looked at. */
export interface StepParams {
  readonly runId: string;
  readonly workflowId: string;
  readonly requestContext?: Context | undefined;
  readonly inputData?: unknown;
  /** Knows the run's id also where `runId` is made up: for a nested workflow in a `foreach`. */
  readonly writer?: { readonly runId?: string | undefined } | undefined;
  readonly resumeData?: unknown;
  /** Given to a step that was suspended, in whatever process, and no model can write it; in a `foreach` to its fresh items too. */
  readonly resume?: { readonly forEachIndex?: number | undefined } | undefined;
  readonly retryCount?: number | undefined;
  readonly tracingContext?: { readonly currentSpan?: { readonly traceId: string } | undefined } | undefined;
  readonly abortSignal?: AbortSignal | undefined;
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
  /** Runs of workflows while they last, suspensions included, by their own id: a nested one shares its run's id with the one around it. */
  const flows = new Map<string, Flow>();
  const keyOf = (info: Pick<StepParams, 'workflowId' | 'runId' | 'writer'>): string => `${info.workflowId}\n${runIdOf(info)}`;

  async function begin(info: StepParams): Promise<Part> {
    const key = keyOf(info);
    const flow = flows.get(key) ?? { beginning: begun(host, info), underWay: 0 };
    flow.underWay += 1;
    flows.set(key, flow); // at once: steps that run in parallel begin one run
    const forget = (): void => {
      if (flows.get(key) === flow) flows.delete(key);
    };
    try {
      const part = await flow.beginning;
      part.live.atEnd.push(forget);
      return part;
    } catch (error) {
      forget();
      throw error;
    }
  }

  /** The run around a step: of the step or tool it is inside of, its workflow's, or of one around that. One begun in another process goes on here. */
  async function flowFor(params: StepParams): Promise<Part | undefined> {
    const around = frameNow(host);
    if (around !== undefined) return { ...around, isOwner: false };
    const flow = flows.get(keyOf(params));
    if (flow !== undefined) return flow.beginning;
    const live = host.runs.get(usableId(contextOf(params.requestContext).runId ?? runIdOf(params)) ?? '');
    if (live !== undefined) return { live, place: {}, isOwner: false };
    return host.attached.has(`workflow_run ${params.workflowId}`) ? begin(params) : undefined;
  }

  async function end(result: WorkflowFinishCallbackResult): Promise<void> {
    const { status, error, tripwire } = result;
    const flow = flows.get(keyOf(result));
    if (flow === undefined) return;
    flow.underWay = Math.max(0, flow.underWay - 1); // what is resumed was not counted again
    if (flow.underWay > 0 || PENDING.has(status)) return;
    flows.delete(keyOf(result));
    const { live, isOwner } = await flow.beginning;
    if (!isOwner) return;
    if (status === 'canceled') return endRun(live, { type: 'stopped' });
    if (status === 'failed' || status === 'tripwire')
      return endRun(live, { type: 'failed', error: failureSaid(live, tripwire?.reason ?? error?.message ?? 'failed') });
    return endWhenIdle(live);
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
        const held = live.heldSteps.get(key) ?? { waiting: new Map<OpenStep, unknown>(), isAskedHere: false };
        live.heldSteps.set(key, held);
        const { waiting } = held;
        const open = takenUp(held, params) ?? (await opened(flow, step, params, held));
        live.open.set(open, () => open.fail(new Error('its run ended first')));
        const suspend = (...args: readonly never[]): unknown => {
          waiting.set(open, params.inputData);
          endIfCancelled(flow, params);
          return params.suspend?.(...args);
        };
        const isOver = (): boolean => !waiting.has(open) && live.open.delete(open);
        try {
          const inside = { live, place: { agentId: place.agentId, parentStepId: open.stepId } };
          const output = await frames.run(inside, () => step.execute({ ...params, suspend } as never));
          if (isOver()) open.complete();
          return output;
        } catch (error) {
          if (isOver()) open.fail(error);
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
        const asked = tool === undefined ? askStep(flow, id) : openTool(flow, tool, params.inputData).then((open) => open.complete());
        const obstacle = await asked.catch((error: unknown) => error as RunpurseError);
        if (obstacle === undefined) return params.inputData;
        let isDecided = false;
        const deciding =
          <Args extends readonly unknown[]>(decide: (...args: Args) => unknown) =>
          (...args: Args): unknown => {
            isDecided = true;
            return decide(...args);
          };
        const suspend = (payload?: unknown): unknown => {
          endIfCancelled(flow, params);
          return params.suspend(payload);
        };
        const instead = await refused?.(obstacle, { ...params, bail: deciding(params.bail), suspend: deciding(suspend) });
        if (instead === undefined && !isDecided) throw obstacle; // it was only told of it
        return instead;
      };
      // Asked once: what is refused stays refused.
      return createStep({ id, inputSchema: schema, outputSchema: schema, retries: 0, execute } as never) as unknown as Gate<Data>;
    },
  };
}

/** A workflow's run: Mastra lets it be started several times at once, under its one id. */
interface Flow {
  readonly beginning: Promise<Part>;
  underWay: number;
}

/** States that a workflow's run goes on from. */
const PENDING: ReadonlySet<string> = new Set(['suspended', 'waiting', 'paused', 'pending', 'running']);

/** A workflow that is cancelled while it waits to be resumed says so to nobody: its signal tells. */
function endIfCancelled({ live, isOwner }: Part, { abortSignal }: StepParams): void {
  if (isOwner && abortSignal !== undefined) endOnAbort(live, abortSignal, 0);
}

function runIdOf({ runId, writer }: Pick<StepParams, 'runId' | 'writer'>): string {
  return writer?.runId ?? runId;
}

/** Begins a workflow's run. Mastra repeats one (`timeTravel`, another `start`) under its id: here that is a run of another id. */
async function begun(host: Host, info: StepParams): Promise<Part> {
  const { workflowId, requestContext } = info;
  const runId = runIdOf(info);
  const stated = contextOf(requestContext);
  const options = { name: workflowId, workflowId, ...host.defaults, ...stated };
  const key = usableId(runId) ?? '';
  if (stated.runId !== undefined) return beginPart(host, options);
  try {
    // One that has ended may still last, for what goes on in its background.
    if (host.runs.get(key)?.background.isAnswered !== true) return await beginPart(host, { runId, ...options });
  } catch (error) {
    if (!isOver(error)) throw error;
  }
  const again = await beginPart(host, options);
  host.runs.set(key, again.live); // nested workflows know Mastra's id only
  again.live.atEnd.push(() => host.runs.delete(key));
  return again;
}

/** Whether a run may not begin because it has ended by itself: one that somebody stopped stays stopped. */
function isOver(error: unknown): boolean {
  if (!RefusedError.isInstance(error) || error.refusal.code !== 'run_ended') return false;
  return ['completed', 'failed'].includes(String(error.refusal.details?.['run_status']));
}

/**
 * The call that is resumed, of those of its step that wait. Items of a `foreach` are told apart by what they are given; a step
 * alone may be given something else by `timeTravel`.
 */
function takenUp({ waiting }: HeldStep, { inputData, resumeData, resume }: StepParams): OpenStep | undefined {
  const own = [...waiting].find(([, given]) => isDeepStrictEqual(asKept(given), asKept(inputData)));
  const isAlone = resumeData !== undefined && resume?.forEachIndex === undefined;
  const [open] = own ?? (isAlone ? [...waiting][0] : undefined) ?? [];
  if (open !== undefined) waiting.delete(open);
  return open;
}

/** As a storage keeps it, which is as JSON: without what is undefined, and dates as texts. */
function asKept(value: unknown): unknown {
  try {
    return JSON.parse(JSON.stringify(value) ?? 'null') as unknown;
  } catch {
    return value; // then no storage kept it
  }
}

/** Begins a step. One that is a tool is a tool call, and asked for; throws when it must not run. */
async function opened(flow: Part, step: StepLike, params: StepParams, held: HeldStep): Promise<OpenStep> {
  const { __toolRef: tool } = step as { readonly __toolRef?: { readonly id: string } };
  const { live, place } = flow;
  if (tool === undefined) return live.run.step({ name: step.id, kind: 'planning', ...place });
  if (!held.isAskedHere && wasSuspended(params)) return { stepId: crypto.randomUUID(), complete: () => {}, fail: () => {} };
  held.isAskedHere = true;
  return openTool(flow, tool.id, params.inputData);
}

/** Whether a call goes on that another process asked for, and is charged at its hold, if none was asked for in this one. A retry of it does not. */
function wasSuspended({ resumeData, resume, retryCount = 0 }: StepParams): boolean {
  return resumeData !== undefined && resume !== undefined && retryCount === 0;
}

/** Asks whether the run may go on with this step: by its policies, and because nobody stopped or paused it. Throws when it may not. */
async function askStep({ live, place }: Part, name: string): Promise<void> {
  const { host, run } = live;
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
  if (obstacle !== undefined) throw noted(live, obstacle);
  run.record({ ...event, type: 'step.completed', event_phase: 'after', policy_stage: 'post_action' });
}

async function openTool({ live, place }: Part, tool: string, input: unknown): Promise<OpenStep> {
  const { run } = live;
  const toolCallId = crypto.randomUUID();
  const obstacle = obstacleOf(await run.authorizeTool({ ...place, tool, toolCallId, stepId: toolCallId, input }));
  if (obstacle !== undefined) throw noted(live, obstacle);
  return {
    stepId: toolCallId,
    complete: () => run.settleTool({ toolCallId, status: 'completed' }),
    fail: (error) => run.settleTool({ toolCallId, status: 'failed', error }),
  };
}

/** Keeps why a step may not run: of one that fails Mastra tells the message alone. */
function noted(live: Live, obstacle: RunpurseError): RunpurseError {
  live.failure = { error: obstacle };
  return obstacle;
}

/** By these Mastra tells a step that is an agent, a tool or a classifier, and then runs that past the step. */
const PAST_THE_STEP: ReadonlySet<unknown> = new Set(['__agentRef', '__toolRef', '__classifierRef']);

/** A step, or a workflow used as one, that is the same but for how it executes. */
function replaced<Shown extends StepLike>(step: Shown, execute: (params: StepParams) => unknown): Shown {
  return new Proxy(step, {
    get(target, key) {
      if (key === 'execute') return execute;
      if (PAST_THE_STEP.has(key)) return undefined;
      const value: unknown = Reflect.get(target, key, target);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
}
