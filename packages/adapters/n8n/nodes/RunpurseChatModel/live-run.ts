import { randomUUID } from 'node:crypto';
import { createGatewayClient, type GatewayClient, type Run, type Transport } from '@runpurse/core';
import { sleep, type ISupplyDataFunctions } from 'n8n-workflow';
import type { Place } from '../shared/attribution.ts';
import { send, type Caller, type Settings } from '../shared/transport.ts';
import type { WireMessage } from './wire.ts';

/** A tool call that the model asked for and the gateway allowed, until its result is seen. */
export interface OpenTool {
  readonly tool: string;
  readonly stepId: string;
}

/**
 * What is remembered of a run between the rounds of an agent: n8n makes a new model for each of them. Several agents of
 * one execution share it, so that what a nested agent does stands in the tool call that called it.
 */
export interface LiveRun {
  readonly client: GatewayClient;
  readonly run: Run;
  /** By the call's own id. */
  readonly open: Map<string, OpenTool>;
  /** What the model was told of calls that n8n never saw, by the id of the call it saw instead. */
  readonly told: Map<string, readonly WireMessage[]>;
  /** The calls' ids as their provider gave them, by their own. */
  readonly given: Map<string, string>;
  /** Who may talk to the gateway: the nodes at work, the newest last. Each holds all of its execution's data. */
  readonly callers: Set<Caller>;
  usedAtMs: number;
}

/** Executions under way at once, far more than an n8n runs; the oldest are forgotten first. */
const RUNS_MAX = 2_000;
/** What an agent that stopped in the middle leaves behind; holds do not last as long. */
const IDLE_MS_MAX = 24 * 60 * 60 * 1000;
/** How long until a gateway that is away is looked for again. */
const AWAY_MS = 30_000;
const runs = new Map<string, LiveRun>();

export function liveRunOf(context: ISupplyDataFunctions, settings: Settings, place: Place): LiveRun {
  const caller = context as unknown as Caller;
  const { runId, sessionId, workflowId, customerId } = place;
  const key = JSON.stringify([settings.baseUrl, runId, sessionId, workflowId, customerId, context.getNode().credentials]);
  const live = (runId === undefined ? undefined : runs.get(key)) ?? newRun(settings, place);
  live.callers.add(caller);
  live.usedAtMs = Date.now();
  runs.delete(key);
  runs.set(key, live);
  for (const [oldest, { usedAtMs }] of runs) {
    if (runs.size <= RUNS_MAX && Date.now() - usedAtMs <= IDLE_MS_MAX) break;
    runs.delete(oldest);
  }
  return live;
}

/** The node is done: its execution's data is let go, and the run with the last of its agents. */
export async function leave(live: LiveRun, context: ISupplyDataFunctions): Promise<void> {
  // Without an answer the events wait, and need somebody to send them.
  if ((await live.client.flush()) > 0 && live.callers.size === 1) return void sleep(AWAY_MS).then(() => leave(live, context));
  live.callers.delete(context);
  if (live.callers.size > 0 || live.open.size > 0 || live.told.size > 0 || live.given.size > 0) return;
  for (const [key, each] of runs) if (each === live) runs.delete(key);
}

function newRun(settings: Settings, place: Place): LiveRun {
  const transport: Transport = {
    async send({ method, url, headers, body, timeoutMs }) {
      const others = Object.fromEntries(Object.entries(headers).filter(([name]) => name.toLowerCase() !== 'authorization'));
      const { pathname, search } = new URL(url);
      const base = new URL(settings.baseUrl).pathname.replace(/\/$/, '');
      const caller = [...live.callers].at(-1);
      if (caller === undefined) throw new Error('no node of the execution is at work');
      const reply = await send(caller, settings.baseUrl, {
        method,
        path: `${pathname.slice(base.length)}${search}`,
        headers: others,
        ...(body !== undefined && { body: JSON.parse(body) as object }),
        timeoutMs,
        survivesCancel: true,
      });
      return { status: reply.status, headers: reply.headers, body: reply.text };
    },
  };
  const client = createGatewayClient({
    baseUrl: settings.baseUrl,
    // n8n puts the credential's key on each request itself.
    apiKey: 'kept-by-n8n',
    transport,
    timers: { now: () => Date.now(), sleep },
    ids: { next: (prefix) => `${prefix}_${randomUUID()}` },
    source: 'n8n',
    failurePolicy: { authorize: settings.failurePolicy },
    onProblem: ({ message }) => [...live.callers].at(-1)?.logger.warn(`Runpurse: ${message}`),
  });
  const { runId, sessionId, workflowId, customerId } = place;
  const run = client.run({ runId, sessionId, workflowId, customerId });
  const live: LiveRun = { client, run, open: new Map(), told: new Map(), given: new Map(), callers: new Set(), usedAtMs: 0 };
  return live;
}
