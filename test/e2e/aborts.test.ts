import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { hang, held, json, stream } from './provider.ts';
import { CHAT_BEGINNING, CHAT_REPLY, MESSAGE_BEGINNING } from './replies.ts';
import { inRun, openStage, type Stage } from './stage.ts';

const MESSAGES = [{ role: 'user' as const, content: 'Say hello.' }];
/** Output limit of every call: its hold is at least 200 × $10 / 1,000,000. */
const MAX_TOKENS = 200;
const HOLD_MIN_USD = 0.002;

let stage: Stage;
beforeAll(async () => {
  stage = await openStage();
});
afterAll(() => stage.close());
beforeEach(() => stage.reset());

async function untilCut(): Promise<void> {
  for (let tries = 0; tries < 150 && stage.provider.calls[0]?.cut !== true; tries += 1)
    await new Promise((resolve) => setTimeout(resolve, 20));
}

describe('a stream the client leaves', () => {
  it('of chat is charged for what was produced, holds nothing, and stops the provider', async () => {
    stage.provider.will(stream(CHAT_BEGINNING, 'hang'));
    const chunks = await stage
      .openai(inRun('abort-chat'))
      .chat.completions.create({ model: 'gpt-e2e', messages: MESSAGES, max_tokens: MAX_TOKENS, stream: true });
    for await (const chunk of chunks) if (chunk.choices[0]?.delta.content === ' there!') break;
    await untilCut();
    expect(stage.provider.calls[0]?.cut).toBe(true);
    const run = await stage.settledRun('abort-chat');
    expect(run).toMatchObject({ requests: [{ status: 'aborted' }], budgets: [{ held_usd: '0' }] });
    const cost = Number(run.requests[0]?.cost_usd);
    expect(cost).toBeGreaterThan(0);
    expect(cost).toBeLessThan(HOLD_MIN_USD);
  });

  it('of messages is charged by the input its provider stated and the output it produced', async () => {
    stage.provider.will(stream(MESSAGE_BEGINNING, 'hang'));
    const events = await stage
      .anthropic(inRun('abort-messages'))
      .messages.create({ model: 'claude-e2e', messages: MESSAGES, max_tokens: MAX_TOKENS, stream: true });
    for await (const event of events)
      if (event.type === 'content_block_delta' && event.delta.type === 'text_delta' && event.delta.text === ' there!') break;
    const run = await stage.settledRun('abort-messages');
    expect(run).toMatchObject({ requests: [{ status: 'aborted', usage: { input_tokens: 1000 } }], budgets: [{ held_usd: '0' }] });
    // 1000 tokens of input are $0.001; "Hello there!" is at least one token and at most one a byte, with some room for framing.
    const cost = Number(run.requests[0]?.cost_usd);
    expect(cost).toBeGreaterThan(0.001);
    expect(cost).toBeLessThanOrEqual(0.001 + 4 * 'Hello there!'.length * 0.00001);
  });
});

describe('a plain call the client leaves', () => {
  /** Calls, and leaves once the provider has the call. */
  async function callAndLeave(runId: string): Promise<void> {
    const leave = new AbortController();
    const call = stage
      .openai(inRun(runId))
      .chat.completions.create({ model: 'gpt-e2e', messages: MESSAGES, max_tokens: MAX_TOKENS }, { signal: leave.signal });
    const failed = expect(call).rejects.toThrow(/abort/i);
    while (stage.provider.calls.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    leave.abort();
    await failed;
  }

  it('is still billed by its provider, so it is charged by the reply nobody reads, and not by its hold', async () => {
    const { answer, release } = held(json(200, CHAT_REPLY));
    stage.provider.will(answer);
    await callAndLeave('abort-plain');
    release();
    expect(await stage.settledRun('abort-plain')).toMatchObject({
      requests: [{ cost_usd: '0.002', unconfirmed: false }],
      budgets: [{ held_usd: '0' }],
    });
  });

  it('whose provider never answers is charged at its hold, marked, and holds nothing', async () => {
    stage.provider.will(hang);
    await callAndLeave('abort-silent');
    const run = await stage.settledRun('abort-silent');
    expect(run).toMatchObject({ requests: [{ unconfirmed: true }], budgets: [{ held_usd: '0' }] });
    expect(Number(run.requests[0]?.cost_usd)).toBeGreaterThanOrEqual(HOLD_MIN_USD);
  });
});
