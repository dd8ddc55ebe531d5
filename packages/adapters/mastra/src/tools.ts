import type { ToolHooks } from '@mastra/core/tools';
import { RunpurseError, usableId } from '@runpurse/core';
import type { Failure } from '@runpurse/core/language-model';
import { noteTaskEnd } from './background.ts';
import type { Execution } from './execution.ts';
import { endRun, frames, guarded, obstacleOf, type Hold, type Live, type SuspendedCall } from './live.ts';

/** What is used of a tool, as Mastra runs it. */
interface Tool {
  readonly type?: string | undefined;
  readonly execute?: ((input: unknown, context?: ToolContext) => unknown) | undefined;
  readonly providerOptions?: object | undefined;
}

/** What is read of the context of a tool call: Mastra's own object of this call, in which `suspend` is replaced. */
export interface ToolContext extends CallContext {
  readonly requestContext?: object | undefined;
  /** Where a tool's own code is told of its call; the layers that Mastra puts around that are told beside it. */
  readonly agent?: CallContext | undefined;
}
interface CallContext {
  readonly toolCallId?: string | undefined;
  /** A list of its own for each call. A network, which calls tools by itself, makes none. */
  readonly messages?: object | undefined;
  /** What a suspended call is resumed with; a model may write it too. */
  readonly resumeData?: unknown;
  /** What it was suspended with: known of a call that Mastra resumes, and no model can write it. */
  readonly suspendPayload?: unknown;
  readonly isBackgroundTask?: boolean | undefined;
  suspend?: ((...args: readonly unknown[]) => unknown) | undefined;
}

interface ToolCall {
  readonly tool: string;
  readonly input: unknown;
  readonly context: CallContext;
}
/** A call that may run. */
interface Allowed extends ToolCall {
  readonly execution: Execution;
  readonly hold: Hold;
}

/** Finds the execution a tool call belongs to: it may have been suspended in one and go on in another. */
export type ExecutionFor = (context: ToolContext, known?: Execution) => Promise<Execution>;

/** Asks for an agent's tool calls, each once, whichever way Mastra reaches the tool. A denied one throws, which the model is told. */
export interface Guard {
  /**
   * Tools that ask before they run: the agent's own, which a network takes as they are, and those of an execution's step,
   * agents, workflows and MCP tools among them.
   */
  tools(tools: object, known?: Execution): Record<string, unknown>;
  /** The agent's hooks with ours, for what neither has guarded: a call with `inputProcessors` of its own. */
  hooks(theirs: ToolHooks | undefined): ToolHooks;
}

export function guardOf(executionFor: ExecutionFor): Guard {
  /** Calls that the hook has asked for, by its context, and by their messages until the tool itself is reached. */
  const askedByHook = new WeakMap<object, Allowed>();

  async function ask(call: ToolCall, context: ToolContext, known?: Execution): Promise<Allowed> {
    const execution = await executionFor(context, known);
    const hold = askedAsStranger(execution, call) ?? (await holdFor(execution.live, execution.place, call));
    const allowed = { ...call, execution, hold };
    noteSuspension(allowed);
    return allowed;
  }

  function guard(name: string, tool: Tool, known: Execution | undefined): Tool {
    const { execute } = tool;
    if (typeof execute !== 'function') return tool.type?.startsWith('provider') === true ? tool : marked(tool); // others run it
    const asking = async (input: unknown, given?: ToolContext): Promise<unknown> => {
      const context = given ?? {};
      const part = context.agent ?? context;
      const run = (): unknown => execute.call(tool, input, given);
      if (holdAround(part, name) !== undefined) return run();
      const byHook = taken(askedByHook, part.messages);
      let allowed = byHook?.context.toolCallId === part.toolCallId ? byHook : undefined;
      try {
        allowed ??= await ask({ tool: name, input, context: part }, context, known);
      } catch (error) {
        noteIfTask(part, known, undefined);
        if (known?.isLegacy === true && RunpurseError.isInstance(error)) return error.message; // thrown, it would end the agent
        throw error;
      }
      // In no agent's execution, which would end the run it began: a network's own call.
      const endsRun = known === undefined && part.messages === undefined && allowed.execution.isOwner;
      return running(allowed, run, endsRun).finally(() => noteIfTask(part, known, allowed?.hold));
    };
    return marked(tool, { execute: asking });
  }

  return {
    tools: (tools, known) => Object.fromEntries(Object.entries(tools).map(([name, tool]) => [name, guard(name, tool as Tool, known)])),

    hooks: (theirs) => ({
      ...theirs,
      async beforeToolCall(call) {
        const context = call.context as ToolContext;
        const around = holdAround(context, call.toolName);
        const skipped = await unlessSkipped(around, () => theirs?.beforeToolCall?.(call));
        if (around !== undefined || skipped?.proceed === false) return skipped;
        try {
          const allowed = await ask({ tool: call.toolName, input: call.input, context }, context);
          for (const key of [context, context.messages]) if (key !== undefined) askedByHook.set(key, allowed);
          return undefined;
        } catch (error) {
          return { proceed: false, output: error instanceof Error ? error.message : String(error) };
        }
      },
      async afterToolCall(call) {
        const context = call.context as ToolContext;
        const failure = call.error === undefined ? undefined : { error: call.error };
        const allowed = taken(askedByHook, context);
        if (allowed !== undefined) conclude(allowed, call.output, failure);
        else settle(holdAround(context, call.toolName), call.toolName, call.output, failure); // before a hook of theirs that fails
        await theirs?.afterToolCall?.(call);
      },
    }),
  };
}

/** Asks for a tool call and holds its price. Throws when it must not run. A call that Mastra resumes has its hold already. */
async function holdFor(live: Live, place: Execution['place'], { tool, input, context }: ToolCall): Promise<Hold> {
  const { resumeData, suspendPayload } = context;
  const toolCallId = usableId(context.toolCallId) ?? crypto.randomUUID();
  const key = `${place.parentStepId}\n${toolCallId}`; // models of two agents may give the same ids
  const waiting = waitingCall(live, place, { tool, toolCallId });
  const isResumed = resumeData !== undefined && (suspendPayload !== undefined || waiting?.hasPayload === false);
  if (isResumed && waiting !== undefined) return resumed(live, waiting);
  // Begun in another process: it was asked for there, and is charged at its hold when nobody there says how it ended.
  if (isResumed && !live.toolCalls.has(key)) return { id: toolCallId, settle: () => {}, release: () => {} };
  live.toolCalls.add(key);
  const id = live.run.toolCallId(toolCallId);
  const obstacle = obstacleOf(await live.run.authorizeTool({ ...place, tool, toolCallId: id, stepId: id, input }));
  if (obstacle !== undefined) throw obstacle;
  const hold: Hold = {
    id,
    settle: (failure) => {
      if (!live.open.delete(hold)) return;
      live.run.settleTool({ toolCallId: id, status: failure === undefined ? 'completed' : 'failed', error: failure?.error });
    },
    release: (why) => {
      if (!live.open.delete(hold)) return;
      live.run.settleTool({ toolCallId: id, status: 'failed', error: why, neverRan: true });
    },
  };
  live.open.set(hold, () => hold.settle({ error: new Error('its run ended first') }));
  if (resumeData !== undefined) superseded(live, tool);
  return hold;
}

/** The call of this id that waits where it is resumed, or the only one of it that waits anywhere. */
function waitingCall(live: Live, place: Execution['place'], call: Pick<SuspendedCall, 'tool' | 'toolCallId'>): SuspendedCall | undefined {
  const same = [...live.suspended].filter(({ tool, toolCallId }) => tool === call.tool && toolCallId === call.toolCallId);
  return same.find(({ parentStepId }) => parentStepId === place.parentStepId) ?? (same.length === 1 ? same[0] : undefined);
}

function resumed(live: Live, call: SuspendedCall): Hold {
  live.suspended.delete(call);
  call.hold.suspension = undefined;
  return call.hold;
}

/** The model itself resumes a call (`autoResumeSuspendedTools`) by another of the same tool, which was asked for: one of them costs. */
function superseded(live: Live, tool: string): void {
  const call = [...live.suspended].findLast((each) => each.tool === tool);
  if (call !== undefined) resumed(live, call).release('another call went on with it');
}

function noteSuspension({ context, hold }: Allowed): void {
  const { suspend } = context;
  if (suspend === undefined) return;
  context.suspend = (...args) => {
    const isForApproval = (args[1] as { readonly requireToolApproval?: unknown } | undefined)?.requireToolApproval !== undefined;
    hold.suspension = { hasPayload: args[0] !== undefined && !isForApproval }; // an approval's payload is not given back
    return suspend(...args);
  };
}

function noteIfTask({ isBackgroundTask, toolCallId }: CallContext, known: Execution | undefined, hold: Hold | undefined): void {
  if (isBackgroundTask !== true || known === undefined || toolCallId === undefined) return;
  noteTaskEnd(known.live, toolCallId, hold?.suspension === undefined ? 'over' : 'suspended');
}

async function running({ execution, hold, ...call }: Allowed, run: () => unknown, endsRun: boolean): Promise<unknown> {
  const { live, place } = execution;
  const inside = {
    live,
    place: { agentId: place.agentId, parentStepId: hold.id },
    call: { key: keyOf(call.context), tool: call.tool, hold },
  };
  let failure: Failure | undefined;
  try {
    const output = await frames.run(inside, run);
    conclude({ ...call, execution, hold }, output, undefined);
    return output;
  } catch (error) {
    failure = { error };
    conclude({ ...call, execution, hold }, undefined, failure); // Mastra may suspend by a throw
    throw error;
  } finally {
    if (endsRun) await endRun(live, failure === undefined ? { type: 'completed' } : { type: 'failed', error: failure.error });
  }
}

/** The hold of the call that the code runs inside of, if it is this one, and not another that has its context: it was asked for further out. */
function holdAround(context: CallContext, tool: string): Hold | undefined {
  const call = frames.getStore()?.call;
  return call !== undefined && call.key === keyOf(context) && shownName(call.tool) === shownName(tool) ? call.hold : undefined;
}

/** A tool's name as Mastra writes it for models. */
function shownName(name: string): string {
  return name
    .replace(/[^\w-]/g, '_')
    .replace(/^(?=[^a-z_])/i, '_')
    .slice(0, 63);
}

function keyOf({ messages, toolCallId }: CallContext): unknown {
  return messages ?? toolCallId ?? {};
}

function conclude({ tool, context, execution, hold }: Allowed, output: unknown, failure: Failure | undefined): void {
  const { live, place } = execution;
  const toolCallId = usableId(context.toolCallId) ?? hold.id;
  if (hold.suspension !== undefined) suspended(live, { hold, tool, toolCallId, parentStepId: place.parentStepId, ...hold.suspension });
  else settle(hold, tool, output, failure);
}

/** Somebody is asked before the call goes on. Its run stays open until it is resumed. */
function suspended(live: Live, call: SuspendedCall): void {
  if ([...live.suspended].some(({ hold }) => hold === call.hold)) return;
  live.suspended.add(call);
  guarded(
    live.host,
    () =>
      live.run.record({
        type: 'approval.requested',
        step_kind: 'approval',
        event_phase: 'state',
        policy_stage: 'audit_only',
        metadata: { message: 'suspended, waiting to be resumed' },
      }),
    undefined,
  );
}

/** Reports how a call ended. Mastra tells of arguments it rejects, and of results, as if that were the result. */
function settle(hold: Hold | undefined, tool: string, output: unknown, failure: Failure | undefined): void {
  if (hold === undefined || hold.suspension !== undefined) return;
  const rejection = typeof output === 'object' && output !== null && 'validationErrors' in output ? (output as Rejection) : undefined;
  if (tool.startsWith('agent-') && isDelegationRejected(output)) hold.release('onDelegationStart rejected it, so that it did not run');
  else if (failure !== undefined || rejection?.error !== true) hold.settle(failure);
  else if (rejection.message?.startsWith(`Tool input validation failed for ${tool}.`) === true)
    hold.release('Mastra rejected its arguments, so that it did not run');
  else hold.settle({ error: new Error('Mastra rejected its result') });
}
interface Rejection {
  readonly error?: unknown;
  readonly message?: string;
}

/** What Mastra gives for an agent it did not call: of one it called, its tools' results are beside the text. */
function isDelegationRejected(output: unknown): boolean {
  if (typeof output !== 'object' || output === null || !('subAgentThreadId' in output) || 'subAgentToolResults' in output) return false;
  return 'text' in output && String(output.text).startsWith('[Delegation Rejected] ');
}

/** What a hook of the agent's own skips does not run, and costs nothing. */
async function unlessSkipped<Result extends { readonly proceed?: boolean } | void>(
  hold: Hold | undefined,
  hook: () => Result | PromiseLike<Result>,
): Promise<Result> {
  try {
    const result = await hook();
    if (typeof result === 'object' && result.proceed === false) hold?.release('a hook of the agent skipped it');
    return result;
  } catch (error) {
    hold?.release('a hook of the agent failed before it ran');
    throw error;
  }
}

function taken<Value>(map: WeakMap<object, Value>, key: object | undefined): Value | undefined {
  const value = key && map.get(key);
  if (key !== undefined) map.delete(key);
  return value;
}

/**
 * Provider options of guarded tools, numbered. Mastra hands them on to the model as they are, so a step's tools without them
 * are strangers. They are made anew each time they are read: a copy, which may run something else, bears old ones.
 */
const marks = new WeakMap<object, number>();
let lastMark = 0;
export const marksMade = (): number => lastMark;

function marked(tool: Tool, changes: Pick<Tool, 'execute'> = {}): Tool {
  const copy = Object.assign(Object.create(Object.getPrototypeOf(tool) as object) as Tool, tool, changes);
  let { providerOptions } = tool;
  return Object.defineProperty(copy, 'providerOptions', {
    enumerable: true,
    configurable: true,
    get() {
      const own = { ...providerOptions };
      marks.set(own, ++lastMark);
      return own;
    },
    set(given: object | undefined) {
      providerOptions = given;
    },
  });
}

/** Tools that came in after the processor, by `prepareStep`, are nowhere to be guarded: they are asked for as the model calls them. */
export interface Strangers {
  /** Names of the newest model call's tools that are guarded, when some are not. */
  guarded?: ReadonlySet<string> | undefined;
  /** Their calls under way, by the id the model gave them. */
  readonly holds: Map<string, { readonly tool: string; readonly hold: Hold }>;
}

/** Notes which of a model call's tools are guarded. */
export function noteStrangers(
  { strangers, marksBefore }: { readonly strangers: Strangers; readonly marksBefore: number },
  tools: unknown,
): void {
  const given = (Array.isArray(tools) ? tools : []) as readonly (Tool & { readonly name: string })[];
  const guardedOnes = given.filter(
    ({ type, providerOptions }) =>
      type !== 'function' || (providerOptions !== undefined && (marks.get(providerOptions) ?? 0) > marksBefore),
  );
  strangers.guarded = guardedOnes.length === given.length ? undefined : new Set(guardedOnes.map(({ name }) => name));
}

/** A call in a model's answer. Throws when the tool must not run. */
export async function askStranger(
  { strangers, live, place }: Pick<Execution, 'strangers' | 'live' | 'place'>,
  part: object,
): Promise<void> {
  const { toolCallId, toolName: tool = '', input, providerExecuted } = part as CallPart;
  if (strangers.guarded?.has(tool) !== false || providerExecuted === true) return;
  strangers.holds.set(toolCallId, { tool, hold: await holdFor(live, place, { tool, input, context: { toolCallId } }) });
}

/** The hold of a call that was asked for as a copy's, which goes on to the tool it was copied from. */
function askedAsStranger({ strangers: { holds } }: Execution, { tool, context: { toolCallId = '' } }: ToolCall): Hold | undefined {
  const asked = holds.get(toolCallId);
  if (asked?.tool !== tool) return undefined;
  holds.delete(toolCallId);
  return asked.hold;
}

/** A part of the agent's stream that tells how a call ended. */
export function settleStranger(
  { strangers: { holds } }: Execution,
  { type, payload }: { readonly type: string; readonly payload?: unknown },
): void {
  if (type !== 'tool-result' && type !== 'tool-error') return;
  const { toolCallId, toolName = '', result, error } = payload as CallPart;
  const hold = holds.get(toolCallId)?.hold;
  holds.delete(toolCallId);
  settle(hold, toolName, result, type === 'tool-error' ? { error } : undefined);
}

/** What is read of such parts. */
interface CallPart {
  readonly toolCallId: string;
  readonly toolName?: string;
  readonly input?: unknown;
  readonly providerExecuted?: boolean | undefined;
  readonly result?: unknown;
  readonly error?: unknown;
}
