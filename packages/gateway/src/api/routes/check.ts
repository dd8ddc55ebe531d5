import { z } from 'zod';
import { budgetStateShape, formatUsd, type Nanos, type Refusal } from '@runpurse/core';
import { budgetName } from '../../admit/budget-book.ts';
import type { BudgetState, CallRequest, RunView, Subject } from '../../admit/types.ts';
import type { Gateway } from '../../gateway.ts';
import { budgetStatesFor } from '../read-views.ts';
import { answer, refused, route, type AnyRoute } from '../route.ts';
import { amount, identifier } from '../shapes.ts';
import { subjectOf } from '../subject.ts';
import { marginNanos } from '../../views/index.ts';

const TOKENS_MAX = 1_000_000_000;

const checkInput = z.strictObject({
  run_id: identifier.optional(),
  session_id: identifier.optional(),
  workflow_id: identifier.optional(),
  agent_id: identifier.optional(),
  agent_name: identifier.optional(),
  customer_id: identifier.optional(),
  step_id: identifier.optional(),
  attempt: z.number().int().min(1).max(1_000_000).optional(),
  model: identifier.optional().describe('`provider/model` or a bare name, as on the model path'),
  tool: identifier.optional(),
  endpoint_id: identifier.optional().describe('Without it: the workflow, else the agent'),
  estimated_cost_usd: amount.optional().describe('What the next call may cost; without it the model or tool price says'),
  input_tokens: z.number().int().min(0).max(TOKENS_MAX).optional(),
  max_output_tokens: z.number().int().min(0).max(TOKENS_MAX).optional(),
});
type CheckInput = z.output<typeof checkInput>;

const verdictShape = z.object({
  answer: z.boolean().nullable().describe('null: unknown, and `reason` says why'),
  reason: z.string(),
  code: z.string().optional().describe('Refusal code, when a call would be refused'),
  blocked_by: z.string().optional(),
  details: z.record(z.string(), z.union([z.string(), z.number(), z.boolean(), z.null()])).optional(),
});
type Verdict = z.output<typeof verdictShape>;

const checkReply = z.object({
  allowed: z.boolean().describe('False when any of the questions that concern this call is answered no'),
  answers: z.object({
    continue_run: verdictShape.describe('May this run go on?'),
    call_tool: verdictShape.describe('May this tool be called?'),
    use_model: verdictShape.describe('May this model be used?'),
    session_within_budget: verdictShape.describe('Is this session within budget?'),
    endpoint_profitable: verdictShape.describe('Will this endpoint stay profitable? Advice: it does not change `allowed`'),
    stop_run: verdictShape.describe('Should this run stop?'),
  }),
  budgets: z.array(budgetStateShape).describe('Every budget that applies, as it stands'),
});

const unknown = (reason: string): Verdict => ({ answer: null, reason });
const no = (refusal: Refusal): Verdict => ({
  answer: false,
  reason: refusal.message,
  code: refusal.code,
  ...(refusal.blockedBy === undefined ? {} : { blocked_by: refusal.blockedBy }),
  ...(refusal.details === undefined ? {} : { details: { ...refusal.details } }),
});

/** Everything an answer is drawn from, read once so that the six agree with each other. */
interface Question {
  readonly input: CheckInput;
  readonly subject: Subject;
  readonly run: RunView | undefined;
  readonly budgets: readonly BudgetState[];
}

/** The six questions of the article, answered without acting: nothing is held, logged or begun. */
export function checkRoutes(gateway: Gateway): readonly AnyRoute[] {
  const { admission, clock, config, prices, providers, store } = gateway;

  return [
    route({
      method: 'post',
      path: '/v1/check',
      tag: 'check',
      summary: 'May this go on? Six answers, without acting',
      description:
        'State what you know; what can not be answered is null with the reason. Nothing is held, logged or begun, and no rate is used up.',
      body: checkInput,
      answers: { 200: { description: 'The answers', shape: checkReply } },
      refusals: ['identity_forged'],
      async handle({ body, caller }) {
        const claimed = subjectOf(caller, { ...body, run_id: body.run_id ?? '' });
        if ('code' in claimed) return refused(claimed);
        const run = body.run_id === undefined ? undefined : admission.run(caller.workspaceId, body.run_id);
        const subject: Subject = {
          ...claimed,
          // A check without a run asks about a run of its own, as a call without run id would be.
          runId: body.run_id ?? gateway.ids.next('run'),
          implicitRun: body.run_id === undefined,
          sessionId: claimed.sessionId ?? run?.sessionId,
          workflowId: claimed.workflowId ?? run?.workflowId,
          agentId: claimed.agentId ?? run?.agentId,
          customerId: claimed.customerId ?? run?.customerId,
          memberId: claimed.memberId ?? run?.memberId,
        };
        const question: Question = { input: body, subject, run, budgets: admission.budgetStates(subject) };
        const tool = callTool(question);
        const model = useModel(question);
        const session = sessionWithinBudget(question);
        const goOn = continueRun(question, [tool, model]);
        const answers = {
          continue_run: goOn,
          call_tool: tool,
          use_model: model,
          session_within_budget: session,
          endpoint_profitable: await endpointProfitable(question),
          stop_run: stopRun(question, goOn),
        };
        const allowed = [goOn, tool, model, session].every((verdict) => verdict.answer !== false);
        return answer({ allowed, answers, budgets: budgetStatesFor(gateway, subject) });
      },
    }),
  ];

  type Asked = { readonly type: 'allowed'; readonly hold: Nanos } | { readonly type: 'denied'; readonly verdict: Verdict };

  function ask(question: Question, call: Pick<CallRequest, 'kind' | 'name' | 'provider' | 'hold' | 'fit'>): Asked {
    const source = call.kind === 'model' ? 'gateway' : 'self_reported';
    const result = admission.check({ subject: question.subject, source, id: gateway.ids.next('req'), ...call });
    return result.type === 'refused' ? { type: 'denied', verdict: no(result.refusal) } : { type: 'allowed', hold: result.reservation.hold };
  }

  function callTool(question: Question): Verdict {
    const { tool, estimated_cost_usd: estimate } = question.input;
    if (tool === undefined) return unknown('No tool was named.');
    const hold = config.tools.find(({ name }) => name === tool)?.price_usd ?? estimate;
    const asked = ask(question, { kind: 'tool', name: tool, hold });
    if (asked.type === 'denied') return asked.verdict;
    return hold === undefined
      ? { answer: true, reason: `Tool ${tool} may be called. Its price is unknown, so its cost is not checked against a budget.` }
      : {
          answer: true,
          reason: `Tool ${tool} may be called; it costs up to $${formatUsd(hold)}.`,
          details: { needed_usd: formatUsd(hold) },
        };
  }

  function useModel(question: Question): Verdict {
    const { model, estimated_cost_usd: estimate, input_tokens: input, max_output_tokens: output } = question.input;
    if (model === undefined) return unknown('No model was named.');
    const resolved = providers.resolve(model, 'openai');
    const found = resolved.type === 'found' ? resolved : providers.resolve(model, 'anthropic');
    if (found.type === 'refused') return no(found.refusal);
    const { provider, model: name } = found;
    const card = prices.find({ name: provider.name, kind: provider.kind, priceAs: provider.config.price_as }, name);
    const outputTokens = output ?? card?.outputTokensMax;
    const isSized = input !== undefined && outputTokens !== undefined;
    const worst =
      card !== undefined && isSized ? card.worstCase({ inputTokens: input, outputTokens, webSearches: 0, audioOutput: false }) : undefined;
    const isPriced = card !== undefined || config.fallback_price !== undefined;
    // Without a size the call's own cost can't be told: then only what any call needs is checked, a cent's fraction of room.
    const hold = estimate ?? worst ?? (isPriced ? 1n : undefined);
    const bounds = { inputTokens: input ?? 0, outputTokens: outputTokens ?? 0, webSearches: 0, audioOutput: false };
    const fit = (available: Nanos, mayClamp: boolean): Nanos | undefined => {
      const tokens = mayClamp && isSized && estimate === undefined ? card?.outputTokensWithin(available, bounds) : undefined;
      return tokens === undefined ? undefined : card?.worstCase({ ...bounds, outputTokens: tokens });
    };
    const asked = ask(question, { kind: 'model', name, provider: provider.name, hold, fit });
    if (asked.type === 'denied') return asked.verdict;
    const needed = estimate ?? worst;
    const details = { provider: provider.name };
    if (needed !== undefined && asked.hold < needed) {
      return {
        answer: true,
        reason: `Model ${name} at ${provider.name} may be used with a shorter output: the budget lets the call cost up to $${formatUsd(asked.hold)} of $${formatUsd(needed)}.`,
        details: { ...details, needed_usd: formatUsd(needed), clamped_to_usd: formatUsd(asked.hold) },
      };
    }
    if (needed !== undefined) {
      return {
        answer: true,
        reason: `Model ${name} at ${provider.name} may be used; the call costs up to $${formatUsd(needed)}.`,
        details: { ...details, needed_usd: formatUsd(needed) },
      };
    }
    return {
      answer: true,
      reason: `Model ${name} at ${provider.name} may be used. ${isPriced ? 'State input_tokens and max_output_tokens, or estimated_cost_usd, to have the cost of the call checked too.' : 'Its price is unknown, and no hard budget needs it.'}`,
      details,
    };
  }

  /** A hard budget of these scopes that has no room for the call. */
  function exhausted(question: Question, scopes?: readonly string[]): BudgetState | undefined {
    const needed = question.input.estimated_cost_usd ?? 1n;
    return question.budgets.find(
      ({ budget, remaining }) =>
        budget.config.action !== 'alert_only' && remaining < needed && (scopes === undefined || scopes.includes(budget.config.scope)),
    );
  }

  function sessionWithinBudget(question: Question): Verdict {
    const { sessionId } = question.subject;
    if (sessionId === undefined) return unknown('No session was named, and the run belongs to none.');
    const states = question.budgets.filter(({ budget }) => budget.config.scope === 'session');
    if (states.length === 0) return unknown(`No budget applies to session ${sessionId}.`);
    const over = states.find(({ remaining }) => remaining < (question.input.estimated_cost_usd ?? 1n));
    const told = over ?? states.reduce((least, state) => (state.remaining < least.remaining ? state : least));
    const figures = `$${formatUsd(told.remaining)} of $${formatUsd(told.limit)} is left`;
    return {
      answer: over === undefined,
      reason:
        over === undefined
          ? `Session ${sessionId} is within budget: ${figures}.`
          : `Session ${sessionId} has no room for this: ${figures}.`,
      ...(over === undefined ? {} : { code: 'budget_exceeded' }),
      details: budgetDetails(told),
    };
  }

  function continueRun(question: Question, calls: readonly Verdict[]): Verdict {
    const { run, input } = question;
    const { run_id: runId } = input;
    const empty = exhausted(question);
    // A run that began now would be refused: that is known without naming one.
    if (runId === undefined) return empty === undefined ? unknown('No run was named.') : noRoom(empty);
    if (run !== undefined && run.status !== 'running' && run.status !== 'paused')
      return {
        answer: false,
        code: 'run_ended',
        reason: `Run ${runId} has ended: it is ${run.status}. Start a new run with another id.`,
        details: { run_status: run.status },
      };
    if (run?.status === 'paused')
      return {
        answer: false,
        code: 'run_paused',
        reason: `Run ${runId} is paused. Raise its budget, or POST /v1/runs/${runId}/resume.`,
        details: { run_status: run.status },
      };
    const overrun = run === undefined ? undefined : boundReached(run);
    if (overrun !== undefined) return overrun;
    if (empty !== undefined) return noRoom(empty);
    const blocked = calls.find(
      (verdict) => verdict.answer === false && verdict.code !== 'policy_denied' && verdict.code !== 'model_not_found',
    );
    if (blocked !== undefined) return blocked;
    return run === undefined
      ? { answer: true, reason: `Run ${runId} has not begun here; nothing forbids it.` }
      : {
          answer: true,
          reason: `Run ${runId} may go on; it has cost $${formatUsd(run.spent)} so far.`,
          details: { run_status: run.status, spent_usd: formatUsd(run.spent) },
        };
  }

  function noRoom(state: BudgetState): Verdict {
    const name = budgetName(state.budget);
    return {
      answer: false,
      code: 'budget_exceeded',
      blocked_by: name,
      reason: `Budget ${name} has $${formatUsd(state.remaining)} of $${formatUsd(state.limit)} left, which is not enough to go on. Raise it to continue.`,
      details: budgetDetails(state),
    };
  }

  /** Bounds that end a run whatever it does next; those on one kind of call are answered with that call. */
  function boundReached(run: RunView): Verdict | undefined {
    const seconds = (clock.now() - run.startedAt) / 1000;
    for (const bound of config.bounds) {
      if (
        bound.scope !== 'run' ||
        (bound.id !== '*' && bound.id !== run.runId) ||
        (bound.workspace !== undefined && bound.workspace !== run.workspaceId)
      )
        continue;
      if (bound.max_runtime_s !== undefined && seconds > bound.max_runtime_s)
        return {
          answer: false,
          code: 'budget_exceeded',
          blocked_by: 'run.max_runtime_s',
          reason: `Run ${run.runId} has run for ${Math.round(seconds)} s and may run for ${bound.max_runtime_s} s.`,
          details: { bound: 'max_runtime_s', limit: bound.max_runtime_s, reached: Math.round(seconds) },
        };
    }
    return undefined;
  }

  /** Revenue of what is sold against what it cost, then the next run at its estimate. */
  async function endpointProfitable(question: Question): Promise<Verdict> {
    const { endpoint_id: endpointId, estimated_cost_usd: estimate } = question.input;
    const { workspaceId, workflowId, agentId } = question.subject;
    const candidates =
      endpointId !== undefined
        ? ([
            ['workflow', endpointId],
            ['agent', endpointId],
          ] as const)
        : ([
            ['workflow', workflowId],
            ['agent', agentId],
          ] as const);
    const named = candidates.filter((candidate): candidate is readonly ['workflow' | 'agent', string] => candidate[1] !== undefined);
    if (named.length === 0) return unknown('No endpoint, workflow or agent was named.');
    for (const [scope, id] of named) {
      const [row] = await store.spend(workspaceId, scope, { id, limit: 1 });
      if (row?.revenueNanos === undefined) continue;
      const margin = marginNanos(row) ?? 0n;
      const runs = BigInt(Math.max(row.runs, 1));
      const expected = estimate === undefined ? margin / runs : row.revenueNanos / runs - estimate;
      const profitable = margin > 0n && expected > 0n;
      const uncertain = row.unknownCosts > 0 ? ` ${row.unknownCosts} calls have no known price and are not in it.` : '';
      return {
        answer: row.unknownCosts > 0 && profitable ? null : profitable,
        reason: `${scope} ${id} earned $${formatUsd(row.revenueNanos)} over ${row.runs} runs, with a known margin of $${formatUsd(margin)}; the next run is expected to leave $${formatUsd(expected)}.${uncertain}`,
        details: {
          scope,
          id,
          revenue_usd: formatUsd(row.revenueNanos),
          margin_usd: formatUsd(margin),
          expected_run_margin_usd: formatUsd(expected),
          runs: row.runs,
        },
      };
    }
    const names = named.map(([scope, id]) => `${scope} ${id}`).join(' or ');
    return unknown(
      `No revenue was reported for ${endpointId === undefined ? names : `endpoint ${endpointId}`}, so its margin is unknown. Report it when a run ends (revenue_usd).`,
    );
  }

  function stopRun(question: Question, goOn: Verdict): Verdict {
    if (question.input.run_id === undefined || goOn.answer === null) return unknown('No run was named.');
    if (goOn.answer) return { answer: false, reason: goOn.reason };
    const { code, blocked_by: blockedBy, details } = goOn;
    return {
      answer: true,
      reason: goOn.reason,
      ...(code === undefined ? {} : { code }),
      ...(blockedBy === undefined ? {} : { blocked_by: blockedBy }),
      ...(details === undefined ? {} : { details }),
    };
  }
}

function budgetDetails(state: BudgetState): NonNullable<Verdict['details']> {
  const money = (nanos: Nanos): string => formatUsd(nanos);
  return {
    budget_id: state.budget.budgetId,
    limit_usd: money(state.limit),
    settled_usd: money(state.settled),
    held_usd: money(state.held),
    remaining_usd: money(state.remaining),
    state: state.state,
  };
}
