import Anthropic from '@anthropic-ai/sdk';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import OpenAI, { type APIError } from 'openai';
import { json } from './provider.ts';
import { CHAT_REPLY } from './replies.ts';
import { inRun, openStage, type Stage } from './stage.ts';

const MESSAGES = [{ role: 'user' as const, content: 'Say hello.' }];

let stage: Stage;
beforeAll(async () => {
  stage = await openStage({
    budgets: [
      { scope: 'run', id: '*', limit_usd: '0.05' },
      { scope: 'run', id: 'small', limit_usd: '0.0001' },
    ],
    policy: { models: { deny: ['*gpt-forbidden*', '*claude-forbidden*'] } },
  });
});
afterAll(() => stage.close());
beforeEach(() => stage.reset());

type Client = 'openai' | 'anthropic';

/** One call by an official client; resolves to what it threw. */
async function refused(
  client: Client,
  { model, runId, apiKey }: { readonly model?: string; readonly runId: string; readonly apiKey?: string },
): Promise<unknown> {
  const headers = inRun(runId);
  const call =
    client === 'openai'
      ? stage
          .openai(headers)
          .withOptions({ ...(apiKey && { apiKey }) })
          .chat.completions.create({ model: model ?? 'gpt-e2e', messages: MESSAGES, max_tokens: 200 })
      : stage
          .anthropic(headers)
          .withOptions({ ...(apiKey && { apiKey }) })
          .messages.create({ model: model ?? 'claude-e2e', messages: MESSAGES, max_tokens: 200 });
  return call.then(
    () => 'was let through',
    (error: unknown) => error,
  );
}

type ErrorClass = abstract new (...args: never[]) => Error;

const ROWS: readonly {
  readonly refusal: string;
  readonly status: number;
  readonly openai: ErrorClass;
  readonly anthropic: ErrorClass;
  readonly runId: string;
  readonly models?: Readonly<Record<Client, string>>;
  readonly apiKey?: string;
  readonly before?: (stage: Stage, runId: string) => Promise<unknown>;
}[] = [
  { refusal: 'budget_exceeded', status: 402, openai: OpenAI.APIError, anthropic: Anthropic.APIError, runId: 'small' },
  {
    refusal: 'policy_denied',
    status: 403,
    openai: OpenAI.PermissionDeniedError,
    anthropic: Anthropic.PermissionDeniedError,
    runId: 'denied',
    models: { openai: 'openai/gpt-forbidden', anthropic: 'anthropic/claude-forbidden' },
  },
  {
    refusal: 'model_not_found',
    status: 404,
    openai: OpenAI.NotFoundError,
    anthropic: Anthropic.NotFoundError,
    runId: 'not-found',
    models: { openai: 'no-such-model', anthropic: 'no-such-model' },
  },
  {
    refusal: 'price_unknown',
    status: 422,
    openai: OpenAI.UnprocessableEntityError,
    anthropic: Anthropic.UnprocessableEntityError,
    runId: 'unpriced',
    models: { openai: 'openai/nobody-knows-me', anthropic: 'anthropic/nobody-knows-me' },
  },
  {
    refusal: 'invalid_key',
    status: 401,
    openai: OpenAI.AuthenticationError,
    anthropic: Anthropic.AuthenticationError,
    runId: 'keyless',
    apiKey: 'rp_not_a_key',
  },
  {
    refusal: 'run_ended',
    status: 409,
    openai: OpenAI.ConflictError,
    anthropic: Anthropic.ConflictError,
    runId: 'ended',
    before: async ({ gateway }, runId) => {
      await gateway.post('/v1/runs', { run_id: runId });
      await gateway.post(`/v1/runs/${runId}/end`, { status: 'completed' });
    },
  },
];

describe.each(ROWS)('a refusal $status $refusal', (row) => {
  it.each(['openai', 'anthropic'] as const)('surfaces as the typed error of the %s client and is not retried', async (client) => {
    const runId = row.before === undefined ? row.runId : `${row.runId}-${client}`;
    await row.before?.(stage, runId);
    const error = await refused(client, {
      runId,
      ...(row.models && { model: row.models[client] }),
      ...(row.apiKey && { apiKey: row.apiKey }),
    });
    expect(error).toBeInstanceOf(row[client]);
    expect(error).toMatchObject({
      status: row.status,
      error: client === 'openai' ? { code: row.refusal } : { error: { code: row.refusal } },
    });
    expect((error as APIError<number, Headers>).headers.get('x-should-retry')).toBe('false');
    expect(stage.requests).toHaveLength(1);
    expect(stage.provider.calls).toEqual([]);
  });
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
