import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import type { Entry } from '../entry.ts';
import { StoreError } from '../store.ts';
import { createGroupCommit, type GroupCommit } from './group-commit.ts';

const entry = (id: string): Entry => ({ type: 'settle', at: 0, id, workspaceId: 'w', runId: 'r', status: 'completed', cost: '1' });

interface Sent {
  readonly ranges: readonly number[];
  readonly ids: string[];
}

describe('group commit', () => {
  let sent: Sent[];
  let probes: number;
  let attempts: number[];
  let commit: GroupCommit;

  beforeEach(() => {
    jest.useFakeTimers();
    sent = [];
    probes = 0;
    attempts = [];
    commit = createGroupCommit({
      lastSeq: 100,
      sink: {
        write: (ranges, lines) =>
          void sent.push({ ranges: [...ranges], ids: lines.split('\n').map((line) => (JSON.parse(line) as { id: string }).id) }),
        probe: () => void (probes += 1),
      },
      onAttempt: (seq) => void attempts.push(seq),
    });
  });
  afterEach(() => {
    jest.useRealTimers();
  });

  /** Fake timers run an immediate that an immediate asked for a millisecond later. */
  const oneTurn = (): void => void jest.advanceTimersByTime(1);
  /** Lets what waits for a turn of the event loop that brings nothing more go. */
  const turn = (): void => {
    oneTurn();
    oneTurn();
  };
  const state = async (promise: Promise<void>): Promise<string> => {
    let outcome = 'waits';
    promise.then(
      () => (outcome = 'durable'),
      (error: Error) => (outcome = error.name),
    );
    await Promise.resolve();
    await Promise.resolve();
    return outcome;
  };

  it('sends what one turn brought as one batch, and nothing more until that is durable', async () => {
    const first = commit.append([entry('a'), entry('b')]);
    commit.appendBehind([entry('c')]);
    expect(sent).toEqual([]);
    turn();
    expect(sent).toEqual([{ ranges: [101, 3], ids: ['a', 'b', 'c'] }]);
    const second = commit.append([entry('d')]);
    turn();
    expect(sent).toHaveLength(1);
    expect([await state(first), await state(second)]).toEqual(['waits', 'waits']);
    commit.written(undefined);
    expect(await state(first)).toBe('durable');
    turn();
    expect(sent[1]).toEqual({ ranges: [104, 1], ids: ['d'] });
    expect([commit.lastSeq, commit.settledSeq]).toEqual([104, 103]);
  });

  it('waits while each turn brings more, but not for ever', () => {
    const nextTurn = (): void => void jest.advanceTimersToNextTimer();
    void commit.append([entry('a')]);
    for (const id of ['b', 'c']) {
      void commit.append([entry(id)]);
      nextTurn();
    }
    expect(sent).toEqual([]);
    nextTurn();
    expect(sent.map(({ ids }) => ids)).toEqual([['a', 'b', 'c']]);
    commit.written(undefined);
    for (let number = 0; number < 20; number += 1) {
      void commit.append([entry(`${number}`)]);
      void commit.append([entry(`${number}, too`)]);
      nextTurn();
    }
    expect(sent[1]?.ids).toHaveLength(16);
  });

  it('waits no longer once there is much to flush', () => {
    void commit.append([entry('first')]);
    void commit.append(Array.from({ length: 200 }, (_, index) => entry(`${index}`)));
    jest.advanceTimersToNextTimer();
    expect(sent[0]?.ids).toHaveLength(201);
  });

  it('keeps a call’s entries in one batch and cuts a long queue into several', () => {
    turn();
    void commit.append([entry('first')]);
    turn();
    for (let number = 0; number < 3; number += 1)
      void commit.append(Array.from({ length: 4000 }, (_, index) => entry(`${number}_${index}`)));
    commit.written(undefined);
    turn();
    commit.written(undefined);
    turn();
    expect(sent.map(({ ids }) => ids.length)).toEqual([1, 8000, 4000]);
  });

  it('keeps what is appended together in one batch, whatever its size', () => {
    void commit.append(Array.from({ length: 5000 }, (_, index) => entry(`before_${index}`)));
    commit.together(() => {
      void commit.append(Array.from({ length: 4000 }, (_, index) => entry(`${index}`)));
      commit.appendBehind([entry('behind')]);
      void commit.append([entry('last')]);
    });
    turn();
    expect(sent.map(({ ids }) => ids.length)).toEqual([9002]);
  });

  it('waits while it is held back, and goes on when told to', async () => {
    let heldBack = true;
    const held = createGroupCommit({
      lastSeq: 0,
      sink: { write: (ranges) => void sent.push({ ranges, ids: [] }), probe: () => undefined },
      onAttempt: () => undefined,
      isHeldBack: () => heldBack,
    });
    const waiting = held.append([entry('a')]);
    turn();
    held.goOn();
    expect([sent.length, await state(waiting)]).toEqual([0, 'waits']);
    heldBack = false;
    held.goOn();
    held.written(undefined);
    expect([sent.length, await state(waiting)]).toEqual([1, 'durable']);
  });

  it('goes on after a failure that fell together with being held back', () => {
    let heldBack = false;
    const held = createGroupCommit({
      lastSeq: 0,
      sink: { write: (ranges) => void sent.push({ ranges, ids: [] }), probe: () => undefined },
      onAttempt: () => undefined,
      isHeldBack: () => heldBack,
    });
    held.appendBehind([entry('a')]);
    turn();
    held.written('disk is full');
    heldBack = true;
    jest.advanceTimersByTime(60_000);
    held.goOn();
    expect(sent).toHaveLength(1);
    heldBack = false;
    held.goOn();
    expect(sent).toHaveLength(2);
  });

  it('rejects those who wait when the write fails, and their entries never come again', async () => {
    const failed = commit.append([entry('a')]);
    turn();
    commit.written('disk is full');
    expect(await state(failed)).toBe('StoreError');
    expect(commit.failing).toBe(true);
    const next = commit.append([entry('b')]);
    turn();
    commit.written(undefined);
    expect(await state(next)).toBe('durable');
    expect(sent.map(({ ids }) => ids)).toEqual([['a'], ['b']]);
    expect([commit.failing, commit.settledSeq]).toEqual([false, 102]);
  });

  it('keeps what nobody waits for and writes it first, in order, with its own numbers', async () => {
    const waiting = commit.append([entry('a')]);
    commit.appendBehind([entry('b')]);
    waiting.catch(() => undefined);
    turn();
    commit.written('disk is full');
    // Not settled: b may still come, so nothing above it may be taken for folded.
    expect(commit.settledSeq).toBe(101);
    commit.appendBehind([entry('c')]);
    const later = commit.append([entry('d')]);
    turn();
    commit.written('disk is full');
    expect(await state(later)).toBe('StoreError');
    expect(commit.settledSeq).toBe(101);
    jest.advanceTimersByTime(5_000);
    commit.written(undefined);
    expect(sent.map(({ ranges, ids }) => [ranges, ids])).toEqual([
      [
        [101, 2],
        ['a', 'b'],
      ],
      [
        [102, 3],
        ['b', 'c', 'd'],
      ],
      [
        [102, 2],
        ['b', 'c'],
      ],
    ]);
    expect([commit.failing, commit.settledSeq, commit.idle]).toEqual([false, 104, true]);
  });

  it('tries again later and later while it fails, without being asked', () => {
    commit.appendBehind([entry('a')]);
    turn();
    const waits: number[] = [];
    for (let round = 0; round < 8; round += 1) {
      commit.written('disk is full');
      const before = sent.length;
      let waited = 0;
      while (sent.length === before) {
        jest.advanceTimersByTime(1);
        waited += 1;
      }
      waits.push(waited);
    }
    expect(waits).toEqual([50, 100, 200, 400, 800, 1600, 2000, 2000]);
  });

  it('does not let entries behind jump the wait between tries', () => {
    commit.appendBehind([entry('a')]);
    turn();
    commit.written('disk is full');
    for (let number = 0; number < 10; number += 1) commit.appendBehind([entry(`b${number}`)]);
    turn();
    expect(sent).toHaveLength(1);
    jest.advanceTimersByTime(50);
    expect(sent[1]?.ids).toHaveLength(11);
  });

  it('finds out by itself that it can write again when there is nothing to write', async () => {
    const failed = commit.append([entry('a')]);
    failed.catch(() => undefined);
    turn();
    commit.written('disk is full');
    expect(await state(commit.flush())).toBe('durable');
    jest.advanceTimersByTime(50);
    expect([probes, commit.failing]).toEqual([1, true]);
    commit.written('disk is full');
    jest.advanceTimersByTime(100);
    commit.written(undefined);
    expect([probes, commit.failing, sent.length]).toEqual([2, false, 1]);
  });

  it('flushes only when what was kept is written', async () => {
    commit.appendBehind([entry('a')]);
    const flushed = commit.flush();
    turn();
    commit.written('disk is full');
    expect(await state(flushed)).toBe('waits');
    jest.advanceTimersByTime(50);
    commit.written(undefined);
    expect(await state(flushed)).toBe('durable');
  });

  it('says that all was tried when it was, durable or not', async () => {
    expect(await state(commit.attempted())).toBe('durable');
    commit.append([entry('a')]).catch(() => undefined);
    turn();
    commit.append([entry('b')]).catch(() => undefined);
    const tried = commit.attempted();
    commit.written('disk is full');
    expect(await state(tried)).toBe('waits');
    turn();
    commit.written('disk is full');
    expect(await state(tried)).toBe('durable');
  });

  it('rejects everything, now and from now on, when the writer died', async () => {
    const onItsWay = commit.append([entry('a')]);
    turn();
    const queued = commit.append([entry('b')]);
    const flushed = commit.flush();
    commit.die(new StoreError('the writer is gone'));
    const after = commit.append([entry('c')]);
    commit.appendBehind([entry('d')]);
    expect(await Promise.all([onItsWay, queued, flushed, after, commit.flush()].map(state))).toEqual(Array(5).fill('StoreError'));
    turn();
    expect([commit.failing, sent.length, await state(commit.attempted())]).toEqual([true, 1, 'durable']);
  });
});
