import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { openTestApi, type TestApi } from './test-api.ts';

let api: TestApi;
beforeAll(async () => {
  api = await openTestApi({
    tools: [{ name: 'lookup', price_usd: '0.002' }],
    budgets: [{ scope: 'run', id: '*', limit_usd: '0.003' }],
    policy: { tools: { deny: ['shell'] } },
    limits: { max_event_body_bytes: 2_000 },
  });
});
afterAll(() => api.close());

const ask = (runId: string, tool: string, eventId: string) => ({
  source: 'alephant',
  type: 'tool.call.requested',
  event_id: eventId,
  run_id: runId,
  tool_call_id: `call_${eventId}`,
  step_id: `step_${eventId}`,
  event_phase: 'before',
  policy_stage: 'pre_action',
  step_confidence: 'high',
  step_kind: 'tool_call',
  metadata: { tool_name: tool },
});

describe('POST /v1/agent/events', () => {
  it('answers a denial with 202 and allowed: false, as the protocol has it', async () => {
    const { status, body } = await api.post('/v1/agent/events', ask('ev_1', 'shell', 'e1'));
    expect([status, body]).toEqual([202, expect.objectContaining({ accepted: 1, rejected: 0, allowed: false })]);
    expect(body['decisions']).toMatchObject([{ eventId: 'e1', allowed: false, policyDecision: 'denied', reason: 'policy_denied' }]);
  });

  it.each([
    ['shell', 403, 'policy_denied'],
    ['dear', 402, 'budget_exceeded'],
  ])('with ?enforce=true a denied %s has its own status %i %s and the envelope every client knows', async (tool, status, code) => {
    const event = ask('ev_2', tool === 'dear' ? 'lookup' : tool, `e2_${tool}`);
    if (tool === 'dear') await api.post('/v1/agent/events', ask('ev_2', 'lookup', 'e2_first'));
    const answer = await api.post('/v1/agent/events?enforce=true', event);
    expect([answer.status, answer.error.code, answer.body['allowed']]).toEqual([status, code, false]);
    expect(answer.headers.get('x-should-retry')).toBe('false');
  });

  it('reads what the headers say where the event is silent', async () => {
    const { run_id: _run, ...event } = ask('', 'lookup', 'e3');
    await api.post('/v1/agent/events', event, { headers: { 'alephant-run-id': 'ev_3', 'runpurse-session-id': 'ev_s' } });
    expect((await api.get('/v1/runs/ev_3')).body).toMatchObject({
      session_id: 'ev_s',
      tools: [{ tool: 'lookup', status: 'open', held_usd: '0.002' }],
    });
  });

  it('refuses a body beyond its bound in the words of the protocol, and stores nothing', async () => {
    const before = api.gateway.store.lastSeq;
    const { status, error } = await api.post('/v1/agent/events', { ...ask('ev_4', 'lookup', 'e4'), name: 'x'.repeat(3_000) });
    expect([status, error.code]).toEqual([413, 'payload_too_large']);
    expect(api.gateway.store.lastSeq).toBe(before);
  });

  it('and the log, the run and the REST settlement speak of one and the same hold', async () => {
    await api.post('/v1/agent/events', ask('ev_5', 'lookup', 'e5'));
    expect((await api.post('/v1/tools/settle', { run_id: 'ev_5', tool_call_id: 'call_e5' })).body).toMatchObject({
      status: 'settled',
      charged_usd: '0.002',
    });
    expect((await api.get('/v1/runs/ev_5')).body).toMatchObject({ cost: { tool_usd: '0.002' }, counts: { tool_calls: 1 } });
    const { body } = await api.get('/v1/events?run_id=ev_5&type=tool.call.requested');
    expect(body['data']).toMatchObject([{ type: 'event', data: { event_type: 'tool.call.requested', event_id: 'e5' } }]);
  });
});
