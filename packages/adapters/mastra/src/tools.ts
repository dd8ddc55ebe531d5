import type { ToolHooks } from '@mastra/core/tools';
import type { Failure } from '@runpurse/core/language-model';
import { frames, guarded, obstacleOf, type Hold, type Live } from './live.ts';
import type { Execution } from './execution.ts';

/** What is used of a tool, as Mastra runs it. */
interface Tool {
  readonly execute?: ((input: unknown, context: ToolContext) => unknown) | undefined;
}
export interface ToolContext {
  readonly toolCallId?: string | undefined;
  readonly requestContext?: object | undefined;
  /** What a suspended call is resumed with. */
  readonly resumeData?: unknown;
  readonly suspend?: ((...args: readonly unknown[]) => unknown) | undefined;
}
interface ToolCall {
  readonly name: string;
  readonly toolCallId: string;
  readonly input: unknown;
  readonly isResumed: boolean;
}

/** Finds the execution a tool call belongs to: it may have been suspended in one and go on in another. */
type ExecutionFor = (context: ToolContext, known?: Execution) => Promise<Execution>;

/** A step's tools, each asked for before it runs. Agents, workflows and MCP tools are among them; a denied one throws, which the model is told. */
export function guardTools(
  execution: Execution,
  tools: Readonly<Record<string, unknown>>,
  executionFor: ExecutionFor,
): Record<string, unknown> {
  return Object.fromEntries(Object.entries(tools).map(([name, tool]) => [name, guardTool(execution, name, tool as Tool, executionFor)]));
}

function guardTool(known: Execution, name: string, tool: Tool, executionFor: ExecutionFor): Tool {
  const { execute } = tool;
  if (typeof execute !== 'function') return tool; // its provider runs it, or the caller's client
  const asking = async (input: unknown, context: ToolContext): Promise<unknown> => {
    const execution = await executionFor(context, known);
    const { live, place } = execution;
    const toolCallId = context.toolCallId ?? crypto.randomUUID();
    const hold = await holdFor(execution, { name, toolCallId, input, isResumed: context.resumeData !== undefined });
    let isSuspended = false;
    const suspend = (...args: readonly unknown[]): unknown => {
      isSuspended = true;
      return context.suspend?.(...args);
    };
    const inside = { live, place: { agentId: place.agentId, parentStepId: hold.id }, toolCallId };
    try {
      const output = await frames.run(inside, () => execute.call(tool, input, { ...context, ...(context.suspend && { suspend }) }));
      if (isSuspended) suspended(live, toolCallId, hold);
      else hold.settle(undefined);
      return output;
    } catch (error) {
      hold.settle({ error });
      throw error;
    }
  };
  return Object.assign(Object.create(Object.getPrototypeOf(tool) as object) as Tool, tool, { execute: asking });
}

/** Asks for a tool call and holds its price. Throws when it must not run. A call that is resumed has its hold already. */
async function holdFor({ live, place }: Execution, { name, toolCallId, input, isResumed }: ToolCall): Promise<Hold> {
  const resumed = live.suspended.get(toolCallId);
  if (live.suspended.delete(toolCallId) && resumed !== undefined) return resumed;
  // Begun in another process: it was asked for there, and is charged at its hold when nobody there says how it ended.
  if (isResumed) return { id: toolCallId, settle: () => {} };
  const uses = (live.toolUses.get(toolCallId) ?? 0) + 1;
  live.toolUses.set(toolCallId, uses);
  const id = uses === 1 ? toolCallId : `${toolCallId}~${uses}`;
  const obstacle = obstacleOf(await live.run.authorizeTool({ ...place, tool: name, toolCallId: id, stepId: id, input }));
  if (obstacle !== undefined) throw obstacle;
  const hold: Hold = {
    id,
    settle: (failure: Failure | undefined) => {
      if (!live.open.delete(hold)) return;
      live.run.settleTool({ toolCallId: id, status: failure === undefined ? 'completed' : 'failed', error: failure?.error });
    },
  };
  live.open.set(hold, () => hold.settle({ error: new Error('its run ended first') }));
  return hold;
}

/** Somebody is asked before the call goes on. Its run stays open until it is resumed. */
function suspended(live: Live, toolCallId: string, hold: Hold): void {
  live.suspended.set(toolCallId, hold);
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

/**
 * The agent's tool hooks with ours: what reaches a tool past the processor (a call resumed in another process, a call with
 * `inputProcessors` of its own) is asked for here. A tool that is guarded already is left alone.
 */
export function hooksAround(theirs: ToolHooks | undefined, executionFor: ExecutionFor): ToolHooks {
  const holds = new WeakMap<object, Hold>();
  return {
    ...theirs,
    async beforeToolCall(call) {
      const skipped = await theirs?.beforeToolCall?.(call);
      if (skipped?.proceed === false) return skipped;
      const context = call.context as ToolContext;
      const { toolCallId = crypto.randomUUID() } = context;
      if (frames.getStore()?.toolCallId === toolCallId) return undefined;
      try {
        const asked: ToolCall = { name: call.toolName, toolCallId, input: call.input, isResumed: context.resumeData !== undefined };
        holds.set(context, await holdFor(await executionFor(context), asked));
        return undefined;
      } catch (error) {
        return { proceed: false, output: error instanceof Error ? error.message : String(error) };
      }
    },
    async afterToolCall(call) {
      holds.get(call.context as object)?.settle(call.error === undefined ? undefined : { error: call.error });
      await theirs?.afterToolCall?.(call);
    },
  };
}
