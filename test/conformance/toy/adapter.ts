import { orThrow, refusalOf, usageOfTotals, type ReportedUsage, type Run } from '@runpurse/core';
import { ToyToolDenied, type ToyHooks, type ToyPlace } from './agent.ts';
import { ToyModelError, type ToyReply, type ToyUsage } from './model.ts';

/**
 * The adapter: hangs a run on the toy framework's hooks. Copy this file for a new framework.
 * `carried`: the framework's model client points at the gateway.
 */
export function runpurseHooks(run: Run, { carried }: { readonly carried: boolean }): ToyHooks {
  return {
    async beforeRun() {
      orThrow(await run.start());
    },

    async afterRun({ error }) {
      if (error === undefined) return run.end({ status: 'completed' });
      await run.end({ status: isAbort(error) ? 'stopped' : 'failed', reason: error instanceof Error ? error.message : String(error) });
    },

    async beforeModel(at, { model, maxTokens, inputBytes }) {
      orThrow(await run.authorizeModel({ ...callPlace(at), model, maxOutputTokens: maxTokens, inputTokensMax: inputBytes, carried }));
      return carried ? run.headers(callPlace(at)) : {};
    },

    async afterModel(at, { model, reply, error }) {
      // The gateway refused this carried call: it was not made, so there is nothing to report.
      if (refusalOf(error) !== undefined) return;
      run.recordModel({
        ...callPlace(at),
        model: reply?.model ?? model,
        usage: usageOf(reply, error),
        error,
        status: isAbort(error) ? 'aborted' : undefined,
        carried,
      });
    },

    async beforeTool(at, { tool, args }) {
      const decision = await run.authorizeTool({ ...callPlace(at), tool, toolCallId: at.id, input: args });
      if (decision.type === 'denied') throw new ToyToolDenied(decision.refusal.message);
      orThrow(decision);
    },

    async afterTool(at, { error }) {
      run.settleTool({ toolCallId: at.id, status: error === undefined ? 'completed' : 'failed', error });
    },
  };
}

/** Each call is a step of its own, inside the tool call (a nested agent's) around it. */
function callPlace(at: ToyPlace) {
  return { stepId: at.id, parentStepId: at.parentId, agentId: at.agent, attempt: at.attempt };
}

/** By name: the error of an aborted fetch need not come from this realm. */
function isAbort(error: unknown): boolean {
  return typeof error === 'object' && error !== null && 'name' in error && error.name === 'AbortError';
}

/** A provider that answered with an error made nothing; what a lost or broken answer used is unknown, never 0. */
function usageOf(reply: ToyReply | undefined, error: unknown): ReportedUsage | undefined {
  if (error instanceof ToyModelError) return { input_tokens: 0, output_tokens: 0 };
  return reply?.usage === undefined ? undefined : disjoint(reply.usage);
}

/** OpenAI's totals contain their parts; what is reported is in disjoint classes. */
function disjoint(usage: ToyUsage): ReportedUsage | undefined {
  return usageOfTotals({
    input: usage.prompt_tokens,
    cacheRead: usage.prompt_tokens_details?.cached_tokens,
    output: usage.completion_tokens,
    reasoning: usage.completion_tokens_details?.reasoning_tokens,
  });
}
