import { z } from 'zod';
import { usd } from '@runpurse/core';
import type { Gateway } from '../../gateway.ts';
import {
  listNotices,
  NOTICE_TYPES,
  readWebhookUrl,
  SUBSCRIPTIONS_PER_WORKSPACE_MAX,
  type ListedSubscription,
  type Subscription,
} from '../../notify/index.ts';
import { answer, refused, route, type AnyRoute } from '../route.ts';
import { cursor, flag, identifier, pageLimit } from '../shapes.ts';

const webhookInput = z.strictObject({
  url: z.string().min(1).describe('Where notices are posted; https, or http inside your own network'),
  events: z
    .array(z.enum(NOTICE_TYPES))
    .min(1)
    .max(10)
    .transform((types) => [...new Set(types)]),
  workflow: identifier.optional().describe('Only notices of this workflow'),
  agent: identifier.optional().describe('Only notices of this agent'),
  description: z.string().max(500).optional(),
});

const webhookShape = z.object({
  id: z.string(),
  url: z.string(),
  events: z.array(z.enum(NOTICE_TYPES)),
  workflow: z.string().optional(),
  agent: z.string().optional(),
  description: z.string().optional(),
  created_at: z.iso.datetime(),
});

const madeShape = webhookShape.extend({ secret: z.string() });

const listedShape = webhookShape.extend({
  last_delivery: z.object({ at: z.iso.datetime(), status: z.number().int().nullable(), error: z.string().optional() }).optional(),
  pending: z.number().int().describe('Notices not delivered yet; counted up to 1000 beyond those that are tried again'),
  failing_since: z.iso.datetime().optional(),
});

export const noticeShape = z.object({
  id: z.string().describe('The same whenever this notice is sent or listed'),
  type: z.enum(NOTICE_TYPES),
  created_at: z.iso.datetime(),
  data: z
    .looseObject({
      run: z.looseObject({}).nullable().optional().describe('run.ended: the run as GET /v1/runs/{id} shows it'),
      truncated: z.literal(true).optional().describe("run.ended: the run's lists were too long to be sent"),
      budget: z
        .union([z.string(), z.looseObject({ id: z.string(), cap_usd: usd, spent_usd: usd, reserved_usd: usd, remaining_usd: usd })])
        .optional(),
      threshold_percent: z.number().int().optional(),
      run_id: z.string().nullable().optional(),
      code: z.string().optional(),
      message: z.string().optional(),
    })
    .describe('By type: the run; the budget and its threshold; what was refused and why'),
});

/** `workflow=` without a value is no filter: automation tools send empty fields. */
const filter = z
  .string()
  .max(256)
  .optional()
  .transform((text) => (text === undefined || text.trim() === '' ? undefined : text.trim()));

const noticeQuery = z.strictObject({
  type: z.enum(NOTICE_TYPES).optional(),
  workflow: filter,
  agent: filter,
  after: cursor.regex(/^\d{1,16}$/, 'must be the next of the page before').optional(),
  limit: pageLimit(100, 50),
});

/** Webhooks and notices of the caller's workspace; any key of it manages them. */
export function webhookRoutes(gateway: Gateway): readonly AnyRoute[] {
  const { notifier } = gateway;
  return [
    route({
      method: 'post',
      path: '/v1/webhooks',
      tag: 'webhooks',
      summary: 'Be told: notices are posted to this address from now on',
      description:
        'Signed as Standard Webhooks say (`webhook-id`, `webhook-timestamp`, `webhook-signature`). At least once, each notice always with the same id. Anything but 2xx within 10 s is tried again for a day; 410 ends the webhook. It ends with the key that made it, too.',
      body: webhookInput,
      answers: {
        201: { description: 'Made; the secret is shown this once', shape: madeShape },
        200: {
          description: 'The same address is told the same already: that webhook, with a new secret instead of its own',
          shape: madeShape,
        },
      },
      async handle({ body, caller }) {
        const read = readWebhookUrl(body.url, notifier.privateAddresses);
        if ('problem' in read) return refused({ code: 'invalid_request', message: `The field url ${read.problem}.`, param: 'url' });
        const subscription: Subscription = {
          id: gateway.ids.next('whk'),
          workspaceId: caller.workspaceId,
          keyId: caller.keyId,
          url: read.url,
          events: body.events,
          workflow: body.workflow,
          agent: body.agent,
          description: body.description,
          createdAt: gateway.clock.now(),
        };
        const added = await notifier.add(subscription);
        if (added === undefined)
          return refused({
            code: 'invalid_request',
            message: `Workspace ${caller.workspaceId} has ${SUBSCRIPTIONS_PER_WORKSPACE_MAX} webhooks, which is the most. GET /v1/webhooks lists them; delete one first.`,
          });
        return answer({ ...webhookWire(added.subscription), secret: added.secret }, added.isNew ? 201 : 200);
      },
    }),
    route({
      method: 'get',
      path: '/v1/webhooks',
      tag: 'webhooks',
      summary: 'Webhooks of this workspace, with how their deliveries go',
      answers: { 200: { description: 'All of them', shape: z.object({ data: z.array(listedShape) }) } },
      async handle({ caller }) {
        return answer({ data: (await notifier.list(caller.workspaceId)).map(listedWire) });
      },
    }),
    route({
      method: 'delete',
      path: '/v1/webhooks/{id}',
      tag: 'webhooks',
      summary: 'Remove a webhook; what waits for it is not sent any more',
      params: z.object({ id: identifier }),
      query: z.strictObject({ missing_ok: flag.optional().describe('One that is gone already is as good as removed') }),
      answers: { 204: { description: 'Removed' } },
      refusals: ['not_found'],
      async handle({ params, query, caller }) {
        if ((await notifier.remove(caller.workspaceId, params.id)) || query.missing_ok === true)
          return { type: 'raw', response: new Response(null, { status: 204 }) };
        return refused({
          code: 'not_found',
          message: `There is no webhook ${params.id} in this workspace. GET /v1/webhooks lists them.`,
        });
      },
    }),
    route({
      method: 'get',
      path: '/v1/notices',
      tag: 'webhooks',
      summary: 'What happened, newest first: the same notices that webhooks get, with the same ids',
      description:
        'A page may hold fewer than `limit` and still have a `next`: a narrow filter is looked through in parts, and long runs end a page early.',
      query: noticeQuery,
      answers: {
        200: { description: 'A page of notices', shape: z.object({ data: z.array(noticeShape), next: z.string().nullable() }) },
      },
      async handle({ query, caller }) {
        const types = query.type === undefined ? NOTICE_TYPES : [query.type];
        const { data, nextSeq } = await listNotices(
          notifier.source,
          { workspaceId: caller.workspaceId, types, workflow: query.workflow, agent: query.agent },
          query.after === undefined ? undefined : Number(query.after),
          query.limit,
        );
        return answer({ data, next: nextSeq === undefined ? null : String(nextSeq) });
      },
    }),
  ];
}

function webhookWire(subscription: Subscription): z.output<typeof webhookShape> {
  const { id, url, events, workflow, agent, description, createdAt } = subscription;
  return {
    id,
    url,
    events: [...events],
    ...(workflow === undefined ? {} : { workflow }),
    ...(agent === undefined ? {} : { agent }),
    ...(description === undefined ? {} : { description }),
    created_at: new Date(createdAt).toISOString(),
  };
}

function listedWire({ subscription, lastDelivery, failingSince, pending }: ListedSubscription): z.output<typeof listedShape> {
  return {
    ...webhookWire(subscription),
    ...(lastDelivery === undefined
      ? {}
      : {
          last_delivery: {
            at: new Date(lastDelivery.at).toISOString(),
            status: lastDelivery.status,
            ...(lastDelivery.error === undefined ? {} : { error: lastDelivery.error }),
          },
        }),
    pending,
    ...(failingSince === undefined ? {} : { failing_since: new Date(failingSince).toISOString() }),
  };
}
