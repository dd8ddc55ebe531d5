import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createGateway } from '../../packages/gateway/src/create-gateway.ts';
import { createIngest, type IngestCaller } from '../../packages/gateway/src/ingest/index.ts';

/** What taking agent events in costs without HTTP: parsing, identity, policy, holds, settlements, the durable ledger. */
export interface IngestFigures {
  /** Durable events a second, in batches of 100 whole runs' events, by senders that each wait for their answer. */
  readonly eventsPerSecond: number;
  /** The same for events that ask and charge nothing: steps. */
  readonly stepsPerSecond: number;
  /** CPU of all threads for one event, folding included, in microseconds. */
  readonly cpuMicrosPerEvent: number;
  /** CPU of the main thread for one event: what it takes from the model path, and what bounds one process. */
  readonly mainMicrosPerEvent: { readonly runs: number; readonly steps: number };
}

const SENDERS = 8;
const BATCH = 100;
/** Events of one run as an agent without a carried model reports it. */
const RUN_EVENTS = 20;

/** Measures ingestion on a gateway in a directory of its own; takes about three times `seconds`. */
export async function benchIngest({ seconds = 2 }: { readonly seconds?: number } = {}): Promise<IngestFigures> {
  const runs = await measure(seconds, runBatch);
  const steps = await measure(seconds, stepBatch);
  return {
    eventsPerSecond: runs.perSecond,
    stepsPerSecond: steps.perSecond,
    cpuMicrosPerEvent: runs.cpuMicros,
    mainMicrosPerEvent: { runs: runs.mainMicros, steps: steps.mainMicros },
  };
}

interface Measured {
  readonly perSecond: number;
  readonly cpuMicros: number;
  readonly mainMicros: number;
}

async function measure(seconds: number, makeBatch: (count: number) => object[]): Promise<Measured> {
  const directory = await mkdtemp(join(tmpdir(), 'runpurse-bench-'));
  const gateway = await createGateway({
    directory,
    config: {
      rate: { requests_per_minute: 1_000_000_000 },
      tools: [{ name: 'lookup', price_usd: '0.002' }],
      budgets: [
        { scope: 'run', limit_usd: '5' },
        { scope: 'workspace', limit_usd: '1000000000' },
      ],
      policy: { tools: { deny: ['refund'] } },
    },
  });
  const ingest = createIngest(gateway);
  const caller: IngestCaller = {
    key: {
      keyId: 'bench',
      hash: '',
      prefix: '',
      workspaceId: 'bench',
      agentId: undefined,
      memberId: undefined,
      label: undefined,
      admin: false,
      createdAt: 0,
      revokedAt: undefined,
    },
    context: {},
  };
  let batches = 0;
  const work = async (until: number): Promise<number> => {
    let taken = 0;
    await Promise.all(
      Array.from({ length: SENDERS }, async () => {
        while (performance.now() < until) {
          batches += 1;
          const text = JSON.stringify({ source: 'bench', events: makeBatch(batches) });
          // What the HTTP layer does: the body is parsed from its text.
          const result = await ingest.accept(JSON.parse(text) as unknown, text.length, caller, { enforce: false });
          if (result.status !== 202 || result.body['allowed'] !== true)
            throw new Error(`A batch was answered ${result.status}: ${JSON.stringify(result.body).slice(0, 500)}`);
          taken += BATCH;
        }
      }),
    );
    return taken;
  };
  try {
    await work(performance.now() + 500);
    const cpu = process.cpuUsage();
    const mainCpu = process.threadCpuUsage();
    const began = performance.now();
    const taken = await work(began + seconds * 1000);
    const tookMs = performance.now() - began;
    const main = process.threadCpuUsage(mainCpu);
    // Folding what was written belongs to its cost.
    await gateway.store.run('bench', 'none');
    const { user, system } = process.cpuUsage(cpu);
    return { perSecond: (taken / tookMs) * 1000, cpuMicros: (user + system) / taken, mainMicros: (main.user + main.system) / taken };
  } finally {
    await gateway.close();
    await rm(directory, { recursive: true, force: true });
  }
}

const TIME = '2026-11-24T12:00:00.000Z';

function stepBatch(batch: number): object[] {
  return Array.from({ length: BATCH }, (_, index) => ({
    event_id: `evt_${batch}_${index}`,
    type: index % 2 === 0 ? 'step.started' : 'step.completed',
    run_id: `run-${batch}`,
    session_id: `session-${batch}`,
    agent_id: 'bench',
    step_id: `step-${index >> 1}`,
    step_kind: 'reasoning',
    name: 'think',
    timestamp: TIME,
    metadata: { duration_ms: 12 },
  }));
}

/** Five runs: a start, a model call and a tool call in turns, an end. */
function runBatch(batch: number): object[] {
  return Array.from({ length: BATCH / RUN_EVENTS }, (_, run) => runEvents(`run-${batch}-${run}`)).flat();
}

function runEvents(runId: string): object[] {
  const place = { run_id: runId, session_id: `session-${runId}`, agent_id: 'bench', timestamp: TIME };
  const model = { model: 'm', provider: 'sandbox' };
  const events: object[] = [{ ...place, type: 'run.started' }];
  for (let turn = 0; events.length + 4 < RUN_EVENTS; turn += 1) {
    events.push(
      { ...place, type: 'llm.call.started', step_id: `m${turn}`, metadata: { ...model, input_tokens_max: 2000, max_output_tokens: 500 } },
      {
        ...place,
        type: 'llm.call.completed',
        step_id: `m${turn}`,
        metadata: { ...model, usage: { input_tokens: 900, output_tokens: 200 }, latency_ms: 800 },
      },
      { ...place, type: 'tool.call.requested', step_id: `t${turn}`, tool_call_id: `call-${turn}`, metadata: { tool_name: 'lookup' } },
      {
        ...place,
        type: 'tool.call.completed',
        step_id: `t${turn}`,
        tool_call_id: `call-${turn}`,
        metadata: { tool_name: 'lookup', duration_ms: 30 },
      },
    );
  }
  while (events.length < RUN_EVENTS - 1) events.push({ ...place, type: 'checkpoint.created' });
  events.push({ ...place, type: 'run.completed', metadata: { revenue_usd: '0.5' } });
  return events.map((event, index) => ({ ...event, event_id: `evt_${runId}_${index}` }));
}
