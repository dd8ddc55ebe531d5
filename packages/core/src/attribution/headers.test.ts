import { describe, expect, it } from '@jest/globals';
import { contextFromHeaders, contextToHeaders, isContextHeader, type AgentContext } from '../index.ts';

const FULL: AgentContext = {
  agentId: 'support-bot',
  agentName: 'Support',
  runId: 'run_1827',
  sessionId: 'customer_492',
  sessionName: 'Ann',
  sessionPath: '/support/triage',
  workflowId: 'flow-7',
  customerId: 'customer-9',
  stepId: 'step-3',
  parentStepId: 'step-1',
  toolCallId: 'call-2',
  handoffId: 'handoff-1',
  graphNode: 'think',
  iteration: 4_294_967_295,
  stateHash: 'sha256:ab',
  stepKind: 'tool_call',
  stepSource: 'runtime',
  attempt: 2,
  inputHash: 'sha256:cd',
  properties: { plan: 'pro', 'cost-center': 'a b' },
};

/** As Node hands headers to a server. */
function received(headers: Record<string, string>): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));
}

describe('contextToHeaders and contextFromHeaders', () => {
  it('write and read every field', () => {
    const headers = contextToHeaders(FULL);
    expect(Object.keys(headers)).toHaveLength(21);
    expect(headers['Alephant-Run-Id']).toBe('run_1827');
    expect(contextFromHeaders(received(headers))).toEqual({ context: FULL, ignored: [] });
  });

  it('read the runpurse spelling of every field', () => {
    const headers = received(contextToHeaders(FULL));
    const renamed = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.replace('alephant-', 'runpurse-'), value]));
    expect(contextFromHeaders(renamed)).toEqual({ context: FULL, ignored: [] });
  });

  it('carry names of any script through a header that holds ASCII only', () => {
    const context = { runId: 'läuft-顧客-🙂', agentName: "UTF-8''x", sessionId: 'a%20b', sessionName: 'a\nb' };
    const headers = contextToHeaders(context);
    for (const value of Object.values(headers)) expect(value).toMatch(/^[\x20-\x7e]*$/);
    expect(contextFromHeaders(received(headers)).context).toEqual(context);
  });

  it.each([
    ['UTF-8 bytes, as curl and Go send them', Buffer.from('Fürstenzug 🙂 100 %').toString('latin1'), 'Fürstenzug 🙂 100 %'],
    ['Latin-1 bytes, as fetch sends them', 'Fürst', 'Fürst'],
    ['a control character in disguise', "UTF-8''a%00b", 'a b'],
    ['nothing but control characters', "UTF-8''%00%0A", undefined],
  ])('read %s', (_what, header, runId) => {
    expect(contextFromHeaders({ 'alephant-run-id': header }).context.runId).toBe(runId);
  });

  it('leave out what a header cannot hold', () => {
    expect(
      contextToHeaders({ runId: ' ', sessionId: 'x'.repeat(257), agentId: 'y'.repeat(256), properties: { 'bad name': 'x', ok: '' } }),
    ).toEqual({ 'Alephant-Agent-Id': 'y'.repeat(256) });
  });
});

describe('contextFromHeaders', () => {
  it.each<readonly [string, Record<string, string | string[]>, AgentContext, readonly string[]]>([
    ['trims', { 'alephant-run-id': '  r  ' }, { runId: 'r' }, []],
    ['ignores blanks', { 'alephant-run-id': '  ' }, {}, ['alephant-run-id']],
    ['takes 256 bytes', { 'alephant-run-id': 'r'.repeat(256) }, { runId: 'r'.repeat(256) }, []],
    ['ignores 257 bytes', { 'alephant-run-id': 'r'.repeat(257) }, {}, ['alephant-run-id']],
    ['ignores an iteration that is no u32', { 'alephant-iteration': '4294967296' }, {}, ['alephant-iteration']],
    ['ignores a negative iteration', { 'alephant-iteration': '-1' }, {}, ['alephant-iteration']],
    ['ignores attempt 0', { 'alephant-step-attempt': '0' }, {}, ['alephant-step-attempt']],
    ['reads - as _ in a kind', { 'alephant-step-kind': 'Tool-Call' }, { stepKind: 'tool_call' }, []],
    ['falls back on a kind it does not know', { 'alephant-step-kind': 'dreaming' }, { stepKind: 'unknown' }, []],
    ['prefers the Alephant spelling', { 'runpurse-run-id': 'b', 'alephant-run-id': 'a' }, { runId: 'a' }, ['runpurse-run-id']],
    ['says nothing of two equal spellings', { 'alephant-run-id': 'a', 'runpurse-run-id': 'a' }, { runId: 'a' }, []],
    ['takes the first of a repeated header', { 'alephant-run-id': ['a', 'b'] }, { runId: 'a' }, []],
    ['does not read unknown headers of ours', { 'alephant-cache-enabled': 'true', 'alephant-agent-zzz': 'x' }, {}, []],
    [
      'reads properties by name',
      { 'alephant-property-plan': 'pro', 'runpurse-property-plan': 'free' },
      { properties: { plan: 'pro' } },
      ['runpurse-property-plan'],
    ],
    ['reads the old agent header', { 'x-alephant-agent': 'bot' }, { agentId: 'bot' }, []],
    ['prefers the new agent header', { 'x-alephant-agent': 'old', 'alephant-agent-id': 'new' }, { agentId: 'new' }, []],
    ['takes a LiteLLM trace for run and session', { 'x-litellm-trace-id': 't' }, { runId: 't', sessionId: 't' }, []],
    ['takes a Helicone session', { 'helicone-session-id': 's', 'x-litellm-trace-id': 't' }, { runId: 't', sessionId: 's' }, []],
    [
      'takes a W3C trace for the run',
      { traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01' },
      { runId: '4bf92f3577b34da6a3ce929d0e0e4736' },
      [],
    ],
    ['ignores an empty W3C trace', { traceparent: '00-00000000000000000000000000000000-00f067aa0ba902b7-01' }, {}, []],
    [
      'lets our own headers win over all fallbacks',
      { 'alephant-run-id': 'r', 'alephant-session-id': 's', 'x-litellm-trace-id': 't', 'helicone-session-id': 'h', traceparent: 'x' },
      { runId: 'r', sessionId: 's' },
      [],
    ],
    ['ignores broken encodings', { 'alephant-run-id': "UTF-8''%E0%A4%A" }, {}, ['alephant-run-id']],
  ])('%s', (_title, headers, context, ignored) => {
    expect(contextFromHeaders(headers)).toEqual({ context, ignored });
  });

  it('is not led astray by names of object internals', () => {
    const { context } = contextFromHeaders(
      JSON.parse('{"alephant-property-__proto__":"x","alephant-constructor":"y"}') as Record<string, string>,
    );
    expect(Object.getPrototypeOf(context.properties)).toBe(Object.prototype);
    expect(Object.entries(context.properties ?? {})).toEqual([['__proto__', 'x']]);
    expect(({} as Record<string, unknown>)['x']).toBeUndefined();
  });
});

describe('isContextHeader', () => {
  const OURS = [
    ...Object.keys(contextToHeaders(FULL)).flatMap((name) => [name.toLowerCase(), name.toLowerCase().replace('alephant', 'runpurse')]),
    'alephant-agent-anything',
    'alephant-omit-request',
    'alephant-cache-seed',
    'alephant-forced-routing',
    'alephant-prompt-id',
    'x-alephant-model-override',
    'x-alephant-webhook-enabled',
    'x-alephant-posthog-api-key',
    'x-alephant-lytix-key',
    'x-alephant-trace-id',
    'x-alephant-agent',
    'x-runpurse-request-id',
    'x-litellm-trace-id',
    'helicone-session-id',
    'helicone-auth',
    'traceparent',
    'tracestate',
    'collector-step-id',
    'collector-parent-step-id',
    'collector-retry-count',
  ];
  it.each(OURS)('strips %s', (name) => expect(isContextHeader(name)).toBe(true));

  it.each([
    'authorization',
    'content-type',
    'accept',
    'user-agent',
    'x-request-id',
    'x-api-key',
    'x-stainless-retry-count',
    'anthropic-version',
    'anthropic-beta',
    'openai-organization',
    'idempotency-key',
    'host',
    'transfer-encoding',
    'te',
    'cookie',
    'content-length',
    'runtime',
    'alephantine',
    'x-alephan',
    'heliconex',
    'trace',
    '',
  ])('leaves %s', (name) => expect(isContextHeader(name)).toBe(false));

  it('strips every header that names a run, step or session to any gateway we read', () => {
    const names = [
      'x-litellm-trace-id',
      'helicone-session-id',
      'traceparent',
      'x-alephant-agent',
      ...Object.keys(received(contextToHeaders(FULL))),
    ];
    for (const name of names) expect(isContextHeader(name)).toBe(true);
  });
});
