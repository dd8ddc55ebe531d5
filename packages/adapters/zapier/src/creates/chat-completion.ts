import type { Bundle, Create, ZObject } from 'zapier-platform-core';
import { refusalOf } from '@runpurse/core';
import { attach, endRefused, exchange, isSuccess, keyOf as connectionKey, STEP_MS } from '../attach.ts';
import { readAnswer, requestOf } from '../chat.ts';
import { answerError, isHalting } from '../errors.ts';
import { CALL_ID, DECISION_OUT, ON_REFUSAL, outCount, outText, outUsd, PARENT_STEP, PLACE, RUN_ID } from '../fields.ts';
import { required } from '../inputs.ts';
import { contextOf, keyOf, placeOf, textOf } from '../translate.ts';
import { attemptOf, readRun, triesOf, type Try } from '../tries.ts';

/** How long an answer is kept for a replay: as long as Zapier replays by itself, and some more. */
const KEPT_S = 24 * 3_600;
const KEPT_CHARACTERS_MAX = 100_000;
const TOO_SLOW =
  'The model did not answer within the 30 seconds Zapier gives a step. The call is paid and its answer is lost; a replay does not pay again. Lower Most Output Tokens, or choose a faster model.';
const NOTHING_SAID = {
  text: '',
  tool_calls: [],
  finish_reason: null,
  model: null,
  input_tokens: null,
  output_tokens: null,
  request_id: null,
  cost_usd: '0',
};

/**
 * A model call through the gateway, which prices it and refuses it before it is made. The same call of the same run is made
 * and paid once: a replay gets the first answer.
 */
async function perform(z: ZObject, bundle: Bundle): Promise<object> {
  const input = bundle.inputData;
  const began = Date.now();
  const runId = required(z, input, 'run_id', 'Run ID');
  const body = requestOf(z, input);
  const attached = attach(z, bundle, { ...contextOf(input, bundle.meta?.zap?.id), runId });
  const { run } = attached;
  const callId = textOf(input, 'call_id') ?? `call_${keyOf(run.runId, body)}`;
  const said = { id: callId, call_id: callId, run_id: run.runId };
  const cacheKey = `chat_${keyOf(bundle.authData['base_url'], connectionKey(z, bundle), run.runId, callId)}`;

  const earlier = triesOf(await readRun(z, bundle, run.runId), 'model', callId);
  const first = await firstAnswer(z, cacheKey, earlier);
  if (first !== undefined) return { ...first, ...said, replayed: true };

  const response = await exchange(z, bundle, {
    method: 'POST',
    path: '/v1/chat/completions',
    body,
    // A hash, since a header holds no text of any length in any script.
    headers: { ...run.headers(placeOf(input, callId, attemptOf(earlier))), 'Runpurse-Idempotency-Key': keyOf(callId) },
    timeoutMs: STEP_MS - (Date.now() - began),
    slowText: TOO_SLOW,
  });
  if (isSuccess(response)) {
    const answer = { ...NOTHING_SAID, ...readAnswer(z, response), allowed: true, decision: 'allowed', reason: '', warning: '' };
    await keepAnswer(z, cacheKey, answer);
    return { ...answer, ...said, replayed: false };
  }
  const refusal = refusalOf(response);
  if (refusal?.code === 'conflict') {
    // A twin was faster.
    const twin = await firstAnswer(z, cacheKey, triesOf(await readRun(z, bundle, run.runId), 'model', callId));
    if (twin !== undefined) return { ...twin, ...said, replayed: true };
  }
  if (refusal !== undefined && isHalting(refusal)) {
    if (textOf(input, 'on_refusal') === 'continue')
      return { ...NOTHING_SAID, ...said, allowed: false, decision: refusal.code, reason: refusal.message, warning: '', replayed: false };
    await endRefused(attached, { type: 'denied', proceed: false, refusal });
  }
  throw answerError(z, response.status, response.body, response.headers);
}

/** What this call was answered before; undefined when it may be made. Throws while it is under way, and when it was paid and its answer is not kept. */
async function firstAnswer(z: ZObject, cacheKey: string, tries: readonly Try[]): Promise<object | undefined> {
  if (tries.some(({ status }) => status === 'open'))
    throw new z.errors.ThrottledError('This very call is under way already; its answer is awaited before it is made again.', 30);
  const paid = tries.find(({ status }) => status === 'completed');
  if (paid === undefined) return undefined;
  const kept = await keptAnswer(z, cacheKey);
  if (kept !== undefined) return kept;
  throw new z.errors.Error(
    `This call was made and paid before (${paid.requestId}, ${paid.costUsd === null ? 'at an unknown price' : `$${paid.costUsd}`}), and its answer is not kept any more. It is not made again, so it is not charged twice. To make it anew, give this step another Call ID.`,
    'already_paid',
    409,
  );
}

/** Zapier's cache is a convenience: without it a replay is refused rather than paid twice. */
async function keptAnswer(z: ZObject, key: string): Promise<object | undefined> {
  try {
    const kept: unknown = await z.cache.get(key);
    return typeof kept === 'object' && kept !== null ? kept : undefined;
  } catch {
    return undefined;
  }
}

async function keepAnswer(z: ZObject, key: string, answer: object): Promise<void> {
  if (JSON.stringify(answer).length > KEPT_CHARACTERS_MAX) return;
  try {
    await z.cache.set(key, answer, KEPT_S);
  } catch {
    // As above.
  }
}

export const chatCompletion: Create = {
  key: 'chat_completion',
  noun: 'Answer',
  display: {
    label: 'Chat Completion',
    description: 'Asks a model through the gateway, within the caps of its run, and says what it cost.',
  },
  operation: {
    perform,
    inputFields: [
      RUN_ID,
      { key: 'model', label: 'Model', type: 'string', required: true, dynamic: 'list_models.id.label' },
      { key: 'prompt', label: 'Prompt', type: 'text', required: false },
      { key: 'instructions', label: 'Instructions', type: 'text', required: false, helpText: 'How the model should behave.' },
      { key: 'images', label: 'Image Addresses', type: 'string', list: true, required: false },
      {
        key: 'max_tokens',
        label: 'Most Output Tokens',
        type: 'integer',
        required: false,
        helpText: 'A call may cost up to this; a low number fits under a tight cap, and into the 30 seconds Zapier gives a step.',
      },
      { key: 'temperature', label: 'Temperature', type: 'number', required: false },
      { key: 'json_output', label: 'Answer in JSON', type: 'boolean', required: false },
      {
        key: 'messages',
        label: 'Messages',
        type: 'text',
        required: false,
        helpText: 'A whole conversation as JSON, instead of Prompt and Instructions.',
      },
      {
        key: 'tools',
        label: 'Tools',
        type: 'text',
        required: false,
        helpText: 'Function tools as JSON; what the model calls stands in Tool Calls.',
      },
      {
        ...CALL_ID,
        required: false,
        helpText:
          'Left empty, the same question in the same run is the same call: asked again it is answered from the first time, and paid once. A loop that asks the same question anew gives each its own.',
      },
      ON_REFUSAL,
      ...PLACE,
      PARENT_STEP,
    ] as Create['operation']['inputFields'] & object,
    sample: {
      id: 'call_8',
      call_id: 'call_8',
      run_id: 'run_492',
      text: 'It was delivered on Tuesday.',
      tool_calls: [],
      finish_reason: 'stop',
      model: 'gpt-5-mini',
      input_tokens: 120,
      output_tokens: 40,
      request_id: 'req_1',
      cost_usd: '0.012',
      run_cost_usd: '0.086',
      run_remaining_usd: '0.414',
      session_remaining_usd: '19.818',
      budget_state: 'ok',
      replayed: false,
      allowed: true,
      decision: 'allowed',
      reason: '',
      warning: '',
    },
    outputFields: [
      outText('id', 'ID'),
      outText('call_id', 'Call ID'),
      outText('run_id', 'Run ID'),
      outText('text', 'Answer'),
      outText('finish_reason', 'Finish Reason'),
      outText('model', 'Model'),
      outCount('input_tokens', 'Input Tokens'),
      outCount('output_tokens', 'Output Tokens'),
      outText('request_id', 'Request ID'),
      outUsd('cost_usd', 'Cost (USD)'),
      outUsd('run_cost_usd', 'Run Cost (USD)'),
      outUsd('run_remaining_usd', 'Run Remaining (USD)'),
      outUsd('session_remaining_usd', 'Session Remaining (USD)'),
      outText('budget_state', 'Budget State'),
      { key: 'replayed', label: 'Answered From the First Time', type: 'boolean' },
      ...DECISION_OUT,
    ] as Create['operation']['outputFields'] & object,
  },
};
