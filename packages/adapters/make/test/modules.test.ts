import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { RunningGateway } from '@runpurse/conformance';
import { errorOf } from './error-of.ts';
import { app, chat, connect, startTestGateway } from './gateway.ts';
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
    ['no key', { apiKey: '' }, 'BundleValidationError', /apiKey/],
  ])('with %s does not verify', async (_title, wrong, type, message) => {
    const error = await errorOf(openConnection(app, { url: gateway.url, apiKey: gateway.apiKey, ...wrong }));
    expect([error.type, error.message]).toEqual([type, expect.stringMatching(message)]);
  });
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
