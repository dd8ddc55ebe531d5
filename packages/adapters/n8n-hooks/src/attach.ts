import { GatewayUnavailableError, redactText, type GatewayClient } from '@runpurse/core';
import { axiosTransport, createClient } from '@runpurse/core/axios';
import type { Carried } from './carried.ts';
import type { RunData, WorkflowData } from './n8n.ts';
import { StartRefusedError, endOf, eventsOf, isStartRefused, type Known, type StepsOf } from './translate.ts';

export interface HooksOptions {
  readonly baseUrl: string;
  readonly apiKey: string;
  /** `closed`: no execution starts that the gateway has not let through. Default `open`. */
  readonly failurePolicy?: 'open' | 'closed' | undefined;
  /** In front of the execution id, as in the nodes' credential, when several n8n share a workspace. */
  readonly instance?: string | undefined;
  /** Default `all`. */
  readonly steps?: StepsOf | undefined;
  /** Nodes whose model calls go through the gateway; those that can be seen to are found without it. */
  readonly carried?: Carried | undefined;
  /** Hears of what n8n should not feel. Default: the process's warnings. */
  readonly onFault?: ((fault: unknown) => void) | undefined;
}

/** n8n's external hooks, as a hooks file exports them. */
export interface Hooks {
  readonly workflow: {
    readonly preExecute: readonly ((workflow: WorkflowData, mode?: string) => Promise<void>)[];
    readonly postExecute: readonly ((run: RunData | undefined, workflow: WorkflowData, executionId: string) => Promise<void>)[];
  };
  readonly n8n: { readonly stop: readonly (() => Promise<void>)[] };
}

const TIMEOUT_MS = 3_000;
/** Of all executions together, while the gateway does not take them. */
const QUEUE_MAX = 100_000;
/** One execution may hold more events than may wait. */
const FLUSH_EVERY = 1_000;

/** Every execution becomes a run; one of a workflow that may not spend any more does not start. */
export function createHooks(options: HooksOptions): Hooks {
  const { baseUrl, apiKey, failurePolicy = 'open', instance = '', steps = 'all', carried = {}, onFault = warn } = options;
  const client = createClient({
    baseUrl,
    apiKey,
    source: 'n8n',
    failurePolicy: { authorize: failurePolicy },
    timeoutMs: TIMEOUT_MS,
    maxQueue: QUEUE_MAX,
  });
  return {
    workflow: {
      preExecute: [
        async (workflow) => {
          const answer = await mayStart(options, workflow);
          if (answer.type === 'no') throw new StartRefusedError(`Runpurse: ${answer.reason}`);
          if (answer.type === 'yes') return;
          if (failurePolicy === 'closed')
            throw new StartRefusedError(
              `Runpurse: ${answer.error.message}. Nothing is to start without its word (RUNPURSE_FAILURE_POLICY=closed).`,
            );
          onFault(answer.error);
        },
      ],
      postExecute: [
        async (run, workflow, executionId) => {
          if (isStartRefused(run)) return;
          const runId = instance === '' ? executionId : `${instance}-${executionId}`;
          try {
            await report(client, run, workflow, { runId, steps, baseUrl, carried });
          } catch (fault) {
            onFault(fault);
          }
        },
      ],
    },
    n8n: { stop: [() => client.close()] },
  };
}

async function report(client: GatewayClient, run: RunData | undefined, workflow: WorkflowData, known: Known): Promise<void> {
  const reported = client.run({ runId: known.runId, workflowId: workflow.id, name: workflow.name });
  let isAway = false;
  for (const [index, event] of eventsOf(run, workflow, known).entries()) {
    reported.record(event);
    if (!isAway && (index + 1) % FLUSH_EVERY === 0) isAway = (await client.flush()) > 0;
  }
  const end = endOf(run);
  if (end === undefined || (end.status === 'failed' && (await isPaused(client, reported.runId)))) await client.flush();
  else await reported.end(end);
}

/** What fails because its run is paused goes on when that is resumed; a run that has ended can't be. */
async function isPaused(client: GatewayClient, runId: string): Promise<boolean> {
  // A gateway that can't say is told of the end when it is back.
  const run = await client.readRun(runId).catch(() => undefined);
  return run?.status === 'paused';
}

type Answer =
  | { readonly type: 'yes' }
  | { readonly type: 'no'; readonly reason: string }
  | { readonly type: 'unknown'; readonly error: GatewayUnavailableError };

/** Asks without acting: n8n has no execution id yet, so the question is about the workflow and the workspace. */
async function mayStart({ baseUrl, apiKey }: HooksOptions, workflow: WorkflowData): Promise<Answer> {
  const url = `${baseUrl.replace(/\/+$/, '').replace(/\/v1$/, '')}/v1/check`;
  try {
    const { status, body } = await axiosTransport().send({
      method: 'POST',
      url,
      headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' },
      body: JSON.stringify({ workflow_id: workflow.id }),
      timeoutMs: TIMEOUT_MS,
    });
    const said = JSON.parse(body) as {
      allowed?: unknown;
      answers?: Record<string, { answer?: unknown; reason?: unknown }>;
      error?: { message?: unknown };
    };
    if (status === 200 && typeof said.allowed === 'boolean') {
      if (said.allowed) return { type: 'yes' };
      const no = Object.values(said.answers ?? {}).find(({ answer }) => answer === false);
      return { type: 'no', reason: typeof no?.reason === 'string' ? no.reason : 'the gateway lets nothing more of this workflow start' };
    }
    if (status === 401 || status === 403)
      return { type: 'no', reason: `the gateway refused the key of the hooks file: ${String(said.error?.message)}` };
    return unknown(baseUrl, `it answered ${status}`);
  } catch (error) {
    return unknown(baseUrl, error instanceof Error ? error.message : String(error));
  }
}

function unknown(baseUrl: string, reason: string): Answer {
  return {
    type: 'unknown',
    error: new GatewayUnavailableError(`The Runpurse gateway at ${baseUrl} gave no answer: ${redactText(reason)}`),
  };
}

function warn(fault: unknown): void {
  process.emitWarning(fault instanceof Error ? fault.message : String(fault), { type: 'RunpurseWarning' });
}
