import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { afterAll, beforeAll, expect, it, jest } from '@jest/globals';
import { verifyWebhook } from '@runpurse/core';
import { createGateway } from '../create-gateway.ts';
import { NOTICES_FILE } from './subscription-file.ts';

/** A real gateway, a real receiver, and kill -9 in between. */
const directory = mkdtempSync(join(tmpdir(), 'runpurse-webhooks-'));
const children: ChildProcess[] = [];
interface Delivery {
  readonly id: string;
  readonly headers: Record<string, string | string[] | undefined>;
  readonly body: string;
}
const deliveries: Delivery[] = [];
let respond: (response: ServerResponse) => void = (response) => response.end();
const receiver = createServer((request, response) => {
  let body = '';
  request.on('data', (chunk: Buffer) => (body += chunk.toString()));
  request.on('end', () => {
    deliveries.push({ id: String(request.headers['webhook-id']), headers: request.headers, body });
    respond(response);
  });
});

beforeAll(() => new Promise<void>((resolve) => receiver.listen(0, '127.0.0.1', resolve)));
afterAll(() => {
  for (const child of children) child.kill('SIGKILL');
  receiver.closeAllConnections();
  receiver.close();
  rmSync(directory, { recursive: true });
});

async function start(workspaceId?: string): Promise<{ url: string; key: string; child: ChildProcess }> {
  const script = fileURLToPath(new URL('./crash-child.ts', import.meta.url));
  const args = ['--conditions=runpurse-source', '--no-warnings', script, directory, ...(workspaceId === undefined ? [] : [workspaceId])];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  children.push(child);
  const [chunk] = (await once(child.stdout, 'data')) as [Buffer];
  return { ...(JSON.parse(chunk.toString()) as { url: string; key: string }), child };
}

async function until(what: () => boolean): Promise<void> {
  for (const deadline = Date.now() + 20_000; !what();) {
    if (Date.now() > deadline) throw new Error(`waited in vain; received ${JSON.stringify(deliveries.map(({ id }) => id))}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

it('a gateway killed while it delivers sends the same notice again, with the same id, and forgets none', async () => {
  const first = await start('acme');
  const call = async (url: string, path: string, body?: unknown): Promise<{ status: number; body: Record<string, unknown> }> => {
    const response = await fetch(`${url}${path}`, {
      method: body === undefined ? 'GET' : 'POST',
      headers: { authorization: `Bearer ${first.key}`, 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    return { status: response.status, body: (await response.json()) as Record<string, unknown> };
  };
  const address = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/hook`;
  const made = await call(first.url, '/v1/webhooks', { url: address, events: ['run.ended'] });
  expect(made.status).toBe(201);
  // Its secrets are for the gateway's own user.
  expect(statSync(join(directory, NOTICES_FILE)).mode & 0o077).toBe(0);

  // The receiver takes the notice and never answers: the gateway can't know whether it arrived.
  respond = () => undefined;
  for (const runId of ['r1', 'r2']) {
    await call(first.url, '/v1/runs', { run_id: runId });
    await call(first.url, `/v1/runs/${runId}/end`, { status: 'completed', revenue_usd: '1' });
  }
  await until(() => deliveries.length >= 1);
  const before = new Set(deliveries.map(({ id }) => id));
  const killed = once(first.child, 'exit');
  first.child.kill('SIGKILL');
  await killed;

  respond = (response) => response.end();
  deliveries.length = 0;
  const second = await start();
  await call(second.url, '/v1/runs', { run_id: 'r3' });
  await call(second.url, '/v1/runs/r3/end', { status: 'failed', reason: 'x' });
  const idsOf = async (): Promise<string[]> =>
    ((await call(second.url, '/v1/notices?type=run.ended')).body['data'] as { id: string }[]).map(({ id }) => id);
  await until(() => new Set(deliveries.map(({ id }) => id)).size >= 3);
  const told = new Set(deliveries.map(({ id }) => id));
  expect(told).toEqual(new Set(await idsOf()));
  for (const id of before) expect(told).toContain(id);
  for (const { headers, body } of deliveries)
    expect(verifyWebhook({ secret: String(made.body['secret']), headers, body, now: Date.now() }).type).toBe('genuine');
  const listed = (await call(second.url, '/v1/webhooks')).body['data'] as Record<string, unknown>[];
  expect(listed).toMatchObject([{ id: made.body['id'], pending: 0, last_delivery: { status: 200 } }]);
  expect(listed[0]).not.toHaveProperty('secret');
  const stopped = once(second.child, 'exit');
  second.child.kill('SIGKILL');
  await stopped;
});

it('a gateway whose webhooks can not be read says so and does not start; without the file it does', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'runpurse-webhooks-'));
  writeFileSync(join(folder, NOTICES_FILE), 'this is no database, whatever it is called; '.repeat(200));
  await expect(createGateway({ directory: folder })).rejects.toThrow(/webhooks in .*notices\.db can't be read: .*not a database/);
  rmSync(join(folder, NOTICES_FILE));
  const gateway = await createGateway({ directory: folder });
  expect(await gateway.notifier.list('acme')).toEqual([]);
  await gateway.close();
  rmSync(folder, { recursive: true });
});

it('a thread that ends by a fault is started again, says so, and goes on where it was', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'runpurse-webhooks-'));
  const said: string[] = [];
  const errors = jest.spyOn(process.stderr, 'write').mockImplementation((text) => said.push(String(text)) > 0);
  const gateway = await createGateway({ directory: folder });
  const messages = jest.spyOn(Worker.prototype, 'postMessage');
  const subscription = {
    id: 'whk_1',
    workspaceId: 'acme',
    keyId: 'k',
    url: `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/`,
    events: ['run.ended' as const],
    createdAt: 0,
  };
  await gateway.notifier.add(subscription);
  const thread = messages.mock.contexts.at(-1) as Worker;
  messages.mockRestore();
  await thread.terminate();
  const run = { workspaceId: 'acme', keyId: 'k', runId: 'r1' };
  deliveries.length = 0;
  await gateway.admission.startRun({ subject: { ...run, implicitRun: false } });
  await gateway.admission.endRun(run, { status: 'completed' });
  await until(() => deliveries.length === 1);
  expect(said.join('')).toContain('runpurse: notices: the thread that delivers them ended');
  expect(await gateway.notifier.list('acme')).toMatchObject([{ subscription: { id: 'whk_1' }, pending: expect.any(Number) }]);
  errors.mockRestore();
  await gateway.close();
  rmSync(folder, { recursive: true });
});
