import type { EventMapping } from '@runpurse/core';

/**
 * How Mastra's own events read, for senders that post them raw instead of attaching: the names that the Alephant protocol
 * maps, and beside them how steps, tools and models fail, which it leaves out. A tool's end settles its hold. Data for the gateway's ingest.
 */
export const mastraEvents: EventMapping = {
  source: 'mastra',
  aliases: ['mastra_ai'],
  events: {
    'workflow.run.started': { type: 'run.started' },
    'workflow.run.completed': { type: 'run.completed' },
    'workflow.run.failed': { type: 'run.failed' },
    'workflow.step.started': { type: 'step.started' },
    'workflow.step.completed': { type: 'step.completed' },
    'workflow.step.failed': { type: 'step.failed' },
    'tool.call.started': { type: 'tool.call.requested' },
    'tool.call.completed': { type: 'tool.call.completed' },
    'tool.call.failed': { type: 'tool.call.failed' },
    'llm.call.started': { type: 'llm.call.started' },
    'llm.call.completed': { type: 'llm.call.completed' },
    'llm.call.failed': { type: 'llm.call.failed' },
    'checkpoint.created': { type: 'checkpoint.created' },
  },
  metadata: { model: ['model', 'modelId'], tool_name: ['toolName', 'tool_name'], message: ['error', 'message'] },
  usage: {
    field: 'usage',
    spellings: [
      {
        input: 'inputTokens',
        output: 'outputTokens',
        cache_read: ['inputDetails.cacheRead', 'cachedInputTokens'],
        cache_write: ['inputDetails.cacheWrite'],
        reasoning: ['outputDetails.reasoning', 'reasoningTokens'],
      },
    ],
  },
  fields: {
    run_id: ['traceId', 'trace_id'],
    step_id: ['spanId', 'span_id'],
    parent_step_id: ['parentSpanId', 'parent_span_id'],
    tool_call_id: ['toolCallId', 'tool_call_id'],
  },
};
