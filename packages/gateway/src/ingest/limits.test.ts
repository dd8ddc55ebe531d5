import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { decisionsIn, errorIn, openTestStage, type TestStage } from './test-stage.ts';

let stage: TestStage;
beforeAll(async () => {
  stage = await openTestStage({ limits: { max_batch_events: 3, max_event_body_bytes: 2000, max_event_metadata_bytes: 100 } });
});
afterAll(() => stage.close());

const event = (metadata: object = {}): object => ({ type: 'step.started', run_id: 'r1', metadata });
/** Metadata of exactly so many bytes as JSON. */
const sized = (bytes: number): object => ({ t: 'x'.repeat(bytes - '{"t":""}'.length) });
const nested = (depth: number): unknown => JSON.parse(`${'{"a":'.repeat(depth)}1${'}'.repeat(depth)}`);

describe('a body', () => {
  it.each<[string, unknown, number | undefined, number, string | undefined, string | null]>([
    ['text', 'hello', undefined, 400, 'invalid_event', null],
    ['a number', 7, undefined, 400, 'invalid_event', null],
    ['null', null, undefined, 400, 'invalid_event', null],
    ['a list', [event()], undefined, 400, 'invalid_event', null],
    ['events that are no list', { events: 'x' }, undefined, 400, 'invalid_event', 'events'],
    ['events that are an object', { events: {} }, undefined, 400, 'invalid_event', 'events'],
    ['a source that is no text', { source: [], events: [] }, undefined, 400, 'invalid_event', 'source'],
    ['a run id with a control character', { run_id: 'a\u0000b' }, undefined, 400, 'invalid_event', 'run_id'],
    ['a session id with half a character', { events: [{ session_id: '\ud800' }] }, undefined, 400, 'invalid_event', 'events[0].session_id'],
    ['an event that is null', { events: [null] }, undefined, 400, 'invalid_event', 'events[0]'],
    ['one event with a bad id', { type: 'step.started', run_id: 'x'.repeat(300) }, undefined, 400, 'invalid_event', 'run_id'],
    ['as many bytes as allowed', event(), 2000, 202, undefined, null],
    ['one byte more', event(), 2001, 413, 'payload_too_large', null],
    ['no events', { events: [] }, undefined, 202, undefined, null],
    ['an empty object, which is an event of unknown type', {}, undefined, 202, undefined, null],
    ['as many events as allowed', { events: [event(), event(), event()] }, undefined, 202, undefined, null],
    ['one event more', { events: [event(), event(), event(), event()] }, undefined, 413, 'batch_too_large', 'events'],
    ['as much metadata as allowed', event(sized(100)), undefined, 202, undefined, null],
    ['one byte of metadata more', event(sized(101)), undefined, 413, 'metadata_too_large', 'metadata'],
    [
      'metadata whose characters fit and whose bytes do not',
      event({ t: '…'.repeat(40) }),
      undefined,
      413,
      'metadata_too_large',
      'metadata',
    ],
    ['metadata nested beyond reason', event(nested(200_000) as object), 10, 413, 'metadata_too_large', 'metadata'],
  ])('of %s', async (_what, body, bytes, status, code, param) => {
    const result = await stage.post(body, bytes === undefined ? {} : { bytes });
    expect([result.status, errorIn(result)['code'], errorIn(result)['param'] ?? null]).toEqual([status, code, param]);
    if (status !== 202)
      expect(result.body).toMatchObject({
        accepted: 0,
        error: { type: 'agent_gateway_error', message: expect.stringContaining('Nothing of') },
      });
  });

  it('answers each event with a row in the protocol’s spelling', async () => {
    const result = await stage.send([{ ...event(), event_id: 'e-1', step_id: 's' }]);
    expect(result).toEqual({
      status: 202,
      headers: {},
      body: {
        accepted: 1,
        rejected: 0,
        allowed: true,
        decisions: [
          {
            eventId: 'e-1',
            eventType: 'step.started',
            runId: 'r1',
            stepId: 's',
            allowed: true,
            policyDecision: 'skipped',
            policyStage: 'audit_only',
            sinkStatus: 'sent',
            reason: 'policy_skipped_audit_event',
            blockedBy: null,
            routeHint: null,
            snapshotRevision: null,
            reasonMessage: null,
            policyId: null,
            policyScope: 'AGENT_POLICY_SCOPE_NONE',
            violations: [],
            warnings: [],
          },
        ],
      },
    });
  });

  it('takes the source from the batch, and prefers the event’s own', async () => {
    await stage.send(
      [
        { ...event(), event_id: 'src-1' },
        { ...event(), event_id: 'src-2', source: 'Own-Source' },
      ],
      { batch: { source: 'batch_source' } },
    );
    const sources = (await stage.events('r1')).filter(({ eventId }) => eventId.startsWith('src-')).map(({ source }) => source);
    expect(sources).toEqual(['batch_source', 'own_source']);
  });

  it('says which fields it could not read and that they mean nothing', async () => {
    const result = await stage.send({ ...event({ duration_ms: 'long' }), attempt: 'second', sequence: -1 });
    expect(decisionsIn(result)[0]?.['warnings']).toEqual(
      ['metadata.duration_ms', 'sequence', 'attempt'].map((field) => expect.objectContaining({ field, reason: 'unreadable' })),
    );
  });
});
