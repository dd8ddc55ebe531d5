import type { Span, SpanData, TracingProcessor } from '@openai/agents';
import type { Host } from './carry.ts';
import { frames, liveHere, traced, type Live } from './live.ts';
import { guardedNames } from './tools.ts';
import { isRejection, spanError } from './translate.ts';

/**
 * What the SDK tells only by tracing: handoffs, guardrails, tools nobody guarded and MCP servers' lists, and the end of
 * runs that were begun past our runner. It can't block: that is the models' and the tools' part.
 */
export function traceProcessor(host: Host, end: (live: Live, error: unknown) => Promise<void>): TracingProcessor {
  const ours = (live: Live | undefined): Live | undefined => (live?.host === host ? live : undefined);
  const liveOf = (traceId: string): Live | undefined => ours(liveHere() ?? traced.get(traceId));
  return {
    onTraceStart: async ({ traceId }) => host.guard(() => linkTrace(ours(frames.getStore()?.live), traceId)),
    onTraceEnd: async ({ traceId }) => {
      const live = ours(traced.get(traceId));
      if (live === undefined) return;
      traced.delete(traceId);
      await end(live, undefined);
    },
    onSpanStart: async ({ traceId, spanId, spanData }: Span<SpanData>) =>
      host.guard(() => {
        if (spanData.type === 'function') liveOf(traceId)?.toolSpans.add(spanId);
      }),
    onSpanEnd: async (span: Span<SpanData>) => {
      const live = liveOf(span.traceId);
      if (live === undefined) return;
      host.guard(() => recordSpan(live, span));
      const { spanData, error, parentId, traceId } = span;
      const isOwnTask = spanData.type === 'task' && !live.toolSpans.has(parentId ?? '');
      // A trace whose run failed never says that it ended.
      if (error === null || !isOwnTask || traced.get(traceId) !== live) return;
      traced.delete(traceId);
      await end(live, live.failure ?? spanError(error));
    },
    shutdown: async () => {},
    forceFlush: async () => {},
  };
}

/** So that a run can be found in the SDK's own traces, and the other way round. */
function linkTrace(live: Live | undefined, traceId: string): void {
  live?.run.record({ type: 'trace.linked', event_phase: 'state', policy_stage: 'audit_only', metadata: { trace_id: traceId } });
}

function recordSpan(live: Live, span: Span<SpanData>): void {
  const { run } = live;
  const { spanData: data, spanId, error } = span;
  const parentStepId = frames.getStore()?.parentStepId;
  switch (data.type) {
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
      if (live.guardedSpans.has(spanId) || guardedNames.has(data.name) || isRejection(failure)) return;
      warnOfUnguarded(data.name);
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

const warnedOf = new Set<string>();

function warnOfUnguarded(tool: string): void {
  if (warnedOf.has(tool)) return;
  warnedOf.add(tool);
  process.emitWarning(
    `The tool "${tool}" is reported but can't be denied. Guard it with guardTools([…]) or guardAgent(agent).`,
    'RunpurseWarning',
  );
}
