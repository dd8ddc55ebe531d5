import { formatUsd, parseUsd, type Nanos } from '@runpurse/core';
import { Caller, type Outcome } from './caller.ts';
import { GatewayProcess } from './gateway-process.ts';
import { providerConfig, startProvider, type Answer, type Provider } from './provider.ts';
import { scratchDirectory, seededRandom, sleep, type Report } from './report.ts';

const CALLERS = 24;
const RUNS_PER_LIFE = 6;
const MAX_TOKENS = 500;
/** Dollars per million tokens. */
const INPUT_PRICE = 3n;
const OUTPUT_PRICE = 15n;

/** What the client side knows of one run: a second, naive book. */
interface ClientBook {
  readonly received: Map<string, Nanos>;
  sent: number;
  refused: number;
  readonly nonces: string[];
}

/**
 * Kills the gateway with SIGKILL at random moments under load, starts it again on the same data and compares its books with
 * what the clients and the provider know.
 */
export async function killUnderLoad({ kills, seed }: { readonly kills: number; readonly seed: number }): Promise<Report> {
  const scratch = scratchDirectory('crash');
  const random = seededRandom(seed);
  const provider = await startProvider(async ({ maxTokens, bodyBytes }): Promise<Answer> => {
    await sleep(random.whole(0, 15));
    return { promptTokens: random.whole(1, bodyBytes >> 2), completionTokens: random.whole(1, maxTokens) };
  });
  const price = { input_mtok_usd: String(INPUT_PRICE), output_mtok_usd: String(OUTPUT_PRICE) };
  const config = {
    ...providerConfig(provider, price),
    rate: { requests_per_minute: 1_000_000 },
    budgets: [{ scope: 'run', id: '*', limit_usd: '100' }],
  };
  const lost: string[] = [];
  const books = new Map<string, ClientBook>();
  let unconfirmed = 0;
  let gateway = await GatewayProcess.start({ data: scratch.path, config });
  const { key } = gateway;
  try {
    for (let life = 0; life < kills; life += 1) {
      const caller = new Caller(gateway);
      let isOver = false;
      const callers = Array.from({ length: CALLERS }, async (_, index) => {
        const runId = `life-${life}-run-${index % RUNS_PER_LIFE}`;
        const book = bookOf(books, runId);
        for (let count = 0; !isOver; count += 1) {
          const nonce = `${runId}-${index}-${count}`;
          book.sent += 1;
          book.nonces.push(nonce);
          const outcome = await caller.call({ runId, nonce, maxTokens: random.whole(1, MAX_TOKENS) });
          note(book, outcome, lost);
          if (outcome.type === 'lost') break;
        }
      });
      await sleep(random.whole(20, 350));
      await gateway.kill();
      isOver = true;
      await Promise.all(callers);
      await caller.close();
      gateway = await GatewayProcess.start({ data: scratch.path, config, key });
      for (const [runId, book] of books) {
        if (!runId.startsWith(`life-${life}-`)) continue;
        const found = await compare(gateway, provider, runId, book);
        lost.push(...found.lost);
        unconfirmed += found.unconfirmed;
      }
      if (lost.length > 20) break;
    }
    lost.push(...(await compareTotals(gateway, books)));
  } finally {
    await gateway.stop();
    await provider.close();
    scratch.remove();
  }
  const all = [...books.values()];
  const received = all.reduce((sum, book) => sum + book.received.size, 0);
  const sent = all.reduce((sum, book) => sum + book.sent, 0);
  if (received === 0) lost.push('no call was answered before a kill: nothing was tried');
  const tried =
    `${kills} × kill -9 with ${CALLERS} callers (seed ${seed}): ${sent} calls sent, ${received} answered with their cost, ` +
    `${provider.seen.size} reached the provider, ${unconfirmed} charged at their hold after a restart`;
  return { name: 'kill -9', tried, lost };
}

function bookOf(books: Map<string, ClientBook>, runId: string): ClientBook {
  const book = books.get(runId) ?? { received: new Map<string, Nanos>(), sent: 0, refused: 0, nonces: [] };
  books.set(runId, book);
  return book;
}

function note(book: ClientBook, outcome: Outcome, lost: string[]): void {
  if (outcome.type === 'answered') {
    if (book.received.has(outcome.requestId)) lost.push(`request id ${outcome.requestId} was given out twice`);
    book.received.set(outcome.requestId, outcome.cost);
  } else if (outcome.type === 'refused') {
    book.refused += 1;
    lost.push(`a call was refused: ${outcome.status} ${outcome.code}`);
  }
}

/** The promises, run by run, right after a restart. */
async function compare(
  gateway: GatewayProcess,
  provider: Provider,
  runId: string,
  book: ClientBook,
): Promise<{ lost: string[]; unconfirmed: number }> {
  const lost: string[] = [];
  const run = await gateway.run(runId);
  const atProvider = book.nonces.filter((nonce) => provider.seen.has(nonce)).length;
  if (run === undefined) {
    if (book.received.size > 0 || atProvider > 0) lost.push(`${runId} is gone with ${book.received.size} answered calls`);
    return { lost, unconfirmed: 0 };
  }
  const inLedger = new Map(run.requests.map((request) => [request.request_id, request]));
  for (const [requestId, cost] of book.received) {
    const request = inLedger.get(requestId);
    const booked = parseUsd(request?.cost_usd ?? '');
    if (booked === undefined) lost.push(`${runId}: ${requestId} cost its client ${formatUsd(cost)} and is not in the ledger`);
    else if (booked < cost || (booked > cost && request?.unconfirmed !== true)) {
      lost.push(`${runId}: ${requestId} cost its client ${formatUsd(cost)}, the ledger has ${formatUsd(booked)}`);
    }
  }
  const open = run.requests.filter((request) => request.status === 'open');
  if (open.length > 0) lost.push(`${runId}: ${open.length} reservations are open after the restart`);
  const held = run.budgets.filter((budget) => budget.held_usd !== '0');
  if (held.length > 0) lost.push(`${runId}: ${held.map((budget) => `${budget.scope} holds ${budget.held_usd}`).join()} after the restart`);
  if (run.requests.length < atProvider)
    lost.push(`${runId}: ${atProvider} calls reached the provider, the ledger knows ${run.requests.length}`);
  if (run.requests.length > book.sent) lost.push(`${runId}: ${book.sent} calls were sent, the ledger knows ${run.requests.length}`);

  const total = parseUsd(run.cost.total_usd) ?? -1n;
  const sum = run.requests.reduce((all, request) => all + (parseUsd(request.cost_usd ?? '0') ?? 0n), 0n);
  if (total !== sum) lost.push(`${runId}: its total is ${run.cost.total_usd}, its calls sum to ${formatUsd(sum)}`);
  const received = [...book.received.values()].reduce((all, cost) => all + cost, 0n);
  const pending = run.requests.filter((request) => request.unconfirmed || !book.received.has(request.request_id));
  const most = received + BigInt(pending.length) * worstCase();
  if (total < received || total > most) {
    lost.push(`${runId}: total ${run.cost.total_usd} is outside [${formatUsd(received)}, ${formatUsd(most)}]`);
  }
  return { lost, unconfirmed: run.requests.filter((request) => request.unconfirmed).length };
}

/** No hold is larger: a body of these calls has under 300 bytes, the wire adds some for the message frame. */
function worstCase(): Nanos {
  return (1000n * INPUT_PRICE + BigInt(MAX_TOKENS) * OUTPUT_PRICE) * 1_000n;
}

/** The workspace's spend is the sum of its runs, over all lives. */
async function compareTotals(gateway: GatewayProcess, books: ReadonlyMap<string, ClientBook>): Promise<string[]> {
  let sum = 0n;
  for (const runId of books.keys()) sum += parseUsd((await gateway.run(runId))?.cost.total_usd ?? '0') ?? 0n;
  const spend = await gateway.read<{ data: { cost: { total_usd: string } }[] }>('/v1/spend?by=workspace');
  const total = (spend?.data ?? []).reduce((all, row) => all + (parseUsd(row.cost.total_usd) ?? 0n), 0n);
  return total === sum ? [] : [`the workspace spent ${formatUsd(total)}, its runs sum to ${formatUsd(sum)}`];
}
