import { collectDefaultMetrics, Counter, Gauge, Registry } from 'prom-client';
import type { Gateway } from '../gateway.ts';

const NANOS_PER_USD = 1e9;
const PAGE = 1000;

/**
 * Prometheus figures, collected when scraped and never on the model path: they are read off the views, and refusals off
 * the ledger since the last scrape. A scrape shows the workspace of its key; an operator scrapes with one key each.
 */
export interface Metrics {
  readonly contentType: string;
  /** The text for one workspace. */
  scrape(workspaceId: string): Promise<string>;
}

export function createMetrics(gateway: Gateway): Metrics {
  const { store, admission } = gateway;
  const startedAfterSeq = store.lastSeq;
  let processRegistry: Registry | undefined;
  const byWorkspace = new Map<string, ReturnType<typeof workspaceMetrics>>();

  function workspaceMetrics(workspaceId: string) {
    const registry = new Registry();
    registry.setDefaultLabels({ workspace: workspaceId });
    const figure = (name: string, help: string, labelNames: readonly string[] = []) =>
      new Gauge({ name: `runpurse_${name}`, help, labelNames: [...labelNames], registers: [registry] });
    const requests = figure('requests_total', 'Model calls that ended, ever');
    const toolCalls = figure('tool_calls_total', 'Tool calls that ended, ever');
    const spend = figure('spend_usd_total', 'Settled spend in dollars, ever, by line', ['line']);
    const unpriced = figure('unpriced_calls_total', 'Settled calls whose price is unknown, ever');
    const held = figure('budget_held_usd', 'Dollars held by calls in flight, by budget', ['budget']);
    const remaining = figure('budget_remaining_usd', 'Dollars left, by budget of the whole workspace', ['budget']);
    const refusals = new Counter({
      name: 'runpurse_refusals_total',
      help: 'Refusals since this process started, by code',
      labelNames: ['code'],
      registers: [registry],
    });
    let seenSeq = startedAfterSeq;
    let collecting: Promise<void> = Promise.resolve();

    async function countRefusals(): Promise<void> {
      const upTo = store.lastSeq;
      for (;;) {
        const page = await store.entries({ workspaceId, types: ['decision'], afterSeq: seenSeq, order: 'asc', limit: PAGE });
        for (const { seq, entry } of page) {
          seenSeq = seq;
          if (entry.type === 'decision' && entry.outcome === 'denied') refusals.inc({ code: entry.code ?? 'unknown' });
        }
        if (page.length < PAGE) break;
      }
      seenSeq = Math.max(seenSeq, upTo);
    }

    async function collect(): Promise<void> {
      const [row] = await store.spend(workspaceId, 'workspace', { id: workspaceId, limit: 1 });
      requests.set(row?.requests ?? 0);
      toolCalls.set(row?.toolCalls ?? 0);
      unpriced.set(row?.unknownCosts ?? 0);
      spend.set({ line: 'model' }, dollars(row?.modelNanos));
      spend.set({ line: 'tool' }, dollars(row?.toolNanos));
      spend.set({ line: 'retry' }, dollars(row?.retryNanos));
      held.reset();
      remaining.reset();
      for (const state of admission.budgetStates({ workspaceId })) {
        held.set({ budget: state.budget.budgetId }, dollars(state.held));
        remaining.set({ budget: state.budget.budgetId }, dollars(state.remaining));
      }
      await countRefusals();
    }

    return {
      async text(): Promise<string> {
        // One scrape at a time, or refusals would be counted twice.
        collecting = collecting.catch(() => undefined).then(collect);
        await collecting;
        return registry.metrics();
      },
    };
  }

  /** Begins with the first scrape: a gateway nobody scrapes measures nothing. */
  function processMetrics(): Registry {
    const registry = new Registry();
    collectDefaultMetrics({ register: registry, prefix: 'runpurse_' });
    gauge(registry, 'store_lag_entries', 'Ledger entries not yet folded into the views', () =>
      Math.max(0, store.lastSeq - store.foldedSeq),
    );
    gauge(registry, 'store_failing', '1 while the ledger can not be written', () => Number(store.failing));
    gauge(registry, 'open_reservations', 'Calls held and not yet settled', () => admission.openCount);
    return registry;
  }

  return {
    contentType: Registry.PROMETHEUS_CONTENT_TYPE,
    async scrape(workspaceId) {
      let own = byWorkspace.get(workspaceId);
      if (own === undefined) {
        own = workspaceMetrics(workspaceId);
        byWorkspace.set(workspaceId, own);
      }
      return `${await (processRegistry ??= processMetrics()).metrics()}\n${await own.text()}`;
    },
  };
}

function gauge(registry: Registry, name: string, help: string, read: () => number): void {
  new Gauge({
    name: `runpurse_${name}`,
    help,
    registers: [registry],
    collect() {
      this.set(read());
    },
  });
}

function dollars(nanos: bigint | undefined): number {
  return Number(nanos ?? 0n) / NANOS_PER_USD;
}
