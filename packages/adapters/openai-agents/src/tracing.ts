import { addTraceProcessor, type Span, type SpanData, type TracingProcessor } from '@openai/agents';
import { frames, liveHere, type Live } from './live.ts';
import { endIn, isGuarded } from './tools.ts';
import { beginTrace, enterSpan, leaveTask, leaveTrace } from './traces.ts';
import { isRejection, spanError, thrown } from './translate.ts';
import { warnOnce } from './warn.ts';

let isAdded = false;

/** Once per process, and again after `setTraceProcessors` dropped it. */
export function addProcessor(): void {
  if (isAdded) return;
  isAdded = true;
  addTraceProcessor(processor);
}

/** Who names the processor among others of their own has it twice. */
const told = new WeakSet<Span<SpanData>>();

/**
 * What the SDK tells only by tracing: handoffs, guardrails, tools nobody guarded and MCP servers' lists, and the end of
 * runs that were begun past our runner. It can't block: that is the models' and the tools' part.
 */
export const processor: TracingProcessor = {
  onTraceStart: async ({ traceId }) => {
    beginTrace(traceId);
    const live = frames.getStore()?.live;
    if (live?.isEnded === false) live.host.guard(() => linkTrace(live, traceId));
  },
  onTraceEnd: async ({ traceId }) => {
    for (const live of leaveTrace(traceId)) await live.host.end(live, live.taskFailure);
  },
  onSpanStart: async (span: Span<SpanData>) => enterSpan(span, span.spanData.type === 'task', frames.getStore() ?? {}),
  onSpanEnd: async (span: Span<SpanData>) => {
    if (told.has(span)) return;
    told.add(span);
    const live = liveHere(span.traceId);
    live?.host.guard(() => recordSpan(live, span));
    if (span.spanData.type !== 'task') return;
    const failure = span.error === null ? undefined : (live?.failure ?? thrown(spanError(span.error)));
    for (const ended of leaveTask(span, live, failure)) await ended.host.end(ended, ended.taskFailure);
  },
  shutdown: async () => {
    isAdded = false;
  },
  forceFlush: async () => {},
};

/** So that a run can be found in the SDK's own traces, and the other way round. */
function linkTrace(live: Live, traceId: string): void {
  if (live.traces.has(traceId)) return;
  live.traces.add(traceId);
  live.run.record({ type: 'trace.linked', event_phase: 'state', policy_stage: 'audit_only', metadata: { trace_id: traceId } });
}

function recordSpan(live: Live, span: Span<SpanData>): void {
  const { run } = live;
  const { spanData: data, spanId, error } = span;
  const { parentStepId, call } = frames.getStore() ?? {};
  switch (data.type) {
    case 'generation':
    case 'response':
      if (call === undefined) warnOfUnmetered(data.type === 'generation' ? data.model : undefined);
      return;
    case 'handoff': {
      const step = run.step({ name: data.to_agent ?? 'handoff', kind: 'handoff', agentId: data.from_agent, parentStepId });
      if (data.to_agent === undefined) step.fail(new Error(spanError(error) ?? 'nobody took over'));
      else step.complete();
      return;
    }
    case 'guardrail':
      run.record({
        type: data.triggered ? 'guardrail.tripped' : 'guardrail.passed',
        name: data.name,
        event_phase: 'after',
        policy_stage: 'audit_only',
        metadata: { guardrail: data.name, triggered: data.triggered },
      });
      return;
    case 'mcp_tools':
      run.record({
        type: 'mcp.listed',
        name: data.server,
        event_phase: 'after',
        policy_stage: 'audit_only',
        metadata: { mcp_server: data.server, mcp_tools: data.result?.join(', ') },
      });
      return;
    case 'function': {
      const failure = spanError(error);
      endIn(span, live.holds, failure === undefined ? undefined : thrown(failure));
      if (isGuarded(span) || (failure !== undefined && takeUnreadable(live, data.name)) || isRejection(failure)) return;
      warnOnce(`The tool "${data.name}" is reported but can't be denied. Guard it with guardTools([…]) or guardAgent(agent).`);
      const place = { stepId: spanId, parentStepId };
      run.settleTool({
        toolCallId: spanId,
        tool: data.name,
        place,
        status: failure === undefined ? 'completed' : 'failed',
        error: failure === undefined ? undefined : new Error(failure),
      });
      return;
    }
    default:
  }
}

/** Is it one of the calls that were never made? Each is so once. */
function takeUnreadable({ unreadable }: Live, name: string): boolean {
  const index = unreadable.indexOf(name);
  if (index >= 0) unreadable.splice(index, 1);
  return index >= 0;
}

/** The model of an agent behind `asTool()`, say, that is an object or of the tool's own provider: it asks no provider of ours. */
function warnOfUnmetered(model: string | undefined): void {
  warnOnce(
    `Calls of ${model === undefined ? 'a model' : `the model "${model}"`} pass Runpurse by: they are neither asked for nor counted. Name the agent's model, wrap it with runpurse.model(model, name), or its provider with runpurse.models(provider).`,
  );
}
