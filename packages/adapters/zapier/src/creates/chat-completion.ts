import type { Bundle, Create, ZObject } from 'zapier-platform-core';
import { refusalOf } from '@runpurse/core';
import { attach, endRefused, exchange, isSuccess, keyOf as connectionKey, STEP_MS } from '../attach.ts';
import { readAnswer, requestOf } from '../chat.ts';
import { cached } from '../cache.ts';
import { answerError, isHalting } from '../errors.ts';
import { CALL_ID, DECISION_OUT, ON_REFUSAL, outCount, outText, outUsd, PARENT_STEP, PLACE, RUN_ID } from '../fields.ts';
import { contextOf, goesOn, idOf, placeOf, requiredId } from '../inputs.ts';
import { keyOf } from '../translate.ts';
import { attemptOf, readRun, triesOf, usedBefore, type Call, type Try } from '../tries.ts';

/** How long an answer is kept for a replay: as long as Zapier replays by itself, and some more. */
const KEPT_S = 24 * 3_600;
const KEPT_CHARACTERS_MAX = 100_000;
/** So long after a call its answer may still be on its way into the cache. */
const KEEPING_MS = 10_000;
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
 * and paid once: a replay gets the first answer, and another question under its Call ID gets none.
 */
async function perform(z: ZObject, bundle: Bundle): Promise<object> {
  const input = bundle.inputData;
  const began = Date.now();
  const runId = requiredId(z, input, 'run_id', 'Run ID');
  const body = requestOf(z, input);
  const isGoingOn = goesOn(z, input);
  const attached = attach(z, bundle, { ...contextOf(z, input, bundle.meta?.zap?.id), runId });
  const { run } = attached;
  const callId = idOf(z, input, 'call_id', 'Call ID') ?? `call_${keyOf(runId, body)}`;
  const said = { id: callId, call_id: callId, run_id: runId };
  const question: Question = {
    runId,
    callId,
    hash: keyOf(body),
    cacheKey: `chat_${keyOf(bundle.authData['base_url'], connectionKey(z, bundle), runId, callId)}`,
  };
  const call: Call = { runId, callId, kind: 'model', name: String(body['model']) };

  const earlier = triesOf(await readRun(z, bundle, runId), call);
  const first = await firstAnswer(z, question, earlier);
  if (first !== undefined) return { ...first, ...said, replayed: true };

  const response = await exchange(z, bundle, {
    method: 'POST',
    path: '/v1/chat/completions',
    body,
    // A hash, since a header holds no text of any length in any script.
    headers: { ...run.headers(placeOf(z, input, callId, attemptOf(earlier))), 'Runpurse-Idempotency-Key': keyOf(callId) },
    timeoutMs: STEP_MS - (Date.now() - began),
    slowText: TOO_SLOW,
  });
  if (isSuccess(response)) {
    const answer = { ...NOTHING_SAID, ...readAnswer(z, response), allowed: true, decision: 'allowed', reason: '', warning: '' };
    await keepAnswer(z, question, answer);
    return { ...answer, ...said, replayed: false };
  }
  const refusal = refusalOf(response);
  if (refusal?.code === 'conflict') {
    // A twin was faster.
    const twin = await firstAnswer(z, question, triesOf(await readRun(z, bundle, runId), call));
    if (twin === undefined) throw underWay(z);
    return { ...twin, ...said, replayed: true };
  }
  if (refusal !== undefined && isHalting(refusal)) {
    if (isGoingOn)
      return { ...NOTHING_SAID, ...said, allowed: false, decision: refusal.code, reason: refusal.message, warning: '', replayed: false };
    await endRefused(attached, { type: 'denied', proceed: false, refusal });
  }
  throw answerError(z, response.status, response.body, response.headers);
}

/** What is asked, and where its answer is kept. */
interface Question {
  readonly runId: string;
  readonly callId: string;
  /** Of the request's body: an answer belongs to this alone. */
  readonly hash: string;
  readonly cacheKey: string;
}

interface Kept {
  readonly hash: string;
  /** Missing where it was too long. */
  readonly answer?: object;
}

/**
 * What this question was answered before; undefined when it may be asked. Throws while a call is under way under its Call ID, when
 * that stands for another question, and when it was paid and its answer is not kept: whose answer it was nobody knows then.
 */
async function firstAnswer(z: ZObject, question: Question, tries: readonly Try[]): Promise<object | undefined> {
  if (tries.some(({ status }) => status === 'open')) throw underWay(z);
  const paid = tries.find(isPaid);
  if (paid === undefined) return undefined;
  const kept = await keptAnswer(z, question);
  if (kept !== undefined && kept.hash !== question.hash) {
    const how = 'used for another question before. This one was not asked, so it is not made or charged.';
    throw new z.errors.Error(usedBefore(question, how), 'conflict', 409);
  }
  if (kept?.answer !== undefined) return kept.answer;
  if (kept === undefined && wasJustAnswered(paid)) throw underWay(z);
  throw new z.errors.Error(
    `This call was made and paid before (${paid.requestId}, ${paid.costUsd === null ? 'at an unknown price' : `$${paid.costUsd}`}), and its answer is not kept. It is not made again, so it is not charged twice. To make it anew, or if this is another question, give it a Call ID of its own.`,
    'already_paid',
    409,
  );
}

function underWay(z: ZObject): Error {
  return new z.errors.ThrottledError(
    'A call with this Call ID is under way already, or was answered just now; its answer is awaited before any is made again.',
    30,
  );
}

/** As the gateway has it, a call that failed at no cost may be made again. */
function isPaid({ status, costUsd, told }: Try): boolean {
  return status === 'completed' || (told === undefined && costUsd !== '0');
}

function wasJustAnswered({ status, endedAt }: Try): boolean {
  return status === 'completed' && Math.abs(Date.now() - Date.parse(endedAt ?? '')) < KEEPING_MS;
}

/** Without Zapier's cache a replay is refused rather than paid twice. */
async function keptAnswer(z: ZObject, { cacheKey }: Question): Promise<Kept | undefined> {
  const kept: unknown = await cached(z, (cache) => cache.get(cacheKey));
  return typeof kept === 'object' && kept !== null && 'hash' in kept ? (kept as Kept) : undefined;
}

async function keepAnswer(z: ZObject, { cacheKey, hash }: Question, answer: object): Promise<void> {
  const isLong = JSON.stringify(answer).length > KEPT_CHARACTERS_MAX;
  await cached(z, (cache) => cache.set(cacheKey, isLong ? { hash } : { hash, answer }, KEPT_S));
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
          'Left empty, the same question in the same run is the same call: asked again it is answered from the first time, and paid once. A loop that asks the same question anew gives each its own. One Call ID stands for one question: another one under it is refused.',
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
