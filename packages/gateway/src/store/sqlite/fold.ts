import type { ContextFields, DecisionEntry, Entry, EventEntry, ReserveEntry, RunEntry, SettleEntry } from '../entry.ts';
import type { SpendScope } from '../store.ts';
import { costLine, deniedTool, isRefusedCall, stepOfEvent, toolOfEvent, unknownName } from '../../views/run-rules.ts';
import type { Database } from './database.ts';
import { createPostingLists, type PostingLists } from './postings.ts';
import {
  addDeniedTool,
  addReservedTool,
  addSeenTool,
  addStep,
  addUnknownName,
  applyRunEntry,
  beginAt,
  nanosOf,
  newRunFold,
  setStatusBySettle,
  stateContext,
  type LateStated,
  type RunFold,
} from '../../views/run-fold.ts';
import { callScopes, runScopes } from './spend-scopes.ts';
import { addSpend, createViewWriter, newSpendDelta, type FoldedChunk, type SpendDelta, type ViewWriter } from './view-writer.ts';

/** A ledger row as read for folding. */
export interface LedgerRow {
  readonly seq: number;
  readonly body: string;
}

/** Folds ledger rows into the view tables. Rows come in order, each once; a call is one transaction. */
export interface Folder {
  fold(rows: readonly LedgerRow[]): void;
}

/** Runs kept between calls, so that a run in progress is not read back for each. */
const RUNS_KEPT = 5_000;

/**
 * A chunk is folded in memory first (sums per run, per scope and day, lists of sequence numbers) and written at its end:
 * a thousand entries of one run cost one row.
 */
export function createFolder(views: Database): Folder {
  const writer = createViewWriter(views);
  const runs = new Map<string, RunFold>();

  const fold = views.transaction((rows: readonly LedgerRow[]) => {
    const entries = JSON.parse(`[${rows.map((row) => row.body).join(',')}]`) as Entry[];
    const chunk = newChunk(writer, runs);
    rows.forEach((row, index) => {
      const entry = entries[index];
      if (entry !== undefined) foldEntry(chunk, row, entry);
    });
    const last = rows.at(-1);
    if (last !== undefined) writer.write(chunk, last.seq);
  });

  return {
    fold(rows) {
      try {
        fold.immediate(rows);
      } catch (error) {
        // What was folded in memory is not in the tables.
        runs.clear();
        throw error;
      }
      forgetRuns(runs);
    },
  };
}

/** Ended runs leave at once, they are seldom touched again; of the others the oldest go when they are many. */
function forgetRuns(runs: Map<string, RunFold>): void {
  for (const [key, run] of runs) {
    if (run.endedAt !== undefined || runs.size > RUNS_KEPT) runs.delete(key);
  }
}

/** What a call of `fold` gathers before it writes. */
interface Chunk extends FoldedChunk {
  readonly writer: ViewWriter;
  readonly lists: PostingLists;
  /** Where a run's last call was booked: the next one most likely is too. */
  readonly bookings: Map<RunFold, Booking>;
}

/** A call's spend scopes found once, for the calls of its run that have the same. */
interface Booking {
  readonly reserve: ReserveEntry;
  readonly day: string;
  readonly name: string;
  /** What the run knew of itself then. */
  readonly known: Pick<RunFold, 'sessionId' | 'workflowId' | 'customerId' | 'agentId' | 'memberId'>;
  readonly deltas: readonly SpendDelta[];
}

function newChunk(writer: ViewWriter, runs: Map<string, RunFold>): Chunk {
  const lists = createPostingLists();
  return { writer, runs, spend: new Map(), open: new Map(), eventIds: [], postings: lists.all, lists, bookings: new Map() };
}

function foldEntry(chunk: Chunk, row: LedgerRow, entry: Entry): void {
  const { lists } = chunk;
  const { seq } = row;
  const { workspaceId } = entry;
  const run = foldByType(chunk, entry, row);
  lists.add(seq, 'all', workspaceId, '');
  lists.add(seq, 'type', workspaceId, entry.type);
  // A sender may name its event anything, `event` too; a list holds an entry once.
  if (entry.type === 'event' && entry.eventType !== 'event') lists.add(seq, 'type', workspaceId, entry.eventType);
  if (entry.runId !== undefined) lists.add(seq, 'run', workspaceId, entry.runId);
  const states = entry.type !== 'settle' && entry.type !== 'threshold';
  const sessionId = (states ? entry.sessionId : undefined) ?? run?.sessionId;
  const agentId = (states ? entry.agentId : undefined) ?? run?.agentId;
  if (sessionId !== undefined) lists.add(seq, 'session', workspaceId, sessionId);
  if (agentId !== undefined) lists.add(seq, 'agent', workspaceId, agentId);
}

/** Says which run the entry belongs to. */
function foldByType(chunk: Chunk, entry: Entry, row: LedgerRow): RunFold | undefined {
  switch (entry.type) {
    case 'run':
      return foldRunEntry(chunk, entry);
    case 'reserve':
      return foldReserve(chunk, entry, row);
    case 'settle':
      return foldSettle(chunk, entry);
    case 'event':
      return foldEvent(chunk, entry);
    case 'decision':
      return foldDecision(chunk, entry);
    case 'threshold':
      return entry.runId === undefined ? undefined : findRun(chunk, entry.workspaceId, entry.runId);
  }
}

function foldRunEntry(chunk: Chunk, entry: RunEntry): RunFold {
  const run = beginRun(chunk, entry, entry.at);
  applyRunEntry(run, entry);
  if (entry.revenue === undefined && entry.outbound === undefined && entry.fees === undefined) return run;
  const revenue = entry.revenue === undefined ? undefined : nanosOf(entry.revenue);
  const outbound = nanosOf(entry.outbound ?? '0');
  const fees = nanosOf(entry.fees ?? '0');
  // Its call is still to come and counts the run under these scopes again if they are not remembered.
  if (run.implicit) run.touched ??= new Set();
  for (const [scope, id] of runScopes(run)) {
    const delta = bookUnder(chunk, run, scope, id, utcDay(entry.at));
    if (revenue !== undefined) delta.revenue = (delta.revenue ?? 0n) + revenue;
    delta.outbound += outbound;
    delta.fees += fees;
  }
  return run;
}

function foldReserve(chunk: Chunk, entry: ReserveEntry, row: LedgerRow): RunFold {
  const run = beginRun(chunk, entry, entry.at);
  if (entry.implicitRun === true) run.implicit = true;
  countCall(run, entry, 1);
  if (entry.stepId !== undefined) addStep(run, entry.stepId);
  if (entry.kind === 'tool' && entry.toolCallId !== undefined) addReservedTool(run, entry.toolCallId);
  chunk.open.set(entry.id, { reserve: entry, body: row.body, stored: false, ended: false });
  return run;
}

function foldSettle(chunk: Chunk, entry: SettleEntry): RunFold | undefined {
  const opened = chunk.open.get(entry.id) ?? chunk.writer.openReservation(entry.id);
  // A reservation ends once: a second settle has nothing to end.
  if (opened === undefined || opened.ended) return findRun(chunk, entry.workspaceId, entry.runId);
  chunk.open.set(entry.id, { ...opened, ended: true });
  const { reserve } = opened;
  const run = beginRun(chunk, reserve, reserve.at);
  if (entry.status === 'released') countCall(run, reserve, -1);
  else charge(chunk, run, reserve, entry);
  setStatusBySettle(run, entry);
  return run;
}

function foldEvent(chunk: Chunk, entry: EventEntry): RunFold | undefined {
  if (entry.dedupe === true) chunk.eventIds.push({ workspaceId: entry.workspaceId, eventId: entry.eventId });
  if (entry.runId === undefined) return undefined;
  const run = beginRun(chunk, { ...entry, runId: entry.runId }, entry.at);
  const stepId = stepOfEvent(entry);
  if (stepId !== undefined) addStep(run, stepId);
  const tool = toolOfEvent(entry);
  if (tool !== undefined) addSeenTool(run, tool.toolCallId, tool.name);
  return run;
}

function foldDecision(chunk: Chunk, entry: DecisionEntry): RunFold | undefined {
  if (entry.runId === undefined) return undefined;
  const known = findRun(chunk, entry.workspaceId, entry.runId);
  if (!isRefusedCall(entry) || (entry.stepId === undefined && entry.toolCallId === undefined)) return known;
  // A refused call may come before the run: what it says of steps and tools waits, unseen, for the run to begin.
  const run = known ?? makeRun(chunk, entry.workspaceId, entry.runId, entry.keyId, entry.at);
  run.dirty = true;
  if (entry.stepId !== undefined) addStep(run, entry.stepId);
  const denied = deniedTool(entry);
  if (denied !== undefined) addDeniedTool(run, denied);
  return run;
}

/** The cost and counts of a call that ended, in its run and under each of its spend scopes, on the day of its reservation. */
function charge(chunk: Chunk, run: RunFold, reserve: ReserveEntry, settle: SettleEntry): void {
  const line = costLine(reserve);
  const cost = settle.cost === null ? 0n : nanosOf(settle.cost);
  const unknown = settle.cost === null;
  run.nanos[line] += cost;
  if (unknown) {
    run.unknownCosts += 1;
    addUnknownName(run, unknownName(reserve.kind, reserve.name));
  }
  if (settle.unconfirmed === true) run.unconfirmedCosts += 1;
  for (const delta of bookingOf(chunk, run, reserve, settle).deltas) {
    delta[line] += cost;
    if (unknown) delta.unknownCosts += 1;
    if (reserve.kind === 'model') delta.requests += 1;
    else delta.toolCalls += 1;
    if (reserve.attempt > 1) delta.retries += 1;
  }
  // Its one call is over: there is no scope it does not count under by now.
  if (run.implicit) run.touched = 'all';
}

function bookingOf(chunk: Chunk, run: RunFold, reserve: ReserveEntry, settle: SettleEntry): Booking {
  const day = utcDay(reserve.at);
  const name = settle.model ?? reserve.name;
  const last = chunk.bookings.get(run);
  if (last !== undefined && last.day === day && last.name === name && isBookedAlike(last, run, reserve)) return last;
  const { sessionId, workflowId, customerId, agentId, memberId } = run;
  const deltas = callScopes(run, reserve, settle).map(([scope, id]) => bookUnder(chunk, run, scope, id, day));
  const booking: Booking = { reserve, day, name, known: { sessionId, workflowId, customerId, agentId, memberId }, deltas };
  if (!run.implicit) chunk.bookings.set(run, booking);
  return booking;
}

/** True when the call counts in the scopes of the last one, by what it says itself and what its run knows. */
function isBookedAlike(last: Booking, run: RunFold, reserve: ReserveEntry): boolean {
  const { reserve: before, known } = last;
  return (
    before.kind === reserve.kind &&
    before.provider === reserve.provider &&
    before.keyId === reserve.keyId &&
    before.memberId === reserve.memberId &&
    before.agentId === reserve.agentId &&
    before.sessionId === reserve.sessionId &&
    before.workflowId === reserve.workflowId &&
    before.customerId === reserve.customerId &&
    known.sessionId === run.sessionId &&
    known.workflowId === run.workflowId &&
    known.customerId === run.customerId &&
    known.agentId === run.agentId &&
    known.memberId === run.memberId
  );
}

function countCall(run: RunFold, reserve: ReserveEntry, by: 1 | -1): void {
  run.dirty = true;
  if (reserve.kind === 'model') run.requests += by;
  else run.reservedTools += by;
  if (reserve.attempt > 1) run.retries += by;
}

/** The chunk's sums of a scope id on a day. A run counts once under a scope id, on the day it first spent there. */
function bookUnder(chunk: Chunk, run: RunFold, scope: SpendScope, id: string, day: string): SpendDelta {
  const delta = spendDelta(chunk, run.workspaceId, scope, id, day);
  if (run.touched === 'all') return delta;
  // The one call of such a run is booked under each scope once: nothing need be remembered.
  if (run.implicit && run.touched === undefined) {
    delta.runs += 1;
    return delta;
  }
  const touch = `${scope}:${id}`;
  run.touched ??= new Set();
  if (run.touched.has(touch)) return delta;
  run.touched.add(touch);
  run.dirty = true;
  delta.runs += 1;
  return delta;
}

function spendDelta(chunk: Chunk, workspaceId: string, scope: SpendScope, id: string, day: string): SpendDelta {
  const key = `${scope}\u0000${id}\u0000${day}\u0000${workspaceId}`;
  let delta = chunk.spend.get(key);
  if (delta === undefined) {
    delta = newSpendDelta(workspaceId, scope, id, day);
    chunk.spend.set(key, delta);
  }
  return delta;
}

/** The run an entry names, made by its first entry; the first entry that states a session, agent … states it for the run. */
function beginRun(chunk: Chunk, stated: ContextFields, at: number): RunFold {
  const run = findRun(chunk, stated.workspaceId, stated.runId) ?? makeRun(chunk, stated.workspaceId, stated.runId, stated.keyId, at);
  run.dirty = true;
  beginAt(run, stated.keyId, at);
  stateContext(run, stated, (field, id) => bookEarlierSpend(chunk, run, SCOPE_OF[field], id));
  return run;
}

const SCOPE_OF = { sessionId: 'session', workflowId: 'workflow', customerId: 'customer' } as const satisfies Record<LateStated, SpendScope>;

/** Books what the run spent before it named its session also under that session, on the days it was spent. */
function bookEarlierSpend(chunk: Chunk, run: RunFold, scope: SpendScope, id: string): void {
  if (run.touched === undefined) return;
  if (run.implicit) {
    const delta = bookUnder(chunk, run, scope, id, utcDay(run.startedAt));
    addSpend(delta, { ...spendOfImplicit(run, scope, id), runs: run.touched === 'all' ? 1 : 0 });
    return;
  }
  const before = new Map<string, SpendDelta>();
  for (const stored of chunk.writer.spendByDay(run.workspaceId, 'run', run.runId)) before.set(stored.day, stored);
  for (const delta of chunk.spend.values()) {
    if (delta.workspaceId !== run.workspaceId || delta.scope !== 'run' || delta.id !== run.runId) continue;
    const stored = before.get(delta.day);
    if (stored === undefined) before.set(delta.day, { ...delta });
    else addSpend(stored, delta);
  }
  for (const earlier of [...before.values()].sort((a, b) => (a.day < b.day ? -1 : 1))) {
    addSpend(bookUnder(chunk, run, scope, id, earlier.day), { ...earlier, runs: 0 });
  }
}

function spendOfImplicit(run: RunFold, scope: SpendScope, id: string): SpendDelta {
  return {
    ...newSpendDelta(run.workspaceId, scope, id, utcDay(run.startedAt)),
    ...run.nanos,
    revenue: run.revenueNanos,
    outbound: run.outboundNanos,
    fees: run.feesNanos,
    unknownCosts: run.unknownCosts,
    requests: run.requests,
    toolCalls: run.reservedTools,
    retries: run.retries,
  };
}

const runKey = (workspaceId: string, runId: string): string => `${workspaceId}\u0000${runId}`;

function findRun(chunk: Chunk, workspaceId: string, runId: string): RunFold | undefined {
  const key = runKey(workspaceId, runId);
  const kept = chunk.runs.get(key);
  if (kept !== undefined) return kept;
  const stored = chunk.writer.run(workspaceId, runId);
  if (stored !== undefined) chunk.runs.set(key, stored);
  return stored;
}

function makeRun(chunk: Chunk, workspaceId: string, runId: string, keyId: string, at: number): RunFold {
  const run = newRunFold(workspaceId, runId, keyId, at);
  chunk.runs.set(runKey(workspaceId, runId), run);
  return run;
}

const DAY_MS = 86_400_000;
let lastDay = { number: Number.NaN, text: '' };

/** The UTC day of a time, `YYYY-MM-DD`. */
function utcDay(at: number): string {
  const number = Math.floor(at / DAY_MS);
  if (number !== lastDay.number) lastDay = { number, text: new Date(number * DAY_MS).toISOString().slice(0, 10) };
  return lastDay.text;
}
