import { createGateway } from '../create-gateway.ts';
import { mintKey } from '../cli/mint-key.ts';
import { startServer } from '../server.ts';

/** A gateway in a process of its own for the crash test to kill; prints its address and, with a second argument, a new key. */
const [directory = '', workspaceId] = process.argv.slice(2);
const gateway = await createGateway({ directory });
const server = await startServer(gateway);
let key: string | undefined;
if (workspaceId !== undefined) {
  const { secret, stored } = mintKey({ workspaceId, admin: true }, gateway.ids, gateway.clock.now());
  await gateway.store.putKey(stored);
  key = secret;
}
process.stdout.write(`${JSON.stringify({ url: server.url, key })}\n`);
