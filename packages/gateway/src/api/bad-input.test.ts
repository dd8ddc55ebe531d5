import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { openTestApi, type CallOptions, type TestApi } from './test-api.ts';

let api: TestApi;
beforeAll(async () => {
  api = await openTestApi({ budgets: [{ scope: 'session', id: '*', limit_usd: '20' }] });
  await api.post('/v1/runs', { run_id: 'run_a', session_id: 'session_a', agent_id: 'agent_a', workflow_id: 'flow_a' });
});
afterAll(() => api.close());

const LONG = 'x'.repeat(257);

interface Row {
  readonly what: string;
  readonly ask: readonly [method: string, path: string, options?: CallOptions];
  readonly status: number;
  readonly code: string;
  readonly param?: string;
  /** What the message must say. */
  readonly says: RegExp;
}

const ROWS: readonly Row[] = [
  // Routes and methods
  { what: 'an unknown route', ask: ['GET', '/v1/nothing'], status: 404, code: 'not_found', says: /no route GET \/v1\/nothing/ },
  { what: 'the root', ask: ['GET', '/'], status: 404, code: 'not_found', says: /openapi\.json/ },
  {
    what: 'an unknown action of a run',
    ask: ['POST', '/v1/runs/run_a/explode', { body: {} }],
    status: 404,
    code: 'not_found',
    says: /no route POST/,
  },
  {
    what: 'a wrong method',
    ask: ['PUT', '/v1/runs', { body: {} }],
    status: 405,
    code: 'method_not_allowed',
    says: /takes POST or GET, not PUT/,
  },
  {
    what: 'a GET of the model path',
    ask: ['GET', '/v1/chat/completions'],
    status: 405,
    code: 'method_not_allowed',
    says: /takes POST, not GET/,
  },
  { what: 'a DELETE of a run', ask: ['DELETE', '/v1/runs/run_a'], status: 405, code: 'method_not_allowed', says: /takes GET, not DELETE/ },
  { what: 'a POST to health', ask: ['POST', '/healthz', { body: {} }], status: 405, code: 'method_not_allowed', says: /takes GET/ },
  { what: 'a path as long as a novel', ask: ['GET', `/v1/${'a'.repeat(5000)}`], status: 404, code: 'not_found', says: /…\. GET/ },
  // Keys
  { what: 'no key', ask: ['GET', '/v1/runs', { key: null }], status: 401, code: 'invalid_key', says: /needs a virtual key.*keys create/ },
  {
    what: 'an unknown key',
    ask: ['GET', '/v1/runs', { key: 'rp_unknown' }],
    status: 401,
    code: 'invalid_key',
    says: /not known here or was revoked/,
  },
  {
    what: 'another kind of authorization',
    ask: ['GET', '/v1/runs', { key: null, headers: { authorization: 'Basic abc' } }],
    status: 401,
    code: 'invalid_key',
    says: /virtual key/,
  },
  { what: 'metrics without a key', ask: ['GET', '/metrics', { key: null }], status: 401, code: 'invalid_key', says: /virtual key/ },
  {
    what: 'a budget written with a plain key',
    ask: ['POST', '/v1/budgets', { body: { scope: 'run', limit_usd: '1' } }],
    status: 403,
    code: 'not_permitted',
    says: /needs an admin key.*--admin/,
  },
  // Bodies
  { what: 'a missing body', ask: ['POST', '/v1/runs'], status: 400, code: 'invalid_json', says: /needs a JSON body/ },
  {
    what: 'half a body',
    ask: ['POST', '/v1/runs', { body: '{"run_id":' }],
    status: 400,
    code: 'invalid_json',
    says: /ends too early|character/,
  },
  {
    what: 'a body that is no JSON',
    ask: ['POST', '/v1/check', { body: 'run_id=secret-text' }],
    status: 400,
    code: 'invalid_json',
    says: /^The request body is not valid JSON: (?!.*secret-text)/,
  },
  {
    what: 'a list as body',
    ask: ['POST', '/v1/runs', { body: [] }],
    status: 400,
    code: 'invalid_request',
    says: /request body must be an object, not a list/,
  },
  {
    what: 'null as body',
    ask: ['POST', '/v1/runs', { body: 'null' }],
    status: 400,
    code: 'invalid_request',
    says: /must be an object, not null/,
  },
  {
    what: 'a number as run id',
    ask: ['POST', '/v1/runs', { body: { run_id: 7 } }],
    status: 400,
    code: 'invalid_request',
    param: 'run_id',
    says: /field run_id must be text, not 7/,
  },
  {
    what: 'an empty run id',
    ask: ['POST', '/v1/runs', { body: { run_id: '' } }],
    status: 400,
    code: 'invalid_request',
    param: 'run_id',
    says: /run_id must not be empty/,
  },
  {
    what: 'a run id that is too long',
    ask: ['POST', '/v1/runs', { body: { run_id: LONG } }],
    status: 400,
    code: 'invalid_request',
    param: 'run_id',
    says: /at most 256 characters/,
  },
  {
    what: 'a run id with a line break',
    ask: ['POST', '/v1/runs', { body: { run_id: 'a\nb' } }],
    status: 400,
    code: 'invalid_request',
    param: 'run_id',
    says: /control characters/,
  },
  {
    what: 'a misspelt field',
    ask: ['POST', '/v1/runs', { body: { run_id: 'r', limit_us: '1' } }],
    status: 400,
    code: 'invalid_request',
    param: 'limit_us',
    says: /limit_us is not known here; did you mean limit_usd\?/,
  },
  {
    what: 'a cap as a number',
    ask: ['POST', '/v1/runs', { body: { limit_usd: 0.5 } }],
    status: 400,
    code: 'invalid_request',
    param: 'limit_usd',
    says: /limit_usd must be text, not 0\.5/,
  },
  {
    what: 'a cap that is no amount',
    ask: ['POST', '/v1/runs', { body: { limit_usd: '1e3' } }],
    status: 400,
    code: 'invalid_request',
    param: 'limit_usd',
    says: /dollar amount.*not "1e3"/,
  },
  {
    what: 'a negative cap',
    ask: ['POST', '/v1/runs', { body: { limit_usd: '-1' } }],
    status: 400,
    code: 'invalid_request',
    param: 'limit_usd',
    says: /dollar amount/,
  },
  {
    what: 'a bound of zero',
    ask: ['POST', '/v1/runs', { body: { bounds: { max_steps: 0 } } }],
    status: 400,
    code: 'invalid_request',
    param: 'bounds.max_steps',
    says: /bounds\.max_steps must be more than 0/,
  },
  {
    what: 'an unknown bound',
    ask: ['POST', '/v1/runs', { body: { bounds: { max_step: 1 } } }],
    status: 400,
    code: 'invalid_request',
    param: 'bounds.max_step',
    says: /did you mean max_steps\?/,
  },
  {
    what: 'an end without status',
    ask: ['POST', '/v1/runs/run_a/end', { body: {} }],
    status: 400,
    code: 'invalid_request',
    param: 'status',
    says: /status is missing: it must be completed, failed, stopped/,
  },
  {
    what: 'an unknown status',
    ask: ['POST', '/v1/runs/run_a/end', { body: { status: 'done' } }],
    status: 400,
    code: 'invalid_request',
    param: 'status',
    says: /one of completed, failed, stopped, not "done"/,
  },
  {
    what: 'revenue with ten decimals',
    ask: ['POST', '/v1/runs/run_a/end', { body: { status: 'completed', revenue_usd: '0.1234567890' } }],
    status: 400,
    code: 'invalid_request',
    param: 'revenue_usd',
    says: /up to 9 decimals/,
  },
  {
    what: 'a body that is too large',
    ask: ['POST', '/v1/runs', { body: { run_id: 'a'.repeat(300_000) } }],
    status: 413,
    code: 'request_too_large',
    says: /larger than the 262144 bytes/,
  },
  {
    what: 'a tool without name',
    ask: ['POST', '/v1/tools/authorize', { body: { run_id: 'run_a' } }],
    status: 400,
    code: 'invalid_request',
    param: 'tool',
    says: /tool is missing/,
  },
  {
    what: 'attempt zero',
    ask: ['POST', '/v1/tools/authorize', { body: { run_id: 'run_a', tool: 't', attempt: 0 } }],
    status: 400,
    code: 'invalid_request',
    param: 'attempt',
    says: /attempt must be at least 1/,
  },
  {
    what: 'a settlement of nothing named',
    ask: ['POST', '/v1/tools/settle', { body: { cost_usd: '1' } }],
    status: 400,
    code: 'invalid_request',
    param: 'reservation_id',
    says: /give reservation_id, or run_id with tool_call_id/,
  },
  {
    what: 'a settlement nobody authorized',
    ask: ['POST', '/v1/tools/settle', { body: { run_id: 'run_a', tool_call_id: 'none' } }],
    status: 404,
    code: 'not_found',
    param: 'tool_call_id',
    says: /no open authorization.*authorize first/,
  },
  {
    what: 'a check of tokens below zero',
    ask: ['POST', '/v1/check', { body: { input_tokens: -1 } }],
    status: 400,
    code: 'invalid_request',
    param: 'input_tokens',
    says: /at least 0/,
  },
  {
    what: 'a budget of an unknown scope',
    ask: ['POST', '/v1/budgets', { key: 'admin', body: { scope: 'team', limit_usd: '1' } }],
    status: 400,
    code: 'invalid_request',
    param: 'scope',
    says: /one of request, run, session/,
  },
  {
    what: 'a budget with an unknown action',
    ask: ['POST', '/v1/budgets', { key: 'admin', body: { scope: 'run', limit_usd: '1', action: 'explode' } }],
    status: 400,
    code: 'invalid_request',
    param: 'action',
    says: /block, alert_only or pause, not "explode"/,
  },
  {
    what: 'a threshold of 101 percent',
    ask: ['POST', '/v1/budgets', { key: 'admin', body: { scope: 'run', limit_usd: '1', thresholds: [101] } }],
    status: 400,
    code: 'invalid_request',
    param: 'thresholds[0]',
    says: /at most 100/,
  },
  {
    what: 'an unknown budget',
    ask: ['DELETE', '/v1/budgets/bud_x', { key: 'admin' }],
    status: 404,
    code: 'not_found',
    says: /no budget bud_x/,
  },
  {
    what: 'a budget of runpurse.yaml taken away by API',
    ask: ['DELETE', '/v1/budgets/config_0', { key: 'admin' }],
    status: 409,
    code: 'conflict',
    says: /stands in runpurse\.yaml/,
  },
  // Events
  {
    what: 'events that are no JSON',
    ask: ['POST', '/v1/agent/events', { body: '{' }],
    status: 400,
    code: 'invalid_json',
    says: /not valid JSON/,
  },
  {
    what: 'an unknown question of the events route',
    ask: ['POST', '/v1/agent/events?enforce=maybe', { body: {} }],
    status: 400,
    code: 'invalid_request',
    param: 'enforce',
    says: /enforce must be one of true, false, not "maybe"/,
  },
  // Queries and paths
  {
    what: 'a limit of zero',
    ask: ['GET', '/v1/runs?limit=0'],
    status: 400,
    code: 'invalid_request',
    param: 'limit',
    says: /whole number from 1 to 200/,
  },
  {
    what: 'a limit that is a word',
    ask: ['GET', '/v1/runs?limit=all'],
    status: 400,
    code: 'invalid_request',
    param: 'limit',
    says: /whole number from 1 to 200/,
  },
  {
    what: 'a status that is none',
    ask: ['GET', '/v1/runs?status=happy'],
    status: 400,
    code: 'invalid_request',
    param: 'status',
    says: /one of running/,
  },
  {
    what: 'a time that is none',
    ask: ['GET', '/v1/runs?started_from=yesterday'],
    status: 400,
    code: 'invalid_request',
    param: 'started_from',
    says: /a time such as/,
  },
  {
    what: 'a parameter twice',
    ask: ['GET', '/v1/runs?agent_id=a&agent_id=b'],
    status: 400,
    code: 'invalid_request',
    param: 'agent_id',
    says: /must be text, not a list/,
  },
  {
    what: 'an unknown parameter',
    ask: ['GET', '/v1/runs?sesion_id=a'],
    status: 400,
    code: 'invalid_request',
    param: 'sesion_id',
    says: /did you mean session_id\?/,
  },
  {
    what: 'a foreign cursor',
    ask: ['GET', '/v1/runs?cursor=zzz'],
    status: 400,
    code: 'invalid_request',
    param: 'cursor',
    says: /next_cursor of the page before/,
  },
  {
    what: 'a foreign log cursor',
    ask: ['GET', '/v1/events?cursor=zzz'],
    status: 400,
    code: 'invalid_request',
    param: 'cursor',
    says: /next_cursor of the page before/,
  },
  { what: 'spend by nothing', ask: ['GET', '/v1/spend'], status: 400, code: 'invalid_request', param: 'by', says: /by is missing/ },
  {
    what: 'spend by the moon',
    ask: ['GET', '/v1/spend?by=moon'],
    status: 400,
    code: 'invalid_request',
    param: 'by',
    says: /one of workspace, key/,
  },
  {
    what: 'a day that is none',
    ask: ['GET', '/v1/spend?by=model&from=2026-13-01'],
    status: 400,
    code: 'invalid_request',
    param: 'from',
    says: /a day such as/,
  },
  {
    what: 'a period that ends before it begins',
    ask: ['GET', '/v1/spend?by=model&from=2026-02-02&to=2026-02-01'],
    status: 400,
    code: 'invalid_request',
    param: 'from',
    says: /later than to/,
  },
  {
    what: 'more days than a chart holds',
    ask: ['GET', '/v1/spend?by=day&from=2020-01-01&to=2026-01-01'],
    status: 400,
    code: 'invalid_request',
    param: 'from',
    says: /366 days/,
  },
  {
    what: 'margin by model',
    ask: ['GET', '/v1/margin?by=model'],
    status: 400,
    code: 'invalid_request',
    param: 'by',
    says: /one of run, session/,
  },
  {
    what: 'an unknown cockpit period',
    ask: ['GET', '/api/v1/cockpit/usage-summary?period=1y'],
    status: 400,
    code: 'invalid_request',
    param: 'period',
    says: /one of 24h/,
  },
  {
    what: 'a path id that is too long',
    ask: ['GET', `/v1/runs/${LONG}`],
    status: 400,
    code: 'invalid_request',
    param: 'id',
    says: /at most 256 characters/,
  },
  // Things nobody knows, and things of others
  { what: 'an unknown run', ask: ['GET', '/v1/runs/none'], status: 404, code: 'not_found', says: /no run none in this workspace/ },
  {
    what: 'the end of an unknown run',
    ask: ['POST', '/v1/runs/none/end', { body: { status: 'completed' } }],
    status: 404,
    code: 'not_found',
    says: /no run none/,
  },
  { what: 'the stop of an unknown run', ask: ['POST', '/v1/runs/none/stop'], status: 404, code: 'not_found', says: /no run none/ },
  { what: 'an unknown session', ask: ['GET', '/v1/sessions/none'], status: 404, code: 'not_found', says: /no session none/ },
  { what: 'an unknown workflow', ask: ['GET', '/v1/workflows/none'], status: 404, code: 'not_found', says: /workflow none/ },
  {
    what: "another workspace's run",
    ask: ['GET', '/v1/runs/run_a', { key: 'other' }],
    status: 404,
    code: 'not_found',
    says: /no run run_a/,
  },
  {
    what: "the stop of another workspace's run",
    ask: ['POST', '/v1/runs/run_a/stop', { key: 'other' }],
    status: 404,
    code: 'not_found',
    says: /no run run_a/,
  },
  {
    what: "another workspace's session",
    ask: ['GET', '/v1/sessions/session_a', { key: 'other' }],
    status: 404,
    code: 'not_found',
    says: /no session/,
  },
  {
    what: 'another workspace',
    ask: ['GET', '/v1/workspaces/acme', { key: 'other' }],
    status: 404,
    code: 'not_found',
    says: /workspace acme/,
  },
  {
    what: "another agent than the key's",
    ask: ['POST', '/v1/runs', { key: 'bound', body: { agent_id: 'intruder' } }],
    status: 403,
    code: 'identity_forged',
    param: 'agent_id',
    says: /bound to agent writer.*claims agent intruder/,
  },
  {
    what: 'a check in the name of another agent',
    ask: ['POST', '/v1/check', { key: 'bound', body: { agent_id: 'intruder' } }],
    status: 403,
    code: 'identity_forged',
    param: 'agent_id',
    says: /writer/,
  },
];

describe('what a caller gets wrong', () => {
  it.each(ROWS)('$what is answered $status $code', async ({ ask, status, code, param, says }) => {
    const [method, path, options = {}] = ask;
    const key =
      options.key === 'admin'
        ? api.keys.admin
        : options.key === 'other'
          ? api.keys.other
          : options.key === 'bound'
            ? api.keys.bound
            : options.key;
    const answer = await api.call(method, path, { ...options, ...(key === undefined ? {} : { key }) });
    expect({ status: answer.status, code: answer.error.code, param: answer.error.param }).toEqual({ status, code, param: param ?? null });
    expect(answer.error.message).toMatch(says);
    expect(answer.headers.get('x-should-retry')).toBe('false');
    expect(answer.headers.get('content-type')).toMatch(/^application\/json/);
  });

  it('changes nothing: the run still stands as it was begun', async () => {
    const { body } = await api.get('/v1/runs/run_a');
    expect(body).toMatchObject({ status: 'running', decisions: [], requests: [], tools: [], cost: { total_usd: '0' } });
    expect((await api.get('/v1/runs')).body['data']).toHaveLength(1);
  });

  it('says which methods a path takes, and how to authenticate', async () => {
    expect((await api.call('PATCH', '/v1/budgets/x')).headers.get('allow')).toBe('DELETE');
    expect((await api.get('/v1/runs', { key: null })).headers.get('www-authenticate')).toMatch(/^Bearer/);
  });

  it('is no fault of ours for any odd value in any field of any body', async () => {
    const odd: readonly unknown[] = [
      null,
      true,
      -1,
      1e400,
      'x',
      '',
      '\u0000',
      '💥',
      [],
      {},
      [[]],
      { toString: 'x' },
      'a'.repeat(1000),
      '9'.repeat(40),
    ];
    const bodies: readonly (readonly [string, readonly string[]])[] = [
      ['/v1/runs', ['run_id', 'session_id', 'agent_id', 'limit_usd', 'bounds', '__proto__', 'constructor']],
      ['/v1/runs/run_a/end', ['status', 'reason', 'revenue_usd', 'fees_usd']],
      ['/v1/tools/authorize', ['run_id', 'tool', 'tool_call_id', 'attempt', 'estimated_cost_usd']],
      ['/v1/tools/settle', ['reservation_id', 'status', 'cost_usd']],
      ['/v1/check', ['run_id', 'model', 'tool', 'endpoint_id', 'estimated_cost_usd', 'max_output_tokens']],
      ['/v1/agent/events', ['type', 'run_id', 'event_id', 'metadata', 'timestamp', 'events', 'attempt', 'step_kind']],
      ['/v1/budgets', ['scope', 'id', 'limit_usd', 'thresholds', 'action', 'budget_id']],
    ];
    for (const [path, fields] of bodies)
      for (const field of fields)
        for (const value of odd) {
          const body = `{${JSON.stringify(field)}:${JSON.stringify(value)}}`;
          const { status } = await api.post(path, body, { key: api.keys.other });
          expect({ path, body, isFault: status >= 500 }).toEqual({ path, body, isFault: false });
        }
  });
});
