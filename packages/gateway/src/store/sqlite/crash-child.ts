import { openSqliteStore } from './open.ts';

/**
 * A process for the crash test to kill: appends without end to the ledger in its first argument and says on standard
 * output, a line each, which reservations are durable. The test takes its word.
 */
const [directory = '', generation = '0'] = process.argv.slice(2);
const store = await openSqliteStore({ directory, durability: 'full' });
let lastId = 0;

async function callForEver(caller: number): Promise<never> {
  for (;;) {
    lastId += 1;
    const id = `req_${generation}_${lastId}`;
    const call = { workspaceId: 'acme', keyId: 'key_1', runId: `run_${caller}`, sessionId: 'session_1' } as const;
    await store.append([
      { type: 'reserve', at: Date.now(), id, kind: 'model', name: 'gpt-4o-mini', attempt: 1, source: 'gateway', hold: '1000', ...call },
    ]);
    process.stdout.write(`${id}\n`);
    store.appendBehind([{ type: 'settle', at: Date.now(), id, workspaceId: 'acme', runId: call.runId, status: 'completed', cost: '700' }]);
  }
}

await Promise.all(Array.from({ length: 32 }, (_, caller) => callForEver(caller)));
