import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { RunningGateway } from '@runpurse/conformance';
import { errorOf } from './error-of.ts';
import { app, chat, connect, startTestGateway } from './gateway.ts';
import type { MakeError } from './renderer/make-error.ts';
import type { Empties, Parameter } from './renderer/parameters.ts';
import { openConnection, type Bundle, type Player } from './renderer/play.ts';

let gateway: RunningGateway;
beforeAll(async () => {
  gateway = await startTestGateway();
});
afterAll(() => gateway.remove());

describe.each<Empties>(['omitted', 'null', 'text'])('when fields left empty are %s', (empties) => {
  const run_id = `ticket ${empties} é/?#`;
  const played = new Set<string>();
  let player: Player;
  beforeAll(async () => {
    player = await connect(gateway, { empties });
  });

  /** Puts out nothing that the interface does not show. */
  function fits(id: string, bundle: Bundle): Bundle {
    played.add(id);
    const shown = new Set((app.find('module', id).code['interface'] as readonly Parameter[]).map(({ name }) => name));
    expect(Object.keys(bundle).filter((name) => !shown.has(name))).toEqual([]);
    return bundle;
  }
  const action = async (id: string, given?: Bundle): Promise<Bundle> => fits(id, await player.action(id, given));
  const search = async (id: string, given?: Bundle): Promise<readonly Bundle[]> =>
    (await player.search(id, given)).map((bundle) => fits(id, bundle));

  it('a run is started, spent in, ended and read', async () => {
    expect(
      await action('startRun', {
        run_id,
        session_id: 'customer 17',
        workflow_id: 'flow-1',
        agent_id: 'support',
        limit_usd: 0.3,
        max_requests: 5,
      }),
    ).toEqual({
      run_id,
      session_id: 'customer 17',
      decision: 'allowed',
      code: '',
      message: '',
      blocked_by: '',
      replayed: false,
    });
    expect(await action('authorizeSpend', { run_id, tool: 'customer_lookup', spend_id: 'lookup' })).toMatchObject({ decision: 'allowed' });
    expect((await gateway.readRun(run_id))?.budgets.find(({ limit_usd }) => limit_usd === '0.3')).toMatchObject({ held_usd: '0.002' });
    expect(await action('recordToolCost', { run_id, tool: 'customer_lookup', spend_id: 'lookup' })).toMatchObject({
      run_cost_usd: '0.002',
      replayed: false,
    });
    const answer = await action('createChatCompletion', chat(run_id, { step_id: 'draft' }));
    expect(answer).toMatchObject({
      content: 'Sandbox heard: Hello',
      finish_reason: 'stop',
      cost_usd: '0.000007',
      run_cost_usd: '0.002007',
      run_remaining_usd: '0.297993',
      budget_state: 'ok',
    });
    expect(
      await action('authorizeModelCall', { run_id, model: 'sandbox/echo', spend_id: 'own', max_output_tokens: 10, input_tokens_max: 10 }),
    ).toMatchObject({ decision: 'allowed' });
    await action('recordModelCall', {
      run_id,
      model: 'sandbox/echo',
      spend_id: 'own',
      prompt_tokens: 5,
      cached_tokens: 1,
      completion_tokens: 5,
    });
    expect(await action('endRun', { run_id, revenue_usd: 0.1 })).toMatchObject({
      status: 'completed',
      revenue_usd: '0.1',
      tool_cost_usd: '0.002',
      model_calls: 2,
      tool_calls: 1,
    });

    const run = await gateway.readRun(run_id);
    expect(run).toMatchObject({
      session_id: 'customer 17',
      workflow_id: 'flow-1',
      agent_id: 'support',
      customer_id: null,
      status: 'completed',
    });
    expect(run?.steps.map(({ step_id, kind }) => [step_id, kind])).toEqual([
      ['lookup', 'tool_call'],
      ['draft', 'llm_call'],
      ['own', 'llm_call'],
    ]);
    expect(run?.requests.map(({ source }) => source)).toEqual(['gateway', 'self_reported']);
    const read = await action('getRun', { run_id });
    expect(read).toMatchObject({
      run_id,
      total_cost_usd: run?.cost.total_usd,
      margin_usd: run?.margin.known_usd,
      margin_percent: run?.margin.percent,
    });
    expect(read['steps']).toHaveLength(3);
  });

  it('sessions, runs and budgets are found', async () => {
    expect((await action('getSession', { session_id: 'customer 17' }))['run_ids']).toContain(run_id);
    const found = await search('searchRuns', { by: 'session', id: 'customer 17', status: 'completed' });
    expect(found.map((run) => run['run_id'])).toContain(run_id);
    expect(await search('searchRuns', { by: 'workflow', id: 'nobody' })).toEqual([]);
    expect((await search('searchRuns', { limit: 1 })).length).toBe(1);
    expect(await search('searchBudgets', { scope: 'session', id: 'customer 17' })).toEqual([
      expect.objectContaining({ scope: 'session', limit_usd: '20', state: 'ok' }),
    ]);
  });

  it('triggers list what happened, and where they could start', async () => {
    await player.action('authorizeSpend', { run_id: `${run_id} 2`, tool: 'refund', spend_id: 'back', on_refusal: 'continue' });
    const since = () => ({ date: 0, ids: [] });
    const endedRuns = (await player.poll('pollRunEnded', since())).map((bundle) => fits('pollRunEnded', bundle));
    expect(endedRuns.map((bundle) => bundle['run_id'])).toContain(run_id);
    const refusals = (await player.poll('pollCallRefused', since())).map((bundle) => fits('pollCallRefused', bundle));
    expect(refusals.at(-1)).toMatchObject({ kind: 'tool', name: 'refund', code: 'policy_denied', blocked_by: 'tools.deny' });
    expect(Array.isArray(await player.poll('pollBudgetThreshold', since()))).toBe(true);
    played.add('pollBudgetThreshold');
    for (const id of ['pollRunEnded', 'pollCallRefused'])
      expect((await player.epoch(id))[0]).toEqual({ label: expect.any(String), date: expect.any(String) });
    expect(await player.poll('pollRunEnded', since(), { workflow: 'nobody' })).toEqual([]);
  });

  it('dropdowns are filled from the gateway', async () => {
    const option = (value: string) => ({ label: value, value });
    expect(await player.rpc('listModels')).toContainEqual(option('sandbox/echo'));
    expect(await player.rpc('listWorkflows')).toContainEqual(option('flow-1'));
    expect(await player.rpc('listAgents')).toContainEqual(option('support'));
  });

  it('any other call is made by the universal module, at this gateway alone', async () => {
    const bundle = await action('makeApiCall', { url: '/v1/runs', qs: [{ key: 'limit', value: '1' }] });
    expect(bundle).toMatchObject({ statusCode: 200, body: { data: [expect.anything()] }, headers: { 'content-type': 'application/json' } });
    expect(await action('makeApiCall', { url: 'v1/check', method: 'POST', body: '{"run_id":"r","tool":"refund"}' })).toMatchObject({
      body: { allowed: false },
    });
    for (const url of ['//elsewhere.example/v1', '@elsewhere.example/', 'https://elsewhere.example/v1', '.elsewhere.example'])
      expect((await errorOf(player.action('makeApiCall', { url }))).status).toBe(404);
    expect(player.log.every(({ request }) => request.url.startsWith(`${gateway.url}/`))).toBe(true);
  });

  it('every module but the instant triggers was played', () => {
    const all = app.components.filter(({ kind, moduleType }) => kind === 'module' && moduleType !== 'instant_trigger').map(({ id }) => id);
    expect([...played].sort()).toEqual(all.sort());
  });
});

describe('a connection', () => {
  it('is named after its workspace and key, and keeps the key out of everything that is shown', async () => {
    const player = await connect(gateway);
    expect(player.label).toBe('workspace-1 (conformance)');
    await player.action('makeApiCall', { url: '/v1/runs' });
    await player.attach('runEnded', 'http://127.0.0.1:1/hook');
    expect(player.log.length).toBe(3);
    expect(JSON.stringify(player.log)).not.toContain(gateway.apiKey);
    expect(JSON.stringify(player.log)).not.toMatch(/whsec_/);
  });

  it.each([
    ['a key nobody knows', { apiKey: 'rp_unknown' }, 'AccountValidationError', /key/],
    ['an address without gateway', { url: 'http://127.0.0.1:9' }, 'ConnectionError', /reached/],
    ['an address with a slash at its end', { url: 'https://runpurse.example.com/' }, 'BundleValidationError', /url/],
    ['the address of the model path', { url: 'https://runpurse.example.com/v1' }, 'BundleValidationError', /url/],
    ['plain http over the internet', { url: 'http://runpurse.example.com' }, 'BundleValidationError', /url/],
    ['plain http to a public address', { url: 'http://8.8.8.8:8787' }, 'BundleValidationError', /url/],
    ['a user in the address', { url: 'https://me:secret@runpurse.example.com' }, 'BundleValidationError', /url/],
    ['no key', { apiKey: '' }, 'BundleValidationError', /apiKey/],
  ])('with %s does not verify', async (_title, wrong, type, message) => {
    const error = await errorOf(openConnection(app, { url: gateway.url, apiKey: gateway.apiKey, ...wrong }));
    expect([error.type, error.message]).toEqual([type, expect.stringMatching(message)]);
  });
});

it.each([
  'https://runpurse.example.com',
  'https://runpurse.example.com:8443/gateway',
  'http://localhost:8787',
  'http://gateway:8787',
  'http://10.1.2.3:8787',
  'http://192.168.0.7',
  'http://172.16.0.1/finance',
])('an address may be %s', (address) => {
  const [url] = app.find('connection', 'runpurse').code['params'] as readonly Parameter[];
  expect(address).toMatch(new RegExp(url?.validate?.pattern ?? 'no pattern'));
});

describe('a field that could make a cap void', () => {
  it.each([['0,50'], ['free'], [-1]])('is refused: a cap of %j', async (limit_usd) => {
    const player = await connect(gateway);
    const run_id = `void ${limit_usd}`;
    const error = await errorOf(player.action('startRun', { run_id, limit_usd }));
    expect(['BundleValidationError', 'DataError']).toContain(error.type);
    expect(await gateway.readRun(run_id)).toBeUndefined();
  });
});

describe('an id', () => {
  const ids = [...'aé日😀'].map((letter) => letter.repeat(85 / letter.length));
  it.each(ids)('of the greatest length is the same in events, headers and reads: %s', async (name) => {
    const player = await connect(gateway);
    const given = { run_id: name, session_id: name, agent_id: name, customer_id: name, workflow_id: name };
    await player.action('startRun', given);
    await player.action('authorizeSpend', { run_id: name, tool: 'order_lookup', spend_id: name });
    await player.action('recordToolCost', { run_id: name, tool: 'order_lookup', spend_id: name });
    expect(await player.action('createChatCompletion', chat(name, { step_id: `${name.slice(4)}·`, parent_step_id: name }))).toMatchObject({
      run_id: name,
    });
    const run = await gateway.readRun(name);
    expect(run).toMatchObject({ ...given, counts: { requests: 1, tool_calls: 1 } });
    expect(run?.requests[0]).toMatchObject({ step_id: `${name.slice(4)}·`, parent_step_id: name });
    expect(await player.action('getSession', { session_id: name })).toMatchObject({ run_ids: [name] });
  });

  it('that is longer is refused before anything is sent, for a header would not hold it and the call would lose its run', async () => {
    const player = await connect(gateway);
    const before = player.log.length;
    expect((await errorOf(player.action('createChatCompletion', chat('日'.repeat(86))))).type).toBe('BundleValidationError');
    expect(player.log.length).toBe(before);
  });

  it('of a run begun with other facts is not taken for that run', async () => {
    const player = await connect(gateway);
    await player.action('startRun', { run_id: 'taken', session_id: 'ada' });
    const error = await errorOf(player.action('startRun', { run_id: 'taken', session_id: 'grace' }));
    expect([error.type, error.status]).toEqual(['DataError', 409]);
    expect(error.message).toMatch(/^The same Run ID or Spend ID was used before with other values/);
  });
});

describe('a chat completion', () => {
  it('brings images, tools and settings to the model as they are, and nothing of ours', async () => {
    const seen: { headers: IncomingHttpHeaders; body: unknown }[] = [];
    const provider = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        seen.push({ headers: request.headers, body: JSON.parse(Buffer.concat(chunks).toString('utf8')) });
        const message = { role: 'assistant', content: '{"paid":true}' };
        response.writeHead(200, { 'content-type': 'application/json' });
        response.end(
          JSON.stringify({
            id: 'x',
            object: 'chat.completion',
            model: 'seeing',
            choices: [{ index: 0, message, finish_reason: 'stop' }],
            usage: { prompt_tokens: 100, completion_tokens: 10, total_tokens: 110 },
          }),
        );
      });
    }).listen(0, '127.0.0.1');
    await once(provider, 'listening');
    const base_url = `http://127.0.0.1:${(provider.address() as AddressInfo).port}/v1`;
    const own = await startTestGateway({
      providers: [{ name: 'theirs', kind: 'openai', base_url, api_key: 'sk-theirs', models: ['seeing'] }],
      limits: { max_request_bytes: 100_000 },
    });
    try {
      const player = await connect(own);
      const messages = [
        {
          role: 'user',
          content: [
            { type: 'text', text: 'Is it paid?' },
            { type: 'image_url', image_url: { url: 'data:image/png;base64,AAAA', detail: 'low' } },
          ],
        },
      ];
      const tools = [{ type: 'function', function: { name: 'refund', parameters: { type: 'object', properties: {} } } }];
      const bundle = await player.action('createChatCompletion', {
        run_id: 'images',
        model: 'theirs/seeing',
        message_array: messages,
        tools,
        max_tokens: 50,
        temperature: 0.5,
        response_format: 'json_object',
        customer_id: 'ada',
      });
      expect(bundle).toMatchObject({ content: '{"paid":true}', prompt_tokens: 100, completion_tokens: 10, cost_usd: '0.00011' });
      expect(seen[0]?.body).toEqual({
        model: 'seeing',
        messages,
        tools,
        max_tokens: 50,
        temperature: 0.5,
        response_format: { type: 'json_object' },
      });
      expect(Object.keys(seen[0]?.headers ?? {}).filter((name) => /alephant|runpurse/.test(name))).toEqual([]);
      expect(seen[0]?.headers.authorization).toBe('Bearer sk-theirs');
    } finally {
      await own.remove();
      provider.closeAllConnections();
      provider.close();
    }
  });
});

it('a chat completion under way is not made a second time under its Step ID', async () => {
  let calls = 0;
  const provider = createServer((request, response) => {
    request.resume();
    calls += 1;
    const reply = {
      choices: [{ index: 0, message: { role: 'assistant', content: 'late' }, finish_reason: 'stop' }],
      usage: { prompt_tokens: 1, completion_tokens: 1 },
    };
    setTimeout(() => {
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ id: 'x', model: 'slow', ...reply }));
    }, 600);
  }).listen(0, '127.0.0.1');
  await once(provider, 'listening');
  const base_url = `http://127.0.0.1:${(provider.address() as AddressInfo).port}/v1`;
  const own = await startTestGateway({ providers: [{ name: 'theirs', kind: 'openai', base_url, api_key: 'sk-theirs', models: ['slow'] }] });
  try {
    const player = await connect(own);
    await player.action('startRun', { run_id: 'slow' });
    const call = chat('slow', { model: 'theirs/slow', step_id: 'once' });
    const first = player.action('createChatCompletion', call);
    while (calls === 0) await new Promise((resolve) => setTimeout(resolve, 10));
    expect((await errorOf(player.action('createChatCompletion', call))).type).toBe('DuplicateDataError');
    expect(await first).toMatchObject({ content: 'late' });
    expect(calls).toBe(1);

    // Of twins that both looked before either called, the gateway still makes one.
    const twins = await Promise.allSettled(
      Array.from({ length: 4 }, () => player.action('createChatCompletion', { ...call, step_id: '顧客'.repeat(40) })),
    );
    const refused = twins.flatMap((twin) => (twin.status === 'rejected' ? [twin.reason as MakeError] : []));
    expect(refused.map(({ type, message }) => [type, message])).toEqual(
      Array(3).fill([expect.stringMatching(/^(?:Duplicate)?DataError$/), expect.stringContaining('nothing is charged again')]),
    );
    expect(calls).toBe(2);
    expect((await own.readRun('slow'))?.counts).toMatchObject({ requests: 2, retries: 0 });
    // Make takes a filter's value apart at commas, so such an ID could not be looked for.
    expect((await errorOf(player.action('createChatCompletion', { ...call, step_id: 'a,b' }))).type).toBe('BundleValidationError');
  } finally {
    await own.remove();
    provider.closeAllConnections();
    provider.close();
  }
});

describe('what a module says', () => {
  it('of a run that a rule does not let begin is an error, or a decision', async () => {
    const rules = [
      { id: 'not-on-mondays', phase: 'run_update', when: 'workflow.id == "closed"', effect: 'block', reason: 'the desk is closed' },
    ];
    const own = await startTestGateway({ policy: { rules } });
    try {
      const player = await connect(own);
      const given = { run_id: 'monday', workflow_id: 'closed' };
      const error = await errorOf(player.action('startRun', given));
      expect([error.type, error.message]).toEqual(['DataError', expect.stringContaining('the desk is closed')]);
      expect(await player.action('startRun', { ...given, on_refusal: 'continue' })).toMatchObject({
        decision: 'denied',
        code: 'policy_denied',
        blocked_by: 'not-on-mondays',
      });
      expect(await own.readRun('monday')).toBeUndefined();
      expect(await player.action('startRun', { run_id: 'tuesday', workflow_id: 'open' })).toMatchObject({ decision: 'allowed' });
    } finally {
      await own.remove();
    }
  });

  it.each([
    ['model calls', 'max_requests', () => chat('bounded max_requests'), 'createChatCompletion'],
    [
      'tool calls',
      'max_tool_calls',
      (n: number) => ({ run_id: 'bounded max_tool_calls', tool: 'order_lookup', spend_id: `s${n}` }),
      'authorizeSpend',
    ],
  ] as const)('of the most %s of a run holds', async (_title, bound, given, module) => {
    const player = await connect(gateway);
    await player.action('startRun', { run_id: `bounded ${bound}`, [bound]: 1 });
    await player.action(module, given(1));
    expect((await errorOf(player.action(module, given(2)))).message).toMatch(new RegExp(bound));
  });

  it('of whom a chat completion is for reaches the run, each fact in its place', async () => {
    const player = await connect(gateway);
    const facts = { session_id: 'the session', workflow_id: 'the workflow', agent_id: 'the agent', customer_id: 'the customer' };
    await player.action('createChatCompletion', chat('facts of a chat', facts));
    expect(await gateway.readRun('facts of a chat')).toMatchObject(facts);
    for (const [run_id, module, more] of [
      ['facts of a spend', 'authorizeSpend', { tool: 'order_lookup', spend_id: 'a' }],
      ['facts of a cost', 'recordToolCost', { tool: 'order_lookup', spend_id: 'a' }],
      ['facts of a call', 'authorizeModelCall', { model: 'sandbox/echo', spend_id: 'a' }],
      ['facts of its end', 'recordModelCall', { model: 'sandbox/echo', spend_id: 'a', completion_tokens: 1 }],
      ['facts of an end', 'endRun', {}],
    ] as const) {
      if (module === 'endRun') await player.action('startRun', { run_id, ...facts });
      await player.action(module, { run_id, ...facts, ...more });
      expect(await gateway.readRun(run_id)).toMatchObject(facts);
    }
  });

  it('of the scenario is its workflow, unless the user names another or Make hands none over', async () => {
    const within = await connect(gateway, { scenario: { id: 4711 } });
    await within.action('startRun', { run_id: 'of a scenario' });
    await within.action('startRun', { run_id: 'of a workflow', workflow_id: 'mine' });
    await (await connect(gateway)).action('startRun', { run_id: 'of neither' });
    const runs = await Promise.all(['of a scenario', 'of a workflow', 'of neither'].map((run_id) => gateway.readRun(run_id)));
    expect(runs.map((run) => run?.workflow_id)).toEqual(['4711', 'mine', null]);
  });

  it('of what a run earned and paid is its margin', async () => {
    const player = await connect(gateway);
    await player.action('startRun', { run_id: 'margin' });
    await player.action('recordToolCost', { run_id: 'margin', tool: 'ads', spend_id: 'ads', cost_usd: 0.25 });
    expect(await player.action('endRun', { run_id: 'margin', revenue_usd: 2, outbound_usd: 0.5, fees_usd: 0.05 })).toMatchObject({
      total_cost_usd: '0.25',
      margin_usd: '1.2',
      margin_percent: '60.0',
    });
  });

  it('of a failed tool and of its next attempt is booked as such', async () => {
    const player = await connect(gateway);
    const spend = { run_id: 'attempts', tool: 'order_lookup', spend_id: 'lookup' };
    await player.action('authorizeSpend', spend);
    await player.action('recordToolCost', { ...spend, status: 'failed' });
    expect(await player.action('authorizeSpend', { ...spend, attempt: 2 })).toMatchObject({ decision: 'allowed', replayed: false });
    await player.action('recordToolCost', { ...spend, attempt: 2 });
    const run = await gateway.readRun('attempts');
    expect(run?.tools.map(({ attempt, status }) => [attempt, status])).toEqual([
      [1, 'failed'],
      [2, 'completed'],
    ]);
    expect(run?.cost).toMatchObject({ tool_usd: '0.003', retry_usd: '0.003' });
  });

  it("of another app's tokens is counted in its class", async () => {
    const player = await connect(gateway);
    await player.action('recordModelCall', {
      run_id: 'tokens',
      model: 'sandbox/echo',
      spend_id: 'a',
      prompt_tokens: 9,
      cached_tokens: 4,
      completion_tokens: 7,
      reasoning_tokens: 2,
    });
    expect((await gateway.readRun('tokens'))?.requests[0]?.usage).toMatchObject({
      input_tokens: 5,
      cache_read_tokens: 4,
      output_tokens: 7,
      reasoning_tokens: 2,
    });
  });

  it("of another app's tokens has no less than none that were not cached", async () => {
    const player = await connect(gateway);
    const call = { run_id: 'all cached', model: 'sandbox/echo', spend_id: 'a' };
    await player.action('recordModelCall', { ...call, prompt_tokens: 4, cached_tokens: 9, completion_tokens: 7 });
    expect((await gateway.readRun(call.run_id))?.requests[0]?.usage).toMatchObject({ input_tokens: 0, cache_read_tokens: 9 });
  });

  it('of ids that read alike when they stand side by side is kept apart', async () => {
    const player = await connect(gateway);
    for (const [run_id, spend_id] of [
      ['a:b', 'c'],
      ['a', 'b:c'],
    ]) {
      const spend = { run_id, tool: 'order_lookup', spend_id };
      await player.action('authorizeSpend', spend);
      expect(await player.action('recordToolCost', spend)).toMatchObject({ replayed: false, run_cost_usd: '0.003' });
    }
  });

  it("of another app's tokens is unknown when only a part of them is given, and charged as it was held", async () => {
    const player = await connect(gateway);
    const call = { run_id: 'half the tokens', model: 'sandbox/echo', spend_id: 'a' };
    await player.action('authorizeModelCall', { ...call, max_output_tokens: 100 });
    const held = (await gateway.readRun(call.run_id))?.requests[0]?.held_usd;
    await player.action('recordModelCall', { ...call, completion_tokens: 5 });
    expect((await gateway.readRun(call.run_id))?.requests[0]).toMatchObject({ usage: null, cost_usd: held, unconfirmed: true });
  });

  it('of runs by status, and beyond one page, is all of them', async () => {
    const player = await connect(gateway);
    for (let count = 0; count < 60; count += 1) await player.action('startRun', { run_id: `page ${count}`, session_id: 'pages' });
    await player.action('endRun', { run_id: 'page 7', status: 'failed', reason: 'A module of the scenario failed.' });
    expect(await player.search('searchRuns', { by: 'session', id: 'pages', limit: 100 })).toHaveLength(60);
    const failed = await player.search('searchRuns', { by: 'session', id: 'pages', status: 'failed' });
    expect(failed.map((run) => [run['run_id'], run['status_reason']])).toEqual([['page 7', 'A module of the scenario failed.']]);
  });
});
