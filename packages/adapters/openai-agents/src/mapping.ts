import type { EventMapping } from '@runpurse/core';

/**
 * How the SDK's own events read, for senders that post them raw instead of attaching: the names of its stream items, as
 * the Alephant protocol maps them, and beside them its hooks for traces, models and tools, which tell a run's life.
 * Data for the gateway's ingest.
 */
export const openAiAgentsEvents: EventMapping = {
  source: 'openai_agents',
  aliases: ['openai_agents_sdk', 'openai_agents_js'],
  events: {
    tool_called: { type: 'tool.call.requested' },
    tool_output: { type: 'tool.result.received' },
    handoff_requested: { type: 'handoff.requested' },
    handoff_occurred: { type: 'handoff.completed' },
    tool_approval_requested: { type: 'approval.requested' },
    reasoning_item_created: { type: 'step.started', step_kind: 'reasoning' },
    trace_start: { type: 'run.started' },
    trace_end: { type: 'run.completed' },
    llm_start: { type: 'llm.call.started' },
    llm_end: { type: 'llm.call.completed' },
    agent_tool_start: { type: 'tool.call.requested' },
    agent_tool_end: { type: 'tool.call.completed' },
    agent_handoff: { type: 'handoff.completed' },
  },
  fields: {
    run_id: ['trace_id'],
    session_id: ['group_id'],
    step_id: ['span_id', 'item_id'],
    parent_step_id: ['parent_id'],
    tool_call_id: ['call_id'],
  },
};
