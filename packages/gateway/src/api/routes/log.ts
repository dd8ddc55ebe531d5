import { z } from 'zod';
import type { Gateway } from '../../gateway.ts';
import type { LiveLog } from '../live-log.ts';
import { logEntry, logEntryShape } from '../log-entry.ts';
import { answer, refused, route, type AnyRoute } from '../route.ts';
import { cursor, flag, identifier, listOf, pageLimit } from '../shapes.ts';

const logQuery = z.strictObject({
  run_id: identifier.optional(),
  session_id: identifier.optional(),
  agent_id: identifier.optional(),
  type: z
    .string()
    .min(1)
    .max(1000)
    .optional()
    .describe(
      'Entry types (event, decision, reserve, settle, run, threshold) and canonical event types such as tool.call.requested, separated by commas',
    ),
  order: z.enum(['asc', 'desc']).default('asc'),
  cursor: cursor.regex(/^\d{1,16}$/, 'must be the next_cursor of the page before').optional(),
  limit: pageLimit(1000, 100),
  live: flag.optional().describe('true: stay and send what comes, as server-sent events; so does `Accept: text/event-stream`'),
});

/** The event log: a page, or live. */
export function logRoutes(gateway: Gateway, live: LiveLog): readonly AnyRoute[] {
  return [
    route({
      method: 'get',
      path: '/v1/events',
      tag: 'events',
      summary: "The workspace's log: events, decisions, charges, run states, thresholds",
      description: 'Live streams begin with what comes next, or after `cursor` or the `Last-Event-ID` header.',
      query: logQuery,
      answers: {
        200: { description: 'A page of the log; with `live` a stream of the same rows, one `data:` each', shape: listOf(logEntryShape) },
      },
      refusals: ['rate_limited'],
      async handle({ query, caller, headers, signal }) {
        const filter = {
          workspaceId: caller.workspaceId,
          runId: query.run_id,
          sessionId: query.session_id,
          agentId: query.agent_id,
          types: query.type
            ?.split(',')
            .map((type) => type.trim())
            .filter((type) => type !== ''),
        };
        const from = query.cursor === undefined ? undefined : Number(query.cursor);
        if (query.live ?? (headers.get('accept') ?? '').includes('text/event-stream')) {
          const lastSeen = headers.get('last-event-id');
          const afterSeq = lastSeen !== null && /^\d{1,16}$/.test(lastSeen) ? Number(lastSeen) : from;
          const response = live.open(caller.keyId, { ...filter, afterSeq }, signal);
          if (response !== undefined) return { type: 'raw', response };
          return refused({
            code: 'rate_limited',
            message: `Key ${caller.keyId} already follows the log as often as one key may. Close a stream and try again.`,
            retryAfterSeconds: 5,
          });
        }
        const rows = await gateway.store.entries({
          ...filter,
          order: query.order,
          limit: query.limit,
          ...(query.order === 'asc' ? { afterSeq: from } : { beforeSeq: from }),
        });
        const last = rows.at(-1);
        return answer({ data: rows.map(logEntry), next_cursor: rows.length < query.limit || last === undefined ? null : String(last.seq) });
      },
    }),
  ];
}
