import { z } from 'zod';
import type { Nanos } from '@runpurse/core';
import type { BudgetState } from '../../admit/types.ts';
import { windowResetsAt } from '../../admit/windows.ts';
import type { Gateway } from '../../gateway.ts';
import { usageOf, type LoggedUsage } from '../../store/entry.ts';
import type { SpendRow } from '../../store/store.ts';
import { recentCalls, type RecentCall } from '../recent-calls.ts';
import { answer, route, type AnyRoute } from '../route.ts';
import { percentText } from '../../views/index.ts';
import { sumOf } from '../totals.ts';

/**
 * The virtual-key reads existing Alephant clients make (`/api/v1/cockpit/*`, facts §2f), in the vendor's documented
 * snake_case shape. Amounts are numbers in cents there, so they are rounded to a millionth of a cent for show.
 */

const DAY_MS = 86_400_000;
const cents = z.number();
const source = { degraded: z.boolean().describe('true: tokens and models are of the latest calls only'), data_source: z.literal('live') };
const LIVE = { degraded: false, data_source: 'live' } as const;
const periodQuery = z.object({ period: z.enum(['24h', '7d', '30d', '90d', 'billing_cycle']).default('billing_cycle') });
const percent = z.number().nullable();

const scopeReply = z.object({
  ...source,
  workspace: z.object({ id: z.string(), name: z.string() }),
  entity: z.object({ type: z.enum(['agent', 'member']), id: z.string(), name: z.string(), department: z.string().nullable() }).nullable(),
  virtual_key: z.object({
    id: z.string(),
    label: z.string(),
    prefix: z.string(),
    status: z.literal('active'),
    allowed_models: z.array(z.string()),
    rate_limit_rpm: z.number(),
  }),
});
const usageReply = z.object({
  ...source,
  period: z.object({ from: z.iso.datetime(), to: z.iso.datetime() }),
  total_requests: z.number(),
  total_tokens: z.object({ input: z.number(), output: z.number() }),
  total_cost_cents: cents,
  vs_previous_period: z.object({ requests_pct: percent, cost_pct: percent }),
});
const dailyReply = z.object({
  ...source,
  data: z.array(z.object({ date: z.string(), cost_cents: cents, requests: z.number(), tokens: z.number() })),
});
const modelReply = z.object({
  ...source,
  data: z.array(z.object({ model: z.string(), provider: z.string().nullable(), cost_cents: cents, requests: z.number(), pct: z.number() })),
});
const budgetFigures = z.object({
  budget_cents: cents,
  spent_cents: cents,
  remaining_cents: cents,
  usage_pct: z.number(),
  budget_window: z.string(),
  budget_action: z.string(),
  resets_at: z.iso.datetime().nullable(),
});
const budgetReply = z.object({ ...source, virtual_key_budget: budgetFigures.nullable(), entity_budget: budgetFigures.nullable() });
const recentReply = z.object({
  ...source,
  data: z.array(
    z.object({
      id: z.string(),
      model: z.string(),
      provider: z.string().nullable(),
      tokens_in: z.number().nullable(),
      tokens_out: z.number().nullable(),
      cost_cents: cents.nullable(),
      status: z.enum(['success', 'failed', 'pending']),
      latency_ms: z.number().nullable(),
      created_at: z.iso.datetime(),
    }),
  ),
  pagination: z.object({ total: z.number(), limit: z.number(), offset: z.number() }),
});

export function cockpitRoutes(gateway: Gateway): readonly AnyRoute[] {
  const { admission, clock, config, store } = gateway;

  const read = <Query extends z.ZodObject | undefined>(
    name: string,
    summary: string,
    shape: z.ZodType,
    query: Query,
    handle: Parameters<typeof route<undefined, Query, undefined>>[0]['handle'],
  ): AnyRoute =>
    route<undefined, Query, undefined>({
      method: 'get',
      path: `/api/v1/cockpit/${name}`,
      tag: 'cockpit',
      summary,
      ...(query === undefined ? {} : { query }),
      answers: { 200: { description: 'As existing Alephant clients read it', shape } },
      handle,
    });

  /** Spend of the key: what a virtual key may see here is its own. */
  async function spendOfKey(workspaceId: string, keyId: string, from: number, to: number): Promise<SpendRow> {
    const rows = await store.spend(workspaceId, 'key', { id: keyId, fromDay: dayOf(from), toDay: dayOf(to), limit: 1 });
    return rows[0] ?? sumOf(keyId, []);
  }

  return [
    read('scope', 'Whose key this is', scopeReply, undefined, ({ caller }) =>
      answer({
        ...LIVE,
        workspace: { id: caller.workspaceId, name: caller.workspaceId },
        entity:
          caller.agentId !== undefined
            ? { type: 'agent', id: caller.agentId, name: caller.agentId, department: null }
            : caller.memberId !== undefined
              ? { type: 'member', id: caller.memberId, name: caller.memberId, department: null }
              : null,
        virtual_key: {
          id: caller.keyId,
          label: caller.label ?? caller.keyId,
          prefix: caller.prefix,
          status: 'active',
          allowed_models: config.policy.models?.allow ?? [],
          rate_limit_rpm: config.rate.requests_per_minute,
        },
      }),
    ),
    read('usage-summary', "The key's use in a period", usageReply, periodQuery, async ({ query, caller }) => {
      const { from, to, before } = periodOf(query.period, clock.now());
      const { workspaceId, keyId } = caller;
      const [now, previous, { calls, isCut }] = await Promise.all([
        spendOfKey(workspaceId, keyId, from, to),
        spendOfKey(workspaceId, keyId, before, from - DAY_MS),
        recentCalls(store, { workspaceId, keyId, from }),
      ]);
      return answer({
        ...LIVE,
        degraded: isCut,
        period: { from: new Date(from).toISOString(), to: new Date(to).toISOString() },
        total_requests: now.requests,
        total_tokens: {
          input: sum(calls, (call) => inputTokens(call.settle?.usage)),
          output: sum(calls, (call) => outputTokens(call.settle?.usage)),
        },
        total_cost_cents: toCents(costOf(now)),
        vs_previous_period: {
          requests_pct: change(now.requests, previous.requests),
          cost_pct: change(toCents(costOf(now)), toCents(costOf(previous))),
        },
      });
    }),
    read('daily-costs', "The key's cost by UTC day", dailyReply, periodQuery, async ({ query, caller }) => {
      const { from, to } = periodOf(query.period, clock.now());
      const { calls, isCut } = await recentCalls(store, { workspaceId: caller.workspaceId, keyId: caller.keyId, from });
      const days = Map.groupBy(calls, (call) => dayOf(call.reserve.at));
      const data = [];
      for (let at = from; at <= to; at += DAY_MS) {
        const ofDay = days.get(dayOf(at)) ?? [];
        const row = (await store.spend(caller.workspaceId, 'key', { id: caller.keyId, fromDay: dayOf(at), toDay: dayOf(at), limit: 1 }))[0];
        data.push({
          date: dayOf(at),
          cost_cents: row === undefined ? 0 : toCents(costOf(row)),
          requests: row?.requests ?? 0,
          tokens: sum(ofDay, (call) => inputTokens(call.settle?.usage) + outputTokens(call.settle?.usage)),
        });
      }
      return answer({ ...LIVE, degraded: isCut, data });
    }),
    read('cost-by-model', "The key's cost by model", modelReply, periodQuery, async ({ query, caller }) => {
      const { from } = periodOf(query.period, clock.now());
      const { calls, isCut } = await recentCalls(store, { workspaceId: caller.workspaceId, keyId: caller.keyId, from });
      const total = calls.reduce((nanos, call) => nanos + costOfCall(call), 0n);
      const groups = Map.groupBy(calls, (call) => JSON.stringify([call.settle?.model ?? call.reserve.name, call.reserve.provider ?? null]));
      const data = [...groups].map(([key, ofModel]) => {
        const [model, provider] = JSON.parse(key) as [string, string | null];
        const nanos = ofModel.reduce((amount, call) => amount + costOfCall(call), 0n);
        return { model, provider, cost_cents: toCents(nanos), requests: ofModel.length, pct: Number(percentText(nanos, total) ?? 0) };
      });
      return answer({ ...LIVE, degraded: isCut, data: data.sort((a, b) => b.cost_cents - a.cost_cents) });
    }),
    read('budget-status', "The key's and its owner's budget", budgetReply, undefined, ({ caller }) => {
      const { workspaceId, keyId, agentId, memberId } = caller;
      const states = admission.budgetStates({ workspaceId, keyId, agentId, memberId });
      return answer({
        ...LIVE,
        virtual_key_budget: budgetStatus(tightest(states, ['key']), clock.now()),
        entity_budget: budgetStatus(tightest(states, ['agent', 'member']), clock.now()),
      });
    }),
    read(
      'recent-requests',
      "The key's last model calls, newest first",
      recentReply,
      z.object({ limit: countText(100, 20), offset: countText(10_000, 0) }),
      async ({ query, caller }) => {
        const { workspaceId, keyId } = caller;
        const { calls, isCut } = await recentCalls(store, { workspaceId, keyId, from: 0, most: query.offset + query.limit });
        const [all] = await store.spend(workspaceId, 'key', { id: keyId, limit: 1 });
        return answer({
          ...LIVE,
          degraded: isCut,
          data: calls.slice(query.offset, query.offset + query.limit).map(({ reserve, settle }) => ({
            id: reserve.id,
            model: settle?.model ?? reserve.name,
            provider: reserve.provider ?? null,
            tokens_in: settle?.usage === undefined ? null : inputTokens(settle.usage),
            tokens_out: settle?.usage === undefined ? null : outputTokens(settle.usage),
            cost_cents: settle === undefined || settle.cost === null ? null : toCents(BigInt(settle.cost)),
            status: settle === undefined ? 'pending' : settle.status === 'completed' ? 'success' : 'failed',
            latency_ms: settle === undefined ? null : settle.at - reserve.at,
            created_at: new Date(reserve.at).toISOString(),
          })),
          pagination: { total: Math.max(all?.requests ?? 0, calls.length), limit: query.limit, offset: query.offset },
        });
      },
    ),
  ];
}

function countText(most: number, standard: number): z.ZodType<number> {
  return z
    .string()
    .regex(/^\d{1,6}$/, 'must be a whole number')
    .transform(Number)
    .pipe(z.number().max(most))
    .default(standard);
}

const DAYS_BACK: Readonly<Record<string, number>> = { '24h': 1, '7d': 7, '30d': 30, '90d': 90 };

/** Whole UTC days, as spend is kept; `billing_cycle` is the calendar month. `before` begins the period of the same length before. */
function periodOf(name: string, now: number): { readonly from: number; readonly to: number; readonly before: number } {
  const today = Date.parse(dayOf(now));
  const days = DAYS_BACK[name];
  const from = days === undefined ? Date.parse(`${dayOf(now).slice(0, 7)}-01`) : today - (days - 1) * DAY_MS;
  return { from, to: now, before: from - (Math.floor((now - from) / DAY_MS) + 1) * DAY_MS };
}

function dayOf(at: number): string {
  return new Date(at).toISOString().slice(0, 10);
}

/** Nano-dollars in cents. A number, because that is what these clients read; nothing is booked from it. */
function toCents(nanos: Nanos): number {
  return Number(nanos) / 1e7;
}

function costOf(row: SpendRow): Nanos {
  return row.modelNanos + row.toolNanos + row.retryNanos;
}

function costOfCall({ settle }: RecentCall): Nanos {
  return settle === undefined || settle.cost === null ? 0n : BigInt(settle.cost);
}

function inputTokens(logged: LoggedUsage | undefined): number {
  if (logged === undefined) return 0;
  const usage = usageOf(logged);
  return (usage.inputTokens ?? 0) + usage.cacheReadTokens + usage.cacheWrite5mTokens + usage.cacheWrite1hTokens + usage.audioInputTokens;
}

function outputTokens(usage: LoggedUsage | undefined): number {
  return (usage?.outputTokens ?? 0) + (usage?.audioOutputTokens ?? 0);
}

function sum<Item>(items: readonly Item[], amount: (item: Item) => number): number {
  return items.reduce((total, item) => total + amount(item), 0);
}

/** Change against the period before, in percent with one decimal; `null` when there was nothing before. */
function change(now: number, before: number): number | null {
  return before === 0 ? null : Math.round(((now - before) / before) * 1000) / 10;
}

/** The budget of these scopes that leaves the least. */
function tightest(states: readonly BudgetState[], scopes: readonly string[]): BudgetState | undefined {
  return states
    .filter(({ budget }) => scopes.includes(budget.config.scope))
    .sort((a, b) => (a.remaining < b.remaining ? -1 : a.remaining > b.remaining ? 1 : 0))[0];
}

const WINDOW_NAMES = { day: 'daily', month: 'monthly', lifetime: 'lifetime' } as const;

function budgetStatus(state: BudgetState | undefined, now: number): z.output<typeof budgetFigures> | null {
  if (state === undefined) return null;
  const { window, action } = state.budget.config;
  return {
    budget_cents: toCents(state.limit),
    spent_cents: toCents(state.settled),
    remaining_cents: toCents(state.remaining),
    usage_pct: Math.min(100, Number(percentText(state.settled, state.limit) ?? 100)),
    budget_window: WINDOW_NAMES[window],
    budget_action: action,
    resets_at: windowResetsAt(window, now) ?? null,
  };
}
