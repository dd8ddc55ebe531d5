import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { once } from 'node:events';
import { expect, it } from '@jest/globals';
import { createGateway } from './create-gateway.ts';
import { hashSecret } from './identify/index.ts';
import { handleModelCall } from './pipeline.ts';
import { WIRES, type Wire } from './wires/index.ts';

it('a fault of ours between the hold and the call gives the hold back: nothing was called', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'runpurse-pipeline-'));
  const gateway = await createGateway({ directory, config: { budgets: [{ scope: 'run', limit_usd: '1' }] } });
  const server = createServer();
  try {
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
    const chat = WIRES.get('/v1/chat/completions');
    if (chat === undefined) throw new Error('the chat wire is gone');
    const faulty: Wire = {
      ...chat,
      changeBody() {
        throw new Error('a fault of ours');
      },
    };
    const faults: unknown[] = [];
    server.on('request', (request, response) => {
      handleModelCall(gateway, faulty, request, response, '').catch((fault: unknown) => {
        faults.push(fault);
        response.writeHead(500).end();
      });
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const answer = await fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/chat/completions`, {
      method: 'POST',
      headers: { authorization: 'Bearer rp_test', 'alephant-run-id': 'r' },
      body: JSON.stringify({ model: 'sandbox/echo', messages: [{ role: 'user', content: 'Hello' }] }),
    });
    expect(answer.status).toBe(500);
    expect(faults).toEqual([new Error('a fault of ours')]);
    expect(gateway.admission.openCount).toBe(0);
    expect(gateway.admission.budgetStates({ workspaceId: 'w', runId: 'r' })[0]).toMatchObject({ held: 0n, settled: 0n });
  } finally {
    server.close();
    server.closeAllConnections();
    await gateway.close();
    rmSync(directory, { recursive: true, force: true });
  }
});
