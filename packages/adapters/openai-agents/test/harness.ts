import { Agent, setTraceProcessors, setTracingDisabled, tool } from '@openai/agents';
import { playWithClient, testedVersion, type AdapterHarness, type PlayEnv, type ScenarioAgent } from '@runpurse/conformance';
import OpenAI from 'openai';
import { z } from 'zod';
import { guardTools, Runpurse } from '../src/index.ts';

// The SDK turns tracing off in tests; its own processor would send traces to OpenAI.
setTracingDisabled(false);
setTraceProcessors([]);

/** Plays the conformance scenarios with the real OpenAI Agents SDK, attached as the README says. */
export function harnessOver(api: 'chat_completions' | 'responses'): AdapterHarness {
  return {
    name: 'openai-agents',
    framework: { name: 'OpenAI Agents SDK JS', version: testedVersion(import.meta.dirname, '@openai/agents') },
    modes: ['carried', 'direct'],
    exceptions: {},
    play: (scenario, env) =>
      playWithClient('openai_agents', env, async (client) => {
        const runpurse = new Runpurse({ baseUrl: env.gatewayUrl, apiKey: env.apiKey, client });
        const openai = new OpenAI({ baseURL: env.model.baseUrl, apiKey: env.model.apiKey, maxRetries: scenario.agent.max_retries });
        const runner = runpurse.runner({ modelProvider: runpurse.models(openai, api), groupId: env.sessionId });
        const agent = agentOf(scenario.agent, env);
        const { runId, workflowId, customerId, signal } = env;
        return runpurse.with({ runId, workflowId, customerId }, async (): Promise<string> => {
          const { input, stream } = scenario.task;
          if (!stream) return String((await runner.run(agent, input, { signal })).finalOutput);
          const streamed = await runner.run(agent, input, { stream: true, signal });
          let answer = '';
          for await (const text of streamed.toTextStream()) answer += text;
          await streamed.completed;
          if (streamed.cancelled) throw new Error('cancelled');
          return answer;
        });
      }),
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
