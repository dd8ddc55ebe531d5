import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { startGateway, type RunningGateway } from '@runpurse/conformance';
import type { RunShape } from '@runpurse/core';
import { fixture, type FixtureName } from '../../packages/gateway/src/wires/fixtures/index.ts';
import { startProvider, type StubProvider } from './provider.ts';

/**
 * Replies as providers send them, through the whole gateway and its real prices: the caller gets them byte for byte, and
 * headers, run and ledger say one amount. How each amount comes about is worked out in the gateway's own table.
 */
const ROWS: readonly { readonly reply: FixtureName; readonly model: string; readonly cost: string }[] = [
  { reply: 'chat.plain.json', model: 'gpt-4o-mini', cost: '0.00045' },
  { reply: 'chat.cached.json', model: 'gpt-4o-mini', cost: '0.0024' },
  { reply: 'chat.reasoning.json', model: 'gpt-5', cost: '0.0315' },
  { reply: 'chat.tiered.json', model: 'gpt-5.5', cost: '10' },
  { reply: 'chat.tool-call.json', model: 'gpt-4o-mini', cost: '0.000069' },
  { reply: 'chat.stream.sse', model: 'gpt-4o-mini', cost: '0.00045' },
  { reply: 'chat.stream-cached.sse', model: 'gpt-4o-mini', cost: '0.0024' },
  { reply: 'chat.stream-reasoning.sse', model: 'gpt-5', cost: '0.0315' },
  { reply: 'chat.stream-tiered.sse', model: 'gpt-5.5', cost: '10' },
  { reply: 'chat.stream-tool-call.sse', model: 'gpt-4o-mini', cost: '0.000069' },
  { reply: 'responses.plain.json', model: 'gpt-4.1', cost: '0.006' },
  { reply: 'responses.cached.json', model: 'gpt-4.1', cost: '0.006562' },
  { reply: 'responses.reasoning.json', model: 'gpt-5', cost: '0.0315' },
  { reply: 'responses.tiered.json', model: 'gpt-5.5', cost: '10' },
  { reply: 'responses.stream.sse', model: 'gpt-4.1', cost: '0.006' },
  { reply: 'responses.stream-cached.sse', model: 'gpt-4.1', cost: '0.006562' },
  { reply: 'responses.stream-reasoning.sse', model: 'gpt-5', cost: '0.0315' },
  { reply: 'responses.stream-tiered.sse', model: 'gpt-5.5', cost: '10' },
  { reply: 'messages.plain.json', model: 'claude-sonnet-4-6', cost: '0.0105' },
  { reply: 'messages.cached.json', model: 'claude-sonnet-4-6', cost: '0.039' },
  { reply: 'messages.thinking.json', model: 'claude-sonnet-4-6', cost: '0.0486' },
  { reply: 'messages.tiered.json', model: 'claude-sonnet-4-5', cost: '0.9825' },
  { reply: 'messages.stream.sse', model: 'claude-sonnet-4-6', cost: '0.0105' },
  { reply: 'messages.stream-cached.sse', model: 'claude-sonnet-4-6', cost: '0.039' },
  { reply: 'messages.stream-thinking.sse', model: 'claude-sonnet-4-6', cost: '0.0486' },
  { reply: 'messages.stream-tiered.sse', model: 'claude-sonnet-4-5', cost: '0.9825' },
  { reply: 'messages.stream-tool-use.sse', model: 'claude-sonnet-4-6', cost: '0.0015' },
  { reply: 'embeddings.plain.json', model: 'text-embedding-3-small', cost: '0.02' },
];

const INPUT = [{ role: 'user', content: 'Hello' }];
const WIRES: Readonly<Record<string, { readonly path: string; readonly body: object }>> = {
  chat: { path: '/v1/chat/completions', body: { messages: INPUT, max_completion_tokens: 1000 } },
  responses: { path: '/v1/responses', body: { input: INPUT, max_output_tokens: 1000 } },
  messages: { path: '/v1/messages', body: { messages: INPUT, max_tokens: 1000 } },
  embeddings: { path: '/v1/embeddings', body: { input: 'Hello' } },
};

let provider: StubProvider;
let gateway: RunningGateway;
beforeAll(async () => {
  provider = await startProvider();
  gateway = await startGateway({
    config: {
      providers: [
        { name: 'openai', kind: 'openai', base_url: `${provider.url}/v1`, api_key: 'sk-openai-provider-key' },
        { name: 'anthropic', kind: 'anthropic', base_url: provider.url, api_key: 'sk-ant-provider-key' },
      ],
    },
  });
});
afterAll(async () => {
  await gateway.remove();
  await provider.close();
});

describe.each(ROWS)('$reply of $model', ({ reply, model, cost }) => {
  const wire = WIRES[reply.split('.')[0] ?? ''];
  const streamed = reply.endsWith('.sse');

  it(`comes as it was sent and costs $${cost} in the reply, the run and the session`, async () => {
    if (wire === undefined) throw new Error(`no wire of ${reply}`);
    const sent = fixture(reply);
    provider.will((response) => {
      response.writeHead(200, { 'content-type': streamed ? 'text/event-stream' : 'application/json' });
      response.end(sent);
    });
    // A caller that asks for usage in the stream himself gets every chunk.
    const asked = {
      model,
      ...wire.body,
      ...(streamed && { stream: true, ...(reply.startsWith('chat') && { stream_options: { include_usage: true } }) }),
    };
    const headers = {
      authorization: `Bearer ${gateway.apiKey}`,
      'content-type': 'application/json',
      'Alephant-Run-Id': reply,
      'Alephant-Session-Id': `session of ${reply}`,
    };
    const response = await fetch(`${gateway.url}${wire.path}`, { method: 'POST', headers, body: JSON.stringify(asked) });
    const text = await response.text();

    expect(response.status).toBe(200);
    expect(text.startsWith(sent)).toBe(true);
    const said = streamed ? text.slice(sent.length) : (response.headers.get('x-runpurse-request-cost-usd') ?? '');
    expect(streamed ? said.split(/[\s=:,;"]+/) : [said]).toContain(cost);
    const run = await settled(reply);
    expect(run).toMatchObject({
      requests: [{ cost_usd: cost, unconfirmed: false, status: 'completed' }],
      cost: { model_usd: cost, total_usd: cost },
    });
    expect(
      await (await fetch(`${gateway.url}/v1/sessions/${encodeURIComponent(`session of ${reply}`)}`, { headers })).json(),
    ).toMatchObject({ cost: { total_usd: cost } });
  });
});

async function settled(runId: string): Promise<RunShape | undefined> {
  for (let tries = 0; tries < 150; tries += 1) {
    const run = await gateway.readRun(runId);
    if (run?.requests.every(({ status }) => status !== 'open') === true) return run;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`${runId} did not come to rest`);
}
