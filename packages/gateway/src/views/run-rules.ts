import type { DecisionEntry, EventEntry, ReserveEntry } from '../store/entry.ts';

/** The rules by which a call's cost and evidence count. The stored rows and the run shape both follow these, so they agree. */

export type CostLine = 'model' | 'tool' | 'retry';

/** The run's line a call's cost is in. The lines are disjoint: a retry is in neither of the other two. */
export function costLine(call: Pick<ReserveEntry, 'kind' | 'attempt'>): CostLine {
  return call.attempt > 1 ? 'retry' : call.kind;
}

/** How a call without a known price is named where a margin says what it can't speak for. */
export function unknownName(kind: 'model' | 'tool', name: string): string {
  return `${kind}:${name}`;
}

const CALL_EVENT = /^(llm\.call|tool\.call|tool\.result|handoff)\./;
const STEP_EVENT = /^step\./;
const TOOL_EVENT = /^tool\.(call|result)\./;

/**
 * The step an event is evidence of: a model call, a tool call, a handoff, or a step whose kind is stated (a nested agent).
 * A graph node's own start and end (no kind) is no step.
 */
export function stepOfEvent(entry: EventEntry): string | undefined {
  if (entry.stepId === undefined || isRelease(entry)) return undefined;
  if (CALL_EVENT.test(entry.eventType)) return entry.stepId;
  return STEP_EVENT.test(entry.eventType) && stepKind(entry) !== undefined ? entry.stepId : undefined;
}

/** The kind an event states for its step; undefined when it states none. */
export function stepKind(entry: EventEntry): string | undefined {
  const kind = entry.event['step_kind'];
  return typeof kind === 'string' && kind !== 'unknown' && kind !== '' ? kind : undefined;
}

/** A tool whose name nobody stated. */
export const UNNAMED_TOOL = 'unknown';

/** The tool call an event speaks of, when no reservation is known to stand for it. */
export function toolOfEvent(entry: EventEntry): { readonly toolCallId: string; readonly name: string } | undefined {
  if (entry.toolCallId === undefined || entry.reservationId !== undefined || !TOOL_EVENT.test(entry.eventType) || isRelease(entry))
    return undefined;
  return { toolCallId: entry.toolCallId, name: toolName(entry) ?? UNNAMED_TOOL };
}

/** It says that a call was not made: no evidence of one. */
function isRelease(entry: EventEntry): boolean {
  return metadataOf(entry, 'released') === true;
}

function metadataOf(entry: EventEntry, field: string): unknown {
  const metadata = entry.event['metadata'];
  return typeof metadata === 'object' && metadata !== null ? (metadata as Readonly<Record<string, unknown>>)[field] : undefined;
}

/** The tool's name as its event states it: `metadata.tool_name`, else the event's name. */
export function toolName(entry: EventEntry): string | undefined {
  const stated = metadataOf(entry, 'tool_name');
  if (typeof stated === 'string' && stated !== '') return stated;
  const name = entry.event['name'];
  return typeof name === 'string' && name !== '' ? name : undefined;
}

/** True for a call that was refused and not made: it has no reservation, and is shown with its step or tool call. */
export function isRefusedCall(entry: DecisionEntry): boolean {
  return entry.outcome === 'denied' && entry.violation !== true && (entry.phase === 'model_request' || entry.phase === 'tool_call');
}

/** The tool call a decision denied. */
export function deniedTool(entry: DecisionEntry): string | undefined {
  return entry.outcome === 'denied' && entry.phase === 'tool_call' ? entry.toolCallId : undefined;
}
