import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import OpenAI from 'openai';
import { json, stream } from './provider.ts';
import {
  CHAT_REPLY,
  CHAT_STREAM,
  CHAT_TOOL_REPLY,
  EMBEDDINGS_REPLY,
  OPENAI_BAD_REQUEST,
  OPENAI_OVERLOADED,
  RESPONSES_REPLY,
  RESPONSES_STREAM,
} from './replies.ts';
import { collect, inRun, openStage, type Stage } from './stage.ts';

const ASK = { model: 'gpt-e2e', messages: [{ role: 'user' as const, content: 'Say hello.' }], max_tokens: 200 };

let stage: Stage;
beforeAll(async () => {
  stage = await openStage();
});
afterAll(() => stage.close());
beforeEach(() => stage.reset());

describe('the official openai client, given a base URL and a key', () => {
  it('gets a chat completion as the provider sent it, and the run is charged by its usage', async () => {
    stage.provider.will(json(200, CHAT_REPLY));
    const reply = await stage.openai(inRun('chat')).chat.completions.create(ASK);
    expect(JSON.parse(JSON.stringify(reply))).toEqual(CHAT_REPLY);
    expect(stage.provider.calls).toMatchObject([{ method: 'POST', path: '/v1/chat/completions', body: ASK }]);
    expect(await stage.settledRun('chat')).toMatchObject({
      cost: { model_usd: '0.002', total_usd: '0.002' },
      requests: [{ model: 'gpt-e2e-2026-01-01', status: 'completed', cost_usd: '0.002' }],
    });
  });

  it('understands provider/model and hands the provider the bare model', async () => {
    stage.provider.will(json(200, CHAT_REPLY));
    await stage.openai().chat.completions.create({ ...ASK, model: 'openai/gpt-e2e' });
    expect(stage.provider.calls[0]?.body).toEqual(ASK);
  });

  it('streams a chat completion without the usage chunk it did not ask for, and is charged by it all the same', async () => {
    stage.provider.will(stream(CHAT_STREAM));
    const chunks = await collect(await stage.openai(inRun('chat-stream')).chat.completions.create({ ...ASK, stream: true }));
    expect(chunks.map((chunk) => chunk.choices[0]?.delta.content ?? '').join('')).toBe('Hello there!');
    expect(chunks.filter((chunk) => chunk.choices.length === 0 || (chunk.usage ?? null) !== null)).toEqual([]);
    expect(stage.provider.calls[0]?.body).toMatchObject({ stream_options: { include_usage: true } });
    expect(await stage.settledRun('chat-stream')).toMatchObject({ cost: { model_usd: '0.002' } });
  });

  it('streams the usage chunk to a caller that asks for it', async () => {
    stage.provider.will(stream(CHAT_STREAM));
    const chunks = await collect(
      await stage.openai().chat.completions.create({ ...ASK, stream: true, stream_options: { include_usage: true } }),
    );
    expect(chunks.at(-1)).toMatchObject({ choices: [], usage: { prompt_tokens: 1000, completion_tokens: 100 } });
  });

  it('keeps a tool call as the model made it, and carries its result back untouched', async () => {
    const tools = [
      {
        type: 'function' as const,
        function: { name: 'get_weather', parameters: { type: 'object', properties: { location: { type: 'string' } } } },
      },
    ];
    stage.provider.will(json(200, CHAT_TOOL_REPLY), json(200, CHAT_REPLY));
    const client = stage.openai(inRun('tools'));
    const first = await client.chat.completions.create({ ...ASK, tools });
    const message = first.choices[0]?.message;
    expect(message?.tool_calls).toEqual(CHAT_TOOL_REPLY.choices[0]?.message.tool_calls);
    if (message === undefined) throw new Error('no message');
    const messages = [...ASK.messages, message, { role: 'tool' as const, tool_call_id: 'call_abc123', content: 'sunny' }];
    await client.chat.completions.create({ ...ASK, messages, tools });
    expect(stage.provider.calls[1]?.body).toEqual(JSON.parse(JSON.stringify({ ...ASK, messages, tools })));
    expect(await stage.settledRun('tools')).toMatchObject({ counts: { requests: 2, retries: 0 }, cost: { total_usd: '0.004' } });
  });

  it('gets a response of the Responses API', async () => {
    stage.provider.will(json(200, RESPONSES_REPLY));
    const reply = await stage
      .openai(inRun('responses'))
      .responses.create({ model: 'gpt-e2e', input: 'Say hello.', max_output_tokens: 200 });
    expect(reply.output_text).toBe('Hello there!');
    expect(stage.provider.calls).toMatchObject([
      { path: '/v1/responses', body: { model: 'gpt-e2e', input: 'Say hello.', max_output_tokens: 200 } },
    ]);
    expect(await stage.settledRun('responses')).toMatchObject({ cost: { model_usd: '0.002' } });
  });

  it('streams a response of the Responses API', async () => {
    stage.provider.will(stream(RESPONSES_STREAM));
    const events = await collect(
      await stage
        .openai(inRun('responses-stream'))
        .responses.create({ model: 'gpt-e2e', input: 'Say hello.', max_output_tokens: 200, stream: true }),
    );
    expect(events.map(({ type }) => type)).toEqual(RESPONSES_STREAM.map((frame) => /^event: (.*)$/m.exec(frame)?.[1]));
    expect(events.at(-1)).toMatchObject({ type: 'response.completed', response: { usage: { input_tokens: 1000, output_tokens: 100 } } });
    expect(await stage.settledRun('responses-stream')).toMatchObject({ cost: { model_usd: '0.002' } });
  });

  it('gets embeddings, charged by their input alone', async () => {
    stage.provider.will(json(200, EMBEDDINGS_REPLY));
    const reply = await stage
      .openai(inRun('embeddings'))
      .embeddings.create({ model: 'embed-e2e', input: ['one', 'two'], encoding_format: 'float' });
    expect(reply.data[0]?.embedding).toEqual(EMBEDDINGS_REPLY.data[0]?.embedding);
    expect(await stage.settledRun('embeddings')).toMatchObject({
      cost: { model_usd: '0.001' },
      requests: [{ usage: { input_tokens: 1000, output_tokens: 0 } }],
    });
  });

  it('lists the models of every provider', async () => {
    const models = await collect(stage.openai().models.list());
    expect(models.map(({ id }) => id)).toEqual(expect.arrayContaining(['openai/gpt-e2e', 'openai/embed-e2e', 'anthropic/claude-e2e']));
    expect(stage.provider.calls).toEqual([]);
  });

  it('gets an error of the provider as the provider sent it, as its typed error', async () => {
    stage.provider.will(json(400, OPENAI_BAD_REQUEST, { 'x-request-id': 'req_provider' }));
    const error = await stage
      .openai(inRun('bad-request'))
      .chat.completions.create({ ...ASK, temperature: 3 })
      .catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(OpenAI.BadRequestError);
    expect(error).toMatchObject({
      status: 400,
      code: 'unsupported_value',
      param: 'temperature',
      error: OPENAI_BAD_REQUEST.error,
      requestID: 'req_provider',
    });
    expect(await stage.settledRun('bad-request')).toMatchObject({
      requests: [{ status: 'failed', cost_usd: '0' }],
      cost: { total_usd: '0' },
    });
  });

  it('retries a 500 of the provider by itself: attempts 2 and 3 of one request, their cost in the retry line', async () => {
    const overloaded = json(500, OPENAI_OVERLOADED, { 'retry-after-ms': '1' });
    stage.provider.will(overloaded, overloaded, json(200, CHAT_REPLY));
    await stage.openai(inRun('retried')).chat.completions.create(ASK);
    expect(stage.requests).toEqual(Array(3).fill('/v1/chat/completions'));
    expect(stage.provider.calls).toHaveLength(3);
    expect(await stage.settledRun('retried')).toMatchObject({
      requests: [
        { attempt: 1, status: 'failed', cost_usd: '0' },
        { attempt: 2, status: 'failed', cost_usd: '0' },
        { attempt: 3, status: 'completed', cost_usd: '0.002' },
      ],
      cost: { model_usd: '0', retry_usd: '0.002', total_usd: '0.002' },
      counts: { requests: 3, retries: 2 },
    });
  });
});
