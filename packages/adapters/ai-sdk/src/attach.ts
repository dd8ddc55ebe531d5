import { isAtGateway, orThrow, type GatewayClient, type Run, type RunOptions } from '@runpurse/core';
import { createClient, type NodeClientOptions } from '@runpurse/core/axios';
import { gateway as vercelGateway, wrapLanguageModel, type LanguageModel, type LanguageModelMiddleware, type ToolSet } from 'ai';
import { endRun, guarded, insideTool, type Live, type Place } from './live.ts';
import { middlewareOf } from './model.ts';
import { guardTools } from './tools.ts';
import { endpointOf, type Model } from './translate.ts';
import { untilOver } from './until-over.ts';

export interface RunpurseOptions extends Pick<NodeClientOptions, 'failurePolicy' | 'dialect' | 'onProblem'> {
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
   * Does work as one run. Throws RefusedError when the run may not begin; otherwise resolves and rejects as `work` does. The
   * run ends with it, or, when it returns what `streamText` returned, a `Response`, a stream or what else is iterated
   * (an async generator), when that has been read.
   */
  run<Result>(context: RunOptions, work: (run: AgentRun) => Result | PromiseLike<Result>): Promise<Result>;
}

/** A run, in the words of the AI SDK: what is given to `generateText`, `streamText` or an agent, to be part of it. */
export interface AgentRun {
  /** The run's handle: its id, `finance`, events of your own. */
  readonly handle: Run;
  /** The model, bounded and accounted for. `carried`: whether it goes through the gateway, for a model that hides its address. */
  model(model: LanguageModel, options?: { readonly carried?: boolean | undefined }): Model;
  /** What `model` wraps a model with, to place among middlewares of your own; last, next to the model. */
  middleware(options: { readonly carried: boolean }): LanguageModelMiddleware;
  /** The tools, each asked for before it runs. */
  tools<Tools extends ToolSet>(tools: Tools): Tools;
  /** Work of another agent in the same run. Inside a tool it stands in the tool's call; elsewhere it is a step of its own. */
  agent<Result>(name: string, work: (run: AgentRun) => Result | PromiseLike<Result>): Promise<Result>;
}

/** Attaches Runpurse to the AI SDK; one serves any number of runs at once. */
export function createRunpurse(options: RunpurseOptions): Runpurse {
  const { baseUrl, apiKey, failurePolicy, dialect, onProblem, onFault = warn } = options;
  const client =
    options.client ?? createClient({ source: 'ai-sdk', baseUrl, apiKey, failurePolicy, dialect, ...(onProblem && { onProblem }) });
  return {
    client,
    async run(context, work) {
      const run = client.run(context);
      orThrow(await run.start());
      const live: Live = { run, gateway: baseUrl, onFault, retries: new Map(), asking: 0, open: new Map() };
      return untilOver(
        () => work(scope(live, {})),
        (failure) => endRun(live, failure).catch(onFault),
      );
    },
  };
}

/** What a model of ours wraps, and what was said of its way: one that is wrapped again, by another agent perhaps, counts once. */
const wrappedBy = new WeakMap<object, { readonly model: Exclude<LanguageModel, string>; readonly carried: boolean | undefined }>();

function scope(live: Live, place: Place): AgentRun {
  return {
    handle: live.run,
    model(given, { carried } = {}) {
      const named = typeof given === 'string' ? languageModelOf(given) : given;
      const wrapped = wrappedBy.get(named);
      const own = { model: wrapped?.model ?? named, carried: carried ?? wrapped?.carried };
      const isCarried = own.carried ?? guarded(live, () => isAtGateway(live.gateway, endpointOf(own.model)), false);
      const model = wrapLanguageModel({ model: own.model, middleware: middlewareOf(live, place, isCarried) });
      wrappedBy.set(model, own);
      return model;
    },
    middleware: ({ carried }) => middlewareOf(live, place, carried),
    tools: (tools) => guardTools(live, place, tools),
    agent(name, work) {
      const tool = insideTool.getStore();
      if (tool?.live === live)
        return untilOver(
          () => work(scope(live, { ...tool.place, agentId: name })),
          () => {},
        );
      const step = live.run.step({ name, kind: 'handoff', agentId: name, parentStepId: place.parentStepId });
      return untilOver(
        () => work(scope(live, { agentId: name, parentStepId: step.stepId })),
        (failure) => (failure === undefined ? step.complete() : step.fail(failure.error)),
      );
    },
  };
}

/** A model named by a string is the default provider's, as the SDK reads it. */
function languageModelOf(id: string): Exclude<LanguageModel, string> {
  return (globalThis.AI_SDK_DEFAULT_PROVIDER ?? vercelGateway).languageModel(id);
}

function warn(fault: unknown): void {
  console.warn('Runpurse: a fault in the AI SDK adapter, your run goes on.', fault);
}
