import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from '@jest/globals';
import { createGateway } from './create-gateway.ts';
import { hashSecret } from './identify/index.ts';
import { handleModelCall } from './pipeline.ts';
import { WIRES, type Wire } from './wires/index.ts';

type Gateway = Awaited<ReturnType<typeof createGateway>>;

let directory: string;
let open: (Gateway | Server)[];
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'runpurse-pipeline-'));
  open = [];
});
afterEach(async () => {
  for (const one of open.reverse()) {
    if ('closeAllConnections' in one) one.closeAllConnections();
    await one.close();
  }
  rmSync(directory, { recursive: true, force: true });
});

async function openGateway(config: NonNullable<Parameters<typeof createGateway>[0]['config']>): Promise<Gateway> {
  const gateway = await createGateway({ directory, config });
  open.push(gateway);
  await gateway.store.putKey({
    keyId: 'key_1',
    hash: hashSecret('rp_test'),
    prefix: 'rp_te',
    workspaceId: 'w',
    agentId: undefined,
    memberId: undefined,
    label: undefined,
    admin: false,
    createdAt: 0,
    revokedAt: undefined,
  });
  return gateway;
}

async function listen(listener: RequestListener): Promise<string> {
  const server = createServer(listener).listen(0, '127.0.0.1');
  open.push(server);
  await once(server, 'listening');
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function chatWire(): Wire {
  const chat = WIRES.get('/v1/chat/completions');
  if (chat === undefined) throw new Error('the chat wire is gone');
  return chat;
}

const CALL = {
  method: 'POST',
  headers: { authorization: 'Bearer rp_test', 'alephant-run-id': 'r' },
  body: JSON.stringify({ model: 'sandbox/echo', messages: [{ role: 'user', content: 'Hello' }] }),
};

it('a fault of ours between the hold and the call gives the hold back: nothing was called', async () => {
  const gateway = await openGateway({ budgets: [{ scope: 'run', limit_usd: '1' }] });
  const faulty: Wire = {
    ...chatWire(),
    changeBody() {
      throw new Error('a fault of ours');
    },
  };
  const faults: unknown[] = [];
  const url = await listen((request, response) => {
    handleModelCall(gateway, faulty, request, response, '').catch((fault: unknown) => {
      faults.push(fault);
      response.writeHead(500).end();
    });
  });
  const answer = await fetch(url, CALL);
  expect(answer.status).toBe(500);
  expect(faults).toEqual([new Error('a fault of ours')]);
  expect(gateway.admission.openCount).toBe(0);
  expect(gateway.admission.budgetStates({ workspaceId: 'w', runId: 'r' })[0]).toMatchObject({ held: 0n, settled: 0n });
});

it.each([
  ['', '', '/openai/v1/chat/completions'],
  ['?api-version=2024-10-21', '', '/openai/v1/chat/completions?api-version=2024-10-21'],
  ['', '?beta=true', '/openai/v1/chat/completions?beta=true'],
  ['?api-version=2024-10-21', '?beta=true', '/openai/v1/chat/completions?api-version=2024-10-21&beta=true'],
])('a base URL with the query %j and a call with %j reach the provider at %s', async (ofProvider, ofCall, expected) => {
  const seen: (string | undefined)[] = [];
  const provider = await listen((request, response) => {
    seen.push(request.url);
    response.writeHead(200, { 'content-type': 'application/json' }).end('{}');
  });
  const gateway = await openGateway({
    providers: [{ name: 'sandbox', kind: 'openai', base_url: `${provider}/openai/v1${ofProvider}`, api_key: 'k' }],
  });
  const url = await listen((request, response) => void handleModelCall(gateway, chatWire(), request, response, ofCall));
  expect((await fetch(url, CALL)).status).toBe(200);
  expect(seen).toEqual([expected]);
});
