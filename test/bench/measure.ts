import { once } from 'node:events';
import { join } from 'node:path';
import type { ChildProcess } from 'node:child_process';
import type { LoadJob, LoadResult } from './load.ts';
import { cpuMicros, LOAD_CORE, startNode, stop } from './process.ts';
import type { Target } from './targets.ts';

/** One window of load on one target. */
export interface Sample extends LoadResult {
  readonly requestsPerSecond: number;
  readonly cpuMicrosPerRequest: number;
}

export interface WindowOptions {
  readonly connections: number;
  readonly milliseconds: number;
  readonly stream?: boolean;
  readonly rampMilliseconds?: number;
  readonly path?: string;
  readonly body?: string;
  /** Goes on after the load until the target has done what it put off: its CPU counts, and the next target finds the core free. */
  readonly untilQuiet?: boolean;
}

/** The load process, used window by window. */
export class LoadGenerator {
  readonly #child: ChildProcess;
  #windows = 0;

  private constructor(child: ChildProcess) {
    this.#child = child;
    child.stderr?.pipe(process.stderr);
  }

  static async start(): Promise<LoadGenerator> {
    const child = startNode(LOAD_CORE, [join(import.meta.dirname, 'load.ts')], { ipc: true });
    await once(child, 'message');
    return new LoadGenerator(child);
  }

  async window(target: Target, options: WindowOptions): Promise<Sample> {
    this.#windows += 1;
    const ramp = options.rampMilliseconds ?? 0;
    const job: LoadJob = {
      port: target.port,
      path: options.path ?? '/v1/chat/completions',
      headers: target.headers,
      body: options.body ?? chatBody(target.model, options.stream === true),
      connections: options.connections,
      milliseconds: options.milliseconds,
      warmupMilliseconds: ramp + Math.min(500, options.milliseconds / 4),
      rampMilliseconds: ramp,
      requestsPerRun: 8,
      runPrefix: `run-${this.#windows}`,
    };
    const cpuBefore = cpuMicros(target.pid);
    const result = await this.#do(job);
    if (options.untilQuiet === true) await quiet(target.pid);
    return {
      ...result,
      requestsPerSecond: result.requests / result.seconds,
      cpuMicrosPerRequest: (cpuMicros(target.pid) - cpuBefore) / Math.max(1, result.answered),
    };
  }

  #do(job: LoadJob): Promise<LoadResult> {
    return new Promise((resolve, reject) => {
      const listen = (result: LoadResult) => {
        this.#child.off('exit', died);
        resolve(result);
      };
      const died = () => reject(new Error('The load generator died.'));
      this.#child.once('message', listen);
      this.#child.once('exit', died);
      this.#child.send(job);
    });
  }

  stop(): Promise<void> {
    return stop(this.#child);
  }
}

/** Sees with a real client that a target answers what the mock says, so that nobody is measured for answering nothing. */
async function checkAnswer(target: Target, stream: boolean): Promise<void> {
  const response = await fetch(`http://127.0.0.1:${target.port}/v1/chat/completions`, {
    method: 'POST',
    headers: { ...target.headers, 'content-type': 'application/json' },
    body: chatBody(target.model, stream),
  });
  const text = await response.text();
  const wanted = stream ? /"content":" and so"[\s\S]*data: \[DONE\]/ : /"usage":\{"prompt_tokens":42/;
  if (response.status !== 200 || !wanted.test(text)) throw new Error(`${target.name} answered ${response.status}: ${text.slice(0, 500)}`);
  const isOurs = target.name.startsWith('runpurse');
  const cost = stream ? /request-cost-usd[ =:]*(\S+)/.exec(text)?.[1] : response.headers.get('x-runpurse-request-cost-usd');
  if (isOurs && (cost === undefined || cost === null)) throw new Error(`${target.name} did not meter its reply: ${text.slice(-500)}`);
}

const QUIET_MS = 400;
const QUIET_WAITED_MAX_MS = 20_000;

/** Waits until a process has used next to no CPU for a while. */
async function quiet(pid: number): Promise<void> {
  const deadline = performance.now() + QUIET_WAITED_MAX_MS;
  let used = Infinity;
  while (used > (QUIET_MS * 1000) / 20 && performance.now() < deadline) {
    const before = cpuMicros(pid);
    await new Promise((resolve) => setTimeout(resolve, QUIET_MS));
    used = cpuMicros(pid) - before;
  }
}

/** A target's first seconds are compilation: every target has them behind it when it is measured. */
const WARM_UP_MS = 3_000;

/** Samples by target, taken in turns so that a noisy minute falls on all of them. */
export async function interleave(
  load: LoadGenerator,
  targets: readonly Target[],
  options: WindowOptions & { readonly rounds: number },
): Promise<ReadonlyMap<string, readonly Sample[]>> {
  const samples = new Map<string, Sample[]>(targets.map((target) => [target.name, []]));
  for (const target of targets) {
    await checkAnswer(target, options.stream === true);
    await load.window(target, { ...options, milliseconds: WARM_UP_MS, untilQuiet: true });
  }
  for (let round = 0; round < options.rounds; round += 1) {
    // Each round begins elsewhere, so that no target is always the one after the heaviest.
    const order = targets.map((_, index) => targets[(index + round) % targets.length]);
    for (const target of order) {
      if (target === undefined) continue;
      samples.get(target.name)?.push(await load.window(target, { ...options, untilQuiet: true }));
      process.stderr.write('.');
    }
  }
  process.stderr.write('\n');
  return samples;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? (sorted[middle] ?? NaN) : ((sorted[middle - 1] ?? NaN) + (sorted[middle] ?? NaN)) / 2;
}

/** Median over the rounds of `value(one) / value(other)` in the same round. */
export function medianRatio(
  samples: ReadonlyMap<string, readonly Sample[]>,
  one: string,
  other: string,
  value: (sample: Sample) => number,
): number {
  const others = samples.get(other) ?? [];
  return median(
    (samples.get(one) ?? []).map((sample, round) => {
      const against = others[round];
      return against === undefined ? NaN : value(sample) / value(against);
    }),
  );
}

function chatBody(model: string, stream: boolean): string {
  return JSON.stringify({
    model,
    messages: [
      {
        role: 'system',
        content: 'You are the support agent of a shop. Answer in one sentence and never promise what the policy does not.',
      },
      { role: 'user', content: 'Where is the refund of my order 4711? I sent the parcel back on Monday and have the receipt.' },
    ],
    max_tokens: 200,
    ...(stream ? { stream: true, stream_options: { include_usage: true } } : {}),
  });
}
