import { createGatewayClient } from '../client/gateway-client.ts';
import type { GatewayClient, GatewayClientOptions, Problem } from '../client/client.ts';
import { axiosTransport } from './axios-transport.ts';
import { flushOnExit } from './flush-on-exit.ts';
import { nodeIds, nodeTimers } from './node-host.ts';

type Injected = 'transport' | 'timers' | 'ids' | 'random';

/** Options of a client in Node: what core wants injected has a default here. */
export interface NodeClientOptions extends Omit<GatewayClientOptions, Injected>, Partial<Pick<GatewayClientOptions, Injected>> {
  /** Deliver what waits when the process ends, however it ends short of SIGKILL. Default true. */
  readonly flushOnExit?: boolean | undefined;
}

/**
 * The gateway client for Node: axios, the system's clock, and nothing lost at exit.
 *
 * ```ts
 * const client = createClient({ baseUrl: 'http://127.0.0.1:8787', apiKey: process.env.RUNPURSE_KEY, source: 'custom' });
 * const run = client.run({ sessionId: 'customer_492', limitUsd: '0.50' });
 * orThrow(await run.start());
 * ```
 */
export function createClient({ flushOnExit: flushes = true, ...options }: NodeClientOptions): GatewayClient {
  const client = createGatewayClient({
    transport: axiosTransport(),
    timers: nodeTimers,
    ids: nodeIds,
    random: Math.random,
    onProblem: warn,
    ...options,
  });
  if (flushes) flushOnExit(client);
  return client;
}

const WARN_AGAIN_MS = 60_000;
const warnedAt = new Map<Problem['code'], number>();

/** Problems nobody listens to become process warnings, each kind once a minute. */
function warn({ code, message }: Problem): void {
  const now = Date.now();
  if (now - (warnedAt.get(code) ?? -WARN_AGAIN_MS) < WARN_AGAIN_MS) return;
  warnedAt.set(code, now);
  process.emitWarning(message, { type: 'RunpurseWarning', code: `RUNPURSE_${code.toUpperCase()}` });
}
