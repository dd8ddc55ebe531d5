import { readFileSync } from 'node:fs';
import { describe, expect, it } from '@jest/globals';
import { normalizeEvent } from '@runpurse/core';
import { mastraEvents } from './index.ts';

const read = (raw: Readonly<Record<string, unknown>>) => {
  const result = normalizeEvent(raw, {
    source: 'mastra',
    receivedAt: '2026-11-24T00:00:00Z',
    eventId: () => 'evt_1',
    mappings: [mastraEvents],
  });
  if (result.type !== 'event') throw new Error(JSON.stringify(result));
  return result.event;
};

describe('a raw event of Mastra', () => {
  it.each([
    ['workflow.run.started', 'run.started', 'before', 'pre_action'],
    ['workflow.run.completed', 'run.completed', 'after', 'post_action'],
    ['workflow.run.failed', 'run.failed', 'after', 'post_action'],
    ['workflow.step.started', 'step.started', 'state', 'audit_only'],
    ['workflow.step.completed', 'step.completed', 'after', 'post_action'],
    ['workflow.step.failed', 'step.failed', 'after', 'post_action'],
    ['tool.call.started', 'tool.call.requested', 'before', 'pre_action'],
    ['tool.call.completed', 'tool.call.completed', 'after', 'post_action'],
    ['tool.call.failed', 'tool.call.failed', 'after', 'post_action'],
    ['llm.call.started', 'llm.call.started', 'before', 'pre_action'],
    ['llm.call.completed', 'llm.call.completed', 'after', 'post_action'],
    ['llm.call.failed', 'llm.call.failed', 'after', 'post_action'],
    ['checkpoint.created', 'checkpoint.created', 'state', 'audit_only'],
  ])('%s is %s', (type, canonical, event_phase, policy_stage) => {
    expect(read({ type, traceId: 'trace_1' })).toMatchObject({ type: canonical, event_phase, policy_stage });
  });

  it('names its run by the trace and its step by the span', () => {
    const ids = { traceId: 'trace_1', spanId: 'span_2', parentSpanId: 'span_1', toolCallId: 'call_1' };
    const expected = { run_id: 'trace_1', step_id: 'span_2', parent_step_id: 'span_1', tool_call_id: 'call_1' };
    expect(read({ type: 'tool.call.started', ...ids })).toMatchObject(expected);
  });

  it('reads alike in the file that comes with the gateway', () => {
    const file = new URL('../../../gateway/mappings/mastra.json', import.meta.url);
    expect(JSON.parse(readFileSync(file, 'utf8'))).toEqual(mastraEvents);
  });
});
