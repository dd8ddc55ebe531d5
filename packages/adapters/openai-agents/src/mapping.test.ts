import { readFileSync } from 'node:fs';
import { describe, expect, it } from '@jest/globals';
import { normalizeEvent } from '@runpurse/core';
import { openAiAgentsEvents } from './index.ts';

const read = (raw: Readonly<Record<string, unknown>>) => {
  const result = normalizeEvent(raw, {
    source: 'openai-agents',
    receivedAt: '2026-11-24T00:00:00Z',
    eventId: () => 'evt_1',
    mappings: [openAiAgentsEvents],
  });
  if (result.type !== 'event') throw new Error(JSON.stringify(result));
  return result.event;
};

describe('a raw event of the SDK', () => {
  it.each([
    ['tool_called', 'tool.call.requested', 'tool_call', 'before', 'pre_action'],
    ['tool_output', 'tool.result.received', 'tool_result', 'after', 'post_action'],
    ['handoff_requested', 'handoff.requested', 'handoff', 'before', 'pre_action'],
    ['handoff_occurred', 'handoff.completed', 'handoff', 'after', 'post_action'],
    ['tool_approval_requested', 'approval.requested', 'approval', 'before', 'pre_action'],
    ['reasoning_item_created', 'step.started', 'reasoning', 'state', 'audit_only'],
    ['trace_start', 'run.started', 'planning', 'before', 'pre_action'],
    ['trace_end', 'run.completed', 'final_answer', 'after', 'post_action'],
    ['llm_start', 'llm.call.started', 'llm_call', 'before', 'pre_action'],
    ['llm_end', 'llm.call.completed', 'llm_call', 'after', 'post_action'],
    ['agent_tool_start', 'tool.call.requested', 'tool_call', 'before', 'pre_action'],
    ['agent_tool_end', 'tool.call.completed', 'tool_call', 'after', 'post_action'],
    ['agent_handoff', 'handoff.completed', 'handoff', 'after', 'post_action'],
  ])('%s is %s', (type, canonical, step_kind, event_phase, policy_stage) => {
    expect(read({ type, trace_id: 'trace_1' })).toMatchObject({ type: canonical, step_kind, event_phase, policy_stage });
  });

  it('names its run by the trace, its session by the group, its step by the span, else by the item', () => {
    const ids = { trace_id: 'trace_1', group_id: 'group_1', parent_id: 'span_0', call_id: 'call_1' };
    const expected = { run_id: 'trace_1', session_id: 'group_1', parent_step_id: 'span_0', tool_call_id: 'call_1' };
    expect(read({ type: 'tool_called', ...ids, span_id: 'span_1', item_id: 'item_1' })).toMatchObject({ ...expected, step_id: 'span_1' });
    expect(read({ type: 'tool_called', ...ids, item_id: 'item_1' })).toMatchObject({ ...expected, step_id: 'item_1' });
  });

  it('reads alike in the file that comes with the gateway', () => {
    const file = new URL('../../../gateway/mappings/openai_agents.json', import.meta.url);
    expect(JSON.parse(readFileSync(file, 'utf8'))).toEqual(openAiAgentsEvents);
  });
});
