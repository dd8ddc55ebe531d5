import type { AdapterHarness, PlayEnv, PlayOutcome, ScenarioAgent } from '@runpurse/conformance';
import { REFUSALS, type RefusalCode } from '@runpurse/core';
import { loadApp } from './renderer/app.ts';
import { MakeError } from './renderer/make-error.ts';
import { openConnection, type Bundle, type Player } from './renderer/play.ts';

const app = loadApp();
/** How often a Break handler tries a module again whose request brought no answer. */
const BREAK_TRIES = 3;
/** Make gives a request up after the five minutes the app asks for. A test can't wait so long, least of all for an answer that never comes. */
const TIMEOUT_MS = 20_000;
const HANGING_TIMEOUT_MS = 1_500;

/**
 * Plays the conformance scenarios as a Make scenario would: the app's own modules, in the order in which a user puts
 * them, by the renderer that stands for Make. Between them stand modules of other apps: the tool, and in direct mode the
 * model. What no module does, the harness does not do either.
 */
export const harness: AdapterHarness = {
  name: 'make',
  framework: { name: 'Make (rendered)', version: 'custom apps of November 2026' },
  modes: ['carried', 'direct'],
  exceptions: {
    cancel: 'A scenario that a person stops in Make runs no further module, so nothing tells the gateway that the run was stopped.',
  },
  async play(scenario, env) {
    const timeoutMs = scenario.actions.cancel_at_model_call === undefined ? TIMEOUT_MS : HANGING_TIMEOUT_MS;
    const player = await openConnection(app, { url: env.gatewayUrl, apiKey: env.apiKey }, { verify: false, timeoutMs });
    const make = new Scenario(player, env, timeoutMs);
    return make.run(scenario.agent, scenario.task.input).catch((error: unknown): PlayOutcome => {
      if (env.signal.aborted) return { type: 'cancelled' };
      const code = refusalIn(error);
      if (code !== undefined) return { type: 'refused', code };
      if (error instanceof MakeError && error.type === 'ConnectionError' && error.status === undefined) return { type: 'unavailable' };
      return { type: 'failed', message: error instanceof Error ? error.message : String(error) };
    });
  },
};

interface ToolCall {
  readonly id: string;
  readonly function: { readonly name: string; readonly arguments: string };
}
interface Message {
  readonly role: string;
  readonly content: string | null;
  readonly tool_calls?: readonly ToolCall[];
  readonly tool_call_id?: string;
}
interface ModelStep {
  readonly agent: ScenarioAgent;
  readonly body: {
    readonly model: string;
    readonly messages: readonly Message[];
    readonly max_tokens: number;
    readonly tools?: readonly object[];
  };
  readonly place: Readonly<Record<string, unknown>>;
}

class Scenario {
  readonly #player: Player;
  readonly #env: PlayEnv;
  readonly #timeoutMs: number;

  constructor(player: Player, env: PlayEnv, timeoutMs: number) {
    this.#player = player;
    this.#env = env;
    this.#timeoutMs = timeoutMs;
  }

  async run(agent: ScenarioAgent, input: string): Promise<PlayOutcome> {
    const { runId: run_id, sessionId, workflowId, customerId } = this.#env;
    await this.#module('startRun', {
      run_id,
      session_id: sessionId,
      workflow_id: workflowId,
      customer_id: customerId,
      agent_id: agent.name,
    });
    let output: string;
    try {
      output = await this.#loop(agent, input, undefined);
    } catch (error) {
      // The error handler route of a scenario; when a person stops it, no route is run any more.
      if (!this.#env.signal.aborted) await this.#module('endRun', { run_id, status: 'failed', reason: reasonOf(error) });
      throw error;
    }
    await this.#module('endRun', { run_id, status: 'completed' });
    return { type: 'completed', output };
  }

  /** A module of ours with its error handlers: Break tries again when no answer came, then Resume goes on if the failure policy is open. */
  async #module(id: string, given: Bundle): Promise<Bundle | undefined> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.#player.action(id, given);
      } catch (error) {
        const isSilent = error instanceof MakeError && error.type === 'ConnectionError' && error.status === undefined;
        if (!isSilent) throw error;
        if (attempt < BREAK_TRIES) continue;
        if (this.#env.failurePolicy === 'open') return undefined;
        throw error;
      }
    }
  }

  async #loop(agent: ScenarioAgent, input: string, parentId: string | undefined): Promise<string> {
    const messages: Message[] = [
      { role: 'system', content: agent.instructions },
      { role: 'user', content: input },
    ];
    const tools = agent.tools.map(({ name, description, parameters }) => ({
      type: 'function',
      function: {
        name,
        description,
        parameters: {
          type: 'object',
          properties: Object.fromEntries(parameters.map((parameter) => [parameter, { type: 'string' }])),
          required: [...parameters],
        },
      },
    }));
    for (;;) {
      const place = { run_id: this.#env.runId, agent_id: agent.name, parent_step_id: parentId };
      const body = { model: agent.model, messages: [...messages], max_tokens: agent.max_tokens, ...(tools.length > 0 ? { tools } : {}) };
      const step: ModelStep = { agent, body, place };
      const message = this.#env.mode === 'carried' ? await this.#carried(step) : await this.#direct(step);
      if (this.#env.signal.aborted) throw new Error('stopped by a person');
      messages.push(message);
      if (message.tool_calls === undefined || message.tool_calls.length === 0) return message.content ?? '';
      messages.push(...(await Promise.all(message.tool_calls.map((call) => this.#tool(agent, call, place)))));
    }
  }

  /** Create a Chat Completion, with a Break handler that tries again what the provider failed on. */
  async #carried({ agent, body, place }: ModelStep): Promise<Message> {
    const { model, messages, max_tokens, tools } = body;
    const given = { ...place, step_id: crypto.randomUUID(), model, message_array: messages, max_tokens, tools };
    for (let attempt = 1; ; attempt += 1) {
      try {
        const bundle = await this.#player.action('createChatCompletion', given);
        return bundle['message'] as Message;
      } catch (error) {
        const isRetried = error instanceof MakeError && error.type === 'ConnectionError' && error.status !== undefined;
        if (!isRetried || attempt > agent.max_retries) throw error;
      }
    }
  }

  /** Another app's model module between two of ours. */
  async #direct({ agent, body, place }: ModelStep): Promise<Message> {
    const spend_id = crypto.randomUUID();
    for (let attempt = 1; ; attempt += 1) {
      const asked = { ...place, spend_id, model: body.model, ...(attempt > 1 ? { attempt } : {}) };
      const input_tokens_max = Buffer.byteLength(JSON.stringify(body));
      await this.#module('authorizeModelCall', { ...asked, max_output_tokens: body.max_tokens, input_tokens_max });
      const { status, reply } = await callModel(this.#env, body, this.#timeoutMs);
      if (status >= 400) {
        // The provider's own refusal: it says that nothing was used.
        await this.#module('recordModelCall', { ...asked, status: 'failed', prompt_tokens: 0, completion_tokens: 0 });
        if (status >= 500 && attempt <= agent.max_retries) continue;
        throw new Error(reply.error?.message ?? `the model answered ${status}`);
      }
      const { usage } = reply;
      await this.#module('recordModelCall', {
        ...asked,
        prompt_tokens: usage?.prompt_tokens,
        cached_tokens: usage?.prompt_tokens_details?.cached_tokens,
        completion_tokens: usage?.completion_tokens,
        reasoning_tokens: usage?.completion_tokens_details?.reasoning_tokens,
      });
      return reply.choices?.[0]?.message ?? { role: 'assistant', content: '' };
    }
  }

  /** Authorize a Spend, a filter on its decision, the tool's own module, Record a Tool's Cost. */
  async #tool(agent: ScenarioAgent, call: ToolCall, place: ModelStep['place']): Promise<Message> {
    const { name } = call.function;
    const args = JSON.parse(call.function.arguments) as Readonly<Record<string, unknown>>;
    const answer = (content: string): Message => ({ role: 'tool', tool_call_id: call.id, content });
    const spend = { ...place, tool: name, spend_id: call.id };
    const decision = await this.#module('authorizeSpend', { ...spend, on_refusal: 'continue' });
    if (decision?.['decision'] === 'denied') return answer(String(decision['message']));
    try {
      let result = await this.#env.runTool(name, args);
      const behind = agent.tools.find((tool) => tool.name === name)?.agent;
      if (behind !== undefined) result = await this.#loop(behind, String(args['task']), call.id);
      await this.#module('recordToolCost', spend);
      return answer(result);
    } catch (error) {
      if (error instanceof MakeError) throw error;
      await this.#module('recordToolCost', { ...spend, status: 'failed' });
      return answer(error instanceof Error ? error.message : String(error));
    }
  }
}

interface Reply {
  readonly choices?: readonly { readonly message: Message }[];
  readonly usage?: {
    readonly prompt_tokens: number;
    readonly completion_tokens: number;
    readonly prompt_tokens_details?: { readonly cached_tokens?: number };
    readonly completion_tokens_details?: { readonly reasoning_tokens?: number };
  } | null;
  readonly error?: { readonly message: string };
}

async function callModel(env: PlayEnv, body: object, timeoutMs: number): Promise<{ status: number; reply: Reply }> {
  const response = await fetch(`${env.model.baseUrl}/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${env.model.apiKey}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(timeoutMs),
  });
  return { status: response.status, reply: (await response.json()) as Reply };
}

/** The refusal behind an error: in the error envelope of a 402, 409 or 422, or in the decision that came with a 202. */
export function refusalIn(error: unknown): RefusalCode | undefined {
  if (!(error instanceof MakeError)) return undefined;
  const body = error.body as
    { readonly error?: { readonly code?: string }; readonly decisions?: readonly { readonly reason?: string }[] } | undefined;
  const code = body?.error?.code ?? body?.decisions?.[0]?.reason;
  return code !== undefined && code in REFUSALS && code !== 'provider_failed' ? (code as RefusalCode) : undefined;
}

function reasonOf(error: unknown): string {
  return refusalIn(error) === undefined ? 'A module of the scenario failed.' : 'Refused by a budget or a policy.';
}
