import { z } from 'zod';
import { RUN_STATUSES, runShape, runSummaryShape } from '@runpurse/core';
import type { BoundName } from '../../config/config.ts';
import type { Gateway } from '../../gateway.ts';
import { summarizeRun } from '../../views/index.ts';
import { readRun, runNotFound } from '../read-views.ts';
import { answer, refused, route, type AnyRoute } from '../route.ts';
import { amount, boundsInput, identifier, listOf, pageLimit, reason, runCursor } from '../shapes.ts';
import { subjectOf } from '../subject.ts';

const startInput = z.strictObject({
  run_id: identifier.optional().describe('Made by the gateway when left out'),
  session_id: identifier.optional(),
  workflow_id: identifier.optional(),
  agent_id: identifier.optional(),
  agent_name: identifier.optional(),
  customer_id: identifier.optional(),
  limit_usd: amount.optional().describe("The run's own cap; it only tightens what the operator set"),
  bounds: boundsInput.optional(),
});

const endInput = z.strictObject({
  status: z.enum(['completed', 'failed', 'stopped']),
  reason: reason.optional(),
  revenue_usd: amount.optional().describe('What the run earned; booked once, also when it comes with a later end'),
  outbound_usd: amount.optional().describe('Payments the run made to others'),
  fees_usd: amount.optional(),
});

const listQuery = z.strictObject({
  session_id: identifier.optional(),
  agent_id: identifier.optional(),
  workflow_id: identifier.optional(),
  customer_id: identifier.optional(),
  status: z.enum(RUN_STATUSES).optional(),
  started_from: z.iso.datetime({ offset: true }).optional(),
  started_to: z.iso.datetime({ offset: true }).optional(),
  cursor: runCursor.optional(),
  limit: pageLimit(200, 50),
});

const runParams = z.object({ id: identifier });
const runAnswer = { 200: { description: 'The run as it stands now', shape: runShape } };

/** A run's life and its reads. */
export function runRoutes(gateway: Gateway): readonly AnyRoute[] {
  const { admission, store } = gateway;

  const controls = (['stop', 'pause', 'resume'] as const).map((operation) =>
    route({
      method: 'post',
      path: `/v1/runs/{id}/${operation}`,
      tag: 'runs',
      summary: CONTROL_TEXT[operation],
      params: runParams,
      body: z.strictObject({ reason: reason.optional() }),
      bodyOptional: true,
      answers: runAnswer,
      refusals: ['not_found', 'run_ended'],
      async handle({ params, body, caller }) {
        const { workspaceId, keyId } = caller;
        const result = await admission.controlRun({ workspaceId, keyId, runId: params.id }, operation, body.reason);
        return result.type === 'refused' ? refused(result.refusal) : answer(await readRun(gateway, workspaceId, params.id));
      },
    }),
  );

  return [
    route({
      method: 'post',
      path: '/v1/runs',
      tag: 'runs',
      summary: 'Begin a run',
      description: 'Optional: a run also begins with its first model call or event. Starting it again with the same facts changes nothing.',
      body: startInput,
      answers: { 200: { description: 'The run existed already', shape: runShape }, 201: { description: 'The run began', shape: runShape } },
      refusals: ['identity_forged', 'policy_denied', 'run_ended', 'context_conflict'],
      async handle({ body, caller }) {
        const runId = body.run_id ?? gateway.ids.next('run');
        const subject = subjectOf(caller, { ...body, run_id: runId });
        if ('code' in subject) return refused(subject);
        const result = await admission.startRun({
          subject,
          limit: body.limit_usd,
          bounds: body.bounds === undefined ? undefined : definedBounds(body.bounds),
        });
        if (result.type === 'refused') return refused(result.refusal);
        return answer(await readRun(gateway, caller.workspaceId, runId), result.type === 'started' ? 201 : 200);
      },
    }),
    route({
      method: 'post',
      path: '/v1/runs/{id}/end',
      tag: 'runs',
      summary: 'End a run with its status and revenue',
      params: runParams,
      body: endInput,
      answers: runAnswer,
      refusals: ['not_found', 'run_ended'],
      async handle({ params, body, caller }) {
        const { workspaceId, keyId } = caller;
        const run = { workspaceId, keyId, runId: params.id };
        const amounts = { revenue: body.revenue_usd, outbound: body.outbound_usd, fees: body.fees_usd };
        const result = await admission.endRun(run, { status: body.status, reason: body.reason, ...amounts });
        if (result.type === 'refused') return refused(result.refusal);
        // Ended before by an event that knew no revenue: it is booked now. Reported twice, it is booked once.
        if (
          result.type === 'exists' &&
          amounts.revenue !== undefined &&
          (await store.run(workspaceId, params.id))?.revenueNanos === undefined
        )
          await admission.bookFinance(run, amounts);
        return answer(await readRun(gateway, workspaceId, params.id));
      },
    }),
    ...controls,
    route({
      method: 'get',
      path: '/v1/runs/{id}',
      tag: 'runs',
      summary: 'A run with its steps, requests, tools, decisions, cost, margin and budgets',
      params: runParams,
      answers: runAnswer,
      refusals: ['not_found'],
      async handle({ params, caller }) {
        const run = await readRun(gateway, caller.workspaceId, params.id);
        return run === undefined ? refused(runNotFound(params.id)) : answer(run);
      },
    }),
    route({
      method: 'get',
      path: '/v1/runs',
      tag: 'runs',
      summary: "The workspace's runs, newest first",
      query: listQuery,
      answers: { 200: { description: 'A page of runs', shape: listOf(runSummaryShape) } },
      async handle({ query, caller }) {
        const page = await store.runs({
          workspaceId: caller.workspaceId,
          sessionId: query.session_id,
          agentId: query.agent_id,
          workflowId: query.workflow_id,
          customerId: query.customer_id,
          status: query.status,
          startedFrom: query.started_from === undefined ? undefined : Date.parse(query.started_from),
          startedTo: query.started_to === undefined ? undefined : Date.parse(query.started_to),
          cursor: query.cursor,
          limit: query.limit,
        });
        return answer({ data: page.rows.map((row) => summarizeRun(row)), next_cursor: page.nextCursor ?? null });
      },
    }),
  ];
}

const CONTROL_TEXT = {
  stop: 'Stop a run: every further call of it is refused',
  pause: 'Pause a run: its calls are refused until it is resumed',
  resume: 'Let a paused run go on',
} as const;

function definedBounds(bounds: z.output<typeof boundsInput>): Partial<Record<BoundName, number>> {
  return Object.fromEntries(Object.entries(bounds).filter(([, value]) => value !== undefined));
}
