import { describe, expect, it } from '@jest/globals';
import { createGatewayClient, GatewayUnavailableError, orThrow, RefusedError, RunpurseError, type Decision } from '../index.ts';
import { API_KEY, accepted, eventsOf, refused, scriptedHost, settle } from '../../test/scripted-host.ts';

const toolCall = { type: 'tool.call.requested', run_id: 'run-1', tool_call_id: 'call-1', name: 'refund' } as const;

describe('record', () => {
  it('returns at once and delivers in one batch after the interval', async () => {
    const { options, transport, timers } = scriptedHost({ flushIntervalMs: 1000 });
    const client = createGatewayClient(options);
    client.record({ type: 'step.started', run_id: 'run-1' });
    client.record({ type: 'step.completed', run_id: 'run-1' });
    await timers.advance(999);
    expect(transport.requests).toHaveLength(0);
    await timers.advance(1);
    expect(transport.requests).toHaveLength(1);
    expect(transport.requests[0]?.url).toBe('http://gateway.test/v1/agent/events');
    expect(transport.requests[0]?.headers['authorization']).toBe(`Bearer ${API_KEY}`);
    expect(transport.events.map(({ type }) => type)).toEqual(['step.started', 'step.completed']);
    expect(client.pending).toBe(0);
  });

  it('fills in what an event leaves out: id, time, source, phase, stage, kind and confidence', async () => {
    const { options, transport } = scriptedHost();
    const client = createGatewayClient(options);
    client.record({ type: 'tool.call.failed', run_id: 'run-1' });
    await client.flush();
    expect(transport.events[0]).toEqual({
      version: '2026-05-27',
      event_id: 'evt_1',
      type: 'tool.call.failed',
      source: 'toy',
      event_phase: 'after',
      policy_stage: 'post_action',
      event_source_trust: 'adapter_detected',
      run_id: 'run-1',
      step_kind: 'tool_call',
      step_source: 'runtime',
      step_confidence: 'high',
      timestamp: '2026-11-24T12:00:00.000Z',
      metadata: {},
    });
  });

  it('sends a batch again with the same event ids when its reply was lost', async () => {
    const { options, transport, timers } = scriptedHost({ random: () => 0 });
    const client = createGatewayClient(options);
    let lost = 0;
    transport.reply = () => (lost++ === 0 ? Object.assign(new Error('socket hang up'), { code: 'ECONNRESET' }) : accepted);
    client.record({ type: 'run.completed', run_id: 'run-1' });
    await timers.advance(60_000);
    expect(transport.requests).toHaveLength(2);
    const [first, second] = transport.requests.map(eventsOf);
    expect(second).toEqual(first);
    expect(client.pending).toBe(0);
  });

  it('backs off while the gateway is away, to at most one attempt in 30 seconds, and reports it once', async () => {
    const { options, transport, timers, problems } = scriptedHost();
    const client = createGatewayClient(options);
    transport.reply = () => new Error('connect ECONNREFUSED');
    client.record({ type: 'run.completed', run_id: 'run-1' });
    await timers.advance(300_000);
    expect(timers.slept.slice(0, 9)).toEqual([1000, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
    expect(problems.map(({ code }) => code)).toEqual(['events_delayed']);
    transport.reply = () => accepted;
    await timers.advance(30_000);
    expect(client.pending).toBe(0);
  });

  it('waits as long as a 429 says', async () => {
    const { options, transport, timers } = scriptedHost();
    const client = createGatewayClient(options);
    transport.reply = () => refused(429, 'rate_limited', {}, { 'retry-after': '42' });
    client.record({ type: 'run.completed', run_id: 'run-1' });
    await timers.advance(1_000);
    expect(timers.slept.at(-1)).toBe(42_000);
  });

  it('keeps the newest events when the bound is hit, and says how many were dropped', async () => {
    const { options, transport, timers, problems } = scriptedHost({ maxQueue: 10 });
    const client = createGatewayClient(options);
    transport.reply = () => new Error('down');
    for (let index = 0; index < 25; index += 1) client.record({ type: 'step.started', run_id: 'run-1', sequence: index });
    expect(client.pending).toBe(10);
    transport.reply = () => accepted;
    await timers.advance(120_000);
    expect(transport.events.map(({ sequence }) => sequence)).toEqual([15, 16, 17, 18, 19, 20, 21, 22, 23, 24]);
    const dropped = problems.filter(({ code }) => code === 'events_dropped').reduce((sum, { events = 0 }) => sum + events, 0);
    expect(dropped).toBe(15);
  });

  it('drops steps before what has a cost or an end, oldest first, and says once what one outage cost', async () => {
    const { options, transport, timers, problems } = scriptedHost({ maxQueue: 4 });
    const client = createGatewayClient(options);
    transport.reply = () => new Error('down');
    const told = ['llm.call.completed', 'step.started', 'tool.call.completed', 'step.completed', 'llm.call.failed', 'step.failed'] as const;
    for (const type of [...told, 'run.completed', 'llm.call.completed'] as const) client.record({ type, run_id: 'run-1' });
    client.record({ type: 'step.started', run_id: 'run-1' });
    await timers.advance(1_000);
    expect(problems.filter(({ code }) => code === 'events_dropped')).toMatchObject([
      { events: 5, message: '5 events dropped: more than 4 (maxQueue) wait for the gateway. Is it up?' },
    ]);
    transport.reply = () => accepted;
    await timers.advance(120_000);
    expect(transport.events.slice(-4).map(({ type }) => type)).toEqual([
      'tool.call.completed',
      'llm.call.failed',
      'run.completed',
      'llm.call.completed',
    ]);
  });

  it('survives a listener that throws, a timer that fails and an input that cannot be read', async () => {
    const { options, transport } = scriptedHost({
      onProblem: () => {
        throw new Error('listener');
      },
    });
    const client = createGatewayClient({ ...options, timers: { now: () => 0, sleep: () => Promise.reject(new Error('no timers here')) } });
    const cyclic: Record<string, unknown> = {};
    cyclic['self'] = cyclic;
    const bad = Object.defineProperty({}, 'trap', {
      enumerable: true,
      get: () => {
        throw new Error('getter');
      },
    });
    client.record({ type: 'step.started', metadata: cyclic });
    client.record({ type: 'step.started', metadata: bad });
    client.record(undefined as never);
    client.record({ type: 'step.started', run_id: 'x'.repeat(300) });
    await settle();
    expect(await client.flush()).toBe(0);
    expect(transport.events.map(({ metadata }) => metadata)).toEqual([{ self: { self: '[circular]' } }, {}]);
  });

  it('reports events after close instead of keeping them', async () => {
    const { options, problems } = scriptedHost();
    const client = createGatewayClient(options);
    await client.close();
    client.record({ type: 'step.started' });
    expect(problems.map(({ code }) => code)).toEqual(['client_closed']);
    expect(client.pending).toBe(0);
  });

  it('says on close how many events could not be delivered', async () => {
    const { options, transport, timers, problems } = scriptedHost();
    const client = createGatewayClient(options);
    transport.reply = () => new Error('down');
    client.record({ type: 'step.started' });
    const closing = client.close();
    await timers.advance(10_000);
    await closing;
    expect(problems.at(-1)).toMatchObject({ code: 'events_dropped', events: 1 });
  });
});

describe('ask', () => {
  const denials: readonly (readonly [title: string, status: number, code: string, expected: string])[] = [
    ['a budget', 402, 'budget_exceeded', 'budget_exceeded'],
    ['a policy', 403, 'policy_denied', 'policy_denied'],
    ['a forged identity', 403, 'identity_forged', 'identity_forged'],
    ['an ended run', 409, 'run_ended', 'run_ended'],
    ['a paused run', 409, 'run_paused', 'run_paused'],
    ['an unknown price', 422, 'price_unknown', 'price_unknown'],
    ['a revoked key', 401, 'invalid_key', 'invalid_key'],
    ['an id that was used for another question', 409, 'event_id_conflict', 'conflict'],
    ['a code of a gateway not ours', 403, 'something_else', 'policy_denied'],
  ];
  it.each(denials)('is denied by %s', async (_title, status, code, expected) => {
    const { options, transport } = scriptedHost();
    transport.reply = () => refused(status, code, { blocked_by: 'run:*', limit_usd: '0.50', nested: {} });
    const decision = await createGatewayClient(options).ask(toolCall);
    expect(decision).toEqual({
      type: 'denied',
      proceed: false,
      refusal: {
        code: expected,
        message: `no: ${code}`,
        param: undefined,
        blockedBy: 'run:*',
        details: { limit_usd: '0.50' },
        retryAfterSeconds: undefined,
      },
    });
    expect(() => orThrow(decision)).toThrow(RefusedError);
  });

  it('says after how many seconds a rate limit may be tried again', async () => {
    const { options, transport } = scriptedHost();
    transport.reply = () => refused(429, 'rate_limited', {}, { 'retry-after': '7' });
    expect(await createGatewayClient(options).ask(toolCall)).toMatchObject({
      type: 'denied',
      refusal: { code: 'rate_limited', retryAfterSeconds: 7 },
    });
  });

  it('asks with enforcement, one event, at once', async () => {
    const { options, transport } = scriptedHost();
    expect(await createGatewayClient(options).ask(toolCall)).toEqual({ type: 'allowed', proceed: true, warnings: [] });
    expect(transport.requests).toHaveLength(1);
    expect(transport.requests[0]?.url).toBe('http://gateway.test/v1/agent/events?enforce=true');
    expect(transport.events[0]).toMatchObject({
      event_phase: 'before',
      policy_stage: 'pre_action',
      step_confidence: 'high',
      tool_call_id: 'call-1',
    });
  });

  it('delivers what waits of the same run first, and leaves other runs waiting', async () => {
    const { options, transport } = scriptedHost();
    const client = createGatewayClient(options);
    client.record({ type: 'tool.call.completed', run_id: 'run-1' });
    client.record({ type: 'tool.call.completed', run_id: 'run-2' });
    await client.ask(toolCall);
    expect(transport.requests.map((request) => eventsOf(request).map(({ type, run_id }) => `${String(run_id)} ${type}`))).toEqual([
      ['run-1 tool.call.completed'],
      ['run-1 tool.call.requested'],
    ]);
    expect(client.pending).toBe(1);
  });

  it('asks again under the same event id when the first answer was lost', async () => {
    const { options, transport } = scriptedHost();
    let lost = 0;
    transport.reply = () => (lost++ === 0 ? new Error('socket hang up') : refused(402, 'budget_exceeded'));
    expect((await createGatewayClient(options).ask(toolCall)).type).toBe('denied');
    const [first, second] = transport.events;
    expect(second?.event_id).toBe(first?.event_id);
  });

  const faults: readonly (readonly [title: string, reply: ReturnType<typeof refused> | Error])[] = [
    ['cannot be reached', new Error('connect ECONNREFUSED')],
    ['has no ledger', refused(503, 'ledger_unavailable')],
    ['answers 500', { status: 500, headers: {}, body: 'oops' }],
    ['answers with a page', { status: 200, headers: {}, body: '<html>' }],
    ['is behind a firewall', { status: 403, headers: {}, body: '\n<!doctype html><title>403 Forbidden</title>' }],
    ['is behind a busy proxy', { status: 429, headers: {}, body: '<html>slow down</html>' }],
    ['redirects', { status: 302, headers: { location: 'http://elsewhere' }, body: '' }],
    ['does not know the path', refused(404, 'not_found')],
    ['finds the request malformed', refused(400, 'invalid_request')],
  ];
  describe.each(faults)('when the gateway %s', (_title, reply) => {
    it('lets the host go on under the open policy, and delivers the event later', async () => {
      const { options, transport, problems } = scriptedHost();
      const client = createGatewayClient(options);
      transport.reply = () => reply;
      const decision = await client.ask(toolCall);
      expect(decision).toMatchObject({ type: 'unavailable', proceed: true });
      expect(orThrow(decision)).toBe(decision);
      expect(problems.some(({ code }) => code === 'gateway_unavailable')).toBe(true);
      const askedAs = transport.events[0]?.event_id;
      transport.reply = () => accepted;
      await client.flush();
      expect(transport.events.at(-1)).toMatchObject({ event_id: askedAs, type: 'tool.call.requested' });
    });

    it('keeps the call from being made under the closed policy, and reports no call that was not made', async () => {
      const { options, transport } = scriptedHost({ failurePolicy: { authorize: 'closed' } });
      const client = createGatewayClient(options);
      transport.reply = () => reply;
      const decision = await client.ask(toolCall);
      expect(decision).toMatchObject({ type: 'unavailable', proceed: false });
      expect(() => orThrow(decision)).toThrow(GatewayUnavailableError);
      expect(client.pending).toBe(0);
    });
  });

  it('no longer waits for a gateway that is away, but tries one question every two seconds', async () => {
    const { options, transport, timers } = scriptedHost({ failurePolicy: { authorize: 'closed' } });
    const client = createGatewayClient(options);
    transport.reply = async () => {
      await timers.sleep(5_000);
      return new Error('timeout of 5000ms exceeded');
    };
    const ask = async (): Promise<Decision> => {
      const asking = client.ask(toolCall);
      await timers.advance(5_000);
      return asking;
    };
    for (let count = 0; count < 3; count += 1) await ask();
    const before = transport.requests.length;
    expect((await client.ask(toolCall)).type).toBe('unavailable');
    expect(transport.requests).toHaveLength(before);
    await timers.advance(2_000);
    transport.reply = () => accepted;
    expect((await client.ask(toolCall)).type).toBe('allowed');
    expect((await client.ask(toolCall)).type).toBe('allowed');
  });
});

describe('reads', () => {
  it('gives undefined for a run nobody knows, and never an id as a path', async () => {
    const { options, transport } = scriptedHost();
    transport.reply = () => refused(404, 'not_found');
    expect(await createGatewayClient(options).readRun('../keys?x')).toBeUndefined();
    expect(transport.requests[0]).toMatchObject({ method: 'GET', url: 'http://gateway.test/v1/runs/..%2Fkeys%3Fx' });
  });

  it.each([
    ['a refusal', refused(401, 'invalid_key'), 'invalid_key'],
    ['a fault', refused(503, 'ledger_unavailable'), 'gateway_unavailable'],
    ['a page', { status: 200, headers: {}, body: '<html>' }, 'gateway_unavailable'],
    ['a network failure', new Error('ECONNREFUSED'), 'gateway_unavailable'],
  ] as const)('rejects with a typed error after %s', async (_title, reply, code) => {
    const { options, transport } = scriptedHost();
    transport.reply = () => reply;
    const error: unknown = await createGatewayClient(options)
      .readSession('s')
      .catch((thrown: unknown) => thrown);
    expect(RunpurseError.isInstance(error) && error.code).toBe(code);
  });
});

describe('options', () => {
  it.each(['http://gateway.test/', 'http://gateway.test/v1', 'http://gateway.test/v1/', 'http://gateway.test'])(
    'reads %s as the same gateway',
    async (baseUrl) => {
      const { options, transport } = scriptedHost({ baseUrl });
      await createGatewayClient(options).ask(toolCall);
      expect(transport.requests[0]?.url).toBe('http://gateway.test/v1/agent/events?enforce=true');
    },
  );

  it('refuses an address or key that can never work', () => {
    const { options } = scriptedHost();
    expect(() => createGatewayClient({ ...options, baseUrl: 'gateway' })).toThrow('baseUrl');
    expect(() => createGatewayClient({ ...options, apiKey: ' ' })).toThrow('runpurse keys create');
  });
});

describe('secrets', () => {
  it.each([API_KEY, 'kw8dj3kd9sl2mf7q'])(
    'never leave: not in metadata, names, errors or problems, and our own key %s nowhere but in its header',
    async (apiKey) => {
      const { options, transport, problems } = scriptedHost({ apiKey, failurePolicy: { authorize: 'closed' } });
      const client = createGatewayClient(options);
      const secret = 'sk-proj-abcdefghijklmnopqrstuvwx';
      const run = client.run({ runId: 'run-1', properties: { note: `my key ${apiKey}` } });
      await run.start();
      run.recordModel({ stepId: 's', model: 'm', error: new Error(`401 Authorization: Bearer ${secret} was wrong`) });
      run.settleTool({ toolCallId: 'c', tool: `tool ${secret}`, status: 'failed', error: `password=hunter22 and ${apiKey}` });
      run.record({
        type: 'step.completed',
        metadata: {
          api_key: 'plainword',
          headers: { Cookie: 'a=b', 'X-Api-Key': 'c' },
          list: [{ apiKey: 'plainword' }],
          input_tokens: 5,
          note: apiKey,
        },
      });
      await run.authorizeTool({ tool: 'login', toolCallId: 'd', stepId: 't', input: { password: 'plainword', user: 'ann@example.com' } });
      await run.end({ status: 'failed', reason: `token ${secret}` });
      transport.reply = () => Object.assign(new Error(`connect failed with ${apiKey}`), { config: { headers: { authorization: apiKey } } });
      const decision = await client.ask(toolCall);
      const sent = transport.requests.map(({ body = '' }) => body).join('\n');
      for (const word of [secret, apiKey, 'hunter22', 'plainword', 'a=b', 'ann@example.com']) expect(sent).not.toContain(word);
      expect(sent).toContain('"input_tokens":5');
      const told = JSON.stringify([
        problems,
        decision,
        decision.type === 'unavailable' ? [decision.error.message, decision.error.cause] : [],
      ]);
      expect(told).not.toContain(apiKey);
    },
  );
});
