import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { startGateway, type RunningGateway } from '@runpurse/conformance';
import app from '../src/index.ts';
import { openZap, type Row, type Zap } from './zap.ts';

/** The triggers as Zapier turns them on, hears from the gateway, and turns them off again; its hook address is a server here. */

interface Delivery {
  readonly headers: Record<string, string>;
  readonly content: string;
}
interface HookOperation {
  readonly performSubscribe: unknown;
  readonly performUnsubscribe: unknown;
  readonly perform: unknown;
  readonly performList: unknown;
  readonly sample: Row;
  readonly outputFields: readonly { readonly key: string }[];
}

let gateway: RunningGateway;
let zap: Zap;
let hooks: Server;
let targetUrl: string;
let delivered: Delivery[];

beforeEach(async () => {
  gateway = await startGateway({
    config: {
      tools: [{ name: 'lookup', price_usd: '0.6' }],
      budgets: [{ name: 'cap', scope: 'run', limit_usd: '1' }],
      policy: { tools: { deny: ['refund'] } },
    } as never,
  });
  zap = openZap({ baseUrl: gateway.url, apiKey: gateway.apiKey });
  delivered = [];
  hooks = createServer((request, response) => {
    let content = '';
    request.on('data', (chunk: Buffer) => (content += chunk.toString()));
    request.on('end', () => {
      // As Zapier writes headers down: `Http-Webhook-Id`.
      const headers = Object.entries(request.headers).map(([name, value]) => [
        `Http-${name.replace(/(^|-)([a-z])/g, (part) => part.toUpperCase())}`,
        String(value),
      ]);
      delivered.push({ headers: Object.fromEntries(headers) as Record<string, string>, content });
      response.end('{"status":"success"}');
    });
  });
  await new Promise<void>((resolve) => hooks.listen(0, '127.0.0.1', resolve));
  targetUrl = `http://127.0.0.1:${(hooks.address() as AddressInfo).port}/hooks/standard/1/secret/`;
});
afterEach(async () => {
  await gateway.remove();
  hooks.closeAllConnections();
  hooks.close();
});

async function until(what: () => boolean): Promise<void> {
  for (const deadline = Date.now() + 20_000; !what();) {
    if (Date.now() > deadline) throw new Error(`waited in vain: ${JSON.stringify(delivered)}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

const operationOf = (key: string): HookOperation => app.triggers[key]?.operation as unknown as HookOperation;
const webhooks = async (): Promise<Row[]> => {
  const response = await fetch(`${gateway.url}/v1/webhooks`, { headers: { authorization: `Bearer ${gateway.apiKey}` } });
  return ((await response.json()) as { data: Row[] }).data;
};

/** What Zapier does with a delivery. */
const hear = (key: string, { headers, content }: Delivery, subscribeData: Row, inputData: object = {}): Promise<Row[]> =>
  zap.run(operationOf(key).perform, {
    inputData,
    subscribeData,
    targetUrl,
    cleanedRequest: JSON.parse(content) as object,
    rawRequest: { method: 'POST', headers, content },
  });

/** A run that crosses a threshold, is refused a tool, and ends. */
async function play(runId: string, workflow = 'wf'): Promise<void> {
  const step = { run_id: runId, workflow_id: workflow, agent_id: 'support', session_id: 's' };
  await zap.create('start_run', step);
  await zap.create('authorize_spend', { ...step, kind: 'tool', name: 'refund', call_id: 'c1', on_refusal: 'continue' });
  await zap.create('authorize_spend', { ...step, kind: 'tool', name: 'lookup', call_id: 'c2' });
  await zap.create('record_cost', { ...step, kind: 'tool', name: 'lookup', call_id: 'c2' });
  await zap.create('end_run', { run_id: runId, status: 'completed', revenue_usd: '2' });
}

describe('a trigger', () => {
  it.each<[string, object]>([
    [
      'run_ended',
      {
        run_id: 'r1',
        status: 'completed',
        session_id: 's',
        workflow_id: 'wf',
        agent_id: 'support',
        total_usd: '0.6',
        revenue_usd: '2',
        margin_usd: '1.4',
        remaining_usd: '0.4',
        denied_calls: 1,
      },
    ],
    [
      'threshold_crossed',
      {
        threshold_percent: 50,
        budget_name: 'cap',
        level: 'run',
        scope_id: 'r1',
        cap_usd: '1',
        spent_usd: '0.6',
        reserved_usd: '0',
        remaining_usd: '0.4',
        state: '50',
        run_id: 'r1',
        session_id: 's',
      },
    ],
    [
      'call_refused',
      {
        run_id: 'r1',
        session_id: 's',
        workflow: 'wf',
        agent: 'support',
        step_id: 'c1',
        kind: 'tool',
        call: 'refund',
        code: 'policy_denied',
        message: expect.stringContaining('deny list'),
        blocked_by: 'tools.deny',
      },
    ],
  ])('%s is told by the gateway, and lists the same when polled', async (key, expected) => {
    const operation = operationOf(key);
    const subscribeData = await zap.run<Row>(operation.performSubscribe, { targetUrl, inputData: { workflow: 'wf', agent: 'support' } });
    expect(subscribeData).toMatchObject({ id: expect.stringMatching(/^whk_/), secret: expect.stringMatching(/^whsec_/), workflow: 'wf' });
    await play('r1');
    await play('r2', 'another');
    await until(() => delivered.length >= 1);
    const [first] = delivered;
    if (first === undefined) throw new Error('nothing came');
    const [row = {}, ...others] = await hear(key, first, subscribeData);
    expect(others).toEqual([]);
    expect(row).toMatchObject({ id: expect.stringMatching(/^ntc_/), created_at: expect.any(String), ...expected });
    const fields = new Set(operation.outputFields.map((field) => field.key));
    // A line of values, each with its name; what the sample shows is what comes.
    expect(Object.keys(row).sort()).toEqual([...fields].sort());
    expect(Object.keys(operation.sample).sort()).toEqual([...fields].sort());
    expect(Object.values(row).filter((value) => typeof value === 'object' && value !== null)).toEqual([]);
    const listed = await zap.run<Row[]>(operation.performList, { inputData: { workflow: 'wf' } });
    expect(listed).toEqual([row]);
    // The polled trigger gives the very same, so that who changes from one to the other hears nothing twice.
    expect(await zap.run(operationOf(`${key}_polled`).perform, { inputData: { workflow: 'wf' } })).toEqual([row]);

    await zap.run(operation.performUnsubscribe, { subscribeData });
    expect(await webhooks()).toEqual([]);
    // Turned off twice, or deleted at the gateway before: still off.
    await zap.run(operation.performUnsubscribe, { subscribeData });
    expect(delivered).toHaveLength(1);
  });

  it('starts the Zap once for a notice that the gateway sends twice', async () => {
    const subscribeData = await zap.run<Row>(operationOf('run_ended').performSubscribe, { targetUrl, inputData: {} });
    await play('r1');
    await until(() => delivered.length >= 1);
    const first = delivered[0] as Delivery;
    expect(await hear('run_ended', first, subscribeData)).toHaveLength(1);
    expect(await hear('run_ended', first, subscribeData)).toEqual([]);
    // Another Zap on the same notice is another subscription.
    expect(await hear('run_ended', first, { ...subscribeData, id: 'whk_other' })).toHaveLength(1);
  });

  it('refuses what is not from the gateway, where Zapier shows enough to tell', async () => {
    const subscribeData = await zap.run<Row>(operationOf('run_ended').performSubscribe, { targetUrl, inputData: {} });
    await play('r1');
    await until(() => delivered.length >= 1);
    const first = delivered[0] as Delivery;
    const forged = { ...first, content: first.content.replace('"r1"', '"r666"') };
    await expect(hear('run_ended', forged, subscribeData)).rejects.toThrow(/not from your gateway/);
    await expect(hear('run_ended', { ...first, headers: {} }, subscribeData)).rejects.toThrow(/not from your gateway/);
    // A call without a body has none that could be signed.
    const bodiless = {
      inputData: {},
      targetUrl,
      subscribeData,
      cleanedRequest: JSON.parse(first.content) as Row,
      rawRequest: { method: 'GET', headers: {} },
    };
    await expect(zap.run(operationOf('run_ended').perform, bodiless)).rejects.toThrow(/not from your gateway/);
    // Zapier was late with it: it is told all the same, once.
    const hoursLater = jest.spyOn(Date, 'now').mockReturnValue(Date.now() + 7 * 3_600_000);
    expect(await hear('run_ended', first, subscribeData)).toHaveLength(1);
    expect(await hear('run_ended', first, subscribeData)).toEqual([]);
    hoursLater.mockRestore();
    // Without the secret, or the body as received, there is nothing to check; the address alone is the secret then.
    expect(await hear('run_ended', first, { id: 'whk_1' })).toHaveLength(1);
  });

  it('passes over what it was not made for', async () => {
    const subscribeData = { id: 'whk_1' };
    await play('r1');
    const [ended] = await zap.run<Row[]>(operationOf('run_ended').performList, { inputData: {} });
    const asNotice = (type: string, data: object): Delivery => ({
      headers: {},
      content: JSON.stringify({ id: `ntc_${type}`, type, created_at: 'x', data }),
    });
    expect(await hear('run_ended', asNotice('call.refused', {}), subscribeData)).toEqual([]);
    expect(await hear('run_ended', asNotice('unheard.of', {}), subscribeData)).toEqual([]);
    // Anybody's, where there is no secret to check it by.
    for (const [key, type] of [
      ['run_ended', 'run.ended'],
      ['threshold_crossed', 'budget.threshold'],
    ] as const)
      for (const data of [undefined, null, 7, {}, { run: 7, budget: 7 }, { run: {}, budget: {} }])
        expect(await hear(key, asNotice(type, data as object), subscribeData)).toEqual([]);
    expect(await zap.run(operationOf('run_ended').performList, { inputData: { status: 'failed' } })).toEqual([]);
    expect(await zap.run(operationOf('run_ended').performList, { inputData: { status: 'completed' } })).toEqual([ended]);
    expect(await zap.run(operationOf('threshold_crossed').performList, { inputData: { at_least: 75 } })).toEqual([]);
    expect(await zap.run(operationOf('threshold_crossed').performList, { inputData: { at_least: 50 } })).toHaveLength(1);
    expect(await zap.run(operationOf('call_refused').performList, { inputData: { agent: 'nobody' } })).toEqual([]);
  });

  it('tells of a refused call of no agent with the same fields', async () => {
    await zap.create('authorize_spend', { run_id: 'r1', kind: 'tool', name: 'refund', call_id: 'c1' }).catch(() => undefined);
    const { performList, sample } = operationOf('call_refused');
    const [row = {}] = await zap.run<Row[]>(performList, { inputData: {} });
    expect(row).toMatchObject({ agent: null, session_id: null, tool_call_id: 'c1', call: 'refund' });
    expect(Object.keys(row).sort()).toEqual(Object.keys(sample).sort());
  });

  it('refuses a filter it can not read when it is turned on, and reads a choice in any case', async () => {
    const on = (key: string, inputData: object): Promise<Row> => zap.run(operationOf(key).performSubscribe, { targetUrl, inputData });
    for (const [key, inputData, words] of [
      ['threshold_crossed', { at_least: '90 %' }, /From \(%\) must be a whole number from 1 on, not .*90 %/],
      ['run_ended', { status: 'done' }, /Status must be completed or failed or stopped, not .*done/],
      ['run_ended', { workflow: ['a'] }, /Workflow must be one value/],
    ] as const)
      await expect(on(key, inputData)).rejects.toThrow(words);
    expect(await webhooks()).toEqual([]);
    await play('r1');
    expect(await zap.run(operationOf('run_ended').performList, { inputData: { status: 'Completed' } })).toHaveLength(1);
  });

  it('says in words why it could not be turned on', async () => {
    const subscribe = zap.run(operationOf('run_ended').performSubscribe, { targetUrl: 'http://169.254.169.254/', inputData: {} });
    await expect(subscribe).rejects.toThrow(/address that takes no webhooks/);
    const away = openZap({ baseUrl: 'http://127.0.0.1:1', apiKey: 'rp_x' });
    await expect(away.run(operationOf('run_ended').performSubscribe, { targetUrl, inputData: {} })).rejects.toThrow(/could not be reached/);
  });

  it('polled, tells all that happened since, however much', async () => {
    const end = async (index: number): Promise<void> => {
      await gateway.post('/v1/runs', { run_id: `many-${index}` });
      await gateway.post(`/v1/runs/many-${index}/end`, { status: 'completed' });
    };
    for (let from = 0; from < 230; from += 23) await Promise.all(Array.from({ length: 23 }, (_, index) => end(from + index)));
    const rows = await zap.run<Row[]>(operationOf('run_ended_polled').perform, { inputData: {} });
    expect(new Set(rows.map((row) => row['run_id'])).size).toBe(230);
    expect(new Set(rows.map((row) => row['id'])).size).toBe(230);
  });

  it('shows a few runs while a Zap is being made', async () => {
    for (const runId of ['a', 'b', 'c', 'd']) await play(runId);
    const shown = await zap.run<Row[]>(operationOf('run_ended').performList, { inputData: {}, meta: { isLoadingSample: true } });
    expect(shown.map((row) => row['run_id'])).toEqual(['d', 'c', 'b']);
  });
});
