import { defineToolInputGuardrail, getCurrentSpan, type FunctionTool, type ToolInputGuardrailData } from '@openai/agents';
import { orThrow } from '@runpurse/core';
import { frames, liveHere, type Live } from './live.ts';

type GuardedTool = FunctionTool & { [IS_GUARDED]?: boolean };
const IS_GUARDED = Symbol.for('runpurse.openai-agents.guarded');

/**
 * Makes function tools (agents behind `asTool()` and MCP tools too) ask before they run, by a tool input guardrail: a
 * denied tool does not run, and the model is told why. Changes the tools in place and returns them; doing it twice is
 * harmless. Hosted tools run at the provider and stay as they are.
 */
export function guardTools<Tools extends readonly { readonly type: string }[]>(tools: Tools): Tools {
  for (const tool of tools) if (tool.type === 'function') guardTool(tool as unknown as GuardedTool);
  return tools;
}

function guardTool(tool: GuardedTool): void {
  if (tool[IS_GUARDED] === true) return;
  const invoke = tool.invoke.bind(tool);
  // The last of the guardrails: what another one rejects is not asked about, nor held.
  tool.inputGuardrails = [...(tool.inputGuardrails ?? []), guardrail];
  tool.invoke = (context, input, details) => inside(details?.toolCall?.callId, () => invoke(context, input, details));
  tool[IS_GUARDED] = true;
}

const guardrail = defineToolInputGuardrail({ name: 'runpurse', run: askForTool });

async function askForTool({ agent, toolCall }: ToolInputGuardrailData): ReturnType<typeof guardrail.run> {
  const live = liveHere();
  if (live === undefined) return { behavior: { type: 'allow' } };
  const spanId = getCurrentSpan()?.spanId;
  if (spanId !== undefined) live.guardedSpans.add(spanId);
  const id = idFor(live, toolCall.callId);
  live.openTools.add(id);
  const decision = await live.run.authorizeTool({
    stepId: id,
    parentStepId: frames.getStore()?.parentStepId,
    agentId: agent.name,
    tool: toolCall.name,
    toolCallId: id,
    input: toolCall.arguments,
  });
  if (decision.proceed) return { behavior: { type: 'allow' } };
  live.openTools.delete(id);
  if (decision.type === 'denied')
    return { outputInfo: { code: decision.refusal.code }, behavior: { type: 'rejectContent', message: decision.refusal.message } };
  live.failure = decision.error;
  orThrow(decision);
  throw decision.error;
}

/** The id of a tool call, unique in its run. Asked about twice (before and after an approval), it is the same call. */
function idFor(live: Live, callId: string): string {
  const known = live.tools.get(callId);
  if (known !== undefined && live.openTools.has(known.id)) return known.id;
  const uses = (known?.uses ?? 0) + 1;
  const id = uses === 1 ? callId : `${callId}~${uses}`;
  live.tools.set(callId, { id, uses });
  return id;
}

/** Runs a tool inside its call, so that an agent behind it belongs to it, and says how it ended. */
async function inside<Output>(callId: string | undefined, run: () => Promise<Output>): Promise<Output> {
  const live = liveHere();
  const id = live?.tools.get(callId ?? '')?.id;
  if (live === undefined || id === undefined || !live.openTools.has(id)) return run();
  const span = getCurrentSpan();
  try {
    const output = await frames.run({ ...frames.getStore(), live, parentStepId: id, agentName: undefined, call: undefined }, run);
    // The SDK answers a tool's error to the model by itself, and notes it on the span only.
    settle(live, id, span?.error ?? undefined);
    return output;
  } catch (error) {
    settle(live, id, error);
    throw error;
  }
}

/** Says how a tool call ended, once. */
export function settle(live: Live, id: string, error: unknown): void {
  if (!live.openTools.delete(id)) return;
  live.run.settleTool({
    toolCallId: id,
    status: error === undefined ? 'completed' : 'failed',
    error: error === undefined ? undefined : asError(error),
  });
}

function asError(error: unknown): Error {
  if (error instanceof Error) return error;
  return new Error((error as { readonly message?: string }).message ?? 'failed');
}

/**
 * Guards an agent, and every agent it can hand over to: its function tools and the tools of its MCP servers. `runner()`
 * does it for the agents it runs; agents behind `asTool()` can't be reached from there and are guarded by this.
 */
export function guardAgent<Guarded extends AgentLike>(agent: Guarded, seen: Set<object> = new Set()): Guarded {
  if (seen.has(agent)) return agent;
  seen.add(agent);
  guardTools(agent.tools);
  const { getMcpTools } = agent;
  if (!Object.hasOwn(agent, 'getMcpTools')) agent.getMcpTools = async (...args) => guardTools(await getMcpTools.apply(agent, args));
  for (const handoff of agent.handoffs) guardAgent('agent' in handoff ? handoff.agent : handoff, seen);
  return agent;
}

interface AgentLike {
  readonly tools: readonly { readonly type: string }[];
  readonly handoffs: readonly (AgentLike | { readonly agent: AgentLike })[];
  getMcpTools: (...args: never[]) => Promise<{ readonly type: string }[]>;
}
