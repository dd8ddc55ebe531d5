import { spawnSync } from 'node:child_process';
import type { DrainedRequest, GatewayClient } from '../client/client.ts';

const SIGNALS = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 } as const;
const EXIT_FLUSH_MS_MAX = 5_000;

/** Clients still to be flushed. One set of listeners serves them all. */
const clients = new Set<GatewayClient>();
/** Tried at the process's end in vain: trying on would keep a finished process alive. */
const givenUp = new WeakSet<GatewayClient>();
let isListening = false;

/**
 * Delivers what waits when the process ends: on a natural end and on a signal asynchronously, after `process.exit()` and
 * uncaught errors by a short-lived child process, since nothing asynchronous runs then. Only when events wait.
 */
export function flushOnExit(client: GatewayClient): void {
  for (const known of clients) if (known.isClosed && known.pending === 0) clients.delete(known);
  clients.add(client);
  if (isListening) return;
  isListening = true;
  process.on('beforeExit', () => void flushAll());
  process.on('exit', deliverSynchronously);
  for (const signal of Object.keys(SIGNALS) as (keyof typeof SIGNALS)[]) process.on(signal, onSignal);
}

/** One attempt. `beforeExit` comes again after it, so a client whose gateway is away is not tried a second time. */
async function flushAll(): Promise<void> {
  const waiting = [...clients].filter((client) => client.pending > 0 && !givenUp.has(client));
  await Promise.all(
    waiting.map(async (client) => {
      if ((await client.flush()) > 0) givenUp.add(client);
    }),
  );
}

/** The host's own listener decides whether a signal ends the process; without one the signal does what it always did. */
function onSignal(signal: keyof typeof SIGNALS): void {
  const isOnlyListener = process.listenerCount(signal) === 1;
  const done = flushAll();
  if (!isOnlyListener) return;
  void done.finally(() => {
    process.removeListener(signal, onSignal);
    process.kill(process.pid, signal);
  });
}

function deliverSynchronously(): void {
  const requests = [...clients].filter((client) => !givenUp.has(client)).flatMap((client) => client.drain());
  if (requests.length === 0) return;
  spawnSync(process.execPath, ['--input-type=commonjs', '--eval', SENDER], {
    input: Buffer.concat(requests.map((request: DrainedRequest) => Buffer.from(`${JSON.stringify(request)}\n`))),
    stdio: ['pipe', 'ignore', 'ignore'],
    timeout: EXIT_FLUSH_MS_MAX,
    env: { ...process.env, NODE_OPTIONS: '', ELECTRON_RUN_AS_NODE: '1' },
    windowsHide: true,
  });
}

/**
 * Runs in the child: the requests come by stdin (the key never stands in a process list), each a line, since all of them may
 * be more than one string holds. Each is sent once, in order.
 */
const SENDER = `
async function send({ url, headers, body }) {
  await fetch(url, { method: 'POST', headers, body, redirect: 'manual', signal: AbortSignal.timeout(2000) }).catch(() => {});
}
(async () => {
  let rest = '';
  for await (const chunk of process.stdin.setEncoding('utf8')) {
    const lines = (rest + chunk).split('\\n');
    rest = lines.pop();
    for (const line of lines) await send(JSON.parse(line));
  }
  process.exit(0);
})();
`;
