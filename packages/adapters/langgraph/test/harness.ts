import { playWithClient, testedVersion, type AdapterHarness, type PlayEnv, type ScenarioAgent } from '@runpurse/conformance';
import { AIMessage } from '@langchain/core/messages';
import { ChatOpenAI } from '@langchain/openai';
import { createAgent, tool, type ReactAgent } from 'langchain';
import { z } from 'zod';
import { RunpurseCallbackHandler, runpurseMiddleware } from '../src/index.ts';
import './stage.ts';

/** Plays the conformance scenarios with real LangGraph agents, attached as the README says. */
export const harness: AdapterHarness = {
  name: 'langgraph',
  framework: { name: 'LangGraph JS', version: testedVersion(import.meta.dirname, '@langchain/langgraph') },
  modes: ['carried', 'direct'],
  exceptions: {},
  play: (scenario, env) =>
    playWithClient('langgraph', env, async (client) => {
      const runpurse = new RunpurseCallbackHandler({ baseUrl: env.gatewayUrl, apiKey: env.apiKey, client });
      const agent = agentOf(scenario.agent, env).withConfig({
        callbacks: [runpurse],
        metadata: { runpurse: { workflowId: env.workflowId, customerId: env.customerId } },
      });
      return ask(agent, scenario.task.input, scenario.task.stream, env);
    }),
};

function agentOf(agent: ScenarioAgent, env: PlayEnv): ReactAgent {
  const model = new ChatOpenAI({
    model: agent.model,
    maxTokens: agent.max_tokens,
    maxRetries: agent.max_retries,
    apiKey: env.model.apiKey,
    configuration: { baseURL: env.model.baseUrl },
  });
  const tools = agent.tools.map(({ name, description, parameters, agent: behind }) =>
    tool(
      async (args: Record<string, string>) => {
        const result = await env.runTool(name, args);
        return behind === undefined ? result : said(await agentOf(behind, env).invoke(user(args['task'] ?? '')));
      },
      { name, description, schema: z.object(Object.fromEntries(parameters.map((parameter) => [parameter, z.string()]))) },
    ),
  );
  return createAgent({
    name: agent.name,
    systemPrompt: agent.instructions,
    model,
    tools,
    middleware: [runpurseMiddleware()],
  });
}

async function ask(agent: ReactAgent, input: string, isStreamed: boolean, env: PlayEnv): Promise<string> {
  const config = { runId: env.runId, configurable: { thread_id: env.sessionId }, signal: env.signal };
  if (!isStreamed) return said(await agent.invoke(user(input), config));
  let answer = '';
  for await (const [message] of await agent.stream(user(input), { ...config, streamMode: 'messages' })) {
    if (AIMessage.isInstance(message)) answer += message.text;
  }
  return answer;
}

const user = (content: string): { messages: { role: 'user'; content: string }[] } => ({ messages: [{ role: 'user', content }] });

function said({ messages }: { readonly messages: readonly { readonly text: string }[] }): string {
  return messages.at(-1)?.text ?? '';
}
