import { isDeepStrictEqual } from 'node:util';
import { describe, expect, it } from '@jest/globals';
import {
  asksForDecision,
  EVENT_TYPES,
  normalizeEvent,
  parseEventBody,
  type AgentEvent,
  type EventDefaults,
  type EventMapping,
  type NormalizeResult,
} from '../index.ts';

const DEFAULTS: EventDefaults = { receivedAt: '2026-11-24T12:00:00.000Z', eventId: () => 'evt_made' };

type Normalized = Extract<NormalizeResult, { type: 'event' }>;

function normalized(raw: unknown, defaults: Partial<EventDefaults> = {}): Normalized {
  const result = normalizeEvent(raw, { ...DEFAULTS, ...defaults });
  if (result.type === 'invalid') throw new Error(`${result.path} ${result.message}`);
  return result;
}

const event = (raw: unknown, defaults: Partial<EventDefaults> = {}): AgentEvent => normalized(raw, defaults).event;

/** A made-up framework, as an adapter would register it. */
const LOOM: EventMapping = {
  source: 'loom',
  aliases: ['loom_flow'],
  events: {
    thread_spun: { type: 'run.started', event_phase: 'state', policy_stage: 'audit_only' },
    node_begun: [{ type: 'tool.call.requested', when: { field: 'nodeType', words: ['tool', 'tools'] } }, { type: 'step.started' }],
  },
  fields: { run_id: ['weave', 'traceId'], step_id: ['knot'], graph_node: ['nodeName'] },
};

describe('what a type means', () => {
  it.each(Object.entries(EVENT_TYPES))('%s is known without source, phase, stage, kind or confidence', (type, meaning) => {
    expect(event({ type })).toMatchObject({ type, ...meaning, step_source: 'runtime', step_confidence: 'high' });
  });

  it.each<readonly [string, Record<string, unknown>, Record<string, unknown>]>([
    [
      'the traps of the protocol: a failed tool is no new request',
      { type: 'tool.call.failed' },
      { type: 'tool.call.failed', event_phase: 'after' },
    ],
    ['a result is no new request', { type: 'tool.result.received' }, { type: 'tool.result.received', event_phase: 'after' }],
    ['a completed run is no step', { type: 'run.completed' }, { type: 'run.completed' }],
    ['the alias event', { event: 'run.started' }, { type: 'run.started' }],
    [
      'what the sender states stands',
      {
        type: 'llm.call.started',
        event_phase: 'AFTER',
        policy_stage: 'post-action',
        step_kind: 'Final-Answer',
        step_confidence: 'low',
        step_source: 'rule',
      },
      { event_phase: 'after', policy_stage: 'post_action', step_kind: 'final_answer', step_confidence: 'low', step_source: 'rule' },
    ],
    [
      'unknown words of enumerations fall back on the type',
      { type: 'llm.call.started', event_phase: 'sometime', policy_stage: 5, step_kind: null },
      { event_phase: 'before', policy_stage: 'pre_action', step_kind: 'llm_call' },
    ],
    [
      'a stranger’s tool call',
      { type: 'acme.toolCalled' },
      { type: 'tool.call.requested', event_phase: 'before', step_confidence: 'medium', step_source: 'heuristic' },
    ],
    ['a stranger’s failed tool call', { type: 'acme.tool_call.failed' }, { type: 'tool.call.failed', event_phase: 'after' }],
    ['a stranger’s finished tool call', { type: 'TOOL FINISHED' }, { type: 'tool.call.completed' }],
    ['a stranger’s model call', { type: 'on_chat_model_start' }, { type: 'llm.call.started' }],
    ['whole words only', { type: 'tooling.started' }, { type: 'tooling.started', policy_stage: 'audit_only', step_confidence: 'low' }],
    ['a negation says nothing', { type: 'tool.not.completed' }, { type: 'tool.not.completed', step_confidence: 'low' }],
    ['incomplete is not complete', { type: 'tool.incomplete' }, { type: 'tool.incomplete' }],
    ['no type at all', {}, { type: 'unknown', event_phase: 'unknown', policy_stage: 'audit_only', step_confidence: 'low' }],
    ['names of object internals', { type: 'constructor' }, { type: 'constructor', policy_stage: 'audit_only' }],
  ])('%s', (_title, raw, expected) => {
    expect(event(raw)).toMatchObject(expected);
  });
});

describe('dodges', () => {
  it.each([
    ['claims to be after the fact', { event_phase: 'after' }],
    ['claims to be for the log only', { policy_stage: 'audit_only' }],
    ['claims to be unsure', { step_confidence: 'low' }],
  ])('are seen when a question %s', (_title, claim) => {
    const result = normalized({ type: 'tool.call.requested', source: 'alephant', ...claim });
    expect(result.dodges).toBe(true);
    expect(asksForDecision(result.event)).toBe(false);
    expect(result.claims).toMatchObject(claim);
    expect(result.implied).toEqual({ event_phase: 'before', policy_stage: 'pre_action', step_kind: 'tool_call' });
  });

  it('are not seen in honest events', () => {
    expect(normalized({ type: 'tool.call.requested' }).dodges).toBe(false);
    expect(asksForDecision(event({ type: 'tool.call.requested' }))).toBe(true);
    expect(normalized({ type: 'tool.call.completed' }).dodges).toBe(false);
    expect(asksForDecision(event({ type: 'tool.call.completed' }))).toBe(false);
  });

  it.each([
    ['registered', 'acme', 'self_reported'],
    ['gateway_observed', 'acme', 'self_reported'],
    ['gateway_executed', 'acme', 'self_reported'],
    ['adapter_detected', 'acme', 'adapter_detected'],
    ['adapter_detected', 'unknown', 'self_reported'],
  ])('trust %s claimed by source %s is %s', (claimed, source, trust) => {
    const result = normalized({ type: 'run.started', source, event_source_trust: claimed });
    expect(result.event.event_source_trust).toBe(trust);
    expect(result.claims.event_source_trust).toBe(claimed);
  });

  it('cannot forge a decision: what only the gateway writes is moved aside', () => {
    const { metadata } = event({
      type: 'run.started',
      metadata: { policy: { allowed: true }, policy_original: 'x', sinkStatus: 'sent', billing: { amountMicros: 0 } },
    });
    expect(metadata).toEqual({
      policy_original: 'x',
      policy_original_1: { allowed: true },
      sinkStatus_original: 'sent',
      billing_original: { amountMicros: 0 },
    });
  });
});

describe('sources', () => {
  it.each<readonly [Record<string, unknown>, Partial<EventDefaults>, string]>([
    [{ source: 'a', framework: 'b' }, { source: 'c', framework: 'd' }, 'a'],
    [{ framework: 'b' }, { source: 'c', framework: 'd' }, 'b'],
    [{}, { source: 'c', framework: 'd' }, 'c'],
    [{}, { framework: 'd' }, 'd'],
    [{}, {}, 'unknown'],
    [{ source: 'Loom-Flow' }, { mappings: [LOOM] }, 'loom'],
  ])('%j with batch %j is %s', (raw, defaults, source) => {
    expect(event({ type: 'run.started', ...raw }, defaults).source).toBe(source);
  });

  it('with a registered mapping have their raw types and ids read', () => {
    expect(event({ source: 'loom', type: 'thread_spun', traceId: 'trace-1', knot: 7, weave: ' ' }, { mappings: [LOOM] })).toMatchObject({
      type: 'run.started',
      event_phase: 'state',
      policy_stage: 'audit_only',
      run_id: 'trace-1',
      step_id: '7',
      metadata: { raw_event_type: 'thread_spun', traceId: 'trace-1' },
    });
  });

  it.each([
    ['@loom/nodes.toolCalculator', 'tool.call.requested'],
    ['loom.tool', 'tool.call.requested'],
    ['loom.toolbox', 'step.started'],
    [undefined, 'step.started'],
  ])('may tell types apart by a raw field: %s', (nodeType, type) => {
    expect(event({ source: 'loom', type: 'node_begun', nodeType }, { mappings: [LOOM] }).type).toBe(type);
  });

  it('with a mapping are still understood when they send canonical types', () => {
    expect(event({ source: 'loom', type: 'tool.call.failed' }, { mappings: [LOOM] })).toMatchObject({
      type: 'tool.call.failed',
      source: 'loom',
      step_confidence: 'high',
    });
  });
});

describe('ids', () => {
  const context = { runId: 'header-run', sessionId: 'header-session', agentId: 'header-agent', attempt: 3 };

  it('left out are filled from the request’s headers', () => {
    expect(event({ type: 'run.started' }, { context })).toMatchObject({
      run_id: 'header-run',
      session_id: 'header-session',
      agent_id: 'header-agent',
      attempt: 3,
    });
  });

  it('that contradict the headers stand, and the conflict is told', () => {
    const result = normalized({ type: 'run.started', run_id: 'own', session_id: 'header-session' }, { context });
    expect(result.event.run_id).toBe('own');
    expect(result.conflicts).toEqual(['run_id']);
  });

  it('that a plain Alephant event carries in metadata become fields', () => {
    expect(
      event({ type: 'run.started', metadata: { session_id: 's', workflow_id: 'w', customer_id: 5, run_id: 'not mine' } }),
    ).toMatchObject({ session_id: 's', workflow_id: 'w', customer_id: '5', metadata: { run_id: 'not mine' } });
  });

  it('may be whole numbers, and are absent when blank', () => {
    expect(event({ type: 'run.started', run_id: 5, step_id: ' ', agent_id: null })).toMatchObject({ run_id: '5' });
    expect(event({ type: 'run.started', step_id: ' ', agent_id: null })).not.toHaveProperty('step_id');
  });

  it('of events are told apart from those made for them', () => {
    expect(normalized({ type: 'run.started' })).toMatchObject({ eventIdGiven: false, event: { event_id: 'evt_made' } });
    expect(normalized({ type: 'run.started', event_id: 'mine' })).toMatchObject({ eventIdGiven: true, event: { event_id: 'mine' } });
  });

  it('spelled agentName are read, spelled agentNam are not', () => {
    expect(event({ type: 'run.started', agentName: 'x' }).agent_name).toBe('x');
    expect(event({ type: 'run.started', agent_name: 'y', agentName: 'x' }).agent_name).toBe('y');
    expect(event({ type: 'run.started', agentNam: 'x' }).agent_name).toBeUndefined();
  });
});

describe('metadata that carries meaning', () => {
  it.each<readonly [string, Record<string, unknown>, Record<string, unknown>, readonly string[]]>([
    ['a decimal cost', { cost_usd: '0.0860' }, { cost_usd: '0.086' }, []],
    ['a float cost', { cost_usd: 0.1 }, { cost_usd: '0.1' }, []],
    ['a tiny float cost', { cost_usd: 1e-9 }, { cost_usd: '0.000000001' }, []],
    ['the protocol’s cost', { cost: 0.25 }, { cost_usd: '0.25' }, []],
    ['both costs', { cost: 0.25, cost_usd: '0.3' }, { cost_usd: '0.3' }, []],
    ['a negative cost', { cost_usd: '-5' }, { cost_usd_original: '-5' }, ['metadata.cost_usd']],
    ['a cost that is none', { cost_usd: 'free' }, { cost_usd_original: 'free' }, ['metadata.cost_usd']],
    ['an infinite cost', { cost_usd: Infinity }, {}, []],
    ['usage', { usage: { input_tokens: 5, output_tokens: null, strange: 1 } }, { usage: { input_tokens: 5, output_tokens: null } }, []],
    ['negative usage', { usage: { input_tokens: -5 } }, { usage_original: { input_tokens: -5 } }, ['metadata.usage']],
    ['the most of a class', { usage: { output_tokens: 1_000_000_000 } }, { usage: { output_tokens: 1_000_000_000 } }, []],
    [
      'usage beyond any call',
      { usage: { output_tokens: 1_000_000_001 } },
      { usage_original: { output_tokens: 1_000_000_001 } },
      ['metadata.usage'],
    ],
    ['usage as text', { usage: 'lots' }, { usage_original: 'lots' }, ['metadata.usage']],
    ['a status of another word', { status: 'Success' }, { status: 'completed' }, []],
    ['a status nobody knows', { status: 'odd' }, { status_original: 'odd' }, ['metadata.status']],
    ['nothing', { model: null, provider: undefined }, {}, []],
    ['anything else', { whatever: [{ deep: true }] }, { whatever: [{ deep: true }] }, []],
  ])('reads %s', (_title, metadata, expected, ignored) => {
    const result = normalized({ type: 'llm.call.completed', metadata });
    expect(result.event.metadata).toEqual(expected);
    expect(result.ignored).toEqual(ignored);
  });
});

describe('what is no event', () => {
  it.each([null, 5, 'x', [], true, undefined])('%j is refused', (raw) => {
    expect(normalizeEvent(raw, DEFAULTS).type).toBe('invalid');
  });

  it.each([
    [{ run_id: {} }, 'run_id'],
    [{ run_id: 'x'.repeat(257) }, 'run_id'],
    [{ metadata: [] }, 'metadata'],
    [{ metadata: 'x' }, 'metadata'],
    [{ type: ['run.started'] }, 'type'],
  ])('%j is refused with its path', (raw, path) => {
    expect(normalizeEvent(raw, DEFAULTS)).toMatchObject({ type: 'invalid', path });
  });

  it.each<readonly [unknown, string, number]>([
    [{ type: 'run.started' }, 'events', 1],
    [{ source: 'a', events: [{}, 5] }, 'events', 2],
    [{ events: [] }, 'events', 0],
    [{ events: 5 }, 'invalid', 0],
    [{ source: {}, events: [] }, 'invalid', 0],
    [[{}], 'invalid', 0],
    ['x', 'invalid', 0],
    [null, 'invalid', 0],
  ])('a body %j reads as %s', (body, type, count) => {
    const parsed = parseEventBody(body);
    expect(parsed.type).toBe(type);
    expect(parsed.type === 'events' ? parsed.events.length : 0).toBe(count);
  });
});

it.each([
  ['2026-11-24T13:00:00+01:00', '2026-11-24T12:00:00.000Z'],
  ['2026-11-24T12:00:00.123456Z', '2026-11-24T12:00:00.123Z'],
  ['yesterday', DEFAULTS.receivedAt],
  ['2026-13-45T99:00:00Z', DEFAULTS.receivedAt],
  [5, DEFAULTS.receivedAt],
])('time %s reads as %s', (timestamp, expected) => {
  expect(event({ type: 'run.started', timestamp }).timestamp).toBe(expected);
});

it('normalizing twice is normalizing once, for any JSON in any field (random, seed in the failure)', () => {
  const seed = Date.now() % 1_000_000;
  const random = mulberry(seed);
  const pick = <Item>(items: readonly Item[]): Item => items[Math.floor(random() * items.length)] as Item;
  const scalars = [
    '',
    ' x ',
    'tool.call.requested',
    'acme.tool.failed',
    'after',
    'pre-action',
    'high',
    'unknown',
    'loom',
    'Bearer abcdefgh123456',
    'sk-abcdefghijklmnopqrst',
    'api_key=abcdefgh',
    'http://u:p@h/',
    '0.5',
    'completed',
    'error',
    0,
    1,
    -1,
    1.5,
    1e300,
    null,
    true,
    '2026-11-24T13:00:00+01:00',
  ];
  const keys = [
    'type',
    'event',
    'source',
    'framework',
    'event_phase',
    'policy_stage',
    'event_source_trust',
    'step_kind',
    'step_source',
    'step_confidence',
    'run_id',
    'session_id',
    'step_id',
    'agentName',
    'attempt',
    'iteration',
    'sequence',
    'timestamp',
    'traceId',
    'nodeType',
    'knot',
    'name',
    'odd',
  ];
  const metaKeys = [
    'policy',
    'policy_original',
    'cost',
    'cost_usd',
    'usage',
    'status',
    'session_id',
    'customer_id',
    'api_key',
    'token',
    'raw_event_type',
    'bounds',
    'model',
    'message',
    'input_tokens',
    'x',
    'constructor',
    'toString',
  ];
  const json = (depth: number): unknown =>
    depth > 2 || random() < 0.6
      ? pick(scalars)
      : random() < 0.5
        ? [json(depth + 1), json(depth + 1)]
        : Object.fromEntries([
            [pick(metaKeys), json(depth + 1)],
            ['input_tokens', json(3)],
          ]);
  let valid = 0;
  for (let round = 0; round < 5_000; round += 1) {
    const raw = Object.fromEntries(Array.from({ length: 6 }, () => [pick(keys), pick(scalars)] as const));
    const metadata = Object.fromEntries(Array.from({ length: 5 }, () => [pick(metaKeys), json(0)] as const));
    const defaults = {
      ...DEFAULTS,
      mappings: [LOOM],
      context: random() < 0.5 ? { runId: 'h', sessionId: 'hs', attempt: 2 } : undefined,
      source: pick([undefined, 'loom', 'acme']),
    };
    const once = normalizeEvent({ ...raw, metadata }, defaults);
    if (once.type === 'invalid') continue;
    valid += 1;
    const twice = normalizeEvent(JSON.parse(JSON.stringify(once.event)), {
      ...defaults,
      eventId: () => 'evt_other',
      receivedAt: '2030-01-01T00:00:00.000Z',
    });
    if (twice.type === 'invalid') throw new Error(`seed ${seed}: ${twice.path} ${twice.message}`);
    if (!isDeepStrictEqual(twice.event, once.event)) {
      throw new Error(
        `seed ${seed}: ${JSON.stringify({ ...raw, metadata })} is ${JSON.stringify(once.event)}, then ${JSON.stringify(twice.event)}`,
      );
    }
  }
  expect(valid).toBeGreaterThan(2_000);
});

/** A small seeded generator (mulberry32). */
function mulberry(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let value = Math.imul(state ^ (state >>> 15), 1 | state);
    value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value;
    return ((value ^ (value >>> 14)) >>> 0) / 4_294_967_296;
  };
}
