import { z } from 'zod';
import type { Refusal } from '@runpurse/core';
import type { Gateway } from '../../gateway.ts';
import { SPEND_SCOPES, type SpendRow, type SpendScope } from '../../store/store.ts';
import { budgetStatesFor } from '../read-views.ts';
import { answer, refused, route, type AnyRoute } from '../route.ts';
import { day, identifier, pageLimit, scopeShape, totalsShape } from '../shapes.ts';
import { marginNanos } from '../../views/index.ts';
import { sumOf, totalsOf } from '../totals.ts';

const MARGIN_SCOPES = ['run', 'session', 'workflow', 'agent', 'customer', 'member', 'key', 'workspace'] as const;
const ROWS_MAX = 1000;
const DAYS_MAX = 366;
const DAY_MS = 86_400_000;

const period = {
  from: day.optional().describe('First UTC day, inclusive; default: since the beginning'),
  to: day.optional().describe('Last UTC day, inclusive; default: today'),
};

const spendQuery = z.strictObject({
  by: z.enum([...SPEND_SCOPES, 'day']),
  ...period,
  id: identifier.optional(),
  limit: pageLimit(ROWS_MAX, 100),
});
const marginQuery = z.strictObject({ by: z.enum(MARGIN_SCOPES), ...period, id: identifier.optional(), limit: pageLimit(ROWS_MAX, 100) });

const spendShape = z.object({
  by: z.string(),
  from: z.string().nullable(),
  to: z.string().nullable(),
  data: z.array(totalsShape),
  total: totalsShape.describe('Of the rows in `data`'),
});

/** Spend and margin by any unit, and the totals of a workflow, agent and workspace. */
export function spendRoutes(gateway: Gateway): readonly AnyRoute[] {
  const { store, clock } = gateway;

  async function rowsBy(workspaceId: string, query: z.output<typeof spendQuery>): Promise<readonly SpendRow[] | Refusal> {
    if (query.from !== undefined && query.to !== undefined && query.from > query.to)
      return {
        code: 'invalid_request',
        message: `The query parameter from (${query.from}) is later than to (${query.to}).`,
        param: 'from',
      };
    if (query.by !== 'day')
      return store.spend(workspaceId, query.by, { fromDay: query.from, toDay: query.to, id: query.id, limit: query.limit });
    const to = query.to ?? dayOf(clock.now());
    const from = query.from ?? dayOf(Date.parse(to) - 29 * DAY_MS);
    if (Date.parse(to) - Date.parse(from) > DAYS_MAX * DAY_MS)
      return {
        code: 'invalid_request',
        message: `The query parameter from (${from}) lies more than ${DAYS_MAX} days before to (${to}). Ask for fewer days at once.`,
        param: 'from',
      };
    return (await store.spendByDay(workspaceId, from, to)).map((row) => ({ ...row, id: row.day }));
  }

  const table = (query: z.output<typeof spendQuery>, rows: readonly SpendRow[]) =>
    answer({
      by: query.by,
      from: query.from ?? null,
      to: query.to ?? null,
      data: rows.map(totalsOf),
      total: totalsOf(sumOf('total', rows)),
    });

  const scopes = (['workflow', 'agent', 'workspace'] as const).map((scope) =>
    route({
      method: 'get',
      path: `/v1/${scope}s/{id}`,
      tag: scope === 'workspace' ? 'workspaces' : `${scope}s`,
      summary: `What ${ARTICLE[scope]} ${scope} cost and earned, and its budgets`,
      params: z.object({ id: identifier }),
      answers: { 200: { description: 'Totals over all time', shape: scopeShape } },
      refusals: ['not_found'],
      async handle({ params, caller }) {
        const { workspaceId } = caller;
        const isForeign = scope === 'workspace' && params.id !== workspaceId;
        const [row] = isForeign ? [] : await store.spend(workspaceId, scope, { id: params.id, limit: 1 });
        const found = row ?? (scope === 'workspace' && !isForeign ? sumOf(workspaceId, []) : undefined);
        if (found === undefined) return refused(nothingKnown(scope, params.id));
        return answer({
          ...totalsOf(found),
          scope,
          workspace_id: workspaceId,
          budgets: budgetStatesFor(gateway, { workspaceId, ...SUBJECT[scope](params.id) }),
        });
      },
    }),
  );

  return [
    route({
      method: 'get',
      path: '/v1/spend',
      tag: 'spend',
      summary: 'What was spent, by unit, model, tool or day',
      query: spendQuery,
      answers: { 200: { description: 'Most expensive first; days in order', shape: spendShape } },
      async handle({ query, caller }) {
        const rows = await rowsBy(caller.workspaceId, query);
        if ('code' in rows) return refused(rows);
        return table(query, query.by === 'day' ? rows : [...rows].sort((a, b) => compare(costOf(b), costOf(a))));
      },
    }),
    route({
      method: 'get',
      path: '/v1/margin',
      tag: 'spend',
      summary: 'Known margin by unit, the greatest loss first',
      query: marginQuery,
      answers: { 200: { description: 'Units without revenue come last: their margin is unknown', shape: spendShape } },
      async handle({ query, caller }) {
        // The store hands out the most expensive first; a loss may hide behind them, so more are looked at than shown.
        const rows = await rowsBy(caller.workspaceId, { ...query, limit: ROWS_MAX });
        if ('code' in rows) return refused(rows);
        return table(query, [...rows].sort(byMargin).slice(0, query.limit));
      },
    }),
    ...scopes,
  ];
}

const ARTICLE: Readonly<Record<'workflow' | 'agent' | 'workspace', string>> = { workflow: 'a', agent: 'an', workspace: 'the' };

const SUBJECT: Readonly<Record<'workflow' | 'agent' | 'workspace', (id: string) => object>> = {
  workflow: (workflowId) => ({ workflowId }),
  agent: (agentId) => ({ agentId }),
  workspace: () => ({}),
};

function nothingKnown(scope: SpendScope, id: string): Refusal {
  return {
    code: 'not_found',
    message: `Nothing is known of ${scope} ${id} in this workspace. Check the id and the key's workspace.`,
    details: { [`${scope}_id`]: id },
  };
}

function costOf(row: SpendRow): bigint {
  return row.modelNanos + row.toolNanos + row.retryNanos;
}

function compare(a: bigint, b: bigint): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function byMargin(a: SpendRow, b: SpendRow): number {
  const [marginA, marginB] = [marginNanos(a), marginNanos(b)];
  if (marginA === undefined || marginB === undefined) return Number(marginA === undefined) - Number(marginB === undefined);
  return compare(marginA, marginB);
}

function dayOf(at: number): string {
  return new Date(at).toISOString().slice(0, 10);
}
