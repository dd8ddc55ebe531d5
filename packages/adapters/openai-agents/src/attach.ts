import {
  getDefaultModel,
  OpenAIProvider,
  Runner,
  RunState,
  setDefaultModelProvider,
  type Agent,
  type Model,
  type ModelProvider,
  type RunConfig,
  type TracingProcessor,
} from '@openai/agents';
import { isAtGateway, orThrow, RefusedError, RunpurseError, type GatewayClient } from '@runpurse/core';
import { createClient, type NodeClientOptions } from '@runpurse/core/axios';
import OpenAI from 'openai';
import { failed, MeteredModel, runpurseFetch } from './carry.ts';
import { attachHost, frames, liveHere, makeLive, statedInside, traceHere, type Host, type Live } from './live.ts';
import { agentsFrom, endTools, guardAll, guardState, type AgentLike, type Unguarded } from './tools.ts';
import { keepInTrace } from './traces.ts';
import { addProcessor, processor } from './tracing.ts';
import { endOf, isSameRun, runOf, thrown, waitingIn, type Failure, type RunpurseContext, type SdkRun } from './translate.ts';
import { warnOnce } from './warn.ts';

/** What belongs to no run in particular (`agentId`, `workflowId`, …) is the default of each run. */
export interface RunpurseOptions extends RunpurseContext, Pick<NodeClientOptions, 'failurePolicy' | 'dialect' | 'onProblem'> {
  /** The gateway's address. A model call sent there is carried; any other is authorized before and reported after. */
  readonly baseUrl: string;
  /** The virtual key. */
  readonly apiKey: string;
  /** A client of your own instead of one made from these options. */
  readonly client?: GatewayClient | undefined;
  /** Told about faults of this adapter, which the host never feels. Default: a warning on the console. */
  readonly onFault?: ((error: unknown) => void) | undefined;
}

/**
 * Attaches Runpurse to the whole process: models named by string go through the gateway, and `run()`, `withTrace()` and
 * runners made anywhere are runs. `runner()` of what it returns makes runners whose runs end in every case.
 */
export function attachRunpurse(options: RunpurseOptions): Runpurse {
  const runpurse = new Runpurse(options);
  setDefaultModelProvider(runpurse.models());
  return runpurse;
}

/** The attachment: makes runners and model providers, and reports what their runs do. One serves any number of runs. */
export class Runpurse implements Host {
  readonly client: GatewayClient;
  /** Already added, once for all attachments; only who replaces all processors with `setTraceProcessors` has to name it again. */
  readonly processor: TracingProcessor = processor;
  readonly #options: RunpurseOptions;
  readonly #defaults: RunpurseContext;

  constructor(options: RunpurseOptions) {
    const { baseUrl, apiKey, client, failurePolicy, dialect, onProblem, onFault: _onFault, ...defaults } = options;
    this.#options = options;
    this.#defaults = defaults;
    this.client =
      client ?? createClient({ source: 'openai_agents', baseUrl, apiKey, failurePolicy, dialect, ...(onProblem && { onProblem }) });
    addProcessor();
    attachHost(this);
  }

  /** A Runner whose every run is one of ours: begun before its first model call, ended however it ends. */
  runner(config: Partial<RunConfig> = {}): Runner {
    const provider = this.models(config.modelProvider);
    const model = typeof config.model === 'object' ? this.model(config.model, 'unknown') : config.model;
    const runner = new Runner({ ...config, modelProvider: provider, ...(model !== undefined && { model }) });
    const run = runner.run.bind(runner) as (agent: Agent<unknown>, ...rest: readonly unknown[]) => Promise<Result>;
    // Told for the run's own agents, with or without tracing; an agent behind a tool has its own frame.
    runner.on('agent_start', (_context, { name }) => {
      const frame = frames.getStore();
      if (frame !== undefined) frame.agentName = name;
    });
    // An agent that an `onInvokeHandoff` of the host's makes is known by this event only.
    runner.on('agent_handoff', (_context, _from, next) => this.#guardTools(() => guardAll(next)));
    const ours = async (agent: Agent<unknown>, ...rest: readonly unknown[]): Promise<Result> => {
      const [input] = rest;
      this.#guardTools(() => [...guardAll(agent), ...(input instanceof RunState ? guardState(input) : [])]);
      const trace = traceHere();
      const sdk = {
        workflowName: config.workflowName ?? trace?.name,
        groupId: config.groupId ?? trace?.groupId,
        agentName: agent.name,
      };
      return this.#run(sdk, input instanceof RunState, signalOf(rest[1]), () => {
        this.guard(() => {
          warnOfOwnModels(agent);
          for (const call of waitingIn(input)) liveHere()?.waitingTools.add(call);
        });
        return run(agent, ...rest);
      });
    };
    return Object.assign(runner, { run: ours as unknown as Runner['run'] });
  }

  /**
   * Models by name, metered. Without a source they are the gateway's; an OpenAI client is used as it points, and any other
   * provider is asked for before and reported after each call.
   */
  models(source: OpenAI | ModelProvider = this.#gatewayClient(), api?: 'chat_completions' | 'responses'): ModelProvider {
    const metered = new WeakMap<Model, Model>();
    const isCarried = isClient(source) && isAtGateway(this.#gateway, source.baseURL);
    const provider: ModelProvider = isClient(source) ? providerOf(source, api) : source;
    return {
      getModel: async (name) => {
        const model = await provider.getModel(name);
        const known = metered.get(model) ?? this.model(model, name || getDefaultModel(), isCarried);
        metered.set(model, known);
        return known;
      },
    };
  }

  /** A model object of your own, metered. Its name is what it is priced by before it has answered. */
  model(model: Model, name: string, isCarried = false): Model {
    return model instanceof MeteredModel ? model : new MeteredModel(model, name, this, isCarried);
  }

  /**
   * Everything inside states this of its runs: `runpurse.with({ customerId, limitUsd }, () => run(agent, input))`. Inside a run it
   * makes another one of what it names a cap, a run, session, customer or workflow for.
   */
  with<Result>(stated: RunpurseContext, work: () => Result): Result {
    const outer = frames.getStore();
    const here = liveHere();
    const isAnother = here !== undefined && !isSameRun(here.options, stated);
    return frames.run({ ...outer, stated: { ...(isAnother ? statedInside(outer?.stated) : outer?.stated), ...stated } }, work);
  }

  get isClosed(): boolean {
    return this.client.isClosed;
  }

  /** The run around a call, else the trace's, else one for this call alone. */
  liveFor(agentName: string | undefined): ReturnType<Host['liveFor']> {
    const here = liveHere();
    if (here !== undefined) return { live: here };
    const trace = traceHere();
    const live = this.#open({ agentName, ...(trace !== null && { workflowName: trace.name, groupId: trace.groupId }) });
    if (trace === null) return { live, endAfter: (failure) => this.end(live, failure) };
    keepInTrace(trace.traceId, live);
    return { live };
  }

  async end(live: Live, failure?: Failure, result?: Result): Promise<void> {
    const { run } = live;
    live.isEnded = true;
    for (const call of live.calls) this.guard(() => failed(call, thrown(new Error('its run ended first')), true));
    endTools(live);
    try {
      // Someone is asked for approval; the answer comes as another run of the session, so this one stays open.
      if (failure === undefined && (result?.interruptions?.length ?? 0) > 0) await run.pause('interrupted, waiting for an approval');
      else await run.end(endOf(failure));
    } catch (fault) {
      this.#report(fault);
    }
  }

  /** Faults of ours end here. */
  guard<Value>(work: () => Value): Value | undefined {
    try {
      return work();
    } catch (error) {
      this.#report(error);
      return undefined;
    }
  }

  insist([unguarded]: Unguarded): void {
    if (unguarded === undefined || this.#options.failurePolicy?.authorize !== 'closed') return;
    throw new RunpurseError('adapter_fault', `${unguarded} failurePolicy.authorize is "closed", so it does not run unasked.`);
  }

  /** What stays unguarded, by a fault of ours too, is let run unless the user wants it closed. */
  #guardTools(work: () => Unguarded): void {
    this.insist(this.guard(work) ?? ["The tools of an agent can't be guarded."]);
  }

  #report(fault: unknown): void {
    const { onFault } = this.#options;
    if (onFault === undefined) console.warn('Runpurse: a fault in the OpenAI Agents adapter, your run goes on.', fault);
    else onFault(fault);
  }

  #gatewayClient(): OpenAI {
    return new OpenAI({ baseURL: `${this.#gateway}/v1`, apiKey: this.#options.apiKey });
  }

  get #gateway(): string {
    return this.#options.baseUrl.replace(/\/+(?:v1\/*)?$/, '');
  }

  #open(sdk: SdkRun): Live {
    const options = runOf(sdk, this.#defaults, frames.getStore()?.stated);
    return makeLive(this.client.run(options), options, this, this.#gateway);
  }

  /** A run resumed under its own id: paused, it takes no call, and those that were approved would be told as denied. */
  async #refusePaused(): Promise<void> {
    const { runId } = { ...this.#defaults, ...frames.getStore()?.stated };
    // A gateway that can't say is asked again by the run's start, which knows the failure policy.
    const run = runId === undefined ? undefined : await this.client.readRun(runId).catch(() => undefined);
    if (run?.status !== 'paused') return;
    const message = `Run ${run.run_id} is paused. Resume it as another run, without its runId; to go on with it, first POST /v1/runs/${run.run_id}/resume.`;
    throw new RefusedError({ code: 'run_paused', message, details: { run_id: run.run_id, run_status: run.status } });
  }

  async #run(sdk: SdkRun, isResumed: boolean, signal: AbortSignal | undefined, work: () => Promise<Result>): Promise<Result> {
    // A runner used inside a run (in a tool, in a trace of the host's) is part of it while it lasts.
    if (liveHere()?.isEnded === false) return work();
    if (isResumed) await this.#refusePaused();
    const live = this.#open(sdk);
    orThrow(await live.run.start());
    const failure = (error: unknown): Failure => (signal?.aborted === true ? CANCELLED : thrown(error));
    return frames.run({ live, agentName: sdk.agentName, stated: statedInside(frames.getStore()?.stated) }, async () => {
      try {
        const result = await work();
        if (result.completed === undefined) await this.end(live, undefined, result);
        else
          void result.completed.then(
            () => this.end(live, failureIn(result), result),
            (error: unknown) => this.end(live, failure(error)),
          );
        return result;
      } catch (error) {
        await this.end(live, failure(error));
        throw error;
      }
    });
  }
}

/** What a run of either kind resolves to; a streamed one is completed later. */
interface Result {
  readonly completed?: Promise<void>;
  readonly error?: unknown;
  readonly cancelled?: boolean;
  readonly interruptions?: readonly unknown[];
}

/** A model object of the agent's own never asks the runner's provider: what is not metered must not go unnoticed. */
function warnOfOwnModels(agent: AgentLike): void {
  for (const { name, model } of agentsFrom(agent)) {
    if (typeof model !== 'object' || model instanceof MeteredModel) continue;
    warnOnce(
      `The agent "${name}" has a model object of its own: its calls are neither asked for nor counted. Name the model, or wrap it with runpurse.model(model, name).`,
    );
  }
}

const CANCELLED = thrown(new DOMException('cancelled', 'AbortError'));

/** A stream tells its end by itself; `undefined` thrown in it is not told. */
function failureIn({ cancelled, error }: Result): Failure | undefined {
  if (cancelled === true) return CANCELLED;
  return error === undefined || error === null ? undefined : thrown(error);
}

function isClient(source: OpenAI | ModelProvider): source is OpenAI {
  return !('getModel' in source);
}

/** OpenAI's models on this client, with our `fetch` before its own; which API is the SDK's setting unless stated. */
function providerOf(client: OpenAI, api: 'chat_completions' | 'responses' | undefined): OpenAIProvider {
  const { fetch: own } = client as unknown as { readonly fetch?: typeof fetch };
  return new OpenAIProvider({
    openAIClient: client.withOptions({ fetch: runpurseFetch(own) }),
    ...(api !== undefined && { useResponses: api === 'responses' }),
  });
}

function signalOf(options: unknown): AbortSignal | undefined {
  return (options as { readonly signal?: AbortSignal } | undefined)?.signal;
}
