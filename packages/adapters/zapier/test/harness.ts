import { readFileSync } from 'node:fs';
import type { AdapterHarness, PlayEnv, PlayOutcome, Scenario, ScenarioAgent } from '@runpurse/conformance';
import { REFUSALS, type RefusalCode } from '@runpurse/core';
import { callModel, type ToolCall } from './other-app.ts';
import { openZap, type Zap } from './zap.ts';

const manifest = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
  readonly dependencies: Record<string, string>;
};

/**
 * Plays the conformance scenarios as a Zap does: Start Run, then for each model call a Chat Completion step (or, where another
 * app calls the model, Authorize Spend and Record a Cost around it), around each tool the same two, and End Run. Each step
 * is the app's real action, run by Zapier's own runner.
 */
export const harness: AdapterHarness = {
  name: 'zapier',
  framework: { name: 'Zapier Platform', version: manifest.dependencies['zapier-platform-core'] ?? 'unknown' },
  modes: ['carried', 'direct'],
  exceptions: {
    cancel: 'Zapier runs a step to its end and tells no app that a Zap was turned off: a call under way is awaited and charged.',
  },
  async play(scenario, env) {
    const zap = openZap({ baseUrl: env.gatewayUrl, apiKey: env.apiKey, failurePolicy: env.failurePolicy });
    const play = new ZapRun(zap, env, scenario);
    return Promise.race([play.whole(), cancelled(env.signal)]);
  },
};

function cancelled(signal: AbortSignal): Promise<PlayOutcome> {
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve({ type: 'cancelled' })));
}

interface Answer {
  readonly text: string;
  readonly toolCalls: readonly ToolCall[];
}

/** One run of the Zap. */
class ZapRun {
  readonly #zap: Zap;
  readonly #env: PlayEnv;
  readonly #scenario: Scenario;
  #calls = 0;

  constructor(zap: Zap, env: PlayEnv, scenario: Scenario) {
    this.#zap = zap;
    this.#env = env;
    this.#scenario = scenario;
  }

  async whole(): Promise<PlayOutcome> {
    const { runId: run_id, sessionId: session_id, workflowId: workflow_id, customerId: customer_id } = this.#env;
    const { agent, task } = this.#scenario;
    try {
      await this.#zap.create('start_run', { run_id, session_id, workflow_id, customer_id, agent_id: agent.name });
      const output = await this.#agent(agent, task.input, undefined);
      await this.#zap.create('end_run', { run_id, status: 'completed' });
      return { type: 'completed', output };
    } catch (error) {
      const outcome = outcomeOf(error);
      // A Zap's error path. A halted Zap has none: the step that halted it has ended the run.
      if (outcome.type === 'failed') await this.#zap.create('end_run', { run_id, status: 'failed', reason: outcome.message });
      return outcome;
    }
  }

  /** A loop of steps, until the model asks for no tool. */
  async #agent(agent: ScenarioAgent, input: string, parent: string | undefined): Promise<string> {
    const messages: object[] = [
      { role: 'system', content: agent.instructions },
      { role: 'user', content: input },
    ];
    for (;;) {
      const { text, toolCalls } = await this.#ask(agent, messages, parent);
      if (toolCalls.length === 0) return text;
      messages.push({ role: 'assistant', content: text === '' ? null : text, tool_calls: toolCalls });
      // Paths of a Zap, side by side.
      messages.push(...(await Promise.all(toolCalls.map((call) => this.#tool(agent, call, parent)))));
    }
  }

  async #ask(agent: ScenarioAgent, messages: readonly object[], parent: string | undefined): Promise<Answer> {
    const { runId: run_id, mode } = this.#env;
    const place = { run_id, call_id: this.#callId(), agent_id: agent.name, parent_step_id: parent };
    const tools = agent.tools.map(({ name, description, parameters }) => ({
      type: 'function',
      function: {
        name,
        description,
        parameters: {
          type: 'object',
          properties: Object.fromEntries(parameters.map((one) => [one, { type: 'string' }])),
          required: parameters,
        },
      },
    }));
    const request = { model: agent.model, max_tokens: agent.max_tokens, messages, ...(tools.length > 0 && { tools }) };
    // Zapier replays a step that failed, with the inputs it had.
    for (let tries = 0; ; tries += 1) {
      try {
        if (mode === 'carried') {
          const said = await this.#zap.create('chat_completion', {
            ...place,
            model: agent.model,
            max_tokens: agent.max_tokens,
            messages: JSON.stringify(messages),
            ...(tools.length > 0 && { tools: JSON.stringify(tools) }),
          });
          return { text: String(said['text']), toolCalls: said['tool_calls'] as ToolCall[] };
        }
        return await this.#askOtherApp(place, request, tries + 1);
      } catch (error) {
        if (tries >= agent.max_retries || outcomeOf(error).type !== 'failed') throw error;
      }
    }
  }

  /** Another AI app's step: the gateway never sees its call, so it is asked before and told after. */
  async #askOtherApp(place: object, request: { readonly model: string; readonly max_tokens: number }, attempt: number): Promise<Answer> {
    const asked = { ...place, kind: 'model', name: request.model, attempt };
    await this.#zap.create('authorize_spend', {
      ...asked,
      max_output_tokens: request.max_tokens,
      max_input_tokens: JSON.stringify(request).length,
    });
    const reply = await callModel(this.#env.model, request);
    if ('error' in reply) {
      await this.#zap.create('record_cost', { ...asked, status: 'failed', error: reply.error, input_tokens: 0, output_tokens: 0 });
      throw new Error(reply.error);
    }
    await this.#zap.create('record_cost', { ...asked, name: reply.model, ...reply.usage });
    return { text: reply.text, toolCalls: reply.toolCalls };
  }

  async #tool(agent: ScenarioAgent, { id, function: called }: ToolCall, parent: string | undefined): Promise<object> {
    const tool = agent.tools.find(({ name }) => name === called.name);
    const step = { run_id: this.#env.runId, kind: 'tool', name: called.name, call_id: id, agent_id: agent.name, parent_step_id: parent };
    const answer = (content: string): object => ({ role: 'tool', tool_call_id: id, content });
    const decision = await this.#zap.create('authorize_spend', { ...step, on_refusal: 'continue', details: called.arguments });
    if (decision['allowed'] !== true) return answer(`Denied: ${String(decision['reason'])}`);
    let result: string;
    try {
      const args = JSON.parse(called.arguments) as Record<string, string>;
      result = await this.#env.runTool(called.name, args);
      if (tool?.agent !== undefined) result = await this.#agent(tool.agent, args['task'] ?? '', id);
    } catch (error) {
      if (error instanceof Error && error.name !== 'Error') throw error;
      const message = error instanceof Error ? error.message : String(error);
      await this.#zap.create('record_cost', { ...step, status: 'failed', error: message });
      return answer(`Error: ${message}`);
    }
    await this.#zap.create('record_cost', { ...step, status: 'completed' });
    return answer(result);
  }

  #callId(): string {
    this.#calls += 1;
    return `ask-${this.#calls}`;
  }
}

/** How Zapier shows that a step did not succeed. */
function outcomeOf(error: unknown): PlayOutcome {
  const message = error instanceof Error ? error.message : String(error);
  const code = /Stopped by Runpurse \((\w+)\)/.exec(message)?.[1];
  if (code !== undefined && code in REFUSALS) return { type: 'refused', code: code as RefusalCode };
  if (message.includes('gateway_unavailable')) return { type: 'unavailable' };
  return { type: 'failed', message };
}
