import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { RunningGateway } from '@runpurse/conformance';
import { app, connect, startTestGateway } from './gateway.ts';
import type { Parameter } from './renderer/parameters.ts';
import { mappingsOf, modulesOf, OURS, openConnection, playBlueprint, type Blueprint, type Bundle, type Player } from './renderer/index.ts';
import { mistakesIn } from './schemas.ts';

const FOLDER = join(import.meta.dirname, '..', '..', '..', '..', 'examples', 'make-support-desk');
const files = readdirSync(FOLDER).filter((name) => name.endsWith('.blueprint.json'));
const read = (name: string): Blueprint => JSON.parse(readFileSync(join(FOLDER, name), 'utf8')) as Blueprint;

it('there are blueprints', () => {
  expect(files).toEqual(['refusal-alert.blueprint.json', 'support-desk.blueprint.json']);
});

describe.each(files)('%s', (name) => {
  const all = modulesOf(read(name).flow);
  const ours = all.flatMap(({ module, before }) => {
    const id = OURS.exec(module.module)?.[1];
    return id === undefined ? [] : [{ module, before, component: app.find('module', id) }];
  });

  it('has the form in which Make imports a scenario', () => {
    expect(mistakesIn(read(name), 'blueprint.schema.json')).toEqual([]);
  });

  it('numbers each module once', () => {
    const ids = all.map(({ module }) => module.id);
    expect(new Set(ids).size).toBe(ids.length);
  });

  it('fills the required fields of our modules, and no field they do not have', () => {
    for (const { module, component } of ours) {
      const fields = [component.code['staticParams'], component.code['mappableParams']].flat() as readonly Parameter[];
      const filled = Object.keys(module.mapper ?? {});
      expect([module.id, filled.filter((field) => !fields.some((known) => known.name === field))]).toEqual([module.id, []]);
      const missing = fields.filter((field) => field.required === true && field.default === undefined && !filled.includes(field.name));
      expect([module.id, missing.map((field) => field.name)]).toEqual([module.id, []]);
    }
  });

  it('maps only what a module before it puts out', () => {
    const outputs = new Map(
      ours.map(({ module, component }) => [module.id, (component.code['interface'] as readonly Parameter[]).map((field) => field.name)]),
    );
    for (const { module, before } of all)
      for (const [from, field] of mappingsOf(module)) {
        expect([module.id, before]).toEqual([module.id, expect.arrayContaining([from])]);
        const known = outputs.get(from);
        if (known !== undefined && field !== 'error') expect([module.id, known]).toEqual([module.id, expect.arrayContaining([field])]);
      }
  });
});

describe('the support desk, played', () => {
  const ticket = { ticket: '7', customer: 'ada', question: 'Where is order 7?', length: 50 };
  const desk = withModel('sandbox/echo');
  let gateway: RunningGateway;
  let player: Player;
  let away: Player;
  beforeAll(async () => {
    gateway = await startTestGateway({ tools: [{ name: 'crm_lookup', price_usd: '0.004' }] });
    player = await connect(gateway);
    away = await openConnection(app, { url: 'http://127.0.0.1:9', apiKey: 'rp_x' }, { verify: false });
  });
  afterAll(() => gateway.remove());

  /** What went out to the CRM and the desk. */
  const post = (sent: string[]) => ({
    'http:ActionSendData': ({ url }: Bundle) => {
      sent.push(String(url).split('/')[2] ?? '');
      return { statusCode: 200 };
    },
  });

  it('answers two people at once, each in a run of their own, and a replay bothers nobody again', async () => {
    const sent: string[] = [];
    const people = [ticket, { ...ticket, ticket: '8', customer: 'grace' }];
    const played = await Promise.all(people.map((one) => playBlueprint(desk, one, player, post(sent))));
    expect(played.map(({ end }) => end.type)).toEqual(['completed', 'completed']);
    expect(sent.sort()).toEqual(['crm.example.com', 'crm.example.com', 'desk.example.com', 'desk.example.com']);
    for (const one of people)
      expect(await gateway.readRun(`ticket-${one.ticket}`)).toMatchObject({
        session_id: one.customer,
        status: 'completed',
        cost: { tool_usd: '0.004' },
        counts: { requests: 1, tool_calls: 1 },
      });

    const before = await gateway.readRun('ticket-7');
    const again: string[] = [];
    const { end } = await playBlueprint(desk, ticket, player, post(again));
    expect(end).toMatchObject({ type: 'stopped', error: { type: 'DuplicateDataError' } });
    expect(again).toEqual([]);
    expect({ ...(await gateway.readRun('ticket-7')), decisions: [] }).toEqual({ ...before, decisions: [] });
    // What was denied to the replay is in the run's log, and no alert.
    const posted: unknown[] = [];
    for (const notice of await player.poll('pollCallRefused', { date: 0, ids: [] }))
      await playBlueprint(read('refusal-alert.blueprint.json'), notice, player, {
        'http:ActionSendData': ({ data }) => ({ statusCode: posted.push(data) }),
      });
    expect(posted.filter((alert) => String(alert).includes('ticket-7'))).toEqual([]);
  });

  it.each([2, 3, 5])('answers a ticket that came %i times at once, and earns on it once', async (copies) => {
    const sent: string[] = [];
    const slow: Player = {
      ...player,
      async action(id, given) {
        const bundle = await player.action(id, given);
        // The model takes its time, so that all have asked before any has ended the run.
        if (id === 'createChatCompletion') await new Promise((resolve) => setTimeout(resolve, 300));
        return bundle;
      },
    };
    const one = { ...ticket, ticket: `copied ${copies}` };
    const played = await Promise.all(Array.from({ length: copies }, () => playBlueprint(desk, one, slow, post(sent))));
    const ends = played.map(({ end }) => (end.type === 'completed' ? end.type : `${end.type} ${end.error.type}`));
    expect(ends.sort()).toEqual(['completed', ...Array.from({ length: copies - 1 }, () => 'stopped DuplicateDataError')]);
    expect(sent.sort()).toEqual(['crm.example.com', 'desk.example.com']);
    expect(await gateway.readRun(`ticket-copied ${copies}`)).toMatchObject({
      status: 'completed',
      revenue_usd: '0.03',
      counts: { tool_calls: 1 },
      cost: { tool_usd: '0.004' },
    });
  });

  it.each([
    ['past the cap of calls a minute', /Try again in \d+ s/, { rate: { requests_per_minute: 1 } }, 1],
    ['of a run that a person has paused', /is paused/, {}, 0],
  ])('leaves a ticket open that is only refused for now: %s', async (_why, words, config, used) => {
    const own = await startTestGateway({ tools: [{ name: 'crm_lookup', price_usd: '0.004' }], ...config });
    try {
      const connected = await connect(own);
      // What is refused is the answer, not the lookup before it.
      const late: Player = {
        ...connected,
        async action(id, given) {
          if (id === 'createChatCompletion' && used > 0) await connected.action(id, { ...given, run_id: 'other', step_id: undefined });
          if (id === 'createChatCompletion' && used === 0) await own.post('/v1/runs/ticket-12/pause', {});
          return connected.action(id, given);
        },
      };
      const { end, ran } = await playBlueprint(desk, { ...ticket, ticket: '12' }, late, post([]));
      expect(end).toMatchObject({ type: 'stopped', error: { type: 'DataError', message: expect.stringMatching(words) } });
      expect(ran).toEqual([1, 2, 3, 5, 6, 7]);
      expect((await own.readRun('ticket-12'))?.ended_at).toBeNull();
    } finally {
      await own.remove();
    }
  });

  it('ends the run of a ticket whose answer is refused, and calls no model', async () => {
    const sent: string[] = [];
    const { end, ran } = await playBlueprint(desk, { ...ticket, ticket: '9', length: 3_000_000 }, await connectWithCap(), post(sent));
    expect(end).toMatchObject({ type: 'handled', error: { type: 'DataError' } });
    expect(ran).toEqual([1, 2, 3, 5, 6, 7, 71]);
    expect(sent).toEqual(['crm.example.com']);
    expect(await gateway.readRun('ticket-9')).toMatchObject({
      status: 'failed',
      status_reason: 'Refused by a budget or a policy.',
      counts: { requests: 0 },
    });
  });

  it('with the gateway gone looks customers up without asking, as its Resume handler says, and stops where it has none', async () => {
    const half: Player = { ...player, action: (id, given) => (id === 'startRun' ? player : away).action(id, given) };
    const sent: string[] = [];
    const { end, bundles } = await playBlueprint(desk, { ...ticket, ticket: '10' }, half, post(sent));
    expect(bundles[3]).toMatchObject({ decision: 'allowed' });
    expect(sent).toEqual(['crm.example.com']);
    expect(end).toMatchObject({ type: 'stopped', error: { type: 'ConnectionError' } });

    const none = await playBlueprint(desk, { ...ticket, ticket: '11' }, away, post(sent));
    expect(none.end).toMatchObject({ type: 'stopped', error: { type: 'ConnectionError' } });
    expect(none.ran).toEqual([1, 2]);
    expect(sent).toHaveLength(1);
  });

  /** The same desk whose runs may spend next to nothing on a model. */
  async function connectWithCap(): Promise<Player> {
    const connected = await connect(gateway);
    return { ...connected, action: (id, given) => connected.action(id, id === 'startRun' ? { ...given, limit_usd: 0.004001 } : given) };
  }
});

/** The desk on the gateway's built-in model. */
function withModel(model: string): Blueprint {
  return JSON.parse(JSON.stringify(read('support-desk.blueprint.json')).replace('sandbox/support-model', model)) as Blueprint;
}
