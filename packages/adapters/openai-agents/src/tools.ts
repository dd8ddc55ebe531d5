import { defineToolInputGuardrail, getCurrentSpan, type FunctionTool, type ToolInputGuardrailData } from '@openai/agents';
import { orThrow } from '@runpurse/core';
import { frames, liveHere, type Live } from './live.ts';

type GuardedTool = FunctionTool & { [IS_GUARDED]?: boolean };
const IS_GUARDED = Symbol.for('runpurse.openai-agents.guarded');

/** Names of guarded tools. Their spans are not reported: that such a tool ran, and how, is told from here. */
export const guardedNames = new Set<string>();

/**
 * Makes function tools (agents behind `asTool()` and MCP tools too) ask before they run, by a tool input guardrail: a
 * denied tool does not run, and the model is told why. Changes the tools in place and returns them; doing it twice is
 * harmless. Hosted tools run at the provider and stay as they are.
 */
export function guardTools<Tools extends readonly { readonly type: string }[]>(tools: Tools): Tools {
  for (const tool of tools) if (tool.type === 'function') guardTool(tool as unknown as GuardedTool);
  return tools;
}

/**
 * Guards an agent and every agent it can hand over to: its function tools and the tools of its MCP servers. `runner()` does
 * it for the agents it runs; an agent behind `asTool()` can't be reached from there and is guarded by this.
 */
export function guardAgent<Guarded extends AgentLike>(agent: Guarded): Guarded {
  for (const each of agentsFrom(agent)) {
    guardTools(each.tools);
    const { getMcpTools } = each;
    if (!Object.hasOwn(each, 'getMcpTools')) each.getMcpTools = async (...args) => guardTools(await getMcpTools.apply(each, args));
  }
  return agent;
}

/** An agent and all it can hand over to. */
export function agentsFrom(agent: AgentLike, found: Set<AgentLike> = new Set()): ReadonlySet<AgentLike> {
  if (found.has(agent)) return found;
  found.add(agent);
  for (const handoff of agent.handoffs) agentsFrom('agent' in handoff ? handoff.agent : handoff, found);
  return found;
}

/** The parts of the SDK's `Agent` that are looked at, whatever its context and output. */
export interface AgentLike {
  readonly name: string;
  readonly model: unknown;
  readonly tools: readonly { readonly type: string }[];
  readonly handoffs: readonly (AgentLike | { readonly agent: AgentLike })[];
  getMcpTools: (...args: never[]) => Promise<{ readonly type: string }[]>;
}

function guardTool(tool: GuardedTool): void {
  if (tool[IS_GUARDED] === true) return;
  const invoke = tool.invoke.bind(tool);
  // The last of the guardrails: what another one rejects is not asked about, nor held.
  tool.inputGuardrails = [...(tool.inputGuardrails ?? []), guardrail];
  tool.invoke = (context, input, details) => inside(holdOf(context, details?.toolCall?.callId), () => invoke(context, input, details));
  tool[IS_GUARDED] = true;
  guardedNames.add(tool.name);
}

/** A tool call that was allowed and is not settled: the run it is charged to, and what it is called there. */
interface Hold {
  readonly live: Live;
  readonly id: string;
}

/** By the SDK's context of a run and the place in it. A call that waited for an approval finds the hold it had before. */
const holds = new WeakMap<object, Map<string, Hold>>();

const guardrail = defineToolInputGuardrail({ name: 'runpurse', run: askForTool });

async function askForTool({ agent, toolCall, context }: ToolInputGuardrailData): ReturnType<typeof guardrail.run> {
  const here = liveHere();
  if (here === undefined) return { behavior: { type: 'allow' } };
  const spanId = getCurrentSpan()?.spanId;
  if (spanId !== undefined) here.guardedSpans.add(spanId);
  const hold = here.host.guard(() => holdOf(context, toolCall.callId) ?? takeHold(here, context, toolCall));
  if (hold === undefined) return { behavior: { type: 'allow' } };
  const { live, id } = hold;
  if (live.paidTools.has(id)) return { behavior: { type: 'allow' } };
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

function takeHold(live: Live, context: object, { name, callId }: ToolInputGuardrailData['toolCall']): Hold {
  const uses = (live.toolUses.get(callId) ?? 0) + 1;
  live.toolUses.set(callId, uses);
  const hold = { live, id: uses === 1 ? callId : `${callId}~${uses}` };
  live.openTools.add(hold.id);
  if (live.waitingTools.delete(`${name}:${callId}`)) live.paidTools.add(hold.id);
  const held = holds.get(context) ?? new Map<string, Hold>();
  holds.set(context, held.set(placeOf(callId), hold));
  return hold;
}

function holdOf(context: object, callId: string | undefined): Hold | undefined {
  const hold = holds.get(context)?.get(placeOf(callId ?? ''));
  return hold?.live.openTools.has(hold.id) === true ? hold : undefined;
}

/** An agent behind a tool may share its caller's context, and the model its ids. */
function placeOf(callId: string): string {
  return `${frames.getStore()?.parentStepId ?? ''}\n${callId}`;
}

/** Runs a tool inside its call, so that an agent behind it belongs to it, and says how it ended. */
async function inside<Output>(hold: Hold | undefined, run: () => Promise<Output>): Promise<Output> {
  if (hold === undefined) return run();
  const { live, id } = hold;
  const span = getCurrentSpan();
  try {
    const outer = frames.getStore();
    const frame = { ...outer, live: liveHere() ?? live, parentStepId: id, agentName: undefined, call: undefined };
    const output = await frames.run(frame, run);
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
  if (!live.openTools.delete(id) || live.paidTools.delete(id)) return;
  const { message } = (error ?? {}) as { readonly message?: string };
  live.host.guard(() =>
    live.run.settleTool({
      toolCallId: id,
      status: error === undefined ? 'completed' : 'failed',
      error: error === undefined ? undefined : new Error(message ?? 'failed'),
    }),
  );
}
