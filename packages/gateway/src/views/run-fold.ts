import type { ContextFields, NanosText, RunEntry, SettleEntry } from '../store/entry.ts';
import type { RunRow } from '../store/store.ts';
import { UNNAMED_TOOL } from './run-rules.ts';

/** What the fold keeps of a run: its row, and the sets behind its distinct counts. */
export interface RunFold {
  readonly workspaceId: string;
  readonly runId: string;
  keyId: string;
  sessionId: string | undefined;
  workflowId: string | undefined;
  agentId: string | undefined;
  memberId: string | undefined;
  customerId: string | undefined;
  status: RunRow['status'];
  statusReason: string | undefined;
  implicit: boolean;
  /** False while only refused calls were seen: the run does not exist yet. */
  begun: boolean;
  startedAt: number;
  endedAt: number | undefined;
  readonly nanos: { model: bigint; tool: bigint; retry: bigint };
  revenueNanos: bigint | undefined;
  outboundNanos: bigint;
  feesNanos: bigint;
  unknownCosts: number;
  unconfirmedCosts: number;
  requests: number;
  /** Tool calls with a reservation that was not released. */
  reservedTools: number;
  retries: number;
  limitNanos: bigint | undefined;
  bounds: Readonly<Record<string, number>> | undefined;
  // The sets are made with their first member: a run of one call, and there are many, has none.
  /** `model:…` and `tool:…` whose settled price is unknown. */
  unknownNames: Set<string> | undefined;
  /** Spend scopes this run was counted under, so that it is counted once; `all` when it is counted wherever it can be. */
  touched: Set<string> | 'all' | undefined;
  steps: Set<string> | undefined;
  toolsReserved: Set<string> | undefined;
  /** Tool call id → name. */
  toolsSeen: Map<string, string> | undefined;
  toolsDenied: Set<string> | undefined;
  /** Rows of the sets that are not stored yet. */
  newParts: RunPart[] | undefined;
  dirty: boolean;
}

export type PartKind = 'step' | 'reserved' | 'seen' | 'denied';

export interface RunPart {
  readonly part: PartKind;
  readonly id: string;
  readonly name: string;
}

export function newRunFold(workspaceId: string, runId: string, keyId: string, at: number): RunFold {
  return {
    workspaceId,
    runId,
    keyId,
    sessionId: undefined,
    workflowId: undefined,
    agentId: undefined,
    memberId: undefined,
    customerId: undefined,
    status: 'running',
    statusReason: undefined,
    implicit: false,
    begun: false,
    startedAt: at,
    endedAt: undefined,
    nanos: { model: 0n, tool: 0n, retry: 0n },
    revenueNanos: undefined,
    outboundNanos: 0n,
    feesNanos: 0n,
    unknownCosts: 0,
    unconfirmedCosts: 0,
    requests: 0,
    reservedTools: 0,
    retries: 0,
    limitNanos: undefined,
    bounds: undefined,
    unknownNames: undefined,
    touched: undefined,
    steps: undefined,
    toolsReserved: undefined,
    toolsSeen: undefined,
    toolsDenied: undefined,
    newParts: undefined,
    dirty: true,
  };
}

/** The run begins with the first entry that is its own. */
export function beginAt(run: RunFold, keyId: string, at: number): void {
  if (run.begun) return;
  run.begun = true;
  run.startedAt = at;
  run.keyId = keyId;
}

/** What a run may state after it has spent; the whole run belongs to it all the same. */
export const LATE_STATED = ['sessionId', 'workflowId', 'customerId'] as const;
export type LateStated = (typeof LATE_STATED)[number];

/** The first entry that states a session, an agent and so on states it for the run. `onStated` hears of those that may come late. */
export function stateContext(run: RunFold, stated: Partial<ContextFields>, onStated?: (field: LateStated, id: string) => void): void {
  run.memberId ??= stated.memberId;
  run.agentId ??= stated.agentId;
  for (const field of LATE_STATED) {
    const id = stated[field];
    if (run[field] !== undefined || id === undefined) continue;
    run[field] = id;
    onStated?.(field, id);
  }
}

/** Puts what an entry states into the sets, and what is new among what is to be stored. */
export function addStep(run: RunFold, stepId: string): void {
  if (addTo((run.steps ??= new Set()), stepId)) addPart(run, 'step', stepId);
}

export function addReservedTool(run: RunFold, toolCallId: string): void {
  if (addTo((run.toolsReserved ??= new Set()), toolCallId)) addPart(run, 'reserved', toolCallId);
}

export function addDeniedTool(run: RunFold, toolCallId: string): void {
  if (addTo((run.toolsDenied ??= new Set()), toolCallId)) addPart(run, 'denied', toolCallId);
}

export function addSeenTool(run: RunFold, toolCallId: string, name: string): void {
  const known = run.toolsSeen?.get(toolCallId);
  if (known !== undefined && (known !== UNNAMED_TOOL || name === UNNAMED_TOOL)) return;
  (run.toolsSeen ??= new Map()).set(toolCallId, name);
  addPart(run, 'seen', toolCallId, name);
}

export function addUnknownName(run: RunFold, name: string): void {
  (run.unknownNames ??= new Set()).add(name);
}

function addTo(set: Set<string>, id: string): boolean {
  if (set.has(id)) return false;
  set.add(id);
  return true;
}

function addPart(run: RunFold, part: PartKind, id: string, name = ''): void {
  (run.newParts ??= []).push({ part, id, name });
}

/** Tools that only events speak of: no reservation stands for them and nobody denied them. */
export function eventOnlyTools(run: RunFold): string[] {
  const names: string[] = [];
  for (const [toolCallId, name] of run.toolsSeen ?? []) {
    if (run.toolsReserved?.has(toolCallId) !== true && run.toolsDenied?.has(toolCallId) !== true) names.push(name);
  }
  return names;
}

const ENDED: ReadonlySet<RunRow['status']> = new Set(['completed', 'failed', 'stopped']);

/** Takes over what a run's own entry says: status, end, amounts, cap. */
export function applyRunEntry(run: RunFold, entry: RunEntry): void {
  const starts = entry.op === 'start';
  if (starts && entry.implicitRun === true) run.implicit = true;
  // A run that goes on keeps its state when its start or an amount is written once more.
  if (!starts && entry.op !== 'finance' && entry.status !== run.status)
    setStatus(run, entry.status, entry.op === 'resume' ? undefined : entry.reason, entry.at);
  if (entry.revenue !== undefined) run.revenueNanos = (run.revenueNanos ?? 0n) + nanosOf(entry.revenue);
  if (entry.outbound !== undefined) run.outboundNanos += nanosOf(entry.outbound);
  if (entry.fees !== undefined) run.feesNanos += nanosOf(entry.fees);
  if (entry.limit !== undefined) run.limitNanos = nanosOf(entry.limit);
  if (entry.bounds !== undefined) run.bounds = entry.bounds;
}

/** A run that the caller did not name is its one call: it ends with it. */
export function setStatusBySettle(run: RunFold, entry: SettleEntry): void {
  if (!run.implicit || run.endedAt !== undefined) return;
  setStatus(run, entry.status === 'completed' ? 'completed' : 'failed', entry.status === 'completed' ? undefined : entry.error, entry.at);
}

function setStatus(run: RunFold, status: RunRow['status'], reason: string | undefined, at: number): void {
  run.status = status;
  run.statusReason = reason;
  run.endedAt = ENDED.has(status) ? at : undefined;
}

/** An amount of the ledger. Text that is no integer is a fault of the writer and counts as nothing rather than stop the fold. */
export function nanosOf(text: NanosText): bigint {
  return INTEGER.test(text) ? BigInt(text) : 0n;
}

const INTEGER = /^-?\d{1,30}$/;

const LARGEST = 2n ** 63n - 1n;

/** What an INTEGER column holds; beyond 9.2 billion dollars an amount stays at that. */
export function storable(nanos: bigint): bigint {
  return nanos > LARGEST ? LARGEST : nanos < -LARGEST ? -LARGEST : nanos;
}
