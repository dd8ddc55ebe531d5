import { parseUsd, type Nanos, type Refusal, type ReportedBounds } from '@runpurse/core';
import type { AdmissionResult, CallRequest, RunView, StartRun } from '../admit/types.ts';
import { BOUND_NAMES, type BoundName } from '../config/config.ts';
import type { Gateway } from '../gateway.ts';
import { decisionsOf } from '../policy/index.ts';
import type { PolicyPhase } from '../policy/policy.ts';
import { callKey, type KnownCall, type RunMemory } from './call-memory.ts';
import { eventFacts } from './facts.ts';
import type { ReadEvent } from './read-events.ts';
import type { ReportedCall } from './reported-call.ts';
import { ALLOWED, auditsOf, SKIPPED, type Verdict } from './verdict.ts';

/** What taking an event did. All of it is decided in one turn; only durability is waited for. */
export interface Taken {
  /** The reservation this event speaks about. */
  readonly reservationId: string | undefined;
  readonly verdict: Verdict | Promise<Verdict>;
  /** Durable writes under way. */
  readonly writes: readonly Promise<unknown>[];
  /** It ended a reservation, which can't be undone should the store fail. */
  readonly settled: boolean;
  /** False when the event asked to begin a run and was refused: there is no such run. */
  readonly begun: boolean;
  /** Makes ingest forget what it remembered of this, should the store not take it. */
  readonly forget?: () => void;
}

/** Everything an event is taken with. */
export interface Taking {
  readonly gateway: Gateway;
  readonly read: ReadEvent;
  /** The run as it stands; undefined without run id. */
  readonly run: RunView | undefined;
  readonly memory: RunMemory;
  /** Somebody waits for the answer (`?enforce=true`). */
  readonly enforce: boolean;
  readonly readCall: (kind: 'model' | 'tool') => ReportedCall;
}

type Take = (taking: Taking) => Taken;

const nothing = (verdict: Verdict, reservationId?: string): Taken => ({ reservationId, verdict, writes: [], settled: false, begun: true });

/**
 * What each canonical type does, whatever phase, stage or confidence its sender claims. A type that is not here is logged.
 */
const BY_TYPE: Readonly<Record<string, Take>> = {
  'run.started': beginRun,
  'run.completed': (taking) => endRun(taking, 'completed'),
  'run.failed': (taking) => endRun(taking, 'failed'),
  'finance.recorded': bookFinance,
  'llm.call.started': (taking) => askModel(taking),
  'llm.call.completed': (taking) => endCall(taking, 'model', 'completed'),
  'llm.call.failed': (taking) => endCall(taking, 'model', 'failed'),
  'tool.call.requested': (taking) => ask(taking, 'tool'),
  'tool.call.completed': (taking) => endCall(taking, 'tool', 'completed'),
  'tool.call.failed': (taking) => endCall(taking, 'tool', 'failed'),
  'tool.result.received': (taking) => endCall(taking, 'tool', 'completed'),
  'step.started': updateRun,
  'handoff.requested': updateRun,
  'approval.requested': updateRun,
  'checkpoint.created': updateRun,
};

export const PHASE_BY_TYPE: Readonly<Record<string, PolicyPhase>> = {
  'llm.call.started': 'model_request',
  'llm.call.completed': 'model_request',
  'llm.call.failed': 'model_request',
  'tool.call.requested': 'tool_call',
  'tool.call.completed': 'tool_call',
  'tool.call.failed': 'tool_call',
  'tool.result.received': 'tool_call',
};

export function takeEvent(taking: Taking): Taken {
  return (BY_TYPE[taking.read.event.type] ?? logOnly)(taking);
}

/** A second copy of a question gets the first one's answer; of a report, nothing happens twice. */
export function answerAgain(taking: Taking): Taken {
  const { type } = taking.read.event;
  const kind = type === 'tool.call.requested' ? 'tool' : type === 'llm.call.started' ? 'model' : undefined;
  if (kind === undefined) {
    const take = BY_TYPE[type];
    if (take !== updateRun && take !== beginRun) return nothing(SKIPPED);
    const denial = policyVerdict(taking, 'run_update', undefined, false);
    return nothing(denial);
  }
  const known = knownCall(taking, kind);
  if (known === undefined || known.status !== 'denied') return nothing(ALLOWED, known?.reservationId);
  // Denied, and asked once more: if nothing has changed the answer is the same and is not logged again.
  const call = taking.readCall(kind);
  const again = taking.gateway.admission.check(request(taking, call, call.hold(taking.read.event.metadata)));
  return again.type === 'refused' ? nothing({ type: 'denied', refusal: again.refusal }) : hold(taking, call);
}

function logOnly(): Taken {
  return nothing(SKIPPED);
}

// --- runs -----------------------------------------------------------------------------------------------------------

function beginRun(taking: Taking): Taken {
  const { gateway, read, run } = taking;
  if (!read.hasRun) return nothing(policyVerdict(taking, 'run_update', undefined, true));
  if (hasEnded(run) && isLate(taking, taking.memory.endedAt)) return nothing(SKIPPED);
  const verdict = policyVerdict(taking, 'run_update', undefined, true);
  if (verdict.type === 'denied') return { ...nothing(verdict), begun: run !== undefined };
  const { limit_usd, bounds } = read.event.metadata;
  const started = gateway.admission.startRun({ subject: read.subject, limit: amount(limit_usd), bounds: boundsOf(bounds) });
  return {
    reservationId: undefined,
    verdict: started.then((result): Verdict => {
      if (result.type !== 'refused') return verdict;
      logDenial(taking, 'run_update', result.refusal, undefined);
      return { type: 'denied', refusal: result.refusal };
    }),
    writes: [started],
    settled: false,
    begun: true,
  };
}

function endRun(taking: Taking, status: 'completed' | 'failed'): Taken {
  const { gateway, read, run, memory } = taking;
  if (!read.hasRun) return nothing(SKIPPED);
  const { admission } = gateway;
  const { metadata } = read.event;
  const amounts = { revenue: amount(metadata.revenue_usd), outbound: amount(metadata.outbound_usd), fees: amount(metadata.fees_usd) };
  const isFirstEnd = memory.endedAt === undefined;
  memory.endedAt ??= read.eventAt;
  const forget = (): void => {
    if (isFirstEnd) memory.endedAt = undefined;
  };
  if (!hasEnded(run)) {
    const reason = metadata.message === undefined || metadata.message === '' ? undefined : metadata.message.slice(0, 1000);
    return { ...nothing(SKIPPED), writes: [admission.endRun(read.subject, { status: metadata.status === 'stopped' ? 'stopped' : status, reason, ...amounts })], forget };
  }
  // Stopped by the gateway or by hand, and now reported as over: its amounts still count, once.
  const hasAmounts = amounts.revenue !== undefined || amounts.outbound !== undefined || amounts.fees !== undefined;
  return { ...nothing(SKIPPED), writes: isFirstEnd && hasAmounts ? [admission.bookFinance(read.subject, amounts)] : [], forget };
}

/** Bounds without those the sender left out. */
function boundsOf(reported: ReportedBounds | undefined): StartRun['bounds'] {
  if (reported === undefined) return undefined;
  const bounds: { [Name in BoundName]?: number } = {};
  for (const name of BOUND_NAMES) {
    const limit = reported[name];
    if (limit !== undefined) bounds[name] = limit;
  }
  return bounds;
}

function bookFinance({ gateway, read }: Taking): Taken {
  const { revenue_usd, outbound_usd, fees_usd } = read.event.metadata;
  if (!read.hasRun || (revenue_usd === undefined && outbound_usd === undefined && fees_usd === undefined)) return nothing(SKIPPED);
  return { ...nothing(SKIPPED), writes: [gateway.admission.bookFinance(read.subject, { revenue: amount(revenue_usd), outbound: amount(outbound_usd), fees: amount(fees_usd) })] };
}

/** A step, handoff, approval or checkpoint begins: run state and the `run_update` rules are asked. */
function updateRun(taking: Taking): Taken {
  const { read, run, memory } = taking;
  const verdict = policyVerdict(taking, 'run_update', undefined, true);
  if (verdict.type === 'denied' || !taking.enforce || run === undefined) return nothing(verdict);
  const refusal = isLate(taking, memory.endedAt) ? undefined : stateRefusal(run);
  if (refusal === undefined) return nothing(verdict.type === 'skipped' ? ALLOWED : verdict);
  logDenial(taking, 'run_update', refusal, read.event.name);
  return nothing({ type: 'denied', refusal });
}

// --- calls ----------------------------------------------------------------------------------------------------------

/** A question about a model call. One that the gateway carries is decided there: here only policy and run state answer. */
function askModel(taking: Taking): Taken {
  const { gateway, read } = taking;
  const carriedId = carried(taking);
  if (carriedId !== undefined) return nothing(ALLOWED, carriedId);
  if (read.event.metadata.carried !== true) return ask(taking, 'model');
  if (hasEnded(taking.run) && isLate(taking, taking.memory.endedAt)) return nothing(SKIPPED);
  const call = taking.readCall('model');
  const result = gateway.admission.check(request(taking, call, 0n));
  // Only a question somebody waits for is logged: else the gateway's own refusal of the call would stand there twice.
  if (result.type === 'refused' && taking.enforce) logDenial(taking, 'model_request', result.refusal, call.name);
  return nothing(verdictOf(result));
}

function ask(taking: Taking, kind: 'model' | 'tool'): Taken {
  const { read, run, memory } = taking;
  const call = taking.readCall(kind);
  const known = knownCall(taking, kind);
  if (known !== undefined && known.status !== 'denied') {
    if (!isNextAttempt(read, known)) {
      if (known.status === 'open' && kind === 'tool') return nothing(ALLOWED, known.reservationId);
      if (known.status === 'open') return checkOnly(taking, call, call.hold(read.event.metadata), known.reservationId);
      if (isLate(taking, known.endedAt)) return nothing(SKIPPED, known.reservationId);
      // The same tool call once more (a resumed graph node does that): asked again, but it was paid for.
      if (kind === 'tool' && known.status === 'completed') return checkOnly(taking, call, 0n, known.reservationId);
    }
  } else if (known === undefined && hasEnded(run) && isLate(taking, memory.endedAt)) {
    return nothing(SKIPPED);
  }
  return callKey(kind, read.subject) === undefined || !read.hasRun ? checkOnly(taking, call, call.hold(read.event.metadata), undefined) : hold(taking, call);
}

/** Policy, run state, bounds and budgets answer; nothing is held, because no later event could release it. */
function checkOnly(taking: Taking, call: ReportedCall, worstCase: Nanos | undefined, reservationId: string | undefined): Taken {
  const result = taking.gateway.admission.check(request(taking, call, worstCase));
  if (result.type === 'refused') logDenial(taking, call.kind === 'tool' ? 'tool_call' : 'model_request', result.refusal, call.name);
  return nothing(verdictOf(result), result.type === 'refused' ? undefined : reservationId);
}

/** Holds the call's worst case under its key, or remembers that it was refused. */
function hold(taking: Taking, call: ReportedCall): Taken {
  const { gateway, read, memory } = taking;
  const asked = request(taking, call, call.hold(read.event.metadata));
  const admitted = gateway.admission.admit(asked);
  // Decided already; what is awaited is only that the intent is durable.
  const reservation = gateway.admission.reservation(asked.id);
  const known: KnownCall = {
    attempt: reservation?.attempt ?? read.event.attempt ?? 1,
    status: reservation === undefined ? 'denied' : 'open',
    reservationId: reservation?.id,
    askedAt: read.eventAt,
    endedAt: undefined,
    refusal: undefined,
    intent: reservation === undefined ? undefined : admitted,
  };
  return {
    reservationId: reservation?.id,
    verdict: admitted.then((result) => {
      known.intent = undefined;
      if (result.type === 'refused') known.refusal = result.refusal;
      return verdictOf(result);
    }),
    writes: [admitted],
    settled: false,
    begun: true,
    forget: remember(memory, callKey(call.kind, read.subject), known),
  };
}

/** A call is over: its hold is settled, or it is charged if nobody asked; once, however often it is reported. */
function endCall(taking: Taking, kind: 'model' | 'tool', byType: 'completed' | 'failed'): Taken {
  const { gateway, read, memory } = taking;
  const { admission } = gateway;
  const { metadata } = read.event;
  if (kind === 'model') {
    const carriedId = carried(taking);
    if (carriedId !== undefined || metadata.carried === true) return nothing(SKIPPED, carriedId);
  }
  const status = metadata.status === 'aborted' ? 'aborted' : byType;
  const call = taking.readCall(kind);
  const key = callKey(kind, read.subject);
  const known = knownCall(taking, kind);

  if (known !== undefined && known.status !== 'open' && isAlreadyTold(read, kind, known, endStatus(status))) {
    known.endedAt ??= read.eventAt;
    return nothing(SKIPPED, known.reservationId);
  }
  const open = key === undefined || !read.hasRun ? undefined : admission.findOpen(read.subject.workspaceId, read.subject.runId, kind, key.slice(kind.length + 1));
  if (open !== undefined) {
    const outcome = call.outcome(metadata, status, { name: open.name, held: open.hold });
    const ended: KnownCall = { attempt: open.attempt, status: endStatus(status), reservationId: open.id, askedAt: known?.askedAt, endedAt: read.eventAt, refusal: undefined, intent: undefined };
    const forget = remember(memory, key, ended);
    if (known?.intent === undefined) {
      admission.settle(open.id, outcome);
      return { ...nothing(SKIPPED, open.id), settled: true, forget };
    }
    // Asked in this very batch: what is not yet in the ledger can't be settled there.
    return { ...nothing(SKIPPED, open.id), writes: [known.intent.then(() => admission.settle(open.id, outcome))], forget };
  }
  if (known?.status === 'open' && !isNextAttempt(read, known)) {
    // Its hold is gone: timed out and charged, or taken over by a call that the gateway carried.
    known.status = endStatus(status);
    known.endedAt = read.eventAt;
    return nothing(SKIPPED, known.reservationId);
  }
  // What was denied and then "fails" was not run: the adapter reports its own no.
  if (known?.status === 'denied' && (status === 'failed' || metadata.status === 'denied')) return nothing(SKIPPED);

  const violation = known?.status === 'denied' ? refusedButRan(taking, call, known) : ranUnasked(taking, call);
  const asked: CallRequest = request(taking, call, undefined);
  const charged = admission.charge(asked, call.outcome(metadata, status, undefined));
  const told: KnownCall = { attempt: read.event.attempt ?? 1, status: endStatus(status), reservationId: asked.id, askedAt: undefined, endedAt: read.eventAt, refusal: undefined, intent: undefined };
  return { reservationId: asked.id, verdict: violation, writes: [charged], settled: false, begun: true, forget: remember(memory, key, told) };
}

/**
 * Is this report about an end that is known already? A tool call id names one call, so every later report of the attempt
 * is. A step may hold several model calls, so only a report of the same moment is.
 */
function isAlreadyTold(read: ReadEvent, kind: 'model' | 'tool', known: KnownCall, status: KnownCall['status']): boolean {
  if (known.status === 'denied' || isNextAttempt(read, known)) return false;
  // The result handed to the model is a second report of whatever end the call had.
  if (kind === 'tool') return known.status === 'completed' || status === known.status || !read.timestampGiven || read.event.type === 'tool.result.received';
  return read.timestampGiven && known.endedAt === read.eventAt;
}

/** It was asked, refused, and made all the same. */
function refusedButRan(taking: Taking, call: ReportedCall, known: KnownCall): Verdict {
  const { refusal } = known;
  const code = refusal?.code ?? 'policy_denied';
  const denied: Refusal = {
    code,
    message: `${what(call)} ran although it was refused${refusal === undefined ? '' : ` (${refusal.code})`}. Its cost is charged.`,
    blockedBy: refusal?.blockedBy,
  };
  logDenial(taking, phaseOf(call), denied, call.name);
  return { type: 'denied', refusal: denied };
}

/** It was made without asking: the rules look at it now, and what they would have denied is a violation. */
function ranUnasked(taking: Taking, call: ReportedCall): Verdict {
  const phase = phaseOf(call);
  const verdict = policyVerdict(taking, phase, call, true, (rule, reason) => `${what(call)} ran without asking, and rule "${rule}" forbids it: ${reason}. Its cost is charged.`);
  return verdict.type === 'denied' ? verdict : SKIPPED;
}

// --- shared ---------------------------------------------------------------------------------------------------------

function request(taking: Taking, call: ReportedCall, worstCase: Nanos | undefined): CallRequest {
  const { read, gateway } = taking;
  const { input_hash } = read.event;
  return {
    subject: read.subject,
    kind: call.kind,
    name: call.name ?? '',
    provider: call.provider,
    source: 'self_reported',
    id: gateway.ids.next('auth'),
    hold: worstCase,
    fingerprint: input_hash === undefined ? undefined : `${call.kind}:${call.name ?? ''}:${input_hash}`,
  };
}

/** Asks the rules of a phase, outside of admission, and logs what they found when `log` is set. */
function policyVerdict(
  taking: Taking,
  phase: PolicyPhase,
  call: ReportedCall | undefined,
  log: boolean,
  message: (rule: string, reason: string) => string = (rule, reason) => `Policy rule "${rule}" refused ${taking.read.event.type}${taking.read.hasRun ? ` of run ${taking.read.subject.runId}` : ''}: ${reason}. To go on: use what the policy allows, or ask its owner to change rule "${rule}".`,
): Verdict {
  const { gateway, read, run } = taking;
  const { policy, admission } = gateway;
  if (!policy.hasRules(phase)) return SKIPPED;
  const found = policy.evaluate(phase, eventFacts({ subject: read.subject, run, call, store: gateway.store, now: gateway.clock.now() }));
  const refusal: Refusal | undefined =
    found.type === 'denied'
      ? { code: 'policy_denied', message: message(found.by.rule, found.by.reason), blockedBy: found.by.rule, details: { rule: found.by.rule, rule_revision: found.by.revision } }
      : undefined;
  if (log) {
    for (const { match, outcome } of decisionsOf(found)) {
      admission.logDecision({
        subject: loggedSubject(read),
        phase,
        outcome,
        ...(refusal === undefined ? {} : { code: refusal.code }),
        reason: refusal?.message ?? match.reason,
        rule: match.rule,
        ruleRevision: match.revision,
        about: call?.name ?? read.event.name,
      });
    }
  }
  return refusal === undefined ? { type: 'allowed', audits: auditsOf(found) } : { type: 'denied', refusal };
}

function logDenial(taking: Taking, phase: PolicyPhase, refusal: Refusal, about: string | undefined): void {
  const revision = refusal.details?.['rule_revision'];
  taking.gateway.admission.logDecision({
    subject: loggedSubject(taking.read),
    phase,
    outcome: 'denied',
    code: refusal.code,
    reason: refusal.message,
    rule: refusal.blockedBy,
    ruleRevision: typeof revision === 'string' ? revision : undefined,
    about,
  });
}

/** A run that was made up for one event is not one to log under. */
function loggedSubject(read: ReadEvent) {
  const { runId, ...subject } = read.subject;
  return read.hasRun ? { ...subject, runId } : subject;
}

function knownCall({ memory, read, gateway }: Taking, kind: 'model' | 'tool'): KnownCall | undefined {
  const key = callKey(kind, read.subject);
  if (key === undefined || !read.hasRun) return undefined;
  const { workspaceId, runId, toolCallId } = read.subject;
  const { admission } = gateway;
  const told = memory.calls.get(key);
  if (told !== undefined || kind === 'model' || toolCallId === undefined || !admission.toolCallKnown(workspaceId, runId, toolCallId)) return told;
  // Authorized over the API (`/v1/tools/authorize`), so no event spoke of it before.
  const open = admission.findOpen(workspaceId, runId, 'tool', toolCallId);
  const known: KnownCall = { attempt: open?.attempt ?? 1, status: open === undefined ? 'completed' : 'open', reservationId: open?.id, askedAt: undefined, endedAt: undefined, refusal: undefined, intent: undefined };
  memory.calls.set(key, known);
  return known;
}

/** Puts a call into memory; what is returned takes it out again. */
function remember(memory: RunMemory, key: string | undefined, call: KnownCall): () => void {
  if (key === undefined) return () => undefined;
  const before = memory.calls.get(key);
  memory.calls.set(key, call);
  return () => {
    if (memory.calls.get(key) !== call) return;
    if (before === undefined) memory.calls.delete(key);
    else memory.calls.set(key, before);
  };
}

function isNextAttempt({ event }: ReadEvent, known: KnownCall): boolean {
  return event.attempt !== undefined && event.attempt > known.attempt;
}

/** The gateway's own record of this model call: authoritative, so the event adds nothing. */
function carried({ gateway, read }: Taking): string | undefined {
  if (!read.hasRun) return undefined;
  return gateway.admission.carried(read.subject.workspaceId, read.subject.runId, { requestId: read.event.metadata.request_id, stepId: read.event.step_id });
}

/**
 * A question that arrives after its own end, by its sender's clock: reports came out of order and nobody waits for it.
 * It is logged and decides nothing.
 */
function isLate({ enforce, read }: Taking, endedAt: number | undefined): boolean {
  return !enforce && endedAt !== undefined && read.eventAt <= endedAt;
}

function hasEnded(run: RunView | undefined): boolean {
  return run !== undefined && run.status !== 'running' && run.status !== 'paused';
}

function stateRefusal(run: RunView): Refusal | undefined {
  if (run.status === 'running') return undefined;
  if (run.status === 'paused') {
    return { code: 'run_paused', message: `Run ${run.runId} is paused. To go on: POST /v1/runs/${run.runId}/resume.`, details: { run_id: run.runId, run_status: run.status } };
  }
  return { code: 'run_ended', message: `Run ${run.runId} has ended: it is ${run.status}. To go on: start a new run with another id.`, details: { run_id: run.runId, run_status: run.status } };
}

function verdictOf(result: AdmissionResult): Verdict {
  return result.type === 'refused' ? { type: 'denied', refusal: result.refusal } : { type: 'allowed', audits: result.audits };
}

const phaseOf = (call: ReportedCall): PolicyPhase => (call.kind === 'tool' ? 'tool_call' : 'model_request');
const what = (call: ReportedCall): string => `${call.kind === 'tool' ? 'Tool' : 'Model'} ${call.name ?? '(unnamed)'}`;
const endStatus = (status: 'completed' | 'failed' | 'aborted'): 'completed' | 'failed' => (status === 'completed' ? 'completed' : 'failed');

function amount(text: string | undefined): Nanos | undefined {
  return text === undefined ? undefined : parseUsd(text);
}
