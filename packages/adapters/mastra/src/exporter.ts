import type { AnyExportedSpan, ObservabilityExporter, TracingEvent } from '@mastra/core/observability';
import type { Run, Step } from '@runpurse/core';
import { guarded, type Host } from './live.ts';
import { requestIdOf } from '@runpurse/core/language-model';
import { contextOf, spanUsage, type SpanUsage } from './translate.ts';

/** A span that is under way, as far as it is told of. */
interface Open {
  readonly span: AnyExportedSpan;
  readonly parent: Open | undefined;
  /** Told by the adapter itself, and so is all that is inside it but for agents and workflows that are not attached. */
  readonly isAttached: boolean;
  readonly run: Run | undefined;
  /** The step that what is inside it stands in. */
  readonly stepId: string | undefined;
  readonly agentId: string | undefined;
  readonly step?: Step | undefined;
  readonly isRoot: boolean;
}

/** Spans of one trace that are under way. Mastra never ends some of them; of such traces only so many are kept. */
const TRACES_KEPT = 1_000;

/**
 * Tells of agents and workflows that are not attached, from Mastra's spans: their runs, steps, tools and model calls. It
 * can't block and sees no wire, so it is for what can't be attached. Of a model call the step's usage is counted, not
 * what its inference and generation spans repeat; what attached agents do is told by them, and not again from here.
 */
export function exporterOf(host: Host): ObservabilityExporter {
  const traces = new Map<string, Map<string, Open>>();

  function begin(span: AnyExportedSpan): void {
    const spans = traces.get(span.traceId) ?? keep(span.traceId);
    const parent = span.parentSpanId === undefined ? undefined : spans.get(span.parentSpanId);
    spans.set(span.id, opened(host, span, parent));
  }

  function keep(traceId: string): Map<string, Open> {
    const spans = new Map<string, Open>();
    traces.set(traceId, spans);
    const oldest = traces.keys().next();
    if (traces.size > TRACES_KEPT && oldest.done !== true) traces.delete(oldest.value);
    return spans;
  }

  async function end(span: AnyExportedSpan): Promise<void> {
    const spans = traces.get(span.traceId);
    const open = spans?.get(span.id);
    if (spans === undefined || open === undefined) return;
    spans.delete(span.id);
    if (span.parentSpanId === undefined) traces.delete(span.traceId);
    if (open.isAttached || open.run === undefined) return;
    const error = failureOf(span);
    if (open.isRoot && isCancelled(span)) return open.run.end({ status: 'stopped', reason: 'cancelled' });
    if (open.isRoot) return open.run.end(error === undefined ? { status: 'completed' } : { status: 'failed', reason: error.message });
    report({ ...open, span }, open.run, error);
  }

  return {
    name: 'runpurse',
    async exportTracingEvent({ type, exportedSpan }: TracingEvent) {
      const kind: string = type;
      if (kind === 'span_started') guarded(host, () => begin(exportedSpan), undefined);
      if (kind === 'span_ended') await guarded(host, () => end(exportedSpan), undefined)?.catch(host.onFault);
    },
    flush: async () => void (await host.client.flush()),
    shutdown: async () => void (await host.client.flush()),
  };
}

const RUN_SPANS: ReadonlySet<string> = new Set(['agent_run', 'workflow_run']);
const TOOL_SPANS: ReadonlySet<string> = new Set(['tool_call', 'mcp_tool_call', 'client_tool_call', 'provider_tool_call']);

function opened(host: Host, span: AnyExportedSpan, parent: Open | undefined): Open {
  const { id, type, traceId, entityId } = span;
  const isAgent = type === 'agent_run';
  const agentId = isAgent ? entityId : parent?.agentId;
  if (!RUN_SPANS.has(type)) {
    const inside = { span, parent, isAttached: parent?.isAttached ?? true, run: parent?.run, agentId, isRoot: false };
    if (inside.isAttached || inside.run === undefined) return { ...inside, stepId: toolCallIdOf(span) ?? parent?.stepId };
    if (TOOL_SPANS.has(type)) return { ...inside, stepId: id };
    if (type !== 'workflow_step') return { ...inside, stepId: parent?.stepId };
    const step = inside.run.step({ name: entityId ?? span.name, kind: 'planning', stepId: id, parentStepId: parent?.stepId, agentId });
    return { ...inside, step, stepId: id };
  }
  const isAttached = entityId !== undefined && host.attached.has(`${type} ${entityId}`);
  // Inside an attached run, what is not attached belongs to it.
  const around = parent?.isAttached === true ? host.traced.get(traceId)?.run : parent?.run;
  if (isAttached) return { span, parent, isAttached, run: around, stepId: undefined, agentId, isRoot: false };
  if (around !== undefined) {
    if (!isAgent || parent?.span.type === 'tool_call')
      return { span, parent, isAttached, run: around, stepId: parent?.stepId, agentId, isRoot: false };
    const step = around.step({ name: entityId ?? span.name, kind: 'handoff', stepId: id, parentStepId: parent?.stepId, agentId });
    return { span, parent, isAttached, run: around, step, stepId: id, agentId, isRoot: false };
  }
  const { requestContext } = span as { readonly requestContext?: Readonly<Record<string, unknown>> };
  const context = contextOf({ get: (key) => requestContext?.[key] });
  const run = host.client.run({ ...host.defaults, ...(isAgent ? { agentId } : { workflowId: entityId }), name: entityId, ...context });
  void run.start(); // what it answers comes too late to block
  return { span, parent, isAttached, run, stepId: undefined, agentId, isRoot: true };
}

/** What was not told when it began: model calls and tool calls, and how steps ended. */
function report({ span, parent, step, agentId }: Open, run: Run, error: Error | undefined): void {
  const { id, type } = span;
  const place = { stepId: id, parentStepId: parent?.stepId, agentId };
  if (step !== undefined) {
    if (error === undefined) step.complete();
    else step.fail(error);
  } else if (TOOL_SPANS.has(type)) {
    run.settleTool({
      toolCallId: id,
      tool: span.entityId ?? span.name,
      place,
      status: error === undefined ? 'completed' : 'failed',
      error,
    });
  } else if (type === 'model_step') {
    const { usage, finishReason } = (span.attributes ?? {}) as { readonly usage?: SpanUsage; readonly finishReason?: string };
    const { headers, modelMetadata } = (span.metadata ?? {}) as {
      readonly headers?: unknown;
      readonly modelMetadata?: { readonly modelId?: string };
    };
    const { model } = (parent?.span.attributes ?? {}) as { readonly model?: string }; // of its generation
    const requestId = requestIdOf(headers); // the gateway carried it, so it is counted
    run.recordModel({
      ...place,
      model: modelMetadata?.modelId ?? model ?? 'unknown',
      usage: spanUsage(usage),
      status: STATUS_BY_FINISH[finishReason ?? 'aborted'] ?? 'completed',
      error,
      requestId,
      carried: requestId !== undefined,
    });
  }
}

/** A step that never finished was cancelled in the middle. */
const STATUS_BY_FINISH: Readonly<Record<string, 'failed' | 'aborted'>> = { error: 'failed', aborted: 'aborted' };

function isCancelled({ output, attributes }: AnyExportedSpan): boolean {
  const statuses = [output, attributes].map((said: unknown) => (said as { readonly status?: unknown } | undefined)?.status);
  return statuses.some((status) => status === 'aborted' || status === 'canceled');
}

function failureOf({ errorInfo, attributes }: AnyExportedSpan): Error | undefined {
  if (errorInfo !== undefined) return new Error(errorInfo.message);
  const { status, success } = (attributes ?? {}) as { readonly status?: unknown; readonly success?: unknown };
  return status === 'failed' || success === false ? new Error('failed') : undefined;
}

function toolCallIdOf({ attributes }: AnyExportedSpan): string | undefined {
  const { toolCallId } = (attributes ?? {}) as { readonly toolCallId?: unknown };
  return typeof toolCallId === 'string' ? toolCallId : undefined;
}
