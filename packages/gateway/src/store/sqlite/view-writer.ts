import type { ReserveEntry } from '../entry.ts';
import type { SpendScope } from '../store.ts';
import { unknownName } from '../../views/run-rules.ts';
import type { Database } from './database.ts';
import { encodeGaps, type Posting } from './postings.ts';
import {
  addDeniedTool,
  addReservedTool,
  addSeenTool,
  addStep,
  eventOnlyTools,
  newRunFold,
  storable,
  type PartKind,
  type RunFold,
} from '../../views/run-fold.ts';

/** A scope id's sums on one day; in a chunk, what the chunk adds to them. */
export interface SpendDelta {
  readonly workspaceId: string;
  readonly scope: SpendScope;
  readonly id: string;
  readonly day: string;
  model: bigint;
  tool: bigint;
  retry: bigint;
  revenue: bigint | undefined;
  outbound: bigint;
  fees: bigint;
  unknownCosts: number;
  requests: number;
  toolCalls: number;
  retries: number;
  runs: number;
}

export function newSpendDelta(workspaceId: string, scope: SpendScope, id: string, day: string): SpendDelta {
  return {
    workspaceId,
    scope,
    id,
    day,
    model: 0n,
    tool: 0n,
    retry: 0n,
    revenue: undefined,
    outbound: 0n,
    fees: 0n,
    unknownCosts: 0,
    requests: 0,
    toolCalls: 0,
    retries: 0,
    runs: 0,
  };
}

export function addSpend(to: SpendDelta, what: SpendDelta): void {
  to.model += what.model;
  to.tool += what.tool;
  to.retry += what.retry;
  if (what.revenue !== undefined) to.revenue = (to.revenue ?? 0n) + what.revenue;
  to.outbound += what.outbound;
  to.fees += what.fees;
  to.unknownCosts += what.unknownCosts;
  to.requests += what.requests;
  to.toolCalls += what.toolCalls;
  to.retries += what.retries;
  to.runs += what.runs;
}

/** A reservation without its settle, as the ledger has it. */
export interface OpenReservation {
  readonly reserve: ReserveEntry;
  readonly body: string;
  /** True when it stands in the table already. */
  readonly stored: boolean;
  /** True when it ended in this chunk. */
  readonly ended: boolean;
}

export interface FoldedChunk {
  readonly runs: Map<string, RunFold>;
  readonly spend: Map<string, SpendDelta>;
  readonly open: Map<string, OpenReservation>;
  readonly eventIds: { readonly workspaceId: string; readonly eventId: string }[];
  readonly postings: readonly Posting[];
}

/** The view tables as the fold uses them: reads back what it needs, writes a chunk at once. */
export interface ViewWriter {
  run(workspaceId: string, runId: string): RunFold | undefined;
  openReservation(id: string): OpenReservation | undefined;
  spendByDay(workspaceId: string, scope: SpendScope, id: string): SpendDelta[];
  write(chunk: FoldedChunk, foldedSeq: number): void;
}

const RUN_COLUMNS = [
  'workspace',
  'run',
  'key',
  'session',
  'workflow',
  'agent',
  'member',
  'customer',
  'status',
  'status_reason',
  'implicit',
  'begun',
  'started_at',
  'ended_at',
  'model_nanos',
  'tool_nanos',
  'retry_nanos',
  'revenue_nanos',
  'outbound_nanos',
  'fees_nanos',
  'unknown_costs',
  'unconfirmed_costs',
  'requests',
  'tool_calls',
  'reserved_tools',
  'retries',
  'steps',
  'limit_nanos',
  'bounds',
  'unknown_names',
  'priced_unknown',
  'touched',
] as const;

const SPEND_SUMS = [
  'model_nanos',
  'tool_nanos',
  'retry_nanos',
  'outbound_nanos',
  'fees_nanos',
  'unknown_costs',
  'requests',
  'tool_calls',
  'retries',
  'runs',
] as const;

/** Adds without leaving the integers: a sum beyond them stays at their end instead of stopping the fold. */
const saturating = (sum: string): string => `CAST(max(-9000000000000000000, min(9000000000000000000, ${sum})) AS INTEGER)`;

export function createViewWriter(views: Database): ViewWriter {
  const selectRun = views.prepare<[string, string], StoredRun>('SELECT * FROM run WHERE workspace = ? AND run = ?').safeIntegers();
  const selectParts = views.prepare<[string, string], { part: PartKind; id: string; name: string }>(
    'SELECT part, id, name FROM run_part WHERE workspace = ? AND run = ?',
  );
  const upsertRun = views.prepare(
    `INSERT INTO run (${RUN_COLUMNS.join(', ')}) VALUES (${RUN_COLUMNS.map(() => '?').join(', ')})
     ON CONFLICT (workspace, run) DO UPDATE SET ${RUN_COLUMNS.slice(2)
       .map((column) => `${column} = excluded.${column}`)
       .join(', ')}`,
  );
  const insertPart = views.prepare('INSERT OR REPLACE INTO run_part (workspace, run, part, id, name) VALUES (?, ?, ?, ?, ?)');
  const upsertSpend = views.prepare(
    `INSERT INTO spend (workspace, scope, id, day, revenue_nanos, ${SPEND_SUMS.join(', ')}) VALUES (?, ?, ?, ?, ?, ${SPEND_SUMS.map(() => '?').join(', ')})
     ON CONFLICT (workspace, scope, id, day) DO UPDATE SET
       revenue_nanos = CASE WHEN excluded.revenue_nanos IS NULL THEN revenue_nanos ELSE ${saturating('coalesce(revenue_nanos, 0) + excluded.revenue_nanos')} END,
       ${SPEND_SUMS.map((column) => `${column} = ${saturating(`${column} + excluded.${column}`)}`).join(', ')}`,
  );
  const selectSpend = views
    .prepare<[string, string, string], StoredSpend>('SELECT * FROM spend WHERE workspace = ? AND scope = ? AND id = ?')
    .safeIntegers();
  const selectOpen = views.prepare<[string], string>('SELECT body FROM open_reservation WHERE id = ?').pluck();
  const insertOpen = views.prepare('INSERT OR REPLACE INTO open_reservation (id, body) VALUES (?, ?)');
  const deleteOpen = views.prepare('DELETE FROM open_reservation WHERE id = ?');
  const insertEventId = views.prepare('INSERT OR IGNORE INTO event_id (workspace, id) VALUES (?, ?)');
  const insertPosting = views.prepare('INSERT INTO posting (workspace, kind, id, first_seq, gaps) VALUES (?, ?, ?, ?, ?)');
  const setFolded = views.prepare('UPDATE progress SET folded_seq = ?');

  const writeRun = (run: RunFold): void => {
    const seenOnly = eventOnlyTools(run);
    upsertRun.run(
      run.workspaceId,
      run.runId,
      run.keyId,
      run.sessionId ?? null,
      run.workflowId ?? null,
      run.agentId ?? null,
      run.memberId ?? null,
      run.customerId ?? null,
      run.status,
      run.statusReason ?? null,
      run.implicit ? 1 : 0,
      run.begun ? 1 : 0,
      run.startedAt,
      run.endedAt ?? null,
      storable(run.nanos.model),
      storable(run.nanos.tool),
      storable(run.nanos.retry),
      run.revenueNanos === undefined ? null : storable(run.revenueNanos),
      storable(run.outboundNanos),
      storable(run.feesNanos),
      run.unknownCosts,
      run.unconfirmedCosts,
      run.requests,
      run.reservedTools + seenOnly.length,
      run.reservedTools,
      run.retries,
      run.steps?.size ?? 0,
      run.limitNanos === undefined ? null : storable(run.limitNanos),
      run.bounds === undefined ? null : JSON.stringify(run.bounds),
      run.unknownNames === undefined && seenOnly.length === 0 ? null : JSON.stringify(unknownNames(run, seenOnly)),
      run.unknownNames === undefined ? null : JSON.stringify([...run.unknownNames]),
      run.touched === 'all' ? null : JSON.stringify([...(run.touched ?? [])]),
    );
    run.dirty = false;
    if (run.newParts === undefined) return;
    for (const part of run.newParts) insertPart.run(run.workspaceId, run.runId, part.part, part.id, part.name);
    run.newParts = undefined;
  };

  return {
    run(workspaceId, runId) {
      const row = selectRun.get(workspaceId, runId);
      return row === undefined ? undefined : readRun(row, selectParts.all(workspaceId, runId));
    },
    openReservation(id) {
      const body = selectOpen.get(id);
      return body === undefined ? undefined : { reserve: JSON.parse(body) as ReserveEntry, body, stored: true, ended: false };
    },
    spendByDay: (workspaceId, scope, id) => selectSpend.all(workspaceId, scope, id).map(readSpend),
    write(chunk, foldedSeq) {
      for (const run of chunk.runs.values()) if (run.dirty) writeRun(run);
      for (const delta of chunk.spend.values()) writeSpend(upsertSpend, delta);
      for (const [id, open] of chunk.open) {
        if (open.ended) {
          if (open.stored) deleteOpen.run(id);
        } else insertOpen.run(id, open.body);
      }
      for (const { workspaceId, eventId } of chunk.eventIds) insertEventId.run(workspaceId, eventId);
      for (const { kind, workspaceId, id, seqs } of chunk.postings) insertPosting.run(workspaceId, kind, id, seqs[0], encodeGaps(seqs));
      setFolded.run(foldedSeq);
    },
  };
}

function writeSpend(upsert: { run(...values: unknown[]): unknown }, delta: SpendDelta): void {
  upsert.run(
    delta.workspaceId,
    delta.scope,
    delta.id,
    delta.day,
    delta.revenue === undefined ? null : storable(delta.revenue),
    storable(delta.model),
    storable(delta.tool),
    storable(delta.retry),
    storable(delta.outbound),
    storable(delta.fees),
    delta.unknownCosts,
    delta.requests,
    delta.toolCalls,
    delta.retries,
    delta.runs,
  );
}

function unknownNames(run: RunFold, seenOnly: readonly string[]): string[] {
  return [...new Set([...(run.unknownNames ?? []), ...seenOnly.map((name) => unknownName('tool', name))])].sort();
}

function readList(text: string): string[] {
  return JSON.parse(text) as string[];
}

/** A row of `run`, integers as bigint. */
export interface StoredRun {
  readonly workspace: string;
  readonly run: string;
  readonly key: string;
  readonly session: string | null;
  readonly workflow: string | null;
  readonly agent: string | null;
  readonly member: string | null;
  readonly customer: string | null;
  readonly status: RunFold['status'];
  readonly status_reason: string | null;
  readonly implicit: bigint;
  readonly begun: bigint;
  readonly started_at: bigint;
  readonly ended_at: bigint | null;
  readonly model_nanos: bigint;
  readonly tool_nanos: bigint;
  readonly retry_nanos: bigint;
  readonly revenue_nanos: bigint | null;
  readonly outbound_nanos: bigint;
  readonly fees_nanos: bigint;
  readonly unknown_costs: bigint;
  readonly unconfirmed_costs: bigint;
  readonly requests: bigint;
  readonly tool_calls: bigint;
  readonly reserved_tools: bigint;
  readonly retries: bigint;
  readonly steps: bigint;
  readonly limit_nanos: bigint | null;
  readonly bounds: string | null;
  readonly unknown_names: string | null;
  readonly priced_unknown: string | null;
  readonly touched: string | null;
}

/** A row of `spend`, integers as bigint. */
export interface StoredSpend {
  readonly workspace: string;
  readonly scope: SpendScope;
  readonly id: string;
  readonly day: string;
  readonly model_nanos: bigint;
  readonly tool_nanos: bigint;
  readonly retry_nanos: bigint;
  readonly revenue_nanos: bigint | null;
  readonly outbound_nanos: bigint;
  readonly fees_nanos: bigint;
  readonly unknown_costs: bigint;
  readonly requests: bigint;
  readonly tool_calls: bigint;
  readonly retries: bigint;
  readonly runs: bigint;
}

function readRun(row: StoredRun, parts: readonly { part: PartKind; id: string; name: string }[]): RunFold {
  const run: RunFold = {
    ...newRunFold(row.workspace, row.run, row.key, Number(row.started_at)),
    sessionId: row.session ?? undefined,
    workflowId: row.workflow ?? undefined,
    agentId: row.agent ?? undefined,
    memberId: row.member ?? undefined,
    customerId: row.customer ?? undefined,
    status: row.status,
    statusReason: row.status_reason ?? undefined,
    implicit: row.implicit === 1n,
    begun: row.begun === 1n,
    endedAt: row.ended_at === null ? undefined : Number(row.ended_at),
    nanos: { model: row.model_nanos, tool: row.tool_nanos, retry: row.retry_nanos },
    revenueNanos: row.revenue_nanos ?? undefined,
    outboundNanos: row.outbound_nanos,
    feesNanos: row.fees_nanos,
    unknownCosts: Number(row.unknown_costs),
    unconfirmedCosts: Number(row.unconfirmed_costs),
    requests: Number(row.requests),
    reservedTools: Number(row.reserved_tools),
    retries: Number(row.retries),
    limitNanos: row.limit_nanos ?? undefined,
    bounds: row.bounds === null ? undefined : (JSON.parse(row.bounds) as Record<string, number>),
    unknownNames: row.priced_unknown === null ? undefined : new Set(readList(row.priced_unknown)),
    touched: row.touched === null ? 'all' : row.touched === '[]' ? undefined : new Set(readList(row.touched)),
    dirty: false,
  };
  for (const { part, id, name } of parts) {
    if (part === 'step') addStep(run, id);
    else if (part === 'reserved') addReservedTool(run, id);
    else if (part === 'seen') addSeenTool(run, id, name);
    else addDeniedTool(run, id);
  }
  run.newParts = undefined;
  return run;
}

function readSpend(row: StoredSpend): SpendDelta {
  return {
    workspaceId: row.workspace,
    scope: row.scope,
    id: row.id,
    day: row.day,
    model: row.model_nanos,
    tool: row.tool_nanos,
    retry: row.retry_nanos,
    revenue: row.revenue_nanos ?? undefined,
    outbound: row.outbound_nanos,
    fees: row.fees_nanos,
    unknownCosts: Number(row.unknown_costs),
    requests: Number(row.requests),
    toolCalls: Number(row.tool_calls),
    retries: Number(row.retries),
    runs: Number(row.runs),
  };
}
