import type { RunShape, SessionShape } from '@runpurse/core';

/** An entry of `GET /v1/events`, as far as the trace reads it. */
export interface LoggedEvent {
  readonly at: string;
  readonly data: { readonly event_type?: string; readonly event?: { readonly metadata?: { readonly message?: string } } };
}

/** What happened in a run, in the article's words; every figure is the gateway's. */
export function traceOf(run: RunShape, failures: readonly LoggedEvent[]): readonly string[] {
  const reasons = failures.map(({ data }) => data.event?.metadata?.message ?? 'failed attempt');
  const calls = [...run.requests, ...run.tools].sort((a, b) => a.started_at.localeCompare(b.started_at));
  const lines = calls.flatMap((call) => {
    if ('tool' in call) return [`-> tool.call ${call.tool}`];
    if (call.status === 'refused') return ['-> llm.request refused'];
    const request = `-> llm.request ${dollars(call.cost_usd)}`;
    return call.attempt > 1 ? [`-> retry ${reasons.shift() ?? ''}`, request] : [request];
  });
  return [
    `${run.agent_id ?? ''}.${run.run_id}`,
    ...lines,
    `-> run.${run.status}`,
    `total run cost: ${dollars(run.cost.total_usd)}`,
    `  model ${dollars(run.cost.model_usd)}   tool ${dollars(run.cost.tool_usd)}   retry ${dollars(run.cost.retry_usd)}`,
  ];
}

/** The tightest limit on the run itself. */
export function capOf(run: RunShape): string {
  const limits = run.budgets.filter(({ scope }) => scope === 'run').map(({ limit_usd }) => limit_usd);
  return dollars(limits.toSorted((a, b) => Number(a) - Number(b))[0] ?? null);
}

/** A session over its runs, and what was earned with it. */
export function sessionLines(session: SessionShape): readonly string[] {
  const runs = session.runs.toSorted((a, b) => a.started_at.localeCompare(b.started_at));
  const name = (runId: string): string => runId.replaceAll('_', ' ');
  const width = Math.max(...runs.map(({ run_id }) => run_id.length));
  return [
    `session: ${session.session_id}`,
    ...runs.map((run, index) => `run ${index + 1}  ${name(run.run_id).padEnd(width)}  ${dollars(run.cost.total_usd)}`),
    `session cost: ${dollars(session.cost.total_usd)}`,
    `sold for: ${dollars(session.revenue_usd)}`,
    `known margin: ${dollars(session.margin.known_usd)} (${session.margin.percent ?? '?'} %)`,
  ];
}

/** A decimal amount as people write it: at least two decimals, the sign before the dollar. */
function dollars(amount: string | null): string {
  if (amount === null) return 'unknown';
  const [whole = '0', fraction = ''] = amount.replace('-', '').split('.');
  return `${amount.startsWith('-') ? '-' : ''}$${whole}${fraction === '' && whole === '0' ? '' : `.${fraction.padEnd(2, '0')}`}`;
}
