import { formatUsd, type RunStatus, type StepShape } from '@runpurse/core';
import type { DecisionEntry, EventEntry } from '../store/entry.ts';
import { costOfCall, endStatus, isReleased, stated, stepOfCall } from './run-calls.ts';
import { isEnd, type LoggedCall, type RunLog } from './run-log.ts';
import { isRefusedCall, stepKind, stepOfEvent, toolName } from './run-rules.ts';
import { timeOrNull, timeText } from './time.ts';

/** What carries one step id. */
interface Evidence {
  readonly stepId: string;
  readonly calls: LoggedCall[];
  readonly refusals: DecisionEntry[];
  readonly events: EventEntry[];
  /** Ledger order among steps that begin in the same millisecond; those known from events alone stand before the calls they hold. */
  seq: number;
}

/** The places of a run: distinct step ids of its model calls, tool calls, handoffs and nested agents. */
export function stepsOf(log: RunLog): StepShape[] {
  const steps = new Map<string, Evidence>();
  const at = (stepId: string, seq: number): Evidence => {
    let evidence = steps.get(stepId);
    if (evidence === undefined) steps.set(stepId, (evidence = { stepId, calls: [], refusals: [], events: [], seq }));
    return evidence;
  };
  for (const call of log.calls) {
    const stepId = stepOfCall(call);
    if (stepId !== undefined) at(stepId, call.seq).calls.push(call);
  }
  for (const { seq, entry } of log.decisions) {
    if (isRefusedCall(entry) && entry.stepId !== undefined) at(entry.stepId, seq).refusals.push(entry);
  }
  for (const event of log.events) {
    const stepId = stepOfEvent(event);
    if (stepId !== undefined) at(stepId, 0);
  }
  // An event that would make no step of its own still says something about a step that exists.
  for (const event of log.events) {
    if (event.stepId !== undefined) steps.get(event.stepId)?.events.push(event);
  }
  return [...steps.values()]
    .map((evidence) => ({ evidence, shape: stepShape(evidence, log) }))
    .sort(
      (a, b) =>
        compare(a.shape.started_at, b.shape.started_at) || a.evidence.seq - b.evidence.seq || compare(a.evidence.stepId, b.evidence.stepId),
    )
    .map(({ shape }) => shape);
}

function stepShape(evidence: Evidence, log: RunLog): StepShape {
  const { stepId, calls, refusals, events } = evidence;
  // A hold that gave way to another may not have known what is called.
  const call = calls.find((each) => !isReleased(each)) ?? calls[0];
  const [refusal] = refusals;
  const times = timesOf(evidence, log);
  return {
    step_id: stepId,
    parent_step_id: first(calls.map((each) => each.reserve.parentStepId)) ?? refusal?.parentStepId ?? stated(events, 'parentStepId'),
    name: call?.reserve.name ?? refusal?.subject ?? nameByEvents(events),
    kind: call !== undefined ? CALL_KIND[call.reserve.kind] : refusal !== undefined ? PHASE_KIND[refusal.phase] : kindByEvents(events),
    graph_node: first(calls.map((each) => each.reserve.graphNode)) ?? refusal?.graphNode ?? stated(events, 'graphNode'),
    agent_id: first(calls.map((each) => each.reserve.agentId)) ?? refusal?.agentId ?? stated(events, 'agentId'),
    status: times.status,
    cost_usd: formatUsd(calls.reduce((sum, each) => sum + (costOfCall(each) ?? 0n), 0n)),
    started_at: timeText(times.startedAt),
    ended_at: timeOrNull(times.endedAt),
  };
}

interface Times {
  readonly status: StepShape['status'];
  readonly startedAt: number;
  readonly endedAt: number | undefined;
}

/** The gateway's own knowledge of a call wins over what events say of its step. */
function timesOf({ calls, refusals, events }: Evidence, log: RunLog): Times {
  const made = calls.filter((call) => !isReleased(call));
  // The last attempt tells how the step ended, also when it was reported before the first.
  const lastCall = made.reduce<LoggedCall | undefined>(
    (last, call) => (last === undefined || call.reserve.attempt >= last.reserve.attempt ? call : last),
    undefined,
  );
  if (lastCall !== undefined) {
    const startedAt = Math.min(...made.map((call) => call.reserve.at));
    if (made.some((call) => call.settle === undefined)) return { status: 'open', startedAt, endedAt: undefined };
    const endedAt = Math.max(...made.map((call) => call.settle?.at ?? startedAt));
    return { status: lastCall.settle?.status === 'completed' ? 'completed' : 'failed', startedAt, endedAt };
  }
  const [refusal] = refusals;
  if (refusal !== undefined) return { status: 'denied', startedAt: refusal.at, endedAt: refusals.at(-1)?.at };
  const { status: runStatus, endedAt: runEndedAt, startedAt: runStartedAt } = log.run;
  const startedAt = calls[0]?.reserve.at ?? events[0]?.eventAt ?? runStartedAt;
  const end = events.findLast(isEnd);
  // The call was authorized and then never made.
  if (end === undefined && calls.length > 0) return { status: 'failed', startedAt, endedAt: calls.at(-1)?.settle?.at };
  return { status: endStatus(end, runStatus), startedAt, endedAt: end?.eventAt ?? (isOpen(runStatus) ? undefined : runEndedAt) };
}

const CALL_KIND = { model: 'llm_call', tool: 'tool_call' } as const;
const PHASE_KIND = { model_request: 'llm_call', tool_call: 'tool_call', run_update: 'unknown', endpoint_call: 'unknown' } as const;

/** The kind of a step by the events about it, from the most telling to the least. */
const KIND_BY_EVENT = [
  ['tool.', 'tool_call'],
  ['llm.', 'llm_call'],
  ['handoff.', 'handoff'],
] as const;

function kindByEvents(events: readonly EventEntry[]): string {
  for (const [prefix, kind] of KIND_BY_EVENT) if (events.some((event) => event.eventType.startsWith(prefix))) return kind;
  const kinds = events.map(stepKind).filter((kind) => kind !== undefined);
  return kinds.find((kind) => kind !== 'error_recovery') ?? kinds[0] ?? 'unknown';
}

function nameByEvents(events: readonly EventEntry[]): string | null {
  return (
    first(events.map((event) => (event.eventType.startsWith('tool.') ? toolName(event) : undefined))) ??
    first(events.map((event) => text(event.event['name']))) ??
    null
  );
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

function isOpen(status: RunStatus): boolean {
  return status === 'running' || status === 'paused';
}

function first(values: readonly (string | undefined)[]): string | undefined {
  return values.find((value) => value !== undefined);
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
