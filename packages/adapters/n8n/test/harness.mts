import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { AdapterHarness, PlayEnv, PlayOutcome, ScenarioAgent } from '@runpurse/conformance';
import { REFUSALS, type RefusalCode } from '@runpurse/core';
import { sharedN8n, type NodeFailure, type Played, type WorkflowFile } from './n8n.mts';
import { nodeOf, type Credential } from './workflows.mts';

const manifest = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
  readonly devDependencies: Record<string, string>;
};
const HOOKS = join(import.meta.dirname, '..', '..', 'n8n-hooks', 'src', 'hooks.ts');
const LANGCHAIN = '@n8n/n8n-nodes-langchain.';

/** Plays the conformance scenarios with n8n's own AI Agent, attached as the README says: Runpurse's chat model, and the hooks file. */
export const harness: AdapterHarness = {
  name: 'n8n',
  framework: { name: 'n8n', version: manifest.devDependencies['n8n-core'] ?? 'unknown' },
  modes: ['carried'],
  exceptions: {},
  async play(scenario, env) {
    const n8n = await sharedN8n();
    const environment = {
      RUNPURSE_URL: env.gatewayUrl,
      RUNPURSE_KEY: env.apiKey,
      RUNPURSE_FAILURE_POLICY: env.failurePolicy,
      RUNPURSE_STEPS: 'ai',
    };
    try {
      const played = await n8n.execute({
        workflow: workflowOf(scenario.agent, scenario.task.input, env),
        executionId: env.runId,
        mode: 'webhook',
        isStreamed: scenario.task.stream === true,
        hooks: { path: HOOKS, environment },
        noted: nestedAgentsOf(scenario.agent),
        signal: env.signal,
        runTool: env.runTool,
      });
      return outcomeOf(played, env.signal);
    } catch (error) {
      return outcomeOfRefusedStart(error);
    }
  },
};

/** Tools that are agents: n8n runs them itself. */
function nestedAgentsOf({ tools }: ScenarioAgent): readonly string[] {
  return tools.flatMap(({ name, agent }) => (agent === undefined ? [] : [name, ...nestedAgentsOf(agent)]));
}

/** The agent as its user would draw it: a trigger, the agent, its model and its tools; a nested agent is an AI Agent Tool. */
function workflowOf(agent: ScenarioAgent, input: string, env: PlayEnv): WorkflowFile {
  const credential: Credential = { baseUrl: env.gatewayUrl, apiKey: env.apiKey, failurePolicy: env.failurePolicy };
  const nodes = [nodeOf(credential, { name: 'Start', type: 'n8n-nodes-base.manualTrigger' })];
  const connections: Record<string, Record<string, unknown>> = { Start: { main: [[{ node: agent.name, type: 'main', index: 0 }]] } };
  const connect = (from: string, kind: string, to: string) => (connections[from] = { [kind]: [[{ node: to, type: kind, index: 0 }]] });
  nodes.push(
    nodeOf(credential, {
      name: agent.name,
      type: `${LANGCHAIN}agent`,
      version: 3.1,
      parameters: { promptType: 'define', text: input, options: { systemMessage: agent.instructions, maxIterations: 20 } },
    }),
  );
  const equip = (at: ScenarioAgent, node: string): void => {
    const model = `model of ${node}`;
    nodes.push(
      nodeOf(credential, {
        name: model,
        type: 'n8n-nodes-runpurse.runpurseChatModel',
        parameters: {
          model: at.model,
          options: { maxTokens: at.max_tokens, maxRetries: at.max_retries ?? 0 },
          attribution: { agentId: at.name, sessionId: env.sessionId, workflowId: env.workflowId ?? '', customerId: env.customerId ?? '' },
        },
      }),
    );
    connect(model, 'ai_languageModel', node);
    for (const tool of at.tools) {
      connect(tool.name, 'ai_tool', node);
      if (tool.agent === undefined) {
        nodes.push(
          nodeOf(credential, {
            name: tool.name,
            type: 'test.scriptedTool',
            parameters: { toolDescription: tool.description, ...argsOf(tool.parameters) },
          }),
        );
        continue;
      }
      nodes.push(
        nodeOf(credential, {
          name: tool.name,
          type: `${LANGCHAIN}agentTool`,
          version: 3,
          parameters: {
            toolDescription: tool.description,
            text: `={{ ${fromAi('task')} }}`,
            options: { systemMessage: tool.agent.instructions },
          },
        }),
      );
      equip(tool.agent, tool.name);
    }
  };
  equip(agent, agent.name);
  return { id: env.workflowId ?? '', name: agent.name, nodes, connections, settings: { executionOrder: 'v1' } };
}

function argsOf(parameters: readonly string[]): object {
  return { args: `={{ JSON.stringify({ ${parameters.map((name) => `${JSON.stringify(name)}: ${fromAi(name)}`).join(', ')} }) }}` };
}

function fromAi(name: string): string {
  return `$fromAI('${name}', '', 'string')`;
}

function outcomeOf(played: Played, signal: AbortSignal): PlayOutcome {
  if (played.status === 'success') {
    const output = Object.values(played.nodes).flatMap((tasks) => tasks.flatMap(({ items }) => items.map(({ json }) => json['output'])));
    return { type: 'completed', output: String(output.findLast((text) => text !== undefined)) };
  }
  if (signal.aborted) return { type: 'cancelled' };
  return outcomeOfFailure(played.error);
}

function outcomeOfFailure(failure: NodeFailure | undefined): PlayOutcome {
  const message = failure?.message ?? 'failed';
  const code = Object.keys(REFUSALS).find((known) => failure?.said.includes(`code: '${known}'`)) as RefusalCode | undefined;
  if (code !== undefined && code !== 'provider_failed') return { type: 'refused', code };
  if (/can't be reached|gave no answer/.test(message)) return { type: 'unavailable' };
  return { type: 'failed', message };
}

/** The hooks did not let the execution start. */
function outcomeOfRefusedStart(error: unknown): PlayOutcome {
  const message = error instanceof Error ? error.message : String(error);
  return /can't be reached|gave no answer/.test(message) ? { type: 'unavailable' } : { type: 'failed', message };
}
