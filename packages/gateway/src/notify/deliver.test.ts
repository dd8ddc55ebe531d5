import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from '@jest/globals';
import { verifyWebhook } from '@runpurse/core';
import type { Entry } from '../store/entry.ts';
import type { RunRow, Sequenced } from '../store/store.ts';
import { createDeliverer, type Deliverer } from './deliver.ts';
import { ENTRY_TYPES, NOTICE_TYPES, noticeId, type Notice, type NoticeType } from './notice.ts';
import type { NoticeSource } from './read-notices.ts';
import type { Sent } from './send.ts';
import { newSecret } from './sign.ts';
import { openSubscriptionFile, type SubscriptionFile } from './subscription-file.ts';
import type { Subscription } from './subscription.ts';

/** A ledger in memory, receivers that answer what the test says, and a clock that is turned: the rest is real. */
interface Stage {
  readonly rows: Sequenced[];
  readonly file: SubscriptionFile;
  readonly received: {
    readonly url: string;
    readonly id: string;
    readonly notice: Notice;
    readonly body: string;
    readonly status: number;
  }[];
  readonly faults: unknown[];
  answer: (url: string, notice: Notice) => Sent | 'hang';
  /** The run that can't be read. */
  failRun: string | undefined;
  /** Keys that were revoked. */
  readonly revoked: Set<string>;
  now: number;
  subscribe(more?: Partial<Subscription>): Subscription;
  write(entry: Entry): string;
  /** Lets it work until nothing is due at this time. */
  work(): Promise<void>;
  /** As kill -9: what is under way is forgotten, and the file is opened again. */
  restart(): Promise<void>;
}

const OK: Sent = { status: 200, error: undefined };
const DOWN: Sent = { status: null, error: 'the connection failed (ECONNREFUSED)' };
const START = Date.UTC(2026, 10, 24);
const directories: string[] = [];
let deliverer: Deliverer | undefined;
afterEach(async () => {
  await deliverer?.close();
  deliverer = undefined;
  for (const directory of directories.splice(0)) rmSync(directory, { recursive: true });
});

function open(seed = 1): Stage {
  const directory = mkdtempSync(join(tmpdir(), 'runpurse-notify-'));
  directories.push(directory);
  const rows: Sequenced[] = [];
  const secrets = new Map<string, string>();
  const random = randomFrom(seed);
  const source: NoticeSource = {
    async entries({ workspaceId, runId, types, afterSeq = 0, beforeSeq = Number.POSITIVE_INFINITY, order, limit }) {
      const inReach = rows.filter(
        ({ seq, entry }) =>
          entry.workspaceId === workspaceId &&
          (runId === undefined || entry.runId === runId) &&
          (types === undefined || types.includes(entry.type)) &&
          seq > afterSeq &&
          seq < beforeSeq,
      );
      return (order === 'desc' ? inReach.toReversed() : inReach).slice(0, limit);
    },
    async run(workspaceId, runId) {
      const start = rows.find(({ entry }) => entry.type === 'run' && entry.workspaceId === workspaceId && entry.runId === runId)?.entry;
      return start === undefined ? undefined : rowOf(start);
    },
    async budgetStates({ runId }) {
      if (runId === stage.failRun) throw new Error('no budgets');
      return [];
    },
    budgetName: async () => 'the cap',
  };
  const start = (): Deliverer =>
    createDeliverer({
      source,
      file,
      sender: {
        async send(url, headers, body, signal) {
          const notice = JSON.parse(body) as Notice;
          const result = stage.answer(url, notice);
          if (result === 'hang') {
            await new Promise((resolve) => signal.addEventListener('abort', resolve));
            return DOWN;
          }
          const verdict = verifyWebhook({ secret: secrets.get(url) ?? '', headers, body, now: stage.now });
          expect(verdict).toMatchObject({ type: 'genuine', id: notice.id });
          if (result.status !== null) stage.received.push({ url, id: notice.id, notice, body, status: result.status });
          return result;
        },
        close: () => Promise.resolve(),
      },
      now: () => stage.now,
      random,
      foldedSeq: () => rows.at(-1)?.seq ?? 0,
      isKeyValid: (keyId) => !stage.revoked.has(keyId),
      onFault: (fault) => stage.faults.push(fault),
    });
  let file = openSubscriptionFile(directory);
  let count = 0;
  const stage: Stage = {
    rows,
    get file() {
      return file;
    },
    received: [],
    faults: [],
    answer: () => OK,
    failRun: undefined,
    revoked: new Set(),
    now: START,
    subscribe(more = {}) {
      count += 1;
      const subscription = {
        id: `whk_${count}`,
        workspaceId: 'acme',
        keyId: 'k',
        url: `http://r/${count}`,
        events: NOTICE_TYPES,
        createdAt: stage.now,
        ...more,
      };
      const secret = newSecret();
      secrets.set(subscription.url, secret);
      file.add(subscription, secret, rows.at(-1)?.seq ?? 0);
      deliverer?.add(subscription);
      return subscription;
    },
    write(entry) {
      const row = { seq: (rows.at(-1)?.seq ?? 0) + 1, entry };
      rows.push(row);
      return noticeId(row);
    },
    async work() {
      deliverer ??= start();
      for (let before = -1; before !== stage.received.length || before === -1;) {
        before = stage.received.length;
        for (let round = 0; round < 3; round += 1) {
          deliverer.tick();
          await deliverer.idle();
        }
      }
    },
    async restart() {
      const killed = deliverer;
      deliverer = undefined;
      // What it still does must not reach the file, as after a kill.
      file.close();
      await killed?.close().catch(() => undefined);
      file = openSubscriptionFile(directory);
    },
  };
  return stage;
}

function rowOf(entry: Entry): RunRow {
  const from = entry as { runId?: string; sessionId?: string; workflowId?: string; agentId?: string };
  return {
    workspaceId: entry.workspaceId,
    runId: from.runId ?? '',
    keyId: 'k',
    sessionId: from.sessionId,
    workflowId: from.workflowId,
    agentId: from.agentId,
    memberId: undefined,
    customerId: undefined,
    status: 'running',
    statusReason: undefined,
    implicit: false,
    startedAt: entry.at,
    endedAt: undefined,
    modelNanos: 0n,
    toolNanos: 0n,
    retryNanos: 0n,
    revenueNanos: undefined,
    outboundNanos: 0n,
    feesNanos: 0n,
    unknownCosts: 0,
    unconfirmedCosts: 0,
    requests: 0,
    toolCalls: 0,
    retries: 0,
    steps: 0,
    limitNanos: undefined,
    bounds: undefined,
  };
}

/** mulberry32 */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

const runStart = (runId: string, more: object = {}): Entry => ({
  type: 'run',
  at: START,
  op: 'start',
  status: 'running',
  workspaceId: 'acme',
  keyId: 'k',
  runId,
  ...more,
});
const runEnd = (runId: string, more: object = {}): Entry => ({
  type: 'run',
  at: START,
  op: 'end',
  status: 'completed',
  workspaceId: 'acme',
  keyId: 'k',
  runId,
  ...more,
});
const denial = (more: object = {}): Entry => ({
  type: 'decision',
  at: START,
  id: 'dec_1',
  workspaceId: 'acme',
  keyId: 'k',
  phase: 'tool_call',
  outcome: 'denied',
  code: 'policy_denied',
  reason: 'no',
  rule: 'no-refunds',
  subject: 'refund',
  ...more,
});

describe('delivering notices', () => {
  it('tells the three kinds, signed, and nothing that is none of them', async () => {
    const stage = open();
    stage.subscribe();
    stage.write(runStart('r1', { workflowId: 'wf', agentId: 'writer', sessionId: 's' }));
    const refused = stage.write(denial({ runId: 'r1', stepId: 'st', toolCallId: 't' }));
    stage.write(denial({ phase: 'run_update' }));
    stage.write(denial({ outcome: 'audited' }));
    const crossed = stage.write({
      type: 'threshold',
      at: START,
      workspaceId: 'acme',
      runId: 'r1',
      budgetId: 'bud_1',
      scope: 'session',
      scopeId: 's',
      window: 'lifetime',
      percent: 75,
      limit: '1000000000',
      spent: '800000000',
      held: '100000000',
    });
    stage.write(runEnd('r1', { op: 'pause', status: 'paused' }));
    const ended = stage.write(runEnd('r1'));
    await stage.work();
    expect(stage.faults).toEqual([]);
    expect(stage.received.map(({ id }) => id).sort()).toEqual([refused, crossed, ended].sort());
    const byType = Object.fromEntries(stage.received.map(({ notice }) => [notice.type, notice.data]));
    expect(byType).toMatchObject({
      'run.ended': { run: { run_id: 'r1', status: 'completed', workflow_id: 'wf', session_id: 's' } },
      'call.refused': {
        run_id: 'r1',
        session_id: 's',
        workflow: 'wf',
        agent: 'writer',
        step_id: 'st',
        kind: 'tool',
        tool: 'refund',
        code: 'policy_denied',
        message: 'no',
        rule: 'no-refunds',
      },
    });
    expect(byType['budget.threshold']).toEqual({
      budget: {
        id: 'bud_1',
        name: 'the cap',
        level: 'session',
        scope_id: 's',
        window: 'lifetime',
        cap_usd: '1',
        spent_usd: '0.8',
        reserved_usd: '0.1',
        remaining_usd: '0.1',
        state: '75',
      },
      threshold_percent: 75,
      run_id: 'r1',
      session_id: 's',
    });
  });

  it('takes out what looks like a secret, wherever a text holds one, and keeps ids', async () => {
    const stage = open();
    stage.subscribe();
    const secret = 'sk-live-4f9a8b7c6d5e4f3a2b1c';
    stage.write(runStart('r1'));
    stage.write(denial({ runId: 'r1', reason: `the tool said Bearer ${secret} is wrong`, subject: `password=${secret}` }));
    stage.write(runEnd('r1', { status: 'failed', reason: `401 for api_key=${secret}` }));
    await stage.work();
    expect(stage.received).toHaveLength(2);
    expect(JSON.stringify(stage.received)).not.toContain(secret);
    expect(JSON.stringify(stage.received)).toContain('[redacted]');
    expect(stage.received.map(({ notice }) => notice.id)).toEqual(stage.received.map(({ id }) => id));
  });

  it('waits longer after each failure, tries for a day, then lets the notice go and counts from the next', async () => {
    const stage = open();
    const { id } = stage.subscribe();
    stage.answer = () => ({ status: 500, error: 'answered 500' });
    stage.write(runEnd('r1'));
    const waits: number[] = [];
    await stage.work();
    expect(stage.file.states('acme')[0]).toMatchObject({
      lastDelivery: { status: 500, error: 'answered 500' },
      failingSince: START,
      parked: 1,
    });
    for (let due = stage.file.nextDue(id); due !== undefined; due = stage.file.nextDue(id)) {
      waits.push(due - stage.now);
      stage.now = due;
      await stage.work();
    }
    const expected = [5, 15, 45, 135, 405, 1215, 3600].map((seconds) => seconds * 1000);
    expected.forEach((wait, index) => {
      expect(waits[index]).toBeGreaterThanOrEqual(wait * 0.8);
      expect(waits[index]).toBeLessThanOrEqual(wait * 1.2);
    });
    const tried = waits.reduce((sum, wait) => sum + wait, 0);
    expect(tried).toBeGreaterThanOrEqual(24 * 3_600_000);
    expect(tried).toBeLessThan(26 * 3_600_000);
    stage.answer = () => OK;
    const next = stage.write(runEnd('r2'));
    stage.received.length = 0;
    await stage.work();
    expect(stage.received.map((one) => one.id)).toEqual([next]);
    expect(stage.file.states('acme')[0]).toMatchObject({ failingSince: undefined, parked: 0, lastDelivery: { status: 200 } });
  });

  it('holds a bounded number of notices for a receiver that is away, and tells all of them when it is back', async () => {
    const stage = open();
    const { id } = stage.subscribe();
    let asked = 0;
    stage.answer = () => {
      asked += 1;
      return DOWN;
    };
    const ids = Array.from({ length: 1_500 }, (_, index) => stage.write(runEnd(`r${index}`)));
    await stage.work();
    for (let round = 0; round < 40; round += 1) {
      stage.now = Math.max(stage.now, stage.file.nextDue(id) ?? 0);
      await stage.work();
    }
    expect(stage.file.standing(id)?.parked).toBeLessThanOrEqual(103);
    expect(asked).toBeLessThan(200);
    stage.answer = () => OK;
    stage.now += 3_600_000 * 2;
    await stage.work();
    await stage.work();
    expect(new Set(stage.received.map((one) => one.id))).toEqual(new Set(ids));
    expect(stage.received).toHaveLength(ids.length);
  });

  it('tells all that waits as soon as a receiver is back, whenever each was due', async () => {
    const stage = open();
    const { id } = stage.subscribe();
    stage.answer = () => DOWN;
    const ids = Array.from({ length: 12 }, (_, index) => stage.write(runEnd(`r${index}`)));
    await stage.work();
    for (let round = 0; round < 30; round += 1) {
      stage.now = Math.max(stage.now, stage.file.nextDue(id) ?? 0);
      await stage.work();
    }
    stage.answer = () => OK;
    stage.now = Math.max(stage.now, stage.file.nextDue(id) ?? 0);
    await stage.work();
    await stage.work();
    expect(new Set(stage.received.map((one) => one.id))).toEqual(new Set(ids));
  });

  it('holds a bounded number of notices for a receiver that takes some and chokes on others', async () => {
    const stage = open();
    const { id } = stage.subscribe();
    let chokes = true;
    stage.answer = (_url, notice) => (chokes && JSON.stringify(notice).includes('"bad') ? { status: 500, error: 'answered 500' } : OK);
    const ids = Array.from({ length: 600 }, (_, index) => {
      const runId = `${index % 4 === 0 ? 'good' : 'bad'}-${index}`;
      stage.write(runStart(runId));
      return stage.write(runEnd(runId));
    });
    for (let round = 0; round < 60; round += 1) {
      stage.now += 1_000;
      await stage.work();
    }
    const held = stage.file.standing(id)?.parked ?? 0;
    expect(held).toBeGreaterThanOrEqual(90);
    expect(held).toBeLessThanOrEqual(103);
    chokes = false;
    for (let round = 0; round < 20; round += 1) {
      stage.now += 3_600_000;
      await stage.work();
    }
    expect(new Set(stage.received.filter(({ status }) => status === 200).map((one) => one.id))).toEqual(new Set(ids));
  });

  it('lets one notice that a receiver chokes on hold up no other', async () => {
    const stage = open();
    const { id } = stage.subscribe();
    const poison = stage.write(runEnd('poison'));
    const seen: string[] = [];
    const others = Array.from({ length: 300 }, (_, index) => stage.write(runEnd(`r${index}`)));
    let calls = 0;
    stage.answer = () => {
      calls += 1;
      return calls === 1 ? { status: 500, error: 'answered 500' } : OK;
    };
    await stage.work();
    seen.push(...stage.received.filter(({ id: one }) => one !== poison).map(({ id: one }) => one));
    expect(new Set(seen)).toEqual(new Set(others));
    stage.now = stage.file.nextDue(id) ?? 0;
    await stage.work();
    expect(stage.received.filter(({ id: one }) => one === poison)).toHaveLength(2);
  });

  it('lets one notice that can not be made hold up no other, and tells it once it can', async () => {
    const stage = open();
    const { id } = stage.subscribe();
    stage.failRun = 'broken';
    stage.write(runStart('broken'));
    const broken = stage.write(runEnd('broken'));
    const others = Array.from({ length: 30 }, (_, index) => stage.write(runEnd(`r${index}`)));
    await stage.work();
    expect(new Set(stage.received.map((one) => one.id))).toEqual(new Set(others));
    expect(stage.faults).toHaveLength(1);
    stage.failRun = undefined;
    stage.now = stage.file.nextDue(id) ?? 0;
    await stage.work();
    expect(stage.received.map((one) => one.id)).toContain(broken);
  });

  it('tells many in one go, without waiting for the next look', async () => {
    const stage = open();
    stage.subscribe();
    await stage.work();
    const ids = Array.from({ length: 900 }, (_, index) => stage.write(runEnd(`r${index}`)));
    deliverer?.tick();
    await deliverer?.idle();
    expect(stage.received.map((one) => one.id)).toEqual(ids);
  });

  it('lets one receiver that hangs hold up no other', async () => {
    const stage = open();
    const hanging = stage.subscribe();
    stage.answer = (url) => (url === hanging.url ? 'hang' : OK);
    const other = stage.subscribe();
    const ids = Array.from({ length: 20 }, (_, index) => stage.write(runEnd(`r${index}`)));
    const working = stage.work();
    while (stage.received.length < ids.length) {
      deliverer?.tick();
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(stage.received.every(({ url }) => url === other.url)).toBe(true);
    await deliverer?.close();
    await working;
  });

  it('ends a webhook whose receiver answers 410, and one whose key was revoked', async () => {
    const stage = open();
    stage.subscribe();
    stage.subscribe({ keyId: 'leaked' });
    const kept = stage.subscribe();
    stage.answer = (url) => (url === 'http://r/1' ? { status: 410, error: 'answered 410' } : OK);
    stage.write(runEnd('r1'));
    stage.revoked.add('leaked');
    await stage.work();
    stage.write(runEnd('r2'));
    await stage.work();
    expect(stage.file.all().map(({ id }) => id)).toEqual([kept.id]);
    expect(stage.received.filter(({ url }) => url === 'http://r/1')).toHaveLength(1);
    expect(stage.received.filter(({ url }) => url === 'http://r/2')).toHaveLength(0);
    expect(stage.received.filter(({ url }) => url === 'http://r/3')).toHaveLength(2);
  });

  it('sends nothing more once a webhook is removed, not even what waits', async () => {
    const stage = open();
    const { id } = stage.subscribe();
    stage.answer = () => DOWN;
    stage.write(runEnd('r1'));
    await stage.work();
    stage.answer = () => OK;
    deliverer?.remove(id);
    stage.file.remove(id);
    stage.now += 3_600_000;
    stage.write(runEnd('r2'));
    await stage.work();
    expect(stage.received).toEqual([]);
    expect(stage.faults).toEqual([]);
  });

  it('writes a body that reads the same in every charset', async () => {
    const stage = open();
    stage.subscribe();
    stage.write(runStart('r1', { workflowId: 'Rückgabe 顧客 🧾' }));
    stage.write(runEnd('r1', { reason: 'zu spät' }));
    await stage.work();
    expect(stage.received[0]?.body).toMatch(/^[ -~]+$/);
    expect(stage.received[0]?.notice.data).toMatchObject({ run: { workflow_id: 'Rückgabe 顧客 🧾', status_reason: 'zu spät' } });
  });

  it('begins with what happens after it was made', async () => {
    const stage = open();
    stage.write(runEnd('before'));
    stage.subscribe();
    const after = stage.write(runEnd('after'));
    await stage.work();
    expect(stage.received.map(({ id }) => id)).toEqual([after]);
  });

  it('tells a run that is too long to be sent without its lists, and says so', async () => {
    const stage = open();
    stage.subscribe();
    stage.write(runStart('r1'));
    for (let index = 0; index < 5_100; index += 1)
      stage.write({
        type: 'event',
        at: START,
        eventAt: START,
        workspaceId: 'acme',
        keyId: 'k',
        runId: 'r1',
        eventId: `e${index}`,
        eventType: 'note',
        source: 's',
        event: {},
      });
    stage.write(runEnd('r1'));
    await stage.work();
    expect(stage.received[0]?.notice.data).toMatchObject({ truncated: true, run: { run_id: 'r1', steps: [], requests: [] } });
  });

  it('steps back to the end of a ledger that lost its tail, and drops what no entry stands for any more', async () => {
    const stage = open();
    stage.subscribe();
    stage.answer = () => DOWN;
    stage.write(runEnd('r1'));
    await stage.work();
    await stage.restart();
    stage.rows.length = 0;
    stage.file.clamp(0);
    stage.answer = () => OK;
    const again = stage.write(runEnd('other', { at: START + 5 }));
    stage.now += 3_600_000;
    await stage.work();
    expect(stage.received.map(({ id }) => id)).toEqual([again]);
    expect(stage.file.standing('whk_1')?.parked).toBe(0);
  });
});

describe('against a naive second model', () => {
  it.each([1, 2, 3, 4, 5, 6])(
    'every notice reaches every webhook it is for, and no other, whatever fails or restarts in between (seed %i)',
    async (seed) => {
      const random = randomFrom(seed * 7_919);
      const pick = <Item>(items: readonly Item[]): Item => items[Math.floor(random() * items.length)] as Item;
      const stage = open(seed);
      const workspaces = ['acme', 'other'];
      const workflows = ['w1', 'w2', undefined];
      const agents = ['a1', 'a2', undefined];
      const subscriptions: { readonly subscription: Subscription; readonly from: number }[] = [];
      const runs = new Map<string, { workspaceId: string; workflowId: string | undefined; agentId: string | undefined }>();
      let wholeWorldIsUp = false;
      stage.answer = () => {
        if (wholeWorldIsUp) return OK;
        const dice = random();
        return dice < 0.5
          ? OK
          : dice < 0.75
            ? DOWN
            : { status: pick([302, 400, 429, 500, 503]), error: 'answered', retryAfterMs: pick([undefined, 60_000]) };
      };
      for (let step = 0; step < 400; step += 1) {
        const dice = random();
        if (subscriptions.length < 6 && dice < 0.05) {
          const subscription = stage.subscribe({
            workspaceId: pick(workspaces),
            events: pick<readonly NoticeType[]>([NOTICE_TYPES, ['run.ended'], ['call.refused', 'budget.threshold']]),
            workflow: pick(workflows),
            agent: pick(agents),
          });
          subscriptions.push({ subscription, from: stage.rows.at(-1)?.seq ?? 0 });
        } else if (dice < 0.25) {
          const place = { workspaceId: pick(workspaces), workflowId: pick(workflows), agentId: pick(agents) };
          const runId = `r${runs.size}`;
          runs.set(runId, place);
          stage.write(runStart(runId, { ...place, at: stage.now }));
        } else if (dice < 0.75) {
          const [runId, place] = pick([...runs, ['none', { workspaceId: pick(workspaces) }] as const]);
          const known = { workspaceId: place.workspaceId, at: stage.now, ...(runId === 'none' ? {} : { runId }) };
          const kind = random();
          if (kind < 0.4) stage.write(denial({ ...known, outcome: pick(['denied', 'denied', 'audited']) }));
          else if (kind < 0.7 && runId !== 'none')
            stage.write(runEnd(runId, { ...known, status: pick(['completed', 'failed', 'stopped']) }));
          else
            stage.write({
              ...{ type: 'threshold', budgetId: 'b', scope: 'session', scopeId: 's', window: 'day', percent: 50, limit: '10', spent: '6' },
              ...known,
            });
        } else if (dice < 0.95) {
          stage.now += Math.floor(random() * 60_000);
          await stage.work();
        } else await stage.restart();
      }
      wholeWorldIsUp = true;
      for (let round = 0; round < 5; round += 1) {
        stage.now += 3_600_000 * 2;
        await stage.work();
      }
      expect(stage.faults).toEqual([]);
      for (const { subscription, from } of subscriptions) {
        const expected = stage.rows
          .filter(({ seq, entry }) => {
            if (seq <= from || entry.workspaceId !== subscription.workspaceId) return false;
            const type = subscription.events.find((one) => ENTRY_TYPES[one] === entry.type);
            if (type === undefined) return false;
            if (entry.type === 'run' && entry.op !== 'end') return false;
            if (entry.type === 'decision' && entry.outcome !== 'denied') return false;
            const place = runs.get((entry as { runId?: string }).runId ?? '');
            return (
              (subscription.workflow === undefined || place?.workflowId === subscription.workflow) &&
              (subscription.agent === undefined || place?.agentId === subscription.agent)
            );
          })
          .map(noticeId);
        const got = stage.received.filter(({ url }) => url === subscription.url).map(({ id }) => id);
        expect(new Set(got)).toEqual(new Set(expected));
      }
    },
  );
});
