import Anthropic from '@anthropic-ai/sdk';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { json, stream } from './provider.ts';
import { ANTHROPIC_BAD_REQUEST, ANTHROPIC_OVERLOADED, MESSAGE_REPLY, MESSAGE_STREAM, MESSAGE_TOOL_REPLY } from './replies.ts';
import { inRun, openStage, type Stage } from './stage.ts';

const ASK = { model: 'claude-e2e', messages: [{ role: 'user' as const, content: 'Say hello.' }], max_tokens: 200 };

let stage: Stage;
beforeAll(async () => {
  stage = await openStage();
});
afterAll(() => stage.close());
beforeEach(() => stage.reset());

describe('the official @anthropic-ai/sdk client, given a base URL and a key', () => {
  it('gets a message as the provider sent it, and the run is charged by its usage', async () => {
    stage.provider.will(json(200, MESSAGE_REPLY));
    const reply = await stage.anthropic(inRun('message')).messages.create(ASK);
    expect(JSON.parse(JSON.stringify(reply))).toEqual(MESSAGE_REPLY);
    expect(stage.provider.calls).toMatchObject([
      {
        path: '/v1/messages',
        body: ASK,
        headers: { 'x-api-key': 'sk-ant-provider-key', 'anthropic-version': expect.stringMatching(/^\d{4}-\d\d-\d\d$/) },
      },
    ]);
    expect(await stage.settledRun('message')).toMatchObject({ cost: { model_usd: '0.002', total_usd: '0.002' } });
  });

  it('streams a message', async () => {
    stage.provider.will(stream(MESSAGE_STREAM));
    const message = await stage.anthropic(inRun('message-stream')).messages.stream(ASK).finalMessage();
    expect(message.content).toMatchObject([{ type: 'text', text: 'Hello there!' }]);
    expect(message.usage).toMatchObject({ input_tokens: 1000, output_tokens: 100 });
    expect(await stage.settledRun('message-stream')).toMatchObject({ cost: { model_usd: '0.002' } });
  });

  it('keeps a tool use as the model made it, and carries its result back untouched', async () => {
    const tools = [{ name: 'get_weather', input_schema: { type: 'object' as const, properties: { location: { type: 'string' } } } }];
    stage.provider.will(json(200, MESSAGE_TOOL_REPLY), json(200, MESSAGE_REPLY));
    const client = stage.anthropic(inRun('message-tools'));
    const first = await client.messages.create({ ...ASK, tools });
    expect(first.content).toEqual(MESSAGE_TOOL_REPLY.content);
    const messages = [
      ...ASK.messages,
      { role: 'assistant' as const, content: first.content },
      {
        role: 'user' as const,
        content: [{ type: 'tool_result' as const, tool_use_id: 'toolu_01A09q90qw90lq917835lq9', content: 'sunny' }],
      },
    ];
    await client.messages.create({ ...ASK, messages, tools });
    expect(stage.provider.calls[1]?.body).toEqual(JSON.parse(JSON.stringify({ ...ASK, messages, tools })));
    expect(await stage.settledRun('message-tools')).toMatchObject({ counts: { requests: 2 }, cost: { total_usd: '0.004' } });
  });

  it('gets an error of the provider as the provider sent it, as its typed error', async () => {
    stage.provider.will(json(400, ANTHROPIC_BAD_REQUEST));
    const error = await stage
      .anthropic(inRun('message-bad'))
      .messages.create(ASK)
      .catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(Anthropic.BadRequestError);
    expect(error).toMatchObject({ status: 400, error: ANTHROPIC_BAD_REQUEST });
    expect(await stage.settledRun('message-bad')).toMatchObject({ requests: [{ status: 'failed', cost_usd: '0' }] });
  });

  it('retries an overloaded provider by itself, and the cost is in the retry line', async () => {
    stage.provider.will(json(529, ANTHROPIC_OVERLOADED, { 'retry-after-ms': '1' }), json(200, MESSAGE_REPLY));
    await stage.anthropic(inRun('message-retried')).messages.create(ASK);
    expect(stage.requests).toEqual(['/v1/messages', '/v1/messages']);
    expect(await stage.settledRun('message-retried')).toMatchObject({
      requests: [
        { attempt: 1, status: 'failed' },
        { attempt: 2, status: 'completed' },
      ],
      cost: { model_usd: '0', retry_usd: '0.002', total_usd: '0.002' },
    });
  });
});
