import { isDeepStrictEqual } from 'node:util';
import {
  attachClientToolSearchExecutor,
  defineToolInputGuardrail,
  getClientToolSearchExecutor,
  getCurrentSpan,
  type FunctionTool,
  type HostedTool,
  type Span,
  type SpanData,
  type ToolInputGuardrailData,
} from '@openai/agents';
import { orThrow, type Decision } from '@runpurse/core';
import { frames, liveHere, newestHost, statedInside, traceHere, type EndAfter, type Hold, type Live } from './live.ts';
import { forgetTraced } from './traces.ts';
import { reasonOf, spanError, thrown, timeoutIn, type Failure, type Timed } from './translate.ts';
import { warnOnce } from './warn.ts';

/** On what is ours, so that a second copy of this package leaves it alone. */
const IS_OURS = Symbol.for('runpurse.openai-agents.guarded');
const isOurs = (what: object): boolean => (what as { readonly [IS_OURS]?: boolean })[IS_OURS] === true;
const ours = <What extends object>(what: What): What => Object.assign(what, { [IS_OURS]: true });

const guardedSpans = new WeakSet<object>();

/** Is a tool's span told from here? */
export function isGuarded(span: object): boolean {
  return guardedSpans.has(span);
}

/**
 * Makes function tools (agents behind `asTool()` and MCP tools too) ask before they run, by a tool input guardrail: a
 * denied tool does not run, and the model is told why. Changes the tools in place and returns them; doing it twice is
 * harmless. A tool search that runs here has what it finds guarded; other hosted tools run at the provider and stay as they
 * are.
 */
export function guardTools<Tools extends readonly AnyTool[]>(tools: Tools): Tools {
  guardEach(tools);
  return tools;
}

/**
 * Guards an agent and every agent it can hand over to: its function tools and the tools of its MCP servers, those it gets
 * later and those of its copies too. `runner()` does it for the agents it runs; an agent behind `asTool()` can't be reached
 * from there and is guarded by this. Of a frozen agent only the tools it has now are guarded.
 */
export function guardAgent<Guarded extends AgentLike>(agent: Guarded): Guarded {
  guardAll(agent);
  return agent;
}

/** The same; tells what can't be guarded, which is warned of. */
export function guardAll(agent: AgentLike): Unguarded {
  return [...agentsFrom(agent)].flatMap((each) => [...guardEach(each.tools), ...guardLater(each)]);
}

/** What is kept of a run's state to be resumed: tools that its agents gave before anybody guarded them. */
export function guardState({ currentAgent, _lastProcessedResponse: response }: StateLike): Unguarded {
  return [...guardAll(currentAgent), ...guardEach((response?.functions ?? []).map(({ tool }) => tool))];
}

/** In words, for a warning. */
export type Unguarded = readonly string[];

function guardEach(tools: readonly AnyTool[]): Unguarded {
  return tools.filter((tool) => !guardOne(tool)).map((tool) => warnOfFrozen(`The tool "${(tool as FunctionTool).name}"`));
}

/** Tools that come up in the middle of a run. */
function guardHere(tools: readonly AnyTool[]): void {
  const unguarded = guardEach(tools);
  liveHere()?.host.insist(unguarded);
}

/** An agent and all it can hand over to. */
export function agentsFrom(agent: AgentLike, found: Set<AgentLike> = new Set()): ReadonlySet<AgentLike> {
  if (found.has(agent)) return found;
  found.add(agent);
  for (const handoff of agent.handoffs) agentsFrom('agent' in handoff ? handoff.agent : handoff, found);
  return found;
}

interface AnyTool {
  readonly type: string;
}

/** The parts of the SDK's `Agent` that are looked at, whatever its context and output. */
export interface AgentLike {
  readonly name: string;
  readonly model: unknown;
  readonly tools: readonly AnyTool[];
  readonly handoffs: readonly (AgentLike | { readonly agent: AgentLike })[];
  getAllTools: (...args: never[]) => Promise<AnyTool[]>;
  clone: (config: never) => AgentLike;
  on(event: never, listener: never): unknown;
  off(event: never, listener: never): unknown;
}

/** The same of its `RunState`. */
export interface StateLike {
  readonly currentAgent: AgentLike;
  readonly _lastProcessedResponse?: { readonly functions: readonly { readonly tool: AnyTool }[] } | undefined;
}

/** Tools that an agent gives later: its MCP servers', its copies' and those of whom it hands over to. */
function guardLater(agent: AgentLike): Unguarded {
  try {
    const { getAllTools, clone } = agent;
    if (!isOurs(getAllTools))
      agent.getAllTools = ours(async (...args) => {
        const tools = await getAllTools.apply(agent, args);
        guardHere(tools);
        return tools;
      });
    // A sandbox agent runs as a copy of itself that has more tools.
    if (!isOurs(clone)) agent.clone = ours((config) => guardAgent(clone.call(agent, config)));
    listen(agent, 'agent_handoff', handedOver);
    return [];
  } catch {
    return [warnOfFrozen(`What the agent "${agent.name}" gets later, as the tools of its MCP servers,`)];
  }
}

const handedOver = (_context: unknown, next: AgentLike): void => {
  (liveHere()?.host ?? newestHost())?.guard(() => guardAll(next));
};

/** Each listener once, and after those of the host: what a hook of theirs stops has not begun. */
function listen(agent: Pick<AgentLike, 'on' | 'off'>, event: string, listener: object): void {
  agent.off(event as never, listener as never);
  agent.on(event as never, listener as never);
}

function guardOne(tool: AnyTool): boolean {
  try {
    if (tool.type === 'function') guardFunction(tool as FunctionTool);
    else if (tool.type === 'hosted_tool') guardSearch(tool as HostedTool);
    return true;
  } catch {
    return false;
  }
}

/**
 * Again and again: who sets a tool's guardrails later, or copies it, would take ours away. `invoke` stays the SDK's own: it knows
 * by it how a tool's input is parsed, and which MCP server an approval was given for.
 */
function guardFunction(tool: FunctionTool): void {
  const guardrails = tool.inputGuardrails ?? [];
  // We ask last: what another one rejects is not asked about, nor held.
  if (!guardrails.some(isOurs)) tool.inputGuardrails = [mark, ...guardrails, guardrail];
}

/** The tools a search finds are of no agent: they are reached where it finds them. */
function guardSearch(search: HostedTool): void {
  const find = getClientToolSearchExecutor(search);
  if (find === undefined || isOurs(find)) return;
  const guarded: typeof find = async (args) => {
    const found = await find(args);
    guardHere([found ?? []].flat());
    return found;
  };
  attachClientToolSearchExecutor(search, ours(guarded));
}

function warnOfFrozen(whose: string): string {
  const text = `${whose} can't be guarded, because it can't be changed. Hand over one that is not frozen.`;
  warnOnce(text);
  return text;
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

async function askForTool({ agent, context, toolCall }: ToolInputGuardrailData): ReturnType<typeof guardrail.run> {
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
  const isHeard =
    host.guard(() => {
      listen(agent, 'agent_tool_start', begin);
      listen(agent, 'agent_tool_end', finish);
      return true;
    }) === true;
  const hold = host.guard(() => openHold(live.holds, toolCall) ?? takeHold(live, toolCall, context, endAfter, !isHeard));
  if (hold === undefined) {
    await endAfter?.(undefined);
    host.insist([`The tool "${toolCall.name}" can't be asked for, by a fault of this adapter.`]);
    return ALLOWED;
  }
  if (hold.isPaid) return ALLOWED;
  const decision = await live.run.authorizeTool({
    stepId: hold.id,
    parentStepId: frames.getStore()?.parentStepId,
    agentId: agent.name,
    tool: toolCall.name,
    toolCallId: hold.id,
    input: toolCall.arguments,
  });
  if (decision.proceed) return ALLOWED;
  forget(hold);
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

/** Holds of calls that no run is around, as with tracing off, by the SDK's own run context. */
const alone = new WeakMap<object, Set<Hold>>();

/** With tracing off the SDK tells nobody that a span ended: the calls made in one end with it by this. */
const untraced = new WeakMap<object, Set<Hold>>();

/** Of a call that no hook can tell of it is not known whether it begins: it counts as begun. */
function takeHold(live: Live, toolCall: ToolCall, context: object, endAfter: EndAfter | undefined, isStarted: boolean): Hold {
  const { name, callId } = toolCall;
  const isPaid = live.waitingTools.delete(`${name}:${callId}`);
  const id = live.run.toolCallId(callId);
  const span: Span<SpanData> | null = getCurrentSpan();
  const hold: Hold = { live, id, toolCall, span, context, isPaid, endAfter, isStarted };
  live.holds.add(hold);
  if (endAfter !== undefined) alone.set(context, new Set(alone.get(context)).add(hold));
  if (span !== null && traceHere() === null) endWithSpan(hold, span);
  return hold;
}

function endWithSpan(hold: Hold, span: Span<SpanData>): void {
  const holds = untraced.get(span) ?? new Set();
  holds.add(hold);
  if (untraced.has(span)) return;
  untraced.set(span, holds);
  const end = span.end.bind(span);
  span.end = () => {
    end();
    endIn(span, holds, undefined);
  };
}

/** A span is over, and the calls made in it, also those that no hook told of: a host's hook threw, or the run was aborted. */
export function endIn(span: object, holds: ReadonlySet<Hold>, failure: Failure | undefined): void {
  for (const hold of holds) if (hold.span === span) hold.live.host.guard(() => endCall(hold, failure));
}

const holdsHere = (context: object): ReadonlySet<Hold> => liveHere()?.holds ?? alone.get(context) ?? new Set();

/** Models repeat ids, and runs share contexts: a call is known by itself. */
function openHold(holds: ReadonlySet<Hold>, toolCall: ToolCall): Hold | undefined {
  return [...holds].find((hold) => hold.toolCall === toolCall);
}

/** Of a call whose arguments don't fit, which it answers itself, the SDK shows each of us another copy, without them. */
function openCopy(holds: ReadonlySet<Hold>, toolCall: ToolCall): Hold | undefined {
  return toolCall.arguments === '' ? [...holds].find(({ toolCall: held }) => isDeepStrictEqual(held, toolCall)) : undefined;
}

interface CallDetails {
  readonly toolCall: ToolCall;
}

/**
 * A tool begins. The SDK says so right before, in the async context of this call alone: from here on it is inside its call, so that an
 * agent behind it belongs to it.
 */
function begin(context: object, _tool: unknown, { toolCall }: CallDetails): void {
  const hold = openHold(holdsHere(context), toolCall);
  hold?.live.host.guard(() => {
    hold.isStarted = true;
    const { stated, ...outer } = frames.getStore() ?? {};
    const { live, id } = hold;
    frames.enterWith({ ...outer, live, stated: statedInside(stated), parentStepId: id, agentName: undefined, call: undefined });
  });
}

function finish(context: object, tool: Timed, result: unknown, { toolCall }: CallDetails): void {
  const holds = holdsHere(context);
  const hold = openHold(holds, toolCall) ?? openCopy(holds, toolCall);
  hold?.live.host.guard(() => {
    // The SDK answers a tool's error to the model by itself, and notes it on the span only; that its time is up, nowhere.
    const told = spanError(getCurrentSpan()?.error ?? null) ?? timeoutIn(tool, result);
    endCall(hold, told === undefined ? undefined : thrown(told));
  });
}

/** It ended, or never began: its arguments did not fit, a hook of the host's threw, or the run was aborted. */
function endCall(hold: Hold, failure: Failure | undefined): void {
  if (!hold.live.holds.has(hold)) return;
  if (hold.isStarted) settle(hold, failure);
  else release(hold);
  void hold.endAfter?.(failure);
}

/** Was it still open? */
function forget(hold: Hold): boolean {
  alone.get(hold.context)?.delete(hold);
  if (hold.span !== null) untraced.get(hold.span)?.delete(hold);
  return hold.live.holds.delete(hold);
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
  if (!forget(hold) || isPaid) return;
  live.host.guard(() =>
    live.run.settleTool({
      toolCallId: id,
      status: failure === undefined ? 'completed' : 'failed',
      error: failure && new Error(reasonOf(failure)),
    }),
  );
}

/** Gives back what is held for a call that was allowed and not made: another guardrail rejected it, a hook threw, the run was aborted. */
function release(hold: Hold): void {
  const { live, id, isPaid } = hold;
  if (!forget(hold) || isPaid) return;
  live.host.guard(() => live.run.settleTool({ toolCallId: id, status: 'failed', error: 'it was allowed, and not called', neverRan: true }));
}
