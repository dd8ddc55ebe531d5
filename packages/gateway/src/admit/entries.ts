import { redact, type Nanos } from '@runpurse/core';
import {
  loggedUsage,
  type ContextFields,
  type DecisionEntry,
  type ReserveEntry,
  type RunEntry,
  type SettleEntry,
  type ThresholdEntry,
} from '../store/entry.ts';
import type { BudgetMatch } from './budget-book.ts';
import type { RunState } from './run-state.ts';
import type { CallRequest, LoggedDecision, Outcome, Reservation, RunBounds, Subject } from './types.ts';

/** The ledger rows that admission writes, built from what it knows. Pure; rows hold no absent fields, so they stay short. */

type Attributed = Partial<
  Pick<
    ContextFields,
    'sessionId' | 'workflowId' | 'agentId' | 'memberId' | 'customerId' | 'stepId' | 'parentStepId' | 'toolCallId' | 'graphNode'
  >
>;

/** The attribution fields that are set, and no others. */
export function definedContext(from: Attributed): Attributed {
  const fields: { -readonly [Key in keyof Attributed]: Attributed[Key] } = {};
  if (from.sessionId !== undefined) fields.sessionId = from.sessionId;
  if (from.workflowId !== undefined) fields.workflowId = from.workflowId;
  if (from.agentId !== undefined) fields.agentId = from.agentId;
  if (from.memberId !== undefined) fields.memberId = from.memberId;
  if (from.customerId !== undefined) fields.customerId = from.customerId;
  if (from.stepId !== undefined) fields.stepId = from.stepId;
  if (from.parentStepId !== undefined) fields.parentStepId = from.parentStepId;
  if (from.toolCallId !== undefined) fields.toolCallId = from.toolCallId;
  if (from.graphNode !== undefined) fields.graphNode = from.graphNode;
  return fields;
}

/** A run's own attribution, without the fields of a single call. */
function runContext(run: RunState): Attributed {
  return definedContext({
    sessionId: run.sessionId,
    workflowId: run.workflowId,
    agentId: run.agentId,
    memberId: run.memberId,
    customerId: run.customerId,
  });
}

export function startEntry(run: RunState, now: number): RunEntry {
  return {
    type: 'run',
    at: now,
    op: 'start',
    status: 'running',
    workspaceId: run.workspaceId,
    keyId: run.keyId,
    runId: run.runId,
    ...runContext(run),
    ...(run.implicit ? { implicitRun: true as const } : {}),
    ...capFields(run),
  };
}

/** The run's cap, bounds and attribution as they stand now. */
export function capEntry(run: RunState, now: number): RunEntry {
  return { ...runEntry(run, 'cap', now), ...runContext(run), ...capFields(run) };
}

function capFields(run: RunState): Partial<RunEntry> {
  return {
    ...(run.limit === undefined ? {} : { limit: run.limit.toString() }),
    ...boundsField(run.bounds),
  };
}

function boundsField(bounds: RunBounds): Pick<RunEntry, 'bounds'> {
  const set = Object.entries(bounds).filter((bound): bound is [string, number] => bound[1] !== undefined);
  return set.length === 0 ? {} : { bounds: Object.fromEntries(set) };
}

export function runEntry(run: RunState, op: RunEntry['op'], now: number, more: Partial<RunEntry> = {}): RunEntry {
  return { type: 'run', at: now, op, status: run.status, workspaceId: run.workspaceId, keyId: run.keyId, runId: run.runId, ...more };
}

export function amountFields(amounts: {
  readonly revenue?: Nanos | undefined;
  readonly outbound?: Nanos | undefined;
  readonly fees?: Nanos | undefined;
}): Partial<RunEntry> {
  return {
    ...(amounts.revenue === undefined ? {} : { revenue: amounts.revenue.toString() }),
    ...(amounts.outbound === undefined ? {} : { outbound: amounts.outbound.toString() }),
    ...(amounts.fees === undefined ? {} : { fees: amounts.fees.toString() }),
  };
}

export function decisionEntry(id: string, decision: LoggedDecision, now: number): DecisionEntry {
  const { subject } = decision;
  return {
    type: 'decision',
    at: now,
    id,
    workspaceId: subject.workspaceId,
    keyId: subject.keyId,
    ...(subject.runId === undefined || subject.implicitRun === true ? {} : { runId: subject.runId }),
    ...definedContext(subject),
    ...(subject.attempt === undefined ? {} : { attempt: subject.attempt }),
    phase: decision.phase,
    outcome: decision.outcome,
    ...(decision.code === undefined ? {} : { code: decision.code }),
    reason: decision.reason,
    ...(decision.rule === undefined ? {} : { rule: decision.rule }),
    ...(decision.ruleRevision === undefined ? {} : { ruleRevision: decision.ruleRevision }),
    ...(decision.about === undefined ? {} : { subject: decision.about }),
    ...(decision.violation === undefined ? {} : { violation: decision.violation }),
  };
}

export function phaseOf(call: Pick<CallRequest, 'kind'>): 'model_request' | 'tool_call' {
  return call.kind === 'model' ? 'model_request' : 'tool_call';
}

/** Made on every call: one literal, whose absent fields JSON leaves out. */
export function reserveEntry(reservation: Reservation): ReserveEntry {
  const { subject } = reservation;
  return {
    type: 'reserve',
    at: reservation.at,
    id: reservation.id,
    kind: reservation.kind,
    name: reservation.name,
    provider: reservation.provider,
    attempt: reservation.attempt,
    source: reservation.source,
    hold: reservation.hold.toString(),
    priceUnknown: reservation.priceUnknown ? true : undefined,
    workspaceId: subject.workspaceId,
    keyId: subject.keyId,
    runId: subject.runId,
    sessionId: subject.sessionId,
    workflowId: subject.workflowId,
    agentId: subject.agentId,
    memberId: subject.memberId,
    customerId: subject.customerId,
    stepId: subject.stepId,
    parentStepId: subject.parentStepId,
    toolCallId: subject.toolCallId,
    graphNode: subject.graphNode,
    implicitRun: subject.implicitRun ? true : undefined,
    idempotencyKey: subject.idempotencyKey,
    note: noteOf(subject),
  };
}

/** What the trace shows beyond ids. */
function noteOf(subject: Subject): Readonly<Record<string, unknown>> | undefined {
  const { agentName, stepKind, iteration, properties } = subject;
  if (agentName === undefined && stepKind === undefined && iteration === undefined && properties === undefined) return undefined;
  return {
    ...(agentName === undefined ? {} : { agent_name: agentName }),
    ...(stepKind === undefined ? {} : { step_kind: stepKind }),
    ...(iteration === undefined ? {} : { iteration }),
    ...(properties === undefined ? {} : { properties: redact(properties) }),
  };
}

/** Made on every call, like `reserveEntry`. */
export function settleEntry(
  reservation: Reservation,
  outcome: Outcome,
  charged: Nanos | undefined,
  isUnconfirmed: boolean,
  now: number,
): SettleEntry {
  return {
    type: 'settle',
    at: now,
    id: reservation.id,
    workspaceId: reservation.subject.workspaceId,
    runId: reservation.subject.runId,
    status: outcome.status,
    cost: charged === undefined ? null : charged.toString(),
    model: outcome.model === reservation.name ? undefined : outcome.model,
    usage: outcome.usage === undefined ? undefined : loggedUsage(outcome.usage),
    price: outcome.price,
    unconfirmed: isUnconfirmed ? true : undefined,
    error: outcome.error,
  };
}

export function thresholdEntry(
  reservation: Reservation,
  match: BudgetMatch,
  percent: number,
  { settled, held }: { readonly settled: Nanos; readonly held: Nanos },
  now: number,
): ThresholdEntry {
  const { subject } = reservation;
  return {
    type: 'threshold',
    at: now,
    workspaceId: subject.workspaceId,
    runId: subject.runId,
    budgetId: match.budget.budgetId,
    scope: match.budget.config.scope,
    scopeId: match.scopeId,
    window: match.budget.config.window,
    percent,
    limit: match.limit.toString(),
    spent: settled.toString(),
    ...(held > 0n ? { held: held.toString() } : {}),
  };
}
