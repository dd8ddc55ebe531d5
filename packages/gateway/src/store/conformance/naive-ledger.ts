import type { ContextFields, Entry, ReserveEntry, RunEntry, SettleEntry } from '../entry.ts';
import type { EntryFilter, RunFilter, RunRow, SpendScope } from '../store.ts';

/**
 * A second model of the store: one array, and every figure is worked out from it afresh, with filters and sums and nothing
 * kept. Slow and plain on purpose; what the real folds say must be what this says.
 */
export interface NaiveLedger {
  readonly entries: readonly Entry[];
  add(entries: readonly Entry[]): void;
  runIds(): readonly { workspaceId: string; runId: string }[];
  run(workspaceId: string, runId: string): NaiveRun | undefined;
  spent(workspaceId: string, scope: SpendScope, id: string, fromDay?: string, toDay?: string): bigint;
  /** Scope ids that anything was booked under, with how many runs did. */
  booked(): readonly { workspaceId: string; scope: SpendScope; id: string; runs: number }[];
  revenue(workspaceId: string, scope: SpendScope, id: string): bigint | undefined;
  openReservations(): readonly ReserveEntry[];
  /** Sequence numbers, which are places in the array from 1. */
  seqs(filter: EntryFilter): number[];
  runsBy(filter: RunFilter): string[];
}

export type NaiveRun = Omit<RunRow, 'unknownNames'> & { readonly unknownNames: readonly string[] };

interface Booking {
  readonly workspaceId: string;
  readonly runId: string;
  readonly day: string;
  readonly nanos: bigint;
  readonly revenue: bigint | undefined;
  readonly scopes: readonly (readonly [SpendScope, string | undefined])[];
}

export function createNaiveLedger(): NaiveLedger {
  const entries: Entry[] = [];

  const of = (workspaceId: string, runId: string): { entry: Entry; index: number }[] =>
    entries.map((entry, index) => ({ entry, index })).filter(({ entry }) => entry.workspaceId === workspaceId && entry.runId === runId);
  const own = (workspaceId: string, runId: string) =>
    of(workspaceId, runId).filter(({ entry }) => ['run', 'reserve', 'event'].includes(entry.type));
  /** What the run was first said to belong to, by its own entries up to `index`. */
  const firstStated = (
    workspaceId: string,
    runId: string,
    field: 'sessionId' | 'workflowId' | 'agentId' | 'memberId' | 'customerId',
    index = entries.length,
  ): string | undefined => {
    for (const mine of own(workspaceId, runId)) {
      const value = (mine.entry as ContextFields)[field];
      if (mine.index <= index && value !== undefined) return value;
    }
    return undefined;
  };
  const reserves = (): ReserveEntry[] => entries.filter((entry) => entry.type === 'reserve');
  const firstSettle = (id: string): SettleEntry | undefined =>
    entries.find((entry): entry is SettleEntry => entry.type === 'settle' && entry.id === id);
  const day = (at: number): string => new Date(at).toISOString().slice(0, 10);

  const bookings = (): Booking[] => {
    const booked: Booking[] = [];
    for (const reserve of reserves()) {
      const settle = firstSettle(reserve.id);
      if (settle === undefined || settle.status === 'released') continue;
      const { workspaceId, runId } = reserve;
      const index = entries.indexOf(settle);
      booked.push({
        workspaceId,
        runId,
        day: day(reserve.at),
        nanos: BigInt(settle.cost ?? '0'),
        revenue: undefined,
        scopes: [
          ['workspace', workspaceId],
          ['key', reserve.keyId],
          ['run', runId],
          ['member', reserve.memberId ?? firstStated(workspaceId, runId, 'memberId', index)],
          ['agent', reserve.agentId ?? firstStated(workspaceId, runId, 'agentId', index)],
          ['session', reserve.sessionId ?? firstStated(workspaceId, runId, 'sessionId')],
          ['workflow', reserve.workflowId ?? firstStated(workspaceId, runId, 'workflowId')],
          ['customer', reserve.customerId ?? firstStated(workspaceId, runId, 'customerId')],
          ['model', reserve.kind === 'model' ? (settle.model ?? reserve.name) : undefined],
          ['provider', reserve.kind === 'model' ? reserve.provider : undefined],
          ['tool', reserve.kind === 'tool' ? reserve.name : undefined],
        ],
      });
    }
    for (const [index, entry] of entries.entries()) {
      if (entry.type !== 'run' || (entry.revenue === undefined && entry.outbound === undefined && entry.fees === undefined)) continue;
      const { workspaceId, runId } = entry;
      booked.push({
        workspaceId,
        runId,
        day: day(entry.at),
        nanos: 0n,
        revenue: entry.revenue === undefined ? undefined : BigInt(entry.revenue),
        scopes: [
          ['workspace', workspaceId],
          ['key', (own(workspaceId, runId)[0]?.entry as ContextFields).keyId],
          ['run', runId],
          ['member', firstStated(workspaceId, runId, 'memberId', index)],
          ['agent', firstStated(workspaceId, runId, 'agentId', index)],
          ['session', firstStated(workspaceId, runId, 'sessionId')],
          ['workflow', firstStated(workspaceId, runId, 'workflowId')],
          ['customer', firstStated(workspaceId, runId, 'customerId')],
        ],
      });
    }
    return booked;
  };
  const bookedUnder = (workspaceId: string, scope: SpendScope, id: string): Booking[] =>
    bookings().filter(
      (booking) => booking.workspaceId === workspaceId && booking.scopes.some(([name, value]) => name === scope && value === id),
    );

  const runIds = (): { workspaceId: string; runId: string }[] => {
    const seen = new Map<string, { workspaceId: string; runId: string }>();
    for (const { workspaceId, runId, type } of entries as (Entry & { runId?: string })[]) {
      if (runId !== undefined && ['run', 'reserve', 'event'].includes(type)) seen.set(`${workspaceId}/${runId}`, { workspaceId, runId });
    }
    return [...seen.values()];
  };

  const run = (workspaceId: string, runId: string): NaiveRun | undefined => {
    const mine = of(workspaceId, runId).map(({ entry }) => entry);
    const first = own(workspaceId, runId)[0]?.entry as ContextFields & { at: number };
    if (first === undefined) return undefined;
    const calls = mine.filter((entry) => entry.type === 'reserve').map((reserve) => ({ reserve, settle: firstSettle(reserve.id) }));
    const made = calls.filter(({ settle }) => settle?.status !== 'released');
    const line = (keep: (reserve: ReserveEntry) => boolean): bigint =>
      made.filter(({ reserve }) => keep(reserve)).reduce((sum, { settle }) => sum + BigInt(settle?.cost ?? '0'), 0n);
    const finance = mine.filter((entry): entry is RunEntry => entry.type === 'run');
    const revenues = finance.filter((entry) => entry.revenue !== undefined);
    const reservedTools = new Set(calls.filter(({ reserve }) => reserve.kind === 'tool').map(({ reserve }) => reserve.toolCallId));
    const refused = mine
      .filter((entry) => entry.type === 'decision')
      .filter((entry) => entry.outcome === 'denied' && entry.phase !== 'run_update' && entry.violation === undefined);
    const deniedTools = new Set(refused.filter((entry) => entry.phase === 'tool_call').map((entry) => entry.toolCallId));
    const events = mine.filter((entry) => entry.type === 'event');
    const evidence = events.filter((event) => (event.event['metadata'] as { released?: boolean } | undefined)?.released !== true);
    const seenTools = new Set(
      evidence
        .filter((event) => /^tool\.(call|result)/.test(event.eventType) && event.reservationId === undefined)
        .map((event) => event.toolCallId)
        .filter((id) => id !== undefined && !reservedTools.has(id) && !deniedTools.has(id)),
    );
    const seenNames = [...seenTools].map((id) => {
      const names = evidence
        .filter((event) => event.toolCallId === id && event.reservationId === undefined && /^tool\./.test(event.eventType))
        .map((event) => (event.event['metadata'] as { tool_name?: string }).tool_name ?? event.event['name']);
      return `tool:${String(names.find((name) => name !== undefined) ?? 'unknown')}`;
    });
    const steps = new Set([
      ...calls.map(({ reserve }) => reserve.stepId),
      ...refused.map((entry) => entry.stepId),
      ...evidence
        .filter(
          (event) =>
            /^(llm|tool|handoff)\./.test(event.eventType) ||
            (event.eventType.startsWith('step.') && event.event['step_kind'] !== 'unknown'),
        )
        .map((event) => event.stepId),
    ]);
    steps.delete(undefined);

    let state: Pick<NaiveRun, 'status' | 'statusReason' | 'endedAt'> = { status: 'running', statusReason: undefined, endedAt: undefined };
    const implicit = mine.some((entry) => (entry.type === 'reserve' || entry.type === 'run') && entry.implicitRun === true);
    for (const entry of mine) {
      const changes = entry.type === 'run' && entry.op !== 'start' && entry.op !== 'finance' && entry.status !== state.status;
      if (changes)
        state = {
          status: entry.status,
          statusReason: entry.reason,
          endedAt: ['completed', 'failed', 'stopped'].includes(entry.status) ? entry.at : undefined,
        };
      if (implicit && entry.type === 'settle' && state.endedAt === undefined)
        state = { status: entry.status === 'completed' ? 'completed' : 'failed', statusReason: entry.error, endedAt: entry.at };
    }
    return {
      workspaceId,
      runId,
      keyId: first.keyId,
      sessionId: firstStated(workspaceId, runId, 'sessionId'),
      workflowId: firstStated(workspaceId, runId, 'workflowId'),
      agentId: firstStated(workspaceId, runId, 'agentId'),
      memberId: firstStated(workspaceId, runId, 'memberId'),
      customerId: firstStated(workspaceId, runId, 'customerId'),
      ...state,
      implicit,
      startedAt: first.at,
      modelNanos: line((reserve) => reserve.kind === 'model' && reserve.attempt === 1),
      toolNanos: line((reserve) => reserve.kind === 'tool' && reserve.attempt === 1),
      retryNanos: line((reserve) => reserve.attempt > 1),
      revenueNanos: revenues.length === 0 ? undefined : revenues.reduce((sum, entry) => sum + BigInt(entry.revenue ?? '0'), 0n),
      outboundNanos: finance.reduce((sum, entry) => sum + BigInt(entry.outbound ?? '0'), 0n),
      feesNanos: finance.reduce((sum, entry) => sum + BigInt(entry.fees ?? '0'), 0n),
      unknownCosts: made.filter(({ settle }) => settle?.cost === null).length,
      unconfirmedCosts: made.filter(({ settle }) => settle?.unconfirmed === true).length,
      unknownNames: [
        ...new Set([
          ...made.filter(({ settle }) => settle?.cost === null).map(({ reserve }) => `${reserve.kind}:${reserve.name}`),
          ...seenNames,
        ]),
      ].sort(),
      requests: made.filter(({ reserve }) => reserve.kind === 'model').length,
      toolCalls: made.filter(({ reserve }) => reserve.kind === 'tool').length + seenTools.size,
      retries: made.filter(({ reserve }) => reserve.attempt > 1).length,
      steps: steps.size,
      limitNanos: lastOf(
        finance
          .map((entry) => entry.limit)
          .filter((limit) => limit !== undefined)
          .map(BigInt),
      ),
      bounds: lastOf(finance.map((entry) => entry.bounds).filter((bounds) => bounds !== undefined)),
    };
  };

  return {
    entries,
    add: (more) => void entries.push(...more),
    runIds,
    run,
    spent: (workspaceId, scope, id, fromDay = '', toDay = '9999') =>
      bookedUnder(workspaceId, scope, id)
        .filter((booking) => booking.day >= fromDay && booking.day <= toDay)
        .reduce((sum, booking) => sum + booking.nanos, 0n),
    booked() {
      const runs = new Map<string, { workspaceId: string; scope: SpendScope; id: string; runs: Set<string> }>();
      for (const { workspaceId, runId, scopes } of bookings()) {
        for (const [scope, id] of scopes) {
          if (id === undefined) continue;
          const key = `${workspaceId}/${scope}/${id}`;
          const known = runs.get(key) ?? { workspaceId, scope, id, runs: new Set() };
          known.runs.add(runId);
          runs.set(key, known);
        }
      }
      return [...runs.values()].map((row) => ({ ...row, runs: row.runs.size }));
    },
    revenue(workspaceId, scope, id) {
      const revenues = bookedUnder(workspaceId, scope, id)
        .map((booking) => booking.revenue)
        .filter((revenue) => revenue !== undefined);
      return revenues.length === 0 ? undefined : revenues.reduce((sum, revenue) => sum + revenue, 0n);
    },
    openReservations: () => reserves().filter((reserve) => firstSettle(reserve.id) === undefined),
    seqs(filter) {
      const found: number[] = [];
      for (const [index, entry] of entries.entries()) {
        const seq = index + 1;
        const stated = entry.type === 'settle' || entry.type === 'threshold' ? undefined : entry;
        const runId = entry.runId;
        // A decision before its run began belongs to nothing but what it states itself.
        const belongsTo = (field: 'sessionId' | 'agentId'): string | undefined =>
          stated?.[field] ?? (runId === undefined ? undefined : firstStated(entry.workspaceId, runId, field, index));
        if (entry.workspaceId !== filter.workspaceId) continue;
        if (filter.runId !== undefined && runId !== filter.runId) continue;
        if (filter.sessionId !== undefined && belongsTo('sessionId') !== filter.sessionId) continue;
        if (filter.agentId !== undefined && belongsTo('agentId') !== filter.agentId) continue;
        if (
          filter.types !== undefined &&
          !filter.types.some((type) => type === entry.type || (entry.type === 'event' && type === entry.eventType))
        )
          continue;
        if (filter.afterSeq !== undefined && seq <= filter.afterSeq) continue;
        if (filter.beforeSeq !== undefined && seq >= filter.beforeSeq) continue;
        found.push(seq);
      }
      return (filter.order === 'desc' ? found.reverse() : found).slice(0, filter.limit);
    },
    runsBy: (filter) =>
      runIds()
        .filter(({ workspaceId }) => workspaceId === filter.workspaceId)
        .map(({ workspaceId, runId }) => run(workspaceId, runId))
        .filter((row) => row !== undefined)
        .filter(
          (row) =>
            (filter.sessionId === undefined || row.sessionId === filter.sessionId) &&
            (filter.agentId === undefined || row.agentId === filter.agentId) &&
            (filter.workflowId === undefined || row.workflowId === filter.workflowId) &&
            (filter.customerId === undefined || row.customerId === filter.customerId) &&
            (filter.status === undefined || row.status === filter.status) &&
            (filter.startedFrom === undefined || row.startedAt >= filter.startedFrom) &&
            (filter.startedTo === undefined || row.startedAt <= filter.startedTo),
        )
        .sort((a, b) => b.startedAt - a.startedAt || (a.runId < b.runId ? 1 : -1))
        .map((row) => row.runId),
  };
}

function lastOf<Value>(values: readonly Value[]): Value | undefined {
  return values.at(-1);
}
