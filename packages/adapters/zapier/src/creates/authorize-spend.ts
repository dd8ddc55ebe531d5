import type { Bundle, Create, ZObject } from 'zapier-platform-core';
import type { Decision } from '@runpurse/core';
import { attach, mayGoOn } from '../attach.ts';
import { isHalting } from '../errors.ts';
import { CALL_ID, DECISION_OUT, KIND, ON_REFUSAL, outText, outUsd, PARENT_STEP, PLACE, RUN_ID } from '../fields.ts';
import { amount, contextOf, count, goesOn, kindOf, nameOf, placeOf, requiredId, textOf, TOKENS_MAX } from '../inputs.ts';
import { tightest } from '../translate.ts';
import { ANOTHER_CALL, attemptOf, questionIdOf, readRun, readRunIfReachable, triesOf, usedBefore, type Call } from '../tries.ts';

/**
 * Asks before another app's step spends: policy and budget decide, and the price is held. Zapier lets no app stand before
 * another one's step, so this one comes before it and halts the Zap.
 */
async function perform(z: ZObject, bundle: Bundle): Promise<object> {
  const input = bundle.inputData;
  const [runId, callId] = [requiredId(z, input, 'run_id', 'Run ID'), requiredId(z, input, 'call_id', 'Call ID')];
  const name = nameOf(z, input, 'The model’s or tool’s name');
  const kind = kindOf(z, input);
  const isGoingOn = goesOn(z, input);
  const details = textOf(z, input, 'details', 'Details');
  const attached = attach(z, bundle, { ...contextOf(z, input, bundle.meta?.zap?.id), runId });
  const { run } = attached;
  const call: Call = { runId, callId, kind, name };
  const before = await readRunIfReachable(z, bundle, runId);
  const attempt = attemptOf(triesOf(before, call));
  const place = { ...placeOf(z, input, callId, attempt), eventId: questionIdOf(before, call, attempt) };
  const decision = inWords(
    call,
    kind === 'model'
      ? await run.authorizeModel({
          ...place,
          model: name,
          maxOutputTokens: count(z, input, 'max_output_tokens', 'Most Output Tokens', 1, TOKENS_MAX),
          inputTokensMax: count(z, input, 'max_input_tokens', 'Most Input Tokens', 1, TOKENS_MAX),
          carried: false,
        })
      : await run.authorizeTool({
          ...place,
          tool: name,
          toolCallId: callId,
          input: details,
          estimatedCostUsd: amount(z, input, 'estimated_cost_usd', 'Estimated Cost'),
        }),
  );
  const said = { id: callId, call_id: callId, run_id: run.runId, name };
  if (decision.type === 'denied' && isGoingOn && isHalting(decision.refusal))
    return {
      ...said,
      allowed: false,
      decision: decision.refusal.code,
      reason: decision.refusal.message,
      warning: '',
      ...(await left(z, bundle, run.runId)),
    };
  const warning = await mayGoOn(z, attached, decision);
  if (warning !== undefined) return { ...said, allowed: true, decision: 'unavailable', reason: '', warning, ...tightest([]) };
  return {
    ...said,
    allowed: true,
    decision: 'allowed',
    reason: '',
    warning: decision.type === 'allowed' ? decision.warnings.join(' ') : '',
    ...(await left(z, bundle, run.runId)),
  };
}

/** The gateway tells a question under a used id from its first by the event; a person knows it as the Call ID. */
function inWords(call: Call, decision: Decision): Decision {
  if (decision.type !== 'denied' || decision.refusal.code !== 'conflict') return decision;
  return { ...decision, refusal: { ...decision.refusal, message: usedBefore(call, ANOTHER_CALL) } };
}

/** What the budgets leave. The decision stands whether or not this can be read. */
async function left(z: ZObject, bundle: Bundle, runId: string): Promise<object> {
  try {
    return tightest((await readRun(z, bundle, runId))?.budgets ?? []);
  } catch {
    return tightest([]);
  }
}

export const authorizeSpend: Create = {
  key: 'authorize_spend',
  noun: 'Spend',
  display: {
    label: 'Authorize Spend',
    description: 'Asks whether a tool or a model call may be made, holds its price, and stops the Zap when it may not.',
  },
  operation: {
    perform,
    inputFields: [
      RUN_ID,
      KIND,
      nameField,
      CALL_ID,
      costFields,
      {
        key: 'details',
        label: 'Details',
        type: 'string',
        required: false,
        helpText: 'What the call is asked to do. Never sent: only its fingerprint is, so that a loop of the same call is seen.',
      },
      ON_REFUSAL,
      ...PLACE,
      PARENT_STEP,
    ] as Create['operation']['inputFields'] & object,
    sample: {
      id: 'call_7',
      call_id: 'call_7',
      run_id: 'run_492',
      name: 'customer_lookup',
      allowed: true,
      decision: 'allowed',
      reason: '',
      warning: '',
      remaining_usd: '0.414',
      budget_state: 'ok',
    },
    outputFields: [
      outText('id', 'ID'),
      outText('call_id', 'Call ID'),
      outText('run_id', 'Run ID'),
      outText('name', 'Model or Tool'),
      ...DECISION_OUT,
      outUsd('remaining_usd', 'Remaining (USD)'),
      outText('budget_state', 'Budget State'),
    ] as Create['operation']['outputFields'] & object,
  },
};

/** The list that fits the kind. */
function nameField(_z: ZObject, { inputData }: Bundle): object[] {
  const isModel = inputData['kind'] === 'model';
  return [
    {
      key: 'name',
      label: isModel ? 'Model' : 'Tool',
      type: 'string',
      required: true,
      dynamic: isModel ? 'list_models.id.label' : 'list_tools.id.label',
      helpText: isModel ? 'As the gateway prices it, such as openai/gpt-5-mini.' : 'The name your gateway’s price list and policy know.',
    },
  ];
}

function costFields(_z: ZObject, { inputData }: Bundle): object[] {
  return inputData['kind'] === 'model'
    ? [
        {
          key: 'max_output_tokens',
          label: 'Most Output Tokens',
          type: 'integer',
          required: false,
          helpText: 'As the AI step is limited to; what the call can cost depends on it.',
        },
        { key: 'max_input_tokens', label: 'Most Input Tokens', type: 'integer', required: false },
      ]
    : [
        {
          key: 'estimated_cost_usd',
          label: 'Estimated Cost (USD)',
          type: 'string',
          required: false,
          placeholder: '0.01',
          helpText: 'Held until its cost is recorded. A price configured in the gateway wins.',
        },
      ];
}
