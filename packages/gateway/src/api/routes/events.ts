import { z } from 'zod';
import { contextFromHeaders, rawAgentEvent, type EventMapping } from '@runpurse/core';
import type { Gateway } from '../../gateway.ts';
import { notTaken } from '../../ingest/errors.ts';
import { createIngest, type IngestResult } from '../../ingest/index.ts';
import { route, type Answer, type AnyRoute } from '../route.ts';
import { flag } from '../shapes.ts';

const batchShape = z.looseObject({
  source: z.string().optional().describe('Who reports; of events that name none'),
  framework: z.string().optional(),
  events: z.array(rawAgentEvent),
});

const decisionShape = z.looseObject({
  eventId: z.string(),
  eventType: z.string(),
  runId: z.string().nullable(),
  stepId: z.string().nullable(),
  allowed: z.boolean(),
  policyDecision: z.enum(['allowed', 'denied', 'skipped']),
  policyStage: z.string(),
  sinkStatus: z.literal('sent'),
  reason: z.string().describe('Of a denial: the refusal code'),
  blockedBy: z.string().nullable(),
  reasonMessage: z.string().nullable(),
  violations: z.array(z.looseObject({ field: z.string(), reason: z.string() })),
  warnings: z.array(z.looseObject({ field: z.string(), reason: z.string() })),
  duplicate: z.boolean().optional(),
});

const takenShape = z.object({
  accepted: z.number().int(),
  rejected: z.number().int(),
  allowed: z.boolean(),
  decisions: z.array(decisionShape),
});

/** Agent events in: one, or a batch that is taken whole or not at all. */
export function eventRoutes(gateway: Gateway, mappings: readonly EventMapping[]): readonly AnyRoute[] {
  const ingest = createIngest(gateway, { mappings });
  return [
    route({
      method: 'post',
      path: '/v1/agent/events',
      tag: 'events',
      summary: 'Report events, and ask whether an action may happen',
      description:
        'Deduplicated by `event_id`. A denial is a 202 with `allowed: false`, as in the Alephant protocol; with `?enforce=true` it has its own status.',
      query: z.strictObject({ enforce: flag.optional() }),
      // Parsed event by event further in; declared here as what it may be.
      body: z.unknown(),
      documentedBody: z.union([batchShape, rawAgentEvent]),
      bodyBytesMax: gateway.config.limits.max_event_body_bytes,
      bodyTooLarge: (bytesMax) =>
        respond(
          notTaken({
            type: 'error',
            code: 'payload_too_large',
            message: `The body is larger than ${bytesMax} bytes. Send fewer events at once. Nothing of the body was stored or charged.`,
            count: 0,
          }),
        ),
      answers: { 202: { description: 'Taken; `allowed` says whether the actions asked about may happen', shape: takenShape } },
      refusals: [
        'budget_exceeded',
        'run_paused',
        'policy_denied',
        'identity_forged',
        'run_ended',
        'context_conflict',
        'price_unknown',
        'rate_limited',
      ],
      async handle({ query, body, bodyBytes, caller, headers }) {
        const { context } = contextFromHeaders(Object.fromEntries(headers));
        return respond(await ingest.accept(body, bodyBytes, { key: caller, context }, { enforce: query.enforce === true }));
      },
    }),
  ];
}

function respond({ status, body, headers }: IngestResult): Answer {
  return { type: 'raw', response: Response.json(body, { status, headers: { ...headers } }) };
}
