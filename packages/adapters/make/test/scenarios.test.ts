import { createServer } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { RunningGateway } from '@runpurse/conformance';
import { errorOf } from './error-of.ts';
import { refusalIn } from './harness.ts';
import { app, chat, connect, startTestGateway } from './gateway.ts';
import { FORCED_TYPES, type MakeError } from './renderer/make-error.ts';
import { openConnection, type Player } from './renderer/play.ts';

let gateway: RunningGateway;
let player: Player;
beforeAll(async () => {
  gateway = await startTestGateway();
  player = await connect(gateway);
});
afterAll(() => gateway.remove());

/** A small support scenario: ask, look up, answer, end; `who` is the bundle it runs for. */
async function support(who: string, by: Player = player): Promise<void> {
  const run_id = `support ${who}`;
  await by.action('startRun', { run_id, session_id: who, workflow_id: 'support', customer_id: who, limit_usd: 0.1 });
  const routes = ['customer_lookup', 'order_lookup'].map(async (tool) => {
    await by.action('authorizeSpend', { run_id, tool, spend_id: tool });
    await by.action('recordToolCost', { run_id, tool, spend_id: tool });
  });
  await Promise.all(routes);
  await by.action('createChatCompletion', chat(run_id, { step_id: 'answer', messages: [{ role: 'user', content: who }] }));
  await by.action('endRun', { run_id, revenue_usd: 0.05 });
}

describe('two people in one scenario', () => {
  it('each have their own run, session and cost, whose parallel routes are charged once', async () => {
    await Promise.all([support('ada'), support('grace hopper')]);
    for (const who of ['ada', 'grace hopper']) {
      const run = await gateway.readRun(`support ${who}`);
      expect(run).toMatchObject({
        session_id: who,
        customer_id: who,
        workflow_id: 'support',
        status: 'completed',
        counts: { requests: 1, tool_calls: 2, retries: 0 },
      });
      expect(run?.cost).toMatchObject({ tool_usd: '0.005', retry_usd: '0' });
      expect(run?.steps.map(({ step_id }) => step_id).sort()).toEqual(['answer', 'customer_lookup', 'order_lookup']);
    }
  });

  it('fifty at once do not meet', async () => {
    const people = Array.from({ length: 50 }, (_, index) => `person-${index}`);
    await Promise.all(people.map((who) => support(who)));
    const runs = await Promise.all(people.map((who) => gateway.readRun(`support ${who}`)));
    for (const [index, run] of runs.entries()) {
      const who = `person-${index}`;
      expect(run).toMatchObject({
        session_id: who,
        customer_id: who,
        status: 'completed',
        revenue_usd: '0.05',
        counts: { requests: 1, tool_calls: 2, steps: 3 },
      });
      expect(run?.cost.tool_usd).toBe('0.005');
    }
    // What the sandbox hears is priced by its length, so equal names cost the same, and no cost landed elsewhere.
    expect(new Set(runs.slice(10).map((run) => run?.cost.total_usd)).size).toBe(1);
  });
});

describe('a scenario that is replayed', () => {
  it('after it ended changes nothing: one run, one charge, and the model is not called again', async () => {
    await support('replayed');
    const before = await gateway.readRun('support replayed');
    const error = await errorOf(support('replayed'));
    expect([error.type, error.message]).toEqual(['DataError', expect.stringContaining('has ended')]);
    const again = await errorOf(player.action('createChatCompletion', chat('support replayed', { step_id: 'answer' })));
    expect([again.type, again.message]).toEqual(['DuplicateDataError', expect.stringContaining('was answered before, or is under way')]);
    // The denials alone are new.
    expect({ ...(await gateway.readRun('support replayed')), decisions: [] }).toEqual({ ...before, decisions: [] });
  });

  it('halfway goes on where it was: what was charged is not charged again, and says so', async () => {
    const run_id = 'halfway';
    const lookup = { run_id, tool: 'customer_lookup', spend_id: 'lookup' };
    await player.action('startRun', { run_id });
    await player.action('authorizeSpend', lookup);
    await player.action('recordToolCost', lookup);
    await player.action('createChatCompletion', chat(run_id, { step_id: 'draft' }));

    expect(await player.action('startRun', { run_id })).toMatchObject({ decision: 'allowed', replayed: true });
    expect(await player.action('authorizeSpend', lookup)).toMatchObject({ decision: 'allowed', replayed: true });
    expect(await player.action('recordToolCost', lookup)).toMatchObject({ replayed: true });
    expect((await errorOf(player.action('createChatCompletion', chat(run_id, { step_id: 'draft' })))).type).toBe('DuplicateDataError');
    await player.action('createChatCompletion', chat(run_id, { step_id: 'final' }));
    expect(await gateway.readRun(run_id)).toMatchObject({
      counts: { requests: 2, tool_calls: 1 },
      cost: { tool_usd: '0.002', retry_usd: '0' },
    });
  });

  it('in which a spend was denied hears the same no', async () => {
    const refund = { run_id: 'denied-twice', tool: 'refund', spend_id: 'refund', on_refusal: 'continue' };
    await player.action('authorizeSpend', refund);
    expect(await player.action('authorizeSpend', refund)).toMatchObject({ decision: 'denied', code: 'policy_denied' });
  });

  it('under another run ID is another run', async () => {
    await player.action('createChatCompletion', chat('other-run', { step_id: 'draft' })).catch(() => undefined);
    await player.action('startRun', { run_id: 'other-run' });
    expect(await player.action('createChatCompletion', chat('other-run', { step_id: 'draft' }))).toMatchObject({
      content: 'Sandbox heard: Hello',
    });
  });
});

describe('a refusal', () => {
  const refusals: readonly (readonly [title: string, code: string, play: (id: string) => Promise<unknown>])[] = [
    ['a tool that policy denies', 'policy_denied', (run_id) => player.action('authorizeSpend', { run_id, tool: 'refund', spend_id: 'a' })],
    [
      'a model that policy denies',
      'policy_denied',
      (run_id) => player.action('createChatCompletion', chat(run_id, { model: 'theirs/forbidden' })),
    ],
    [
      'a model that policy denies elsewhere',
      'policy_denied',
      (run_id) => player.action('authorizeModelCall', { run_id, model: 'forbidden', spend_id: 'a' }),
    ],
    [
      'a spend beyond the cap',
      'budget_exceeded',
      (run_id) => player.action('authorizeSpend', { run_id, tool: 'ads', spend_id: 'a', estimated_cost_usd: 5 }),
    ],
    [
      'a call beyond the cap',
      'budget_exceeded',
      async (run_id) => {
        await player.action('startRun', { run_id, limit_usd: 0.000001 });
        return player.action('createChatCompletion', chat(run_id));
      },
    ],
    [
      'a call of a run that has ended',
      'run_ended',
      async (run_id) => {
        await player.action('startRun', { run_id });
        await player.action('endRun', { run_id });
        return player.action('createChatCompletion', chat(run_id));
      },
    ],
    [
      'a spend of a run that has ended',
      'run_ended',
      async (run_id) => {
        await player.action('startRun', { run_id });
        await player.action('endRun', { run_id });
        return player.action('authorizeSpend', { run_id, tool: 'customer_lookup', spend_id: 'late' });
      },
    ],
    [
      'an action for admins',
      'not_permitted',
      () => player.action('makeApiCall', { url: '/v1/budgets', method: 'POST', body: '{"scope":"run","limit_usd":"1"}' }),
    ],
  ];
  it.each(refusals)(
    'of %s is one that an error handler can catch, with the words of the gateway, and nothing was made',
    async (title, code, play) => {
      const run_id = `refused: ${title}`;
      const error: MakeError = await errorOf(play(run_id));
      expect(error.type).toBe('DataError');
      expect(error.message).toMatch(/\w+ \w+ \w+/);
      const said = error.body as { error?: { code: string }; decisions?: { reason: string }[] };
      expect(said.error?.code ?? said.decisions?.[0]?.reason).toBe(code);
      expect(FORCED_TYPES.has(error.status ?? 0)).toBe(false);
      const run = await gateway.readRun(run_id);
      expect(run === undefined || run.cost.total_usd === '0').toBe(true);
    },
  );

  it('by the rate cap is one too, never the RateLimitError that holds the whole scenario', async () => {
    const own = await startTestGateway({ rate: { requests_per_minute: 3 } });
    try {
      const limited = await connect(own);
      for (let count = 0; count < 3; count += 1) await limited.action('createChatCompletion', chat('many'));
      const error = await errorOf(limited.action('createChatCompletion', chat('many')));
      expect([error.type, error.status, refusalIn(error)]).toEqual(['DataError', 422, 'rate_limited']);
      expect(
        await limited.action('authorizeSpend', { run_id: 'many', tool: 'customer_lookup', spend_id: 'a', on_refusal: 'continue' }),
      ).toMatchObject({ decision: 'denied', code: 'rate_limited' });
    } finally {
      await own.remove();
    }
  });

  it('is none any more once there is room: the bundle that was set aside goes on under the same spend ID', async () => {
    const [run_id, tool] = ['room', 'ads'];
    await player.action('startRun', { run_id, limit_usd: 0.4 });
    await player.action('authorizeSpend', { run_id, tool, spend_id: 'first', estimated_cost_usd: 0.35 });
    const second = { run_id, tool, spend_id: 'second', estimated_cost_usd: 0.2 };
    expect((await errorOf(player.action('authorizeSpend', second))).message).toMatch(/0\.05/);
    await player.action('recordToolCost', { run_id, tool, spend_id: 'first', cost_usd: 0.1 });
    expect(await player.action('authorizeSpend', second)).toMatchObject({ decision: 'allowed' });
    await player.action('recordToolCost', { ...{ run_id, tool, spend_id: 'second' }, cost_usd: 0.2 });
    expect((await gateway.readRun(run_id))?.cost.tool_usd).toBe('0.3');
  });

  it('can be an output to filter by instead', async () => {
    const bundle = await player.action('authorizeSpend', { run_id: 'filtered', tool: 'refund', spend_id: 'a', on_refusal: 'continue' });
    expect(bundle).toMatchObject({
      decision: 'denied',
      code: 'policy_denied',
      blocked_by: 'tools.deny',
      message: expect.stringContaining('deny list'),
    });
  });

  it('for a revoked key alone is a fault of the account', async () => {
    const revoked = await openConnection(app, { url: gateway.url, apiKey: 'rp_revoked' }, { verify: false });
    expect((await errorOf(revoked.action('startRun', { run_id: 'x' }))).type).toBe('AccountValidationError');
    expect((await errorOf(revoked.action('createChatCompletion', chat('x')))).type).toBe('AccountValidationError');
  });
});

describe('a gateway that is away', () => {
  it('stops the scenario before anything is spent, with an error that a Break or Resume handler catches', async () => {
    const away = await openConnection(app, { url: 'http://127.0.0.1:9', apiKey: 'rp_x' }, { verify: false });
    for (const play of [
      away.action('startRun', { run_id: 'r' }),
      away.action('authorizeSpend', { run_id: 'r', tool: 'customer_lookup', spend_id: 'a' }),
      away.action('createChatCompletion', chat('r', { step_id: 's' })),
    ])
      expect([(await errorOf(play)).type]).toEqual(['ConnectionError']);
  });

  it('and whose address another service answers, with a page to log in, is an error of every module, and nothing seems recorded', async () => {
    const server = createServer((request, response) => {
      request.resume();
      response.writeHead(200, { 'content-type': 'text/html' }).end('<html>Log in</html>');
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    try {
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
      const player = await openConnection(app, { url, apiKey: 'rp_x' }, { verify: false });
      const spend = { run_id: 'r', tool: 'customer_lookup', spend_id: 'a' };
      const call = { run_id: 'r', model: 'm', spend_id: 'a' };
      for (const play of [
        () => player.action('startRun', { run_id: 'r' }),
        () => player.action('authorizeSpend', spend),
        () => player.action('authorizeSpend', { ...spend, on_refusal: 'continue' }),
        () => player.action('recordToolCost', spend),
        () => player.action('authorizeModelCall', call),
        () => player.action('recordModelCall', { ...call, prompt_tokens: 1, completion_tokens: 1 }),
        () => player.action('recordModelCall', call),
        () => player.action('createChatCompletion', chat('r', { step_id: 's' })),
        () => player.action('createChatCompletion', chat('r')),
        () => player.action('endRun', { run_id: 'r' }),
        () => player.action('getRun', { run_id: 'r' }),
        () => player.action('getSession', { session_id: 's' }),
        () => player.search('searchRuns'),
        () => player.search('searchBudgets', { scope: 'session', id: 's' }),
        ...['pollRunEnded', 'pollCallRefused', 'pollBudgetThreshold'].map((id) => () => player.poll(id, { date: 0, ids: [] })),
        ...['listModels', 'listWorkflows', 'listAgents'].map((id) => () => player.rpc(id)),
        ...['runEnded', 'callRefused', 'budgetThreshold'].map((id) => () => player.attach(id, 'https://hook.example/1')),
      ])
        expect(await errorOf(play())).toMatchObject({ type: 'DataError', message: expect.stringContaining('is it a Runpurse gateway?') });
    } finally {
      server.closeAllConnections();
      server.close();
    }
  });

  it.each([
    [500, 'The gateway failed on this call'],
    [503, 'The ledger can not be written'],
    [502, undefined],
    [504, undefined],
    ...[501, 520, 521, 522, 523, 524, 529].map((status) => [status, undefined] as const),
  ])('or answers %i, does the same and says so', async (status, message) => {
    const server = createServer((request, response) => {
      request.resume();
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end(message === undefined ? '<html>bad gateway</html>' : JSON.stringify({ error: { message, code: 'x' } }));
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    try {
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
      const failing = await openConnection(app, { url, apiKey: 'rp_x' }, { verify: false });
      for (const [play, words] of [
        [failing.action('authorizeSpend', { run_id: 'r', tool: 't', spend_id: 'a' }), 'Nothing was allowed'],
        [failing.action('createChatCompletion', chat('r', { step_id: 's' })), 'Nothing was allowed'],
        // Who stands before the gateway may say so while the gateway makes the call.
        [failing.action('createChatCompletion', chat('r')), 'Whether the call was made is unknown'],
      ] as const) {
        const error = await errorOf(play);
        expect([error.type, error.message]).toEqual(['ConnectionError', expect.stringContaining(message ?? words)]);
      }
    } finally {
      server.closeAllConnections();
      server.close();
    }
  });
});

describe('secrets', () => {
  it('in prompts, and in whatever else a scenario handles, are in no event and in nothing that the gateway lists', async () => {
    const secret = 'pin-4711-very-secret';
    const run_id = 'secrets';
    const before = player.log.length;
    await player.action('startRun', { run_id, session_id: 'secrets' });
    await player.action(
      'createChatCompletion',
      chat(run_id, {
        messages: [
          { role: 'system', content: `key ${secret}` },
          { role: 'user', content: secret },
        ],
      }),
    );
    await player.action('authorizeModelCall', {
      run_id,
      model: 'sandbox/echo',
      spend_id: 'm',
      input_tokens_max: secret.length,
      max_output_tokens: 9,
    });
    await player.action('recordModelCall', { run_id, model: 'sandbox/echo', spend_id: 'm', status: 'failed' });
    await player.action('recordToolCost', { run_id, tool: 'order_lookup', spend_id: 't', status: 'failed' });
    await player.action('endRun', { run_id, status: 'failed', reason: 'A module of the scenario failed.' });
    const events = player.log.slice(before).filter(({ request }) => request.url.endsWith('/v1/agent/events'));
    expect(events.length).toBeGreaterThan(3);
    expect(JSON.stringify(events)).not.toContain(secret);
    for (const url of [`/v1/runs/${run_id}`, `/v1/events?run_id=${run_id}`, '/v1/notices']) {
      const { body } = await player.action('makeApiCall', { url });
      expect(JSON.stringify(body)).not.toContain(secret);
    }
  });

  it('have no field they could be typed into: no module that reports takes free text', () => {
    const free = ['startRun', 'authorizeSpend', 'recordToolCost', 'authorizeModelCall', 'recordModelCall', 'endRun'].flatMap((id) =>
      (app.find('module', id).code['mappableParams'] as readonly { name: string; type: string }[])
        .filter(({ name, type }) => type === 'text' && !/_id$|^tool$|^model$/.test(name))
        .map(({ name }) => `${id}.${name}`),
    );
    expect(free).toEqual([]);
  });
});
