import { execFile, execFileSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import { formatUsd, parseUsd, type Nanos } from '@runpurse/core';
import { Caller } from './caller.ts';
import { GatewayProcess } from './gateway-process.ts';
import { providerConfig, startProvider, type Provider } from './provider.ts';
import { scratchDirectory, until, type Report } from './report.ts';

const CALLERS = 8;
const PRICE = { input_mtok_usd: '3', output_mtok_usd: '15' };
const RATE = { requests_per_minute: 1_000_000 };
const REFUSALS_WANTED = 40;
const CALLS_MAX = 40_000;

/** What clients were told, by request id, and the marks of the calls that were refused for the ledger's sake. */
interface Tally {
  readonly received: Map<string, { readonly runId: string; readonly cost: Nanos }>;
  readonly refused: string[];
  readonly wrong: string[];
}

const newTally = (): Tally => ({ received: new Map(), refused: [], wrong: [] });

/** Calls until enough were refused with 503 in a row, or `callsMax` were made. */
async function callUntilRefused(gateway: GatewayProcess, name: string, tally: Tally, callsMax: number = CALLS_MAX): Promise<void> {
  const caller = new Caller(gateway);
  let made = 0;
  const refusedBefore = tally.refused.length;
  const isDone = () => made >= callsMax || tally.refused.length - refusedBefore >= REFUSALS_WANTED || tally.wrong.length > 10;
  await Promise.all(
    Array.from({ length: CALLERS }, async (_, index) => {
      const runId = `${name}-${index}`;
      while (!isDone()) {
        made += 1;
        const nonce = `${runId}-${made}`;
        const outcome = await caller.call({ runId, nonce, maxTokens: 50 });
        if (outcome.type === 'answered') tally.received.set(outcome.requestId, { runId, cost: outcome.cost });
        else if (outcome.type === 'refused' && outcome.status === 503 && outcome.code === 'ledger_unavailable') tally.refused.push(nonce);
        else tally.wrong.push(`${nonce} ended as ${JSON.stringify(outcome)}`);
      }
    }),
  );
  await caller.close();
}

/** A refused call never reached the provider; every cost a client was told is in the ledger. */
async function judge(gateway: GatewayProcess, provider: Provider, tally: Tally): Promise<string[]> {
  const lost = [...tally.wrong];
  const leaked = tally.refused.filter((nonce) => provider.seen.has(nonce));
  if (leaked.length > 0) lost.push(`${leaked.length} calls answered 503 reached the provider, such as ${leaked[0]}`);
  const byRun = new Map<string, [string, Nanos][]>();
  for (const [requestId, { runId, cost }] of tally.received) byRun.set(runId, [...(byRun.get(runId) ?? []), [requestId, cost]]);
  for (const [runId, calls] of byRun) {
    const run = await gateway.run(runId);
    const booked = new Map(run?.requests.map((request) => [request.request_id, request.cost_usd]));
    for (const [requestId, cost] of calls) {
      const amount = parseUsd(booked.get(requestId) ?? '') ?? -1n;
      if (amount < cost)
        lost.push(`${runId}: ${requestId} cost its client ${formatUsd(cost)}, the ledger has ${booked.get(requestId) ?? 'nothing'}`);
    }
    const open = run?.requests.filter((request) => request.status === 'open') ?? [];
    if (open.length > 0) lost.push(`${runId}: ${open.length} reservations are still open`);
  }
  return lost;
}

async function withProvider<Result>(use: (provider: Provider) => Promise<Result>): Promise<Result> {
  const provider = await startProvider(() => ({ promptTokens: 10, completionTokens: 20 }));
  try {
    return await use(provider);
  } finally {
    await provider.close();
  }
}

/** The ledger may grow to 1 MB: it fills, and every call after that is answered 503. With more room it goes on. */
export function fullStore(): Promise<Report> {
  return withProvider(async (provider) => {
    const scratch = scratchDirectory('full');
    const base = { ...providerConfig(provider, PRICE), rate: RATE };
    const tally = newTally();
    let gateway = await GatewayProcess.start({ data: scratch.path, config: { ...base, store: { max_size_mb: 1 } } });
    const { key } = gateway;
    try {
      await callUntilRefused(gateway, 'full', tally);
      const lost = tally.refused.length < REFUSALS_WANTED ? [`the ledger never filled: ${tally.received.size} calls went through`] : [];
      const filled = { received: tally.received.size, refused: tally.refused.length };
      if (!(await gateway.stop())) lost.push('with a full ledger the gateway did not stop when told to');
      gateway = await GatewayProcess.start({ data: scratch.path, config: base, key });
      await callUntilRefused(gateway, 'after', tally, 20);
      if (tally.received.size !== filled.received + 20 && tally.wrong.length === 0)
        lost.push('with room again, not every call went through');
      lost.push(...(await judge(gateway, provider, tally)));
      return {
        name: 'full store',
        tried: `a ledger of 1 MB filled by ${filled.received} calls: ${filled.refused} more answered 503, then given room`,
        lost,
      };
    } finally {
      await gateway.stop();
      scratch.remove();
    }
  });
}

/** Every write of the gateway fails (a file size limit of 0 set from outside), then works again, with no restart. */
export function failingWrites(): Promise<Report> {
  return withProvider(async (provider) => {
    const scratch = scratchDirectory('failing');
    const tally = newTally();
    const gateway = await GatewayProcess.start({ data: scratch.path, config: { ...providerConfig(provider, PRICE), rate: RATE } });
    const limitFileSize = (limit: string) => promisify(execFile)('prlimit', ['--pid', String(gateway.pid), `--fsize=${limit}:unlimited`]);
    try {
      const calling = callUntilRefused(gateway, 'failing', tally);
      await until(() => tally.received.size > 200, 10_000);
      await limitFileSize('0');
      await calling;
      const lost = tally.refused.length < REFUSALS_WANTED ? ['no call was refused while the store failed'] : [];
      const ready = (await fetch(`${gateway.url}/readyz`)).status;
      if (ready !== 503) lost.push(`GET /readyz answered ${ready} while the store failed`);
      await limitFileSize('unlimited');
      const healed = await until(async () => (await fetch(`${gateway.url}/readyz`)).ok, 15_000);
      if (!healed) lost.push('the gateway did not recover when the store did');
      const before = tally.received.size;
      await callUntilRefused(gateway, 'healed', tally, 20);
      if (tally.received.size !== before + 20 && tally.wrong.length === 0)
        lost.push('after the store recovered, not every call went through');
      lost.push(...(await judge(gateway, provider, tally)));
      return {
        name: 'failing writes',
        tried: `every write failing under load after ${before} calls: ${tally.refused.length} answered 503, then recovered`,
        lost,
      };
    } finally {
      await gateway.stop();
      scratch.remove();
    }
  });
}

/** A real full disk: a small tmpfs. Needs the right to mount; says so when it is missing. */
export async function fullDisk(): Promise<Report | undefined> {
  if (!existsSync('/proc/mounts')) return undefined;
  return withProvider(async (provider) => {
    const scratch = scratchDirectory('disk');
    const disk = dirname(scratch.path);
    mkdirSync(disk, { recursive: true });
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', disk], { stdio: 'ignore' });
    } catch {
      scratch.remove();
      return undefined;
    }
    const tally = newTally();
    let gateway: GatewayProcess | undefined;
    try {
      const config = { ...providerConfig(provider, PRICE), rate: RATE };
      gateway = await GatewayProcess.start({ data: scratch.path, config });
      const { key } = gateway;
      await callUntilRefused(gateway, 'disk', tally);
      const lost = tally.refused.length < REFUSALS_WANTED ? [`the disk never filled: ${tally.received.size} calls went through`] : [];
      const filled = { received: tally.received.size, refused: tally.refused.length };
      await gateway.kill();
      execFileSync('mount', ['-o', 'remount,size=256m', disk]);
      gateway = await GatewayProcess.start({ data: scratch.path, config, key });
      await callUntilRefused(gateway, 'after', tally, 20);
      lost.push(...(await judge(gateway, provider, tally)));
      return {
        name: 'full disk',
        tried: `a disk of 4 MB filled by ${filled.received} calls: ${filled.refused} more answered 503; killed, given room, started again`,
        lost,
      };
    } finally {
      await gateway?.stop();
      execFileSync('umount', [disk]);
      scratch.remove();
    }
  });
}
