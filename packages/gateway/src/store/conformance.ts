import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { balanceOf, bookLines, foldRun, summarizeRun } from '../views/index.ts';
import { createNaiveLedger, type NaiveLedger } from './conformance/naive-ledger.ts';
import { createRandom, randomEntries, type Random } from './conformance/random-entries.ts';
import type { Entry, EventEntry, ReserveEntry, SettleEntry } from './entry.ts';
import type { EntryFilter, RunFilter, Store, StoredKey } from './store.ts';

/** How the suite gets at one implementation of the store. */
export interface StoreHarness {
  readonly name: string;
  /** An empty store of its own, wherever it keeps its ledger. */
  open(): Promise<OpenStore>;
  /** Entries of each random sequence; more takes longer. */
  readonly randomEntries?: number;
}

export interface OpenStore {
  readonly store: Store;
  /** Closes the store and opens the same ledger again. */
  reopen(): Promise<OpenStore>;
  /** Closes it and takes away what it left. */
  dispose(): Promise<void>;
}

const AT = Date.UTC(2026, 10, 24, 12);
const OWNER = { workspaceId: 'acme', keyId: 'key_1' } as const;

function reserve(id: string, fields: Partial<ReserveEntry> = {}): ReserveEntry {
  return {
    type: 'reserve',
    at: AT,
    id,
    kind: 'model',
    name: 'gpt-4o-mini',
    provider: 'openai',
    attempt: 1,
    source: 'gateway',
    hold: '1000',
    ...OWNER,
    runId: 'run_1',
    ...fields,
  };
}

function settle(id: string, cost: string | null, fields: Partial<SettleEntry> = {}): SettleEntry {
  return { type: 'settle', at: AT + 5, id, workspaceId: OWNER.workspaceId, runId: 'run_1', status: 'completed', cost, ...fields };
}

function event(eventId: string, fields: Partial<EventEntry> = {}): EventEntry {
  return {
    type: 'event',
    at: AT,
    eventAt: AT,
    eventId,
    dedupe: true,
    eventType: 'step.started',
    source: 'test',
    ...OWNER,
    runId: 'run_1',
    event: {},
    ...fields,
  };
}

/** The same entry in another workspace. */
function movedTo(workspaceId: string, entry: Entry): Entry {
  return { ...entry, workspaceId, ...('id' in entry ? { id: `${workspaceId}_${entry.id}` } : {}) };
}

const KEY: StoredKey = {
  keyId: 'key_1',
  hash: 'aa11',
  prefix: 'vk-abc',
  workspaceId: 'acme',
  agentId: undefined,
  memberId: 'ada',
  label: 'first',
  admin: true,
  createdAt: AT,
  revokedAt: undefined,
};

/** The suite every store passes. */
export function describeStore(harness: StoreHarness): void {
  describe(`store: ${harness.name}`, () => {
    let opened: OpenStore | undefined;
    const open = async (): Promise<Store> => {
      opened = await harness.open();
      return opened.store;
    };
    const reopen = async (): Promise<Store> => {
      opened = await opened?.reopen();
      if (opened === undefined) throw new Error('open a store first');
      return opened.store;
    };
    afterEach(async () => {
      await opened?.dispose();
      opened = undefined;
    });

    describe('appending', () => {
      it('numbers entries in the order of the appends and keeps them over a restart', async () => {
        const store = await open();
        const first = store.append([reserve('a'), reserve('b')]);
        store.appendBehind([settle('a', '10')]);
        const last = store.append([reserve('c')]);
        expect(store.lastSeq).toBe(4);
        await Promise.all([first, last]);
        const again = await reopen();
        expect(again.lastSeq).toBe(4);
        const entries = await again.entries({ workspaceId: 'acme', limit: 10 });
        expect(entries.map(({ seq, entry }) => [seq, 'id' in entry ? entry.id : ''])).toEqual([
          [1, 'a'],
          [2, 'b'],
          [3, 'a'],
          [4, 'c'],
        ]);
      });

      it('gives an entry back exactly as it was written', async () => {
        const store = await open();
        const entry = reserve('a', { note: { 'ключ "1"': ['новая\nстрока', null, 1.5, { deep: true }] }, sessionId: 'se\u0000ssion' });
        await store.append([entry]);
        expect((await store.entries({ workspaceId: 'acme', limit: 1 }))[0]?.entry).toEqual(entry);
      });

      it('takes an empty append for done and keeps the count', async () => {
        const store = await open();
        await store.append([]);
        store.appendBehind([]);
        await store.flush();
        expect(store.lastSeq).toBe(0);
      });

      it('resolves flush when what was appended behind is written', async () => {
        const store = await open();
        store.appendBehind([reserve('a')]);
        await store.flush();
        expect((await reopen()).openReservations().map(({ id }) => id)).toEqual(['a']);
      });

      it('writes a thousand appends at once, each in its place', async () => {
        const store = await open();
        await Promise.all(Array.from({ length: 1000 }, (_, number) => store.append([reserve(`r${number}`), settle(`r${number}`, '7')])));
        expect(await store.run('acme', 'run_1')).toMatchObject({ requests: 1000, modelNanos: 7000n });
        const seqs = (await store.entries({ workspaceId: 'acme', limit: 5000 })).map(({ seq }) => seq);
        expect(seqs).toEqual(Array.from({ length: 2000 }, (_, index) => index + 1));
      });

      it('keeps the order of what is appended together, waited for or behind, and gives back what the work returns', async () => {
        const store = await open();
        const durable = store.together(() => {
          store.appendBehind([reserve('a')]);
          const waited = store.append([reserve('b')]);
          store.appendBehind([settle('a', '5')]);
          return waited;
        });
        await durable;
        expect((await store.entries({ workspaceId: 'acme', limit: 9 })).map(({ seq, entry }) => [seq, entry.type])).toEqual([
          [1, 'reserve'],
          [2, 'reserve'],
          [3, 'settle'],
        ]);
      });

      it('is not failing while nothing failed', async () => {
        const store = await open();
        await store.append([reserve('a')]);
        expect(store.failing).toBe(false);
      });
    });

    describe('reading', () => {
      it('sees in every read what was appended before it', async () => {
        const store = await open();
        void store.append([reserve('a')]);
        store.appendBehind([settle('a', '250')]);
        const [run, spend, entries] = await Promise.all([
          store.run('acme', 'run_1'),
          store.spend('acme', 'workspace', { limit: 1 }),
          store.entries({ workspaceId: 'acme', limit: 9 }),
        ]);
        expect([run?.modelNanos, spend[0]?.modelNanos, entries.length]).toEqual([250n, 250n, 2]);
        expect(store.foldedSeq).toBe(2);
      });

      it('answers peeks from what is folded and says up to where', async () => {
        const store = await open();
        await store.append([reserve('a', { sessionId: 's' }), settle('a', '250')]);
        await store.run('acme', 'run_1');
        expect(store.peekRun('acme', 'run_1')?.modelNanos).toBe(250n);
        expect(store.peekRunEntries('acme', 'run_1').map(({ seq }) => seq)).toEqual([1, 2]);
        expect(store.peekSpent('acme', 'session', 's')).toEqual({ nanos: 250n, asOfSeq: 2 });
        expect(store.peekSpent('acme', 'session', 'other')).toEqual({ nanos: 0n, asOfSeq: 2 });
        expect(store.peekSession('acme', 's')).toEqual({
          startedAt: AT,
          spentNanos: 250n,
          requests: 1,
          toolCalls: 0,
          retries: 0,
          steps: 0,
          asOfSeq: 2,
        });
        expect(store.peekSession('acme', 'other')).toBeUndefined();
      });

      it('knows a run in its own workspace only', async () => {
        const store = await open();
        await store.append([
          reserve('a'),
          settle('a', '5'),
          reserve('b', { workspaceId: 'globex' }),
          settle('b', '8', { workspaceId: 'globex' }),
        ]);
        expect([
          (await store.run('acme', 'run_1'))?.modelNanos,
          (await store.run('globex', 'run_1'))?.modelNanos,
          await store.run('other', 'run_1'),
        ]).toEqual([5n, 8n, undefined]);
      });

      it('lists runs newest first, page by page, each once', async () => {
        const store = await open();
        await store.append(
          Array.from({ length: 25 }, (_, number) => reserve(`r${number}`, { runId: `run_${number}`, at: AT + (number % 5) })),
        );
        const seen: string[] = [];
        let cursor: string | undefined;
        do {
          const page = await store.runs({ workspaceId: 'acme', limit: 7, cursor });
          seen.push(...page.rows.map((row) => row.runId));
          cursor = page.nextCursor;
        } while (cursor !== undefined);
        expect(new Set(seen).size).toBe(25);
        const starts = seen.map((runId) => AT + (Number(runId.slice(4)) % 5));
        expect(starts).toEqual(starts.toSorted((a, b) => b - a));
      });

      it('sums spend per day of the reservation, not of its end', async () => {
        const store = await open();
        const midnight = Date.UTC(2026, 10, 25);
        await store.append([
          reserve('a', { at: midnight - 1 }),
          settle('a', '5', { at: midnight + 60_000 }),
          reserve('b', { at: midnight }),
          settle('b', '8', { at: midnight + 1 }),
        ]);
        expect(
          (await store.spendByDay('acme', '2026-11-01', '2026-11-30')).map(({ day, modelNanos, runs }) => [day, modelNanos, runs]),
        ).toEqual([
          ['2026-11-24', 5n, 1],
          ['2026-11-25', 8n, 0],
        ]);
        expect(store.peekSpent('acme', 'run', 'run_1', '2026-11-25', '2026-11-25').nanos).toBe(8n);
      });

      it('counts spend under a session also when the run names it late', async () => {
        const store = await open();
        await store.append([reserve('a'), settle('a', '5')]);
        await store.run('acme', 'run_1');
        await store.append([reserve('b', { sessionId: 'late' }), settle('b', '8')]);
        expect(await store.spend('acme', 'session', { limit: 5 })).toMatchObject([{ id: 'late', modelNanos: 13n, requests: 2, runs: 1 }]);
        expect(store.peekSession('acme', 'late')?.spentNanos).toBe(13n);
      });
    });

    describe('a run’s row', () => {
      const cases: readonly { readonly what: string; readonly entries: readonly Entry[]; readonly row: object }[] = [
        {
          what: 'puts a first attempt at a model in the model line',
          entries: [reserve('a'), settle('a', '7')],
          row: { modelNanos: 7n, toolNanos: 0n, retryNanos: 0n, requests: 1, retries: 0 },
        },
        {
          what: 'puts a first attempt at a tool in the tool line',
          entries: [reserve('a', { kind: 'tool' }), settle('a', '7')],
          row: { modelNanos: 0n, toolNanos: 7n, retryNanos: 0n, toolCalls: 1 },
        },
        {
          what: 'puts any retry in the retry line alone',
          entries: [reserve('a', { attempt: 2 }), settle('a', '7')],
          row: { modelNanos: 0n, toolNanos: 0n, retryNanos: 7n, requests: 1, retries: 1 },
        },
        {
          what: 'neither lists nor counts a released call',
          entries: [reserve('a', { attempt: 2 }), settle('a', '0', { status: 'released' })],
          row: { requests: 0, retries: 0, retryNanos: 0n },
        },
        { what: 'counts a call in flight and charges nothing for it', entries: [reserve('a')], row: { requests: 1, modelNanos: 0n } },
        {
          what: 'charges a settled call once, however often it is settled',
          entries: [reserve('a'), settle('a', '7'), settle('a', '9')],
          row: { modelNanos: 7n },
        },
        {
          what: 'tells an unknown cost from none',
          entries: [reserve('a'), settle('a', null), reserve('b'), settle('b', '0')],
          row: { modelNanos: 0n, unknownCosts: 1, unknownNames: ['model:gpt-4o-mini'] },
        },
        {
          what: 'marks a charge that nobody confirmed',
          entries: [reserve('a'), settle('a', '1000', { unconfirmed: true })],
          row: { modelNanos: 1000n, unconfirmedCosts: 1 },
        },
        {
          what: 'counts the settlement of nothing as nothing',
          entries: [reserve('a'), settle('zzz', '7')],
          row: { modelNanos: 0n, requests: 1 },
        },
        {
          what: 'ends a run that was made for its one call',
          entries: [reserve('a', { implicitRun: true }), settle('a', '7')],
          row: { implicit: true, status: 'completed', endedAt: AT + 5 },
        },
        {
          what: 'fails a run that was made for a call that failed',
          entries: [reserve('a', { implicitRun: true }), settle('a', '7', { status: 'failed', error: 'no' })],
          row: { status: 'failed', statusReason: 'no' },
        },
        {
          what: 'keeps the first session, agent, workflow and customer that are stated',
          entries: [
            reserve('a', { agentId: 'a1' }),
            reserve('b', { agentId: 'a2', sessionId: 's1', workflowId: 'w1' }),
            reserve('c', { sessionId: 's2', customerId: 'c1' }),
          ],
          row: { agentId: 'a1', sessionId: 's1', workflowId: 'w1', customerId: 'c1' },
        },
        {
          what: 'adds up revenue, payments and fees',
          entries: [
            { type: 'run', at: AT, op: 'start', status: 'running', ...OWNER, runId: 'run_1', limit: '50', bounds: { max_steps: 4 } },
            { type: 'run', at: AT, op: 'finance', status: 'running', ...OWNER, runId: 'run_1', revenue: '30', outbound: '2' },
            { type: 'run', at: AT + 9, op: 'end', status: 'completed', ...OWNER, runId: 'run_1', revenue: '12', fees: '1' },
          ],
          row: {
            revenueNanos: 42n,
            outboundNanos: 2n,
            feesNanos: 1n,
            limitNanos: 50n,
            bounds: { max_steps: 4 },
            status: 'completed',
            endedAt: AT + 9,
          },
        },
        {
          what: 'goes on after a pause, and keeps its status when it is started once more',
          entries: [
            { type: 'run', at: AT, op: 'start', status: 'running', ...OWNER, runId: 'run_1' },
            { type: 'run', at: AT, op: 'stop', status: 'stopped', reason: 'enough', ...OWNER, runId: 'run_1' },
            { type: 'run', at: AT + 1, op: 'start', status: 'running', ...OWNER, runId: 'run_1' },
          ],
          row: { status: 'stopped', statusReason: 'enough', endedAt: AT },
        },
        {
          what: 'counts distinct steps of calls, handoffs and nested agents, not of graph nodes',
          entries: [
            reserve('a', { stepId: 's1' }),
            reserve('b', { stepId: 's1' }),
            event('e1', { eventType: 'step.started', stepId: 's2', event: { step_kind: 'planning' } }),
            event('e2', { eventType: 'step.started', stepId: 'node', event: { step_kind: 'unknown' } }),
            event('e3', { eventType: 'handoff.requested', stepId: 's3' }),
          ],
          row: { steps: 3 },
        },
        {
          what: 'counts a tool that only events speak of once, and not when a reservation stands for it',
          entries: [
            event('e1', { eventType: 'tool.call.requested', toolCallId: 't1', event: { name: 'search' } }),
            event('e2', { eventType: 'tool.call.completed', toolCallId: 't1' }),
            event('e3', { eventType: 'tool.call.requested', toolCallId: 't2' }),
            reserve('b', { kind: 'tool', toolCallId: 't2' }),
          ],
          row: { toolCalls: 2, unknownNames: ['tool:search'] },
        },
        {
          what: 'does not count a tool that was denied',
          entries: [
            {
              type: 'decision',
              at: AT,
              id: 'd1',
              ...OWNER,
              runId: 'run_1',
              phase: 'tool_call',
              outcome: 'denied',
              reason: 'no',
              toolCallId: 't1',
            },
            event('e1', { eventType: 'tool.call.requested', toolCallId: 't1' }),
          ],
          row: { toolCalls: 0, unknownNames: [] },
        },
      ];
      // One store for the whole table: each row plays in a workspace of its own, once at a stroke and once entry by entry.
      let shared: OpenStore;
      beforeAll(async () => {
        shared = await harness.open();
      });
      afterAll(() => shared.dispose());
      for (const [number, { what, entries, row }] of cases.entries()) {
        it(what, async () => {
          const { store } = shared;
          await store.append(entries.map((entry) => movedTo(`whole_${number}`, entry)));
          expect(await store.run(`whole_${number}`, 'run_1')).toMatchObject(row);
          for (const entry of entries) {
            await store.append([movedTo(`split_${number}`, entry)]);
            await store.run(`split_${number}`, 'run_1');
          }
          expect(await store.run(`split_${number}`, 'run_1')).toMatchObject(row);
        });
      }

      it('is not there while only a refused call was seen', async () => {
        const store = await open();
        await store.append([
          {
            type: 'decision',
            at: AT,
            id: 'd1',
            ...OWNER,
            runId: 'run_1',
            phase: 'model_request',
            outcome: 'denied',
            reason: 'no',
            stepId: 's1',
          },
        ]);
        expect(await store.run('acme', 'run_1')).toBeUndefined();
        expect((await store.runs({ workspaceId: 'acme', limit: 5 })).rows).toEqual([]);
        await store.append([reserve('a')]);
        expect(await store.run('acme', 'run_1')).toMatchObject({ steps: 1, requests: 1 });
      });

      it('survives amounts that no account holds', async () => {
        const store = await open();
        const most = '9'.repeat(21);
        await store.append([
          { type: 'run', at: AT, op: 'finance', status: 'running', ...OWNER, runId: 'run_1', revenue: most },
          { type: 'run', at: AT, op: 'finance', status: 'running', ...OWNER, runId: 'run_1', revenue: most },
        ]);
        await store.run('acme', 'run_1');
        await store.append([reserve('a'), settle('a', '5')]);
        expect(await store.run('acme', 'run_1')).toMatchObject({ modelNanos: 5n });
      });
    });

    describe('recovery', () => {
      it('names at open the reservations that have no settlement', async () => {
        const store = await open();
        await store.append([reserve('a', { note: { text: 'x' } }), reserve('b'), reserve('c')]);
        await store.run('acme', 'run_1');
        await store.append([settle('b', '5'), settle('c', '0', { status: 'released' })]);
        expect(store.openReservations()).toEqual([]);
        expect((await reopen()).openReservations()).toEqual([reserve('a', { note: { text: 'x' } })]);
      });

      it('folds the same figures again from the ledger alone', async () => {
        const store = await open();
        const entries = randomEntries(createRandom(7), 400);
        await store.append(entries);
        expect(await store.rebuild()).toEqual({ entries: entries.length, differences: [] });
      });
    });

    describe('event ids', () => {
      it('are known from the moment of the append, over folds and restarts, in their workspace', async () => {
        const store = await open();
        const durable = store.append([event('e1'), event('e2', { dedupe: undefined })]);
        const ask = (asked: Store): string[] => [...asked.knownEventIds('acme', ['e1', 'e2', 'e3'])];
        expect(ask(store)).toEqual(['e1']);
        await durable;
        await store.run('acme', 'run_1');
        expect(ask(store)).toEqual(['e1']);
        expect([...store.knownEventIds('globex', ['e1'])]).toEqual([]);
        expect(ask(await reopen())).toEqual(['e1']);
      });

      it('are looked up many at once', async () => {
        const store = await open();
        const ids = Array.from({ length: 501 }, (_, number) => `e${number}`);
        await store.append(ids.map((id) => event(id)));
        await store.run('acme', 'run_1');
        expect(store.knownEventIds('acme', [...ids, 'none']).size).toBe(501);
      });
    });

    describe('keys and budgets', () => {
      it('are kept, changed, found by hash and heard of', async () => {
        const store = await open();
        const heard = new Promise<void>((resolve) => store.onAdminChange(resolve));
        await store.putKey(KEY);
        await store.putKey({ ...KEY, keyId: 'key_2', hash: 'bb22', revokedAt: AT });
        await store.putKey({ ...KEY, label: 'renamed' });
        await store.putBudget({ budgetId: 'bud_1', body: { scope: 'run', limit_usd: '0.50' }, updatedAt: AT });
        await store.putBudget({ budgetId: 'bud_1', body: { scope: 'run', limit_usd: '1' }, updatedAt: AT + 1 });
        await heard;
        expect(await store.deleteBudget('bud_9')).toBe(false);
        const again = await reopen();
        expect(again.keys()).toEqual([
          { ...KEY, label: 'renamed' },
          { ...KEY, keyId: 'key_2', hash: 'bb22', revokedAt: AT },
        ]);
        expect(again.peekKeyByHash('bb22')?.keyId).toBe('key_2');
        expect(again.peekKeyByHash('cc33')).toBeUndefined();
        expect(again.budgets()).toEqual([{ budgetId: 'bud_1', body: { scope: 'run', limit_usd: '1' }, updatedAt: AT + 1 }]);
        expect(await again.deleteBudget('bud_1')).toBe(true);
        expect(again.budgets()).toEqual([]);
      });
    });

    describe('random ledgers', () => {
      const count = harness.randomEntries ?? 300;
      // 798899469: a call whose only event is no evidence of a step.
      const seeds = [1, 2, 798_899_469, Math.floor(Math.random() * 1e9)];
      for (const seed of seeds) {
        it(`agree with the naive model in every figure (seed ${seed})`, async () => {
          const random = createRandom(seed);
          const naive = createNaiveLedger();
          const store = await open();
          await appendInPieces(store, naive, randomEntries(random, count), random);
          // Once as folded while it ran, once as found after a restart.
          await compareAll(store, naive, random);
          const again = await reopen();
          expect(
            again
              .openReservations()
              .map(({ id }) => id)
              .sort(),
          ).toEqual(
            naive
              .openReservations()
              .map(({ id }) => id)
              .sort(),
          );
          await compareAll(again, naive, random);
          expect((await again.rebuild()).differences).toEqual([]);
        });

        it(`balance: debits equal credits, and what is held and spent is what the store says (seed ${seed})`, async () => {
          const random = createRandom(seed);
          const naive = createNaiveLedger();
          await appendInPieces(await open(), naive, randomEntries(random, count), random);
          const store = await reopen();
          const lines = bookLines(naive.entries);
          expect(new Set(lines.map((line) => line.movement))).toEqual(new Set(['hold', 'charge', 'release', 'overage']));
          expect(sum(lines.map((line) => line.debit))).toBe(sum(lines.map((line) => line.credit)));
          for (const workspaceId of ['acme', 'globex']) {
            const held = sum(
              store
                .openReservations()
                .filter((open) => open.workspaceId === workspaceId)
                .map((open) => BigInt(open.hold)),
            );
            const spent = store.peekSpent(workspaceId, 'workspace', workspaceId).nanos;
            expect([
              balanceOf(lines, 'held', workspaceId),
              balanceOf(lines, 'spent', workspaceId),
              balanceOf(lines, 'available', workspaceId),
            ]).toEqual([held, spent, -held - spent]);
          }
        });
      }
    });
  });
}

function sum(amounts: readonly bigint[]): bigint {
  return amounts.reduce((total, amount) => total + amount, 0n);
}

/** In batches of random size, some waited for, some behind, with a read now and then so that folds are cut anywhere. */
async function appendInPieces(store: Store, naive: NaiveLedger, entries: readonly Entry[], random: Random): Promise<void> {
  for (let from = 0; from < entries.length;) {
    const piece = entries.slice(from, from + 1 + random.below(20));
    from += piece.length;
    naive.add(piece);
    if (random.chance(0.5)) store.appendBehind(piece);
    else await store.append(piece);
    if (random.chance(0.2)) await store.run('acme', 'run_0');
  }
  await store.flush();
}

async function compareAll(store: Store, naive: NaiveLedger, random: Random): Promise<void> {
  for (const { workspaceId, runId } of naive.runIds()) {
    const row = await store.run(workspaceId, runId);
    expect(row).toEqual(naive.run(workspaceId, runId));
    expect(store.peekRun(workspaceId, runId)).toEqual(row);
    const entries = store.peekRunEntries(workspaceId, runId);
    expect(entries.map(({ seq }) => seq)).toEqual(naive.seqs({ workspaceId, runId, limit: Number.MAX_SAFE_INTEGER }));
    if (row === undefined) continue;
    // The full shape and the row are two folds of the same entries: every figure they share is the same.
    const {
      steps: _steps,
      requests: _requests,
      tools: _tools,
      decisions: _decisions,
      budgets: _budgets,
      ...totals
    } = foldRun(entries, { budgets: [] }) ?? { steps: [], requests: [], tools: [], decisions: [], budgets: [] };
    expect(totals).toEqual(summarizeRun(row));
  }
  for (const { workspaceId, scope, id, runs } of naive.booked()) {
    const [row] = await store.spend(workspaceId, scope, { id, limit: 1 });
    expect([scope, id, (row?.modelNanos ?? 0n) + (row?.toolNanos ?? 0n) + (row?.retryNanos ?? 0n)]).toEqual([
      scope,
      id,
      naive.spent(workspaceId, scope, id),
    ]);
    expect([scope, id, row?.revenueNanos]).toEqual([scope, id, naive.revenue(workspaceId, scope, id)]);
    expect([scope, id, row?.runs]).toEqual([scope, id, runs]);
    for (const day of ['2026-11-22', '2026-11-23', '2026-11-24', '2026-11-25']) {
      expect(store.peekSpent(workspaceId, scope, id, day, day).nanos).toBe(naive.spent(workspaceId, scope, id, day, day));
    }
  }
  for (let round = 0; round < 30; round += 1) {
    const filter = randomEntryFilter(random, naive.entries.length);
    expect({ filter, seqs: (await store.entries(filter)).map(({ seq }) => seq) }).toEqual({ filter, seqs: naive.seqs(filter) });
  }
  for (let round = 0; round < 10; round += 1) {
    const filter = randomRunFilter(random);
    expect({ filter, runs: (await store.runs(filter)).rows.map((row) => row.runId) }).toEqual({ filter, runs: naive.runsBy(filter) });
  }
}

function randomEntryFilter(random: Random, last: number): EntryFilter {
  const maybe = <Value>(value: Value): Value | undefined => (random.chance(0.3) ? value : undefined);
  return {
    workspaceId: random.pick(['acme', 'globex']),
    runId: maybe(`run_${random.below(8)}`),
    sessionId: maybe(`session_${random.below(3)}`),
    agentId: maybe(`agent_${random.below(3)}`),
    types: maybe([random.pick(['event', 'decision', 'settle', 'run']), random.pick(['tool.call.requested', 'step.started', 'reserve'])]),
    afterSeq: maybe(random.below(last)),
    beforeSeq: maybe(random.below(last)),
    order: random.pick(['asc', 'desc']),
    limit: 1 + random.below(60),
  };
}

function randomRunFilter(random: Random): RunFilter {
  const maybe = <Value>(value: Value): Value | undefined => (random.chance(0.3) ? value : undefined);
  return {
    workspaceId: random.pick(['acme', 'globex']),
    sessionId: maybe(`session_${random.below(3)}`),
    agentId: maybe(`agent_${random.below(3)}`),
    workflowId: maybe(`workflow_${random.below(2)}`),
    customerId: maybe(`customer_${random.below(2)}`),
    status: maybe(random.pick(['running', 'completed', 'failed', 'paused'])),
    startedFrom: maybe(Date.UTC(2026, 10, 23)),
    startedTo: maybe(Date.UTC(2026, 10, 24)),
    limit: 1000,
  };
}
