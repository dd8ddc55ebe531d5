import { afterEach, describe, expect, it } from '@jest/globals';
import { decisionsIn, errorIn, openTestStage, type TestStage } from './test-stage.ts';

/** The holes seen in the source of the gateway whose protocol this is (facts, "Seen in source"), each tried. */

let stage: TestStage;
afterEach(() => stage.close());
const open = async (...args: Parameters<typeof openTestStage>): Promise<TestStage> => (stage = await openTestStage(...args));

const ask = (tool: string, more: object = {}): object => ({
  type: 'tool.call.requested',
  run_id: 'r1',
  tool_call_id: 't1',
  step_id: 's1',
  metadata: { tool_name: tool },
  ...more,
});

describe('hole 1: a denial is HTTP 202 and enforce changes nothing', () => {
  it.each<[string, object, object[], number, string]>([
    ['a policy', { policy: { tools: { deny: ['refund'] } } }, [ask('refund')], 403, 'policy_denied'],
    [
      'a budget',
      { tools: [{ name: 'refund', price_usd: '2' }], budgets: [{ scope: 'run', limit_usd: '1' }] },
      [ask('refund')],
      402,
      'budget_exceeded',
    ],
    ['the rate cap', { rate: { requests_per_minute: 1 } }, [ask('refund'), ask('refund', { tool_call_id: 't2' })], 429, 'rate_limited'],
    ['an ended run', {}, [{ type: 'run.completed', run_id: 'r1' }, ask('refund')], 409, 'run_ended'],
  ])(
    'with enforce=true, %s answers with its status code, the refusal envelope and the decisions',
    async (_what, config, events, status, code) => {
      const { send } = await open(config);
      const result = await send(events, { enforce: true });
      expect(result.status).toBe(status);
      expect(errorIn(result)).toMatchObject({ code, message: expect.stringMatching(/\w+/) });
      expect(result.body).toMatchObject({ accepted: events.length, rejected: 0, allowed: false });
      expect(decisionsIn(result).at(-1)).toMatchObject({ allowed: false, policyDecision: 'denied', reason: code });
      expect(result.headers).toMatchObject({ 'x-should-retry': code === 'rate_limited' ? 'true' : 'false' });
      if (code === 'rate_limited') expect(Number(result.headers['retry-after'])).toBeGreaterThan(0);
    },
  );

  it.each([' refund', 'refund\t', '\u00a0refund '])('a rule holds for the tool %j as well', async (tool) => {
    const { send } = await open({ policy: { tools: { deny: ['refund'] } } });
    expect((await send(ask(tool), { enforce: true })).status).toBe(403);
    expect((await send({ ...ask('x'), name: tool, metadata: {} }, { enforce: true })).status).toBe(403);
  });

  it('each call past the rate cap is a refused one, however many there are in a second', async () => {
    const { send, run } = await open({ rate: { requests_per_minute: 1 } });
    for (const id of ['t1', 't2', 't3', 't4']) await send(ask('refund', { tool_call_id: id }), { enforce: true });
    await send({ type: 'tool.call.completed', run_id: 'r1', tool_call_id: 't1', metadata: { tool_name: 'refund', cost_usd: '1' } });
    await send({ type: 'run.completed', run_id: 'r1', metadata: { revenue_usd: '2' } });
    const { tools, margin } = await run('r1');
    expect(tools.map(({ tool_call_id, status }) => [tool_call_id, status])).toEqual([
      ['t1', 'completed'],
      ['t2', 'denied'],
      ['t3', 'denied'],
      ['t4', 'denied'],
    ]);
    expect(margin).toMatchObject({ known_usd: '1', unknown: [] });
  });

  it('without enforce it is a 202 with allowed false, as the protocol has it', async () => {
    const { send } = await open({ policy: { tools: { deny: ['refund'] } } });
    const result = await send(ask('refund'));
    expect(result).toMatchObject({ status: 202, body: { accepted: 1, allowed: false } });
    expect(decisionsIn(result)).toEqual([
      expect.objectContaining({
        allowed: false,
        policyDecision: 'denied',
        reason: 'policy_denied',
        blockedBy: 'tools.deny',
        policyId: 'tools.deny',
        snapshotRevision: '1',
        policyScope: 'AGENT_POLICY_SCOPE_WORKSPACE',
        runId: 'r1',
        stepId: 's1',
        sinkStatus: 'sent',
        violations: [expect.objectContaining({ reason: 'policy_denied', blocked_by: 'tools.deny' })],
      }),
    ]);
  });
});

describe('hole 2: an event dodges the gate by what it claims of itself', () => {
  it.each<[string, object]>([
    ['phase after', { event_phase: 'after' }],
    ['stage audit_only', { policy_stage: 'audit_only' }],
    ['low confidence', { step_confidence: 'low' }],
    ['another step kind', { step_kind: 'planning' }],
    [
      'all of them, from a trusted-looking source',
      { source: 'alephant', event_phase: 'after', policy_stage: 'audit_only', step_confidence: 'low', step_kind: 'unknown' },
    ],
    ['an odd source', { source: 'nobody-knows-me' }],
    ['an alias type', { type: 'tool_call_started' }],
    ['another alias type', { type: 'ToolStart' }],
    ['the type in field event', { type: undefined, event: 'tool.call.requested' }],
    ['the name in another field', { name: 'refund', metadata: {} }],
    ['other letters', { metadata: { tool_name: 'ReFund' } }],
    ['no name at all', { metadata: {} }],
    ['no tool call id and no step', { tool_call_id: undefined, step_id: undefined }],
    ['no run', { run_id: undefined }],
  ])('a gated tool asked for with %s is denied and logged with its rule', async (_dodge, claims) => {
    const { send, decisions, events } = await open({ policy: { tools: { deny: ['refund'] } } });
    const result = await send(ask('refund', claims), { enforce: true });
    expect([result.status, errorIn(result)['code'], errorIn(result)['blocked_by']]).toEqual([403, 'policy_denied', 'tools.deny']);
    expect((await decisions()).map(({ outcome, code, rule, ruleRevision }) => ({ outcome, code, rule, ruleRevision }))).toEqual([
      { outcome: 'denied', code: 'policy_denied', rule: 'tools.deny', ruleRevision: '1' },
    ]);
    expect(await events()).toHaveLength(1);
  });

  it.each<[string, object]>([
    ['phase after', { event_phase: 'after', policy_stage: 'audit_only', step_confidence: 'low' }],
    ['the claim that the gateway carries it', { metadata: { model: 'big-1', provider: 'sandbox', carried: true } }],
    ['the provider in the model name', { metadata: { model: 'sandbox/big-1' } }],
    ['no step', { step_id: undefined }],
    ['no model', { metadata: {} }],
  ])('a gated model asked for with %s is denied', async (_dodge, claims) => {
    const { send } = await open({ policy: { models: { deny: ['big-*'] } } });
    const result = await send(
      { type: 'llm.call.started', run_id: 'r1', step_id: 's1', metadata: { model: 'big-1', provider: 'sandbox' }, ...claims },
      { enforce: true },
    );
    expect([result.status, errorIn(result)['code'], errorIn(result)['blocked_by']]).toEqual([403, 'policy_denied', 'models.deny']);
  });

  it.each([
    ['while it is open', false],
    ['when it is over', true],
    ['after a restart', 'restart'],
  ] as const)("a tool does not pass under the id of another tool's call, %s", async (_, over) => {
    const prices = [
      { name: 'lookup', price_usd: '0.001' },
      { name: 'scan', price_usd: '0.05' },
    ];
    await open({ tools: prices, policy: { tools: { deny: ['refund'] } } });
    await stage.send(ask('lookup', { tool_call_id: 't1' }));
    if (over !== false)
      await stage.send({ type: 'tool.call.completed', run_id: 'r1', tool_call_id: 't1', metadata: { tool_name: 'lookup' } });
    if (over === 'restart') stage = await stage.restart();
    for (const name of ['refund', 'scan'])
      expect(await stage.send(ask(name, { tool_call_id: 't1' }), { enforce: true })).toMatchObject({
        status: 409,
        body: { error: { code: 'conflict', message: expect.stringContaining('is a call of tool lookup, not') } },
      });
    expect((await stage.send(ask('lookup', { tool_call_id: 't1' }), { enforce: true })).status).toBe(202);
    expect(await stage.send(ask('refund', { tool_call_id: 't2' }), { enforce: true })).toMatchObject({ status: 403 });
  });

  it('a tool that ends under the name of another is charged as the one that was asked for', async () => {
    const { send, run } = await open({ tools: [{ name: 'lookup', price_usd: '0.002' }] });
    await send(ask('lookup'));
    await send({ type: 'tool.call.completed', run_id: 'r1', tool_call_id: 't1', metadata: { tool_name: 'ads', cost_usd: '0' } });
    expect(await run('r1')).toMatchObject({ tools: [{ tool: 'lookup', cost_usd: '0.002' }], cost: { tool_usd: '0.002' } });
  });

  it.each(['stop', 'pause', 'end'])('a tool asked for again after its run was told to %s is denied, and told again too', async (op) => {
    const { send, gateway } = await open({ tools: [{ name: 'lookup', price_usd: '0.002' }] });
    const question = ask('lookup', { event_id: 'q1' });
    expect((await send(question, { enforce: true })).status).toBe(202);
    const subject = { workspaceId: 'acme', keyId: 'key-1', runId: 'r1' };
    if (op === 'end') await gateway.admission.endRun(subject, { status: 'completed' });
    else await gateway.admission.controlRun(subject, op as 'stop' | 'pause', undefined);
    for (const again of [question, ask('lookup')])
      expect(await send(again, { enforce: true })).toMatchObject({
        status: 409,
        body: { error: { code: op === 'pause' ? 'run_paused' : 'run_ended' } },
      });
    // The copy is the question that was logged.
    expect((await stage.decisions('r1')).map(({ code }) => code)).toEqual([op === 'pause' ? 'run_paused' : 'run_ended']);
    if (op !== 'pause') return;
    await gateway.admission.controlRun(subject, 'resume', undefined);
    expect((await send(question, { enforce: true })).status).toBe(202);
  });

  it('a tool that is named after its id was asked for without a name is asked about, and held at its price', async () => {
    await open({
      tools: [
        { name: 'scan', price_usd: '0.05' },
        { name: 'refund', price_usd: '2' },
      ],
      budgets: [{ scope: 'run', limit_usd: '1' }],
    });
    for (const tool_call_id of ['t1', 't2'])
      await stage.send({ type: 'tool.call.requested', run_id: 'r1', tool_call_id, metadata: { cost_usd: '0' } });
    expect((await stage.send(ask('refund', { tool_call_id: 't1' }), { enforce: true })).status).toBe(402);
    expect((await stage.send(ask('scan', { tool_call_id: 't2' }), { enforce: true })).status).toBe(202);
    expect(stage.gateway.admission.findOpen('acme', 'r1', 'tool', 't2')).toMatchObject({ name: 'scan', hold: 50_000_000n });
    expect((await stage.run('r1')).tools).toMatchObject([
      { tool_call_id: 't1', tool: '', status: 'open', held_usd: '0' },
      { tool_call_id: 't2', tool: 'scan', status: 'open', held_usd: '0.05' },
    ]);
  });

  it('a tool call that nobody named at first is the same call after a restart too', async () => {
    await open({ tools: [{ name: 'lookup', price_usd: '0.001' }] });
    await stage.send({ type: 'tool.call.requested', run_id: 'r1', tool_call_id: 't1' });
    stage = await stage.restart();
    expect((await stage.send(ask('lookup', { tool_call_id: 't1' }), { enforce: true })).status).toBe(202);
  });

  it('a gated tool that completed without ever asking is recorded as a violation, and charged', async () => {
    const { send, decisions, run } = await open({
      tools: [{ name: 'refund', price_usd: '0.25' }],
      policy: { tools: { deny: ['refund'] } },
    });
    const result = await send({ type: 'tool.call.completed', run_id: 'r1', tool_call_id: 't1', metadata: { tool_name: 'refund' } });
    expect(result).toMatchObject({ status: 202, body: { allowed: false } });
    expect(await decisions('r1')).toMatchObject([
      {
        outcome: 'denied',
        phase: 'tool_call',
        code: 'policy_denied',
        rule: 'tools.deny',
        ruleRevision: '1',
        subject: 'refund',
        toolCallId: 't1',
        reason: expect.stringContaining('Tool refund ran without asking'),
      },
    ]);
    expect((await run('r1')).cost).toMatchObject({ tool_usd: '0.25', total_usd: '0.25' });
  });

  it('a gated model that completed without ever asking is recorded as a violation, and charged', async () => {
    const { send, decisions, run } = await open({ policy: { models: { deny: ['big-*'] } } });
    await send({
      type: 'llm.call.completed',
      run_id: 'r1',
      step_id: 's1',
      metadata: { model: 'big-1', provider: 'sandbox', usage: { input_tokens: 1_000_000, output_tokens: 0 } },
    });
    expect(await decisions('r1')).toMatchObject([
      {
        outcome: 'denied',
        phase: 'model_request',
        code: 'policy_denied',
        rule: 'models.deny',
        reason: expect.stringContaining('Model big-1 ran without asking'),
      },
    ]);
    // It was made: nothing is shown as refused.
    expect(await run('r1')).toMatchObject({ cost: { total_usd: '1' }, requests: [{ status: 'completed', cost_usd: '1' }] });
  });

  it('a tool that was denied and ran all the same is recorded as a violation, and charged', async () => {
    const { send, decisions, run } = await open({
      tools: [{ name: 'refund', price_usd: '0.25' }],
      policy: { tools: { deny: ['refund'] } },
    });
    await send(ask('refund'));
    await send({ type: 'tool.call.completed', run_id: 'r1', tool_call_id: 't1', metadata: { tool_name: 'refund' } });
    expect((await decisions('r1')).map((decision) => decision.reason)).toEqual([
      expect.stringContaining('Policy rule "tools.deny" refused'),
      expect.stringContaining('ran although it was refused (policy_denied)'),
    ]);
    expect((await run('r1')).cost.total_usd).toBe('0.25');
  });

  it('a denied tool that "failed" was not run: no violation, no charge', async () => {
    const { send, decisions, run } = await open({
      tools: [{ name: 'refund', price_usd: '0.25' }],
      policy: { tools: { deny: ['refund'] } },
    });
    await send(ask('refund'));
    const result = await send({
      type: 'tool.call.failed',
      run_id: 'r1',
      tool_call_id: 't1',
      metadata: { tool_name: 'refund', status: 'denied' },
    });
    expect(result.body).toMatchObject({ allowed: true });
    expect(await decisions('r1')).toHaveLength(1);
    expect(await run('r1')).toMatchObject({ cost: { total_usd: '0' }, tools: [{ status: 'denied' }] });
  });
});

describe('hole 3: a client-claimed trust level is kept', () => {
  it.each(['alephant', 'acme_agents', undefined])(
    'from source %s, every claim is moved aside and what is stored is self_reported',
    async (source) => {
      const { send, events } = await open();
      for (const claim of ['registered', 'gateway_observed', 'gateway_executed']) {
        await send({
          type: 'step.started',
          source,
          run_id: 'r1',
          event_source_trust: claim,
          metadata: {
            event_source_trust: claim,
            policy: { allowed: true },
            policy_decision: 'allowed',
            billing_mirror_trusted: true,
            billing: { costMicros: 0 },
            sinkStatus: 'sent',
            ok: 1,
          },
        });
      }
      for (const { event } of await events('r1')) {
        expect(event['event_source_trust']).toBe('self_reported');
        const metadata = event['metadata'] as Record<string, unknown>;
        expect(
          Object.keys(metadata)
            .filter((key) => !key.includes('_original'))
            .sort(),
        ).toEqual(['ok']);
        expect(metadata).toMatchObject({
          policy_original: { allowed: true },
          policy_decision_original: 'allowed',
          billing_mirror_trusted_original: true,
          billing_original: { costMicros: 0 },
          event_source_trust_original: expect.any(String),
        });
      }
    },
  );

  it.each<[string, object, object, string]>([
    ['agent', { agentId: 'support' }, { agent_id: 'admin' }, 'agent_id'],
    ['workspace', {}, { workspace_id: 'other' }, 'workspace_id'],
    ['member', { memberId: 'ada' }, { member_id: 'grace' }, 'member_id'],
  ])('a claimed %s that contradicts the key is 403 identity_forged, logged, and nothing is stored', async (_what, key, claim, param) => {
    const { send, entries } = await open();
    const result = await send(
      [
        { type: 'step.started', run_id: 'r1' },
        { type: 'step.started', run_id: 'r1', ...claim },
      ],
      { key },
    );
    expect(result).toMatchObject({
      status: 403,
      body: { accepted: 0, rejected: 2, error: { code: 'identity_forged', param: `events[1].${param}` } },
    });
    expect(await entries()).toMatchObject([{ type: 'decision', outcome: 'denied', code: 'identity_forged' }]);
  });

  it("a run belongs to the key's agent and member, whatever is left out", async () => {
    const { send, events } = await open();
    await send({ type: 'step.started', run_id: 'r1' }, { key: { agentId: 'support', memberId: 'ada' } });
    expect(await events('r1')).toMatchObject([{ agentId: 'support', memberId: 'ada', workspaceId: 'acme', keyId: 'key-1' }]);
  });
});

describe('hole 4: counters and costs of the client are believed', () => {
  it('the gateway counts for itself: what the metadata says changes no bound, cap or rule', async () => {
    const { send } = await open({
      tools: [{ name: 'lookup', price_usd: '0.10' }],
      budgets: [{ scope: 'run', limit_usd: '1' }],
      bounds: [{ scope: 'run', max_tool_calls: 2 }],
      policy: { rules: [{ id: 'no-third', phase: 'tool_call', when: 'counts.tool_calls > 5', effect: 'block' }] },
    });
    const lie = { tool_name: 'lookup', request_count: 0, duration_sec: 0, retry_count: 0, estimated_cost_cents: 0, cost: 0 };
    const tries = [];
    for (const id of ['t1', 't2', 't3']) tries.push((await send(ask('lookup', { tool_call_id: id, metadata: lie }))).body['allowed']);
    expect(tries).toEqual([true, true, false]);
    const result = await send({
      type: 'tool.call.requested',
      run_id: 'r2',
      tool_call_id: 'x',
      metadata: { tool_name: 'lookup', request_count: 1_000_000, retry_count: 99, estimated_cost_cents: 999_999, cost: 999_999 },
    });
    expect(result.body['allowed']).toBe(true);
  });

  it('a price configured in the gateway wins over what is reported', async () => {
    const { send, run } = await open({ tools: [{ name: 'lookup', price_usd: '0.10' }] });
    await send([
      ask('lookup', { metadata: { tool_name: 'lookup', estimated_cost_cents: 0 } }),
      { type: 'tool.call.completed', run_id: 'r1', tool_call_id: 't1', metadata: { tool_name: 'lookup', cost_usd: '0.000001' } },
    ]);
    expect(await run('r1')).toMatchObject({
      cost: { tool_usd: '0.1', total_usd: '0.1' },
      tools: [{ status: 'completed', cost_usd: '0.1', overage_usd: '0' }],
    });
  });

  it('usage is priced by the gateway, not by the reported cost', async () => {
    const { send, run } = await open();
    await send({
      type: 'llm.call.completed',
      run_id: 'r1',
      step_id: 's1',
      metadata: { model: 'm', provider: 'sandbox', usage: { input_tokens: 1000, output_tokens: 500 }, cost: 0.0000001 },
    });
    expect(await run('r1')).toMatchObject({
      cost: { model_usd: '0.002' },
      requests: [{ source: 'self_reported', cost_usd: '0.002', price: { source: 'sandbox' } }],
    });
  });
});

describe('hole 5: events know no session', () => {
  it('session, workflow and customer are fields of their own and belong to the run', async () => {
    const { send, run, events } = await open();
    await send({ type: 'step.started', run_id: 'r1', session_id: 's-9', workflow_id: 'w-9', customer_id: 'c-9', agent_id: 'a-9' });
    expect(await run('r1')).toMatchObject({ session_id: 's-9', workflow_id: 'w-9', customer_id: 'c-9', agent_id: 'a-9' });
    expect(await events('r1')).toMatchObject([{ sessionId: 's-9', workflowId: 'w-9', customerId: 'c-9' }]);
  });

  it("fills ids the event leaves out from the request's headers, and lets the event's own word stand", async () => {
    const { send, events } = await open();
    const context = { runId: 'r1', agentId: 'a1', sessionId: 's1', stepId: 'step-1', customerId: 'c1' };
    await send({ type: 'step.started' }, { context });
    const [first] = await events('r1');
    expect(first).toMatchObject({ runId: 'r1', agentId: 'a1', sessionId: 's1', stepId: 'step-1', customerId: 'c1' });
    const result = await send([{ type: 'step.started', agent_id: 'nested' }, { type: 'step.started' }], { context });
    expect((await events('r1')).slice(1)).toMatchObject([{ agentId: 'nested', event: { context_conflict: true } }, { agentId: 'a1' }]);
    expect((await events('r1')).slice(1).map((entry) => entry.stepId)).toEqual([undefined, undefined]);
    expect(decisionsIn(result)[0]?.['warnings']).toMatchObject([{ field: 'agent_id', reason: 'context_conflict' }]);
  });

  it('a session that contradicts the run is 409 context_conflict, before the run or within a batch', async () => {
    const { send, events } = await open();
    await send({ type: 'step.started', run_id: 'r1', session_id: 's1' });
    const result = await send([
      { type: 'step.started', run_id: 'r1' },
      { type: 'step.completed', run_id: 'r1', session_id: 's2' },
    ]);
    expect(result).toMatchObject({
      status: 409,
      body: { accepted: 0, rejected: 2, error: { code: 'context_conflict', param: 'events[1].session_id' } },
    });
    const fresh = await send([
      { type: 'step.started', run_id: 'r2', session_id: 's1' },
      { type: 'step.completed', run_id: 'r2', session_id: 's2' },
    ]);
    expect(fresh.status).toBe(409);
    expect(await events()).toHaveLength(1);
  });
});

describe('hole 6: batches are not atomic, and rejected is always 0', () => {
  it.each<[string, object, number, string, string]>([
    ['not an object', 'text' as unknown as object, 400, 'invalid_event', 'events[2]'],
    ['an id that is too long', { type: 'step.started', run_id: 'x'.repeat(257) }, 400, 'invalid_event', 'events[2].run_id'],
    ['an id that is no text', { type: 'step.started', run_id: { a: 1 } }, 400, 'invalid_event', 'events[2].run_id'],
    ['metadata that is no object', { type: 'step.started', metadata: [] }, 400, 'invalid_event', 'events[2].metadata'],
    [
      'usage that can not be read',
      { type: 'llm.call.completed', run_id: 'r1', metadata: { usage: { input_tokens: -1 } } },
      400,
      'invalid_event',
      'events[2].metadata.usage',
    ],
    [
      'a cost that gives money back',
      { type: 'tool.call.completed', run_id: 'r1', metadata: { cost_usd: '-1' } },
      400,
      'invalid_event',
      'events[2].metadata.cost_usd',
    ],
    [
      'a revenue that is no amount',
      { type: 'run.completed', run_id: 'r1', metadata: { revenue_usd: 'lots' } },
      400,
      'invalid_event',
      'events[2].metadata.revenue_usd',
    ],
    ['revenue without a run', { type: 'finance.recorded', metadata: { revenue_usd: '1' } }, 400, 'invalid_event', 'events[2].run_id'],
    [
      'too much metadata',
      { type: 'step.started', metadata: { text: 'x'.repeat(17_000) } },
      413,
      'metadata_too_large',
      'events[2].metadata',
    ],
  ])('one event that is %s, and nothing of the batch is stored, charged or begun', async (_what, bad, status, code, param) => {
    const { send, entries, gateway } = await open({ tools: [{ name: 'lookup', price_usd: '0.10' }] });
    const result = await send([
      { type: 'run.started', run_id: 'r1' },
      { type: 'tool.call.completed', run_id: 'r1', tool_call_id: 't1', metadata: { tool_name: 'lookup' } },
      bad,
    ]);
    expect(result).toMatchObject({ status, body: { accepted: 0, rejected: 3, error: { type: 'agent_gateway_error', code, param } } });
    expect(errorIn(result)['message']).toContain('Nothing of the body was stored or charged');
    expect(await entries()).toEqual([]);
    expect(gateway.admission.run('acme', 'r1')).toBeUndefined();
  });
});

describe('hole 7: an event id sent twice counts twice', () => {
  const events = [
    { event_id: 'e1', type: 'run.started', run_id: 'r1' },
    { event_id: 'e2', type: 'tool.call.requested', run_id: 'r1', tool_call_id: 't1', metadata: { tool_name: 'lookup' } },
    { event_id: 'e3', type: 'tool.call.completed', run_id: 'r1', tool_call_id: 't1', metadata: { tool_name: 'lookup' } },
    {
      event_id: 'e4',
      type: 'llm.call.completed',
      run_id: 'r1',
      metadata: { model: 'm', provider: 'sandbox', usage: { input_tokens: 1000, output_tokens: 0 } },
    },
    { event_id: 'e5', type: 'run.completed', run_id: 'r1', metadata: { revenue_usd: '5' } },
  ];
  const config = { tools: [{ name: 'lookup', price_usd: '0.10' }] };

  it('is accepted again, and neither stored nor charged again: at once, later, and after a restart', async () => {
    await open(config);
    await stage.send(events);
    const first = await stage.run('r1');
    const count = (await stage.entries()).length;
    expect(first).toMatchObject({ status: 'completed', cost: { total_usd: '0.101' }, revenue_usd: '5' });
    const again = await stage.send([...events, ...events]);
    expect(again).toMatchObject({ status: 202, body: { accepted: 10, allowed: true } });
    expect(decisionsIn(again).every((decision) => decision['duplicate'] === true)).toBe(true);
    stage = await stage.restart();
    await Promise.all(events.map((event) => stage.send(event)));
    expect(await stage.run('r1')).toEqual(first);
    expect(await stage.entries()).toHaveLength(count);
  });

  it('sent at the same time by two senders counts once', async () => {
    await open(config);
    const results = await Promise.all([stage.send(events), stage.send(events), ...events.map((event) => stage.send(event))]);
    expect(results.map((result) => result.status)).toEqual(results.map(() => 202));
    expect(await stage.run('r1')).toMatchObject({ cost: { total_usd: '0.101' }, revenue_usd: '5', counts: { tool_calls: 1, requests: 1 } });
  });

  it.each<[string, object]>([
    ['another type', { type: 'step.completed' }],
    ['another run', { run_id: 'r2' }],
    ['other metadata', { metadata: { ok: 2 } }],
  ])('with %s is 409 and names the id: at once, in one batch, and after a restart', async (_what, change) => {
    await open();
    const event = { event_id: 'e1', type: 'step.started', run_id: 'r1', metadata: { ok: 1 } };
    const conflict = { status: 409, body: { accepted: 0, error: { code: 'event_id_conflict', message: expect.stringContaining('e1') } } };
    expect(await stage.send([event, { ...event, ...change }])).toMatchObject(conflict);
    expect(await stage.entries()).toEqual([]);
    await stage.send(event);
    expect(
      await stage.send([
        { type: 'step.started', run_id: 'r9' },
        { ...event, ...change },
      ]),
    ).toMatchObject(conflict);
    stage = await stage.restart();
    expect(await stage.send({ ...event, ...change })).toMatchObject(conflict);
    expect(await stage.events()).toHaveLength(1);
  });

  it('in another workspace is another event', async () => {
    await open();
    const event = { event_id: 'e1', type: 'step.started', run_id: 'r1' };
    await stage.send(event);
    const result = await stage.send({ ...event, type: 'step.completed' }, { key: { workspaceId: 'other' } });
    expect(decisionsIn(result)[0]).not.toHaveProperty('duplicate');
  });

  it('a question sent twice gets the first answer, and is logged once', async () => {
    await open({ ...config, policy: { tools: { deny: ['refund'] } } });
    const denied = ask('refund', { event_id: 'q1' });
    const allowed = ask('lookup', { event_id: 'q2', tool_call_id: 't2' });
    for (let time = 0; time < 3; time += 1) {
      expect((await stage.send(denied, { enforce: true })).status).toBe(403);
      expect((await stage.send(allowed, { enforce: true })).status).toBe(202);
    }
    expect(await stage.decisions('r1')).toHaveLength(1);
    expect(stage.gateway.admission.openCount).toBe(1);
  });
});

describe('hole 8: redaction by substring hides usage', () => {
  it('secrets are redacted by their whole name, and token counts stay', async () => {
    const { send, events } = await open();
    await send({
      type: 'llm.call.completed',
      run_id: 'r1',
      metadata: {
        api_key: 'k-123',
        nested: [{ Authorization: 'x', 'X-Api-Key': 'y', password: 'p' }],
        token: 't',
        token_count: 7,
        tokenizer: 'cl100k',
        secretary: 'Ada',
        usage: { input_tokens: 5, output_tokens: 6 },
      },
    });
    expect((await events('r1'))[0]?.event['metadata']).toMatchObject({
      api_key: '[redacted]',
      nested: [{ Authorization: '[redacted]', 'X-Api-Key': '[redacted]', password: '[redacted]' }],
      token: '[redacted]',
      token_count: 7,
      tokenizer: 'cl100k',
      secretary: 'Ada',
      usage: { input_tokens: 5, output_tokens: 6 },
    });
  });
});

describe('hole 9: conflicts are seen only with another service beside it', () => {
  it('an event that contradicts its headers is marked, and one that contradicts its run is refused, with the embedded store alone', async () => {
    const { send, events } = await open();
    await send(
      { type: 'step.started', run_id: 'r1', session_id: 's1', graph_node: 'plan' },
      { context: { runId: 'r0', graphNode: 'act' } },
    );
    expect((await events('r1'))[0]?.event).toMatchObject({ context_conflict: true });
    expect((await send({ type: 'step.started', run_id: 'r1', session_id: 's2' })).status).toBe(409);
  });
});

describe('hole 10: audit warnings collapse to a boolean', () => {
  it('a rule that audits allows, is named in the warnings, and is logged with rule and revision', async () => {
    const { send, decisions } = await open({
      policy: {
        rules: [
          { id: 'watch-tools', revision: 4, phase: 'tool_call', effect: 'audit' },
          { id: 'watch-steps', revision: 'b', phase: 'run_update', effect: 'audit', when: 'agent.id == "support"' },
        ],
      },
    });
    const result = await send([
      ask('lookup'),
      { type: 'step.started', run_id: 'r1', agent_id: 'support' },
      { type: 'step.started', run_id: 'r1', agent_id: 'other' },
    ]);
    expect(result).toMatchObject({ status: 202, body: { allowed: true } });
    expect(decisionsIn(result).map((decision) => decision['warnings'])).toEqual([
      [expect.objectContaining({ reason: 'audited', blocked_by: 'watch-tools' })],
      [expect.objectContaining({ reason: 'audited', blocked_by: 'watch-steps' })],
      [],
    ]);
    expect((await decisions('r1')).map(({ outcome, rule, ruleRevision, phase }) => [outcome, rule, ruleRevision, phase])).toEqual([
      ['audited', 'watch-tools', '4', 'tool_call'],
      ['audited', 'watch-steps', 'b', 'run_update'],
    ]);
  });

  it.each([
    ['block', 'denied'],
    ['audit', 'audited'],
    ['skip', 'skipped'],
    ['allow', 'allowed'],
  ] as const)('an effect %s is logged as %s in every phase that events reach', async (effect, outcome) => {
    const { send, decisions } = await open({
      policy: { rules: [{ id: 'r', revision: 9, phase: ['model_request', 'tool_call', 'run_update'], effect }] },
    });
    await send([
      { type: 'run.started', run_id: 'r1' },
      ask('lookup'),
      { type: 'llm.call.started', run_id: 'r1', step_id: 's2', metadata: { model: 'm', provider: 'sandbox' } },
    ]);
    const logged = (await decisions()).map((decision) => [decision.phase, decision.outcome, decision.rule, decision.ruleRevision]);
    expect(logged.sort()).toEqual([
      ['model_request', outcome, 'r', '9'],
      ['run_update', outcome, 'r', '9'],
      ['tool_call', outcome, 'r', '9'],
    ]);
  });
});

describe('hole 13: endings of strangers are taken for new requests', () => {
  const mappings = [
    {
      source: 'acme_agents',
      events: { 'acme.tool.begin': { type: 'tool.call.requested' as const }, 'acme.tool.oops': { type: 'tool.call.failed' as const } },
    },
  ];

  it.each<[string, object, string]>([
    ['a canonical failure without source', { type: 'tool.call.failed' }, 'tool.call.failed'],
    ['a canonical result without source', { type: 'tool.result.received' }, 'tool.result.received'],
    ['a failure in other words', { type: 'toolCallError' }, 'tool.call.failed'],
    ['a mapped failure', { type: 'acme.tool.oops', source: 'acme_agents' }, 'tool.call.failed'],
    ['an unmapped failure of a known source', { type: 'acme.tool.failed', source: 'acme_agents' }, 'tool.call.failed'],
  ])('%s settles the open hold instead of making one', async (_what, ending, eventType) => {
    const { send, events, gateway, run } = await open({ tools: [{ name: 'lookup', price_usd: '0.10' }] }, { mappings });
    await send(ask('lookup'));
    expect(gateway.admission.openCount).toBe(1);
    await send({ run_id: 'r1', tool_call_id: 't1', metadata: { tool_name: 'lookup' }, ...ending });
    expect(gateway.admission.openCount).toBe(0);
    expect((await events('r1')).at(-1)).toMatchObject({ eventType });
    expect(await run('r1')).toMatchObject({ counts: { tool_calls: 1 }, cost: { tool_usd: '0.1' } });
  });
});
