import type { ContextFields, DecisionEntry, EventEntry, ReserveEntry, SettleEntry } from '../store/entry.ts';
import type { Sequenced } from '../store/store.ts';
import { applyRunEntry, beginAt, newRunFold, setStatusBySettle, stateContext, type RunFold } from './run-fold.ts';

/** A call with the reservation that stands for it, and how it ended. */
export interface LoggedCall {
  readonly seq: number;
  readonly reserve: ReserveEntry;
  settle: SettleEntry | undefined;
  /** From an event about this call, where the call itself did not say. */
  linked: EventEntry | undefined;
}

/** A run's entries sorted out: its state, calls, decisions and events. */
export interface RunLog {
  readonly run: RunFold;
  /** In the order they were admitted, released ones too. */
  readonly calls: readonly LoggedCall[];
  /** In the order taken. */
  readonly decisions: readonly { readonly seq: number; readonly entry: DecisionEntry }[];
  /** Each event once, in the order it happened by its sender's clock, whatever order it arrived in. */
  readonly events: readonly EventEntry[];
}

/** Sorts a run's entries. Undefined when none of them begins the run. */
export function readRunLog(entries: readonly Sequenced[]): RunLog | undefined {
  let run: RunFold | undefined;
  const calls = new Map<string, LoggedCall>();
  const decisions: { seq: number; entry: DecisionEntry }[] = [];
  const events = new Map<string, EventEntry>();
  for (const { seq, entry } of entries.toSorted((a, b) => a.seq - b.seq)) {
    switch (entry.type) {
      case 'decision':
        decisions.push({ seq, entry });
        break;
      case 'event':
        if (entry.runId === undefined) break;
        run = stated(run, { ...entry, runId: entry.runId }, entry.at);
        if (!events.has(entry.eventId)) events.set(entry.eventId, entry);
        break;
      case 'run':
        run = stated(run, entry, entry.at);
        applyRunEntry(run, entry);
        break;
      case 'reserve':
        run = stated(run, entry, entry.at);
        if (entry.implicitRun === true) run.implicit = true;
        if (!calls.has(entry.id)) calls.set(entry.id, { seq, reserve: entry, settle: undefined, linked: undefined });
        break;
      case 'settle': {
        const call = calls.get(entry.id);
        if (call === undefined || call.settle !== undefined || run === undefined) break;
        call.settle = entry;
        setStatusBySettle(run, entry);
        break;
      }
      case 'threshold':
        break;
    }
  }
  if (run === undefined) return undefined;
  const inOrder = [...events.values()].sort(byTime);
  for (const event of inOrder) {
    const call = event.reservationId === undefined ? undefined : calls.get(event.reservationId);
    if (call !== undefined) call.linked ??= event;
  }
  return { run, calls: [...calls.values()], decisions, events: inOrder };
}

function stated(known: RunFold | undefined, context: ContextFields, at: number): RunFold {
  const run = known ?? newRunFold(context.workspaceId, context.runId, context.keyId, at);
  beginAt(run, context.keyId, at);
  stateContext(run, context);
  return run;
}

/** Ties in time are broken by what begins before what ends, then by id, never by the order of arrival. */
function byTime(a: EventEntry, b: EventEntry): number {
  return a.eventAt - b.eventAt || Number(isEnd(a)) - Number(isEnd(b)) || (a.eventId < b.eventId ? -1 : a.eventId > b.eventId ? 1 : 0);
}

const END_EVENT = /\.(completed|failed|received)$/;

export function isEnd(event: EventEntry): boolean {
  return END_EVENT.test(event.eventType);
}

export function isFailure(event: EventEntry): boolean {
  return event.eventType.endsWith('.failed');
}
