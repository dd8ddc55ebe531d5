import { GatewayUnavailableError, RefusedError } from '@runpurse/core';
import type { Mode } from '../harness.ts';
import { ToyToolDenied, type ToyHooks, type ToyPlace } from '../toy/agent.ts';
import type { Mutation } from '../toy/harness.ts';
import { ToyModelError } from '../toy/model.ts';

/** A mistake that a real adapter could make, put into the toy: it must make its scenario fail, and no other. */
export interface BrokenAdapter {
  /** The scenario that finds it out. */
  readonly scenario: string;
  readonly mistake: string;
  /** How its model calls travel; some mistakes exist in one mode only. */
  readonly mode: Mode;
  readonly mutate: Mutation;
}

export const BROKEN_ADAPTERS: readonly BrokenAdapter[] = [
  {
    scenario: 'plain-run',
    mistake: 'counts cached tokens as input once more',
    mode: 'direct',
    mutate: withReply((reply) => {
      const usage = reply.usage;
      const cached = usage?.prompt_tokens_details?.cached_tokens ?? 0;
      return usage === undefined ? reply : { ...reply, usage: { ...usage, prompt_tokens: usage.prompt_tokens + cached } };
    }),
  },
  {
    scenario: 'streamed',
    mistake: 'ends a streamed answer before the chunk with its usage',
    mode: 'direct',
    mutate: (hooks, play) =>
      play.stream
        ? withReply((reply) => (reply.message.tool_calls === undefined ? { ...reply, usage: undefined } : reply))(hooks, play)
        : hooks,
  },
  {
    scenario: 'nested-agent',
    mistake: 'forgets on the tools of a nested agent what they are inside of',
    mode: 'carried',
    mutate: (hooks) => ({ ...hooks, beforeTool: (at, call) => hooks.beforeTool({ ...at, parentId: undefined }, call) }),
  },
  {
    scenario: 'parallel-tools',
    mistake: 'remembers one tool under way, not several',
    mode: 'carried',
    mutate: (hooks) => {
      const last = new Map<string | undefined, ToyPlace>();
      return {
        ...hooks,
        beforeTool: (at, call) => {
          last.set(at.parentId, at);
          return hooks.beforeTool(at, call);
        },
        afterTool: (at, end) => hooks.afterTool(last.get(at.parentId) ?? at, end),
      };
    },
  },
  {
    scenario: 'tool-error',
    mistake: 'reports every tool as completed',
    mode: 'carried',
    mutate: (hooks) => ({ ...hooks, afterTool: (at) => hooks.afterTool(at, {}) }),
  },
  {
    scenario: 'model-error',
    mistake: 'does not report a model call that the provider refused',
    mode: 'direct',
    mutate: (hooks) => ({
      ...hooks,
      afterModel: async (at, end) => {
        if (end.error instanceof ToyModelError && end.error.status < 500) return;
        await hooks.afterModel(at, end);
      },
    }),
  },
  {
    scenario: 'retry',
    mistake: 'takes a retry for another call',
    mode: 'direct',
    mutate: (hooks) => {
      const another = (at: ToyPlace): ToyPlace => (at.attempt > 1 ? { ...at, id: `${at.id}-${at.attempt}`, attempt: 1 } : at);
      return {
        ...hooks,
        beforeModel: (at, call) => hooks.beforeModel(another(at), call),
        afterModel: (at, end) => hooks.afterModel(another(at), end),
      };
    },
  },
  {
    scenario: 'cancel',
    mistake: 'says nothing of a call that was cancelled',
    mode: 'direct',
    mutate: (hooks, { env }) => ({
      ...hooks,
      afterModel: async (at, end) => {
        if (!env.signal.aborted) await hooks.afterModel(at, end);
      },
    }),
  },
  {
    scenario: 'refused-before-start',
    mistake: 'does not wait for the answer to its first question',
    mode: 'direct',
    mutate: (hooks) => {
      let isFirst = true;
      return {
        ...hooks,
        beforeModel: async (at, call) => {
          const mayIgnore = isFirst;
          isFirst = false;
          return hooks.beforeModel(at, call).catch((error: unknown) => ignore(error, mayIgnore && RefusedError.isInstance(error)));
        },
      };
    },
  },
  {
    scenario: 'refused-mid-run',
    mistake: 'trusts a run once it was let in',
    mode: 'direct',
    mutate: (hooks) => {
      let wasLetIn = false;
      return {
        ...hooks,
        beforeModel: async (at, call) => {
          const headers = await hooks
            .beforeModel(at, call)
            .catch((error: unknown) => ignore(error, wasLetIn && RefusedError.isInstance(error)));
          wasLetIn = true;
          return headers;
        },
      };
    },
  },
  {
    scenario: 'denied-tool',
    mistake: 'runs a denied tool all the same',
    mode: 'carried',
    mutate: (hooks) => ({
      ...hooks,
      beforeTool: (at, call) =>
        hooks.beforeTool(at, call).catch((error: unknown) => {
          ignore(error, error instanceof ToyToolDenied);
        }),
    }),
  },
  {
    scenario: 'missing-usage',
    mistake: 'takes unknown usage for none',
    mode: 'direct',
    mutate: withReply((reply) => ({ ...reply, usage: reply.usage ?? { prompt_tokens: 0, completion_tokens: 0 } })),
  },
  {
    scenario: 'attribution',
    mistake: "puts the customer's id where the session's belongs on a nested agent's calls",
    mode: 'carried',
    mutate: (hooks, { env }) => ({
      ...hooks,
      beforeModel: async (at, call) => {
        const headers = await hooks.beforeModel(at, call);
        return at.parentId === undefined || env.customerId === undefined ? headers : { ...headers, 'Alephant-Session-Id': env.customerId };
      },
    }),
  },
  {
    scenario: 'disturbed-events',
    mistake: 'reports by hand, and lets a lost answer break the tool',
    mode: 'carried',
    mutate: (hooks, { env }) => ({
      ...hooks,
      afterTool: async (at, end) => {
        await hooks.afterTool(at, end);
        await fetch(`${env.gatewayUrl}/v1/agent/events`, {
          method: 'POST',
          headers: { authorization: `Bearer ${env.apiKey}`, 'content-type': 'application/json' },
          body: JSON.stringify({ source: 'alephant', type: 'checkpoint.created', run_id: env.runId, event_id: `checkpoint-${at.id}` }),
        }).catch((error: unknown) => {
          if (codeOf(error) !== 'ECONNREFUSED') throw error;
        });
      },
    }),
  },
  {
    scenario: 'gateway-down-open',
    mistake: 'does not begin without the gateway, whatever the policy says',
    mode: 'direct',
    mutate: (hooks, { env }) => ({
      ...hooks,
      beforeRun: async () => {
        if (env.failurePolicy === 'open') await expectGateway(env.gatewayUrl);
        await hooks.beforeRun();
      },
    }),
  },
  {
    scenario: 'gateway-lost-open',
    mistake: 'stops when the gateway goes away, whatever the policy says',
    mode: 'direct',
    mutate: (hooks, { env }) => {
      let wasThere = false;
      return {
        ...hooks,
        beforeRun: async () => {
          wasThere = await expectGateway(env.gatewayUrl).then(
            () => true,
            () => false,
          );
          await hooks.beforeRun();
        },
        beforeTool: async (at, call) => {
          if (wasThere && env.failurePolicy === 'open') await expectGateway(env.gatewayUrl);
          await hooks.beforeTool(at, call);
        },
      };
    },
  },
  {
    scenario: 'gateway-down-closed',
    mistake: 'begins without the gateway although the policy is closed',
    mode: 'direct',
    mutate: (hooks) => {
      let wasThere = true;
      return {
        ...hooks,
        beforeRun: () =>
          hooks.beforeRun().catch((error: unknown) => {
            wasThere = false;
            ignore(error, error instanceof GatewayUnavailableError);
          }),
        beforeModel: (at, call) =>
          hooks.beforeModel(at, call).catch((error: unknown) => ignore(error, !wasThere && error instanceof GatewayUnavailableError)),
      };
    },
  },
  {
    scenario: 'gateway-lost-closed',
    mistake: 'runs tools without asking once the gateway went away, although the policy is closed',
    mode: 'direct',
    mutate: (hooks) => ({
      ...hooks,
      beforeTool: (at, call) =>
        hooks.beforeTool(at, call).catch((error: unknown) => {
          ignore(error, error instanceof GatewayUnavailableError);
        }),
    }),
  },
  {
    scenario: 'secret',
    mistake: "reports the values of a tool's input",
    mode: 'carried',
    mutate: (hooks, { run }) => ({
      ...hooks,
      beforeTool: (at, call) => {
        run.record({ type: 'checkpoint.created', metadata: { input: Object.values(call.args as object).join(' ') } });
        return hooks.beforeTool(at, call);
      },
    }),
  },
];

/** Changes what the adapter gets to see of replies. */
function withReply(
  change: (
    reply: NonNullable<Parameters<ToyHooks['afterModel']>[1]['reply']>,
  ) => NonNullable<Parameters<ToyHooks['afterModel']>[1]['reply']>,
): Mutation {
  return (hooks) => ({
    ...hooks,
    afterModel: (at, end) => hooks.afterModel(at, end.reply === undefined ? end : { ...end, reply: change(end.reply) }),
  });
}

/** Goes on without headers where the mistake ignores an error; any other is thrown on. */
function ignore(error: unknown, mayIgnore: boolean): Record<string, string> {
  if (!mayIgnore) throw error;
  return {};
}

async function expectGateway(gatewayUrl: string): Promise<void> {
  await (await fetch(`${gatewayUrl}/healthz`)).text();
}

function codeOf(error: unknown): unknown {
  const { cause } = error as { readonly cause?: { readonly code?: unknown } };
  return cause?.code;
}
