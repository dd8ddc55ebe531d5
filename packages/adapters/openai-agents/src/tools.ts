import {
  attachClientToolSearchExecutor,
  defineToolInputGuardrail,
  getClientToolSearchExecutor,
  getCurrentSpan,
  type FunctionTool,
  type HostedTool,
  type ToolInputGuardrailData,
} from '@openai/agents';
import { orThrow, type Decision } from '@runpurse/core';
import { frames, liveHere, newestHost, statedInside, type EndAfter, type Hold, type Live } from './live.ts';
import { forgetTraced } from './traces.ts';
import { reasonOf, spanError, thrown, type Failure } from './translate.ts';
import { warnOnce } from './warn.ts';

/** On what is ours, so that a second copy of this package leaves it alone. */
const IS_OURS = Symbol.for('runpurse.openai-agents.guarded');
const isOurs = (what: object): boolean => (what as { readonly [IS_OURS]?: boolean })[IS_OURS] === true;
const ours = <What extends object>(what: What): What => Object.assign(what, { [IS_OURS]: true });

const guardedSpans = new WeakSet<object>();
const guardedNames = new Set<string>();

/** Is a tool's span told from here? One that failed before any guardrail, over its arguments, is known by its name only. */
export function isGuarded(span: object, name: string, hasFailed: boolean): boolean {
  return guardedSpans.has(span) || (hasFailed && guardedNames.has(name));
}

/**
 * Makes function tools (agents behind `asTool()` and MCP tools too) ask before they run, by a tool input guardrail: a
 * denied tool does not run, and the model is told why. Changes the tools in place and returns them; doing it twice is
 * harmless. A tool search that runs here has what it finds guarded; other hosted tools run at the provider and stay as they
 * are.
 */
export function guardTools<Tools extends readonly { readonly type: string }[]>(tools: Tools): Tools {
  for (const tool of tools)
    if (tool.type === 'function') guardTool(tool as unknown as FunctionTool);
    else if (tool.type === 'hosted_tool') guardSearch(tool as unknown as HostedTool);
  return tools;
}

/**
 * Guards an agent and every agent it can hand over to: its function tools and the tools of its MCP servers, those it gets
 * later and those of its copies too. `runner()` does it for the agents it runs; an agent behind `asTool()` can't be reached
 * from there and is guarded by this.
 */
export function guardAgent<Guarded extends AgentLike>(agent: Guarded): Guarded {
  for (const each of agentsFrom(agent)) {
    guardTools(each.tools);
    const { getAllTools, clone } = each;
    if (!isOurs(getAllTools)) each.getAllTools = ours(async (...args) => guardTools(await getAllTools.apply(each, args)));
    if (isOurs(clone)) continue;
    // A sandbox agent runs as a copy of itself that has more tools.
    each.clone = ours((config) => guardAgent(clone.call(each, config)));
    const handedOver = (_context: unknown, next: AgentLike): void => void guardAgent(next);
    each.on('agent_handoff' as never, handedOver as never);
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
  getAllTools: (...args: never[]) => Promise<{ readonly type: string }[]>;
  clone: (config: never) => AgentLike;
  on(event: never, listener: never): unknown;
}

/** Again and again: who sets a tool's guardrails later, or copies it, would take ours away. */
function guardTool(tool: FunctionTool): void {
  try {
    const guardrails = tool.inputGuardrails ?? [];
    // We ask last: what another one rejects is not asked about, nor held.
    if (!guardrails.some(isOurs)) tool.inputGuardrails = [mark, ...guardrails, guardrail];
    const { invoke } = tool;
    if (!isOurs(invoke))
      tool.invoke = ours(async (context, input, details) => inside(holdOf(details?.toolCall), () => invoke(context, input, details)));
    guardedNames.add(tool.name);
  } catch {
    warnOfFrozen(tool);
  }
}

/** The tools a search finds are of no agent: they are reached where it finds them. */
function guardSearch(search: HostedTool): void {
  const find = getClientToolSearchExecutor(search);
  if (find === undefined || isOurs(find)) return;
  const guarded: typeof find = async (args) => {
    const found = await find(args);
    guardTools([found ?? []].flat());
    return found;
  };
  try {
    attachClientToolSearchExecutor(search, ours(guarded));
  } catch {
    warnOfFrozen(search);
  }
}

function warnOfFrozen({ name }: { readonly name: string }): void {
  warnOnce(`The tool "${name}" can't be guarded, because it can't be changed. Hand over one that is not frozen.`);
}

const ALLOWED = { behavior: { type: 'allow' } } as const;

/** Comes first, to tell a guarded tool's span from one that nobody guarded, whatever the other guardrails say. */
const mark = ours(
  defineToolInputGuardrail({
    name: 'runpurse: guarded',
    run: async () => {
      const span = getCurrentSpan();
      if (span !== null) guardedSpans.add(span);
      return ALLOWED;
    },
  }),
);

const guardrail = ours(defineToolInputGuardrail({ name: 'runpurse', run: askForTool }));

async function askForTool({ agent, toolCall }: ToolInputGuardrailData): ReturnType<typeof guardrail.run> {
  const host = liveHere()?.host ?? newestHost();
  if (host === undefined) {
    warnOnce('A guarded tool runs unasked: no Runpurse is attached. Make one, or call attachRunpurse(), before the first run.');
    return ALLOWED;
  }
  const { live, endAfter } = host.liveFor(agent.name);
  const started = await live.run.start();
  if (!started.proceed) {
    forgetTraced(live);
    return refused(live, started);
  }
  const hold = host.guard(() => openHold(live, toolCall) ?? takeHold(live, toolCall, endAfter));
  if (hold === undefined || hold.isPaid) return ALLOWED;
  const decision = await live.run.authorizeTool({
    stepId: hold.id,
    parentStepId: frames.getStore()?.parentStepId,
    agentId: agent.name,
    tool: toolCall.name,
    toolCallId: hold.id,
    input: toolCall.arguments,
  });
  if (decision.proceed) return ALLOWED;
  live.holds.delete(hold);
  await endAfter?.(undefined);
  return refused(live, decision);
}

/** The model is told of a denial; that nobody answered is thrown, as the failure policy wants it. */
function refused(live: Live, decision: Exclude<Decision, { readonly type: 'allowed' }>): Awaited<ReturnType<typeof guardrail.run>> {
  if (decision.type === 'denied')
    return { outputInfo: { code: decision.refusal.code }, behavior: { type: 'rejectContent', message: decision.refusal.message } };
  live.failure = thrown(decision.error);
  orThrow(decision);
  throw decision.error;
}

type ToolCall = Hold['toolCall'];

/** Holds of calls that no run is around, as with tracing off. */
const alone = new WeakMap<ToolCall, Hold>();

function takeHold(live: Live, toolCall: ToolCall, endAfter: EndAfter | undefined): Hold {
  const { name, callId } = toolCall;
  const isPaid = live.waitingTools.delete(`${name}:${callId}`);
  const id = live.run.toolCallId(callId);
  const hold: Hold = { live, id, toolCall, spanId: getCurrentSpan()?.spanId, isPaid, endAfter, isStarted: false };
  live.holds.add(hold);
  if (endAfter !== undefined) alone.set(toolCall, hold);
  return hold;
}

/** Models repeat ids, and runs share contexts: a call is known by itself. */
function openHold(live: Live, toolCall: ToolCall): Hold | undefined {
  return [...live.holds].find((hold) => !hold.isStarted && hold.toolCall === toolCall);
}

function holdOf(toolCall: ToolCall | undefined): Hold | undefined {
  if (toolCall === undefined) return undefined;
  const live = liveHere();
  return live === undefined ? alone.get(toolCall) : openHold(live, toolCall);
}

/** Runs a tool inside its call, so that an agent behind it belongs to it, and says how it ended. */
async function inside<Output>(hold: Hold | undefined, run: () => Promise<Output>): Promise<Output> {
  if (hold === undefined) return run();
  hold.isStarted = true;
  const { live, id, endAfter } = hold;
  const span = getCurrentSpan();
  const { stated, ...outer } = frames.getStore() ?? {};
  const frame = { ...outer, live, stated: statedInside(stated), parentStepId: id, agentName: undefined, call: undefined };
  let failure: Failure | undefined;
  try {
    const output = await frames.run(frame, run);
    // The SDK answers a tool's error to the model by itself, and notes it on the span only.
    const told = spanError(span?.error ?? null);
    if (told !== undefined) failure = thrown(told);
    return output;
  } catch (error) {
    failure = thrown(error);
    throw error;
  } finally {
    settle(hold, failure);
    await endAfter?.(failure);
  }
}

/** The run is over or waits: what has not begun does not, and what runs on is told as failed. */
export function endTools({ holds }: Live): void {
  for (const hold of holds)
    if (hold.isStarted) settle(hold, thrown(new Error('its run ended first')));
    else release(hold);
}

/** Says how a tool call ended, once. */
function settle(hold: Hold, failure: Failure | undefined): void {
  const { live, id, isPaid } = hold;
  if (!live.holds.delete(hold) || isPaid) return;
  live.host.guard(() =>
    live.run.settleTool({
      toolCallId: id,
      status: failure === undefined ? 'completed' : 'failed',
      error: failure && new Error(reasonOf(failure)),
    }),
  );
}

/** Gives back what is held for a call that was allowed and not made: another guardrail rejected it, a hook threw, the run was aborted. */
export function release(hold: Hold): void {
  const { live, id, isPaid } = hold;
  if (!live.holds.delete(hold) || isPaid) return;
  live.host.guard(() => live.run.settleTool({ toolCallId: id, status: 'failed', error: 'it was allowed, and not called', neverRan: true }));
}
