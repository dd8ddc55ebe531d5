import { TripWire } from '@mastra/core/agent';
import type { Processor } from '@mastra/core/processors';
import { isAtGateway, RunpurseError } from '@runpurse/core';
import { endWhenIdle, noteTask, toldOf } from './background.ts';
import { beginExecution, conclude, failExecution, watchAbort, type AttachedAgent, type Execution } from './execution.ts';
import { endRun, guarded, linkTrace, tripwireOf, type RunpurseTripwire } from './live.ts';
import { announced, isAnswering, meter, type ModelStep } from './model.ts';
import { guardOf, marksMade, settleStranger, type ExecutionFor, type Guard } from './tools.ts';
import { endpointOf, type Context } from './translate.ts';

/** Where an execution is kept: in the state that Mastra hands to all of a processor's methods, and to nobody else. */
const EXECUTION = Symbol.for('runpurse.mastra.execution');
const executionIn = (state: object): Execution | undefined => (state as { [EXECUTION]?: Execution })[EXECUTION];

/** Executions by their list of messages, which the other processors of an agent see too. */
const executions = new WeakMap<object, Execution>();

/** What stands between an agent and its models and tools: asks before each step, and tells how the run ended. */
export interface Attachment {
  readonly processor: Processor<'runpurse', RunpurseTripwire>;
  readonly guard: Guard;
}

export function attachmentOf(agent: AttachedAgent): Attachment {
  const { host } = agent;
  /** Executions that go on under another RequestContext than they began with: their next step has no state yet. */
  const resumed = new WeakMap<object, Execution>();

  const executionFor: ExecutionFor = async ({ requestContext }, known) => {
    // What outlives its run is refused by the gateway; only what is resumed may begin another.
    if (known !== undefined && (requestContext === undefined || requestContext === known.context)) return known;
    const last = known ?? (requestContext && resumed.get(requestContext));
    const execution = last?.live.isEnded === false ? last : await beginExecution(agent, requestContext as Context | undefined);
    if (requestContext !== undefined) resumed.set(requestContext, execution);
    return execution;
  };
  const guard = guardOf(executionFor);
  /** Executions by Mastra's id of their run, which each part of their streams bears: what resumes one bears it before its next step. */
  const byRun = new Map<string, WeakRef<Execution>>();

  /** A part that a tool writes into the stream itself bears none. */
  function noteRun(execution: Execution, runId: string | undefined): void {
    if (runId === undefined || byRun.get(runId)?.deref() === execution) return;
    byRun.set(runId, new WeakRef(execution));
    execution.live.atEnd.push(() => {
      if (byRun.get(runId)?.deref() === execution) byRun.delete(runId);
    });
  }

  function resumedOf(runId: string | undefined): Execution | undefined {
    const execution = byRun.get(runId ?? '')?.deref();
    return execution?.live.isEnded === false ? execution : undefined;
  }

  function taken(requestContext: object | undefined): Execution | undefined {
    const execution = requestContext && resumed.get(requestContext);
    if (requestContext !== undefined) resumed.delete(requestContext);
    return execution?.live.isEnded === false ? execution : undefined;
  }

  const processor: Attachment['processor'] = {
    id: 'runpurse',
    name: 'Runpurse',

    async processInputStep({
      state,
      requestContext,
      model,
      tools,
      structuredOutput,
      abortSignal,
      abort,
      messages,
      messageList,
      stepNumber,
      systemMessages,
      tracingContext,
    }) {
      const known = executionIn(state) ?? taken(requestContext);
      const execution =
        // What is resumed has a step behind it; another call may only share its RequestContext.
        (executionIn(state) === undefined && stepNumber === 0 ? undefined : known) ??
        (await begun(
          requestContext,
          { sessionId: threadOf(messages), told: guarded(host, () => toldOf(host, systemMessages), undefined) },
          abort,
        ));
      Object.assign(state, { [EXECUTION]: execution });
      executions.set(messageList, execution);
      execution.isLegacy = (model as { readonly specificationVersion?: string } | undefined)?.specificationVersion === 'v1';
      if (structuredOutput?.model !== undefined) warnOnce(agent.id, STRUCTURED);
      watchAbort(execution, abortSignal);
      guarded(host, () => linkTrace(execution.live, tracingContext?.currentSpan?.traceId), undefined);
      return tools === undefined ? {} : { tools: guarded(host, () => guard.tools(tools, execution), tools) };
    },

    processLLMRequest({ state, model, prompt }) {
      const execution = executionIn(state);
      if (execution === undefined) return undefined;
      return guarded(
        host,
        () => {
          const { step: last, live, place } = execution;
          const isCarried = agent.carried ?? isAtGateway(host.gateway, endpointOf(model));
          // The same step again, by an error processor or with a fallback model, is its retry.
          const isRetry = last?.hasFailed === true;
          // What the gateway carried and what it is only told of are steps of their own: it takes a step for one or the other.
          const isSameStep = isRetry && last.isCarried === isCarried;
          const step: ModelStep = {
            live,
            place,
            stepId: isSameStep ? last.stepId : crypto.randomUUID(),
            modelId: model.modelId,
            isCarried,
            strangers: execution.strangers,
            marksBefore: marksMade(),
            isOwners: execution.isOwner,
            tries: isRetry ? last.tries : 0,
            hasFailed: false,
          };
          execution.step = step;
          meter(model);
          return { prompt: announced(prompt, step) };
        },
        undefined,
      );
    },

    async processOutputStream({ state, part, abort }) {
      // What is resumed tells what became of its tool before its next step.
      const execution = executionIn(state) ?? resumedOf(part.runId);
      if (execution === undefined) return part;
      Object.assign(state, { [EXECUTION]: execution });
      noteRun(execution, part.runId);
      guarded(host, () => settleStranger(execution, part), undefined);
      guarded(host, () => noteTask(execution.live, part), undefined);
      const obstacle = execution.step?.obstacle;
      if (obstacle === undefined) return part;
      await failExecution(execution, obstacle);
      return abort(obstacle.message, { metadata: tripwireOf(execution.live.run.runId, obstacle) });
    },

    async processOutputResult({ state, result, messageList, requestContext }) {
      // `generateLegacy` has no state, and a call with `inputProcessors` of its own began at its first tool.
      const execution = executionIn(state) ?? executions.get(messageList) ?? taken(requestContext);
      if (execution?.step === undefined && result?.steps?.length > 0) warnOnce(agent.id, REPLACED);
      if (execution === undefined) return undefined as never;
      conclude(execution);
      if (execution.isOwner && !isAnswering(execution.live)) await finished(execution, result.finishReason);
      return undefined as never; // messages that are returned, even as they were, are put into the list again
    },
  };
  return { processor, guard };

  async function begun(context: Context | undefined, known: Parameters<typeof beginExecution>[2], abort: Abort): Promise<Execution> {
    try {
      return await beginExecution(agent, context, known);
    } catch (error) {
      const { runId } = error as { readonly runId?: string };
      if (runId === undefined || !RunpurseError.isInstance(error)) throw error; // a fault, such as a cap that can't be read
      return abort(error.message, { metadata: tripwireOf(runId, error) });
    }
  }
}

const REPLACED = 'replaced its inputProcessors, so its model calls were neither asked for nor counted. Give the processors to the agent.';
const STRUCTURED =
  'structures its output with a model of its own, whose calls are neither asked for nor counted in its run. Leave out structuredOutput.model.';

const warned = new Set<string>();
function warnOnce(agentId: string, what: string): void {
  if (warned.has(agentId + what)) return;
  warned.add(agentId + what);
  process.emitWarning(`A call of the agent "${agentId}" ${what}`, 'RunpurseWarning');
}

async function finished(execution: Execution, finishReason: string | undefined): Promise<void> {
  const { live, signal } = execution;
  // Of a tool that an abort made fail Mastra says that tools were called.
  if (finishReason === 'aborted' || (finishReason !== 'stop' && signal?.aborted === true)) return endRun(live, { type: 'stopped' });
  if (finishReason === 'error') return endRun(live, { type: 'failed', error: live.failure?.error ?? 'failed' });
  return endWhenIdle(live);
}

/** The thread of the agent's memory; the messages know it also where the RequestContext does not. */
function threadOf(messages: readonly { readonly threadId?: string | undefined }[]): string | undefined {
  return messages.findLast(({ threadId }) => threadId !== undefined)?.threadId;
}

type Abort = (reason: string, options: { readonly metadata: RunpurseTripwire }) => never;

const HOOKS = [
  'processInputStep',
  'processLLMRequest',
  'processLLMResponse',
  'processOutputStream',
  'processOutputStep',
  'processOutputResult',
  'processToolResult',
  'processAPIError',
] as const;

/**
 * Another processor of the agent, as it is, but for one thing: when it stops an execution (a tripwire, or a throw), Mastra
 * tells no processor of the end, so that is told from here.
 */
export function overheard<Other>(other: Other): Other {
  if (typeof other !== 'object' || other === null || !HOOKS.some((hook) => hook in other)) return other;
  return new Proxy(other, {
    get(target, key) {
      const value: unknown = Reflect.get(target, key, target);
      if (typeof value !== 'function') return value;
      const method = value.bind(target) as (...args: readonly unknown[]) => unknown;
      if (!HOOKS.some((hook) => hook === key)) return method;
      return async (args: { readonly messageList?: object }, ...rest: readonly unknown[]) => {
        try {
          return await method(args, ...rest);
        } catch (error) {
          const execution = args.messageList && executions.get(args.messageList);
          const goesOn = error instanceof TripWire && error.options.retry === true;
          if (execution !== undefined && !goesOn) await failExecution(execution, error);
          throw error;
        }
      };
    },
  });
}
