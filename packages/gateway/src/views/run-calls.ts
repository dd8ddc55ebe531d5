import { formatUsd, type Nanos, type RequestShape, type RunStatus, type ToolShape, type UsageShape } from '@runpurse/core';
import { usageOf, type DecisionEntry, type EventEntry, type Usage } from '../store/entry.ts';
import { nanosOf } from './run-fold.ts';
import { isEnd, isFailure, type LoggedCall, type RunLog } from './run-log.ts';
import { UNNAMED_TOOL, deniedTool, isRefusedCall, stepOfEvent, toolOfEvent } from './run-rules.ts';
import { timeOrNull, timeText } from './time.ts';

/** A run's model calls: admitted ones as they stand, refused ones with nothing charged. Released ones were never made. */
export function requestsOf(log: RunLog): RequestShape[] {
  const admitted = log.calls
    .filter((call) => call.reserve.kind === 'model' && !isReleased(call))
    .map((call) => ({ seq: call.seq, shape: requestOf(call) }));
  const refused = log.decisions
    .filter(({ entry }) => isRefusedCall(entry) && entry.phase === 'model_request')
    .map(({ seq, entry }) => ({ seq, shape: refusedRequest(entry) }));
  return [...admitted, ...refused].sort((a, b) => a.seq - b.seq).map(({ shape }) => shape);
}

/** A run's tool calls: admitted ones, denied ones, and those only events speak of. */
export function toolsOf(log: RunLog): ToolShape[] {
  const admitted = log.calls.filter((call) => call.reserve.kind === 'tool');
  const denied = deniedTools(log);
  return [
    ...admitted.filter((call) => !isReleased(call)).map((call) => ({ seq: call.seq, shape: toolOf(call) })),
    ...[...denied.values()].map(({ seq, entry }) => ({ seq, shape: deniedToolOf(entry) })),
    ...[...seenTools(log)].map(([toolCallId, events]) => ({ seq: 0, shape: seenTool(toolCallId, events, log) })),
  ]
    .sort(
      (a, b) =>
        compareText(a.shape.started_at, b.shape.started_at) || a.seq - b.seq || compareText(a.shape.tool_call_id, b.shape.tool_call_id),
    )
    .map(({ shape }) => shape);
}

/** Tool calls that only events speak of, by id: no reservation stands for them and nobody denied them. */
export function seenTools(log: RunLog): ReadonlyMap<string, readonly EventEntry[]> {
  const reserved = reservedTools(log);
  const denied = deniedTools(log);
  const seen = new Map<string, EventEntry[]>();
  for (const event of log.events) {
    const tool = toolOfEvent(event);
    if (tool === undefined || reserved.has(tool.toolCallId) || denied.has(tool.toolCallId)) continue;
    const events = seen.get(tool.toolCallId);
    if (events === undefined) seen.set(tool.toolCallId, [event]);
    else events.push(event);
  }
  return seen;
}

/** The name of a tool call that only events speak of. */
export function nameOfSeen(events: readonly EventEntry[]): string {
  return events.map((event) => toolOfEvent(event)?.name).find((name) => name !== undefined && name !== UNNAMED_TOOL) ?? UNNAMED_TOOL;
}

function reservedTools(log: RunLog): ReadonlySet<string> {
  const ids = log.calls.map((call) => (call.reserve.kind === 'tool' ? call.reserve.toolCallId : undefined));
  return new Set(ids.filter((id) => id !== undefined));
}

/** The first denial of each tool call that was not admitted after all. */
function deniedTools(log: RunLog): ReadonlyMap<string, { readonly seq: number; readonly entry: DecisionEntry }> {
  const reserved = reservedTools(log);
  const denied = new Map<string, { seq: number; entry: DecisionEntry }>();
  for (const decision of log.decisions) {
    const toolCallId = deniedTool(decision.entry);
    if (!isRefusedCall(decision.entry) || decision.entry.phase !== 'tool_call' || (toolCallId !== undefined && reserved.has(toolCallId)))
      continue;
    const key = toolCallId ?? decision.entry.id;
    if (!denied.has(key)) denied.set(key, decision);
  }
  return denied;
}

export function isReleased(call: LoggedCall): boolean {
  return call.settle?.status === 'released';
}

/** What a call cost; undefined while it is open or when nobody knows. */
export function costOfCall(call: LoggedCall): Nanos | undefined {
  return call.settle === undefined || call.settle.cost === null ? undefined : nanosOf(call.settle.cost);
}

/** The step a call belongs to: as it said itself, else as an event about it says. */
export function stepOfCall(call: LoggedCall): string | undefined {
  return call.reserve.stepId ?? (call.linked === undefined ? undefined : stepOfEvent(call.linked));
}

/** What every call shows alike. */
function callFields(call: LoggedCall) {
  const { reserve, settle, linked } = call;
  const hold = nanosOf(reserve.hold);
  const cost = costOfCall(call);
  return {
    step_id: stepOfCall(call) ?? null,
    parent_step_id: reserve.parentStepId ?? linked?.parentStepId ?? null,
    graph_node: reserve.graphNode ?? linked?.graphNode ?? null,
    agent_id: reserve.agentId ?? null,
    attempt: reserve.attempt,
    source: reserve.source,
    cost_usd: cost === undefined ? null : formatUsd(cost),
    held_usd: formatUsd(hold),
    overage_usd: formatUsd(cost !== undefined && cost > hold ? cost - hold : 0n),
    unconfirmed: settle?.unconfirmed === true,
    error: settle?.error ?? null,
    started_at: timeText(reserve.at),
    ended_at: timeOrNull(settle?.at),
  };
}

function requestOf(call: LoggedCall): RequestShape {
  const { reserve, settle } = call;
  return {
    request_id: reserve.id,
    ...callFields(call),
    provider: reserve.provider ?? null,
    model: settle?.model ?? reserve.name,
    status: settle === undefined || settle.status === 'released' ? 'open' : settle.status,
    usage: settle?.usage === undefined ? null : usageShape(usageOf(settle.usage)),
    price: settle?.price ?? null,
  };
}

function toolOf(call: LoggedCall): ToolShape {
  const { reserve, settle, linked } = call;
  return {
    tool_call_id: reserve.toolCallId ?? linked?.toolCallId ?? reserve.id,
    ...callFields(call),
    tool: reserve.name,
    status: settle === undefined ? 'open' : settle.status === 'completed' ? 'completed' : 'failed',
  };
}

/** What every refused call shows alike: it was not made, so nothing was held or charged. */
function refusedFields(entry: DecisionEntry) {
  return {
    step_id: entry.stepId ?? null,
    parent_step_id: entry.parentStepId ?? null,
    graph_node: entry.graphNode ?? null,
    agent_id: entry.agentId ?? null,
    attempt: entry.attempt ?? 1,
    source: 'gateway',
    cost_usd: '0',
    held_usd: '0',
    overage_usd: '0',
    unconfirmed: false,
    error: entry.reason,
    started_at: timeText(entry.at),
    ended_at: timeText(entry.at),
  } as const;
}

function refusedRequest(entry: DecisionEntry): RequestShape {
  return {
    request_id: entry.id,
    ...refusedFields(entry),
    provider: null,
    model: entry.subject ?? 'unknown',
    status: 'refused',
    usage: null,
    price: null,
  };
}

function deniedToolOf(entry: DecisionEntry): ToolShape {
  return { tool_call_id: entry.toolCallId ?? entry.id, ...refusedFields(entry), tool: entry.subject ?? 'unknown', status: 'denied' };
}

/** A tool call that no reservation stands for: what it cost is not known. */
function seenTool(toolCallId: string, events: readonly EventEntry[], log: RunLog): ToolShape {
  const last = events.findLast(isEnd);
  const [first] = events;
  return {
    tool_call_id: toolCallId,
    step_id: stated(events, 'stepId'),
    parent_step_id: stated(events, 'parentStepId'),
    graph_node: stated(events, 'graphNode'),
    agent_id: stated(events, 'agentId'),
    tool: nameOfSeen(events),
    attempt: Math.max(1, ...events.map((event) => event.attempt ?? 1)),
    status: endStatus(last, log.run.status),
    source: 'self_reported',
    cost_usd: null,
    held_usd: '0',
    overage_usd: '0',
    unconfirmed: false,
    error: last !== undefined && isFailure(last) ? messageOf(last) : null,
    started_at: timeText(first?.eventAt ?? log.run.startedAt),
    ended_at: timeOrNull(last?.eventAt ?? log.run.endedAt),
  };
}

/** How something ended that only events speak of; what nobody ended, ends with its run. */
export function endStatus(end: EventEntry | undefined, run: RunStatus): 'open' | 'completed' | 'failed' {
  if (end !== undefined) return isFailure(end) ? 'failed' : 'completed';
  if (run === 'running' || run === 'paused') return 'open';
  return run === 'completed' ? 'completed' : 'failed';
}

/** The first statement of a field, in the order the events happened. */
export function stated(events: readonly EventEntry[], field: 'stepId' | 'parentStepId' | 'graphNode' | 'agentId'): string | null {
  return events.find((event) => event[field] !== undefined)?.[field] ?? null;
}

function messageOf(event: EventEntry): string | null {
  const metadata = event.event['metadata'];
  const message =
    typeof metadata === 'object' && metadata !== null ? (metadata as Readonly<Record<string, unknown>>)['message'] : undefined;
  return typeof message === 'string' && message !== '' ? message : null;
}

function usageShape(usage: Usage): UsageShape {
  return {
    input_tokens: usage.inputTokens ?? null,
    cache_read_tokens: usage.cacheReadTokens,
    cache_write_5m_tokens: usage.cacheWrite5mTokens,
    cache_write_1h_tokens: usage.cacheWrite1hTokens,
    output_tokens: usage.outputTokens ?? null,
    reasoning_tokens: usage.reasoningTokens,
    audio_input_tokens: usage.audioInputTokens,
    audio_output_tokens: usage.audioOutputTokens,
    web_searches: usage.webSearches,
  };
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
