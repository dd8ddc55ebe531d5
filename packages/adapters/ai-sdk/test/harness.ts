import { playWithClient, testedVersion, type AdapterHarness, type PlayEnv, type ScenarioAgent } from '@runpurse/conformance';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { isStepCount, tool, ToolLoopAgent, type ToolSet } from 'ai';
import { z } from 'zod';
import { createRunpurse, type AgentRun } from '../src/index.ts';

const STEPS_MAX = 20;

/** Plays the conformance scenarios with real AI SDK agents, attached as the README says. */
export const harness: AdapterHarness = {
  name: 'ai-sdk',
  framework: { name: 'Vercel AI SDK', version: testedVersion(import.meta.dirname, 'ai') },
  modes: ['carried', 'direct'],
  exceptions: {},
  play: (scenario, env) =>
    playWithClient('ai-sdk', env, async (client) => {
      const runpurse = createRunpurse({ baseUrl: env.gatewayUrl, apiKey: env.apiKey, client });
      const { runId, sessionId, workflowId, customerId, signal } = env;
      const { input, stream } = scenario.task;
      const context = { runId, sessionId, workflowId, customerId, agentId: scenario.agent.name };
      const result = await runpurse.run(context, async (run) => {
        const agent = agentOf(scenario.agent, env, run);
        if (!stream) return (await agent.generate({ prompt: input, abortSignal: signal })).text;
        return agent.stream({ prompt: input, abortSignal: signal });
      });
      return typeof result === 'string' ? result : readAll(result.stream);
    }),
};

function agentOf(agent: ScenarioAgent, env: PlayEnv, run: AgentRun): ToolLoopAgent<never, ToolSet> {
  const provider = createOpenAICompatible({ name: 'scripted', baseURL: env.model.baseUrl, apiKey: env.model.apiKey, includeUsage: true });
  const tools: ToolSet = Object.fromEntries(
    agent.tools.map(({ name, description, parameters, agent: behind }) => [
      name,
      tool({
        description,
        inputSchema: z.object(Object.fromEntries(parameters.map((parameter) => [parameter, z.string()]))),
        execute: async (args: Record<string, string>, { abortSignal }) => {
          const result = await env.runTool(name, args);
          if (behind === undefined) return result;
          return run.agent(behind.name, async (inner) => {
            const answer = await agentOf(behind, env, inner).generate({ prompt: args['task'] ?? '', ...(abortSignal && { abortSignal }) });
            return answer.text;
          });
        },
      }),
    ]),
  );
  return new ToolLoopAgent<never, ToolSet>({
    model: run.model(provider(agent.model)),
    instructions: agent.instructions,
    tools: run.tools(tools),
    maxOutputTokens: agent.max_tokens,
    maxRetries: agent.max_retries,
    stopWhen: isStepCount(STEPS_MAX),
  });
}

async function readAll(stream: AsyncIterable<{ readonly type: string }>): Promise<string> {
  let text = '';
  for await (const part of stream as AsyncIterable<{ readonly type: string; readonly text?: string; readonly error?: unknown }>) {
    if (part.type === 'text-delta') text += part.text ?? '';
    if (part.type === 'error') throw part.error;
    if (part.type === 'abort') throw new Error('aborted');
  }
  return text;
}
