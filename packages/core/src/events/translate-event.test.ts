import { describe, expect, it } from '@jest/globals';
import { translateEvent, type EventMapping } from '../index.ts';

/** A made-up framework that wraps its events, names its tools' ends after their beginnings, and tells usage in two ways. */
const LOOM: EventMapping = {
  source: 'loom',
  body: 'data',
  events: {
    weave_begun: { type: 'run.started', when: { field: 'parent', absent: true }, fields: { name: ['title'] } },
    weave_over: [
      { type: 'run.failed', when: { field: 'how', words: ['torn'] } },
      { type: 'run.completed', when: { field: 'parent', absent: true } },
    ],
    thread_spun: { type: 'llm.call.completed', fields: { step_id: ['thread'] } },
    shuttle_thrown: { type: 'tool.call.requested', fields: { tool_call_id: ['id'], step_id: ['id'] } },
    shuttle_caught: { type: 'tool.call.completed', fields: { tool_call_id: ['begun'], step_id: ['begun'] } },
  },
  type_aliases: { WeaveBegun: 'weave_begun' },
  fields: { event_id: ['id'], timestamp: ['at'], run_id: ['weave'], agent_id: ['weaver'] },
  metadata: { model: ['yarn'], tool_name: ['shuttle'], message: ['error'] },
  usage: {
    field: 'used',
    spellings: [
      { input: 'in', output: 'out', cache_read: ['deep.cached'], reasoning: ['thought'] },
      { input: 'fresh', needs: 'kept', output: 'out', cache_read: ['kept'], input_is_uncached: true },
      { input: 'fresh', output: 'out', cache_read: ['worn'] },
    ],
  },
};

const event = (raw: unknown): Record<string, unknown> => {
  const result = translateEvent(raw, LOOM);
  if (result.type !== 'event') throw new Error(JSON.stringify(result));
  return { ...result.event };
};

describe("a framework's own event", () => {
  it.each([
    [
      'in its envelope',
      { id: 'e1', at: '2026-11-24T10:00:00Z', weave: 'w1', type: 'weave_begun', data: { title: 'cloth', weaver: 'ada' } },
    ],
    ['bare', { id: 'e1', at: '2026-11-24T10:00:00Z', weave: 'w1', type: 'WeaveBegun', title: 'cloth', weaver: 'ada' }],
  ])('is read %s', (_title, raw) => {
    expect(event(raw)).toEqual({
      type: 'run.started',
      source: 'loom',
      event_id: 'e1',
      timestamp: '2026-11-24T10:00:00Z',
      run_id: 'w1',
      agent_id: 'ada',
      name: 'cloth',
      metadata: { raw_event_type: raw.type },
    });
  });

  it('pairs an end with its beginning where the framework says which it was', () => {
    expect(event({ id: 'e1', type: 'shuttle_thrown', data: { shuttle: 'left' } })).toMatchObject({ tool_call_id: 'e1', step_id: 'e1' });
    expect(event({ id: 'e2', type: 'shuttle_caught', data: { begun: 'e1' } })).toMatchObject({ event_id: 'e2', tool_call_id: 'e1' });
  });

  it.each<readonly [string, unknown, Record<string, unknown> | undefined]>([
    [
      'totals that hold their parts',
      { in: 100, out: 50, thought: 20, deep: { cached: 30 } },
      { input_tokens: 70, cache_read_tokens: 30, output_tokens: 50, reasoning_tokens: 20 },
    ],
    ['parts beside each other', { fresh: 70, kept: 30, out: 50 }, { input_tokens: 70, cache_read_tokens: 30, output_tokens: 50 }],
    [
      'the same name for a whole, known by what is beside it',
      { fresh: 100, worn: 30, out: 50 },
      { input_tokens: 70, cache_read_tokens: 30, output_tokens: 50 },
    ],
    ['an output nobody stated', { in: 100 }, { input_tokens: 100, output_tokens: null }],
    ['a count that is none', { in: '100', out: 50 }, undefined],
    ['more than any call can use', { in: Number.MAX_SAFE_INTEGER, out: 50 }, undefined],
    ['nothing', undefined, undefined],
    ['a text', 'plenty', undefined],
    ['a zero that stands for unknown', { all: 0 }, undefined],
  ])('tells usage from %s', (_title, used, usage) => {
    const metadata = event({ type: 'thread_spun', data: { thread: 't', used } })['metadata'] as { readonly usage?: unknown };
    expect(metadata.usage).toEqual(usage === undefined ? undefined : expect.objectContaining(usage));
  });

  it('carries only what the mapping names: prompts, inputs and results stay behind', () => {
    const raw = {
      type: 'shuttle_thrown',
      data: { id: 'x', shuttle: 'left', args: { pin: '4711' }, messages: ['hunter2'], output: 'secret' },
    };
    expect(JSON.stringify(event(raw))).not.toMatch(/4711|hunter2|secret/);
  });

  it('takes no object for a text, nor a description for a name', () => {
    expect(event({ type: 'thread_spun', yarn: { model: 'x' }, weaver: 'w'.repeat(300) })).toEqual({
      type: 'llm.call.completed',
      source: 'loom',
      metadata: { raw_event_type: 'thread_spun' },
    });
  });

  it('puts names that a file broke over lines on one', () => {
    expect(event({ type: 'weave_begun', weaver: 'the careful\n  weaver\n' })).toMatchObject({ agent_id: 'the careful weaver' });
  });

  it.each<readonly [string, unknown, unknown]>([
    ['a part of a whole is not the whole', { type: 'weave_begun', data: { parent: 'e0' } }, { type: 'ignored' }],
    ['a type without a row', { type: 'dust_swept' }, { type: 'ignored' }],
    ['a type named like a part of objects', { type: 'constructor' }, { type: 'ignored' }],
    ['no object', 'weave_begun', { type: 'invalid', path: '', message: expect.stringContaining('object') }],
    ['no type', { data: {} }, { type: 'invalid', path: 'type', message: expect.stringContaining('name of an event') }],
    ['a body that is none', { type: 'weave_begun', data: 'x' }, { type: 'invalid', path: 'data', message: expect.any(String) }],
  ])('%s', (_title, raw, result) => {
    expect(translateEvent(raw, LOOM)).toEqual(result);
  });

  it('falls to the next row when a condition does not hold', () => {
    expect(event({ type: 'weave_over', how: 'torn apart' })).toMatchObject({ type: 'run.failed' });
    expect(event({ type: 'weave_over', how: 'well' })).toMatchObject({ type: 'run.completed' });
  });
});
