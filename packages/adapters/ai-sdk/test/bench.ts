import { startGateway } from '@runpurse/conformance';
import { createClient } from '@runpurse/core/axios';
import { generateText, isStepCount } from 'ai';
import { createRunpurse, type AgentRun } from '../src/index.ts';
import { lookup, scripted } from './stage.ts';

/** Microseconds the adapter adds, median of many: what the same call takes with it, less what it takes without. */
export interface AdapterFigures {
  readonly adapter: string;
  /** A model call through the gateway: the adapter's own work; the gateway's is measured elsewhere. */
  readonly modelCarriedMicros: number;
  /** A model call past the gateway: with the question before it, on a gateway of this machine and process. */
  readonly modelDirectMicros: number;
  /** A tool call: with the question before it, likewise. */
  readonly toolMicros: number;
}

const ROUNDS = 200;
const WARM_UP = 50;

export async function benchAdapter(): Promise<AdapterFigures> {
  const gateway = await startGateway({
    config: {
      rate: { requests_per_minute: 1_000_000_000 },
      providers: [
        { name: 'sandbox', kind: 'sandbox', scripts: { mock: [{ text: 'done', usage: { input_tokens: 1, output_tokens: 1 } }] } },
      ],
      tools: [{ name: 'lookup', price_usd: '0.000001' }],
      budgets: [{ scope: 'run', id: '*', limit_usd: '1000' }],
    } as never,
  });
  const client = createClient({ baseUrl: gateway.url, apiKey: gateway.apiKey, source: 'ai-sdk', flushOnExit: false });
  const runpurse = createRunpurse({ baseUrl: gateway.url, apiKey: gateway.apiKey, client });
  const model = scripted(() => ({ text: 'done' }));
  const { tools } = lookup();
  const call = { toolCallId: '', messages: [], context: {} };
  try {
    return await runpurse.run({}, async (run: AgentRun) => {
      const carried = run.model(model, { carried: true });
      const direct = run.model(model, { carried: false });
      const guarded = run.tools(tools);
      const ask = (asked: typeof carried | typeof model) =>
        generateText({ model: asked, prompt: 'hi', maxOutputTokens: 100, stopWhen: isStepCount(1) });
      let count = 0;
      const use = (lookups: typeof tools) =>
        lookups.lookup.execute?.({ q: String(count) }, { ...call, toolCallId: `call_${(count += 1)}` });
      return {
        adapter: 'ai-sdk',
        modelCarriedMicros: await added(
          () => ask(model),
          () => ask(carried),
        ),
        modelDirectMicros: await added(
          () => ask(model),
          () => ask(direct),
        ),
        toolMicros: await added(
          async () => use(tools),
          async () => use(guarded),
        ),
      };
    });
  } finally {
    await client.close();
    await gateway.remove();
  }
}

/** Both in turn, so that whatever else the machine does hits both alike. */
async function added(without: () => Promise<unknown>, withIt: () => Promise<unknown>): Promise<number> {
  const times: Record<'without' | 'withIt', number[]> = { without: [], withIt: [] };
  for (let round = 0; round < WARM_UP + ROUNDS; round += 1) {
    for (const [name, work] of [
      ['without', without],
      ['withIt', withIt],
    ] as const) {
      const began = performance.now();
      await work();
      if (round >= WARM_UP) times[name].push(performance.now() - began);
    }
  }
  return Math.round((median(times.withIt) - median(times.without)) * 1000);
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

if (import.meta.main) console.log(await benchAdapter());
