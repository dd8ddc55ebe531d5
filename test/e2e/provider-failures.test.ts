import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { cut, hang, json, stream, type Answer } from './provider.ts';
import {
  CHAT_BEGINNING,
  CHAT_REPLY,
  CHAT_STREAM_WITHOUT_USAGE,
  EMBEDDINGS_REPLY,
  MESSAGE_BEGINNING,
  MESSAGE_REPLY,
  RESPONSES_REPLY,
  RESPONSES_STREAM,
} from './replies.ts';
import { openStage, type Stage } from './stage.ts';

/** $10 a million tokens: what 200 tokens of output cost, the least each call's hold is. */
const OUTPUT_HOLD_USD = 0.002;

let stage: Stage;
beforeAll(async () => {
  stage = await openStage();
});
afterAll(() => stage.close());
beforeEach(() => stage.reset());

const WIRES = {
  chat: {
    path: '/v1/chat/completions',
    body: { model: 'gpt-e2e', messages: [{ role: 'user', content: 'Say hello.' }], max_tokens: 200 },
    reply: CHAT_REPLY,
    beginning: CHAT_BEGINNING,
  },
  responses: {
    path: '/v1/responses',
    body: { model: 'gpt-e2e', input: 'Say hello.', max_output_tokens: 200 },
    reply: RESPONSES_REPLY,
    beginning: RESPONSES_STREAM.slice(0, 5),
  },
  messages: {
    path: '/v1/messages',
    body: { model: 'claude-e2e', messages: [{ role: 'user', content: 'Say hello.' }], max_tokens: 200 },
    reply: MESSAGE_REPLY,
    beginning: MESSAGE_BEGINNING,
  },
} as const;
type WireName = keyof typeof WIRES;
const WIRE_NAMES = Object.keys(WIRES) as readonly WireName[];

interface Reached {
  readonly status: number | undefined;
  readonly text: string;
  /** The answer broke off. */
  readonly broken: boolean;
}

async function call(
  wire: WireName,
  runId: string,
  { streamed = false, model }: { readonly streamed?: boolean; readonly model?: string } = {},
): Promise<Reached> {
  const { path, body } = WIRES[wire];
  const response = await fetch(`${stage.gateway.url}${path}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${stage.gateway.apiKey}`, 'content-type': 'application/json', 'Alephant-Run-Id': runId },
    body: JSON.stringify({ ...body, ...(streamed && { stream: true }), ...(model !== undefined && { model }) }),
  });
  let text = '';
  const decoder = new TextDecoder();
  try {
    for await (const chunk of response.body ?? []) text += decoder.decode(chunk as Uint8Array, { stream: true });
  } catch {
    return { status: response.status, text, broken: true };
  }
  return { status: response.status, text, broken: false };
}

/** What every cell owes: the request ended once, nothing is held, the cost is within these bounds. */
async function expectCharged(
  runId: string,
  { status, least, most }: { readonly status: string; readonly least: number; readonly most: number },
): Promise<void> {
  const run = await stage.settledRun(runId);
  expect(run.requests).toHaveLength(1);
  expect(run).toMatchObject({ requests: [{ status }], budgets: [{ held_usd: '0' }] });
  const cost = Number(run.requests[0]?.cost_usd);
  expect(cost).toBeGreaterThanOrEqual(least);
  expect(cost).toBeLessThanOrEqual(most);
  expect(run.cost.total_usd).toBe(run.requests[0]?.cost_usd);
}

describe.each(WIRE_NAMES)('on %s, a provider that', (wire) => {
  it.each([false, true])(
    'closes the connection before the first byte (stream: %s) is a 502, and the call is charged at most its hold',
    async (streamed) => {
      stage.provider.will(cut);
      const runId = `cut-${wire}-${streamed}`;
      const reached = await call(wire, runId, { streamed });
      expect(reached.status).toBe(502);
      expect(JSON.parse(reached.text)).toMatchObject({ error: { code: 'provider_failed' } });
      // It got the call and may have billed it: never free, never more than was held.
      await expectCharged(runId, { status: 'failed', least: 0, most: 0.01 });
    },
  );

  it('answers 500 is charged nothing, and its answer comes back as it was', async () => {
    const answer = { error: { message: 'boom', type: 'server_error', param: null, code: null } };
    stage.provider.will(json(500, answer));
    const reached = await call(wire, `500-${wire}`);
    expect(reached).toMatchObject({ status: 500, text: JSON.stringify(answer) });
    await expectCharged(`500-${wire}`, { status: 'failed', least: 0, most: 0 });
  });

  it('breaks off in mid-stream is charged for what was produced, and the caller sees that it broke', async () => {
    stage.provider.will(stream(WIRES[wire].beginning, 'cut'));
    const runId = `midstream-${wire}`;
    const reached = await call(wire, runId, { streamed: true });
    expect(reached.text).toContain('Hello');
    expect(reached.broken || /"error"|event: error/.test(reached.text)).toBe(true);
    await expectCharged(runId, { status: 'failed', least: 0.00001, most: 0.002 });
  });

  it('does not answer in time is a 502, and the call is charged at its hold and marked', async () => {
    stage.provider.will(hang);
    const runId = `timeout-${wire}`;
    const reached = await call(wire, runId);
    expect(reached.status).toBe(502);
    await expectCharged(runId, { status: 'failed', least: OUTPUT_HOLD_USD, most: 0.01 });
    expect(await stage.settledRun(runId)).toMatchObject({ requests: [{ unconfirmed: true }] });
  });

  it('sends no usage is charged at a bound, never free', async () => {
    const { usage: _, ...reply } = WIRES[wire].reply;
    stage.provider.will(json(200, reply));
    const runId = `no-usage-${wire}`;
    expect((await call(wire, runId)).status).toBe(200);
    await expectCharged(runId, { status: 'completed', least: 0.00001, most: 0.01 });
  });

  it('is asked for a model nobody can price is not called: 422, and nothing is charged', async () => {
    const runId = `unknown-${wire}`;
    const provider = wire === 'messages' ? 'anthropic' : 'openai';
    const reached = await call(wire, runId, { model: `${provider}/nobody-knows-me` });
    expect(reached.status).toBe(422);
    expect(JSON.parse(reached.text)).toMatchObject({ error: { code: 'price_unknown' } });
    expect(stage.provider.calls).toEqual([]);
    expect(await stage.gateway.readRun(runId)).toMatchObject({ cost: { total_usd: '0' } });
  });
});

describe('a chat stream', () => {
  it('whose provider sends no usage chunk is charged for what was produced', async () => {
    stage.provider.will(stream(CHAT_STREAM_WITHOUT_USAGE));
    expect((await call('chat', 'stream-no-usage', { streamed: true })).broken).toBe(false);
    await expectCharged('stream-no-usage', { status: 'completed', least: 0.00001, most: 0.01 });
  });
});

describe('embeddings', () => {
  const embed = async (runId: string, answer: Answer): Promise<number> => {
    stage.provider.will(answer);
    const response = await fetch(`${stage.gateway.url}/v1/embeddings`, {
      method: 'POST',
      headers: { authorization: `Bearer ${stage.gateway.apiKey}`, 'content-type': 'application/json', 'Alephant-Run-Id': runId },
      body: JSON.stringify({ model: 'embed-e2e', input: 'hello' }),
    });
    await response.text();
    return response.status;
  };

  it('without usage are charged at the bound of their input', async () => {
    const { usage: _, ...reply } = EMBEDDINGS_REPLY;
    expect(await embed('embed-no-usage', json(200, reply))).toBe(200);
    await expectCharged('embed-no-usage', { status: 'completed', least: 0.000001, most: 0.008 });
  });

  it('that fail are charged nothing', async () => {
    expect(await embed('embed-500', json(500, { error: { message: 'boom' } }))).toBe(500);
    await expectCharged('embed-500', { status: 'failed', least: 0, most: 0 });
  });
});
