import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { RunShape } from '@runpurse/core';
import { openFrontDoor } from './front-door.ts';
import type { Mode, PlayEnv } from './harness.ts';
import { loadWorld } from './load-scenarios.ts';
import type { Scenario, ScenarioAgent, ScenarioTool } from './scenario.ts';
import { startGateway } from './start-gateway.ts';
import { startStubModel, type StubModel } from './stub-model/server.ts';

/** The provider's key a direct model client sends; as in shared/conformance/world.json. */
const PROVIDER_KEY = 'sk-scripted-provider-key';

/** All that a play stands on: a scripted model, a real gateway in a folder of its own, and the way between. */
export interface Stage {
  readonly env: PlayEnv;
  readonly model: StubModel;
  readonly dataFolder: string;
  /** Names of the tools that ran, in order; of those that ran side by side, by name. */
  toolsRun(): readonly string[];
  /** Bodies of all events the adapter posted. */
  reports(): readonly string[];
  readRun(runId: string): Promise<RunShape | undefined>;
  stopGateway(): Promise<void>;
  close(): Promise<void>;
}

/** Sets the stage for one play. */
export async function setStage(scenario: Scenario, mode: Mode): Promise<Stage> {
  const { actions } = scenario;
  const cancel = new AbortController();
  const toolsRun: { name: string; modelCalls: number }[] = [];
  const tools = new Map(allTools(scenario.agent).map((tool) => [tool.name, tool]));

  const model = await startStubModel(scenario.model_script, {
    onCall: (n) => {
      // What was sent must have arrived before the agent is cancelled: a cancel before the first byte is another story.
      if (n === actions.cancel_at_model_call) setTimeout(() => cancel.abort(), CANCEL_AFTER_MS);
    },
    onAnswered: async (n) => {
      if (n === actions.gateway_down_after_model_calls) await door.fallAway();
    },
  });
  const gateway = await startGateway({ config: { ...loadWorld(model.url), ...scenario.gateway } });
  const door = await openFrontDoor(gateway.url, { disturb: actions.disturb_events === true });
  if (actions.gateway_down_after_model_calls === 0) await door.fallAway();

  async function runTool(name: string): Promise<string> {
    const tool = tools.get(name);
    if (tool === undefined) throw new Error(`the scenario has no tool ${name}`);
    toolsRun.push({ name, modelCalls: model.calls.length });
    await sleep(tool.delay_ms);
    if (tool.error !== undefined) throw new Error(tool.error);
    return tool.result ?? '';
  }

  return {
    env: {
      mode,
      gatewayUrl: door.url,
      apiKey: gateway.apiKey,
      model:
        mode === 'carried' ? { baseUrl: `${door.url}/v1`, apiKey: gateway.apiKey } : { baseUrl: `${model.url}/v1`, apiKey: PROVIDER_KEY },
      runId: randomUUID(),
      sessionId: scenario.task.session_id,
      workflowId: scenario.task.workflow_id,
      customerId: scenario.task.customer_id,
      failurePolicy: scenario.failure_policy,
      runTool,
      signal: cancel.signal,
    },
    model,
    dataFolder: gateway.dataFolder,
    toolsRun: () => toolsRun.toSorted((a, b) => a.modelCalls - b.modelCalls || a.name.localeCompare(b.name)).map(({ name }) => name),
    reports: () => door.reports,
    readRun: gateway.readRun,
    stopGateway: gateway.stop,
    close: async () => {
      await door.close();
      await model.close();
      await gateway.remove();
    },
  };
}

const CANCEL_AFTER_MS = 100;

/** The tools of an agent and of the agents behind them. */
function allTools(agent: ScenarioAgent): readonly ScenarioTool[] {
  return agent.tools.flatMap((tool) => [tool, ...(tool.agent === undefined ? [] : allTools(tool.agent))]);
}
