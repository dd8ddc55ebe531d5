import { formatUsd, type Nanos, type Refusal } from '@runpurse/core';
import type { RuleMatch } from '../policy/policy.ts';
import type { BoundHit } from './bounds.ts';
import { budgetName, type BudgetMatch } from './budget-book.ts';
import type { RunState } from './run-state.ts';
import type { CallRequest } from './types.ts';
import { windowResetsAt } from './windows.ts';

/** Every no of admission in words: what was refused, by what, the amounts, what to do. Read at 2 a.m. */

const what = (call: CallRequest): string => `the ${call.kind === 'model' ? 'call to model' : 'call of tool'} ${call.name}`;

/** Dollars for a sentence. */
const usd = (nanos: Nanos): string => `$${formatUsd(nanos)}`;

export function budgetRefusal(options: {
  readonly call: CallRequest;
  readonly match: BudgetMatch;
  readonly needed: Nanos;
  readonly settled: Nanos;
  readonly held: Nanos;
  readonly paused: boolean;
  readonly now: number;
}): Refusal {
  const { call, match, needed, settled, held, paused, now } = options;
  const name = budgetName(match.budget);
  const { scope, window } = match.budget.config;
  const left = match.limit - settled - held;
  const resetsAt = windowResetsAt(window, now);
  const where = scope === 'request' ? 'one request may cost' : `${scope} ${match.scopeId} may spend`;
  const standing =
    scope === 'request'
      ? ''
      : ` ${usd(left > 0n ? left : 0n)} is left (settled ${usd(settled)}${held > 0n ? `, held by calls in flight ${usd(held)}` : ''}).`;
  const todo = [
    'Raise the budget',
    call.kind === 'model' ? 'lower max_tokens or use a cheaper model' : undefined,
    resetsAt === undefined ? undefined : `wait until ${resetsAt}`,
    scope === 'run' && !paused ? 'start a new run' : undefined,
  ].filter((text) => text !== undefined);
  return {
    code: 'budget_exceeded',
    message:
      `Budget "${name}" refused ${what(call)} before it was made: it can cost up to ${usd(needed)}, and ${where} ${usd(match.limit)}` +
      `${window === 'lifetime' ? '' : ` per ${window}`}.${standing} Nothing was called or charged.` +
      `${paused ? ` Run ${call.subject.runId} is paused and goes on when the budget has room.` : ''} To go on: ${todo.join(', or ')}.`,
    blockedBy: name,
    details: {
      budget_id: match.budget.budgetId,
      scope,
      scope_id: match.scopeId,
      window,
      limit_usd: formatUsd(match.limit),
      settled_usd: formatUsd(settled),
      held_usd: formatUsd(held),
      remaining_usd: formatUsd(left > 0n ? left : 0n),
      needed_usd: formatUsd(needed),
      run_id: call.subject.runId,
      ...(paused ? { run_status: 'paused' } : {}),
      ...(resetsAt === undefined ? {} : { resets_at: resetsAt }),
    },
  };
}

/** The same idempotency key as a call that is under way or was charged. */
export function madeAlreadyRefusal(run: RunState, requestId: string): Refusal {
  return {
    code: 'conflict',
    message:
      `This call was sent before: request ${requestId} of run ${run.runId} has its idempotency key and is under way or was charged. ` +
      `Nothing was called or charged again. What it cost is in GET /v1/runs/${encodeURIComponent(run.runId)}. To make another call, send another key.`,
    param: 'runpurse-idempotency-key',
    details: { run_id: run.runId, request_id: requestId },
  };
}

const BOUND_TEXT: Readonly<Record<BoundHit['bound'], (hit: BoundHit) => string>> = {
  max_runtime_s: (hit) => `it has run for ${Math.round(hit.reached)} s and may run for ${hit.limit} s`,
  max_steps: (hit) => `it may take ${hit.limit} steps and this would be number ${hit.reached}`,
  max_requests: (hit) => `it may make ${hit.limit} model calls and this would be number ${hit.reached}`,
  max_tool_calls: (hit) => `it may call tools ${hit.limit} times and this would be number ${hit.reached}`,
  max_retries: (hit) => `it may retry ${hit.limit} times and this would be number ${hit.reached}`,
  max_repeats: (hit) => `the same call came ${hit.reached} times in a row and ${hit.limit} are let through: it looks like a loop`,
};

export function boundRefusal(call: CallRequest, hit: BoundHit): Refusal {
  return {
    code: 'budget_exceeded',
    message:
      `Bound ${hit.bound} of ${hit.scope} ${hit.id} refused ${what(call)} before it was made: ${BOUND_TEXT[hit.bound](hit)}. ` +
      `Nothing was called or charged. To go on: raise the bound, or start a new ${hit.scope}.`,
    blockedBy: `${hit.scope}.${hit.bound}`,
    details: {
      bound: hit.bound,
      scope: hit.scope,
      scope_id: hit.id,
      limit: hit.limit,
      reached: Math.round(hit.reached),
      run_id: call.subject.runId,
    },
  };
}

export function policyRefusal(call: CallRequest, by: RuleMatch): Refusal {
  return {
    code: 'policy_denied',
    message: `Policy rule "${by.rule}" refused ${what(call)} before it was made: ${by.reason}. Nothing was called or charged. To go on: use what the policy allows, or ask its owner to change rule "${by.rule}".`,
    blockedBy: by.rule,
    details: { rule: by.rule, rule_revision: by.revision, run_id: call.subject.runId },
  };
}

export function priceRefusal(call: CallRequest, budget: string): Refusal {
  const { unbounded } = call;
  const why =
    unbounded?.message ??
    `The price of model ${call.name}${call.provider === undefined ? '' : ` at provider ${call.provider}`} is not known, so neither is the most this call can cost.`;
  const todo =
    unbounded === undefined
      ? 'state its price under prices: (or a fallback_price:) in runpurse.yaml; a local model is free when its prices are "0"'
      : 'give the call that bound, or state the limits under prices: in runpurse.yaml';
  return {
    code: 'price_unknown',
    message: `${why} Budget "${budget}" can't be kept without it. Nothing was called or charged. To go on: ${todo}.`,
    param: unbounded?.param ?? 'model',
    blockedBy: budget,
    details: { model: call.name, run_id: call.subject.runId, ...(call.provider === undefined ? {} : { provider: call.provider }) },
  };
}

export function rateRefusal(keyId: string, perMinute: number, retryAfterSeconds: number): Refusal {
  return {
    code: 'rate_limited',
    message: `Key ${keyId} made ${perMinute} calls within a minute, which is its cap. Nothing was called or charged. Try again in ${retryAfterSeconds} s; only the operator raises the cap (rate.requests_per_minute in runpurse.yaml).`,
    blockedBy: 'rate.requests_per_minute',
    details: { limit: perMinute },
    retryAfterSeconds,
  };
}

/** The run's state forbids further calls. */
export function runStateRefusal(run: RunState): Refusal {
  const why = run.statusReason === undefined ? '' : ` (${run.statusReason})`;
  if (run.status === 'paused') {
    return {
      code: 'run_paused',
      message: `Run ${run.runId} is paused${why}. Nothing was called or charged. To go on: POST /v1/runs/${run.runId}/resume.`,
      details: { run_id: run.runId, run_status: run.status },
    };
  }
  return {
    code: 'run_ended',
    message: `Run ${run.runId} has ended: it is ${run.status}${why}. Nothing was called or charged. To go on: start a new run with another id.`,
    details: { run_id: run.runId, run_status: run.status },
  };
}

export function sessionConflict(run: RunState, claimed: string): Refusal {
  return {
    code: 'context_conflict',
    message: `Run ${run.runId} belongs to session ${run.sessionId ?? '(none)'}, but this call says session ${claimed}. Nothing was called or charged. To go on: keep one session per run, or use a new run id.`,
    param: 'Alephant-Session-Id',
    details: { run_id: run.runId },
  };
}

export function unknownRunRefusal(runId: string): Refusal {
  return {
    code: 'not_found',
    message: `There is no run ${runId} in this workspace. Check the id, and that the key belongs to the run's workspace.`,
    details: { run_id: runId },
  };
}

/** What a failing ledger answers: nothing was called, nothing is charged. */
export const LEDGER_UNAVAILABLE: Refusal = {
  code: 'ledger_unavailable',
  message:
    'The ledger cannot be written or read right now, so nothing was done and nothing is charged. Try again once GET /readyz answers 200; the gateway log names the cause.',
};
