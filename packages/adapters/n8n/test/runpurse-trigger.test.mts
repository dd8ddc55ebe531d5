import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { startGateway, type RunningGateway } from '@runpurse/conformance';
import { startN8n, type N8n, type WorkflowFile } from './n8n.mts';
import { credentialOf, nodeOf, type NodeSpec } from './workflows.mts';

interface Delivery {
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

let gateway: RunningGateway;
let n8n: N8n;
let receiver: Server;
let url: string;
let deliveries: Delivery[] = [];
let arrived: (() => void) | undefined;

beforeAll(async () => {
  receiver = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk: Buffer) => (body += chunk.toString()));
    request.on('end', () => {
      deliveries.push({ headers: request.headers as Record<string, string>, body });
      response.end('ok');
      arrived?.();
    });
  }).listen(0, '127.0.0.1');
  await once(receiver, 'listening');
  url = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/webhook/x`;
  gateway = await startGateway({
    config: {
      providers: [{ name: 'sandbox', kind: 'sandbox', scripts: { m: [{ text: 'hi', usage: { input_tokens: 100, output_tokens: 10 } }] } }],
      prices: [{ provider: 'sandbox', model: 'm', input_mtok_usd: '2', output_mtok_usd: '10' }],
      tools: [{ name: 'lookup', price_usd: '0.009' }],
      policy: { tools: { deny: ['refund'] } },
      budgets: [{ name: 'cap', scope: 'run', id: '*', limit_usd: '0.01', thresholds: [80] }],
    } as never,
  });
  n8n = await startN8n();
}, 60_000);

afterAll(async () => {
  receiver.close();
  await (n8n as N8n | undefined)?.stop();
  await (gateway as RunningGateway | undefined)?.remove();
});

beforeEach(() => {
  deliveries = [];
});

let workflows = 0;
const AGENT = '@n8n/n8n-nodes-langchain.agent';

function triggerOf(parameters: object, credential = credentialOf(gateway)): WorkflowFile {
  const node = nodeOf(credential, { name: 'Runpurse Trigger', type: 'n8n-nodes-runpurse.runpurseTrigger', parameters });
  return { id: `t${(workflows += 1)}`, name: 'Alert', nodes: [node], connections: {} };
}

function triggerWith(workflow: WorkflowFile, parameters: object): WorkflowFile {
  return { ...workflow, nodes: workflow.nodes.map((node) => ({ ...node, parameters })) };
}

async function hook(
  workflow: WorkflowFile,
  method: 'checkExists' | 'create' | 'delete' | 'receive',
  delivery: Delivery = { headers: {}, body: '' },
): Promise<unknown> {
  return n8n.ask({ kind: 'hook', workflow, node: 'Runpurse Trigger', method, webhookBaseUrl: url, ...delivery });
}

async function delivered(count: number): Promise<readonly Delivery[]> {
  while (deliveries.length < count) await new Promise<void>((resolve) => (arrived = resolve));
  return deliveries;
}

async function listed(): Promise<readonly { events: string[]; url: string; workflow?: string; agent?: string }[]> {
  const response = await fetch(`${gateway.url}/v1/webhooks`, { headers: { authorization: `Bearer ${gateway.apiKey}` } });
  return ((await response.json()) as { data: { events: string[]; url: string; workflow?: string; agent?: string }[] }).data;
}

describe('the trigger', () => {
  it('subscribes itself when activated, and unsubscribes when not any more', async () => {
    const workflow = triggerOf({ events: ['run.ended', 'call.refused'], workflow: 'wf1' });
    expect(await hook(workflow, 'checkExists')).toBe(false);
    expect(await hook(workflow, 'create')).toBe(true);
    expect(await hook(workflow, 'checkExists')).toBe(true);
    expect(await listed()).toMatchObject([{ url, events: ['run.ended', 'call.refused'], workflow: 'wf1' }]);
    expect(await hook(workflow, 'delete')).toBe(true);
    expect(await listed()).toEqual([]);
    expect(await hook(workflow, 'checkExists')).toBe(false);
    expect(await hook(workflow, 'delete')).toBe(true);
  });

  it('subscribes anew when this n8n is reached elsewhere or the gateway forgot it, and leaves without a fuss', async () => {
    const workflow = triggerOf({ events: ['run.ended'] });
    await hook(workflow, 'create');
    const moved = { kind: 'hook', workflow, node: 'Runpurse Trigger', headers: {}, body: '', webhookBaseUrl: `${url}/moved` } as const;
    expect(await n8n.ask({ ...moved, method: 'checkExists' })).toBe(false);
    await n8n.ask({ ...moved, method: 'create' });
    expect((await listed()).map((row) => row.url)).toEqual([`${url}/moved`]);
    const [row] = (await listed()) as unknown as readonly { id: string }[];
    const headers = { authorization: `Bearer ${gateway.apiKey}` };
    await fetch(`${gateway.url}/v1/webhooks/${row?.id}`, { method: 'DELETE', headers });
    expect(await hook(workflow, 'checkExists')).toBe(false);
    expect(await hook(workflow, 'delete')).toBe(true);
  });

  it.each([
    ['other events', { events: ['run.ended', 'call.refused'], workflow: 'wf1' }],
    ['fewer events', { events: ['budget.threshold'], workflow: 'wf1' }],
    ['another filter', { events: ['run.ended', 'budget.threshold'], workflow: 'wf2' }],
    ['no filter', { events: ['run.ended', 'budget.threshold'] }],
    ['one filter more', { events: ['run.ended', 'budget.threshold'], workflow: 'wf1', agent: 'a1' }],
  ])(
    'subscribes anew, in place of the old one, when the user asks for %s',
    async (_, parameters: { events: string[]; workflow?: string; agent?: string }) => {
      const workflow = triggerOf({ events: ['budget.threshold', 'run.ended'], workflow: 'wf1' });
      await hook(workflow, 'create');
      expect(await hook(triggerWith(workflow, { events: ['run.ended', 'budget.threshold'], workflow: 'wf1' }), 'checkExists')).toBe(true);
      const edited = triggerWith(workflow, parameters);
      expect(await hook(edited, 'checkExists')).toBe(false);
      expect(await hook(edited, 'create')).toBe(true);
      const rows = await listed();
      expect(rows).toMatchObject([{ url, ...parameters }]);
      expect([rows[0]?.workflow, rows[0]?.agent]).toEqual([parameters.workflow, parameters.agent]);
      expect(await hook(edited, 'checkExists')).toBe(true);
      await hook(edited, 'delete');
      expect(await listed()).toEqual([]);
    },
  );

  it.each([
    [{ events: '={{ [] }}' }, 'Events is a list: give a list of budget.threshold, call.refused, run.ended.'],
    [{ events: ['run.over'] }, 'Events is a list: give a list of budget.threshold'],
    [{ events: ['run.ended'], workflow: '={{ undefined }}' }, 'Workflow Name or ID is empty: give an ID, or leave the field empty.'],
    [{ events: ['run.ended'], agent: '={{ ({}) }}' }, 'Agent Name or ID is an object: give text.'],
  ])('does not subscribe to something else because a field is unusable: %j', async (parameters, said) => {
    await expect(hook(triggerOf(parameters), 'create')).rejects.toThrow(said);
    expect(await listed()).toEqual([]);
  });

  it('starts the workflow with what happened, once for each notice, and for nobody else', async () => {
    const workflow = triggerOf({ events: ['run.ended', 'budget.threshold', 'call.refused'] });
    await hook(workflow, 'create');
    await gateway.post('/v1/runs', { run_id: 'r1', workflow_id: 'wf1' });
    await gateway.post('/v1/tools/authorize', { run_id: 'r1', tool: 'lookup', tool_call_id: 'c1', step_id: 's1' });
    await gateway.post('/v1/tools/settle', { run_id: 'r1', tool_call_id: 'c1' });
    await expect(gateway.post('/v1/tools/authorize', { run_id: 'r1', tool: 'refund', tool_call_id: 'c2', step_id: 's2' })).rejects.toThrow(
      '403',
    );
    await gateway.post('/v1/runs/r1/end', { status: 'completed', revenue_usd: '1' });
    const all = await delivered(3);

    const started = await Promise.all(
      all.map((delivery) => hook(workflow, 'receive', delivery) as Promise<{ items: { type: string; data: object }[] | null }>),
    );
    const notices = started.flatMap(({ items }) => items ?? []).toSorted((a, b) => a.type.localeCompare(b.type));
    expect(notices).toMatchObject([
      { type: 'budget.threshold', data: { threshold_percent: 80, budget: { name: 'cap', spent_usd: '0.009' }, run_id: 'r1' } },
      { type: 'call.refused', data: { run_id: 'r1', tool: 'refund', code: 'policy_denied' } },
      { type: 'run.ended', data: { run: { run_id: 'r1', status: 'completed', cost: { total_usd: '0.009' } } } },
    ]);

    const [one] = all;
    if (one === undefined) throw new Error('nothing was delivered');
    expect(await hook(workflow, 'receive', one)).toMatchObject({ items: null });
    expect(await hook(workflow, 'receive', { ...one, body: one.body.replace('r1', 'r2') })).toMatchObject({ status: 401, items: null });
    expect(await hook(workflow, 'receive', { headers: {}, body: '{}' })).toMatchObject({ status: 401, items: null });
    await hook(workflow, 'delete');
    expect(await hook(workflow, 'receive', one)).toMatchObject({ status: 401, items: null });
  });

  it('does not start a workflow by what that workflow did itself', async () => {
    const workflow = triggerOf({ events: ['run.ended', 'call.refused'] });
    await hook(workflow, 'create');
    for (const [run, workflow_id] of [
      ['own', workflow.id],
      ['other', 'wf1'],
    ] as const) {
      await gateway.post('/v1/runs', { run_id: run, workflow_id });
      const refund = { run_id: run, tool: 'refund', tool_call_id: 'c', step_id: 's' };
      await expect(gateway.post('/v1/tools/authorize', refund)).rejects.toThrow('403');
      await gateway.post(`/v1/runs/${run}/end`, { status: 'completed' });
    }
    const taken: unknown[] = [];
    for (const delivery of await delivered(4)) taken.push(await hook(workflow, 'receive', delivery));
    await hook(workflow, 'delete');
    const started = taken.flatMap(
      (one) => (one as { items: { data: { run_id?: string; run?: { run_id: string } } }[] | null }).items ?? [],
    );
    expect(started.map(({ data }) => data.run?.run_id ?? data.run_id)).toEqual(['other', 'other']);
  });

  const call = { name: 'Call', type: 'n8n-nodes-base.executeWorkflow', version: 1.2 };
  const stated = { resource: 'run', operation: 'start', attribution: { workflowId: 'mine' } };
  const model = 'n8n-nodes-runpurse.runpurseChatModel';
  /** Names a workflow, and makes no run of it. */
  const switchOff = {
    name: 'Switch off',
    type: 'n8n-nodes-base.n8n',
    parameters: { resource: 'workflow', operation: 'deactivate', workflowId: { __rl: true, mode: 'id', value: 'other' } },
  };
  it.each<readonly [string, { readonly behind: NodeSpec; readonly lent?: NodeSpec; readonly settings?: WorkflowFile['settings'] }]>([
    ['whose Workflow ID a node states', { behind: { name: 'Start', parameters: stated } }],
    [
      "whose Workflow ID an agent's model states",
      { behind: { name: 'Agent', type: AGENT, version: 3.1 }, lent: { name: 'Model', type: model, parameters: stated } },
    ],
    ['that it calls', { behind: { ...call, parameters: { workflowId: { __rl: true, mode: 'id', value: 'mine' } } } }],
    ['that it holds', { behind: { ...call, parameters: { source: 'parameter', workflowJson: '{"id":"mine","nodes":[]}' } } }],
    ['that is started when it fails', { behind: { name: 'Set', type: 'n8n-nodes-base.set' }, settings: { errorWorkflow: 'mine' } }],
  ])('does not start a workflow by runs of a workflow %s, nor takes that for its filter', async (_, { behind, lent, settings }) => {
    const base = triggerOf({ events: ['run.ended'] });
    const all = [behind, switchOff, ...(lent === undefined ? [] : [lent])].map((spec) => nodeOf(credentialOf(gateway), spec));
    const connections = {
      'Runpurse Trigger': { main: [[behind, switchOff].map(({ name }) => ({ node: name, type: 'main', index: 0 }))] },
      ...(lent && { [lent.name]: { ai_languageModel: [[{ node: behind.name, type: 'ai_languageModel', index: 0 }]] } }),
    };
    const workflow = { ...base, nodes: [...base.nodes, ...all], connections, ...(settings && { settings }) };
    await hook(workflow, 'create');
    for (const workflow_id of ['mine', 'other']) {
      const run_id = `${workflow_id}-${workflow.id}`;
      await gateway.post('/v1/runs', { run_id, workflow_id });
      await gateway.post(`/v1/runs/${run_id}/end`, { status: 'completed' });
    }
    const taken: unknown[] = [];
    for (const delivery of await delivered(2)) taken.push(await hook(workflow, 'receive', delivery));
    await hook(workflow, 'delete');
    const started = taken.flatMap((one) => (one as { items: { data: { run: { workflow_id: string } } }[] | null }).items ?? []);
    expect(started.map(({ data }) => data.run.workflow_id)).toEqual(['other']);
    const filtered = triggerOf({ events: ['run.ended'], workflow: 'mine' });
    await expect(hook({ ...workflow, nodes: [...filtered.nodes, ...all] }, 'create')).rejects.toThrow(
      'Workflow Name or ID is "mine": this workflow is that one, states its ID or calls it',
    );
  });

  it.each([
    ['Budget: Status', { resource: 'budget', operation: 'status' }],
    ['Budget: Create', { resource: 'budget', operation: 'create', limitUsd: '5' }],
    ['Run: Get', { resource: 'run', operation: 'get', runId: '={{ $json.data.run.run_id }}' }],
    ['Run: Stop', { resource: 'run', operation: 'stop', runId: '={{ $json.data.run.run_id }}' }],
    ['Session: Get', { resource: 'session', operation: 'get', sessionId: 'ada' }],
  ])('starts a workflow by runs of the Workflow ID that %s states, since that makes none', async (title, parameters) => {
    const base = triggerOf({ events: ['run.ended'], workflow: 'watched' });
    const behind = nodeOf(credentialOf(gateway), { name: title, parameters: { ...parameters, attribution: { workflowId: 'watched' } } });
    const connections = { 'Runpurse Trigger': { main: [[{ node: title, type: 'main', index: 0 }]] } };
    const workflow = { ...base, nodes: [...base.nodes, behind], connections };
    expect(await hook(workflow, 'create')).toBe(true);
    const run_id = `watched-${workflow.id}`;
    await gateway.post('/v1/runs', { run_id, workflow_id: 'watched' });
    await gateway.post(`/v1/runs/${run_id}/end`, { status: 'completed' });
    const [delivery] = await delivered(1);
    const taken = await hook(workflow, 'receive', delivery);
    await hook(workflow, 'delete');
    expect(taken).toMatchObject({ items: [{ data: { run: { run_id } } }] });
  });

  it('that can not subscribe says why in words', async () => {
    const wrong = triggerOf({ events: ['run.ended'] }, credentialOf({ url: gateway.url, apiKey: 'rp_wrong' }));
    await expect(hook(wrong, 'create')).rejects.toThrow(/key/i);
    const away = triggerOf({ events: ['run.ended'] }, credentialOf({ url: 'http://127.0.0.1:9', apiKey: 'rp_x' }));
    await expect(hook(away, 'create')).rejects.toThrow("can't be reached");
  });
});
