import type { Refusal } from '@runpurse/core';
import { isEventType } from '@runpurse/core';
import type { Outcome } from '../admit/types.ts';
import type { Entry } from '../store/entry.ts';
import type { Sequenced, Store } from '../store/store.ts';

/** A tool call or self-reported model call as events have spoken of it: what makes late and repeated events harmless. */
export interface KnownCall {
  /** What is called; undefined where nothing said it. */
  readonly name: string | undefined;
  attempt: number;
  status: 'open' | 'completed' | 'failed' | 'denied';
  /** The reservation that stands for it, unless it was denied. */
  reservationId: string | undefined;
  /** By the sender's clock: when its last question was asked, and when it ended. */
  askedAt: number | undefined;
  endedAt: number | undefined;
  /** Why it was denied; read back from the ledger only its code and reason are left. */
  refusal: Pick<Refusal, 'code' | 'message' | 'blockedBy'> | undefined;
  /** While its hold is not yet durable. */
  intent: Promise<unknown> | undefined;
  /** How it ended, while it is held because its start is still to say what it may have cost. */
  told?: Outcome | undefined;
}

/** What ingest keeps of a run. */
export interface RunMemory {
  /** By `tool:<tool call id>` and `model:<step id>`. */
  readonly calls: Map<string, KnownCall>;
  /** When the run ended by its sender's clock; undefined: no event ended it. */
  endedAt: number | undefined;
  /** Ledger sequence of its last change: it leaves memory only when that is folded and can be read back. */
  touchedSeq: number;
}

/** Runs kept in memory; what falls out is read back from the ledger. */
const RUNS_MAX = 5_000;

export interface CallMemory {
  of(workspaceId: string, runId: string, isNewRun: boolean): RunMemory;
}

/** The runs' calls, in memory while they are spoken of, rebuilt from the ledger's entries otherwise. */
export function createCallMemory(store: Pick<Store, 'peekRunEntries' | 'lastSeq' | 'foldedSeq'>): CallMemory {
  const runs = new Map<string, RunMemory>();
  const keyOf = (workspaceId: string, runId: string): string => `${workspaceId}\u0000${runId}`;

  /** Only what is folded can be read back, so the rest stays. */
  const evict = (): void => {
    for (const [key, memory] of runs) {
      if (runs.size <= RUNS_MAX) return;
      if (memory.touchedSeq <= store.foldedSeq) runs.delete(key);
      else if (runs.size <= 2 * RUNS_MAX) return;
    }
  };

  return {
    of(workspaceId, runId, isNewRun) {
      const key = keyOf(workspaceId, runId);
      let memory = runs.get(key);
      if (memory === undefined) {
        memory = isNewRun ? { calls: new Map(), endedAt: undefined, touchedSeq: 0 } : rebuild(store.peekRunEntries(workspaceId, runId));
        runs.set(key, memory);
        if (runs.size > RUNS_MAX) evict();
      } else {
        runs.delete(key);
        runs.set(key, memory);
      }
      // What is decided now will be written behind this sequence number.
      memory.touchedSeq = store.lastSeq + 1;
      return memory;
    },
  };
}

/** The key under which events speak of a call, if they can. */
export function callKey(
  kind: 'model' | 'tool',
  ids: { readonly toolCallId?: string | undefined; readonly stepId?: string | undefined },
): string | undefined {
  const id = kind === 'tool' ? (ids.toolCallId ?? ids.stepId) : ids.stepId;
  return id === undefined ? undefined : `${kind}:${id}`;
}

/** Puts a call into memory; what is returned takes it out again. */
export function remember(memory: RunMemory, key: string | undefined, call: KnownCall): () => void {
  if (key === undefined) return () => undefined;
  const before = memory.calls.get(key);
  memory.calls.set(key, call);
  return () => {
    if (memory.calls.get(key) !== call) return;
    if (before === undefined) memory.calls.delete(key);
    else memory.calls.set(key, before);
  };
}

function rebuild(entries: readonly Sequenced[]): RunMemory {
  const memory: RunMemory = { calls: new Map(), endedAt: undefined, touchedSeq: 0 };
  const byReservation = new Map<string, KnownCall>();
  for (const { entry } of entries) readBack(memory, byReservation, entry);
  return memory;
}

function readBack(memory: RunMemory, byReservation: Map<string, KnownCall>, entry: Entry): void {
  switch (entry.type) {
    case 'reserve': {
      const key = entry.kind === 'model' && entry.source === 'gateway' ? undefined : callKey(entry.kind, entry);
      if (key === undefined) return;
      const call: KnownCall = {
        name: entry.name,
        attempt: entry.attempt,
        status: 'open',
        reservationId: entry.id,
        askedAt: undefined,
        endedAt: undefined,
        refusal: undefined,
        intent: undefined,
      };
      memory.calls.set(key, call);
      byReservation.set(entry.id, call);
      return;
    }
    case 'settle': {
      const call = byReservation.get(entry.id);
      // Ended by a restart or by time, its end is still to be told: then nothing is left to charge. An event that told it says so itself.
      if (call !== undefined && entry.status !== 'aborted') call.status = entry.status === 'completed' ? 'completed' : 'failed';
      return;
    }
    case 'decision': {
      if (entry.outcome !== 'denied' || (entry.phase !== 'tool_call' && entry.phase !== 'model_request')) return;
      const key = callKey(entry.phase === 'tool_call' ? 'tool' : 'model', entry);
      if (key === undefined || memory.calls.has(key)) return;
      memory.calls.set(key, {
        name: entry.subject,
        attempt: entry.attempt ?? 1,
        status: 'denied',
        reservationId: undefined,
        askedAt: undefined,
        endedAt: undefined,
        refusal: { code: (entry.code ?? 'policy_denied') as Refusal['code'], message: entry.reason, blockedBy: entry.rule },
        intent: undefined,
      });
      return;
    }
    case 'event': {
      if (!isEventType(entry.eventType)) return;
      if (entry.eventType === 'run.completed' || entry.eventType === 'run.failed') memory.endedAt ??= entry.eventAt;
      const kind = entry.eventType.startsWith('tool.') ? 'tool' : entry.eventType.startsWith('llm.') ? 'model' : undefined;
      const key = kind === undefined ? undefined : callKey(kind, entry);
      const call = key === undefined ? undefined : memory.calls.get(key);
      if (call === undefined) return;
      if (entry.eventType === 'tool.call.requested' || entry.eventType === 'llm.call.started') call.askedAt = entry.eventAt;
      else if (call.status !== 'denied') {
        call.endedAt = entry.eventAt;
        if (call.status === 'open') call.status = entry.eventType.endsWith('.failed') ? 'failed' : 'completed';
      }
      return;
    }
    case 'run':
    case 'threshold':
      return;
  }
}
