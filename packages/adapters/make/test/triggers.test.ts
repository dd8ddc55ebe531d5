import { createServer, type Server } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import type { RunningGateway } from '@runpurse/conformance';
import { app, connect, startTestGateway } from './gateway.ts';
import { openConnection, type Bundle, type Player, type PollState } from './renderer/play.ts';

let gateway: RunningGateway;
let player: Player;
beforeAll(async () => {
  gateway = await startTestGateway({
    budgets: [{ scope: 'session', id: 'thrifty', limit_usd: '0.004', action: 'block', thresholds: [50] }],
    webhooks: { private_addresses: 'allow' },
  });
  player = await connect(gateway);
});
afterAll(() => gateway.remove());

async function endedRun(run_id: string, workflow_id = 'flow-1'): Promise<void> {
  await player.action('startRun', { run_id, workflow_id, session_id: `of ${run_id}` });
  await player.action('endRun', { run_id, revenue_usd: 0.5 });
}
const refusedCall = (run_id: string): Promise<Bundle> =>
  player.action('authorizeSpend', { run_id, tool: 'refund', spend_id: 'refund', workflow_id: 'flow-1', on_refusal: 'continue' });
async function crossedThreshold(run_id: string): Promise<void> {
  await player.action('startRun', { run_id, session_id: 'thrifty' });
  for (const tool of ['order_lookup']) {
    await player.action('authorizeSpend', { run_id, tool, spend_id: tool });
    await player.action('recordToolCost', { run_id, tool, spend_id: tool });
  }
}

/** The address Make makes for a hook: notes what comes, and answers what the app's webhook says. */
interface Hook {
  readonly url: string;
  readonly bundles: Bundle[];
  /** Answers the next so many deliveries with a 500, as an outage at Make would. */
  failNext: number;
  close(): Promise<void>;
}
async function openHook(webhook: string): Promise<Hook> {
  const bundles: Bundle[] = [];
  const server: Server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const { status, bundle } = player.receive(webhook, JSON.parse(Buffer.concat(chunks).toString('utf8')));
      bundles.push(bundle);
      hook.failNext -= 1;
      response.writeHead(hook.failNext >= 0 ? 500 : status).end();
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const hook: Hook = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`,
    bundles,
    failNext: 0,
    close: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
  return hook;
}

async function until(holds: () => boolean, ms = 20_000): Promise<void> {
  const giveUpAt = Date.now() + ms;
  while (!holds()) {
    if (Date.now() > giveUpAt) throw new Error('it did not come about');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

describe('an instant trigger', () => {
  let hook: Hook;
  let kept: Bundle | undefined;
  let webhook: string;
  const open = async (id: string, given?: Bundle): Promise<void> => {
    webhook = id;
    hook = await openHook(id);
    kept = await player.attach(id, hook.url, given);
  };
  beforeEach(() => {
    kept = undefined;
  });
  afterEach(async () => {
    if (kept !== undefined) await player.detach(webhook, kept).catch(() => undefined);
    await hook.close();
  });

  const rows: readonly (readonly [hook: string, cause: (id: string) => Promise<unknown>, expected: Bundle])[] = [
    [
      'runEnded',
      endedRun,
      { run_id: 'instant runEnded', status: 'completed', revenue_usd: '0.5', margin_usd: '0.5', workflow_id: 'flow-1' },
    ],
    [
      'budgetThreshold',
      crossedThreshold,
      {
        level: 'session',
        scope_id: 'thrifty',
        threshold_percent: 50,
        cap_usd: '0.004',
        spent_usd: '0.003',
        run_id: 'instant budgetThreshold',
      },
    ],
    [
      'callRefused',
      refusedCall,
      { run_id: 'instant callRefused', kind: 'tool', name: 'refund', code: 'policy_denied', blocked_by: 'tools.deny', workflow: 'flow-1' },
    ],
  ];
  it.each(rows)(
    '%s hears of it by the hook it registered, and the polling trigger lists the same under the same ID',
    async (id, cause, expected) => {
      await open(id);
      await cause(`instant ${id}`);
      await until(() => hook.bundles.length > 0);
      const [bundle] = hook.bundles;
      expect(bundle).toMatchObject({ ...expected, notice_id: expect.stringMatching(/^ntc_/), happened_at: expect.any(String) });
      const polled = await player.poll(`poll${id.charAt(0).toUpperCase()}${id.slice(1)}`, { date: 0, ids: [] }, { limit: 1000 });
      expect(polled.filter((notice) => notice['notice_id'] === bundle?.['notice_id'])).toEqual([bundle]);
      const names = (
        app.find('module', `watch${id.charAt(0).toUpperCase()}${id.slice(1)}`).code['interface'] as readonly { name: string }[]
      ).map(({ name }) => name);
      expect(Object.keys(bundle ?? {}).filter((name) => !names.includes(name))).toEqual([]);
    },
  );

  it('hears of its workflow alone when it was told one', async () => {
    await open('runEnded', { workflow: 'flow-2' });
    await endedRun('not mine', 'flow-1');
    await endedRun('mine', 'flow-2');
    await until(() => hook.bundles.length > 0);
    expect(hook.bundles.map((bundle) => bundle['run_id'])).toEqual(['mine']);
  });

  it('hears again, under the same ID, what Make could not take', async () => {
    await open('runEnded');
    hook.failNext = 1;
    await endedRun('twice told');
    await until(() => hook.bundles.length > 1, 30_000);
    expect(hook.bundles[1]).toEqual(hook.bundles[0]);
  });

  it('that is removed hears nothing more', async () => {
    await open('runEnded');
    if (kept === undefined) throw new Error('not attached');
    // The second time, as when somebody removed it at the gateway.
    for (let twice = 0; twice < 2; twice += 1) await player.detach('runEnded', kept);
    kept = undefined;
    await endedRun('unheard');
    const { body } = await player.action('makeApiCall', { url: '/v1/webhooks' });
    expect(body).toEqual({ data: [] });
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(hook.bundles).toEqual([]);
  });
});

describe('a polling trigger', () => {
  it('hands each run on once, oldest first, over many cycles and pages, and then what came since', async () => {
    const state: PollState = { date: Date.now(), ids: [] };
    await new Promise((resolve) => setTimeout(resolve, 5));
    const ids = Array.from({ length: 120 }, (_, index) => `polled ${index}`);
    for (const id of ids) await endedRun(id, 'polled');
    const heard: unknown[] = [];
    for (let cycle = 0; cycle < 20; cycle += 1)
      heard.push(...(await player.poll('pollRunEnded', state, { workflow: 'polled', limit: 17 })).map((bundle) => bundle['run_id']));
    expect([...heard].sort()).toEqual([...ids].sort());
    expect(heard[0]).toBe(ids[0]);
    await endedRun('polled later', 'polled');
    expect((await player.poll('pollRunEnded', state, { workflow: 'polled' })).map((bundle) => bundle['run_id'])).toEqual(['polled later']);
    expect(await player.poll('pollRunEnded', state, { workflow: 'polled' })).toEqual([]);
  });

  it('tells notices of one moment apart by their ids', async () => {
    const notice = (id: string) => ({ id, type: 'run.ended', created_at: '2026-11-24T09:00:00.000Z', data: { run: { run_id: id } } });
    const server = createServer((request, response) => {
      request.resume();
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ data: [notice('ntc_b'), notice('ntc_a')], next: null }));
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    try {
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
      const other = await openConnection(app, { url, apiKey: 'rp_x' }, { verify: false });
      const state: PollState = { date: 0, ids: [] };
      const cycle = async () => (await other.poll('pollRunEnded', state, { limit: 1 })).map((bundle) => bundle['run_id']);
      expect([await cycle(), await cycle(), await cycle()]).toEqual([['ntc_a'], ['ntc_b'], []]);
    } finally {
      server.closeAllConnections();
      server.close();
    }
  });
});
