import { createHash } from 'node:crypto';
import { z } from 'zod';
import { formatUsd, type Refusal } from '@runpurse/core';
import type { Budget } from '../../admit/types.ts';
import { budgetBody, parseBudget } from '../../config/stored-budget.ts';
import { BUDGET_SCOPES } from '../../config/config.ts';
import type { Gateway } from '../../gateway.ts';
import { budgetWire } from '../budget-wire.ts';
import { answer, refused, route, type AnyRoute } from '../route.ts';
import { amount, budgetShape, identifier, listOf } from '../shapes.ts';

const IDEMPOTENCY_KEY_MAX = 2000;

const budgetInput = z.strictObject({
  budget_id: identifier.optional().describe('Of an existing budget: it is replaced, its counters stay'),
  idempotency_key: z
    .string()
    .min(1)
    .max(IDEMPOTENCY_KEY_MAX)
    .optional()
    .describe('Names what is made: sent again with the same key, it replaces the budget it made, also at the same instant'),
  name: identifier.optional(),
  scope: z.enum(BUDGET_SCOPES),
  id: identifier.optional().describe('Default `*`: each id of the scope has its own counter'),
  window: z.enum(['lifetime', 'day', 'month']).optional(),
  limit_usd: amount,
  action: z.string().optional().describe('block, alert_only or pause, and the aliases of the Alephant surfaces'),
  on_exceed: z.enum(['refuse', 'clamp']).optional(),
  thresholds: z.array(z.number().int().min(1).max(100)).max(20).optional(),
});

/** Budgets of the caller's workspace. Those of every workspace are the operator's: runpurse.yaml and the CLI. */
export function budgetRoutes(gateway: Gateway): readonly AnyRoute[] {
  const { admission, store } = gateway;
  const find = (budgetId: string, workspaceId: string): Budget | undefined =>
    admission.budgets().find((budget) => budget.budgetId === budgetId && visibleTo(budget, workspaceId));

  return [
    route({
      method: 'get',
      path: '/v1/budgets',
      tag: 'budgets',
      summary: 'Budgets that are enforced for this workspace',
      answers: { 200: { description: 'All of them', shape: listOf(budgetShape) } },
      handle: ({ caller }) =>
        answer({
          data: admission
            .budgets()
            .filter((budget) => visibleTo(budget, caller.workspaceId))
            .map(budgetWire),
          next_cursor: null,
        }),
    }),
    route({
      method: 'post',
      path: '/v1/budgets',
      tag: 'budgets',
      summary: 'Make a budget for this workspace, or replace one',
      description: 'Raising a cap lets runs go on that it had paused.',
      admin: true,
      body: budgetInput,
      answers: { 200: { description: 'Replaced', shape: budgetShape }, 201: { description: 'Made', shape: budgetShape } },
      refusals: ['not_found', 'conflict'],
      async handle({ body, caller }) {
        const { budget_id: replaced, idempotency_key: key, limit_usd: limit, ...rest } = body;
        if (replaced !== undefined && key !== undefined) return refused(NAMED_TWICE);
        const given = replaced ?? (key === undefined ? undefined : keyedId(caller.workspaceId, key));
        const existing = given === undefined ? undefined : find(given, caller.workspaceId);
        if (replaced !== undefined) {
          if (existing === undefined) return refused(budgetNotFound(replaced));
          const fixed = notOurs(existing, caller.workspaceId);
          if (fixed !== undefined) return refused(fixed);
        }
        const parsed = parseBudget({ ...rest, limit_usd: formatUsd(limit), workspace: caller.workspaceId });
        if (parsed.type === 'invalid')
          return refused({ code: 'invalid_request', message: `The field ${parsed.path} ${parsed.message}.`, param: parsed.path });
        const budgetId = given ?? gateway.ids.next('bud');
        await store.putBudget({ budgetId, body: budgetBody(parsed.config), updatedAt: gateway.clock.now() });
        admission.reloadBudgets();
        return answer(budgetWire({ budgetId, config: parsed.config, origin: 'api' }), existing === undefined ? 201 : 200);
      },
    }),
    route({
      method: 'delete',
      path: '/v1/budgets/{id}',
      tag: 'budgets',
      summary: 'Remove a budget of this workspace',
      admin: true,
      params: z.object({ id: identifier }),
      answers: { 200: { description: 'Removed', shape: z.object({ budget_id: z.string(), deleted: z.literal(true) }) } },
      refusals: ['not_found', 'conflict'],
      async handle({ params, caller }) {
        const existing = find(params.id, caller.workspaceId);
        if (existing === undefined) return refused(budgetNotFound(params.id));
        const fixed = notOurs(existing, caller.workspaceId);
        if (fixed !== undefined) return refused(fixed);
        await store.deleteBudget(params.id);
        admission.reloadBudgets();
        return answer({ budget_id: params.id, deleted: true });
      },
    }),
  ];
}

const NAMED_TWICE: Refusal = {
  code: 'invalid_request',
  message: 'A budget is replaced by its budget_id or named by an idempotency_key, not both. Leave one out. Nothing was changed.',
  param: 'idempotency_key',
};

/** The same key of a workspace is always the same budget, so that two requests at once need not wait for each other. */
function keyedId(workspaceId: string, key: string): string {
  const digest = createHash('sha256').update(JSON.stringify([workspaceId, key]));
  return `bud_${digest.digest('hex').slice(0, 32)}`;
}

function visibleTo(budget: Budget, workspaceId: string): boolean {
  return budget.config.workspace === undefined || budget.config.workspace === workspaceId;
}

function budgetNotFound(budgetId: string) {
  return {
    code: 'not_found' as const,
    message: `There is no budget ${budgetId} in this workspace. GET /v1/budgets lists them.`,
    details: { budget_id: budgetId },
  };
}

/** A workspace's admin changes that workspace's budgets; what the operator set for all stays the operator's. */
function notOurs(budget: Budget, workspaceId: string) {
  if (budget.origin === 'config')
    return {
      code: 'conflict' as const,
      message: `Budget ${budget.budgetId} stands in runpurse.yaml. Change it there and start the gateway again.`,
      details: { budget_id: budget.budgetId },
    };
  if (budget.config.workspace !== workspaceId)
    return {
      code: 'conflict' as const,
      message: `Budget ${budget.budgetId} holds for every workspace. Only the operator changes it: \`runpurse budgets set ${budget.budgetId}\`.`,
      details: { budget_id: budget.budgetId },
    };
  return undefined;
}
