import { createServer } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { setTimeout as after } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { startGateway, type RunningGateway } from '@runpurse/conformance';
import { startN8n, type N8n, type Played } from './n8n.mts';
import { chainOf, credentialOf, nodeOf, type Credential, type NodeSpec } from './workflows.mts';

/** What an operation is charged as, and where its item goes on, when ids are stated, executions share a run, or something goes wrong. */

let gateway: RunningGateway;
let n8n: N8n;
let credential: Credential;
let executions = 0;

beforeAll(async () => {
  gateway = await startGateway({
    admin: true,
    config: {
      rate: { requests_per_minute: 10_000 },
      providers: [{ name: 'sandbox', kind: 'sandbox' }],
      tools: [{ name: 'lookup', price_usd: '0.002' }],
      policy: { tools: { deny: ['refund'] } },
    } as never,
  });
  credential = credentialOf(gateway);
  n8n = await startN8n();
}, 60_000);

afterAll(async () => {
  await (n8n as N8n | undefined)?.stop();
  await (gateway as RunningGateway | undefined)?.remove();
});

const nodeFor = (resource: string, operation: string, name: string, more: object = {}, fields: object = {}): NodeSpec => ({
  name,
  parameters: { resource, operation, ...more },
  ...fields,
});
const authorize = (name: string, more: object = {}, fields: object = {}): NodeSpec =>
  nodeFor('spend', 'authorize', name, { tool: 'sms', estimatedUsd: '0.05', ...more }, fields);
const settle = (name: string, more: object = {}): NodeSpec => nodeFor('spend', 'settle', name, more);
const record = (name: string, more: object = {}): NodeSpec => nodeFor('event', 'record', name, more);
const end = (name: string, more: object = {}): NodeSpec => nodeFor('run', 'end', name, more);
const items = (count: number): { json: object }[] => Array.from({ length: count }, (_, at) => ({ json: { n: at + 1 } }));

async function play(
  nodes: readonly NodeSpec[],
  more: { input?: { json: object }[]; as?: Credential; mode?: string; signal?: AbortSignal } = {},
): Promise<Played & { id: string }> {
  const id = `place-${(executions += 1)}`;
  const { as = credential, ...options } = more;
  return { id, ...(await n8n.execute({ workflow: chainOf(as, nodes), executionId: id, ...options })) };
}

/** Asks again until it is so, for at most some seconds. */
async function until(isSo: () => Promise<boolean>): Promise<void> {
  for (let tries = 1; ; tries += 1) {
    try {
      if (await isSo()) return;
    } catch (error) {
      if (tries >= 50) throw error;
    }
    if (tries >= 50) throw new Error('it did not come to that');
    await after(100);
  }
}

const outputsOf = (played: Played, node: string): Record<string, unknown>[] => played.nodes[node]?.[0]?.items.map(({ json }) => json) ?? [];
const costOf = async (runId: string): Promise<unknown> => (await gateway.readRun(runId))?.cost.total_usd;

describe('an item that fails where n8n is to go on by the error output', () => {
  const at = { attribution: { sessionId: '={{ $json.who }}', runId: '={{ $json.who }}-{{ $execution.id }}' } };
  it.each<readonly [string, NodeSpec]>([
    ['Authorize', authorize('Op', { tool: '={{ $json.tool }}' })],
    ['Settle', settle('Op', { toolCallId: '={{ $json.bad ? "" : "c1" }}', runId: '={{ "r" }}', tool: 'sms', costUsd: '0.01' })],
    ['Start', nodeFor('run', 'start', 'Op', { limitUsd: '={{ $json.bad ? "much" : "1" }}', ...at })],
    ['End', end('Op', { revenueUsd: '={{ $json.bad ? "much" : "1" }}', ...at })],
    ['Get', nodeFor('session', 'get', 'Op', { attribution: { sessionId: '={{ $json.bad ? "nobody" : "known" }}' } })],
    ['Create', nodeFor('budget', 'create', 'Op', { limitUsd: '={{ $json.bad ? "much" : "1" }}' })],
    ['Record', record('Op', { metadata: '={{ $json.bad ? "[" : "{}" }}' })],
    [
      'Complete',
      nodeFor('chat', 'complete', 'Op', { model: '={{ $json.bad ? "nope" : "sandbox/echo" }}', prompt: 'hi', options: { maxTokens: 9 } }),
    ],
  ])('%s: goes there, and only it', async (_, operation) => {
    await gateway.post('/v1/runs', { run_id: 'knows', session_id: 'known' });
    const workflow = chainOf(credential, [
      { ...operation, onError: 'continueErrorOutput' },
      { name: 'Pay', type: 'n8n-nodes-base.noOp' },
    ]);
    const onError = nodeOf(credential, { name: 'Refused', type: 'n8n-nodes-base.noOp' });
    const to = (node: string) => [{ node, type: 'main', index: 0 }];
    const connections = { ...workflow.connections, Op: { main: [to('Pay'), to('Refused')] } };
    const played = await n8n.execute({
      workflow: { ...workflow, nodes: [...workflow.nodes, onError], connections },
      executionId: `place-${(executions += 1)}`,
      input: [{ json: { who: 'ann', tool: 'sms' } }, { json: { who: 'bob', tool: 'refund', bad: true } }],
    });
    expect(played.error).toBeUndefined();
    expect([outputsOf(played, 'Pay').length, outputsOf(played, 'Refused').length]).toEqual([1, 1]);
    expect(outputsOf(played, 'Refused')[0]).toMatchObject({ error: expect.stringMatching(/\w/) });
    expect(outputsOf(played, 'Pay')[0]).not.toHaveProperty('error');
  });
});

describe('what happens several times is counted as often', () => {
  const stated = { attribution: { stepId: 'pay' } };

  it('under one stated Step ID: three payments are three', async () => {
    const played = await play([authorize('Authorize', stated), settle('Settle', { costUsd: '0.05' })], { input: items(3) });
    expect(outputsOf(played, 'Settle').map((json) => json['alreadySettled'])).toEqual([false, false, false]);
    expect(await costOf(played.id)).toBe('0.15');
  });

  it('under one stated Step ID: three events are three', async () => {
    const played = await play([record('Note', { metadata: '{"cost_usd":"0.01"}', ...stated })], { input: items(3) });
    expect(outputsOf(played, 'Note').map((json) => json['alreadyKnown'])).toEqual([false, false, false]);
  });

  it('in executions that share a stated Run ID, such as those of a sub-workflow, but not when one of them is tried again', async () => {
    const attribution = { runId: 'shared-1' };
    const nodes = [authorize('Authorize', { attribution }), settle('Settle', { costUsd: '0.05' }), record('Note', { attribution })];
    const [one, two] = [await play(nodes), await play(nodes)];
    expect([one, two].map((played) => outputsOf(played, 'Note')[0]?.['alreadyKnown'])).toEqual([false, false]);
    expect(await costOf('shared-1')).toBe('0.1');

    const open = [authorize('Authorize', { attribution: { runId: 'shared-2' } })];
    const keys = [await play(open), await play(open)].map((played) => outputsOf(played, 'Authorize')[0]?.['toolCallId']);
    expect(new Set(keys).size).toBe(2);
    expect((await gateway.readRun('shared-2'))?.tools).toHaveLength(2);

    const again = { workflow: chainOf(credential, open), executionId: `place-${executions}` };
    expect(outputsOf(await n8n.execute(again), 'Authorize')[0]?.['toolCallId']).toBe(keys[1]);
  });

  it('but once when a retried execution goes on in the run of the first', async () => {
    const first = await play([authorize('Authorize')]);
    const retried = await play([authorize('Authorize', { attribution: { runId: first.id } })], { mode: 'retry' });
    expect(outputsOf(retried, 'Authorize')[0]).toMatchObject({ toolCallId: 'Authorize', runId: first.id });
    expect((await gateway.readRun(first.id))?.tools).toHaveLength(1);
  });

  it('made at once under one name, a budget is one', async () => {
    const create = nodeFor('budget', 'create', 'Create', { budgetName: 'at-once', scope: 'customer', scopeId: 'c', limitUsd: '5' });
    const made = await Promise.all(Array.from({ length: 5 }, () => play([create])));
    expect(new Set(made.map((played) => outputsOf(played, 'Create')[0]?.['budget_id'])).size).toBe(1);
  });
});

describe('what comes out otherwise than the item said is told', () => {
  const warningsOf = (played: Played, node: string) => [outputsOf(played, node)[0]?.['warnings'], played.nodes[node]?.[0]?.hints];

  it('a cost after the end of its hold', async () => {
    const brief = await startGateway({
      config: { store: { authorization_ttl_s: 0.5 }, providers: [{ name: 'sandbox', kind: 'sandbox' }] } as never,
    });
    const as = credentialOf(brief);
    const asked = await play([authorize('Authorize')], { as });
    await until(async () => {
      // The gateway looks for holds that have ended when it is asked something.
      await play([authorize('Other')], { as });
      return (await brief.readRun(asked.id))?.tools[0]?.status !== 'open';
    });
    const input = [{ json: outputsOf(asked, 'Authorize')[0] ?? {} }];
    const paid = await play([settle('Settle', { costUsd: '0.20' })], { as, input });
    const unused = await play([settle('Settle', { status: 'released' })], { as, input });
    await brief.remove();
    const warning = expect.stringMatching(
      /^Tool call Authorize is charged \$0\.05, not \$0\.20: it was settled before, or its hold had ended/,
    );
    expect(warningsOf(paid, 'Settle')).toEqual([[warning], [warning]]);
    expect(outputsOf(unused, 'Settle')[0]?.['warnings']).toEqual([expect.stringContaining('is charged $0.05, not $0')]);
  });

  it("a cost beside the gateway's own price, but none that is the same", async () => {
    const played = await play([authorize('Authorize', { tool: 'lookup' }), settle('Settle', { costUsd: '0.20' })]);
    expect(outputsOf(played, 'Settle')[0]?.['warnings']).toEqual([expect.stringMatching(/charged \$0\.002, not \$0\.20: .*own price/)]);
    const same = await play([authorize('Authorize'), settle('Settle', { costUsd: '0.050' }), settle('Again', { costUsd: '0.05' })]);
    expect([...outputsOf(same, 'Settle'), ...outputsOf(same, 'Again')].map((json) => json['warnings'])).toEqual([undefined, undefined]);
  });

  it('revenue of a run that had ended', async () => {
    const played = await play([end('End', { revenueUsd: '={{ $json.n }}' })], { input: items(2) });
    const warning = expect.stringContaining('has a revenue of $1, not of the $2 stated here');
    expect(outputsOf(played, 'End').map((json) => json['warnings'])).toEqual([undefined, [warning]]);
    expect(played.nodes['End']?.[0]?.hints).toEqual([warning]);
  });
});

describe('an execution that is cancelled while it tells the gateway', () => {
  /** The gateway, slow at one path; the stop button is pressed once it was asked there. */
  async function slowAt(path: string): Promise<{ as: Credential; signal: AbortSignal; close(): void }> {
    const stop = new AbortController();
    const door = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        void (async () => {
          if (request.url?.includes(path) === true) {
            stop.abort();
            await after(400);
          }
          if (request.socket.destroyed) return;
          const headers = { 'content-type': 'application/json', authorization: String(request.headers.authorization) };
          const body = chunks.length === 0 ? undefined : Buffer.concat(chunks);
          const reply = await fetch(`${gateway.url}${request.url}`, { method: request.method ?? 'GET', headers, ...(body && { body }) });
          response.writeHead(reply.status, { 'content-type': 'application/json' }).end(await reply.text());
        })();
      });
    }).listen(0, '127.0.0.1');
    await once(door, 'listening');
    const baseUrl = `http://127.0.0.1:${(door.address() as AddressInfo).port}`;
    return { as: { ...credential, baseUrl }, signal: stop.signal, close: () => door.close() };
  }

  it.each<readonly [string, string, readonly NodeSpec[], object]>([
    ['a cost', '/settle', [authorize('A'), settle('B', { costUsd: '0.20' })], { cost: { total_usd: '0.2' } }],
    ['revenue', '/end', [end('B', { revenueUsd: '5' })], { status: 'completed', revenue_usd: '5' }],
    ['an event', '/events', [authorize('A'), record('B', { eventType: 'run.failed' })], { status: 'failed' }],
  ])('has told it %s', async (_, path, nodes, told) => {
    const { close, ...slow } = await slowAt(path);
    const played = await play(nodes, slow);
    expect(played.status).toBe('canceled');
    await until(async () => {
      expect(await gateway.readRun(played.id)).toMatchObject(told);
      return true;
    });
    close();
  });

  it('does not say that the gateway is away', async () => {
    const { close, ...slow } = await slowAt('/authorize');
    const played = await play([authorize('A')], slow);
    close();
    expect(JSON.stringify(played)).not.toMatch(/can't be reached|unchecked/);
    expect(played.nodes['A']?.[0]?.error?.message).toBe('The execution was cancelled');
  });
});

describe('a mistake is no gateway that is away', () => {
  it.each(['127.0.0.1:8787', '', 'ftp://gateway', 'http://gateway?x=1', 'http://'])('in the Gateway URL: %s', async (baseUrl) => {
    const played = await play([authorize('A'), settle('B')], { as: { ...credential, baseUrl } });
    expect(played.error?.message).toContain('The Gateway URL of the Runpurse credential is no address of a gateway');
    expect(played.nodes['B']).toBeUndefined();
  });

  it('and an address shows no password', async () => {
    const as = { ...credential, baseUrl: 'http://bob:s3cret-word@127.0.0.1:9' };
    expect(JSON.stringify(await play([authorize('A')], { as }))).not.toContain('s3cret-word');
  });

  it.each([
    ['={{ 12345678901234567 }}', 'a number of so many digits is not exact: give it as text'],
    ['={{ 1e-10 }}', 'a number of so many digits is not exact: give it as text'],
  ])('in an ID: %s', async (sessionId, said) => {
    const played = await play([authorize('A', { attribution: { sessionId } })]);
    expect(played.error?.message).toContain(`Session ID under Attribution is`);
    expect(played.error?.message).toContain(said);
  });

  it('in an amount that rounds to nothing', async () => {
    const played = await play([nodeFor('run', 'start', 'A', { limitUsd: '={{ 4e-10 }}' })]);
    expect(played.error?.message).toContain('with at most 9 decimals');
  });

  it.each([
    [{ urls: 'file:///etc/hosts' }, 'give addresses of images that begin with http:// or https://'],
    [{ urls: 'https://x.test/a.png, b.png' }, 'give addresses of images that begin with http:// or https://'],
    [{ binaryFields: 'data' }, 'name fields that hold an image'],
  ])('in an image: %p', async (images, said) => {
    const chat = nodeFor('chat', 'complete', 'A', { model: 'sandbox/echo', prompt: 'hi', images, options: { maxTokens: 9 } });
    const input = [{ json: {}, binary: { data: { data: 'JVBERg==', mimeType: 'application/pdf', fileName: 'a.pdf' } } }];
    expect((await play([chat], { input })).error?.message).toContain(said);
  });
});
