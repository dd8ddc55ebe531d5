import type { Entry, ReserveEntry } from '../entry.ts';
import type { EntryFilter, RunFilter, RunRow, Sequenced, SessionTotals, SpendRow, SpendScope } from '../store.ts';
import type { Database } from './database.ts';
import { decodeGaps, type PostingKind } from './postings.ts';
import type { StoredRun, StoredSpend } from './view-writer.ts';

/** Reads of the folded views, for any connection that can see both files. Answers with what is folded, and says up to where. */
export interface ViewQueries {
  foldedSeq(): number;
  openReservations(): ReserveEntry[];
  run(workspaceId: string, runId: string): RunRow | undefined;
  runEntries(workspaceId: string, runId: string): Sequenced[];
  spent(workspaceId: string, scope: SpendScope, id: string, fromDay?: string, toDay?: string): { nanos: bigint; asOfSeq: number };
  session(workspaceId: string, sessionId: string): SessionTotals | undefined;
  knownEventIds(workspaceId: string, eventIds: readonly string[]): Set<string>;
  runs(filter: RunFilter): { rows: RunRow[]; nextCursor: string | undefined };
  entries(filter: EntryFilter): Sequenced[];
  spend(workspaceId: string, scope: SpendScope, options: SpendOptions): SpendRow[];
  spendByDay(workspaceId: string, fromDay: string, toDay: string): (SpendRow & { day: string })[];
}

export interface SpendOptions {
  readonly fromDay?: string | undefined;
  readonly toDay?: string | undefined;
  readonly id?: string | undefined;
  readonly limit: number;
}

/** Days compare as text; these stand for "from ever" and "to ever". */
const FIRST_DAY = '';
const LAST_DAY = '~';

/** Ids looked up by one statement; a longer list takes several. */
const IDS_PER_LOOKUP = 100;

const RUN_FILTERS = [
  ['sessionId', 'session = ?'],
  ['agentId', 'agent = ?'],
  ['workflowId', 'workflow = ?'],
  ['customerId', 'customer = ?'],
  ['status', 'status = ?'],
  ['startedFrom', 'started_at >= ?'],
  ['startedTo', 'started_at <= ?'],
] as const satisfies readonly (readonly [keyof RunFilter, string])[];

/**
 * Spend rows of one workspace and scope. A run made for one call has no rows of its own: its figures are in its run's row,
 * on the day it began.
 */
const SPEND_ROWS = 'SELECT * FROM spend WHERE workspace = @workspace AND scope = @scope';
const IMPLICIT_RUNS = `SELECT workspace, 'run' AS scope, run AS id, strftime('%Y-%m-%d', started_at / 1000, 'unixepoch') AS day, model_nanos, tool_nanos, retry_nanos,
  revenue_nanos, outbound_nanos, fees_nanos, unknown_costs, requests, reserved_tools AS tool_calls, retries, 1 AS runs
  FROM run WHERE workspace = @workspace AND implicit = 1 AND (touched IS NULL OR touched <> '[]')`;

const SPEND_SUM = `sum(model_nanos) AS model_nanos, sum(tool_nanos) AS tool_nanos, sum(retry_nanos) AS retry_nanos, sum(revenue_nanos) AS revenue_nanos,
  sum(outbound_nanos) AS outbound_nanos, sum(fees_nanos) AS fees_nanos, sum(unknown_costs) AS unknown_costs, sum(requests) AS requests,
  sum(tool_calls) AS tool_calls, sum(retries) AS retries, sum(runs) AS runs`;

export function createViewQueries(views: Database, ledger: Database): ViewQueries {
  const folded = views.prepare<[], number>('SELECT folded_seq FROM progress').pluck();
  const open = views.prepare<[], string>('SELECT body FROM open_reservation ORDER BY id').pluck();
  const run = views.prepare<[string, string], StoredRun>('SELECT * FROM run WHERE workspace = ? AND run = ? AND begun = 1').safeIntegers();
  const prepareSpent = (rows: string) =>
    views
      .prepare<[SpendQuery], [bigint | null, bigint]>(
        `SELECT (SELECT sum(model_nanos + tool_nanos + retry_nanos) FROM (${rows} AND day BETWEEN @fromDay AND @toDay)), (SELECT folded_seq FROM progress)`,
      )
      .raw()
      .safeIntegers();
  const spent = prepareSpent(`${SPEND_ROWS} AND id = @id`);
  const spentByRun = prepareSpent(`SELECT * FROM (${SPEND_ROWS} AND id = @id UNION ALL ${IMPLICIT_RUNS} AND run = @id) WHERE true`);
  const session = views
    .prepare<[string, string], StoredSession>(
      `SELECT min(started_at) AS started_at, sum(model_nanos + tool_nanos + retry_nanos) AS spent_nanos, sum(requests) AS requests,
        sum(tool_calls) AS tool_calls, sum(retries) AS retries, sum(steps) AS steps, (SELECT folded_seq FROM progress) AS folded_seq
      FROM run WHERE workspace = ? AND session = ? AND begun = 1`,
    )
    .safeIntegers();
  const eventIds = views
    .prepare<string[], string>(`SELECT id FROM event_id WHERE workspace = ? AND id IN (${Array(IDS_PER_LOOKUP).fill('?').join(', ')})`)
    .pluck();
  const blocksUp = views.prepare<[string, PostingKind, string, number], PostingBlock>(
    'SELECT first_seq, gaps FROM posting WHERE workspace = ? AND kind = ? AND id = ? AND first_seq >= ? ORDER BY first_seq LIMIT 1',
  );
  const blocksDown = views.prepare<[string, PostingKind, string, number], PostingBlock>(
    'SELECT first_seq, gaps FROM posting WHERE workspace = ? AND kind = ? AND id = ? AND first_seq <= ? ORDER BY first_seq DESC LIMIT 1',
  );
  const body = ledger.prepare<[number], string>('SELECT body FROM ledger WHERE seq = ?').pluck();

  const readEntry = (seq: number): Sequenced | undefined => {
    const text = body.get(seq);
    return text === undefined ? undefined : { seq, entry: JSON.parse(text) as Entry };
  };

  /** The entries of one list in order, a block at a time. */
  function* posting(workspaceId: string, kind: PostingKind, id: string, order: Order, from: number): Generator<number> {
    if (order === 'asc') {
      // The block that holds `from` begins before it.
      let block = blocksDown.get(workspaceId, kind, id, from) ?? blocksUp.get(workspaceId, kind, id, from);
      while (block !== undefined) {
        const seqs = decodeGaps(block.first_seq, block.gaps);
        for (const seq of seqs) if (seq >= from) yield seq;
        block = blocksUp.get(workspaceId, kind, id, (seqs.at(-1) ?? block.first_seq) + 1);
      }
      return;
    }
    let block = blocksDown.get(workspaceId, kind, id, from);
    while (block !== undefined) {
      const seqs = decodeGaps(block.first_seq, block.gaps).reverse();
      for (const seq of seqs) if (seq <= from) yield seq;
      block = blocksDown.get(workspaceId, kind, id, block.first_seq - 1);
    }
  }

  const spendRows = (
    query: Partial<SpendQuery> & { readonly scope: SpendScope },
    group: 'id' | 'day',
    tail: string,
  ): (SpendRow & { day: string })[] => {
    const one = query.id === undefined ? '' : ' AND id = @id';
    const rows = query.scope === 'run' ? `SELECT * FROM (${SPEND_ROWS} UNION ALL ${IMPLICIT_RUNS}) WHERE true` : SPEND_ROWS;
    return views
      .prepare<[Partial<SpendQuery>], StoredSpend>(
        `SELECT id, day, ${SPEND_SUM} FROM (${rows}${one} AND day BETWEEN @fromDay AND @toDay) GROUP BY ${group} ${tail}`,
      )
      .safeIntegers()
      .all(query)
      .map(readSpendRow);
  };

  return {
    foldedSeq: () => folded.get() ?? 0,
    openReservations: () => open.all().map((text) => JSON.parse(text) as ReserveEntry),
    run(workspaceId, runId) {
      const row = run.get(workspaceId, runId);
      return row === undefined ? undefined : readRunRow(row);
    },
    runEntries(workspaceId, runId) {
      const entries: Sequenced[] = [];
      for (const seq of posting(workspaceId, 'run', runId, 'asc', 0)) {
        const entry = readEntry(seq);
        if (entry !== undefined) entries.push(entry);
      }
      return entries;
    },
    spent(workspaceId, scope, id, fromDay = FIRST_DAY, toDay = LAST_DAY) {
      const [nanos, asOfSeq] = (scope === 'run' ? spentByRun : spent).get({ workspace: workspaceId, scope, id, fromDay, toDay }) ?? [
        null,
        0n,
      ];
      return { nanos: nanos ?? 0n, asOfSeq: Number(asOfSeq) };
    },
    session(workspaceId, sessionId) {
      const row = session.get(workspaceId, sessionId);
      if (row === undefined || row.started_at === null) return undefined;
      return {
        startedAt: Number(row.started_at),
        spentNanos: row.spent_nanos,
        requests: Number(row.requests),
        toolCalls: Number(row.tool_calls),
        retries: Number(row.retries),
        steps: Number(row.steps),
        asOfSeq: Number(row.folded_seq),
      };
    },
    knownEventIds(workspaceId, ids) {
      const known = new Set<string>();
      for (let from = 0; from < ids.length; from += IDS_PER_LOOKUP) {
        const lookup = ids.slice(from, from + IDS_PER_LOOKUP);
        // The statement takes a fixed number: the last id stands in for those that are missing.
        const last = lookup.at(-1) ?? '';
        while (lookup.length < IDS_PER_LOOKUP) lookup.push(last);
        for (const id of eventIds.all(workspaceId, ...lookup)) known.add(id);
      }
      return known;
    },
    runs(filter) {
      const conditions = ['workspace = ?', 'begun = 1'];
      const values: unknown[] = [filter.workspaceId];
      for (const [field, condition] of RUN_FILTERS) {
        const value = filter[field];
        if (value === undefined) continue;
        conditions.push(condition);
        values.push(value);
      }
      const after = filter.cursor === undefined ? undefined : readCursor(filter.cursor);
      if (after !== undefined) {
        conditions.push('(started_at, run) < (?, ?)');
        values.push(after.startedAt, after.runId);
      }
      const stored = views
        .prepare<unknown[], StoredRun>(`SELECT * FROM run WHERE ${conditions.join(' AND ')} ORDER BY started_at DESC, run DESC LIMIT ?`)
        .safeIntegers()
        .all(...values, filter.limit + 1);
      const rows = stored.slice(0, filter.limit).map(readRunRow);
      const last = rows.at(-1);
      return { rows, nextCursor: stored.length > filter.limit && last !== undefined ? writeCursor(last) : undefined };
    },
    entries(filter) {
      const order = filter.order ?? 'asc';
      const from = order === 'asc' ? (filter.afterSeq ?? 0) + 1 : (filter.beforeSeq ?? Number.MAX_SAFE_INTEGER) - 1;
      const lists: Iterator<number>[] = [];
      const list = (kind: PostingKind, id: string): Generator<number> => posting(filter.workspaceId, kind, id, order, from);
      if (filter.runId !== undefined) lists.push(list('run', filter.runId));
      if (filter.sessionId !== undefined) lists.push(list('session', filter.sessionId));
      if (filter.agentId !== undefined) lists.push(list('agent', filter.agentId));
      if (filter.types !== undefined)
        lists.push(
          union(
            filter.types.map((type) => list('type', type)),
            order,
          ),
        );
      if (lists.length === 0) lists.push(list('all', ''));
      const found: Sequenced[] = [];
      if (filter.limit <= 0) return found;
      for (const seq of intersection(lists, order)) {
        if (order === 'asc' ? seq >= (filter.beforeSeq ?? Number.POSITIVE_INFINITY) : seq <= (filter.afterSeq ?? 0)) break;
        const entry = readEntry(seq);
        if (entry !== undefined) found.push(entry);
        if (found.length >= filter.limit) break;
      }
      return found;
    },
    spend(workspaceId, scope, { fromDay = FIRST_DAY, toDay = LAST_DAY, id, limit }) {
      const query = { workspace: workspaceId, scope, fromDay, toDay, limit, ...(id === undefined ? {} : { id }) };
      return spendRows(query, 'id', 'ORDER BY sum(model_nanos + tool_nanos + retry_nanos) DESC, id LIMIT @limit').map(withoutDay);
    },
    spendByDay: (workspaceId, fromDay, toDay) =>
      spendRows({ workspace: workspaceId, scope: 'workspace', id: workspaceId, fromDay, toDay }, 'day', 'ORDER BY day'),
  };
}

interface SpendQuery {
  readonly workspace: string;
  readonly scope: SpendScope;
  readonly id: string;
  readonly fromDay: string;
  readonly toDay: string;
  readonly limit?: number;
}

type Order = 'asc' | 'desc';

interface PostingBlock {
  readonly first_seq: number;
  readonly gaps: string;
}

interface StoredSession {
  readonly started_at: bigint | null;
  readonly spent_nanos: bigint;
  readonly requests: bigint;
  readonly tool_calls: bigint;
  readonly retries: bigint;
  readonly steps: bigint;
  readonly folded_seq: bigint;
}

/** Numbers that occur in every list; all lists run in the same order. */
function* intersection(lists: readonly Iterator<number>[], order: Order): Generator<number> {
  const heads = lists.map((list) => list.next());
  for (;;) {
    let furthest: number | undefined;
    for (const head of heads) {
      if (head.done === true) return;
      if (furthest === undefined || (order === 'asc' ? head.value > furthest : head.value < furthest)) furthest = head.value;
    }
    if (furthest === undefined) return;
    const target = furthest;
    let all = true;
    for (const [index, list] of lists.entries()) {
      let head = heads[index];
      while (head !== undefined && head.done !== true && (order === 'asc' ? head.value < target : head.value > target)) head = list.next();
      if (head === undefined || head.done === true) return;
      heads[index] = head;
      if (head.value !== target) all = false;
    }
    if (!all) continue;
    yield target;
    for (const [index, list] of lists.entries()) heads[index] = list.next();
  }
}

/** Numbers that occur in any list, each once. */
function* union(lists: readonly Iterator<number>[], order: Order): Generator<number> {
  const heads = lists.map((list) => list.next());
  for (;;) {
    let next: number | undefined;
    for (const head of heads) {
      if (head.done === true) continue;
      if (next === undefined || (order === 'asc' ? head.value < next : head.value > next)) next = head.value;
    }
    if (next === undefined) return;
    yield next;
    for (const [index, list] of lists.entries()) {
      const head = heads[index];
      if (head !== undefined && head.done !== true && head.value === next) heads[index] = list.next();
    }
  }
}

function readRunRow(row: StoredRun): RunRow {
  return {
    workspaceId: row.workspace,
    runId: row.run,
    keyId: row.key,
    sessionId: row.session ?? undefined,
    workflowId: row.workflow ?? undefined,
    agentId: row.agent ?? undefined,
    memberId: row.member ?? undefined,
    customerId: row.customer ?? undefined,
    status: row.status,
    statusReason: row.status_reason ?? undefined,
    implicit: row.implicit === 1n,
    startedAt: Number(row.started_at),
    endedAt: row.ended_at === null ? undefined : Number(row.ended_at),
    modelNanos: row.model_nanos,
    toolNanos: row.tool_nanos,
    retryNanos: row.retry_nanos,
    revenueNanos: row.revenue_nanos ?? undefined,
    outboundNanos: row.outbound_nanos,
    feesNanos: row.fees_nanos,
    unknownCosts: Number(row.unknown_costs),
    unconfirmedCosts: Number(row.unconfirmed_costs),
    unknownNames: row.unknown_names === null ? [] : (JSON.parse(row.unknown_names) as string[]),
    requests: Number(row.requests),
    toolCalls: Number(row.tool_calls),
    retries: Number(row.retries),
    steps: Number(row.steps),
    limitNanos: row.limit_nanos ?? undefined,
    bounds: row.bounds === null ? undefined : (JSON.parse(row.bounds) as Record<string, number>),
  };
}

function readSpendRow(row: StoredSpend): SpendRow & { day: string } {
  return {
    id: row.id,
    day: row.day,
    modelNanos: row.model_nanos,
    toolNanos: row.tool_nanos,
    retryNanos: row.retry_nanos,
    revenueNanos: row.revenue_nanos ?? undefined,
    outboundNanos: row.outbound_nanos,
    feesNanos: row.fees_nanos,
    unknownCosts: Number(row.unknown_costs),
    requests: Number(row.requests),
    toolCalls: Number(row.tool_calls),
    retries: Number(row.retries),
    runs: Number(row.runs),
  };
}

function withoutDay({ day: _day, ...row }: SpendRow & { day: string }): SpendRow {
  return row;
}

function writeCursor(row: RunRow): string {
  return Buffer.from(JSON.stringify([row.startedAt, row.runId])).toString('base64url');
}

/** A cursor that is none of ours starts at the newest run. */
function readCursor(cursor: string): { readonly startedAt: number; readonly runId: string } | undefined {
  try {
    const parts: unknown = JSON.parse(Buffer.from(cursor, 'base64url').toString());
    if (!Array.isArray(parts)) return undefined;
    const [startedAt, runId] = parts as readonly unknown[];
    return typeof startedAt === 'number' && typeof runId === 'string' ? { startedAt, runId } : undefined;
  } catch {
    return undefined;
  }
}
