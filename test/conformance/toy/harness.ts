import { GatewayUnavailableError, refusalOf, type Run } from '@runpurse/core';
import { createClient } from '@runpurse/core/axios';
import type { AdapterHarness, PlayEnv, PlayOutcome } from '../harness.ts';
import type { ScenarioAgent } from '../scenario.ts';
import { runpurseHooks } from './adapter.ts';
import { loop, runToyAgent, type ToyAgent, type ToyContext, type ToyHooks } from './agent.ts';

/** Breaks the hooks in one way; see ../broken. */
export type Mutation = (hooks: ToyHooks, play: { readonly run: Run; readonly env: PlayEnv; readonly stream: boolean }) => ToyHooks;

/** The toy's harness. */
export function toyHarness(name: string, mutate: Mutation = (hooks) => hooks): AdapterHarness {
  return {
    name,
    framework: { name: 'a loop of its own', version: '1' },
    modes: ['carried', 'direct'],
    exceptions: {},
    async play(scenario, env) {
      const client = createClient({
        baseUrl: env.gatewayUrl,
        apiKey: env.apiKey,
        source: 'toy',
        failurePolicy: { authorize: env.failurePolicy },
        flushOnExit: false,
        onProblem: () => {},
      });
      const run = client.run({
        runId: env.runId,
        sessionId: env.sessionId,
        workflowId: env.workflowId,
        customerId: env.customerId,
        agentId: scenario.agent.name,
      });
      const hooks = mutate(runpurseHooks(run, { carried: env.mode === 'carried' }), { run, env, stream: scenario.task.stream });
      const context = { connection: env.model, hooks, signal: env.signal, stream: scenario.task.stream, parentId: undefined };
      const outcome = await runToyAgent(toyAgent(scenario.agent, env), scenario.task.input, context).then(
        (output): PlayOutcome => ({ type: 'completed', output }),
        (error: unknown) => readOutcome(error, env.signal),
      );
      await client.close();
      return outcome;
    },
  };
}

/** The template to copy: an agent loop, the adapter in adapter.ts, and no exceptions. */
export const harness = toyHarness('toy');

function readOutcome(error: unknown, signal: AbortSignal): PlayOutcome {
  if (signal.aborted) return { type: 'cancelled' };
  const refusal = refusalOf(error);
  if (refusal !== undefined) return { type: 'refused', code: refusal.code };
  if (error instanceof GatewayUnavailableError) return { type: 'unavailable' };
  return { type: 'failed', message: error instanceof Error ? error.message : String(error) };
}

/** The scenario's agent in the toy framework; an agent behind a tool runs with the same hooks, inside the tool call. */
function toyAgent(agent: ScenarioAgent, env: PlayEnv): ToyAgent {
  return {
    name: agent.name,
    instructions: agent.instructions,
    model: agent.model,
    maxTokens: agent.max_tokens,
    maxRetries: agent.max_retries,
    tools: agent.tools.map((tool) => ({
      name: tool.name,
      description: tool.description,
      parameters: {
        type: 'object',
        properties: Object.fromEntries(tool.parameters.map((name) => [name, { type: 'string' }])),
        required: [...tool.parameters],
      },
      execute: async (args: Readonly<Record<string, unknown>>, inside: ToyContext) => {
        const result = await env.runTool(tool.name, args);
        return tool.agent === undefined ? result : loop(toyAgent(tool.agent, env), String(args['task'] ?? ''), inside);
      },
    })),
  };
}
