import { z } from 'zod';
import { formatUsd } from '@runpurse/core';
import type { Entry } from '../store/entry.ts';
import type { Sequenced } from '../store/store.ts';

/** One row of the log on the wire: where it belongs, and what happened in `data`. */
export const logEntryShape = z.object({
  seq: z.number().int().describe('Position in the ledger; the SSE id'),
  type: z.enum(['reserve', 'settle', 'event', 'decision', 'run', 'threshold']),
  at: z.iso.datetime(),
  workspace_id: z.string(),
  run_id: z.string().nullable(),
  session_id: z.string().nullable(),
  workflow_id: z.string().nullable(),
  agent_id: z.string().nullable(),
  member_id: z.string().nullable(),
  customer_id: z.string().nullable(),
  key_id: z.string().nullable(),
  step_id: z.string().nullable(),
  parent_step_id: z.string().nullable(),
  tool_call_id: z.string().nullable(),
  graph_node: z.string().nullable(),
  data: z.record(z.string(), z.unknown()),
});
export type LogEntry = z.output<typeof logEntryShape>;

const PLACE = {
  runId: 'run_id',
  sessionId: 'session_id',
  workflowId: 'workflow_id',
  agentId: 'agent_id',
  memberId: 'member_id',
  customerId: 'customer_id',
  keyId: 'key_id',
  stepId: 'step_id',
  parentStepId: 'parent_step_id',
  toolCallId: 'tool_call_id',
  graphNode: 'graph_node',
} as const;

/** Ledger fields that hold nano-dollars, and what they are called in dollars. */
const AMOUNTS: Readonly<Record<string, string>> = {
  hold: 'held_usd',
  cost: 'cost_usd',
  revenue: 'revenue_usd',
  outbound: 'outbound_usd',
  fees: 'fees_usd',
  limit: 'limit_usd',
  spent: 'spent_usd',
};

/** `id` alone would not say of what. */
const IDS: Readonly<Record<Entry['type'], string>> = {
  reserve: 'reservation_id',
  settle: 'reservation_id',
  event: 'id',
  decision: 'decision_id',
  run: 'id',
  threshold: 'id',
};

const HEAD = new Set<string>(['type', 'at', 'workspaceId', ...Object.keys(PLACE)]);

/** A ledger entry as the log shows it: snake_case, dollars, RFC 3339. */
export function logEntry({ seq, entry }: Sequenced): LogEntry {
  const place = Object.fromEntries(
    Object.entries(PLACE).map(([from, to]) => [to, (entry as unknown as Record<string, string | undefined>)[from] ?? null]),
  );
  const data = Object.fromEntries(
    Object.entries(entry)
      .filter(([name, value]) => !HEAD.has(name) && value !== undefined)
      .map(([name, value]) => field(entry.type, name, value)),
  );
  return { seq, type: entry.type, at: new Date(entry.at).toISOString(), workspace_id: entry.workspaceId, ...place, data } as LogEntry;
}

function field(type: Entry['type'], name: string, value: unknown): readonly [string, unknown] {
  const amount = AMOUNTS[name];
  if (amount !== undefined) return [amount, typeof value === 'string' ? formatUsd(BigInt(value)) : null];
  if (name === 'id') return [IDS[type], value];
  if (name === 'eventAt' && typeof value === 'number') return ['event_at', new Date(value).toISOString()];
  if (name === 'usage' && typeof value === 'object' && value !== null)
    return ['usage', Object.fromEntries(Object.entries(value).map(([key, count]) => [snake(key), count]))];
  return [snake(name), value];
}

function snake(name: string): string {
  return name.replace(/[A-Z]|\d+/g, (part) => `_${part.toLowerCase()}`);
}
