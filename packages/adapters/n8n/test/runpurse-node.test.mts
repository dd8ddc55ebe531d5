import { createServer } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { startGateway, type RunningGateway } from '@runpurse/conformance';
import type { RunShape } from '@runpurse/core';
import { startN8n, type N8n, type Played } from './n8n.mts';
import { chainOf, credentialOf, nodeOf, type Credential, type NodeSpec } from './workflows.mts';

let gateway: RunningGateway;
let n8n: N8n;
let credential: Credential;
let executions = 100;
const PNG = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';

beforeAll(async () => {
  gateway = await startGateway({
    admin: true,
    config: {
      rate: { requests_per_minute: 10_000 },
      providers: [
        {
          name: 'sandbox',
          kind: 'sandbox',
          scripts: {
            talk: [{ text: 'hello', usage: { input_tokens: 1000, output_tokens: 100 } }],
            ill: [{ error: { status: 500, message: 'overloaded' } }],
            json: [{ text: '{"mood":"good"}', usage: { input_tokens: 10, output_tokens: 10 } }],
            asks: [{ tool_calls: [{ name: 'lookup', arguments: { id: '7' } }], usage: { input_tokens: 10, output_tokens: 10 } }],
          },
        },
      ],
      prices: ['talk', 'json', 'asks', 'ill'].map((model) => ({ provider: 'sandbox', model, input_mtok_usd: '2', output_mtok_usd: '10' })),
      tools: [{ name: 'lookup', price_usd: '0.002' }],
      policy: { tools: { deny: ['refund'] } },
      budgets: [
        { name: 'cap-per-run', scope: 'run', id: '*', limit_usd: '0.02' },
        { scope: 'session', id: '*', limit_usd: '1' },
      ],
    } as never,
  });
  credential = credentialOf(gateway);
  n8n = await startN8n();
}, 60_000);

afterAll(async () => {
  await (n8n as N8n | undefined)?.stop();
  await gateway.remove();
});

const chat = (name: string, more: object = {}): NodeSpec => ({
  name,
  parameters: { resource: 'chat', operation: 'complete', model: 'talk', prompt: 'hi', options: { maxTokens: 200 }, ...more },
});
const authorize = (name: string, more: object = {}, fields: object = {}): NodeSpec => ({
  name,
  parameters: { resource: 'spend', operation: 'authorize', tool: 'lookup', ...more },
  ...fields,
});
const settle = (name: string, more: object = {}): NodeSpec => ({ name, parameters: { resource: 'spend', operation: 'settle', ...more } });
const run = (name: string, operation: string, more: object = {}): NodeSpec => ({
  name,
  parameters: { resource: 'run', operation, ...more },
});

async function play(
  nodes: readonly NodeSpec[],
  input?: readonly { json: object; binary?: object }[],
  as = credential,
): Promise<Played & { id: string }> {
  const id = String((executions += 1));
  return { id, ...(await n8n.execute({ workflow: chainOf(as, nodes), executionId: id, input })) };
}

function first(played: Played, node: string): Record<string, unknown> {
  const task = played.nodes[node]?.[0];
  if (task?.error !== undefined) throw new Error(`${node} failed: ${task.error.message}`);
  return task?.items[0]?.json ?? {};
}

async function ledgerOf(runId: string): Promise<RunShape> {
  const run = await gateway.readRun(runId);
  if (run === undefined) throw new Error(`no run ${runId}`);
  return run;
}

describe('an execution', () => {
  it('is a run: its cap, its calls, its tool, its revenue and its margin, with no id typed', async () => {
    const played = await play([
      run('Begin', 'start', { limitUsd: '0.01', bounds: { maxRequests: 3 } }),
      chat('Ask'),
      authorize('May I'),
      settle('Paid'),
      run('Earned', 'end', { revenueUsd: '5' }),
    ]);
    expect(played).toMatchObject({ status: 'success' });
    expect(first(played, 'Ask')).toMatchObject({
      text: 'hello',
      costUsd: '0.003',
      runCostUsd: '0.003',
      runRemainingUsd: '0.007',
      runId: played.id,
    });
    expect(first(played, 'May I')).toMatchObject({ allowed: true, heldUsd: '0.002', toolCallId: 'May I' });
    expect(first(played, 'Paid')).toMatchObject({ settled: true, chargedUsd: '0.002', alreadySettled: false });
    expect(first(played, 'Earned')).toMatchObject({ status: 'completed', margin: { known_usd: '4.995', percent: '99.9' } });

    const ledger = await ledgerOf(played.id);
    expect(ledger).toMatchObject({
      run_id: played.id,
      workflow_id: 'wf1',
      agent_id: null,
      status: 'completed',
      cost: { model_usd: '0.003', tool_usd: '0.002', retry_usd: '0', total_usd: '0.005' },
    });
    expect(ledger.steps.map(({ step_id, kind }) => [step_id, kind])).toEqual([
      ['Ask', 'llm_call'],
      ['May I', 'tool_call'],
    ]);
  });

  it('goes under other ids when the user says so, numbers from expressions too', async () => {
    const attribution = {
      runId: '={{ 4000 + $json.n }}',
      sessionId: 'customer_1',
      agentId: 'support',
      customerId: 'c-1',
      stepId: 's',
      workflowId: 'w9',
    };
    const played = await play([chat('Ask', { attribution })], [{ json: { n: 7 } }]);
    expect(first(played, 'Ask')).toMatchObject({ runId: '4007', sessionRemainingUsd: '0.997' });
    expect(await ledgerOf('4007')).toMatchObject({
      session_id: 'customer_1',
      agent_id: 'support',
      customer_id: 'c-1',
      workflow_id: 'w9',
      steps: [{ step_id: 's' }],
    });
    expect(await gateway.readRun(played.id)).toBeUndefined();
  });

  it('of one n8n is not that of another when the credential names its instance', async () => {
    const played = await play([chat('Ask')], undefined, { ...credential, instance: 'prod' });
    expect(await ledgerOf(`prod-${played.id}`)).toMatchObject({ cost: { total_usd: '0.003' } });
  });

  it('is stopped by its cap before the call that would pass it, in words a person understands', async () => {
    const asks = Array.from({ length: 9 }, (_, at) => chat(`Ask ${at}`));
    const played = await play(asks);
    expect(played.status).toBe('error');
    const refused = Object.keys(played.nodes).at(-1) ?? '';
    const { cost, requests } = await ledgerOf(played.id);
    expect(cost.total_usd).toBe('0.018');
    expect(requests.filter(({ status }) => status === 'completed')).toHaveLength(6);
    expect(played.error?.message).toContain('Budget "cap-per-run" refused the call to model talk before it was made');
    expect(played.error?.description).toContain('Nothing was spent');
    expect(refused).toBe('Ask 6');
  });

  it('that ended takes no more calls, and says what to do', async () => {
    const played = await play([chat('Ask'), run('Stop', 'stop', { reason: 'enough' }), chat('Again')]);
    expect(played.error?.message).toMatch(/enough/);
    expect(played.error?.description).toContain('This run has ended');
    expect((await ledgerOf(played.id)).requests.filter(({ status }) => status === 'completed')).toHaveLength(1);
  });

  it('that spent nothing may still earn something', async () => {
    const played = await play([run('End', 'end', { revenueUsd: '2' })]);
    expect(first(played, 'End')).toMatchObject({ run_id: played.id, workflow_id: 'wf1', status: 'completed', revenue_usd: '2' });
  });

  it('is held to the bounds it was started with', async () => {
    const played = await play([run('Begin', 'start', { bounds: { maxRequests: 1 } }), chat('Ask'), chat('Again')]);
    expect(Object.keys(played.nodes).at(-1)).toBe('Again');
    expect(played.error?.message).toMatch(/1 model call|max_requests|request/i);
    expect((await ledgerOf(played.id)).requests.filter(({ status }) => status === 'completed')).toHaveLength(1);
  });

  it('ends with what it paid besides: fees and payments to others', async () => {
    const played = await play([chat('Ask'), run('End', 'end', { revenueUsd: '$1', feesUsd: '0.1', outboundUsd: '0.2' })]);
    expect(first(played, 'End')).toMatchObject({ margin: { known_usd: '0.697' } });
  });

  it.each([
    ['={{ Number("abc") }}', 'NaN'],
    ['={{ true }}', 'true'],
    ['={{ [5] }}', 'a list'],
    ['={{ ({ usd: 5 }) }}', 'an object'],
    ['={{ null }}', 'empty'],
    ['={{ "" }}', 'empty'],
    ['={{ $json.nothing }}', 'empty'],
    ['={{ -1 }}', '-1'],
    ['soon', '"soon"'],
    ['0.0000000001', '"0.0000000001"'],
  ])('does not start without a cap because its amount %s is none', async (limitUsd, shown) => {
    const played = await play([run('Begin', 'start', { limitUsd })]);
    expect(played.error?.message).toBe(
      `Cap (USD) is ${shown} in item 0: give dollars such as 0.50, with at most 9 decimals, or leave the field empty.`,
    );
    expect(played.error?.description).toBe(limitUsd.startsWith('=') ? 'Look at what its expression gives.' : undefined);
    expect(await gateway.readRun(played.id)).toBeUndefined();
  });

  it.each([
    ['maxRequests', 0, 'Model Calls under Bounds is 0 in item 0: give a whole number from 1 on.'],
    ['maxRequests', 1.5, 'Model Calls under Bounds is 1.5 in item 0: give a whole number from 1 on.'],
    ['maxRequests', '={{ 0 }}', 'Model Calls under Bounds is 0 in item 0: give a whole number from 1 on.'],
    ['maxRetries', '={{ -1 }}', 'Retries under Bounds is -1 in item 0: give a whole number from 0 on.'],
    ['maxToolCalls', '={{ $json.calls }}', 'Tool Calls under Bounds is empty in item 0: give a whole number from 1 on.'],
    ['maxSteps', '={{ Number("many") }}', 'Steps under Bounds is NaN in item 0: give a whole number from 1 on.'],
    ['maxRuntimeSeconds', '={{ null }}', 'Runtime (Seconds) under Bounds is empty in item 0: give a whole number from 1 on.'],
  ])('does not start without its bound %s because that is %s', async (bound, value, said) => {
    const played = await play([run('Begin', 'start', { bounds: { [bound]: value } })]);
    expect(played.error?.message).toBe(said);
    expect(await gateway.readRun(played.id)).toBeUndefined();
  });

  it('reads a bound that an expression gives as text', async () => {
    const played = await play([run('Begin', 'start', { bounds: { maxRequests: '={{ "1" }}' } }), chat('Ask'), chat('Again')]);
    expect(played.error?.message).toMatch(/request/i);
    expect(Object.keys(played.nodes).at(-1)).toBe('Again');
  });

  it.each([
    ['sessionId', '={{ $json.nobody }}', 'Session ID under Attribution is empty in item 0: give an ID, or leave the field empty.'],
    ['customerId', '={{ ({ id: 7 }) }}', 'Customer ID under Attribution is an object in item 0: give text.'],
    ['runId', '={{ Number("x") }}', 'Run ID under Attribution is NaN in item 0: give text.'],
    ['agentId', '=a-{{ ({ id: 7 }) }}', 'Agent ID under Attribution is "a-[object Object]" in item 0: give one line'],
    ['workflowId', '={{ "w".repeat(257) }}', 'give one line of at most 256 bytes'],
    ['stepId', '={{ "two\\nlines" }}', 'give one line of at most 256 bytes'],
  ])('is charged to nobody else because its %s is %s', async (field, value, said) => {
    const played = await play([chat('Ask', { attribution: { [field]: value } })]);
    expect(played.error?.message).toContain(said);
    expect(await gateway.readRun(played.id)).toBeUndefined();
  });

  it('tried again by n8n goes on in the first run, under its cap, where Run ID says so', async () => {
    const begun = await play([run('Begin', 'start', { limitUsd: '0.004' })]);
    const attribution = { runId: "={{ $('Start').item.json.run_id }}" };
    const retried = await play(
      [
        chat('Ask', { attribution }),
        { ...chat('Again', { attribution }), onError: 'continueRegularOutput' },
        run('End', 'end', { attribution }),
      ],
      [{ json: first(begun, 'Begin') }],
    );
    expect(first(retried, 'Again')['error']).toContain('refused the call');
    expect(await ledgerOf(begun.id)).toMatchObject({ status: 'completed', cost: { total_usd: '0.003' } });
    expect(await gateway.readRun(retried.id)).toBeUndefined();
  });

  it('is read with what it cost so far', async () => {
    const played = await play([chat('Ask'), run('Look', 'get')]);
    expect(first(played, 'Look')).toMatchObject({ run_id: played.id, cost: { total_usd: '0.003' }, counts: { requests: 1 } });
  });
});

describe('fifty executions of one workflow at once', () => {
  it('are fifty runs, each with its own calls, holds and costs', async () => {
    const workflow = chainOf(credential, [
      chat('Ask', { attribution: { sessionId: '={{ "person " + $execution.id }}' } }),
      authorize('May I'),
      settle('Paid'),
      run('End', 'end', { revenueUsd: '0.1' }),
    ]);
    const ids = Array.from({ length: 50 }, (_, at) => `p${at}`);
    const all = await Promise.all(ids.map((executionId) => n8n.execute({ workflow, executionId })));
    expect(all.map(({ status }) => status)).toEqual(ids.map(() => 'success'));
    for (const id of ids) {
      const { cost, session_id, steps, counts } = await ledgerOf(id);
      expect([id, cost.total_usd, session_id, counts.requests, counts.tool_calls]).toEqual([id, '0.005', `person ${id}`, 1, 1]);
      expect(steps.map(({ step_id }) => step_id)).toEqual(['Ask', 'May I']);
    }
  }, 60_000);
});

describe('each item', () => {
  it('is asked for on its own, keeps its pair, and a failed one does not take the others along', async () => {
    const played = await play(
      [
        { ...authorize('May I', { tool: '={{ $json.tool }}' }), onError: 'continueRegularOutput' },
        settle('Paid', { toolCallId: '={{ $json.toolCallId }}' }),
      ].slice(0, 1),
      [{ json: { tool: 'lookup' } }, { json: { tool: 'refund' } }, { json: { tool: 'lookup' } }],
    );
    const items = played.nodes['May I']?.[0]?.items ?? [];
    expect(items.map(({ pairedItem }) => pairedItem)).toEqual([{ item: 0 }, { item: 1 }, { item: 2 }]);
    expect(items.map(({ json }) => json['allowed'])).toEqual([true, undefined, true]);
    expect(items[1]?.json['error']).toContain('refund');
    expect((await ledgerOf(played.id)).tools.map(({ tool_call_id, status }) => [tool_call_id, status])).toEqual([
      ['May I', 'open'],
      ['May I #1.2', 'denied'],
      ['May I #1.3', 'open'],
    ]);
  });

  it('goes under its own ids: two people in one execution are two sessions', async () => {
    const played = await play(
      [chat('Ask', { model: '={{ $json.model }}', attribution: { sessionId: '={{ $json.who }}', runId: '={{ $json.who }}-run' } })],
      [{ json: { who: 'ann', model: 'talk' } }, { json: { who: 'bob', model: 'json' } }],
    );
    expect(played.nodes['Ask']?.[0]?.items.map(({ json }) => [json['text'], json['runId']])).toEqual([
      ['hello', 'ann-run'],
      ['{"mood":"good"}', 'bob-run'],
    ]);
    expect((await ledgerOf('ann-run')).cost.total_usd).toBe('0.003');
    expect((await ledgerOf('bob-run')).cost.total_usd).toBe('0.00012');
  });

  it('in parallel branches is a step of its own, of one run', async () => {
    const workflow = chainOf(credential, [chat('Left'), chat('Right')]);
    const both = [['Left', 'Right'].map((node) => ({ node, type: 'main', index: 0 }))];
    const id = 'branches';
    const played = await n8n.execute({ workflow: { ...workflow, connections: { Start: { main: both } } }, executionId: id });
    expect(played.status).toBe('success');
    const { steps, cost } = await ledgerOf(id);
    expect(steps.map(({ step_id }) => step_id).toSorted()).toEqual(['Left', 'Right']);
    expect(cost.total_usd).toBe('0.006');
  });

  it('of a loop is a step of its own in each round', async () => {
    const round = chat('Ask');
    const workflow = chainOf(credential, [
      { name: 'Loop', type: 'n8n-nodes-base.splitInBatches', version: 3, parameters: { batchSize: 1 } },
      round,
    ]);
    const connections = {
      Start: { main: [[{ node: 'Loop', type: 'main', index: 0 }]] },
      Loop: { main: [[], [{ node: 'Ask', type: 'main', index: 0 }]] },
      Ask: { main: [[{ node: 'Loop', type: 'main', index: 0 }]] },
    };
    const played = await n8n.execute({
      workflow: { ...workflow, connections },
      executionId: 'rounds',
      input: [{ json: {} }, { json: {} }],
    });
    expect(played.status).toBe('success');
    expect((await ledgerOf('rounds')).steps.map(({ step_id }) => step_id)).toEqual(['Ask', 'Ask #2.1']);
  });
});

describe('spend', () => {
  it('played again under the same execution is recorded once, and stopped before it is paid again', async () => {
    const note: NodeSpec = { name: 'Note', parameters: { resource: 'event', operation: 'record', eventName: 'paid' } };
    const workflow = chainOf(credential, [note, authorize('A'), settle('B')]);
    const [one, again] = [
      await n8n.execute({ workflow, executionId: 'replayed' }),
      await n8n.execute({ workflow, executionId: 'replayed' }),
    ];
    expect([first(one, 'Note')['alreadyKnown'], first(again, 'Note')['alreadyKnown']]).toEqual([false, true]);
    expect(first(one, 'B')).toMatchObject({ chargedUsd: '0.002' });
    expect(again.error).toMatchObject({
      message: expect.stringContaining('settled before'),
      description: expect.stringContaining('not paid again'),
    });
    expect(await ledgerOf('replayed')).toMatchObject({ cost: { total_usd: '0.002' }, counts: { tool_calls: 1 } });
  });

  it('is charged once, however often it is asked for and settled', async () => {
    const same = { toolCallId: 'invoice-7' };
    const played = await play([authorize('A', same), authorize('B', same), settle('C', same), settle('D', same)]);
    expect(first(played, 'D')).toMatchObject({ alreadySettled: true, chargedUsd: '0.002' });
    expect(await ledgerOf(played.id)).toMatchObject({ cost: { tool_usd: '0.002' }, counts: { tool_calls: 1 } });
  });

  it('of a tool without price is what was expected, then what it was', async () => {
    const played = await play([authorize('A', { tool: 'sms', estimatedUsd: '={{ 0.01 }}' }), settle('B', { costUsd: '$0.004' })]);
    expect(first(played, 'A')).toMatchObject({ heldUsd: '0.01' });
    expect(first(played, 'B')).toMatchObject({ chargedUsd: '0.004' });
  });

  it.each([
    ['={{ 0.0001 + 0.0002 }}', '0.0003'],
    ['={{ 1e-7 }}', '0.0000001'],
    [' $0.004 ', '0.004'],
  ])('of %s is %s dollars', async (estimatedUsd, heldUsd) => {
    const played = await play([authorize('A', { tool: 'sms', estimatedUsd })]);
    expect(first(played, 'A')).toMatchObject({ heldUsd });
  });

  it('of what was not called costs nothing', async () => {
    const played = await play([authorize('A'), settle('B', { status: 'released' })]);
    expect(await ledgerOf(played.id)).toMatchObject({ cost: { total_usd: '0' } });
  });

  it.each([
    ['={{ ({ id: 7 }) }}', 'Tool Call ID is an object in item 0'],
    ['={{ $json.invoice }}', 'Tool Call ID is empty in item 0: give an ID, or leave the field empty.'],
  ])('is not asked for under a key of its own because the key %s is none', async (toolCallId, said) => {
    const played = await play([authorize('A', { toolCallId })]);
    expect(played.error?.message).toContain(said);
    expect(await gateway.readRun(played.id)).toBeUndefined();
  });

  it('that is refused stops the execution with the reason, or goes on as `allowed: false`', async () => {
    const stopped = await play([authorize('A', { tool: 'refund' }), chat('Never')]);
    expect(stopped.error?.message).toMatch(/refund/);
    expect(stopped.nodes['Never']).toBeUndefined();
    const went = await play([authorize('A', { tool: 'refund', onRefusal: 'output' })]);
    expect(first(went, 'A')).toMatchObject({
      allowed: false,
      code: 'policy_denied',
      tool: 'refund',
      reason: expect.stringMatching(/refund/),
    });
  });
});

describe('a tool that ran while the gateway was away', () => {
  const away = JSON.stringify({ baseUrl: 'http://127.0.0.1:9', apiKey: 'rp_x', failurePolicy: 'open' });
  const unchecked = (more: object = {}): NodeSpec => ({
    ...authorize('May I', more),
    credentials: { runpurseApi: { id: away, name: 'Away' } },
  });

  it.each([
    ['at the price in the gateway', { estimatedUsd: '0.5' }, {}, { tool: 'lookup', status: 'completed', cost_usd: '0.002' }],
    ['at what was expected', { tool: 'sms', estimatedUsd: '0.01' }, {}, { tool: 'sms', status: 'completed', cost_usd: '0.01' }],
    [
      'at what it cost',
      { tool: 'sms', estimatedUsd: '0.01' },
      { costUsd: '0.004' },
      { tool: 'sms', status: 'completed', cost_usd: '0.004' },
    ],
    ['when it failed', { tool: 'sms' }, { costUsd: '0.004', status: 'failed' }, { tool: 'sms', status: 'failed', cost_usd: '0.004' }],
    ['at an unknown cost, which is not 0', { tool: 'sms' }, {}, { tool: 'sms', status: 'completed', cost_usd: null }],
  ])('is charged when it is settled: %s', async (_, asked, said, entry) => {
    const played = await play([unchecked(asked), settle('Paid', said), settle('Once more', { ...said, tool: entry.tool })]);
    expect(first(played, 'May I')).toMatchObject({ allowed: true, unchecked: true, runId: played.id });
    const settled = { settled: true, authorized: false, alreadySettled: false, tool: entry.tool, chargedUsd: entry.cost_usd };
    expect(first(played, 'Paid')).toMatchObject({ ...settled, runId: played.id, toolCallId: 'May I' });
    expect(first(played, 'Once more')).toMatchObject({ alreadySettled: true, chargedUsd: entry.cost_usd });
    const { tools, cost, workflow_id } = await ledgerOf(played.id);
    expect(tools).toMatchObject([{ tool_call_id: 'May I', ...entry }]);
    expect([cost.total_usd, workflow_id]).toEqual([entry.cost_usd ?? '0', 'wf1']);
  });

  it('is charged once when the execution is played again', async () => {
    const workflow = chainOf(credential, [unchecked(), settle('Paid')]);
    const twice = [await n8n.execute({ workflow, executionId: 'again' }), await n8n.execute({ workflow, executionId: 'again' })];
    expect(twice.map((played) => first(played, 'Paid')['alreadySettled'])).toEqual([false, true]);
    expect(await ledgerOf('again')).toMatchObject({ cost: { total_usd: '0.002' }, counts: { tool_calls: 1 } });
  });

  it('is charged once when two say at once what it came to', async () => {
    const workflow = chainOf(credential, [settle('Left'), settle('Right')]);
    const connections = { Start: { main: [['Left', 'Right'].map((node) => ({ node, type: 'main', index: 0 }))] } };
    const input = [{ json: { unchecked: true, runId: 'both', toolCallId: 'c1', tool: 'lookup' } }];
    const plays = ['l', 'r'].map((executionId) => n8n.execute({ workflow: { ...workflow, connections }, executionId, input }));
    expect((await Promise.all(plays)).map(({ status }) => status)).toEqual(['success', 'success']);
    expect(await ledgerOf('both')).toMatchObject({ cost: { total_usd: '0.002' }, counts: { tool_calls: 1 } });
  });

  it('is charged to a run that has ended meanwhile, as one that was asked for is', async () => {
    const asked = await play([authorize('Asked'), unchecked(), run('End', 'end', { revenueUsd: '1' })]);
    for (const name of ['Asked', 'May I']) {
      const said = await play([settle('Paid')], [{ json: first(asked, name) }]);
      expect(first(said, 'Paid')).toMatchObject({ runId: asked.id, authorized: name === 'Asked', chargedUsd: '0.002' });
    }
    expect(await ledgerOf(asked.id)).toMatchObject({ status: 'completed', cost: { total_usd: '0.004' }, margin: { known_usd: '0.996' } });
  });

  it('is charged over the cap too: it happened, and the next call is refused', async () => {
    const played = await play([unchecked({ tool: 'sms', estimatedUsd: '0.05' }), settle('Paid'), chat('Ask')]);
    expect(first(played, 'Paid')).toMatchObject({ chargedUsd: '0.05' });
    expect(played.error?.message).toContain('cap-per-run');
    expect(await ledgerOf(played.id)).toMatchObject({ cost: { total_usd: '0.05' } });
  });

  it('and is forbidden is charged, with the rule it broke', async () => {
    const played = await play([unchecked({ tool: 'refund', estimatedUsd: '0.01' }), settle('Paid')]);
    expect(first(played, 'Paid')).toMatchObject({ chargedUsd: '0.01', warnings: [expect.stringContaining('ran without asking')] });
  });

  it('is charged from behind other nodes by the ids that Authorize put out', async () => {
    const other: NodeSpec = { name: 'Other', type: 'n8n-nodes-base.set', version: 3.4, parameters: { assignments: { assignments: [] } } };
    const of = (field: string): string => `={{ $('May I').item.json.${field} }}`;
    const said = { toolCallId: of('toolCallId'), runId: of('runId'), tool: of('tool') };
    const played = await play([unchecked(), other, settle('Paid', said)]);
    expect(first(played, 'Paid')).toMatchObject({ authorized: false, chargedUsd: '0.002' });
    const lost = await play([unchecked(), other, settle('Paid', { toolCallId: of('toolCallId'), tool: of('tool') })]);
    expect(lost.error?.message).toBe(`The gateway knows no tool call May I of run ${lost.id}, so its cost was not recorded`);
    expect(lost.error?.description).toContain("Give Run ID what Authorize put out, such as {{ $('Authorize').item.json.runId }}");
  });

  it('costs nothing when it was not called after all', async () => {
    const played = await play([unchecked(), settle('Paid', { status: 'released' })]);
    expect(first(played, 'Paid')).toMatchObject({ settled: true, authorized: false, chargedUsd: '0' });
    expect(await gateway.readRun(played.id)).toBeUndefined();
  });

  it.each([
    ['nobody asked for', [settle('Paid', { toolCallId: 'c9', runId: '={{ $execution.id }}' })]],
    ['was refused', [authorize('May I', { tool: 'refund', onRefusal: 'output' }), settle('Paid')]],
  ])('is not guessed at: one that %s', async (_, nodes) => {
    const played = await play(nodes);
    expect(played.error?.message).toContain('The gateway knows no tool call');
    expect(played.error?.description).toContain('give Tool its name too');
    expect((await gateway.readRun(played.id))?.cost.total_usd ?? '0').toBe('0');
  });

  it('needs the id of its call', async () => {
    const played = await play([settle('Paid', { tool: 'lookup' })]);
    expect(played.error?.message).toContain('Tool Call ID is empty in item 0: give what Authorize put out');
  });
});

describe('a retried execution', () => {
  it('settles the run that Authorize asked for, and not its own', async () => {
    const asked = await play([authorize('May I')]);
    const input = [{ json: first(asked, 'May I') }];
    const retried = await play([settle('Paid')], input);
    expect(first(retried, 'Paid')).toMatchObject({ authorized: true, runId: asked.id, chargedUsd: '0.002' });
    expect(first(await play([settle('Paid')], input), 'Paid')).toMatchObject({ alreadySettled: true });
    expect(await ledgerOf(asked.id)).toMatchObject({ cost: { total_usd: '0.002' }, tools: [{ status: 'completed' }] });
    expect(await gateway.readRun(retried.id)).toBeUndefined();
  });

  it('does not charge a tool a second time, in its own run, when it is not told the run', async () => {
    const asked = await play([authorize('May I')]);
    const retried = await play([settle('Paid', { toolCallId: 'May I', tool: 'lookup' })]);
    expect(retried.error?.message).toContain(`The gateway knows no tool call May I of run ${retried.id}`);
    expect((await ledgerOf(asked.id)).tools).toMatchObject([{ status: 'open' }]);
    expect(await gateway.readRun(retried.id)).toBeUndefined();
  });

  it('records a tool that ran unchecked in the run where it ran', async () => {
    const input = [{ json: { allowed: true, unchecked: true, runId: 'first-7', toolCallId: 'May I', tool: 'lookup' } }];
    const retried = await play([settle('Paid')], input);
    expect(await ledgerOf('first-7')).toMatchObject({ cost: { total_usd: '0.002' }, tools: [{ tool_call_id: 'May I' }] });
    expect(await gateway.readRun(retried.id)).toBeUndefined();
  });
});

describe('with the gateway away', () => {
  const away = { baseUrl: 'http://127.0.0.1:9', apiKey: 'rp_x' };
  const step = (name: string, resource: string, operation: string): NodeSpec => ({ name, parameters: { resource, operation } });
  const all = [
    run('Begin', 'start', { limitUsd: '0.01' }),
    authorize('May I'),
    settle('Paid', { toolCallId: 'May I' }),
    step('Note', 'event', 'record'),
    run('End', 'end', { revenueUsd: '1' }),
  ];

  it('an execution goes on by the policy `open`, and each step says that nobody checked or recorded it', async () => {
    const played = await play(all, undefined, { ...away, failurePolicy: 'open' });
    expect(played.status).toBe('success');
    const said = { unchecked: true, reason: expect.stringContaining('Nobody checked or recorded this') };
    expect(first(played, 'Begin')).toEqual({ started: false, run_id: played.id, ...said });
    expect(first(played, 'May I')).toEqual({ allowed: true, tool: 'lookup', toolCallId: 'May I', runId: played.id, ...said });
    expect(first(played, 'Paid')).toEqual({ settled: false, toolCallId: 'May I', runId: played.id, ...said });
    expect(first(played, 'Note')).toEqual({ recorded: false, eventId: `${played.id}/Note`, runId: played.id, ...said });
    expect(first(played, 'End')).toEqual({ ended: false, run_id: played.id, ...said });
    for (const { name } of all) expect(played.nodes[name]?.[0]?.hints?.join()).toContain("can't be reached");
  });

  it.each(all.map((node) => [node.name, node] as const))('%s stops the execution by the policy `closed`', async (_, node) => {
    const played = await play([node], undefined, { ...away, failurePolicy: 'closed' });
    expect(played.error?.message).toBe("The Runpurse gateway at http://127.0.0.1:9 can't be reached");
  });

  it.each([
    ['a proxy', '<html>', 'It answered 502: nothing of Runpurse'],
    ['a gateway that can not write', '{"error":{"code":"ledger_unavailable","message":"The disk is full."}}', 'The disk is full.'],
  ])('as %s says it, the policy is followed too', async (_, body, said) => {
    const server = createServer((_request, response) => response.writeHead(body.startsWith('{') ? 503 : 502).end(body)).listen(
      0,
      '127.0.0.1',
    );
    await once(server, 'listening');
    const there = { ...credential, baseUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
    const open = await play([authorize('May I', { onRefusal: 'output' })], undefined, { ...there, failurePolicy: 'open' });
    const closed = await play([authorize('May I', { onRefusal: 'output' })], undefined, { ...there, failurePolicy: 'closed' });
    server.close();
    expect(first(open, 'May I')).toMatchObject({ allowed: true, unchecked: true });
    expect(closed.error?.description).toContain(said);
  });

  it.each([
    ['a read', run('Look', 'get')],
    ['a stop', run('Stop', 'stop')],
    ['a model call', chat('Ask')],
    ["a session's read", { name: 'S', parameters: { resource: 'session', operation: 'get', attribution: { sessionId: 's' } } }],
    ['a budget', { name: 'B', parameters: { resource: 'budget', operation: 'create', limitUsd: '1' } }],
  ])('%s fails, whatever the policy', async (_, node) => {
    const played = await play([node], undefined, { ...away, failurePolicy: 'open' });
    expect(played.error?.message).toBe("The Runpurse gateway at http://127.0.0.1:9 can't be reached");
  });
});

describe('a chat', () => {
  it('takes images from the item and from the web, tools, and a whole conversation', async () => {
    const bodies: { messages: { role: string; content: unknown }[]; tools?: unknown[] }[] = [];
    const provider = createServer((request, response) => {
      let text = '';
      request.on('data', (chunk: Buffer) => (text += chunk.toString()));
      request.on('end', () => {
        bodies.push({ ...(JSON.parse(text) as (typeof bodies)[number]) });
        response.setHeader('content-type', 'application/json');
        response.setHeader('x-runpurse-request-cost-usd', '0.5');
        response.end(JSON.stringify({ model: 'm', choices: [{ message: { role: 'assistant', content: 'seen' }, finish_reason: 'stop' }] }));
      });
    }).listen(0, '127.0.0.1');
    await once(provider, 'listening');
    const there = { ...credential, baseUrl: `http://127.0.0.1:${(provider.address() as AddressInfo).port}/v1/` };
    const tool = { type: 'function', function: { name: 'lookup', parameters: { type: 'object', properties: {} } } };
    const history = [
      { role: 'user', content: 'q' },
      { role: 'assistant', content: null, tool_calls: [{ id: 'c1', type: 'function', function: { name: 'lookup', arguments: '{}' } }] },
      { role: 'tool', tool_call_id: 'c1', content: 'r' },
    ];
    const played = await play(
      [
        chat('See', {
          system: 'be brief',
          images: { urls: 'https://x.test/a.png', binaryFields: 'data', detail: 'low' },
          tools: JSON.stringify([tool]),
        }),
        chat('Only see', { prompt: '', images: { urls: '={{ ["https://x.test/a.png"] }}' } }),
        chat('Talk', { inputMode: 'messages', messages: JSON.stringify(history) }),
        { ...chat('Form', { responseFormat: 'json_schema', jsonSchema: '{"type":"object"}' }), onError: 'continueRegularOutput' },
        chat('Commas', {
          prompt: '',
          images: { urls: 'https://x.test/w_300,h_200/a.png,data:image/png;base64,AAAA, HTTP://x.test/b.png,' },
        }),
      ],
      [{ json: {}, binary: { data: { data: PNG, mimeType: 'image/png' } } }],
      there,
    );
    provider.close();
    expect(first(played, 'See')).toMatchObject({ text: 'seen', costUsd: '0.5', runCostUsd: null });
    expect(bodies[0]?.messages).toEqual([
      { role: 'system', content: 'be brief' },
      {
        role: 'user',
        content: [
          { type: 'text', text: 'hi' },
          { type: 'image_url', image_url: { url: 'https://x.test/a.png', detail: 'low' } },
          { type: 'image_url', image_url: { url: `data:image/png;base64,${PNG}`, detail: 'low' } },
        ],
      },
    ]);
    expect(bodies[0]?.tools).toEqual([tool]);
    expect(bodies[1]?.messages).toEqual([{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'https://x.test/a.png' } }] }]);
    expect(bodies[2]?.messages).toEqual(history);
    expect(bodies[3]).toMatchObject({
      response_format: { type: 'json_schema', json_schema: { strict: true, schema: { type: 'object' } } },
    });
    const urls = ['https://x.test/w_300,h_200/a.png', 'data:image/png;base64,AAAA', 'HTTP://x.test/b.png'];
    expect(bodies[4]?.messages).toEqual([{ role: 'user', content: urls.map((url) => ({ type: 'image_url', image_url: { url } })) }]);
  });

  it('gives JSON as data, and tool calls as they were asked for', async () => {
    const played = await play([chat('J', { model: 'json', responseFormat: 'json_object' }), chat('T', { model: 'asks' })]);
    expect(first(played, 'J')).toMatchObject({ json: { mood: 'good' } });
    expect(first(played, 'T')).toMatchObject({ toolCalls: [{ function: { name: 'lookup', arguments: '{"id":"7"}' } }] });
    const failed = await play([chat('J', { responseFormat: 'json_object' })]);
    expect(failed.error).toMatchObject({ message: 'The model did not answer in JSON', description: 'It answered: hello' });
  });

  it.each([
    ['prompt', '', 'Prompt is empty in item 0: say what the model is to do.'],
    ['prompt', '={{ $json.question }}', 'Prompt is empty in item 0: give text, or leave the field empty.'],
    ['prompt', '={{ ({ text: "hi" }) }}', 'Prompt is an object in item 0: give text.'],
    ['prompt', '={{ String({}) }}', 'Prompt is a text with [object Object] in it in item 0: name a field of the object'],
    ['prompt', '=About {{ ({ text: "hi" }) }}', 'Prompt is a text with [object Object] in it in item 0'],
    ['system', '={{ ["a"] }}', 'System is a list in item 0: give text.'],
    ['messages', '{"role":"user"}', 'Messages is an object in item 0: give a JSON list.'],
    ['messages', '[{', 'Messages is no JSON in item 0: give a JSON list.'],
    ['messages', '[]', 'Messages is empty in item 0: give at least one message.'],
    ['messages', '={{ $json.history }}', 'Messages is empty in item 0: give a JSON list.'],
    ['messages', '["hi"]', 'Messages is a list with something else in it in item 0: give each message its role and content.'],
    ['messages', '[{"role":"user","content":" "}]', 'give each message its role and content'],
    ['messages', '=[{"role":"user","content":"{{ ({}) }}"}]', 'Messages is a text with [object Object] in it in item 0'],
    ['tools', '{}', 'Tools is an object in item 0: give a JSON list.'],
    ['tools', '={{ $json.tools }}', 'Tools is empty in item 0: give a JSON list.'],
    ['model', '={{ $json.model }}', 'Model Name or ID is empty in item 0: fill it in.'],
    ['responseFormat', '={{ "yaml" }}', 'Answer As is "yaml" in item 0: give one of json_object, json_schema, text.'],
    ['jsonSchema', '', 'JSON Schema is empty in item 0: give a JSON schema.'],
    ['images', { urls: '={{ $json.image }}' }, 'URLs under Images is empty in item 0: give texts separated by commas, or a list of texts.'],
    ['images', { urls: '={{ [{}] }}' }, 'URLs under Images is a list in item 0'],
    ['images', { detail: '={{ "big" }}' }, 'Detail under Images is "big" in item 0: give one of auto, high, low.'],
    ['options', { extraBody: '[1]' }, 'Extra Body under Options is a list in item 0: give a JSON object.'],
    ['options', { extraBody: 'n: 1' }, 'Extra Body under Options is no JSON in item 0: give a JSON object.'],
    [
      'options',
      { maxTokens: '={{ Number("few") }}' },
      'Maximum Number of Tokens under Options is NaN in item 0: give a whole number from 1 on.',
    ],
    ['options', { maxTokens: '={{ null }}' }, 'Maximum Number of Tokens under Options is empty in item 0'],
    ['options', { temperature: '={{ "hot" }}' }, 'Sampling Temperature under Options is "hot" in item 0: give a number from 0 to 2.'],
    ['options', { timeoutSeconds: '={{ "" }}' }, 'Timeout (Seconds) under Options is empty in item 0: give a number from 1 to 86400.'],
  ])('whose field %s is %j says what it must be, and is not made', async (field, value, said) => {
    const fields = {
      ...(field === 'messages' && { inputMode: 'messages' }),
      ...(field === 'jsonSchema' && { responseFormat: 'json_schema' }),
    };
    const played = await play([chat('Ask', { ...fields, [field]: value })]);
    expect(played.error?.message).toContain(said);
    expect(await gateway.readRun(played.id)).toBeUndefined();
  });

  it('may be about the words [object Object] that somebody wrote', async () => {
    const asked = await play([chat('Ask', { prompt: '=Help: {{ $json.text }}' })], [{ json: { text: 'I see [object Object] here' } }]);
    expect(first(asked, 'Ask')).toMatchObject({ text: 'hello' });
  });

  it('tells the item whose field can not be read', async () => {
    const ask = { ...chat('Ask', { prompt: '={{ $json.q }}' }), onError: 'continueRegularOutput' };
    const played = await play([ask], [{ json: { q: 'hi' } }, { json: {} }]);
    const items = played.nodes['Ask']?.[0]?.items ?? [];
    expect([items[0]?.json['text'], items[1]?.json['error']]).toEqual([
      'hello',
      'Prompt is empty in item 1: give text, or leave the field empty.',
    ]);
    expect((await ledgerOf(played.id)).requests).toHaveLength(1);
  });

  it('that fails is not sent again by itself; tried again by n8n it is a retry of its step', async () => {
    const once = await play([chat('Ask', { model: 'ill' })]);
    expect(once.error?.message).toContain('overloaded');
    expect((await ledgerOf(once.id)).requests).toHaveLength(1);
    const twice = await play([{ ...chat('Ask', { model: 'ill' }), retryOnFail: true, maxTries: 2, waitBetweenTries: 0 }]);
    const { steps, requests } = await ledgerOf(twice.id);
    expect(steps.map(({ step_id }) => step_id)).toEqual(['Ask']);
    expect(requests.map(({ attempt }) => attempt)).toEqual([1, 2]);
  });

  it('of a model nobody knows says so', async () => {
    expect((await play([chat('Ask', { model: 'nobody-knows' })])).error?.message).toContain('nobody-knows');
  });
});

describe('sessions, budgets and events', () => {
  it('are read, made and recorded', async () => {
    const session = { attribution: { sessionId: 'session-7' } };
    const played = await play([
      chat('Ask', session),
      { name: 'Session', parameters: { resource: 'session', operation: 'get', ...session } },
      {
        name: 'Cap',
        parameters: {
          resource: 'budget',
          operation: 'create',
          scope: 'session',
          scopeId: 'session-7',
          limitUsd: '0.004',
          budgetName: 'tight',
        },
      },
      {
        name: 'Again',
        parameters: {
          resource: 'budget',
          operation: 'create',
          scope: 'session',
          scopeId: 'session-7',
          limitUsd: '0.0035',
          budgetName: 'tight',
        },
      },
      { name: 'Status', parameters: { resource: 'budget', operation: 'status', budget: 'tight', ...session } },
      {
        name: 'Note',
        parameters: {
          resource: 'event',
          operation: 'record',
          eventType: 'checkpoint.created',
          eventName: 'half way',
          metadata: '{"order":7}',
        },
      },
    ]);
    expect(first(played, 'Session')).toMatchObject({ session_id: 'session-7', cost: { total_usd: '0.003' } });
    expect(first(played, 'Cap')).toMatchObject({ limit_usd: '0.004' });
    expect(first(played, 'Again')).toMatchObject({ budget_id: first(played, 'Cap')['budget_id'], limit_usd: '0.0035' });
    expect(first(played, 'Status')).toMatchObject({ maySpend: true, budgets: [{ name: 'tight', limit_usd: '0.0035' }] });
    expect(first(played, 'Note')).toMatchObject({ recorded: true, alreadyKnown: false, runId: played.id });
    const refused = await play([chat('Ask', session)]);
    expect(refused.error?.message).toContain('tight');
  });

  const budget = (more: object): NodeSpec => ({
    name: 'Cap',
    parameters: { resource: 'budget', operation: 'create', scopeId: 'only-7', limitUsd: '1', budgetName: 'strict', ...more },
  });

  it.each([
    ['scopeId', '={{ $json.customer }}', 'Of is empty in item 0: give the ID of the one the budget is for, or * for each of them.'],
    ['scopeId', '={{ null }}', 'Of is empty in item 0'],
    ['scopeId', '', 'Of is empty in item 0'],
    ['scopeId', '=c-{{ ({}) }}', 'Of is "c-[object Object]" in item 0'],
    ['limitUsd', '={{ $json.cap }}', 'Limit (USD) is empty in item 0: give dollars such as 0.50'],
    ['scope', '={{ "team" }}', 'Scope is "team" in item 0: give one of agent, customer,'],
    ['window', '={{ "week" }}', 'Window is "week" in item 0: give one of day, lifetime, month.'],
    ['budgetAction', '={{ "warn" }}', 'When It Is Spent is "warn" in item 0: give one of alert_only, pause, block.'],
    ['budgetName', '={{ $json.name }}', 'Name is empty in item 0: give an ID, or leave the field empty.'],
    ['budgetId', '={{ $json.id }}', 'Budget ID is empty in item 0: give an ID, or leave the field empty.'],
  ])('are not made for everybody, or of another kind, because %s is %s', async (field, value, said) => {
    const played = await play([budget({ [field]: value })]);
    expect(played.error?.message).toContain(said);
    const response = await fetch(`${gateway.url}/v1/budgets`, { headers: { authorization: `Bearer ${gateway.apiKey}` } });
    expect(await response.text()).not.toContain('strict');
  });

  it('are made for each when the user says so', async () => {
    expect(first(await play([budget({ scopeId: '*', budgetName: 'each', scope: 'member' })]), 'Cap')).toMatchObject({
      id: '*',
      scope: 'member',
    });
  });

  it.each([
    [run('End', 'end', { status: '={{ "done" }}' }), 'Status is "done" in item 0: give one of completed, failed, stopped.'],
    [run('End', 'end', { revenueUsd: '={{ NaN }}' }), 'Revenue (USD) is NaN in item 0'],
    [run('End', 'end', { reason: '={{ ({}) }}' }), 'Reason is an object in item 0: give text.'],
    [settle('Paid', { toolCallId: 'c', status: '={{ "ok" }}' }), 'Status is "ok" in item 0: give one of completed, failed, released.'],
    [authorize('Ask', { onRefusal: '={{ "stop" }}' }), 'When Refused is "stop" in item 0: give one of error, output.'],
    [authorize('Ask', { tool: '={{ $json.tool }}' }), 'Tool Name or ID is empty in item 0: fill it in.'],
    [
      { name: 'B', parameters: { resource: 'budget', operation: 'status', budget: '={{ $json.b }}' } },
      'Budget Name or ID is empty in item 0',
    ],
    [{ name: 'E', parameters: { resource: 'event', operation: 'record', eventType: '={{ "paid" }}' } }, 'Type is "paid" in item 0'],
    [{ name: 'E', parameters: { resource: 'event', operation: 'record', eventId: '={{ $json.e }}' } }, 'Event ID is empty in item 0'],
    [
      { name: 'E', parameters: { resource: 'event', operation: 'record', metadata: '={{ $json.m }}' } },
      'Metadata is empty in item 0: give a JSON object.',
    ],
  ] as readonly [NodeSpec, string][])('are not recorded as something else: %j', async (node, said) => {
    const played = await play([node]);
    expect(played.error?.message).toContain(said);
    expect(await gateway.readRun(played.id)).toBeUndefined();
  });

  it('without a session id says where to state it', async () => {
    const played = await play([{ name: 'S', parameters: { resource: 'session', operation: 'get' } }]);
    expect(played.error?.message).toContain('state Session ID under Attribution');
  });

  it('hold no secret that was in an event', async () => {
    const secret = 'sk-live-0123456789abcdef0123';
    const played = await play([
      {
        name: 'Note',
        parameters: {
          resource: 'event',
          operation: 'record',
          eventName: `used ${secret}`,
          metadata: { password: 'hunter2-correct', note: `Bearer ${secret}` },
        },
      },
      run('End', 'end', { status: 'failed', reason: `the tool said: no luck with ${secret}` }),
    ]);
    expect(played.status).toBe('success');
    const response = await fetch(`${gateway.url}/v1/events?run_id=${played.id}`, {
      headers: { authorization: `Bearer ${gateway.apiKey}` },
    });
    const log = await response.text();
    expect(log).toContain('Note');
    expect(log).not.toMatch(/sk-live|hunter2/);
    expect(await ledgerOf(played.id)).toMatchObject({ status_reason: 'the tool said: no luck with [redacted]' });
    const stopped = await play([chat('Ask'), run('Stop', 'stop', { reason: `leaked ${secret}` })]);
    expect(await ledgerOf(stopped.id)).toMatchObject({ status_reason: 'leaked [redacted]' });
  });

  it('leave a budget of the same name alone that is of somebody else', async () => {
    const cap = (name: string, scopeId: string, more: object = {}): NodeSpec => ({
      name,
      parameters: { resource: 'budget', operation: 'create', scope: 'session', scopeId, limitUsd: '1', budgetName: 'shared', ...more },
    });
    const played = await play([cap('Ann', 's-ann'), cap('Bob', 's-bob', { budgetAction: 'alert_only', window: 'day' })]);
    expect(first(played, 'Ann')).toMatchObject({ id: 's-ann', action: 'block', window: 'lifetime' });
    expect(first(played, 'Bob')).toMatchObject({ id: 's-bob', action: 'alert_only', window: 'day' });
    expect(first(played, 'Bob')['budget_id']).not.toBe(first(played, 'Ann')['budget_id']);
  });

  it('follow no redirect: the key would travel along', async () => {
    let visits = 0;
    const server = createServer((request, response) => {
      visits += 1;
      response.writeHead(307, { location: `http://localhost:${(server.address() as AddressInfo).port}${request.url}` }).end();
    }).listen(0);
    await once(server, 'listening');
    const there = { ...credential, baseUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
    const played = await play([authorize('A')], undefined, there);
    const asked = await play([chat('Ask')], undefined, there);
    server.close();
    expect([played.error?.message, asked.error?.message]).toEqual(['The gateway answered 307', 'The gateway answered 307']);
    expect(visits).toBe(2);
  });

  it('say in an error nothing of the key', async () => {
    const played = await play([chat('Ask')], undefined, { ...credential, apiKey: 'rp_wrong-key-0123456789abcdef' });
    expect(played.error?.description).toContain('Check the virtual key');
    expect(JSON.stringify(played)).not.toContain('rp_wrong-key-0123456789abcdef');
  });
});

describe('the node as n8n sees it', () => {
  it('fills its lists from the gateway', async () => {
    const node = nodeOf(credential, { name: 'N' });
    const list = async (method: string) => (await n8n.ask({ kind: 'options', node, method })) as { name: string; value: string }[];
    expect((await list('getModels')).map(({ value }) => value)).toEqual(expect.arrayContaining(['sandbox/talk']));
    expect((await list('getBudgets')).map(({ name }) => name)).toContain('cap-per-run');
    await play([authorize('A'), settle('B')]);
    expect((await list('getTools')).map(({ value }) => value)).toContain('lookup');
    expect((await list('getWorkflows')).map(({ value }) => value)).toContain('wf1');
    await expect(
      n8n.ask({ kind: 'options', node: nodeOf({ ...credential, apiKey: 'rp_no' }, { name: 'N' }), method: 'getModels' }),
    ).rejects.toThrow();
  });

  it('can be a tool, and has an icon for light and one for dark', async () => {
    const nodes = (await n8n.ask({ kind: 'describe' })) as { name: string; usableAsTool?: boolean; iconUrl?: object }[];
    expect(nodes.find(({ name }) => name === 'runpurse')).toMatchObject({
      usableAsTool: true,
      iconUrl: { light: expect.stringContaining('runpurse.svg'), dark: expect.stringContaining('runpurse.dark.svg') },
    });
  });

  it.each([
    ['a good key', {}, 200],
    ['an address with /v1/', { v1: true }, 200],
    ['a wrong key', { apiKey: 'rp_wrong' }, 401],
  ])('tests its credential with a real request: %s', async (_, { v1 = false, ...more }: { v1?: boolean; apiKey?: string }, status) => {
    const data = { ...credential, ...more, ...(v1 && { baseUrl: `${gateway.url}/v1/` }) };
    expect(await n8n.ask({ kind: 'test-credential', type: 'runpurseApi', data })).toBe(status);
  });
});
