import { setTimeout as sleep } from 'node:timers/promises';
import Anthropic from '@anthropic-ai/sdk';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import OpenAI, { type APIError } from 'openai';
import { json } from './provider.ts';
import { CHAT_REPLY } from './replies.ts';
import { inRun, openStage, type Stage } from './stage.ts';

const MESSAGES = [{ role: 'user' as const, content: 'Say hello.' }];
const BODY_BYTES_MAX = 10_000;

let stage: Stage;
beforeAll(async () => {
  stage = await openStage({
    budgets: [
      { scope: 'run', id: '*', limit_usd: '0.05' },
      { scope: 'run', id: 'small', limit_usd: '0.0001' },
    ],
    limits: { max_request_bytes: BODY_BYTES_MAX },
    policy: { models: { deny: ['*gpt-forbidden*', '*claude-forbidden*'] } },
  });
});
afterAll(() => stage.close());
beforeEach(() => stage.reset());

const CLIENTS = ['openai', 'anthropic'] as const;
type Client = (typeof CLIENTS)[number];

interface Call {
  readonly runId: string;
  readonly model?: string | undefined;
  readonly apiKey?: string | undefined;
  readonly headers?: Readonly<Record<string, string>> | undefined;
  readonly prompt?: string | undefined;
  /** More fields of the body. */
  readonly body?: Readonly<Record<string, unknown>> | undefined;
  readonly stream?: boolean;
}

/** One call by an official client; resolves to what it threw. */
async function refused(client: Client, call: Call): Promise<unknown> {
  const { runId, apiKey, headers, model, prompt = 'Say hello.', body, stream = false } = call;
  const context = inRun(runId, headers);
  const asked = { messages: [{ role: 'user' as const, content: prompt }], max_tokens: 200, stream, ...body };
  const options = apiKey === undefined ? {} : { apiKey };
  const made: Promise<unknown> =
    client === 'openai'
      ? stage
          .openai(context)
          .withOptions(options)
          .chat.completions.create({ model: model ?? 'gpt-e2e', ...asked })
      : stage
          .anthropic(context)
          .withOptions(options)
          .messages.create({ model: model ?? 'claude-e2e', ...asked });
  return made.then(
    () => 'was let through',
    (error: unknown) => error,
  );
}

interface Row extends Omit<Call, 'runId' | 'model' | 'stream' | 'body'> {
  readonly refusal: string;
  readonly status: number;
  /** The class both clients export for it. */
  readonly error:
    'APIError' | 'AuthenticationError' | 'ConflictError' | 'NotFoundError' | 'PermissionDeniedError' | 'UnprocessableEntityError';
  /** More that the error says. */
  readonly about?: Readonly<Record<string, string>>;
  /** Without it the run's id is made from the refusal. */
  readonly runId?: string;
  readonly models?: Readonly<Record<Client, string>>;
  readonly body?: Readonly<Record<Client, Readonly<Record<string, unknown>>>>;
  readonly before?: (gateway: Stage['gateway'], runId: string) => Promise<unknown>;
}

const ROWS: readonly Row[] = [
  { refusal: 'invalid_key', status: 401, error: 'AuthenticationError', apiKey: 'rp_not_a_key' },
  { refusal: 'budget_exceeded', status: 402, error: 'APIError', runId: 'small' },
  {
    refusal: 'budget_exceeded',
    status: 402,
    error: 'APIError',
    about: { bound: 'max_runtime_s' },
    before: (gateway, runId) => gateway.post('/v1/runs', { run_id: runId, bounds: { max_runtime_s: 0.001 } }).then(() => sleep(20)),
  },
  {
    refusal: 'run_paused',
    status: 409,
    error: 'ConflictError',
    before: async (gateway, runId) => {
      await gateway.post('/v1/runs', { run_id: runId });
      await gateway.post(`/v1/runs/${runId}/pause`, {});
    },
  },
  {
    refusal: 'policy_denied',
    status: 403,
    error: 'PermissionDeniedError',
    models: { openai: 'openai/gpt-forbidden', anthropic: 'anthropic/claude-forbidden' },
  },
  {
    refusal: 'policy_denied',
    status: 403,
    error: 'PermissionDeniedError',
    models: { openai: 'openai/gpt-e2e', anthropic: 'anthropic/claude-e2e' },
    body: { openai: { models: ['openai/gpt-forbidden'] }, anthropic: { fallbacks: [{ model: 'claude-forbidden' }] } },
  },
  { refusal: 'identity_forged', status: 403, error: 'PermissionDeniedError', headers: { 'runpurse-workspace-id': 'another-workspace' } },
  { refusal: 'model_not_found', status: 404, error: 'NotFoundError', models: { openai: 'no-such-model', anthropic: 'no-such-model' } },
  {
    refusal: 'run_ended',
    status: 409,
    error: 'ConflictError',
    before: async (gateway, runId) => {
      await gateway.post('/v1/runs', { run_id: runId });
      await gateway.post(`/v1/runs/${runId}/end`, { status: 'completed' });
    },
  },
  {
    refusal: 'context_conflict',
    status: 409,
    error: 'ConflictError',
    headers: { 'Alephant-Session-Id': 'another-session' },
    before: (gateway, runId) => gateway.post('/v1/runs', { run_id: runId, session_id: 'its-session' }),
  },
  { refusal: 'request_too_large', status: 413, error: 'APIError', prompt: 'x'.repeat(BODY_BYTES_MAX) },
  {
    refusal: 'price_unknown',
    status: 422,
    error: 'UnprocessableEntityError',
    models: { openai: 'openai/nobody-knows-me', anthropic: 'anthropic/nobody-knows-me' },
  },
];

describe.each(ROWS)('a refusal $status $refusal', (row) => {
  it.each(CLIENTS.flatMap((client) => [false, true].map((stream) => ({ client, stream }))))(
    'surfaces as the typed error of the $client client and is not retried (stream: $stream)',
    async ({ client, stream }) => {
      const runId = row.runId ?? `${row.refusal}-${client}-${stream}`;
      await row.before?.(stage.gateway, runId);
      const { headers, apiKey, prompt } = row;
      const error = await refused(client, {
        runId,
        stream,
        headers,
        apiKey,
        prompt,
        model: row.models?.[client],
        body: row.body?.[client],
      });
      expect(error).toBeInstanceOf({ openai: OpenAI, anthropic: Anthropic }[client][row.error]);
      expect(error).toMatchObject({
        status: row.status,
        error: client === 'openai' ? { code: row.refusal, ...row.about } : { error: { code: row.refusal, ...row.about } },
      });
      expect((error as APIError<number, Headers>).headers.get('x-should-retry')).toBe('false');
      expect(stage.requests).toHaveLength(1);
      expect(stage.provider.calls).toEqual([]);
    },
  );
});

describe('the rate cap', () => {
  it('is 100 requests a minute per key unless the operator says otherwise, and its 429 is a RateLimitError that is not retried', async () => {
    const capped = await openStage({ rate: undefined });
    try {
      capped.provider.will(
        ...Array.from({ length: 100 }, () =>
          json(200, { ...CHAT_REPLY, usage: { ...CHAT_REPLY.usage, prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 } }),
        ),
      );
      const call = () => capped.openai().chat.completions.create({ model: 'gpt-e2e', messages: MESSAGES, max_tokens: 1 });
      for (let n = 0; n < 100; n += 1) await call();
      const error = await call().catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(OpenAI.RateLimitError);
      expect(error).toMatchObject({ status: 429, code: 'rate_limited' });
      expect(Number((error as APIError<number, Headers>).headers.get('retry-after'))).toBeGreaterThan(0);
      expect(capped.requests).toHaveLength(101);
      expect(capped.provider.calls).toHaveLength(100);
    } finally {
      await capped.close();
    }
  });
});

describe('a refusal for want of budget', () => {
  it('names the budget, the amounts and what to do, and leaves the run uncharged', async () => {
    const error = (await refused('openai', { runId: 'small' })) as APIError;
    expect(error.error).toMatchObject({ code: 'budget_exceeded', type: 'budget_error', limit_usd: '0.0001', remaining_usd: '0.0001' });
    expect(error.message).toMatch(/run.*small|small.*run/);
    const run = await stage.gateway.readRun('small');
    expect(run).toMatchObject({
      cost: { total_usd: '0' },
      decisions: expect.arrayContaining([expect.objectContaining({ outcome: 'denied', code: 'budget_exceeded' })]),
    });
  });
});
