import { describe, expect, it } from '@jest/globals';
import { formatUsd, type Nanos } from '@runpurse/core';
import { fixture, type FixtureName } from '../wires/fixtures/index.ts';
import { WIRES, type JsonObject, type ModelCall, type ReplyFacts, type Wire } from '../wires/index.ts';
import { boundsOf } from './call-bounds.ts';
import { chargeFor, type Charge, type CallEnd } from './charge.ts';
import { createPriceBook } from './price-book.ts';
import type { PricedProvider } from './price-card.ts';

/**
 * Every way a call can end, on every wire, for every kind of usage, metered and priced: what is charged. The amounts
 * are worked out by hand from list prices. Rows that a peer got wrong name the report (facts/peers.md §3).
 */
const book = createPriceBook({ now: () => Date.parse('2026-11-24T12:00:00Z') });
const OPENAI: PricedProvider = { name: 'openai', kind: 'openai' };
const ANTHROPIC: PricedProvider = { name: 'anthropic', kind: 'anthropic' };

interface Row {
  readonly title: string;
  readonly reply: FixtureName;
  readonly model: string;
  readonly provider?: PricedProvider;
  readonly body?: JsonObject;
  /** The stream breaks off before the event that holds this text. */
  readonly until?: string;
  readonly end?: CallEnd;
  readonly elapsedMs?: number;
  /** Dollars; `hold` is the worst case, `unknown` no price. */
  readonly cost: string;
  readonly unconfirmed?: true;
}

function played(row: Row): {
  readonly charge: Charge;
  readonly hold: Nanos | undefined;
  readonly facts: ReplyFacts;
  readonly call: ModelCall;
} {
  const wire = wireOf(row.reply);
  const body = bodyFor(wire, row);
  const bytes = Buffer.byteLength(JSON.stringify(body));
  const read = wire.readCall(body, bytes);
  if (read.type === 'invalid') throw new Error(read.refusal.message);
  const provider = row.provider ?? (wire.name === 'messages' ? ANTHROPIC : OPENAI);
  const asked = book.find(provider, row.model);
  const bounds = asked === undefined ? undefined : boundsOf(read.call, asked);
  const hold = bounds?.type === 'bounded' ? asked?.worstCase(bounds.bounds) : undefined;
  const facts = factsOf(wire, row);
  const card = book.findAnswered(provider, row.model, facts.model);
  return { charge: chargeFor(facts, card, read.call, hold, { end: row.end, elapsedMs: row.elapsedMs }), hold, facts, call: read.call };
}

function factsOf(wire: Wire, row: Row): ReplyFacts {
  const whole = fixture(row.reply);
  if (row.reply.endsWith('.json')) return wire.readReply(JSON.parse(whole) as JsonObject);
  const found = row.until === undefined ? whole.length : whole.indexOf(row.until);
  if (found === -1) throw new Error(`${row.reply} holds no ${row.until}`);
  const end = found === whole.length || found === 0 ? found : whole.lastIndexOf('\n\n', found) + 2;
  const meter = wire.meterStream({ hideUsage: true });
  meter.push(Buffer.from(whole.slice(0, end)));
  meter.flush();
  return meter.facts();
}

function wireOf(name: FixtureName): Wire {
  const wire = [...WIRES.values()].find((candidate) => candidate.name === name.split('.')[0]);
  if (wire === undefined) throw new Error(`no wire of ${name}`);
  return wire;
}

/** A call of 1,000 bytes and at most 1,000 tokens out. */
function bodyFor(wire: Wire, row: Row): JsonObject {
  const limits: Readonly<Record<string, JsonObject>> = {
    chat: { messages: [{ role: 'user', content: '' }], max_completion_tokens: 1000 },
    responses: { input: [{ role: 'user', content: '' }], max_output_tokens: 1000 },
    messages: { messages: [{ role: 'user', content: '' }], max_tokens: 1000 },
    embeddings: { input: 'x' },
  };
  const body: JsonObject = { model: row.model, ...limits[wire.name], ...row.body };
  const filler = 1000 - Buffer.byteLength(JSON.stringify({ ...body, metadata: { filler: '' } }));
  return { ...body, metadata: { filler: '.'.repeat(Math.max(0, filler)) } };
}

// gpt-4o-mini: 0.15 in, 0.075 cached, 0.60 out. gpt-5: 1.25, 0.125, 10. gpt-5.5 above 272k: 10, 1, 45. gpt-4.1: 2, 0.5, 8.
// claude-sonnet-4-6: 3 in, 0.30 read, 3.75 and 6 written, 15 out, search 0.01. claude-sonnet-4-5 above 200k: 6, 0.60, 22.50.
const CONFIRMED: readonly Row[] = [
  { title: 'plain', reply: 'chat.plain.json', model: 'gpt-4o-mini', cost: '0.00045' },
  { title: 'plain', reply: 'responses.plain.json', model: 'gpt-4.1', cost: '0.006' },
  { title: 'plain', reply: 'messages.plain.json', model: 'claude-sonnet-4-6', cost: '0.0105' },
  { title: 'plain', reply: 'embeddings.plain.json', model: 'text-embedding-3-small', cost: '0.02' },
  { title: 'streamed (LiteLLM#37923, Bifrost#4484: streams at 0)', reply: 'chat.stream.sse', model: 'gpt-4o-mini', cost: '0.00045' },
  {
    title: 'streamed (LiteLLM#38176, Bifrost#4484: responses not counted)',
    reply: 'responses.stream.sse',
    model: 'gpt-4.1',
    cost: '0.006',
  },
  { title: 'streamed (LiteLLM#38176: messages not counted)', reply: 'messages.stream.sse', model: 'claude-sonnet-4-6', cost: '0.0105' },
  { title: 'cached, charged once (LiteLLM#14849, Bifrost#904: twice)', reply: 'chat.cached.json', model: 'gpt-4o-mini', cost: '0.0024' },
  { title: 'cached, charged once', reply: 'responses.cached.json', model: 'gpt-4.1', cost: '0.006562' },
  {
    title: 'cached: input excludes what the cache held (Bifrost#3451, aider#5516)',
    reply: 'messages.cached.json',
    model: 'claude-sonnet-4-6',
    cost: '0.039',
  },
  {
    title: 'cached and streamed (Langfuse#10592, #13811: the stream drops the cache)',
    reply: 'chat.stream-cached.sse',
    model: 'gpt-4o-mini',
    cost: '0.0024',
  },
  { title: 'cached and streamed', reply: 'responses.stream-cached.sse', model: 'gpt-4.1', cost: '0.006562' },
  {
    title: 'cached and streamed (Bifrost#3451: 1.86 for 1.06)',
    reply: 'messages.stream-cached.sse',
    model: 'claude-sonnet-4-6',
    cost: '0.039',
  },
  { title: 'cache writes OpenAI bills', reply: 'chat.cache-write.json', model: 'gpt-6-sol', cost: '0.0406' },
  { title: 'reasoning, part of the output', reply: 'chat.reasoning.json', model: 'gpt-5', cost: '0.0315' },
  { title: 'reasoning, part of the output', reply: 'responses.reasoning.json', model: 'gpt-5', cost: '0.0315' },
  { title: 'thinking, part of the output', reply: 'messages.thinking.json', model: 'claude-sonnet-4-6', cost: '0.0486' },
  { title: 'reasoning, streamed', reply: 'chat.stream-reasoning.sse', model: 'gpt-5', cost: '0.0315' },
  { title: 'reasoning, streamed', reply: 'responses.stream-reasoning.sse', model: 'gpt-5', cost: '0.0315' },
  { title: 'thinking, streamed', reply: 'messages.stream-thinking.sse', model: 'claude-sonnet-4-6', cost: '0.0486' },
  {
    title: 'reasoning beside the completion (xAI)',
    reply: 'chat.xai-reasoning.json',
    model: 'grok-4',
    provider: { name: 'x-ai', kind: 'openai' },
    cost: '0.0016275',
  },
  { title: 'a long context, wholly at its tier', reply: 'chat.tiered.json', model: 'gpt-5.5', cost: '10' },
  { title: 'a long context, wholly at its tier', reply: 'responses.tiered.json', model: 'gpt-5.5', cost: '10' },
  { title: 'a long context counted with its cache', reply: 'messages.tiered.json', model: 'claude-sonnet-4-5', cost: '0.9825' },
  { title: 'a long context, streamed', reply: 'chat.stream-tiered.sse', model: 'gpt-5.5', cost: '10' },
  { title: 'a long context, streamed', reply: 'responses.stream-tiered.sse', model: 'gpt-5.5', cost: '10' },
  { title: 'a long context, streamed', reply: 'messages.stream-tiered.sse', model: 'claude-sonnet-4-5', cost: '0.9825' },
  {
    title: 'the model that answered (tracker#524, ax#936: at the one asked for)',
    reply: 'chat.plain.json',
    model: 'gpt-4o',
    cost: '0.00045',
  },
  { title: 'an unknown model in answer to a known one', reply: 'chat.unknown-model.json', model: 'gpt-4o-mini', cost: '0.00045' },
  {
    title: 'cache counts of DeepSeek',
    reply: 'chat.deepseek-cached.json',
    model: 'deepseek-chat',
    provider: { name: 'deepseek', kind: 'openai' },
    cost: '0.0003428',
  },
  { title: 'sound', reply: 'chat.audio.json', model: 'gpt-audio', body: { modalities: ['text', 'audio'] }, cost: '0.07265' },
  {
    title: 'a dearer tier of service, as served',
    reply: 'chat.priority.json',
    model: 'gpt-5',
    body: { service_tier: 'priority' },
    cost: '0.0225',
  },
  {
    title: 'a dearer tier asked for and not given',
    reply: 'chat.reasoning.json',
    model: 'gpt-5',
    body: { service_tier: 'priority' },
    cost: '0.0315',
  },
  { title: 'inference in the US', reply: 'messages.us-only.json', model: 'claude-opus-5', cost: '0.01925' },
  { title: 'a search the reply does not count', reply: 'chat.search.json', model: 'gpt-4o-search-preview', cost: '0.0325' },
  {
    title: 'web searches',
    reply: 'messages.web-search.json',
    model: 'claude-sonnet-4-6',
    body: { tools: [{ type: 'web_search_20250305', name: 'web_search', max_uses: 3 }] },
    cost: '0.0875',
  },
  {
    title: 'web searches, streamed: the last usage counts',
    reply: 'messages.stream-web-search.sse',
    model: 'claude-sonnet-4-6',
    cost: '0.0875',
  },
  {
    title: 'a search, a file search and a container',
    reply: 'responses.built-in-tools.json',
    model: 'gpt-4.1',
    body: { max_tool_calls: 4 },
    cost: '0.2005',
  },
  { title: 'the passes compaction adds', reply: 'messages.compaction.json', model: 'claude-opus-5', cost: '1.1275' },
  { title: 'a tool call', reply: 'chat.tool-call.json', model: 'gpt-4o-mini', cost: '0.000069' },
  { title: 'a tool call, streamed', reply: 'chat.stream-tool-call.sse', model: 'gpt-4o-mini', cost: '0.000069' },
  { title: 'a tool call, streamed', reply: 'messages.stream-tool-use.sse', model: 'claude-sonnet-4-6', cost: '0.0015' },
  {
    title: 'usage on the last chunk with choices',
    reply: 'chat.stream-usage-with-choices.sse',
    model: 'mistral-small-latest',
    provider: { name: 'mistral', kind: 'openai' },
    cost: '0.00025',
  },
  { title: 'a first chunk of no choices that is not usage (Azure)', reply: 'chat.stream-azure.sse', model: 'gpt-4o-mini', cost: '0.00045' },
  { title: 'cut off at its limit', reply: 'responses.stream-incomplete.sse', model: 'gpt-4.1', cost: '0.006' },
  {
    title: 'the caller leaves after the usage came',
    reply: 'chat.stream.sse',
    model: 'gpt-4o-mini',
    until: 'data: [DONE]',
    end: 'aborted',
    cost: '0.00045',
  },
  {
    title: 'the caller leaves after the usage came',
    reply: 'messages.stream.sse',
    model: 'claude-sonnet-4-6',
    until: 'event: message_stop',
    end: 'aborted',
    cost: '0.0105',
  },
  { title: 'a total that is all input', reply: 'embeddings.total-only.json', model: 'text-embedding-3-small', cost: '0.00002' },
  { title: 'refused by the provider', reply: 'chat.error.json', model: 'gpt-4o-mini', end: 'rejected', cost: '0' },
  { title: 'refused by the provider', reply: 'messages.error.json', model: 'claude-sonnet-4-6', end: 'rejected', cost: '0' },
  {
    title: 'an error as the first thing of a stream (otari#128: the hold stays)',
    reply: 'chat.stream-error-first.sse',
    model: 'gpt-4o-mini',
    end: 'replied',
    cost: '0',
  },
  { title: 'failed before anything was written', reply: 'responses.failed.json', model: 'gpt-4.1', cost: '0' },
];

// Unconfirmed: the input is bounded by the body's 1,000 bytes and the template's 128 tokens, the output by its bytes.
// The whole reply writes 32 bytes, the streams 63 as they stand in JSON; 16 tokens frame any answer.
const UNCONFIRMED: readonly Row[] = [
  { title: 'no usage in the reply: the text it holds', reply: 'chat.no-usage.json', model: 'gpt-4o-mini', cost: '0.000198' },
  {
    title: 'a usage of zeros is no usage (LangWatch#6143: a confident 0.00)',
    reply: 'chat.zero-usage.json',
    model: 'gpt-4o-mini',
    cost: '0.000198',
  },
  { title: 'no usage in the reply', reply: 'responses.no-usage.json', model: 'gpt-4.1', cost: '0.00264' },
  { title: 'no usage in the reply', reply: 'messages.no-usage.json', model: 'claude-sonnet-4-6', cost: '0.004104' },
  { title: 'no usage in the reply', reply: 'embeddings.no-usage.json', model: 'text-embedding-3-small', cost: '0.00002008' },
  { title: 'no usage in the stream', reply: 'chat.stream-no-usage.sse', model: 'gpt-4o-mini', cost: '0.0002166' },
  { title: 'no usage in the stream', reply: 'responses.stream-no-usage.sse', model: 'gpt-4.1', cost: '0.002888' },
  {
    title: 'the caller leaves midway (one-switch#3, open-ace#3422: free)',
    reply: 'chat.stream.sse',
    model: 'gpt-4o-mini',
    until: '"content":" paid"',
    end: 'aborted',
    cost: '0.0001878',
  },
  {
    title: 'the caller leaves midway',
    reply: 'responses.stream.sse',
    model: 'gpt-4.1',
    until: '"delta":" paid"',
    end: 'aborted',
    cost: '0.002504',
  },
  {
    title: 'the caller leaves midway: the input is known',
    reply: 'messages.stream.sse',
    model: 'claude-sonnet-4-6',
    until: 'event: content_block_stop',
    end: 'aborted',
    cost: '0.004185',
  },
  {
    title: 'the caller leaves before the first word: the input is known',
    reply: 'messages.stream.sse',
    model: 'claude-sonnet-4-6',
    until: 'event: content_block_start',
    end: 'aborted',
    cost: '0.003',
  },
  {
    title: 'the caller leaves midway, with a cached input that is known',
    reply: 'messages.stream-cached.sse',
    model: 'claude-sonnet-4-6',
    until: 'event: content_block_start',
    end: 'aborted',
    cost: '0.0315',
  },
  {
    title: 'the caller leaves before any word (sub2api#4408: billed in full)',
    reply: 'chat.stream.sse',
    model: 'gpt-4o-mini',
    until: 'data: {',
    end: 'aborted',
    cost: '0.0001692',
  },
  { title: 'the provider fails midway', reply: 'chat.stream-error.sse', model: 'gpt-4o-mini', cost: '0.0001854' },
  { title: 'the provider fails midway', reply: 'responses.stream-failed.sse', model: 'gpt-4.1', cost: '0.002888' },
  {
    title: 'the provider fails midway: the input is known',
    reply: 'messages.stream-error.sse',
    model: 'claude-sonnet-4-6',
    cost: '0.004185',
  },
  {
    title: 'usage so far, on every chunk',
    reply: 'chat.stream-usage-always.sse',
    model: 'gpt-4o-mini',
    until: '"content":" – “am',
    end: 'aborted',
    cost: '0.0001716',
  },
  {
    title: 'reasoning nobody saw, bounded by time',
    reply: 'chat.stream-reasoning.sse',
    model: 'gpt-5',
    body: { max_completion_tokens: 100_000 },
    until: '"content":"The"',
    end: 'aborted',
    elapsedMs: 1000,
    cost: '0.03141',
  },
  {
    title: 'reasoning nobody saw, up to the hold',
    reply: 'chat.stream-reasoning.sse',
    model: 'gpt-5',
    until: '"content":"The"',
    end: 'aborted',
    elapsedMs: 60_000,
    cost: 'hold',
  },
  {
    title: 'reasoning nobody saw, and no clock',
    reply: 'responses.stream-reasoning.sse',
    model: 'gpt-5',
    until: 'event: response.output_text.delta',
    end: 'aborted',
    cost: 'hold',
  },
  {
    title: 'work that goes on in the background',
    reply: 'responses.background.json',
    model: 'gpt-5',
    body: { background: true },
    cost: 'hold',
  },
  { title: 'sent, and no answer', reply: 'chat.error.json', model: 'gpt-4o-mini', end: 'lost', cost: 'hold' },
];

const UNPRICED: readonly Row[] = (
  [
    'chat.unknown-model.json',
    'chat.stream-unknown-model.sse',
    'responses.unknown-model.json',
    'responses.stream-unknown-model.sse',
    'messages.unknown-model.json',
    'messages.stream-unknown-model.sse',
    'embeddings.unknown-model.json',
  ] as const
).map((reply) => ({
  title: 'an unknown model is unknown, never 0 (LiteLLM#24770, #36561)',
  reply,
  model: 'house-model-7b',
  cost: 'unknown',
}));

describe.each([
  ['confirmed by the provider', CONFIRMED],
  ['not confirmed: what was produced, bounded', UNCONFIRMED.map((row) => ({ ...row, unconfirmed: true as const }))],
  ['not priced', UNPRICED],
])('charges %s', (_, rows) => {
  it.each(rows.map((row) => [`${row.title}: ${row.reply}`, row] as const))('%s', (_title, row) => {
    const { charge, hold } = played(row);
    const expected = row.cost === 'hold' ? hold : row.cost === 'unknown' ? undefined : row.cost;
    expect({
      cost: typeof expected === 'string' && charge.cost !== undefined ? formatUsd(charge.cost) : charge.cost,
      unconfirmed: charge.unconfirmed,
    }).toEqual({ cost: expected, unconfirmed: row.unconfirmed ?? false });
    if (row.cost === 'hold') expect(hold).toBeGreaterThan(0n);
  });
});

describe('a charge', () => {
  it('never exceeds the hold unless the provider’s usage says so', () => {
    for (const row of UNCONFIRMED) {
      const { charge, hold, facts } = played(row);
      if (facts.usage?.inputTokens === undefined && hold !== undefined) expect(charge.cost).toBeLessThanOrEqual(hold);
    }
    // 1,000,000 tokens in against a hold of 1,000: booked in full, as overage.
    const { charge, hold } = played({ title: '', reply: 'chat.tiered.json', model: 'gpt-5.5', cost: '10' });
    expect(charge.cost).toBeGreaterThan(hold ?? 0n);
  });

  it('grows with a stream and never falls, wherever the caller leaves', () => {
    for (const [reply, model] of [
      ['chat.stream-tool-call.sse', 'gpt-4o-mini'],
      ['responses.stream.sse', 'gpt-4.1'],
      ['messages.stream-tool-use.sse', 'claude-sonnet-4-6'],
    ] as const) {
      const events = fixture(reply).split(/(?<=\n\n)/);
      let last = 0n;
      // The provider's own usage, at the end, is below the bounds.
      const unfinished = events.findIndex((event) => /"choices":\[\],|response\.completed|message_delta/.test(event));
      // From the second event on: with Anthropic's first, the input is known and no longer bounded.
      for (let count = 1; count < unfinished; count += 1) {
        const { charge } = played({ title: '', reply, model, until: events.slice(count).join(''), end: 'aborted', cost: '' });
        expect(charge.cost).toBeGreaterThanOrEqual(last);
        last = charge.cost ?? 0n;
      }
      expect(last).toBeGreaterThan(0n);
    }
  });

  it('keeps what the provider reported and never shows an estimate as usage', () => {
    expect(
      played({ title: '', reply: 'messages.stream.sse', model: 'claude-sonnet-4-6', until: 'event: content_block_stop', cost: '' }).charge
        .usage,
    ).toMatchObject({ inputTokens: 1000, outputTokens: undefined });
    expect(played({ title: '', reply: 'chat.no-usage.json', model: 'gpt-4o-mini', cost: '' }).charge.usage).toBeUndefined();
  });
});
