import { z } from 'zod';
import { contextFromHeaders, mappingOf, rawAgentEvent, sourceName, type AgentContext } from '@runpurse/core';
import type { Gateway } from '../../gateway.ts';
import { notTaken } from '../../ingest/errors.ts';
import { readForeignBody } from '../../ingest/foreign-body.ts';
import { createIngest, type IngestResult } from '../../ingest/index.ts';
import { refused, route, type Answer, type AnyRoute } from '../route.ts';
import { flag, identifier } from '../shapes.ts';

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

const foreignTakenShape = takenShape.extend({
  ignored: z.number().int().describe('Events of the body that are neither an action nor money, of which nothing is kept'),
});

const ASKING = [
  'budget_exceeded',
  'run_paused',
  'policy_denied',
  'identity_forged',
  'run_ended',
  'context_conflict',
  'price_unknown',
  'rate_limited',
] as const;

/** Ids that a sender without headers of its own writes into the address it posts to. */
const queryContext = z.strictObject({
  run_id: identifier.optional().describe('The run of events that name none'),
  session_id: identifier.optional(),
  workflow_id: identifier.optional(),
  customer_id: identifier.optional(),
  agent_id: identifier.optional(),
});

/** Agent events in: one, or a batch that is taken whole or not at all; in our words, or in those of a framework. */
export function eventRoutes(gateway: Gateway): readonly AnyRoute[] {
  const ingest = createIngest(gateway);
  const { mappings } = gateway;
  const bodyTooLarge = (bytesMax: number): Answer =>
    respond(
      notTaken({
        type: 'error',
        code: 'payload_too_large',
        message: `The body is larger than ${bytesMax} bytes. Send fewer events at once. Nothing of the body was stored or charged.`,
        count: 0,
      }),
    );
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
      bodyTooLarge,
      answers: { 202: { description: 'Taken; `allowed` says whether the actions asked about may happen', shape: takenShape } },
      refusals: ASKING,
      async handle({ query, body, bodyBytes, caller, headers }) {
        const { context } = contextFromHeaders(Object.fromEntries(headers));
        return respond(await ingest.accept(body, bodyBytes, { key: caller, context }, { enforce: query.enforce === true }));
      },
    }),
    route({
      method: 'post',
      path: '/v1/ingest/{source}',
      tag: 'events',
      summary: "Report a framework's own events, such as its webhooks post them",
      description:
        'The source names a registered event mapping; only what the mapping names is read. Taken whole or not at all, deduplicated by event id; ids that the events lack are filled from the query, then from the headers.',
      params: z.object({ source: z.string().min(1).max(64) }),
      query: queryContext,
      body: z.unknown(),
      documentedBody: z.union([z.looseObject({ events: z.array(z.looseObject({})) }), z.looseObject({})]),
      bodyBytesMax: gateway.config.limits.max_request_bytes,
      bodyTooLarge,
      answers: { 202: { description: 'Taken', shape: foreignTakenShape } },
      refusals: ['not_found', ...ASKING],
      async handle({ params, query, body, caller, headers }) {
        const mapping = mappingOf(sourceName(params.source), mappings);
        if (mapping === undefined)
          return refused({
            code: 'not_found',
            message: `No event mapping is registered for ${JSON.stringify(params.source)}. There is ${mappings.map(({ source }) => source).join(', ')}; more can be registered with ingest.mappings in the configuration.`,
            param: 'source',
          });
        const read = readForeignBody(body, mapping);
        if (read.type !== 'events') return respond(notTaken(read));
        const { events, places, ignored } = read;
        if (events.length === 0) return respond({ status: 202, body: { ...NOTHING, ignored }, headers: {} });
        const context: AgentContext = { ...contextFromHeaders(Object.fromEntries(headers)).context, ...contextOf(query) };
        const bytes = Math.min(gateway.config.limits.max_event_body_bytes, Buffer.byteLength(JSON.stringify(events)));
        const result = await ingest.accept(
          { source: mapping.source, events },
          bytes,
          { key: caller, context },
          { enforce: false, reportsOnly: true },
        );
        const said = result.status === 202 ? { ...result.body, ignored } : asSent(result.body, places);
        return respond({ ...result, body: said });
      },
    }),
  ];
}

const NOTHING = { accepted: 0, rejected: 0, allowed: true, decisions: [] };

function contextOf(query: z.output<typeof queryContext>): AgentContext {
  const { run_id: runId, session_id: sessionId, workflow_id: workflowId, customer_id: customerId, agent_id: agentId } = query;
  return JSON.parse(JSON.stringify({ runId, sessionId, workflowId, customerId, agentId })) as AgentContext;
}

/** A refusal in terms of the body that was sent, where events that mean nothing stood between. */
function asSent(body: IngestResult['body'], places: readonly string[]): IngestResult['body'] {
  const { error } = body;
  if (typeof error !== 'object' || error === null) return body;
  const renamed = Object.entries(error).map(([name, value]) => [
    name,
    typeof value === 'string'
      ? value.replace(/\bevents\[(\d+)\]/g, (match, index: string) => places[Number(index)] || match)
      : (value as unknown),
  ]);
  return { ...body, error: Object.fromEntries(renamed) as typeof error };
}

function respond({ status, body, headers }: IngestResult): Answer {
  return { type: 'raw', response: Response.json(body, { status, headers: { ...headers } }) };
}
