import { formatUsd, parseUsd } from '@runpurse/core';
import { Caller, type Outcome } from './caller.ts';
import { GatewayProcess } from './gateway-process.ts';
import { providerConfig, startProvider } from './provider.ts';
import { scratchDirectory, seededRandom, sleep, until, type Report } from './report.ts';

const UNLIMITED_RATE = { requests_per_minute: 1_000_000 };

/**
 * `calls` at once on a run with room for exactly `room`. The provider holds every call it gets until all others have been
 * refused, so that the burst really overlaps.
 */
export async function exactRoom({ calls, room }: { readonly calls: number; readonly room: number }): Promise<Report> {
  const scratch = scratchDirectory('exact');
  let release: () => void = () => {};
  const released = new Promise<void>((resolve) => (release = resolve));
  const provider = await startProvider(async () => {
    await released;
    return { promptTokens: 1, completionTokens: 1 };
  });
  const lost: string[] = [];
  const config = {
    ...providerConfig(provider, { input_mtok_usd: '0', output_mtok_usd: '0', request_usd: '0.01' }),
    rate: UNLIMITED_RATE,
    budgets: [{ scope: 'run', id: '*', limit_usd: formatUsd(BigInt(room) * 10_000_000n), action: 'block' }],
  };
  const gateway = await GatewayProcess.start({ data: scratch.path, config });
  const caller = new Caller(gateway);
  try {
    let refused = 0;
    const all = Array.from({ length: calls }, async (_, index) => {
      const outcome = await caller.call({ runId: 'burst', nonce: `n${index}`, maxTokens: 10 });
      if (outcome.type === 'refused') refused += 1;
      return outcome;
    });
    const everyoneKnows = await until(() => provider.seen.size + refused >= calls, 20_000);
    if (!everyoneKnows) lost.push(`after 20 s only ${provider.seen.size} calls were at the provider and ${refused} refused`);
    const held = (await gateway.run('burst'))?.budgets.find((budget) => budget.scope === 'run');
    if (held?.remaining_usd !== '0') lost.push(`with ${room} calls in flight the run has ${held?.remaining_usd} left, not 0`);
    release();
    const outcomes = await Promise.all(all);
    const answered = outcomes.filter((outcome) => outcome.type === 'answered').length;
    if (answered !== room || provider.seen.size !== room)
      lost.push(`${answered} calls were answered and ${provider.seen.size} reached the provider, not ${room}`);
    const wrong = outcomes.filter(
      (outcome) => outcome.type !== 'answered' && !(outcome.type === 'refused' && outcome.code === 'budget_exceeded'),
    );
    if (wrong.length > 0) lost.push(`${wrong.length} calls ended otherwise, such as ${JSON.stringify(wrong[0])}`);
    const run = await gateway.run('burst');
    const limit = formatUsd(BigInt(room) * 10_000_000n);
    if (run?.cost.total_usd !== limit) lost.push(`the run cost ${run?.cost.total_usd}, not ${limit}`);
  } finally {
    release();
    await caller.close();
    await gateway.stop();
    await provider.close();
    scratch.remove();
  }
  return { name: 'exact room', tried: `${calls} calls at once on a run with room for ${room}`, lost };
}

/**
 * Bursts of calls of random worst case and random actual cost, on runs with a random cap. While they are in flight the
 * run is read again and again: settled and held together never pass the limit.
 */
export async function randomCosts({
  bursts,
  calls,
  seed,
}: {
  readonly bursts: number;
  readonly calls: number;
  readonly seed: number;
}): Promise<Report> {
  const scratch = scratchDirectory('random');
  const random = seededRandom(seed);
  const provider = await startProvider(async ({ maxTokens, bodyBytes }) => {
    await sleep(random.whole(0, 60));
    // A tokenizer never finds more tokens than bytes, and no provider goes past the limit it was given.
    return { promptTokens: random.whole(1, bodyBytes >> 2), completionTokens: random.whole(1, maxTokens) };
  });
  const lost: string[] = [];
  let samples = 0;
  let answered = 0;
  let refused = 0;
  const config = { ...providerConfig(provider, { input_mtok_usd: '3', output_mtok_usd: '15' }), rate: UNLIMITED_RATE };
  const gateway = await GatewayProcess.start({ data: scratch.path, config });
  const caller = new Caller(gateway);
  try {
    for (let burst = 0; burst < bursts; burst += 1) {
      const runId = `random-${burst}`;
      const limit = BigInt(random.whole(5, 250)) * 1_000_000n;
      await startRun(gateway, runId, formatUsd(limit));
      let inFlight = calls;
      const sampling = (async () => {
        while (inFlight > 0) {
          const budget = (await gateway.run(runId))?.budgets.find((one) => one.scope === 'run');
          if (budget === undefined) continue;
          samples += 1;
          const [settled = 0n, held = 0n] = [parseUsd(budget.settled_usd), parseUsd(budget.held_usd)];
          if (settled + held > limit)
            lost.push(`${runId}: settled ${budget.settled_usd} + held ${budget.held_usd} > limit ${budget.limit_usd}`);
        }
      })();
      const outcomes = await Promise.all(
        Array.from({ length: calls }, async (_, index): Promise<Outcome> => {
          // In three waves, so that some arrive while others settle.
          await sleep((index % 3) * 25);
          const prompt = 'x '.repeat(random.whole(0, 400));
          const outcome = await caller.call({ runId, nonce: `b${burst}n${index}`, maxTokens: random.whole(1, 1000), prompt });
          inFlight -= 1;
          return outcome;
        }),
      );
      await sampling;
      const received = outcomes.reduce((sum, outcome) => sum + (outcome.type === 'answered' ? outcome.cost : 0n), 0n);
      answered += outcomes.filter((outcome) => outcome.type === 'answered').length;
      refused += outcomes.filter((outcome) => outcome.type === 'refused' && outcome.code === 'budget_exceeded').length;
      const run = await gateway.run(runId);
      if (run?.cost.total_usd !== formatUsd(received))
        lost.push(`${runId}: clients were told ${formatUsd(received)} in all, the run says ${run?.cost.total_usd}`);
      if (received > limit) lost.push(`${runId}: ${formatUsd(received)} was spent of ${formatUsd(limit)}`);
      const held = run?.budgets.filter((budget) => budget.held_usd !== '0') ?? [];
      if (held.length > 0) lost.push(`${runId}: ${held.map((budget) => budget.held_usd).join()} is still held with no call in flight`);
    }
    if (answered + refused !== bursts * calls)
      lost.push(`${bursts * calls - answered - refused} calls were neither answered nor refused by the budget`);
    if (answered === 0 || refused === 0 || samples === 0)
      lost.push(`no contest: ${answered} answered, ${refused} refused, ${samples} samples`);
  } finally {
    await caller.close();
    await gateway.stop();
    await provider.close();
    scratch.remove();
  }
  const tried = `${bursts} bursts of ${calls} calls of random cost on runs with random caps (seed ${seed}): ${answered} answered, ${refused} refused, read ${samples} times while in flight`;
  return { name: 'random costs', tried, lost };
}

/** Starts a run with its own cap, as an adapter does. */
async function startRun(gateway: GatewayProcess, runId: string, limitUsd: string): Promise<void> {
  const response = await fetch(`${gateway.url}/v1/runs`, {
    method: 'POST',
    headers: { authorization: `Bearer ${gateway.key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ run_id: runId, limit_usd: limitUsd }),
  });
  if (!response.ok) throw new Error(`POST /v1/runs answered ${response.status}: ${await response.text()}`);
  await response.body?.cancel();
}
