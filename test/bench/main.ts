import { execFileSync } from 'node:child_process';
import { cpus, loadavg, totalmem } from 'node:os';
import { parseArgs } from 'node:util';
import { benchAdapters } from './adapters.ts';
import { benchIngest } from './ingest.ts';
import { interleave, LoadGenerator, median, medianRatio, type Sample } from './measure.ts';
import { canPin, residentMegabytes } from './process.ts';
import { benchStore } from './store.ts';
import { ROOT, startBare, startPortkey, startRunpurse, startUpstream, type Target } from './targets.ts';

/** `npm run bench`: prints figures and their targets (docs/benchmarks.md). A missed target is told, not an error; a failed request is. */

const { values: flags } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    long: { type: 'boolean', default: false },
    only: { type: 'string', default: 'throughput,streams,latency,events,store,ingest,adapters' },
    rounds: { type: 'string' },
  },
});
const parts = new Set(flags.only.split(','));
const rounds = Number(flags.rounds ?? (flags.quick ? 2 : 5));
const milliseconds = flags.quick ? 1000 : 2000;

const LATENCY_MS = 200;
const EVENTS_PER_BATCH = 100;
const LONG_REQUESTS = 1_000_000;

let failedRequests = 0;
const targetLines: string[] = [];

function say(line = ''): void {
  process.stdout.write(`${line}\n`);
}

function compare(what: string, value: number, op: '≥' | '≤' | '<', goal: number, format: (value: number) => string): void {
  const met = op === '≥' ? value >= goal : op === '≤' ? value <= goal : value < goal;
  targetLines.push(`${met ? 'met   ' : 'MISSED'}  ${what}: ${format(value)} (target ${op} ${format(goal)})`);
}

const times = (value: number) => `${value.toFixed(2)}×`;
const milli = (value: number) => `${value.toFixed(2)} ms`;
const whole = (value: number) => Math.round(value).toLocaleString('en-US');

function table(title: string, samples: ReadonlyMap<string, readonly Sample[]>): void {
  say(`\n${title}`);
  say('target              req/s      p50 ms    p99 ms   CPU µs/req  failed');
  for (const [name, all] of samples) {
    const failed = all.reduce((sum, sample) => sum + sample.failed, 0);
    failedRequests += failed;
    const cells = [
      whole(median(all.map((one) => one.requestsPerSecond))).padStart(9),
      (median(all.map((one) => one.p50Micros)) / 1000).toFixed(2).padStart(9),
      (median(all.map((one) => one.p99Micros)) / 1000).toFixed(2).padStart(9),
      median(all.map((one) => one.cpuMicrosPerRequest))
        .toFixed(0)
        .padStart(10),
      String(failed).padStart(7),
    ];
    const statuses = Object.assign({}, ...all.map((sample) => sample.statuses)) as Record<string, number>;
    say(`${name.padEnd(18)} ${cells.join(' ')}${failed > 0 ? `  ${JSON.stringify(statuses)}` : ''}`);
  }
}

async function withTargets(start: readonly (() => Promise<Target>)[], use: (targets: readonly Target[]) => Promise<void>): Promise<void> {
  const targets: Target[] = [];
  try {
    for (const one of start) targets.push(await one());
    await use(targets);
  } finally {
    for (const target of targets.reverse()) await target.stop();
  }
}

async function throughput(load: LoadGenerator): Promise<void> {
  const upstream = await startUpstream();
  const start = [
    () => startBare(upstream),
    () => startRunpurse(upstream, 'full'),
    () => startRunpurse(upstream, 'relaxed'),
    () => startPortkey(upstream),
  ];
  await withTargets(start, async (targets) => {
    const samples = await interleave(load, [upstream, ...targets], { rounds, milliseconds, connections: 64 });
    table(`Chat completions, 64 connections, median of ${rounds} interleaved windows of ${milliseconds / 1000} s`, samples);
    const rps = (sample: Sample) => sample.requestsPerSecond;
    compare('requests/s against the bare proxy, durable', medianRatio(samples, 'runpurse', 'bare', rps), '≥', 0.65, times);
    compare('requests/s against the bare proxy, relaxed', medianRatio(samples, 'runpurse relaxed', 'bare', rps), '≥', 0.75, times);
    compare('requests/s against Portkey, durable', medianRatio(samples, 'runpurse', 'portkey', rps), '≥', 10, times);
    const cpu = medianRatio(samples, 'runpurse', 'bare', (sample) => sample.cpuMicrosPerRequest);
    compare('CPU per request against the bare proxy', cpu, '≤', 1.5, times);
  });
  await upstream.stop();
}

async function streams(load: LoadGenerator): Promise<void> {
  const upstream = await startUpstream();
  await withTargets([() => startBare(upstream), () => startRunpurse(upstream, 'full')], async (targets) => {
    const samples = await interleave(load, [upstream, ...targets], { rounds, milliseconds, connections: 64, stream: true });
    table('Streams of 35 events, 64 connections', samples);
    compare(
      'streams/s against the bare proxy',
      medianRatio(samples, 'runpurse', 'bare', (sample) => sample.requestsPerSecond),
      '≥',
      0.9,
      times,
    );
  });
  await upstream.stop();
}

async function latency(load: LoadGenerator): Promise<void> {
  const upstream = await startUpstream(LATENCY_MS);
  await withTargets([() => startBare(upstream), () => startRunpurse(upstream, 'full')], async (targets) => {
    const options = { rounds: Math.min(rounds, 3), milliseconds: milliseconds * 2, connections: 1000, rampMilliseconds: 1000 };
    const samples = await interleave(load, [upstream, ...targets], options);
    table(`1,000 calls at a time, each ${LATENCY_MS} ms at the provider`, samples);
    const p50 = (name: string) => median((samples.get(name) ?? []).map((sample) => sample.p50Micros)) / 1000;
    say(`the bare proxy adds ${milli(p50('bare') - p50('direct'))} to the p50`);
    compare('p50 added to calls of 200 ms, 1,000 at a time', p50('runpurse') - p50('direct'), '<', 2, milli);
  });
  await upstream.stop();
}

async function events(load: LoadGenerator): Promise<void> {
  const upstream = await startUpstream();
  await withTargets([() => startRunpurse(upstream, 'full')], async ([target]) => {
    if (target === undefined) return;
    const event = { type: 'step.completed', source: 'alephant', event_phase: 'after', policy_stage: 'audit_only', step_confidence: 'high' };
    const batch = Array.from({ length: EVENTS_PER_BATCH }, (_, index) => ({
      ...event,
      agent_id: 'bench',
      step_id: `step-${index}`,
      step_kind: 'reasoning',
      name: 'think',
      metadata: { duration_ms: 12, status: 'ok' },
    }));
    const options = { rounds, milliseconds, connections: 16, path: '/v1/agent/events', body: JSON.stringify({ events: batch }) };
    const all: Sample[] = [];
    for (let round = 0; round < rounds; round += 1) all.push(await load.window(target, options));
    // The reply to a batch is 202, which the generator counts as not 200.
    const accepted = all.map((one) => ({ ...one, failed: one.failed - (one.statuses['202'] ?? 0), statuses: {} }));
    table(`Event batches of ${EVENTS_PER_BATCH}, 16 connections, each answered when durable`, new Map([['runpurse', accepted]]));
    compare('events/s, durable', median(all.map((one) => one.requestsPerSecond)) * EVENTS_PER_BATCH, '≥', 20_000, whole);
  });
  await upstream.stop();
}

/** The store and the ingestion without HTTP, to see where time goes. */
async function store(): Promise<void> {
  say(`\nThe store alone\n${JSON.stringify(await benchStore({ seconds: milliseconds / 1000 }), rounded, 2)}`);
}

async function ingest(): Promise<void> {
  say(`\nIngestion without HTTP\n${JSON.stringify(await benchIngest({ seconds: milliseconds / 1000 }), rounded, 2)}`);
}

/** Each adapter against its framework without it: real gateway, one call at a time. */
async function adapters(): Promise<void> {
  const calls = flags.quick ? 50 : 200;
  say(`\nAdded by each adapter to one call, median of ${calls} with it less median of ${calls} without, in turn`);
  say('adapter         model call carried  model call direct   tool call');
  for await (const { adapter, carriedModelCallMs, directModelCallMs, toolCallMs } of benchAdapters(calls))
    say(
      `${adapter.padEnd(15)} ${milli(carriedModelCallMs).padStart(18)} ${milli(directModelCallMs).padStart(18)} ${milli(toolCallMs).padStart(11)}`,
    );
}

const rounded = (_: string, value: unknown) => (typeof value === 'number' ? Math.round(value * 10) / 10 : value);

/** Resident memory over a million requests: after the first tenth it must not grow. */
async function memory(load: LoadGenerator): Promise<void> {
  const upstream = await startUpstream();
  await withTargets([() => startRunpurse(upstream, 'full')], async ([target]) => {
    if (target === undefined) return;
    say(`\nResident memory over ${whole(LONG_REQUESTS)} requests`);
    let done = 0;
    const seen: number[] = [];
    while (done < LONG_REQUESTS) {
      const sample = await load.window(target, { milliseconds: 10_000, connections: 64 });
      failedRequests += sample.failed;
      done += sample.requests;
      seen.push(residentMegabytes(target.pid));
      say(`${whole(done).padStart(10)} requests  ${(seen.at(-1) ?? 0).toFixed(0)} MB`);
      if (sample.requests === 0) throw new Error('No request was answered.');
    }
    const third = Math.ceil(seen.length / 3);
    compare(
      'resident memory, last third against the middle third',
      median(seen.slice(-third)) / median(seen.slice(third, -third)),
      '≤',
      1.1,
      times,
    );
  });
  await upstream.stop();
}

function machine(): string {
  const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: ROOT, encoding: 'utf8' }).trim();
  const model = cpus()[0]?.model ?? 'unknown CPU';
  return `${new Date().toISOString().slice(0, 10)}, commit ${commit}, ${cpus().length} × ${model}, ${Math.round(totalmem() / 2 ** 30)} GB, Node ${process.versions.node}`;
}

say(machine());
if (!canPin) say('Processes could not be pinned to cores (no taskset, or one core): the ratios are worth little.');
const [busy = 0] = loadavg();
if (busy > 0.5)
  say(
    `The machine is busy (load average ${busy.toFixed(1)}): read ratios and CPU per request, not the absolute figures, and repeat when it is quiet.`,
  );
const load = await LoadGenerator.start();
try {
  for (const [name, part] of Object.entries({ throughput, streams, latency, events, store, ingest, adapters }))
    if (parts.has(name)) await part(load);
  if (flags.long) await memory(load);
} finally {
  await load.stop();
}
say();
for (const line of targetLines) say(line);
if (failedRequests > 0) {
  say(`${whole(failedRequests)} requests failed: these figures are not valid.`);
  process.exitCode = 1;
}
