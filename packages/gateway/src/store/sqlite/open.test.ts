import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { spawn } from 'node:child_process';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Worker } from 'node:worker_threads';
import Sqlite from 'better-sqlite3';
import type { Entry } from '../entry.ts';
import { StoreError, type StoredKey } from '../store.ts';
import { openInDirectory, temporaryDirectory } from './harness.ts';
import { openSqliteAdmin, openSqliteStore, type SqliteStore, type SqliteStoreOptions } from './index.ts';

/** What only the embedded store promises: its files, its lock, and what it survives. */

const OWNER = { workspaceId: 'acme', keyId: 'key_1', runId: 'run_1' } as const;
const reserve = (id: string, note = ''): Entry => ({
  type: 'reserve',
  at: 1,
  id,
  kind: 'model',
  name: 'm',
  attempt: 1,
  source: 'gateway',
  hold: '1000',
  ...OWNER,
  note: { note },
});
const settle = (id: string, cost = '700'): Entry => ({
  type: 'settle',
  at: 2,
  id,
  workspaceId: 'acme',
  runId: 'run_1',
  status: 'completed',
  cost,
});
const key: StoredKey = {
  keyId: 'key_1',
  hash: 'aa',
  prefix: 'vk',
  workspaceId: 'acme',
  agentId: undefined,
  memberId: undefined,
  label: undefined,
  admin: false,
  createdAt: 1,
  revokedAt: undefined,
};

describe('the embedded store', () => {
  let directory: string;
  const stores: SqliteStore[] = [];
  const open = async (options: Partial<SqliteStoreOptions> = {}): Promise<SqliteStore> => {
    const store = await openSqliteStore({ directory, durability: 'relaxed', ...options });
    stores.push(store);
    return store;
  };
  beforeEach(async () => {
    directory = await temporaryDirectory();
  });
  afterEach(async () => {
    await Promise.all(stores.splice(0).map((store) => store.close()));
    await rm(directory, { recursive: true, force: true });
  });
  const sql = <Result>(file: string, use: (database: Sqlite.Database) => Result): Result => {
    const database = new Sqlite(join(directory, file));
    try {
      return use(database);
    } finally {
      database.close();
    }
  };

  describe('its ledger table', () => {
    it.each([
      ['changed', "UPDATE ledger SET body = '{}'"],
      ['deleted', 'DELETE FROM ledger'],
    ])('can not be %s', async (_how, statement) => {
      const store = await open();
      await store.append([reserve('a')]);
      expect(() => sql('ledger.db', (database) => database.exec(statement))).toThrow('append-only');
    });
  });

  describe('its directory', () => {
    it('is used by one gateway at a time, and the refusal names it and says what to do', async () => {
      const first = await open({ clock: { now: () => Date.UTC(2026, 10, 24) } });
      await expect(open()).rejects.toThrow(
        `Data directory ${directory} is in use by another gateway process (process ${process.pid}, running since 2026-11-24T00:00:00.000Z). Stop that one first`,
      );
      await first.append([reserve('a')]);
      await first.close();
      expect((await open()).lastSeq).toBe(1);
    });

    it('is made with its parents when it does not exist', async () => {
      directory = join(directory, 'a', 'b');
      await (await open()).append([reserve('a')]);
      expect(existsSync(join(directory, 'ledger.db'))).toBe(true);
    });

    it.each(['ledger.db', 'admin.db'])('is refused when its %s comes from a newer version, and nothing is touched', async (file) => {
      await (await open()).close();
      sql(file, (database) => database.pragma('user_version = 99'));
      await expect(open()).rejects.toThrow(/was written by a newer version of Runpurse \(schema 99/);
      sql(file, (database) => expect(database.pragma('user_version', { simple: true })).toBe(99));
      // The lock is free again: with the right version it opens.
      sql(file, (database) => database.pragma('user_version = 1'));
      await open();
    });

    it('refuses a ledger that is no database', async () => {
      await (await open()).close();
      await rm(join(directory, 'ledger.db'));
      const { writeFile } = await import('node:fs/promises');
      await writeFile(join(directory, 'ledger.db'), 'not a database, '.repeat(1000));
      await expect(open()).rejects.toThrow(/not a database/);
    });
  });

  describe('its views', () => {
    it.each([
      ['are gone', async () => rm(join(directory, 'views.db'))],
      ['are of another version', async () => sql('views.db', (database) => database.pragma('user_version = 77'))],
      [
        'know more than the ledger',
        async () => sql('views.db', (database) => database.exec('UPDATE progress SET folded_seq = 1000; UPDATE run SET model_nanos = 5')),
      ],
    ])('are folded again when they %s', async (_what, spoil) => {
      const store = await open();
      await store.append([reserve('a'), settle('a')]);
      await store.run('acme', 'run_1');
      await store.close();
      await spoil();
      expect((await open()).peekRun('acme', 'run_1')?.modelNanos).toBe(700n);
    });

    it('that were tampered with are found out by a rebuild, figure by figure, and put right', async () => {
      const store = await open();
      await store.append([
        reserve('a'),
        settle('a'),
        reserve('b'),
        { type: 'run', at: 3, op: 'start', status: 'running', ...OWNER, runId: 'run_2' },
      ]);
      await store.run('acme', 'run_1');
      await store.close();
      sql('views.db', (database) =>
        database.exec(`
          UPDATE run SET model_nanos = 600, requests = 9 WHERE run = 'run_1';
          DELETE FROM run WHERE run = 'run_2';
          UPDATE spend SET model_nanos = 1 WHERE scope = 'key';
          INSERT INTO event_id VALUES ('acme', 'made up');
          DELETE FROM open_reservation;
          UPDATE posting SET gaps = '1' WHERE kind = 'all';
        `),
      );
      const again = await open();
      const { entries, differences } = await again.rebuild();
      expect(entries).toBe(4);
      expect(differences.toSorted()).toEqual([
        'event_id acme/made up: stood in the views, is not in the ledger',
        'open_reservation b: was missing from the views',
        'posting acme/all/: lists other entries than the ledger',
        'run acme/run_1: model_nanos was 600, the ledger says 700',
        'run acme/run_1: requests was 9, the ledger says 2',
        'run acme/run_2: was missing from the views',
        'spend acme/key/key_1/1970-01-01: model_nanos was 1, the ledger says 700',
      ]);
      expect((await again.run('acme', 'run_1'))?.modelNanos).toBe(700n);
      expect(await again.rebuild()).toEqual({ entries: 4, differences: [] });
      expect(existsSync(join(directory, 'views-rebuild.db'))).toBe(false);
    });

    it('are folded without being asked once the ledger is quiet', async () => {
      const store = await open();
      await store.append([reserve('a'), settle('a')]);
      for (let waited = 0; store.foldedSeq < 2 && waited < 200; waited += 1) await new Promise((resolve) => setTimeout(resolve, 10));
      expect([store.foldedSeq, store.peekRun('acme', 'run_1')?.modelNanos]).toEqual([2, 700n]);
    });

    it('keep up with a burst', async () => {
      const store = await open();
      for (let round = 0; round < 20; round += 1)
        await store.append(Array.from({ length: 500 }, (_, number) => reserve(`${round}_${number}`)));
      expect((await store.run('acme', 'run_1'))?.requests).toBe(10_000);
      expect(store.foldedSeq).toBe(10_000);
    });
  });

  describe('its disk', () => {
    const filler = 'x'.repeat(20_000);

    it('being full rejects those who wait and keeps what is owed, until there is room again', async () => {
      const store = await open({ maxSizeMb: 0.5 });
      const accepted: string[] = [];
      let refusal: unknown;
      for (let number = 0; refusal === undefined; number += 1) {
        try {
          await store.append([reserve(`r${number}`, filler), reserve(`also ${number}`)]);
          accepted.push(`r${number}`, `also ${number}`);
        } catch (error) {
          refusal = error;
        }
      }
      expect(refusal).toBeInstanceOf(StoreError);
      expect(String(refusal)).toContain('SQLITE_FULL');
      expect(store.failing).toBe(true);
      expect(accepted.length).toBeGreaterThan(10);

      // Owed while the disk is full: kept, in order, ahead of what comes later.
      store.appendBehind([settle('r0'), { ...reserve('owed', filler) }]);
      await expect(store.append([reserve('refused too', filler)])).rejects.toThrow(StoreError);
      expect((await store.run('acme', 'run_1'))?.requests).toBe(accepted.length);

      store.resize(undefined);
      await store.flush();
      expect(store.failing).toBe(false);
      await store.append([reserve('after')]);
      const written = (await store.entries({ workspaceId: 'acme', limit: 10_000 })).map(({ entry }) => ('id' in entry ? entry.id : ''));
      expect(written).toEqual([...accepted, 'r0', 'owed', 'after']);
      expect(store.foldedSeq).toBe(store.lastSeq);

      await store.close();
      const again = await open();
      expect((await again.entries({ workspaceId: 'acme', limit: 10_000 })).map(({ entry }) => ('id' in entry ? entry.id : ''))).toEqual(
        written,
      );
      expect((await again.rebuild()).differences).toEqual([]);
    });

    it('being full takes nothing of a batch, not even the part that had room', async () => {
      const store = await open({ maxSizeMb: 0.3 });
      const big = Array.from({ length: 40 }, (_, number) => reserve(`big ${number}`, filler));
      await expect(store.append([reserve('small'), ...big])).rejects.toThrow(StoreError);
      expect(await store.entries({ workspaceId: 'acme', limit: 10 })).toEqual([]);
      await store.append([reserve('small')]);
      expect((await store.entries({ workspaceId: 'acme', limit: 10 })).length).toBe(1);
    });

    it('having room again is noticed without an append', async () => {
      const store = await open({ maxSizeMb: 0.3 });
      await expect(store.append(Array.from({ length: 40 }, (_, number) => reserve(`r${number}`, filler)))).rejects.toThrow(StoreError);
      expect(store.failing).toBe(true);
      store.resize(undefined);
      for (let waited = 0; store.failing && waited < 500; waited += 1) await new Promise((resolve) => setTimeout(resolve, 10));
      expect(store.failing).toBe(false);
    });

    it('refuses event ids that were not written, so that their sender may send them again', async () => {
      const store = await open({ maxSizeMb: 0.1 });
      const event: Entry = {
        type: 'event',
        at: 1,
        eventAt: 1,
        eventId: 'e1',
        dedupe: true,
        eventType: 'x',
        source: 's',
        ...OWNER,
        event: { filler: filler.repeat(20) },
      };
      const refused = store.append([event]);
      expect(store.knownEventIds('acme', ['e1']).size).toBe(1);
      await expect(refused).rejects.toThrow(StoreError);
      expect(store.knownEventIds('acme', ['e1']).size).toBe(0);
    });
  });

  describe('the command line beside it', () => {
    it('makes keys and budgets before any gateway ran', async () => {
      const admin = openSqliteAdmin(directory);
      await admin.putKey(key);
      expect(await admin.run('acme', 'run_1')).toBeUndefined();
      expect((await admin.runs({ workspaceId: 'acme', limit: 5 })).rows).toEqual([]);
      await admin.close();
      expect((await open()).keys()).toEqual([key]);
    });

    it('writes keys while the gateway runs, which knows them at once and hears of the change', async () => {
      const store = await open();
      const heard = new Promise<void>((resolve) => store.onAdminChange(resolve));
      const admin = openSqliteAdmin(directory);
      await admin.putKey(key);
      expect(store.peekKeyByHash('aa')).toEqual(key);
      await heard;
      await admin.putBudget({ budgetId: 'bud_1', body: {}, updatedAt: 1 });
      expect(store.budgets()).toHaveLength(1);
      await admin.close();
    });

    it('reads runs and entries, while the gateway runs and when it does not', async () => {
      const store = await open();
      await store.append([reserve('a'), settle('a')]);
      await store.run('acme', 'run_1');
      const read = async (): Promise<unknown[]> => {
        const admin = openSqliteAdmin(directory);
        const seen = [
          (await admin.run('acme', 'run_1'))?.modelNanos,
          (await admin.entries({ workspaceId: 'acme', limit: 9 })).length,
          (await admin.spend('acme', 'run', { limit: 1 }))[0]?.modelNanos,
        ];
        await admin.close();
        return seen;
      };
      expect(await read()).toEqual([700n, 2, 700n]);
      await store.close();
      expect(await read()).toEqual([700n, 2, 700n]);
    });
  });

  describe('its threads', () => {
    const workers: Worker[] = [];
    const noteWorker = (message: unknown): void => void workers.push((message as { worker: Worker }).worker);
    beforeEach(() => subscribe('worker_threads', noteWorker));
    afterEach(() => {
      unsubscribe('worker_threads', noteWorker);
      workers.length = 0;
    });

    it('that write: when they die every append rejects, and what was durable stays', async () => {
      const store = await open();
      await store.append([reserve('a')]);
      await workers[0]?.terminate();
      await expect(store.append([reserve('b')])).rejects.toThrow(/writer thread ended unexpectedly/);
      expect(store.failing).toBe(true);
      await expect(store.flush()).rejects.toThrow(StoreError);
      await expect(store.putKey(key)).rejects.toThrow(StoreError);
      await store.close();
      expect((await open()).openReservations().map(({ id }) => id)).toEqual(['a']);
    });

    it('that fold: when they die reads reject, and the ledger goes on', async () => {
      const store = await open();
      await workers[1]?.terminate();
      await expect(store.run('acme', 'run_1')).rejects.toThrow(/views thread ended unexpectedly/);
      await store.append([reserve('a'), settle('a')]);
      await store.close();
      expect((await open()).peekRun('acme', 'run_1')?.modelNanos).toBe(700n);
    });
  });

  it('closes once, and refuses what comes after', async () => {
    const store = await open();
    const durable = store.append([reserve('a')]);
    await Promise.all([store.close(), store.close()]);
    await durable;
    await expect(store.append([reserve('b')])).rejects.toThrow('The store is closed.');
    await expect(store.run('acme', 'run_1')).rejects.toThrow('The store is closed.');
  });

  it('loses nothing it said was durable when its process is killed in the middle, again and again', async () => {
    const durable: string[] = [];
    for (let generation = 0; generation < 4; generation += 1) {
      durable.push(...(await killWhileWriting(directory, String(generation), 150 + Math.floor(Math.random() * 250))));
      const { store, reopen, dispose: _dispose } = await openInDirectory(directory);
      const written = new Set<string>();
      let afterSeq = 0;
      for (;;) {
        const page = await store.entries({ workspaceId: 'acme', types: ['reserve'], afterSeq, limit: 5_000 });
        for (const { entry } of page) if (entry.type === 'reserve') written.add(entry.id);
        const last = page.at(-1);
        if (last === undefined) break;
        afterSeq = last.seq;
      }
      expect(durable.filter((id) => !written.has(id))).toEqual([]);
      expect((await store.rebuild()).differences).toEqual([]);
      // What the crash left open is named, and settling it leaves nothing open.
      store.appendBehind(
        store.openReservations().map((open) => ({
          type: 'settle',
          at: 3,
          id: open.id,
          workspaceId: open.workspaceId,
          runId: open.runId,
          status: 'aborted',
          cost: open.hold,
          unconfirmed: true,
        })),
      );
      const again = (await reopen()).store;
      expect(again.openReservations()).toEqual([]);
      const totals = again.peekSession('acme', 'session_1');
      const charged = again.peekSpent('acme', 'workspace', 'acme').nanos;
      expect([totals?.requests, totals?.spentNanos]).toEqual([written.size, charged]);
      await again.close();
    }
    expect(durable.length).toBeGreaterThan(100);
  });
});

/** Starts a process that writes the ledger, kills it with -9 once it has said enough, and returns what it said was durable. */
async function killWhileWriting(directory: string, generation: string, afterLines: number): Promise<string[]> {
  const child = spawn(
    process.execPath,
    ['--conditions=runpurse-source', '--no-warnings', fileURLToPath(new URL('./crash-child.ts', import.meta.url)), directory, generation],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  let said = '';
  child.stdout.setEncoding('utf8');
  child.stdout.on('data', (text: string) => {
    said += text;
    if (said.split('\n').length > afterLines) child.kill('SIGKILL');
  });
  await new Promise((resolve) => child.once('close', resolve));
  // The last line may be cut off by the kill; a whole one ends in a line break.
  return said.split('\n').slice(0, -1);
}
