import { createHash } from 'node:crypto';
import { formatUsd, redact, type BudgetStateShape, type RunShape } from '@runpurse/core';
import type { DecisionEntry, Entry, RunEntry, ThresholdEntry } from '../store/entry.ts';
import type { RunRow, Sequenced } from '../store/store.ts';

/** What a person or a workflow wants to hear of. */
export const NOTICE_TYPES = ['run.ended', 'budget.threshold', 'call.refused'] as const;
export type NoticeType = (typeof NOTICE_TYPES)[number];

/** One thing that happened, as it is sent to a webhook and listed by `GET /v1/notices`. */
export interface Notice {
  /** Made from the ledger entry alone: sent again, or listed, it is the same. */
  readonly id: string;
  readonly type: NoticeType;
  readonly created_at: string;
  readonly data: Readonly<Record<string, unknown>>;
}

/** Narrows notices to one workflow or agent. */
export interface NoticeFilter {
  readonly workflow?: string | undefined;
  readonly agent?: string | undefined;
}

/** An entry that is told of, with its run as the views know it (undefined: it names none, or only refused calls do). */
export interface Noted {
  readonly seq: number;
  readonly entry: RunEntry | ThresholdEntry | DecisionEntry;
  readonly type: NoticeType;
  readonly id: string;
  readonly run: RunRow | undefined;
}

/** The ledger's entry type behind each notice. */
export const ENTRY_TYPES: Readonly<Record<NoticeType, Entry['type']>> = {
  'run.ended': 'run',
  'budget.threshold': 'threshold',
  'call.refused': 'decision',
};

const ENDED: ReadonlySet<string> = new Set(['completed', 'failed', 'stopped']);
const CALL_PHASES: ReadonlySet<string> = new Set(['model_request', 'tool_call']);

/** Which notice an entry is, if any. A run that is only one call (the caller named none) has no ending entry and is not told. */
export function noticeTypeOf(entry: Entry): NoticeType | undefined {
  switch (entry.type) {
    case 'run':
      return (entry.op === 'end' || entry.op === 'stop') && ENDED.has(entry.status) ? 'run.ended' : undefined;
    case 'threshold':
      return 'budget.threshold';
    case 'decision':
      return entry.outcome === 'denied' && CALL_PHASES.has(entry.phase) ? 'call.refused' : undefined;
    default:
      return undefined;
  }
}

/** Deterministic; time and workspace are in it so that a ledger which lost its tail never gives an id a second meaning. */
export function noticeId({ seq, entry }: Sequenced): string {
  const text = `${entry.workspaceId}\n${seq}\n${entry.type}\n${entry.at}`;
  return `ntc_${createHash('sha256').update(text).digest('hex').slice(0, 32)}`;
}

/** The entry as something told, or undefined when it is none of these types or of another workflow or agent. */
export function noted(row: Sequenced, run: RunRow | undefined, types: readonly NoticeType[], filter: NoticeFilter): Noted | undefined {
  const type = noticeTypeOf(row.entry);
  if (type === undefined || !types.includes(type)) return undefined;
  const entry = row.entry as Noted['entry'];
  const place = placeOf(entry, run);
  if (filter.workflow !== undefined && place.workflow !== filter.workflow) return undefined;
  if (filter.agent !== undefined && place.agent !== filter.agent) return undefined;
  return { seq: row.seq, entry, type, id: noticeId(row), run };
}

/** A budget of a workflow or agent is about that one, whichever run crossed it. */
function placeOf(entry: Noted['entry'], run: RunRow | undefined): { workflow: string | undefined; agent: string | undefined } {
  if (entry.type === 'threshold')
    return {
      workflow: entry.scope === 'workflow' ? entry.scopeId : run?.workflowId,
      agent: entry.scope === 'agent' ? entry.scopeId : run?.agentId,
    };
  return { workflow: entry.workflowId ?? run?.workflowId, agent: entry.agentId ?? run?.agentId };
}

export function thresholdData(entry: ThresholdEntry, run: RunRow | undefined, name: string | undefined): Notice['data'] {
  const [cap, spent] = [BigInt(entry.limit), BigInt(entry.spent)];
  const reserved = BigInt(entry.held ?? '0');
  const left = cap - spent - reserved;
  return {
    budget: {
      id: entry.budgetId,
      ...(name === undefined ? {} : { name }),
      level: entry.scope,
      scope_id: entry.scopeId,
      window: entry.window,
      cap_usd: formatUsd(cap),
      spent_usd: formatUsd(spent),
      reserved_usd: formatUsd(reserved),
      remaining_usd: formatUsd(left > 0n ? left : 0n),
      state: left <= 0n ? 'exceeded' : String(entry.percent),
    },
    threshold_percent: entry.percent,
    ...(entry.runId === undefined ? {} : { run_id: entry.runId }),
    ...(run?.sessionId === undefined ? {} : { session_id: run.sessionId }),
  };
}

const BUDGET_CODES: ReadonlySet<string> = new Set(['budget_exceeded', 'price_unknown']);

export function refusedData(entry: DecisionEntry, run: RunRow | undefined): Notice['data'] {
  const kind = entry.phase === 'model_request' ? 'model' : 'tool';
  const optional = {
    session_id: entry.sessionId ?? run?.sessionId,
    workflow: entry.workflowId ?? run?.workflowId,
    agent: entry.agentId ?? run?.agentId,
    step_id: entry.stepId,
    tool_call_id: entry.toolCallId,
    [kind]: entry.subject,
    [BUDGET_CODES.has(entry.code ?? '') ? 'budget' : 'rule']: entry.rule,
  };
  return {
    run_id: entry.runId ?? null,
    kind,
    code: entry.code ?? 'policy_denied',
    message: entry.reason,
    ...Object.fromEntries(Object.entries(optional).filter(([, value]) => value !== undefined)),
  };
}

export function endedData(run: RunShape | undefined, budgets: readonly BudgetStateShape[], isCut: boolean): Notice['data'] {
  return { run: run === undefined ? null : { ...run, budgets: [...budgets] }, ...(isCut ? { truncated: true } : {}) };
}

/** The notice, with whatever looks like a secret taken out of its texts; ids stay as they are, they are what one looks up by. */
export function noticeOf({ id, type, entry }: Noted, data: Notice['data']): Notice {
  return { id, type, created_at: new Date(entry.at).toISOString(), data: withoutSecrets(data) as Notice['data'] };
}

function withoutSecrets(value: unknown, name = ''): unknown {
  if (Array.isArray(value)) return value.map((item) => withoutSecrets(item));
  if (typeof value === 'object' && value !== null)
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, withoutSecrets(item, key)]));
  return typeof value === 'string' && !/(?:^|_)id$/.test(name) ? redact(value) : value;
}
