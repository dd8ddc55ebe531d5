import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { createGateway } from '../create-gateway.ts';
import { readMappings } from '../ingest/load-mappings.ts';
import { openTestApi, type TestApi } from './test-api.ts';

let api: TestApi;
beforeAll(async () => {
  api = await openTestApi({
    providers: [{ name: 'maker', kind: 'openai', base_url: 'http://127.0.0.1:9/v1', api_key: 'k', models: ['m-1'] }],
    prices: [
      { provider: 'maker', model: 'm-1', input_mtok_usd: '10', output_mtok_usd: '100', cache_read_mtok_usd: '1', max_input_tokens: 8_000 },
    ],
    tools: [{ name: 'lookup', price_usd: '0.002' }],
    limits: { max_batch_events: 20, max_request_bytes: 100_000 },
  });
});
afterAll(() => api.close());

let count = 0;
/** An event as CrewAI's webhook stream posts it. */
const wrapped = (type: string, run: string, data: Record<string, unknown> = {}, id = `ev-${(count += 1)}`) => ({
  id,
  execution_id: run,
  timestamp: '2026-11-24T12:00:00.000Z',
  type,
  data: { event_id: id, ...data },
});

const call = { call_id: 'call-1', model: 'm-1', agent_role: 'support', task_id: 'task-1' };
const SECRETS = {
  messages: [{ role: 'user', content: 'hunter2-correct-horse' }],
  response: 'pin-4711',
  tool_args: { password: 'hunter2-correct-horse' },
};
const story = (run: string) => [
  wrapped('crew_kickoff_started', run, { crew_name: 'desk', inputs: { password: 'hunter2-correct-horse' } }),
  wrapped('task_started', run, { task_id: 'task-1', task_name: 'My password is hunter2-correct-horse' }),
  wrapped('agent_execution_started', run, { task_prompt: 'hunter2-correct-horse' }),
  wrapped('llm_call_started', run, { ...call, ...SECRETS, max_tokens: 100 }),
  wrapped('llm_stream_chunk', run, { chunk: 'pin-4711' }),
  wrapped('llm_call_completed', run, {
    ...call,
    ...SECRETS,
    usage: { prompt_tokens: 100, completion_tokens: 50, total_tokens: 150, cached_prompt_tokens: 20 },
  }),
  wrapped('tool_usage_started', run, { tool_name: 'lookup', agent_role: 'support', ...SECRETS }, `tool-${run}`),
  wrapped('tool_usage_finished', run, { tool_name: 'lookup', started_event_id: `tool-${run}`, output: 'pin-4711' }),
  wrapped('flow_finished', run, { flow_name: 'AgentExecutor', parent_event_id: 'inner' }),
  wrapped('crew_kickoff_completed', run, { output: 'pin-4711', total_tokens: 150 }),
];

describe('POST /v1/ingest/{source}', () => {
  it('reads a run of CrewAI as its webhook stream tells it, priced by the gateway', async () => {
    const { status, body } = await api.post('/v1/ingest/crewai?session_id=s-1&customer_id=c-1', { events: story('run-1') });
    expect([status, body]).toEqual([202, expect.objectContaining({ accepted: 7, rejected: 0, ignored: 3, allowed: true })]);
    const run = (await api.get('/v1/runs/run-1')).body;
    expect(run).toMatchObject({
      session_id: 's-1',
      customer_id: 'c-1',
      status: 'completed',
      requests: [{ step_id: 'call-1', agent_id: 'support', model: 'm-1', cost_usd: '0.00582', source: 'self_reported' }],
      tools: [{ step_id: 'tool-run-1', tool: 'lookup', status: 'completed', cost_usd: '0.002' }],
      cost: { model_usd: '0.00582', tool_usd: '0.002', total_usd: '0.00782' },
    });
  });

  it('keeps no prompt, input or result', async () => {
    const { text } = await api.get('/v1/events?run_id=run-1&limit=100');
    expect(text).toContain('llm.call.completed');
    expect(text).not.toMatch(/hunter2|4711/);
  });

  it('counts what is posted twice once', async () => {
    const events = story('run-2');
    await api.post('/v1/ingest/crewai', { events });
    const { status, body } = await api.post('/v1/ingest/crew-ai', { events });
    expect([status, body['accepted']]).toEqual([202, 7]);
    expect((await api.get('/v1/runs/run-2')).body).toMatchObject({
      cost: { total_usd: '0.00782' },
      counts: { requests: 1, tool_calls: 1 },
    });
  });

  it.each([
    ['after its start', false],
    ['before its start', true],
  ])("charges nothing for a tool's result out of CrewAI's cache, told %s", async (_, isReversed) => {
    const run = `cached-${isReversed}`;
    const events = [
      wrapped('tool_usage_started', run, { tool_name: 'lookup' }, `tool-${run}`),
      wrapped('tool_usage_finished', run, { tool_name: 'lookup', started_event_id: `tool-${run}`, from_cache: true }),
    ];
    for (const event of isReversed ? events.toReversed() : events) expect((await api.post('/v1/ingest/crewai', event)).status).toBe(202);
    expect((await api.get(`/v1/runs/${run}`)).body).toMatchObject({
      tools: [{ tool: 'lookup', status: 'completed', cost_usd: '0', held_usd: isReversed ? '0' : '0.002' }],
      cost: { tool_usd: '0' },
    });
  });

  it('reads events one by one and out of order, bare as their classes are named', async () => {
    for (const { id, execution_id, type: _type, data, ...rest } of story('run-3').toReversed()) {
      const name = { llm_call_completed: 'LLMCallCompletedEvent', tool_usage_finished: 'ToolUsageFinishedEvent' }[_type] ?? _type;
      const { status } = await api.post('/v1/ingest/crewai', { ...data, ...rest, event_id: id, run_id: execution_id, type: name });
      expect(status).toBe(202);
    }
    expect((await api.get('/v1/runs/run-3')).body).toMatchObject({ status: 'completed', cost: { total_usd: '0.00782' } });
  });

  it('fills ids that the events lack from the query, then from the headers', async () => {
    const { execution_id: _run, ...event } = wrapped('llm_call_completed', '', {
      ...call,
      usage: { prompt_tokens: 1, completion_tokens: 1 },
    });
    await api.post('/v1/ingest/crewai?workflow_id=w-1', event, {
      headers: { 'alephant-run-id': 'run-4', 'alephant-session-id': 's-4', 'alephant-workflow-id': 'other' },
    });
    expect((await api.get('/v1/runs/run-4')).body).toMatchObject({ session_id: 's-4', workflow_id: 'w-1' });
  });

  it('charges what was not measured at its hold, never nothing', async () => {
    const run = 'run-5';
    await api.post('/v1/ingest/crewai', {
      events: [
        wrapped('llm_call_started', run, { ...call, max_tokens: 100 }),
        wrapped('llm_call_completed', run, { ...call, usage: { total_tokens: 0 } }),
      ],
    });
    const { requests } = (await api.get('/v1/runs/run-5')).body as {
      requests: { cost_usd: string; unconfirmed: boolean; usage: unknown }[];
    };
    expect(requests).toMatchObject([{ unconfirmed: true, usage: null }]);
    expect(Number(requests[0]?.cost_usd)).toBeGreaterThanOrEqual(0.01);
  });

  const second = (of: number) => ({ timestamp: `2026-11-24T12:00:0${of}.000Z` });
  const ordersOf = <Item>(items: readonly Item[]): (readonly Item[])[] =>
    items.length < 2
      ? [items]
      : items.flatMap((item, place) => ordersOf(items.toSpliced(place, 1)).map((others): readonly Item[] => [item, ...others]));
  /** Tells the same in every order, in one body and in several; answers each telling's run and what it held before anything was due. */
  const toldInEveryOrder = async (title: string, told: (run: string) => readonly object[]) => {
    const runs: string[] = [];
    const before = api.gateway.admission.openCount;
    for (const size of [1, 10])
      for (const [index] of ordersOf(told('')).entries()) {
        const run = `${title} ${size}.${index}`;
        const events = ordersOf(told(run))[index] ?? [];
        for (let from = 0; from < events.length; from += size)
          expect((await api.post('/v1/ingest/crewai', { events: events.slice(from, from + size) })).status).toBe(202);
        runs.push(run);
      }
    const open = (api.gateway.admission.openCount - before) / runs.length;
    return { runs, open };
  };
  /** What does not hang on the order of arrival. */
  const shapeOf = async (run: string) => {
    const { requests, cost, steps } = (await api.get(`/v1/runs/${run}`)).body as {
      requests: { step_id: string; status: string; model: string; cost_usd: string; held_usd: string; unconfirmed: boolean }[];
      steps: { step_id: string; name: string }[];
      cost: object;
    };
    const byStep = (a: { step_id: string }, b: { step_id: string }): number => a.step_id.localeCompare(b.step_id);
    return {
      requests: requests
        .toSorted(byStep)
        .map(({ step_id, status, model, cost_usd, unconfirmed }) => ({ step_id, status, model, cost_usd, unconfirmed })),
      steps: steps.toSorted(byStep).map(({ name }) => name),
      cost,
    };
  };
  const passTheMinute = (): void => {
    api.clock.turn(60_000);
    api.gateway.admission.sweep();
  };
  const began = (run: string, call_id: string) => ({
    ...wrapped('llm_call_started', run, { ...call, call_id, max_tokens: 100 }),
    ...second(1),
  });
  const ended = (run: string, call_id = 'z') => ({
    ...wrapped('llm_call_completed', run, { ...call, call_id, usage: { prompt_tokens: 100, completion_tokens: 50 } }),
    ...second(2),
  });
  const over = (run: string, type = 'crew_kickoff_completed') => ({ ...wrapped(type, run), ...second(4) });
  const AT_ITS_HOLD = { model: 'm-1', cost_usd: '0.09', unconfirmed: true };
  const MEASURED = { step_id: 'z', status: 'completed', model: 'm-1', cost_usd: '0.006', unconfirmed: false };

  it.each([
    ['with its model', { model: 'm-1' }, 1],
    ["without, as LiteLLM's class does", {}, 1],
    ['twice, as that does of a stream', {}, 2],
  ])(
    'charges a call that failed without usage once what it may have cost, in whatever order it is told: %s',
    async (title, names, times) => {
      const failed = (run: string, of: number) => ({
        ...wrapped('llm_call_failed', run, { call_id: 'a', error: 'Error code: 500', ...names }),
        ...second(of),
      });
      const { runs, open } = await toldInEveryOrder(`failed ${title}`, (run) => [
        began(run, 'a'),
        ...[2, 3].slice(0, times).map((of) => failed(run, of)),
        over(run, 'crew_kickoff_failed'),
      ]);
      const expected = { requests: [{ step_id: 'a', status: 'failed', ...AT_ITS_HOLD }], steps: ['m-1'], cost: { total_usd: '0.09' } };
      for (const settled of [false, true]) {
        if (settled) passTheMinute();
        for (const run of runs) expect({ run, ...(await shapeOf(run)) }).toMatchObject({ run, ...expected });
      }
      expect(open).toBe(0);
    },
  );

  it('charges a call whose end is never told at its hold soon after its run ended, and one told late by its usage', async () => {
    const { runs, open } = await toldInEveryOrder('untold', (run) => [began(run, 'a'), began(run, 'z'), ended(run), over(run)]);
    expect(open).toBe(1);
    for (const run of runs)
      expect(await shapeOf(run)).toMatchObject({ requests: [{ step_id: 'a', status: 'open', cost_usd: null }, MEASURED] });
    passTheMinute();
    for (const run of runs) {
      // Told when it was charged, its end changes nothing any more.
      await api.post('/v1/ingest/crewai', ended(run, 'a'));
      expect({ run, ...(await shapeOf(run)) }).toMatchObject({
        run,
        requests: [{ step_id: 'a', status: 'aborted', ...AT_ITS_HOLD }, MEASURED],
        cost: { total_usd: '0.096' },
      });
    }
  });

  it('books a tool that says it failed as failed, without what it said to whom', async () => {
    const run = 'run-6';
    await api.post('/v1/ingest/crewai', {
      events: [
        wrapped('tool_usage_started', run, { tool_name: 'lookup' }, 'tool-6'),
        wrapped('tool_usage_error', run, {
          tool_name: 'lookup',
          started_event_id: 'tool-6',
          error: 'Authorization: Bearer sk-live-5e1f0c2d9a8b7c6d5e4f',
        }),
        wrapped('tool_usage_started', run, { tool_name: 'lookup' }, 'tool-7'),
        wrapped('tool_usage_finished', run, { tool_name: 'lookup', started_event_id: 'tool-7', failure: { message: 'no' } }),
      ],
    });
    const answer = await api.get('/v1/runs/run-6');
    expect(answer.body).toMatchObject({ tools: [{ status: 'failed' }, { status: 'failed' }] });
    expect(answer.text).not.toContain('5e1f0c2d');
  });

  it('reads openai_agents as its adapter does', async () => {
    const { status } = await api.post('/v1/ingest/openai-agents', { type: 'trace_start', trace_id: 'trace-1', group_id: 'group-1' });
    expect([status, (await api.get('/v1/runs/trace-1')).body['session_id']]).toEqual([202, 'group-1']);
  });

  it('takes what means nothing to it and keeps none of it', async () => {
    const before = api.gateway.store.lastSeq;
    const { status, body } = await api.post('/v1/ingest/crewai', {
      events: [wrapped('memory_query_started', 'run-7'), wrapped('mine', 'run-7')],
    });
    expect([status, body]).toEqual([202, { accepted: 0, rejected: 0, allowed: true, decisions: [], ignored: 2 }]);
    expect(api.gateway.store.lastSeq).toBe(before);
  });

  const noise = wrapped('llm_stream_chunk', 'bad');
  const good = () => wrapped('llm_call_started', 'bad', call);
  it.each<readonly [string, string, unknown, number, string, string | null]>([
    ['a source nobody registered', '/v1/ingest/loom', good(), 404, 'not_found', 'source'],
    ['a source that is part of every object', '/v1/ingest/constructor', good(), 404, 'not_found', 'source'],
    ['a query nobody reads', '/v1/ingest/crewai?sessionid=s', good(), 400, 'invalid_request', 'sessionid'],
    ['no JSON', '/v1/ingest/crewai', '{"events": [', 400, 'invalid_json', null],
    ['a list for a batch', '/v1/ingest/crewai', [good()], 400, 'invalid_event', null],
    ['events that are no list', '/v1/ingest/crewai', { events: good() }, 400, 'invalid_event', 'events'],
    ['an event that is none, after good ones', '/v1/ingest/crewai', { events: [good(), noise, 'x'] }, 400, 'invalid_event', 'events[2]'],
    ['an event without a type', '/v1/ingest/crewai', { events: [good(), { id: 'x', data: {} }] }, 400, 'invalid_event', 'events[1].type'],
    ['a body that is no object', '/v1/ingest/crewai', { ...good(), data: 'x' }, 400, 'invalid_event', 'data'],
    [
      'one id for two events',
      '/v1/ingest/crewai',
      {
        events: [
          good(),
          noise,
          { ...good(), id: 'one', data: { ...call, event_id: 'one' } },
          { ...good(), data: { ...call, event_id: 'one', call_id: 'z' } },
        ],
      },
      409,
      'event_id_conflict',
      'events[3].event_id',
    ],
    ['more events than a batch holds', '/v1/ingest/crewai', { events: Array.from({ length: 21 }, good) }, 413, 'batch_too_large', 'events'],
    [
      'a body that is too large',
      '/v1/ingest/crewai',
      { ...good(), data: { messages: 'x'.repeat(100_000) } },
      413,
      'payload_too_large',
      null,
    ],
  ])('refuses %s whole, and says where', async (_title, path, body, status, code, param) => {
    const before = api.gateway.store.lastSeq;
    const answer = await api.post(path, body);
    expect([answer.status, answer.error.code, answer.error.param]).toEqual([status, code, param]);
    expect(api.gateway.store.lastSeq).toBe(before);
  });

  it('refuses a stranger, and an agent that the key is not', async () => {
    expect((await api.post('/v1/ingest/crewai', good(), { key: null })).status).toBe(401);
    const answer = await api.post('/v1/ingest/crewai', { events: [noise, good()] }, { key: api.keys.bound });
    expect([answer.status, answer.error.code, answer.error.param]).toEqual([403, 'identity_forged', 'events[1].agent_id']);
  });
});

describe('event mappings', () => {
  const directory = mkdtempSync(join(tmpdir(), 'runpurse-mappings-'));
  afterAll(() => rmSync(directory, { recursive: true }));
  const write = (content: string): void => writeFileSync(join(directory, 'loom.json'), content);

  it('of the operator stand beside those that come with the gateway, and win over them', async () => {
    write('{ "source": "loom", "events": { "spun": { "type": "run.started" } }, "fields": { "run_id": ["weave"] } }');
    writeFileSync(join(directory, 'own.json'), '{ "source": "crewai", "events": {} }');
    const data = join(directory, 'data');
    const gateway = await createGateway({ config: { ingest: { mappings: directory } }, directory: data });
    const sources = gateway.mappings.map(({ source, events }) => [source, Object.keys(events).length > 0]);
    expect(sources).toEqual(
      expect.arrayContaining([
        ['crewai', false],
        ['openai_agents', true],
        ['loom', true],
      ]),
    );
    expect(new Set(sources.map(([source]) => source)).size).toBe(sources.length);
    await gateway.close();
    rmSync(data, { recursive: true });
    rmSync(join(directory, 'own.json'));
  });

  it.each([
    ['{', 'loom.json: not valid JSON'],
    ['{ "source": "Loom", "events": {} }', 'loom.json: source: must be lower-case'],
    ['{ "source": "loom", "events": { "spun": { "type": "spun" } } }', 'loom.json: events.spun'],
    ['{ "source": "loom", "events": {}, "field": {} }', 'loom.json: field'],
    ['{ "source": "loom", "events": {}, "fields": { "runId": ["weave"] } }', 'loom.json: fields'],
  ])('%s is told with its file and place', (content, message) => {
    write(content);
    expect(() => readMappings(directory)).toThrow(message);
  });

  it('in a directory that is none are told', () => {
    expect(() => readMappings(join(directory, 'none'))).toThrow(/Cannot read the event mappings of .*none: ENOENT/);
  });
});
