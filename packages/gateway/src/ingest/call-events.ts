import type { Nanos, Refusal } from '@runpurse/core';
import type { AdmissionResult, CallRequest, Outcome, Reservation } from '../admit/types.ts';
import type { PolicyPhase } from '../policy/policy.ts';
import { callKey, remember, type KnownCall } from './call-memory.ts';
import type { ReadEvent } from './read-events.ts';
import type { ReportedCall } from './reported-call.ts';
import { logDenial, policyVerdict, stateRefusal } from './rules.ts';
import { hasEnded, isLate, nothing, type Taken, type Taking } from './taking.ts';
import { ALLOWED, SKIPPED, type Verdict } from './verdict.ts';

/** A question about a model call. One that the gateway carries is decided there: here only policy and run state answer. */
export function askModel(taking: Taking): Taken {
  const { gateway, read } = taking;
  const carriedId = carried(taking);
  if (carriedId !== undefined) return nothing(ALLOWED, carriedId);
  if (read.event.metadata.carried !== true) return ask(taking, 'model');
  if (taking.reportsOnly) return nothing(SKIPPED);
  if (hasEnded(taking.run) && isLate(taking, taking.memory.endedAt)) return nothing(SKIPPED);
  const call = taking.readCall('model');
  const result = gateway.admission.check(request(taking, call, 0n));
  // Only a question somebody waits for is logged: else the gateway's own refusal of the call would stand there twice.
  if (result.type === 'refused' && taking.enforce) logDenial(taking, 'model_request', result.refusal, call.name);
  return nothing(verdictOf(result));
}

/** A question about a call: new, asked before, for a further attempt, or arriving after its own end. */
export function ask(taking: Taking, kind: 'model' | 'tool'): Taken {
  const { read, run, memory } = taking;
  const call = taking.readCall(kind);
  const known = knownCall(taking, kind);
  if (taking.reportsOnly) return begin(taking, call, known);
  if (known !== undefined && known.status !== 'denied') {
    const mistaken = kind === 'tool' ? anotherTool(taking, call, known) : undefined;
    if (mistaken !== undefined) return mistaken;
    if (!isNextAttempt(read, known)) {
      if (known.status === 'open' && isOneCall(read, kind))
        return isNamedNow(call, known) ? holdAnew(taking, call, known) : answerOpen(taking, call, known, false);
      if (known.status === 'open') return checkOnly(taking, call, call.hold(read.event.metadata), known.reservationId);
      if (isLate(taking, known.endedAt)) return nothing(SKIPPED, known.reservationId);
      // The same call once more (a resumed graph node does that): asked again, but it was paid for.
      if (known.status === 'completed' && isOneCall(read, kind)) return checkOnly(taking, call, 0n, known.reservationId);
    }
  } else if (known === undefined && hasEnded(run) && isLate(taking, memory.endedAt)) {
    return nothing(SKIPPED);
  }
  return callKey(kind, read.subject) === undefined || !read.hasRun
    ? checkOnly(taking, call, call.hold(read.event.metadata), undefined)
    : hold(taking, call);
}

/** A tool call's id names one call. A step may hold several model calls, unless its sender says that it is one. */
const isOneCall = ({ event }: ReadEvent, kind: 'model' | 'tool'): boolean => kind === 'tool' || event.metadata.one_call === true;

/** It was allowed and is under way, which says nothing of a run that was stopped or paused since. */
function answerOpen(taking: Taking, call: ReportedCall, known: KnownCall, isCopy: boolean): Taken {
  if (hasEnded(taking.run) && isLate(taking, taking.memory.endedAt)) return nothing(SKIPPED, known.reservationId);
  const refusal = taking.run === undefined ? undefined : stateRefusal(taking.run);
  if (refusal === undefined) return nothing(ALLOWED, known.reservationId);
  if (!isCopy) logDenial(taking, phaseOf(call), refusal, call.name);
  return nothing({ type: 'denied', refusal }, known.reservationId);
}

/** Was the call asked for before without saying which tool it is? Then that answer says nothing of this tool. */
const isNamedNow = (call: ReportedCall, known: KnownCall): boolean => (known.name ?? '') === '' && (call.name ?? '') !== '';

function holdAnew(taking: Taking, call: ReportedCall, known: KnownCall): Taken {
  const checked = checkOnly(taking, call, call.hold(taking.read.event.metadata), known.reservationId);
  const { verdict } = checked;
  // What is not yet in the ledger can't be ended there.
  if (known.reservationId === undefined || known.intent !== undefined || !('type' in verdict) || verdict.type === 'denied') return checked;
  taking.gateway.admission.settle(known.reservationId, RELEASED);
  return { ...hold(taking, call), settled: true };
}

/** The id stands for a call of another tool: an answer about that one says nothing of this, and paid for it is not. */
function anotherTool(taking: Taking, call: ReportedCall, known: KnownCall): Taken | undefined {
  const { toolCallId, runId } = taking.read.subject;
  // A call that nobody named is written to the ledger with an empty name.
  const [asked, made] = [call.name ?? '', known.name ?? ''];
  if (toolCallId === undefined || asked === '' || made === '' || asked === made) return undefined;
  const refusal: Refusal = {
    code: 'conflict',
    message: `Tool call ${toolCallId} of run ${runId} is a call of tool ${made}, not ${asked}. Nothing was held or charged. Give each tool call an id of its own.`,
    param: 'tool_call_id',
    details: { run_id: runId },
  };
  logDenial(taking, 'tool_call', refusal, asked);
  return nothing({ type: 'denied', refusal });
}

/** Policy, run state, bounds and budgets answer; nothing is held, because no later event could release it. */
function checkOnly(taking: Taking, call: ReportedCall, worstCase: Nanos | undefined, reservationId: string | undefined): Taken {
  const result = taking.gateway.admission.check(request(taking, call, worstCase));
  if (result.type === 'refused') logDenial(taking, call.kind === 'tool' ? 'tool_call' : 'model_request', result.refusal, call.name);
  return nothing(verdictOf(result), result.type === 'refused' ? undefined : reservationId);
}

/** A call that begins without asking is held whatever the budgets say, until its end is reported; what the rules forbid is a violation. */
function begin(taking: Taking, call: ReportedCall, known: KnownCall | undefined): Taken {
  const { gateway, read, memory } = taking;
  const isKnown = known !== undefined && known.status !== 'denied' && !isNextAttempt(read, known);
  if (isLate(taking, known?.endedAt) || (isKnown && (known.status === 'open' || call.kind === 'tool')))
    return known?.told === undefined ? nothing(SKIPPED, known?.reservationId) : chargeAsBegun(taking, call, known, known.told);
  const violation = ranUnasked(taking, call);
  const key = callKey(call.kind, read.subject);
  if (key === undefined || !read.hasRun) return nothing(violation);
  const asked = request(taking, call, call.hold(read.event.metadata));
  const begun = gateway.admission.takeOn(asked).then(() => {
    opened.intent = undefined;
  });
  if (isLate(taking, memory.endedAt)) gateway.admission.expireSoon(asked.id);
  const opened: KnownCall = {
    name: call.name,
    attempt: gateway.admission.reservation(asked.id)?.attempt ?? 1,
    status: 'open',
    reservationId: asked.id,
    askedAt: read.eventAt,
    endedAt: undefined,
    refusal: undefined,
    intent: begun,
  };
  return {
    reservationId: asked.id,
    verdict: violation,
    writes: [begun],
    settled: false,
    begun: true,
    forget: remember(memory, key, opened),
  };
}

/** The start of a call that was told as over without a figure says what it may have cost: that is held in place of what was, and charged. */
function chargeAsBegun(taking: Taking, call: ReportedCall, known: KnownCall, told: Outcome): Taken {
  const { gateway, read, memory } = taking;
  const { admission } = gateway;
  const before = known.reservationId;
  // Else it was due, and is charged.
  if (before === undefined || admission.reservation(before) === undefined) return nothing(SKIPPED, before);
  const asked = request(taking, call, call.hold(read.event.metadata));
  const charged = admission.takeOn(asked, told).then(() => {
    const gaveWay = admission.settle(before, RELEASED) !== undefined;
    admission.settle(asked.id, gaveWay ? told : RELEASED);
  });
  return {
    reservationId: asked.id,
    verdict: isNamedNow(call, known) ? ranUnasked(taking, call) : SKIPPED,
    writes: [charged],
    settled: false,
    begun: true,
    forget: remember(memory, callKey(call.kind, read.subject), { ...known, name: call.name, reservationId: asked.id, told: undefined }),
  };
}

/** Holds the call's worst case under its key, or remembers that it was refused. */
function hold(taking: Taking, call: ReportedCall): Taken {
  const { gateway, read, memory } = taking;
  const asked = request(taking, call, call.hold(read.event.metadata));
  const admitted = gateway.admission.admit(asked);
  // Decided already; what is awaited is only that the intent is durable.
  const reservation = gateway.admission.reservation(asked.id);
  const known: KnownCall = {
    name: call.name,
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
export function endCall(taking: Taking, kind: 'model' | 'tool', byType: 'completed' | 'failed'): Taken {
  const { gateway, read, memory } = taking;
  const { admission } = gateway;
  const { metadata } = read.event;
  const open = openCall(taking, kind);
  // Of an attempt that is under way it is the end, whatever is known of others.
  const isOfOpen = open !== undefined && open.attempt === read.event.attempt;
  if (kind === 'model') {
    const carriedId = carried(taking);
    if (metadata.carried === true || (carriedId !== undefined && !isOfOpen)) return nothing(SKIPPED, carriedId);
  }
  const isRelease = metadata.released === true && byType === 'failed';
  const status = metadata.status === 'aborted' ? 'aborted' : byType;
  const call = taking.readCall(kind);
  const known = knownCall(taking, kind);
  const key = callKey(kind, read.subject);
  if (known !== undefined && known.status !== 'open' && !isOfOpen && isAlreadyTold(read, kind, known, endStatus(status))) {
    known.endedAt ??= read.eventAt;
    return nothing(SKIPPED, known.reservationId);
  }
  if (open !== undefined) {
    const outcome: Outcome = isRelease ? RELEASED : call.outcome(metadata, status, open);
    const ended: KnownCall = {
      name: open.name,
      attempt: open.attempt,
      status: endStatus(status),
      reservationId: open.id,
      askedAt: known?.askedAt,
      endedAt: read.eventAt,
      refusal: undefined,
      intent: undefined,
    };
    // Of two attempts under way the later one is what is known of the call.
    const forget = known !== undefined && known.attempt > ended.attempt ? () => undefined : remember(memory, key, ended);
    if (known?.intent === undefined) {
      admission.settle(open.id, outcome);
      return { ...nothing(SKIPPED, open.id), settled: true, forget };
    }
    // Asked in this very batch: what is not yet in the ledger can't be settled there.
    return { ...nothing(SKIPPED, open.id), writes: [known.intent.then(() => admission.settle(open.id, outcome))], forget };
  }
  if (known !== undefined && read.event.attempt !== undefined && read.event.attempt < known.attempt && isOneCall(read, kind))
    return nothing(SKIPPED); // An earlier attempt, whose end was told.
  if (known?.status === 'open' && !isNextAttempt(read, known)) {
    // Its hold is gone: timed out and charged, or taken over by a call that the gateway carried.
    known.status = endStatus(status);
    known.endedAt = read.eventAt;
    return nothing(SKIPPED, known.reservationId);
  }
  if (isRelease) return nothing(SKIPPED); // Nothing was held for it.
  // What was denied and then "fails" was not run: the adapter reports its own no.
  if (known?.status === 'denied' && (endStatus(status) === 'failed' || metadata.status === 'denied')) return nothing(SKIPPED);

  const outcome = call.outcome(metadata, status, undefined);
  const hasNoFigure = taking.reportsOnly && kind === 'model' && key !== undefined && read.hasRun && outcome.cost === undefined;
  if (hasNoFigure && known !== undefined && known.status !== 'denied' && !isNextAttempt(read, known))
    return nothing(SKIPPED, known.reservationId); // Its end told once more.
  const violation = known?.status === 'denied' ? refusedButRan(taking, call, known) : ranUnasked(taking, call);
  const asked = request(taking, call, hasNoFigure ? call.hold(metadata) : undefined);
  const charged = hasNoFigure ? admission.takeOn(asked, outcome) : admission.charge(asked, outcome);
  const told: KnownCall = {
    name: call.name,
    attempt: read.event.attempt ?? 1,
    status: endStatus(status),
    reservationId: asked.id,
    askedAt: undefined,
    endedAt: read.eventAt,
    refusal: undefined,
    intent: undefined,
    told: hasNoFigure ? outcome : undefined,
  };
  return {
    reservationId: asked.id,
    verdict: violation,
    writes: [charged],
    settled: false,
    begun: true,
    forget: remember(memory, key, told),
  };
}

/** The hold that an event's call has, of its own attempt where it says which. */
function openCall({ gateway, read }: Taking, kind: 'model' | 'tool'): Reservation | undefined {
  const key = callKey(kind, read.subject);
  if (key === undefined || !read.hasRun) return undefined;
  const { workspaceId, runId } = read.subject;
  return gateway.admission.findOpen(workspaceId, runId, kind, key.slice(kind.length + 1), read.event.attempt);
}

/**
 * Is this report about an end that is known already? A tool call id names one call, so every later report of the attempt
 * is. A step may hold several model calls, so only a report of the same moment is.
 */
function isAlreadyTold(read: ReadEvent, kind: 'model' | 'tool', known: KnownCall, status: KnownCall['status']): boolean {
  if (known.status === 'denied' || isNextAttempt(read, known)) return false;
  // The result handed to the model is a second report of whatever end the call had.
  if (isOneCall(read, kind))
    return known.status === 'completed' || status === known.status || !read.timestampGiven || read.event.type === 'tool.result.received';
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
  logDenial(taking, phaseOf(call), denied, call.name, true);
  return { type: 'denied', refusal: denied };
}

/** It was made without asking: the rules look at it now, and what they would have denied is a violation. */
function ranUnasked(taking: Taking, call: ReportedCall): Verdict {
  const phase = phaseOf(call);
  const verdict = policyVerdict(
    taking,
    phase,
    call,
    true,
    (rule, reason) => `${what(call)} ran without asking, and rule "${rule}" forbids it: ${reason}. Its cost is charged.`,
  );
  return verdict.type === 'denied' ? verdict : SKIPPED;
}

/** A second copy of a question gets the first one's answer, and is logged no second time. */
export function askAgain(taking: Taking, kind: 'model' | 'tool'): Taken {
  const { gateway, read, run, memory } = taking;
  const carriedId = kind === 'model' ? carried(taking) : undefined;
  if (carriedId !== undefined) return nothing(ALLOWED, carriedId);
  const known = knownCall(taking, kind);
  if (known !== undefined && known.status !== 'denied')
    return isLate(taking, known.endedAt) ? nothing(SKIPPED, known.reservationId) : answerOpen(taking, taking.readCall(kind), known, true);
  if (known === undefined && hasEnded(run) && isLate(taking, memory.endedAt)) return nothing(SKIPPED);
  const call = taking.readCall(kind);
  const isCarried = kind === 'model' && read.event.metadata.carried === true;
  const again = gateway.admission.check(request(taking, call, isCarried ? 0n : call.hold(read.event.metadata)));
  if (again.type === 'refused' || known === undefined) return nothing(verdictOf(again));
  // It was denied, and would not be any more: then it is a new question.
  return hold(taking, call);
}

function request(taking: Taking, call: ReportedCall, worstCase: Nanos | undefined): CallRequest {
  const { read, gateway } = taking;
  const { input_hash } = read.event;
  return {
    subject: read.subject,
    kind: call.kind,
    name: call.name ?? '',
    provider: call.provider,
    source: 'self_reported',
    leavesEvent: true,
    id: gateway.ids.next('auth'),
    hold: worstCase,
    fingerprint: input_hash === undefined ? undefined : () => `${call.kind}:${call.name ?? ''}:${input_hash}`,
  };
}

function knownCall({ memory, read, gateway }: Taking, kind: 'model' | 'tool'): KnownCall | undefined {
  const key = callKey(kind, read.subject);
  if (key === undefined || !read.hasRun) return undefined;
  const { workspaceId, runId, toolCallId } = read.subject;
  const { admission } = gateway;
  const told = memory.calls.get(key);
  if (told !== undefined || kind === 'model' || toolCallId === undefined || !admission.toolCallKnown(workspaceId, runId, toolCallId))
    return told;
  // Authorized over the API (`/v1/tools/authorize`), so no event spoke of it before.
  const open = admission.findOpen(workspaceId, runId, 'tool', toolCallId);
  const known: KnownCall = {
    name: open?.name,
    attempt: open?.attempt ?? 1,
    status: open === undefined ? 'completed' : 'open',
    reservationId: open?.id,
    askedAt: undefined,
    endedAt: undefined,
    refusal: undefined,
    intent: undefined,
  };
  memory.calls.set(key, known);
  return known;
}

function isNextAttempt({ event }: ReadEvent, known: KnownCall): boolean {
  return event.attempt !== undefined && event.attempt > known.attempt;
}

/** The gateway's own record of this model call: authoritative, so the event adds nothing. */
function carried({ gateway, read }: Taking): string | undefined {
  if (!read.hasRun) return undefined;
  return gateway.admission.carried(read.subject.workspaceId, read.subject.runId, {
    requestId: read.event.metadata.request_id,
    stepId: read.event.step_id,
  });
}

function verdictOf(result: AdmissionResult): Verdict {
  return result.type === 'refused' ? { type: 'denied', refusal: result.refusal } : { type: 'allowed', audits: result.audits };
}

const RELEASED: Outcome = { status: 'released', cost: 0n };
const phaseOf = (call: ReportedCall): PolicyPhase => (call.kind === 'tool' ? 'tool_call' : 'model_request');
const what = (call: ReportedCall): string => `${call.kind === 'tool' ? 'Tool' : 'Model'} ${call.name ?? '(unnamed)'}`;
const endStatus = (status: 'completed' | 'failed' | 'aborted'): 'completed' | 'failed' => (status === 'completed' ? 'completed' : 'failed');
