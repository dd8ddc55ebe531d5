import { REFUSALS, type Refusal } from '@runpurse/core';
import { LEDGER_UNAVAILABLE } from '../admit/refusals.ts';
import { refusalHeaders } from '../api/refusal-response.ts';
import type { RunView } from '../admit/types.ts';
import type { Gateway } from '../gateway.ts';
import type { EventEntry } from '../store/entry.ts';
import { StoreError } from '../store/store.ts';
import { stepOfEvent } from '../views/run-rules.ts';
import { openaiRefusal } from '../wires/refusal-body.ts';
import type { JsonObject } from '../wires/wire.ts';
import { createCallMemory, type RunMemory } from './call-memory.ts';
import { notTaken, type IngestResult } from './errors.ts';
import { eventEntry } from './event-entry.ts';
import { createEventMemory, type SeenEvent } from './event-memory.ts';
import { readEvents, sessionContradiction, type IngestCaller, type ReadEvent } from './read-events.ts';
import { createCallReader } from './reported-call.ts';
import { answerAgain, PHASE_BY_TYPE, takeEvent } from './take-event.ts';
import type { Taken, Taking } from './taking.ts';
import { decisionRow, type Verdict } from './verdict.ts';

/** Takes agent events in: `POST /v1/agent/events` without its HTTP. */
export interface Ingest {
  /**
   * Takes one event or a batch, whole or not at all, and answers when all of it is durable.
   * @param body the parsed JSON
   * @param bytes its length as received
   * @param options `enforce`: somebody waits for the decision, a denial gets its own status; `reportsOnly`: the sender
   *   asks nobody, so the calls it says begin are made
   */
  accept(body: unknown, bytes: number, caller: IngestCaller, options: IngestOptions): Promise<IngestResult>;
}

interface IngestOptions {
  readonly enforce: boolean;
  readonly reportsOnly?: boolean;
}

/**
 * read (all is checked) → recognise what was sent before → take each event in one turn of the event loop → append once →
 * answer. See README.md beside this for what each type does.
 */
export function createIngest(gateway: Gateway): Ingest {
  const { config, clock, ids, store, policy, admission, mappings } = gateway;
  const events = createEventMemory(store);
  const calls = createCallMemory(store);
  const readCall = createCallReader(gateway);

  /** Begins the run an event names, or tells it what the event knows and the run does not. */
  const introduce = (read: ReadEvent, run: RunView | undefined): Promise<unknown> | undefined => {
    if (!read.hasRun || read.event.type === 'run.started') return undefined;
    const { subject } = read;
    if (run === undefined) return admission.startRun({ subject });
    if (run.status !== 'running' && run.status !== 'paused') return undefined;
    const knowsMore =
      (run.sessionId === undefined && subject.sessionId !== undefined) ||
      (run.workflowId === undefined && subject.workflowId !== undefined) ||
      (run.agentId === undefined && subject.agentId !== undefined) ||
      (run.customerId === undefined && subject.customerId !== undefined);
    return knowsMore ? admission.startRun({ subject }) : undefined;
  };

  const takingOf = (
    read: ReadEvent,
    run: RunView | undefined,
    { enforce, reportsOnly = false }: IngestOptions,
    isNewRun: boolean,
  ): Taking => ({
    gateway,
    read,
    run,
    memory: read.hasRun ? calls.of(read.subject.workspaceId, read.subject.runId, isNewRun) : NO_MEMORY(),
    enforce,
    reportsOnly,
    readCall: (kind) => readCall(kind, read.event.metadata, read.event.name),
  });

  /** Takes a batch whose events are all good. No other call is decided in between. */
  const takeAll = (
    reads: readonly ReadEvent[],
    seen: readonly (SeenEvent | undefined)[],
    options: IngestOptions,
    at: number,
  ): { readonly rows: readonly Row[]; readonly appended: Promise<void> } => {
    const entries: EventEntry[] = [];
    const rows = reads.map((read, index): Row => {
      const before = seen[index];
      const { workspaceId, runId } = read.subject;
      const run = read.hasRun ? admission.run(workspaceId, runId) : undefined;
      if (before !== undefined && before.appliedTo === undefined) {
        return {
          read,
          taken: answerAgain(takingOf(read, run, options, run === undefined)),
          duplicateOf: before,
          entry: undefined,
          introduced: undefined,
        };
      }
      const introduced = before === undefined ? introduce(read, run) : undefined;
      const taken =
        before === undefined
          ? takeEvent(takingOf(read, introduced === undefined ? run : admission.run(workspaceId, runId), options, run === undefined))
          : appliedBefore(before);
      const observed =
        taken.reservationId !== undefined && admission.carried(workspaceId, runId, { requestId: taken.reservationId }) !== undefined;
      const entry = eventEntry(read, { at, reservationId: taken.reservationId, observed, begun: taken.begun });
      const stepId = stepOfEvent(entry);
      if (stepId !== undefined && entry.runId !== undefined) admission.noteStep(workspaceId, runId, stepId);
      entries.push(entry);
      return { read, taken, duplicateOf: undefined, entry, introduced };
    });
    return { rows, appended: store.append(entries) };
  };

  return {
    async accept(body, bytes, caller, options) {
      const now = clock.now();
      const { workspaceId, keyId } = caller.key;
      const read = readEvents({ body, bytes, caller, limits: config.limits, mappings, ids, now });
      if (read.type !== 'events') {
        if (read.type === 'refused')
          admission.logDecision({
            subject: { workspaceId, keyId },
            phase: 'run_update',
            outcome: 'denied',
            code: read.refusal.code,
            reason: read.refusal.message,
          });
        return notTaken(read);
      }
      const reads = read.events;
      const count = reads.length;
      for (
        let unrecalled = events.unrecalled(workspaceId, reads);
        unrecalled.length > 0;
        unrecalled = events.unrecalled(workspaceId, reads)
      ) {
        try {
          await events.recall(workspaceId, unrecalled);
        } catch (fault) {
          return ledgerFault(fault, count);
        }
      }

      // From here to the append nothing waits, so nothing can come in between.
      const recognised = recognise(reads, (eventId) => events.find(workspaceId, eventId));
      if ('conflict' in recognised) return notTaken({ type: 'error', code: 'event_id_conflict', ...recognised.conflict, count });
      const contradiction = findContradiction(reads, recognised.seen, (runId) => admission.run(workspaceId, runId)?.sessionId);
      if (contradiction !== undefined) return notTaken({ type: 'refused', refusal: contradiction, count });

      const { rows, appended } = store.together(() => takeAll(reads, recognised.seen, options, now));
      const writes = rows
        .flatMap((row) => [...row.taken.writes, row.introduced, row.duplicateOf?.durable])
        .filter((write) => write !== undefined);
      const durable = Promise.all([appended, ...writes]).then(() => undefined);
      // Whoever sends a copy meanwhile waits for this too; who fails first is told below.
      durable.catch(() => undefined);
      for (const row of rows) {
        if (row.entry !== undefined && row.read.eventIdGiven)
          events.remember(workspaceId, row.read.event.event_id, { fingerprint: row.read.fingerprint, durable, appliedTo: undefined });
      }
      const verdicts = await Promise.allSettled(rows.map((row) => Promise.resolve(row.taken.verdict)));
      try {
        await durable;
      } catch (fault) {
        undo(rows, workspaceId);
        return ledgerFault(fault, count);
      }
      for (const row of rows) {
        const seen = row.entry === undefined || !row.read.eventIdGiven ? undefined : events.find(workspaceId, row.read.event.event_id);
        if (seen?.durable === durable) seen.durable = undefined;
      }
      return answer(rows, verdicts.map(valueOf), options.enforce);
    },
  };

  /** The batch is not in the ledger: what can be undone is forgotten, what can't be is remembered, so that the copy does it once. */
  function undo(rows: readonly Row[], workspaceId: string): void {
    for (const { read, taken, entry } of rows.toReversed()) {
      if (!taken.settled) taken.forget?.();
      if (entry === undefined || !read.eventIdGiven) continue;
      if (taken.settled && taken.reservationId !== undefined) {
        events.remember(workspaceId, read.event.event_id, {
          fingerprint: read.fingerprint,
          durable: undefined,
          appliedTo: taken.reservationId,
        });
      } else events.forget(workspaceId, read.event.event_id);
    }
  }

  function answer(rows: readonly Row[], verdicts: readonly Verdict[], enforce: boolean): IngestResult {
    let denial: Refusal | undefined;
    const decisions = rows.map(({ read, duplicateOf }, index) => {
      const verdict = verdicts[index] ?? { type: 'skipped' };
      if (verdict.type === 'denied') denial ??= verdict.refusal;
      return decisionRow(read, verdict, {
        hasPolicy: policy.hasRules(PHASE_BY_TYPE[read.event.type] ?? 'run_update'),
        duplicate: duplicateOf !== undefined,
      });
    });
    const body: JsonObject = { accepted: rows.length, rejected: 0, allowed: denial === undefined, decisions };
    if (denial === undefined || !enforce) return { status: 202, body, headers: {} };
    return {
      status: REFUSALS[denial.code].status,
      body: { ...openaiRefusal(denial, undefined), ...body },
      headers: refusalHeaders(denial),
    };
  }
}

/** An event of the batch with what became of it. */
interface Row {
  readonly read: ReadEvent;
  readonly taken: Taken;
  /** The copy that came first. */
  readonly duplicateOf: SeenEvent | undefined;
  readonly entry: EventEntry | undefined;
  readonly introduced: Promise<unknown> | undefined;
}

const NO_MEMORY = (): RunMemory => ({ calls: new Map(), endedAt: undefined, touchedSeq: 0 });

/** Its effect happened when the store failed; only the entry is still to be written. */
function appliedBefore(seen: SeenEvent): Taken {
  return { reservationId: seen.appliedTo, verdict: { type: 'skipped' }, writes: [], settled: true, begun: true };
}

/** Finds the first copies of the batch's events, in it or before it; an id that comes with other content is a conflict. */
function recognise(
  reads: readonly ReadEvent[],
  find: (eventId: string) => SeenEvent | undefined,
): { readonly seen: readonly (SeenEvent | undefined)[] } | { readonly conflict: { readonly message: string; readonly param: string } } {
  const inBatch = new Map<string, SeenEvent>();
  const seen: (SeenEvent | undefined)[] = [];
  for (const read of reads) {
    if (!read.eventIdGiven) {
      seen.push(undefined);
      continue;
    }
    const { event_id: eventId } = read.event;
    const first = inBatch.get(eventId) ?? find(eventId);
    if (first !== undefined && first.fingerprint !== read.fingerprint) {
      return {
        conflict: {
          message: `Event ${eventId} was sent before with other content. Nothing of the body was stored or charged. Give each event its own event_id, and send it again only as it was.`,
          param: reads.length === 1 ? 'event_id' : `events[${read.index}].event_id`,
        },
      };
    }
    inBatch.set(eventId, { fingerprint: read.fingerprint, durable: undefined, appliedTo: undefined });
    seen.push(first);
  }
  return { seen };
}

/** The first event that names another session than its run's, or than an earlier event of the batch did. */
function findContradiction(
  reads: readonly ReadEvent[],
  seen: readonly (SeenEvent | undefined)[],
  sessionOf: (runId: string) => string | undefined,
): Refusal | undefined {
  const sessions = new Map<string, string | undefined>();
  for (const [index, read] of reads.entries()) {
    const { runId } = read.subject;
    const claimed = read.event.session_id;
    if (!read.hasRun || claimed === undefined || seen[index] !== undefined) continue;
    if (!sessions.has(runId)) sessions.set(runId, sessionOf(runId));
    const refusal = sessionContradiction(read, sessions.get(runId));
    if (refusal !== undefined) return refusal;
    sessions.set(runId, claimed);
  }
  return undefined;
}

function ledgerFault(fault: unknown, count: number): IngestResult {
  if (fault instanceof StoreError) return notTaken({ type: 'refused', refusal: LEDGER_UNAVAILABLE, count });
  throw fault;
}

function valueOf(settled: PromiseSettledResult<Verdict>): Verdict {
  if (settled.status === 'fulfilled') return settled.value;
  throw settled.reason;
}
