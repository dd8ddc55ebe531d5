import type { ReportedBounds } from '@runpurse/core';
import type { StartRun } from '../admit/types.ts';
import { BOUND_NAMES, type BoundName } from '../config/config.ts';
import { logDenial, policyVerdict, stateRefusal } from './rules.ts';
import { amount, hasEnded, isLate, nothing, type Taken, type Taking } from './taking.ts';
import { ALLOWED, SKIPPED, type Verdict } from './verdict.ts';

/** A run begins, with its own cap and bounds. What a rule denies does not begin. */
export function beginRun(taking: Taking): Taken {
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

/** A run is over: its status, reason and finance, once. */
export function endRun(taking: Taking, status: 'completed' | 'failed'): Taken {
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
  const reason = metadata.message === undefined || metadata.message === '' ? undefined : metadata.message.slice(0, 1000);
  const ended = admission.endRun(read.subject, { status: metadata.status === 'stopped' ? 'stopped' : status, reason, ...amounts });
  if (!hasEnded(run)) return { ...nothing(SKIPPED), writes: [ended], forget };
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

/** Revenue, payments or fees, also after the end. */
export function bookFinance({ gateway, read }: Taking): Taken {
  const { revenue_usd, outbound_usd, fees_usd } = read.event.metadata;
  if (!read.hasRun || (revenue_usd === undefined && outbound_usd === undefined && fees_usd === undefined)) return nothing(SKIPPED);
  return {
    ...nothing(SKIPPED),
    writes: [
      gateway.admission.bookFinance(read.subject, { revenue: amount(revenue_usd), outbound: amount(outbound_usd), fees: amount(fees_usd) }),
    ],
  };
}

/** A step, handoff, approval or checkpoint begins: the `run_update` rules are asked and, if somebody waits, the run's state. */
export function updateRun(taking: Taking): Taken {
  return nothing(mayUpdate(taking, true));
}

/** Someone is asked. A sender that says its run waits for the answer (`status: paused`) leaves it paused until it is resumed or ended. */
export function requestApproval(taking: Taking): Taken {
  const { gateway, read, run } = taking;
  const taken = updateRun(taking);
  if (read.event.metadata.status !== 'paused' || run?.status !== 'running') return taken;
  return { ...taken, writes: [gateway.admission.controlRun(read.subject, 'pause', read.event.metadata.message?.slice(0, 1000))] };
}

/** A second copy of a run update or a run's begin: the same answer, logged no second time. */
export function updateAgain(taking: Taking): Taken {
  return nothing(mayUpdate(taking, false));
}

function mayUpdate(taking: Taking, log: boolean): Verdict {
  const { read, run, memory } = taking;
  const verdict = policyVerdict(taking, 'run_update', undefined, log);
  if (verdict.type === 'denied' || !taking.enforce || run === undefined) return verdict;
  const refusal = isLate(taking, memory.endedAt) ? undefined : stateRefusal(run);
  if (refusal === undefined) return verdict.type === 'skipped' ? ALLOWED : verdict;
  if (log) logDenial(taking, 'run_update', refusal, read.event.name);
  return { type: 'denied', refusal };
}
