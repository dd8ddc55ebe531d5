import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Entry } from '../../packages/gateway/src/store/entry.ts';
import { openSqliteStore, type SqliteStore } from '../../packages/gateway/src/store/sqlite/index.ts';

/** What the embedded store does alone: no proxy, no network, entries as the gateway writes them. */
export interface StoreFigures {
  /** Requests a second that 64 callers get through, each waiting for its durable reserve, its settle behind it. */
  readonly requestsPerSecond: { readonly full: number; readonly relaxed: number };
  /** The same with a run of its own for each request: four entries. */
  readonly implicitRunsPerSecond: number;
  /** CPU of all threads for one two-entry request, folding included, in microseconds. */
  readonly cpuMicrosPerRequest: { readonly full: number; readonly relaxed: number };
  /** Agent events a second, appended durably in batches of 100 by 4 senders. */
  readonly eventsPerSecond: number;
  /** CPU for one event, folding included. */
  readonly cpuMicrosPerEvent: number;
}

const APPENDERS = 64;
const BATCH = 100;
const AT = Date.UTC(2026, 10, 24);

/** Measures the store in a directory of its own; takes about five times `seconds`. */
export async function benchStore({ seconds = 2 }: { readonly seconds?: number } = {}): Promise<StoreFigures> {
  const full = await measure('full', seconds, (store, until) => requests(store, until, false));
  const relaxed = await measure('relaxed', seconds, (store, until) => requests(store, until, false));
  const implicit = await measure('full', seconds, (store, until) => requests(store, until, true));
  const events = await measure('full', seconds, sendEvents);
  return {
    requestsPerSecond: { full: full.perSecond, relaxed: relaxed.perSecond },
    implicitRunsPerSecond: implicit.perSecond,
    cpuMicrosPerRequest: { full: full.cpuMicros, relaxed: relaxed.cpuMicros },
    eventsPerSecond: events.perSecond,
    cpuMicrosPerEvent: events.cpuMicros,
  };
}

interface Measured {
  readonly perSecond: number;
  readonly cpuMicros: number;
}

async function measure(
  durability: 'full' | 'relaxed',
  seconds: number,
  work: (store: SqliteStore, until: number) => Promise<number>,
): Promise<Measured> {
  const directory = await mkdtemp(join(tmpdir(), 'runpurse-bench-'));
  const store = await openSqliteStore({ directory, durability });
  try {
    await work(store, performance.now() + 300);
    const cpu = process.cpuUsage();
    const began = performance.now();
    const count = await work(store, began + seconds * 1000);
    const tookMs = performance.now() - began;
    // Folding what was written belongs to its cost.
    await store.run('bench', 'none');
    const { user, system } = process.cpuUsage(cpu);
    return { perSecond: Math.round((count * 1000) / tookMs), cpuMicros: Number(((user + system) / count).toFixed(1)) };
  } finally {
    await store.close();
    await rm(directory, { recursive: true, force: true });
  }
}

let lastId = 0;

async function requests(store: SqliteStore, until: number, implicit: boolean): Promise<number> {
  let count = 0;
  const appender = async (number: number): Promise<void> => {
    while (performance.now() < until) {
      lastId += 1;
      const runId = implicit ? `run_${lastId}` : `run_${number}_${Math.floor(lastId / 20_000)}`;
      const { before, after } = request(`req_${lastId.toString(36).padStart(20, '0')}`, runId, implicit);
      await store.append(before);
      store.appendBehind(after);
      count += 1;
    }
  };
  await Promise.all(Array.from({ length: APPENDERS }, (_, number) => appender(number)));
  return count;
}

function request(id: string, runId: string, implicit: boolean): { before: Entry[]; after: Entry[] } {
  const owner = { workspaceId: 'bench', keyId: 'key_bench', runId };
  const context = { ...owner, sessionId: 'session_bench', agentId: 'support_agent', memberId: 'member_1' };
  const start: Entry = { type: 'run', at: AT, op: 'start', status: 'running', implicitRun: true, ...context };
  const end: Entry = { type: 'run', at: AT + 900, op: 'end', status: 'completed', ...owner };
  const reserve: Entry = {
    type: 'reserve',
    at: AT,
    id,
    kind: 'model',
    name: 'gpt-4o-mini',
    provider: 'openai',
    attempt: 1,
    source: 'gateway',
    hold: '123456789',
    stepId: `step_${lastId % 10}`,
    ...context,
  };
  const usage = {
    inputTokens: 1200,
    cacheReadTokens: 0,
    cacheWrite5mTokens: 0,
    cacheWrite1hTokens: 0,
    outputTokens: 230,
    reasoningTokens: 0,
    audioInputTokens: 0,
    audioOutputTokens: 0,
    webSearches: 0,
  };
  const settle: Entry = {
    type: 'settle',
    at: AT + 900,
    id,
    workspaceId: 'bench',
    runId,
    status: 'completed',
    cost: '318000',
    model: 'gpt-4o-mini-2024-07-18',
    usage,
    price: { source: 'genai-prices', version: '0.1.8' },
  };
  return implicit ? { before: [start, { ...reserve, implicitRun: true }], after: [settle, end] } : { before: [reserve], after: [settle] };
}

async function sendEvents(store: SqliteStore, until: number): Promise<number> {
  let count = 0;
  const sender = async (number: number): Promise<void> => {
    while (performance.now() < until) {
      const events = Array.from({ length: BATCH }, (): Entry => {
        lastId += 1;
        return {
          type: 'event',
          at: AT,
          eventAt: AT,
          eventId: `evt_${(lastId * 2654435761) % 4294967296}_${lastId}`,
          dedupe: true,
          eventType: lastId % 2 === 0 ? 'tool.call.completed' : 'step.completed',
          source: 'langgraph',
          workspaceId: 'bench',
          keyId: 'key_bench',
          runId: `run_${number}_${Math.floor(lastId / 20_000)}`,
          sessionId: 'session_bench',
          agentId: 'support_agent',
          stepId: `step_${lastId % 50}`,
          event: {
            name: 'customer_lookup',
            step_kind: 'tool_call',
            event_phase: 'after',
            policy_stage: 'post_action',
            metadata: { duration_ms: 12, tool_name: 'customer_lookup' },
          },
        };
      });
      await store.append(events);
      count += BATCH;
    }
  };
  await Promise.all([0, 1, 2, 3].map(sender));
  return count;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) process.stdout.write(`${JSON.stringify(await benchStore(), undefined, 2)}\n`);
