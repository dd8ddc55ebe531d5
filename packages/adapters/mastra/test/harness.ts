import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { Agent, type AgentConfig } from '@mastra/core/agent';
import { RequestContext } from '@mastra/core/request-context';
import { createTool } from '@mastra/core/tools';
import { playWithClient, testedVersion, type AdapterHarness, type PlayEnv, type ScenarioAgent } from '@runpurse/conformance';
import { z } from 'zod';
import { createRunpurse, type Runpurse } from '../src/index.ts';

/** Plays the conformance scenarios with real Mastra agents, attached as the README says. */
export const harness: AdapterHarness = {
  name: 'mastra',
  framework: { name: 'Mastra', version: testedVersion(import.meta.dirname, '@mastra/core') },
  modes: ['carried', 'direct'],
  exceptions: {},
  play: (scenario, env) =>
    playWithClient('mastra', env, async (client) => {
      const runpurse = createRunpurse({ baseUrl: env.gatewayUrl, apiKey: env.apiKey, client });
      const agent = agentOf(scenario.agent, env, runpurse);
      const { runId, sessionId, workflowId, customerId, signal: abortSignal } = env;
      const requestContext = new RequestContext([['runpurse', { runId, sessionId, workflowId, customerId }]]);
      const { input, stream } = scenario.task;
      const options = { requestContext, abortSignal };
      const output = stream ? await (await agent.stream(input, options)).getFullOutput() : await agent.generate(input, options);
      const { text, tripwire, error, finishReason } = output;
      if (error !== undefined) throw error;
      if (tripwire !== undefined) throw Object.assign(new Error(tripwire.reason), tripwire.metadata);
      if (finishReason === 'aborted') throw new Error('aborted');
      return text;
    }),
};

function agentOf(agent: ScenarioAgent, env: PlayEnv, { withRunpurse }: Pick<Runpurse, 'withRunpurse'>): Agent {
  const tools = Object.fromEntries(
    agent.tools.map(({ name, description, parameters, agent: behind }) => [
      name,
      createTool({
        id: name,
        description,
        inputSchema: z.object(Object.fromEntries(parameters.map((parameter) => [parameter, z.string()]))),
        execute: async (args, { abortSignal, requestContext }) => {
          const result = await env.runTool(name, args);
          if (behind === undefined) return result;
          const inner = agentOf(behind, env, { withRunpurse });
          const answer = await inner.generate(args['task'] ?? '', {
            ...(abortSignal && { abortSignal }),
            ...(requestContext && { requestContext }),
          });
          return answer.text;
        },
      }),
    ]),
  );
  return new Agent(
    withRunpurse({
      id: agent.name,
      name: agent.name,
      instructions: agent.instructions,
      model: modelOf(agent.model, env),
      tools,
      maxRetries: agent.max_retries,
      defaultOptions: { modelSettings: { maxOutputTokens: agent.max_tokens } },
    }),
  );
}

/**
 * Through the gateway as the README says. Past it a provider of the AI SDK: streams of a model that Mastra makes from a
 * `url` do not ask their provider for usage (the gateway does).
 */
function modelOf(model: string, { mode, model: { baseUrl, apiKey } }: PlayEnv): AgentConfig['model'] {
  if (mode === 'carried') return { id: `scripted/${model}`, url: baseUrl, apiKey };
  return createOpenAICompatible({ name: 'scripted', baseURL: baseUrl, apiKey, includeUsage: true })(model) as AgentConfig['model'];
}
