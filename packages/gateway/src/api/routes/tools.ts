import { z } from 'zod';
import { budgetStateShape, formatUsd, usd, type Nanos } from '@runpurse/core';
import type { Outcome, Reservation } from '../../admit/types.ts';
import type { Gateway } from '../../gateway.ts';
import type { SettleEntry } from '../../store/entry.ts';
import { budgetStatesFor, runNotFound } from '../read-views.ts';
import { answer, refused, route, type AnyRoute } from '../route.ts';
import { amount, identifier, reason } from '../shapes.ts';
import { subjectOf } from '../subject.ts';

const authorizeInput = z.strictObject({
  run_id: identifier,
  tool: identifier,
  tool_call_id: identifier.optional().describe('Key of the hold; made by the gateway when left out. Asking twice with one id holds once.'),
  session_id: identifier.optional(),
  workflow_id: identifier.optional(),
  agent_id: identifier.optional(),
  agent_name: identifier.optional(),
  customer_id: identifier.optional(),
  step_id: identifier.optional(),
  parent_step_id: identifier.optional(),
  graph_node: identifier.optional(),
  attempt: z.number().int().min(1).max(1_000_000).optional(),
  input_hash: identifier.optional().describe('Hash of the input, so that identical calls in a row are seen as a loop'),
  estimated_cost_usd: amount.optional().describe('What the call may cost; a price configured in the gateway wins'),
});

const reservationShape = z.object({
  reservation_id: z.string(),
  tool_call_id: z.string(),
  run_id: z.string(),
  tool: z.string(),
  attempt: z.number().int(),
  held_usd: usd,
  /** The tool has no configured price and none was estimated: its cost is unknown until reported. */
  price_unknown: z.boolean(),
  expires_at: z.iso.datetime().describe('Unsettled by then, the hold is charged'),
  warnings: z.array(z.string()),
  budgets: z.array(budgetStateShape),
});

const settleInput = z
  .strictObject({
    reservation_id: identifier.optional(),
    run_id: identifier.optional(),
    tool_call_id: identifier.optional(),
    status: z.enum(['completed', 'failed', 'released']).default('completed').describe('`released`: the tool was not called'),
    cost_usd: amount.optional().describe('What it cost; a price configured in the gateway wins'),
    error: reason.optional(),
  })
  .refine((body) => body.reservation_id !== undefined || (body.run_id !== undefined && body.tool_call_id !== undefined), {
    message: 'is missing: give reservation_id, or run_id with tool_call_id',
    path: ['reservation_id'],
  });

const settledShape = z.object({
  reservation_id: z.string(),
  run_id: z.string(),
  tool: z.string(),
  status: z.enum(['settled', 'already_settled']),
  charged_usd: usd.nullable().describe('null: nobody knows what it cost'),
  overage_usd: usd,
  budgets: z.array(budgetStateShape),
});

/** The REST convenience over the same admission that tool events go through. */
export function toolRoutes(gateway: Gateway): readonly AnyRoute[] {
  const { admission, config, store } = gateway;
  const priced = new Map(config.tools.map((tool) => [tool.name, tool]));

  /** A configured price wins over what the caller reports; a failed call is free where the operator says so. */
  function outcomeOf(tool: string, status: Outcome['status'], reported: Nanos | undefined, error: string | undefined): Outcome {
    const configured = priced.get(tool);
    const free = status === 'released' || (status === 'failed' && configured?.charge_on_failure === false);
    return { status, cost: free ? 0n : (configured?.price_usd ?? reported), ...(error === undefined ? {} : { error }) };
  }

  async function settledBefore(
    workspaceId: string,
    by: { reservation_id?: string | undefined; run_id?: string | undefined; tool_call_id?: string | undefined },
  ) {
    if (by.run_id === undefined) return undefined;
    const settles = new Map<string, SettleEntry>();
    for (let beforeSeq: number | undefined; ;) {
      const page = await store.entries({
        workspaceId,
        runId: by.run_id,
        types: ['reserve', 'settle'],
        order: 'desc',
        beforeSeq,
        limit: 1000,
      });
      for (const { entry } of page) {
        if (entry.type === 'settle') settles.set(entry.id, entry);
        if (entry.type !== 'reserve' || entry.kind !== 'tool') continue;
        if (entry.id !== by.reservation_id && (by.tool_call_id === undefined || entry.toolCallId !== by.tool_call_id)) continue;
        const settle = settles.get(entry.id);
        return settle === undefined ? undefined : { reserve: entry, settle };
      }
      beforeSeq = page.at(-1)?.seq;
      if (beforeSeq === undefined) return undefined;
    }
  }

  return [
    route({
      method: 'post',
      path: '/v1/tools/authorize',
      tag: 'tools',
      summary: 'May this tool be called? If so its price is held',
      body: authorizeInput,
      answers: { 200: { description: 'It may be called', shape: reservationShape } },
      refusals: [
        'budget_exceeded',
        'run_paused',
        'policy_denied',
        'identity_forged',
        'run_ended',
        'context_conflict',
        'conflict',
        'rate_limited',
      ],
      async handle({ body, caller }) {
        const id = gateway.ids.next('auth');
        const toolCallId = body.tool_call_id ?? id;
        const subject = subjectOf(caller, { ...body, tool_call_id: toolCallId });
        if ('code' in subject) return refused(subject);
        const asked = admission.findOpen(caller.workspaceId, body.run_id, 'tool', toolCallId);
        if (asked !== undefined && asked.name !== body.tool)
          return refused({
            code: 'conflict',
            message: `Tool call ${toolCallId} of run ${body.run_id} is open for tool ${asked.name}, not ${body.tool}. Give each tool call its own id.`,
            param: 'tool_call_id',
          });
        if (asked === undefined && admission.toolCallKnown(caller.workspaceId, body.run_id, toolCallId))
          return refused({
            code: 'conflict',
            message: `Tool call ${toolCallId} of run ${body.run_id} was authorized and settled before. A new call of tool ${body.tool} needs its own tool_call_id.`,
            param: 'tool_call_id',
          });
        const result =
          asked === undefined
            ? await admission.admit({
                subject,
                kind: 'tool',
                name: body.tool,
                source: 'self_reported',
                id,
                hold: priced.get(body.tool)?.price_usd ?? body.estimated_cost_usd,
                fingerprint: body.input_hash === undefined ? undefined : () => `${body.tool}:${body.input_hash}`,
              })
            : { type: 'admitted' as const, reservation: asked, audits: [] };
        if (result.type === 'refused') return refused(result.refusal);
        return answer(reservationBody(result.reservation, toolCallId, result.audits));
      },
    }),
    route({
      method: 'post',
      path: '/v1/tools/settle',
      tag: 'tools',
      summary: 'Say what an authorized tool call came to',
      description: 'Once per authorization. A repeated settlement changes nothing and is told so.',
      body: settleInput,
      answers: { 200: { description: 'Settled', shape: settledShape } },
      refusals: ['not_found'],
      async handle({ body, caller }) {
        const { workspaceId } = caller;
        const open =
          body.reservation_id === undefined
            ? admission.findOpen(workspaceId, body.run_id ?? '', 'tool', body.tool_call_id ?? '')
            : admission.reservation(body.reservation_id);
        if (
          open === undefined ||
          open.kind !== 'tool' ||
          open.subject.workspaceId !== workspaceId ||
          (body.run_id !== undefined && open.subject.runId !== body.run_id)
        ) {
          const before = await settledBefore(workspaceId, body);
          if (before !== undefined)
            return answer({
              reservation_id: before.reserve.id,
              run_id: before.reserve.runId,
              tool: before.reserve.name,
              status: 'already_settled',
              charged_usd: before.settle.cost === null ? null : formatUsd(BigInt(before.settle.cost)),
              overage_usd: '0',
              budgets: budgetStatesFor(gateway, { workspaceId, runId: before.reserve.runId }),
            });
          return refused(
            body.run_id !== undefined && (await store.run(workspaceId, body.run_id)) === undefined
              ? runNotFound(body.run_id)
              : {
                  code: 'not_found',
                  message: `There is no open authorization ${body.reservation_id ?? `of tool call ${body.tool_call_id ?? ''} in run ${body.run_id ?? ''}`}. It was settled before, or never made: ask POST /v1/tools/authorize first.`,
                  param: body.reservation_id === undefined ? 'tool_call_id' : 'reservation_id',
                },
          );
        }
        const settled = admission.settle(open.id, outcomeOf(open.name, body.status, body.cost_usd, body.error));
        await store.flush();
        return answer({
          reservation_id: open.id,
          run_id: open.subject.runId,
          tool: open.name,
          status: settled === undefined ? 'already_settled' : 'settled',
          charged_usd: settled?.charged === undefined ? null : formatUsd(settled.charged),
          overage_usd: formatUsd(settled?.overage ?? 0n),
          budgets: budgetStatesFor(gateway, open.subject),
        });
      },
    }),
  ];

  function reservationBody(reservation: Reservation, toolCallId: string, warnings: readonly string[]) {
    return {
      reservation_id: reservation.id,
      tool_call_id: toolCallId,
      run_id: reservation.subject.runId,
      tool: reservation.name,
      attempt: reservation.attempt,
      held_usd: formatUsd(reservation.hold),
      price_unknown: reservation.priceUnknown,
      expires_at: new Date(reservation.at + config.store.authorization_ttl_s * 1000).toISOString(),
      warnings,
      budgets: budgetStatesFor(gateway, reservation.subject),
    };
  }
}
