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
  /** Who talks to the gateway: the newest node at work. */
  caller: Caller;
}

/** Executions under way at once, far more than an n8n runs; the oldest are forgotten first. */
const RUNS_MAX = 2_000;
const runs = new Map<string, LiveRun>();

export function liveRunOf(context: ISupplyDataFunctions, settings: Settings, place: Place): LiveRun {
  const caller = context as unknown as Caller;
  const { runId, sessionId, workflowId, customerId } = place;
  const key = JSON.stringify([settings.baseUrl, runId, sessionId, workflowId, customerId, context.getNode().credentials]);
  const known = runId === undefined ? undefined : runs.get(key);
  if (known !== undefined) {
    known.caller = caller;
    return known;
  }
  const live = newRun(context, caller, settings, place);
  runs.set(key, live);
  if (runs.size > RUNS_MAX) runs.delete(runs.keys().next().value ?? '');
  return live;
}

function newRun(context: ISupplyDataFunctions, caller: Caller, settings: Settings, place: Place): LiveRun {
  const transport: Transport = {
    async send({ method, url, headers, body, timeoutMs }) {
      const others = Object.fromEntries(Object.entries(headers).filter(([name]) => name.toLowerCase() !== 'authorization'));
      const { pathname, search } = new URL(url);
      const base = new URL(settings.baseUrl).pathname.replace(/\/$/, '');
      const reply = await send(live.caller, settings.baseUrl, {
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
    onProblem: ({ message }) => context.logger.warn(`Runpurse: ${message}`),
  });
  const { runId, sessionId, workflowId, customerId } = place;
  const run = client.run({ runId, sessionId, workflowId, customerId });
  const live: LiveRun = { client, run, open: new Map(), told: new Map(), caller };
  return live;
}
