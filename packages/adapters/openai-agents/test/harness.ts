import { readFileSync } from 'node:fs';
import { Agent, setTraceProcessors, setTracingDisabled, tool } from '@openai/agents';
import type { AdapterHarness, PlayEnv, PlayOutcome, ScenarioAgent } from '@runpurse/conformance';
import { refusalOf } from '@runpurse/core';
import { createClient } from '@runpurse/core/axios';
import OpenAI from 'openai';
import { z } from 'zod';
import { guardTools, Runpurse } from '../src/index.ts';

const manifest = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
  readonly devDependencies: Record<string, string>;
};

// The SDK turns tracing off in tests; its own processor would send traces to OpenAI.
setTracingDisabled(false);
setTraceProcessors([]);

/** Plays the conformance scenarios with the real OpenAI Agents SDK, attached as the README says. */
export function harnessOver(api: 'chat_completions' | 'responses'): AdapterHarness {
  return {
    name: 'openai-agents',
    framework: { name: 'OpenAI Agents SDK JS', version: manifest.devDependencies['@openai/agents'] ?? 'unknown' },
    modes: ['carried', 'direct'],
    exceptions: {},
    async play(scenario, env) {
      const client = createClient({
        baseUrl: env.gatewayUrl,
        apiKey: env.apiKey,
        source: 'openai_agents',
        failurePolicy: { authorize: env.failurePolicy },
        flushOnExit: false,
        onProblem: () => {},
      });
      const runpurse = new Runpurse({ baseUrl: env.gatewayUrl, apiKey: env.apiKey, client });
      const openai = new OpenAI({ baseURL: env.model.baseUrl, apiKey: env.model.apiKey, maxRetries: scenario.agent.max_retries });
      const runner = runpurse.runner({ modelProvider: runpurse.models(openai, api), groupId: env.sessionId });
      const agent = agentOf(scenario.agent, env);
      const { runId, workflowId, customerId } = env;
      const outcome = await runpurse
        .with({ runId, workflowId, customerId }, async (): Promise<string> => {
          const { input, stream } = scenario.task;
          if (!stream) return String((await runner.run(agent, input, { signal: env.signal })).finalOutput);
          const streamed = await runner.run(agent, input, { stream: true, signal: env.signal });
          let answer = '';
          for await (const text of streamed.toTextStream()) answer += text;
          await streamed.completed;
          if (streamed.cancelled) throw new Error('cancelled');
          return answer;
        })
        .then(
          (output): PlayOutcome => ({ type: 'completed', output }),
          (error: unknown) => outcomeOf(error, env.signal),
        );
      await client.close();
      return outcome;
    },
  };
}

export const harness = harnessOver('chat_completions');

function agentOf(agent: ScenarioAgent, env: PlayEnv): Agent {
  const tools = agent.tools.map(({ name, description, parameters, agent: behind }) => {
    const properties = Object.fromEntries(parameters.map((parameter) => [parameter, z.string()]));
    const run = async (args: Record<string, string>): Promise<string> => env.runTool(name, args);
    if (behind === undefined) return tool({ name, description, parameters: z.object(properties), execute: run });
    const nested = agentOf(behind, env).asTool({
      toolName: name,
      toolDescription: description,
      parameters: z.object(properties),
      inputBuilder: async ({ params }) => {
        const args = params as Record<string, string>;
        await run(args);
        return args['task'] ?? '';
      },
    });
    return nested;
  });
  return new Agent({
    name: agent.name,
    instructions: agent.instructions,
    model: agent.model,
    modelSettings: { maxTokens: agent.max_tokens, parallelToolCalls: true },
    tools: guardTools(tools),
  });
}

function outcomeOf(error: unknown, signal: AbortSignal): PlayOutcome {
  if (signal.aborted) return { type: 'cancelled' };
  const refusal = refusalOf(error);
  if (refusal !== undefined) return { type: 'refused', code: refusal.code };
  if (codesOf(error).includes('gateway_unavailable')) return { type: 'unavailable' };
  return { type: 'failed', message: error instanceof Error ? error.message : String(error) };
}

/** The codes of an error and its causes: the SDK wraps what a tool's guardrail throws. */
function codesOf(error: unknown): unknown[] {
  if (typeof error !== 'object' || error === null) return [];
  const { code, cause, error: inner } = error as { readonly code?: unknown; readonly cause?: unknown; readonly error?: unknown };
  return [code, ...codesOf(cause), ...codesOf(inner)];
}
