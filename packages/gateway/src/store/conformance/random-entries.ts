import type { DecisionEntry, Entry, EventEntry, ReserveEntry, RunEntry, SettleEntry } from '../entry.ts';

/** A source of chance that can be repeated: the same seed gives the same numbers (mulberry32). */
export function createRandom(seed: number): Random {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
  const below = (bound: number): number => Math.floor(next() * bound);
  return {
    below,
    chance: (share) => next() < share,
    pick(list) {
      const item = list[below(list.length)];
      if (item === undefined) throw new Error('There is nothing to pick from.');
      return item;
    },
  };
}

export interface Random {
  /** A whole number from 0 to below `bound`. */
  below(bound: number): number;
  chance(share: number): boolean;
  pick<Item>(list: readonly Item[]): Item;
}

const FIRST_DAY_AT = Date.UTC(2026, 10, 22, 18);
const WORKSPACES = ['acme', 'globex'];
const MODELS = ['gpt-4o-mini', 'claude-sonnet-4-5'];
const TOOLS = ['customer_lookup', 'refund_policy_check'];
const EVENT_TYPES = [
  'step.started',
  'step.completed',
  'step.failed',
  'llm.call.started',
  'llm.call.completed',
  'tool.call.requested',
  'tool.call.completed',
  'tool.call.failed',
  'tool.result.received',
  'handoff.requested',
  'checkpoint.created',
];

type Context = Pick<ReserveEntry, 'workspaceId' | 'keyId' | 'runId' | 'sessionId' | 'workflowId' | 'agentId' | 'memberId' | 'customerId'>;

interface GeneratedRun {
  readonly context: Context;
  /** What later entries of the run may state on top. */
  readonly late: Partial<Context>;
  started: boolean;
}

/**
 * Entries as a gateway might write them over three days, in a random order of happenings: runs that begin, spend, pause, pay
 * and end, calls that complete, fail, are released, cost nobody knows what, are settled twice, and events that do and do
 * not belong to a call.
 */
export function randomEntries(random: Random, count: number): Entry[] {
  const entries: Entry[] = [];
  const runs: GeneratedRun[] = [];
  const open: ReserveEntry[] = [];
  const settled: SettleEntry[] = [];
  let at = FIRST_DAY_AT;
  let lastId = 0;
  const id = (prefix: string): string => `${prefix}_${(lastId += 1)}`;
  const maybe = <Value>(share: number, value: Value): Value | undefined => (random.chance(share) ? value : undefined);

  const newRun = (): GeneratedRun => {
    const workspaceId = random.pick(WORKSPACES);
    const states: Partial<Context> = {
      sessionId: `session_${random.below(3)}`,
      workflowId: `workflow_${random.below(2)}`,
      customerId: `customer_${random.below(2)}`,
      agentId: `agent_${random.below(3)}`,
      memberId: `member_${random.below(2)}`,
    };
    const atOnce: Partial<Context> = {};
    const late: Partial<Context> = {};
    for (const [field, value] of Object.entries(states))
      Object.assign(random.chance(0.5) ? atOnce : random.chance(0.6) ? late : {}, { [field]: value });
    // Run ids repeat across workspaces: they are unique inside one only.
    const context: Context = { ...atOnce, workspaceId, keyId: `key_${workspaceId}_${random.below(2)}`, runId: `run_${runs.length >> 1}` };
    const same = runs.find((run) => run.context.workspaceId === workspaceId && run.context.runId === context.runId);
    if (same !== undefined) return same;
    const run = { context, late, started: false };
    runs.push(run);
    return run;
  };
  const contextOf = (run: GeneratedRun): Context =>
    random.chance(0.3) ? { ...run.context, ...run.late } : random.chance(0.3) ? bare(run.context) : run.context;

  const makers: readonly (readonly [weight: number, make: (run: GeneratedRun) => Entry | undefined])[] = [
    [
      30,
      (run): ReserveEntry => {
        const kind = random.chance(0.7) ? 'model' : 'tool';
        const reserve: ReserveEntry = {
          type: 'reserve',
          at,
          id: id('req'),
          kind,
          name: random.pick(kind === 'model' ? MODELS : TOOLS),
          ...(kind === 'model' ? { provider: random.pick(['openai', 'anthropic']) } : {}),
          attempt: random.chance(0.2) ? 2 : 1,
          source: random.chance(0.8) ? 'gateway' : 'self_reported',
          hold: String(random.below(2_000_000_000)),
          ...contextOf(run),
          stepId: maybe(0.8, `step_${random.below(12)}`),
          toolCallId: kind === 'tool' ? maybe(0.8, `call_${random.below(6)}`) : undefined,
        };
        open.push(reserve);
        return reserve;
      },
    ],
    [
      28,
      () => {
        const [reserve] = open.splice(random.below(open.length), 1);
        if (reserve === undefined) return undefined;
        const status = random.pick(['completed', 'completed', 'completed', 'failed', 'aborted', 'released'] as const);
        const settle: SettleEntry = {
          type: 'settle',
          at,
          id: reserve.id,
          workspaceId: reserve.workspaceId,
          runId: reserve.runId,
          status,
          cost: status === 'released' ? '0' : random.chance(0.15) ? null : String(random.below(2_500_000_000)),
          model: maybe(0.3, `${reserve.name}-2026`),
          unconfirmed: maybe(0.1, true as const),
          error: status === 'completed' ? undefined : 'it failed',
        };
        settled.push(settle);
        return settle;
      },
    ],
    [2, () => (settled.length === 0 ? undefined : { ...random.pick(settled), at })],
    [
      20,
      (run): EventEntry => ({
        type: 'event',
        at,
        eventAt: at - random.below(5_000),
        eventId: id('evt'),
        dedupe: maybe(0.6, true as const),
        eventType: random.pick(EVENT_TYPES),
        source: 'langgraph',
        ...contextOf(run),
        stepId: maybe(0.8, `step_${random.below(12)}`),
        toolCallId: maybe(0.5, `call_${random.below(9)}`),
        reservationId: open.length > 0 ? maybe(0.2, random.pick(open).id) : undefined,
        event: {
          step_kind: random.pick(['planning', 'tool_call', 'unknown', 'handoff']),
          name: maybe(0.5, 'a name'),
          metadata: { tool_name: maybe(0.5, 'a name'), released: maybe(0.15, true) },
        },
      }),
    ],
    [
      6,
      (run): DecisionEntry => ({
        type: 'decision',
        at,
        id: id('dec'),
        ...contextOf(run),
        runId: maybe(0.9, run.context.runId),
        phase: random.pick(['model_request', 'tool_call', 'run_update']),
        outcome: random.pick(['denied', 'denied', 'audited']),
        reason: 'a rule said so',
        subject: 'customer_lookup',
        stepId: maybe(0.7, `step_${random.below(14)}`),
        toolCallId: maybe(0.5, `call_${random.below(12)}`),
        violation: maybe(0.2, true),
      }),
    ],
    [
      12,
      (run): RunEntry => {
        const base = { type: 'run', at, ...contextOf(run) } as const;
        const op = random.pick(['start', 'finance', 'finance', 'pause', 'resume', 'end', 'cap'] as const);
        const status = (
          {
            start: 'running',
            finance: 'running',
            pause: 'paused',
            resume: 'running',
            end: random.pick(['completed', 'failed', 'stopped'] as const),
            cap: 'running',
          } as const
        )[op];
        if (op === 'finance')
          return {
            ...base,
            op,
            status,
            revenue: maybe(0.7, String(random.below(3_000_000_000))),
            outbound: maybe(0.3, '1000'),
            fees: maybe(0.3, '77'),
          };
        if (op === 'cap')
          return { ...base, op, status, limit: String(random.below(9_000_000_000)), bounds: { max_steps: 1 + random.below(40) } };
        return { ...base, op, status, reason: op === 'end' || op === 'pause' ? 'a reason' : undefined };
      },
    ],
    [
      2,
      (run) => ({
        type: 'threshold',
        at,
        workspaceId: run.context.workspaceId,
        runId: run.context.runId,
        budgetId: 'bud_1',
        scope: 'run',
        scopeId: run.context.runId,
        window: 'lifetime',
        percent: 50,
        limit: '100',
        spent: '50',
      }),
    ],
  ];
  const total = makers.reduce((sum, [weight]) => sum + weight, 0);

  while (entries.length < count) {
    at += random.below(Math.ceil((3 * 86_400_000) / count));
    const run = runs.length < 3 || random.chance(0.06) ? newRun() : random.pick(runs);
    if (!run.started && random.chance(0.9)) {
      run.started = true;
      entries.push(tidy({ type: 'run', at, op: 'start', status: 'running', ...run.context, limit: maybe(0.3, '5000000000') }));
      continue;
    }
    if (random.chance(0.04)) {
      entries.push(...implicitRun(run.context, at, id('req'), random));
      continue;
    }
    let draw = random.below(total);
    const maker = makers.find(([weight]) => (draw -= weight) < 0);
    const entry = maker?.[1](run);
    if (entry !== undefined) entries.push(tidy(entry));
  }
  return entries;
}

/** A call whose caller named no run, with the run that was made for it. */
function implicitRun(context: Context, at: number, callId: string, random: Random): Entry[] {
  const own: Context = { ...bare(context), runId: `implicit_${callId}` };
  const reserve: ReserveEntry = {
    type: 'reserve',
    at,
    id: callId,
    kind: 'model',
    name: 'gpt-4o-mini',
    attempt: 1,
    source: 'gateway',
    hold: '5000',
    implicitRun: true,
    ...own,
  };
  const isGood = random.chance(0.7);
  const settle: SettleEntry = {
    type: 'settle',
    at: at + 2,
    id: callId,
    workspaceId: own.workspaceId,
    runId: own.runId,
    status: isGood ? 'completed' : random.pick(['failed', 'released']),
    cost: '4000',
    ...(isGood ? {} : { error: 'it failed' }),
  };
  const paid: RunEntry = { type: 'run', at: at + 1, op: 'finance', status: 'running', ...own, revenue: '9000' };
  const late: RunEntry = {
    type: 'run',
    at: at + 1,
    op: 'cap',
    status: 'running',
    ...own,
    sessionId: `session_${random.below(3)}`,
    customerId: 'customer_0',
    limit: '9000',
  };
  const happenings = [settle, paid, late].filter(() => random.chance(0.7));
  const entries: Entry[] = [reserve];
  while (happenings.length > 0) entries.push(...happenings.splice(random.below(happenings.length), 1));
  return entries;
}

function bare({ workspaceId, keyId, runId }: Context): Context {
  return { workspaceId, keyId, runId };
}

/** As it comes back from the ledger: absent fields are left out. */
function tidy(entry: Entry): Entry {
  return JSON.parse(JSON.stringify(entry)) as Entry;
}
