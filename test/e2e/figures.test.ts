import { request, type IncomingMessage } from 'node:http';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { json, stream } from './provider.ts';
import { CHAT_REPLY, CHAT_STREAM, MESSAGE_STREAM } from './replies.ts';
import { inRun, openStage, type Stage } from './stage.ts';

const MESSAGES = [{ role: 'user' as const, content: 'Say hello.' }];
const IN_SESSION = { 'Alephant-Session-Id': 'session-1' };

let stage: Stage;
beforeAll(async () => {
  stage = await openStage({
    budgets: [
      { scope: 'run', id: '*', limit_usd: '0.05' },
      { scope: 'session', id: '*', limit_usd: '20' },
    ],
  });
});
afterAll(() => stage.close());
beforeEach(() => stage.reset());

describe('the figures a reply carries', () => {
  it('stand in the headers of a plain reply', async () => {
    stage.provider.will(json(200, CHAT_REPLY), json(200, CHAT_REPLY));
    const client = stage.openai(inRun('figures', IN_SESSION));
    const first = await client.chat.completions.create({ model: 'gpt-e2e', messages: MESSAGES, max_tokens: 200 }).withResponse();
    const second = await client.chat.completions
      .create({ model: 'gpt-e2e', messages: [{ role: 'user', content: 'Again.' }], max_tokens: 200 })
      .withResponse();
    const figures = ({ headers }: Response): Record<string, string> =>
      Object.fromEntries([...headers].filter(([name]) => name.startsWith('x-runpurse-')));
    expect(figures(first.response)).toMatchObject({
      'x-runpurse-request-id': expect.stringMatching(/^req_/),
      'x-runpurse-run-id': 'figures',
      'x-runpurse-request-cost-usd': '0.002',
      'x-runpurse-run-cost-usd': '0.002',
      'x-runpurse-run-remaining-usd': '0.048',
      'x-runpurse-session-remaining-usd': '19.998',
    });
    expect(figures(second.response)).toMatchObject({
      'x-runpurse-run-cost-usd': '0.004',
      'x-runpurse-run-remaining-usd': '0.046',
      'x-runpurse-session-remaining-usd': '19.996',
    });
    expect((await stage.settledRun('figures')).requests[0]?.request_id).toBe(first.response.headers.get('x-runpurse-request-id'));
  });

  it.each([
    {
      wire: 'chat',
      path: '/v1/chat/completions',
      body: { model: 'gpt-e2e', messages: MESSAGES, max_tokens: 200, stream: true },
      frames: CHAT_STREAM,
      last: 'data: [DONE]',
    },
    {
      wire: 'messages',
      path: '/v1/messages',
      body: { model: 'claude-e2e', messages: MESSAGES, max_tokens: 200, stream: true },
      frames: MESSAGE_STREAM,
      last: 'event: message_stop',
    },
  ])('come at the end of a $wire stream: as one SSE comment and as HTTP trailers', async ({ wire, path, body, frames, last }) => {
    stage.provider.will(stream(frames));
    const runId = `figures-${wire}`;
    const { response, text } = await post(`${stage.gateway.url}${path}`, inRun(runId), body);
    const comments = text.split('\n').filter((line) => line.startsWith(':'));
    expect(comments).toHaveLength(1);
    expect(comments[0]).toContain('0.002');
    expect(text.indexOf(comments[0] ?? '')).toBeGreaterThan(text.indexOf(last));
    expect(response.trailers).toMatchObject({
      'x-runpurse-request-cost-usd': '0.002',
      'x-runpurse-run-cost-usd': '0.002',
      'x-runpurse-run-remaining-usd': '0.048',
    });
    expect(response.headers).toMatchObject({ 'x-runpurse-run-id': runId, 'x-runpurse-request-id': expect.stringMatching(/^req_/) });
    expect(response.headers['x-runpurse-request-cost-usd']).toBeUndefined();
    await stage.settledRun(runId);
  });
});

async function post(
  url: string,
  headers: Readonly<Record<string, string>>,
  body: object,
): Promise<{ readonly response: IncomingMessage; readonly text: string }> {
  return new Promise((resolve, reject) => {
    const options = {
      method: 'POST',
      headers: { ...headers, te: 'trailers', authorization: `Bearer ${stage.gateway.apiKey}`, 'content-type': 'application/json' },
    };
    const call = request(url, options, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () => resolve({ response, text: Buffer.concat(chunks).toString('utf8') }));
      response.on('error', reject);
    });
    call.on('error', reject);
    call.end(JSON.stringify(body));
  });
}
