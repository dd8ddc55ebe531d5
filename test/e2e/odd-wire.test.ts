import { once } from 'node:events';
import { request } from 'node:http';
import { connect } from 'node:net';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import type { Answer } from './provider.ts';
import { openStage, type Stage } from './stage.ts';

/** What proxies, old clients and half-broken providers put on the wire: read, charged right, and never led past the gateway. */

let stage: Stage;
beforeAll(async () => {
  stage = await openStage();
});
afterAll(() => stage.close());
beforeEach(() => stage.reset());

const event = (value: object): string => `data: ${JSON.stringify(value)}\n\n`;
const DELTA = event({ model: 'gpt-e2e', choices: [{ index: 0, delta: { content: 'hello' }, finish_reason: null }] });
const ENDING = `${
  event({ model: 'gpt-e2e', choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] }) +
  event({ model: 'gpt-e2e', choices: [], usage: { prompt_tokens: 1000, completion_tokens: 100 } })
}data: [DONE]\n\n`;
const BODY = { model: 'gpt-e2e', messages: [{ role: 'user', content: 'Say hello.' }], max_tokens: 200, stream: true };

const answer =
  (status: number, headers: Readonly<Record<string, string>>, text: string, then: 'end' | 'hang' | 'cut' = 'end'): Answer =>
  (response) => {
    response.writeHead(status, headers);
    response.write(text);
    if (then === 'end') response.end();
    if (then === 'cut') setTimeout(() => response.destroy(), 20);
  };
const SSE = { 'content-type': 'text/event-stream' };

/** Sends text as it is and gives back all that comes until the connection closes or `until` was seen. */
async function raw(text: string, until?: string): Promise<string> {
  const { hostname, port } = new URL(stage.gateway.url);
  const socket = connect(Number(port), hostname);
  let received = '';
  socket.on('data', (chunk) => {
    received += chunk.toString();
    if (until !== undefined && received.includes(until)) socket.destroy();
  });
  socket.on('error', () => undefined);
  socket.write(text);
  await once(socket, 'close');
  return received;
}

function post(runId: string, { version = '1.1', target = '/v1/chat/completions', body = BODY } = {}): string {
  const text = JSON.stringify(body);
  return `POST ${target} HTTP/${version}\r\nHost: gateway\r\nConnection: close\r\nAuthorization: Bearer ${stage.gateway.apiKey}\r\nAlephant-Run-Id: ${runId}\r\nContent-Length: ${text.length}\r\n\r\n${text}`;
}

describe('a stream', () => {
  it('over HTTP/1.0, as many proxies ask for it, comes whole and without trailers', async () => {
    stage.provider.will(answer(200, SSE, DELTA + ENDING));
    const received = await raw(post('http-1.0', { version: '1.0' }));
    expect(received).toMatch(/^HTTP\/1\.1 200 /);
    expect(received).toContain('data: [DONE]');
    expect(received).toContain('request-cost-usd=0.002');
    expect(received).not.toMatch(/^(trailer|transfer-encoding):/im);
  });

  it.each<readonly [string, Readonly<Record<string, string>>]>([
    ['spelled in capitals', { 'content-type': 'Text/Event-Stream; charset=utf-8' }],
    ['left out', {}],
  ])('whose media type is %s is metered as a stream', async (what, headers) => {
    const runId = `media-type-${what.length}`;
    stage.provider.will(answer(200, headers, DELTA + ENDING));
    const received = await raw(post(runId));
    expect(received).not.toContain('"usage"');
    expect(await stage.settledRun(runId)).toMatchObject({ requests: [{ status: 'completed', cost_usd: '0.002', unconfirmed: false }] });
  });

  it.each([
    ['a blank line behind its last event', (text: string) => text.replace(/\n$/, '')],
    ['any line end behind its last event', (text: string) => text.replace(/\n\n$/, '')],
    ['a last event, its usage unfinished', (text: string) => text.replace(/\n\ndata: \[DONE\]\n\n$/, '')],
  ])('that ends without %s is charged by its usage', async (what, shorten) => {
    const runId = `unfinished ${what}`;
    stage.provider.will(answer(200, SSE, shorten(DELTA + ENDING)));
    const received = await raw(post(runId));
    expect(received).not.toContain('"usage"');
    expect(await stage.settledRun(runId)).toMatchObject({ requests: [{ cost_usd: '0.002', unconfirmed: false }] });
  });

  it('left before it began is charged for its input, not for its worst case', async () => {
    stage.provider.will(() => {});
    const { hostname, port } = new URL(stage.gateway.url);
    const socket = connect(Number(port), hostname);
    socket.write(post('left-before'));
    while (stage.provider.calls.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    socket.destroy();
    const run = await stage.settledRun('left-before');
    expect(run).toMatchObject({ requests: [{ status: 'aborted', unconfirmed: true }], budgets: [{ held_usd: '0' }] });
    const cost = Number(run.requests[0]?.cost_usd);
    expect(cost).toBeGreaterThan(0);
    // 200 tokens of output would be $0.002 more.
    expect(cost).toBeLessThan(0.002);
  });

  it('left at its last event, as many clients do, is completed', async () => {
    stage.provider.will(answer(200, SSE, DELTA + ENDING, 'hang'));
    await raw(post('left-at-done'), '[DONE]');
    expect(await stage.settledRun('left-at-done')).toMatchObject({
      requests: [{ status: 'completed', cost_usd: '0.002', unconfirmed: false, error: null }],
    });
  });

  it('cut by its provider behind its last event is completed, and ends for its caller', async () => {
    stage.provider.will(answer(200, SSE, DELTA + ENDING, 'cut'));
    const received = await raw(post('cut-at-done'));
    expect(received).toMatch(/\r\n0\r\nx-runpurse-request-cost-usd: 0\.002/);
    expect(await stage.settledRun('cut-at-done')).toMatchObject({ requests: [{ status: 'completed', cost_usd: '0.002' }] });
  });

  it('whose head is no HTTP is charged for its input: the provider did answer', async () => {
    stage.provider.will((response) => void response.socket?.end('HTTP/1.1 200 OK\r\nbad header\u0001: x\r\n\r\n'));
    expect(await raw(post('no-http'))).toMatch(/^HTTP\/1\.1 502 [^]*is not HTTP the gateway can read/);
    const run = await stage.settledRun('no-http');
    expect(run).toMatchObject({ requests: [{ status: 'failed', unconfirmed: true }] });
    expect(Number(run.requests[0]?.cost_usd)).toBeGreaterThan(0);
  });
});

it.each([
  ['UTF-8', 'caf\u00e9 \u2603'],
  ['latin1', Buffer.from([0x63, 0xe9]).toString('latin1')],
  ['control characters', 'a\u0001b'],
])('a provider header in %s neither stops nor breaks the reply', async (what, value) => {
  const runId = `odd header ${what}`;
  const body = JSON.stringify({ model: 'gpt-e2e', choices: [], usage: { prompt_tokens: 1000, completion_tokens: 100 } });
  stage.provider.will((response) => {
    const head = `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-note: ${value}\r\nconnection: close\r\ncontent-length: ${body.length}\r\n\r\n`;
    response.socket?.end(Buffer.from(head + body, what === 'latin1' ? 'latin1' : 'utf8'));
  });
  const received = await raw(post(runId, { body: { ...BODY, stream: false } }));
  expect(received).toMatch(
    what === 'control characters' ? /^HTTP\/1\.1 (200|502) / : /^HTTP\/1\.1 200 [^]*x-runpurse-request-cost-usd: 0\.002/,
  );
  expect(await stage.settledRun(runId)).toMatchObject({ budgets: [{ held_usd: '0' }] });
});

it.each([false, true])(
  'a redirect (streamed: %s) is not passed on: it would take the call and its key past the gateway',
  async (stream) => {
    const runId = `redirect-${String(stream)}`;
    stage.provider.will(answer(308, { location: 'https://elsewhere.test/v1/chat/completions?secret=1' }, 'moved'));
    const received = await raw(post(runId, { body: { ...BODY, stream } }));
    expect(received).toMatch(/^HTTP\/1\.1 502 /);
    expect(received).toMatch(/redirect \(308\) to https:\/\/elsewhere\.test, .* Nothing was charged\. Set its base_url/);
    expect(received).not.toMatch(/^location:/im);
    expect(received).not.toContain('secret');
    expect(await stage.settledRun(runId)).toMatchObject({ requests: [{ status: 'failed', cost_usd: '0' }], budgets: [{ held_usd: '0' }] });
  },
);

describe('a request target', () => {
  it('in absolute form, as to a proxy, is read', async () => {
    stage.provider.will(answer(200, SSE, DELTA + ENDING));
    expect(await raw(post('absolute', { target: 'http://gateway/v1/chat/completions' }))).toMatch(/^HTTP\/1\.1 200 /);
  });

  it.each([
    ['that is no path', '*', 'gateway'],
    ['of a host that is none', '/v1/runs', 'a b'],
  ])('%s is 400 in the usual envelope', async (_what, path, host) => {
    const { hostname, port } = new URL(stage.gateway.url);
    const asked = request({ hostname, port, path, method: 'OPTIONS', setHost: false, headers: { host } });
    asked.end();
    const [response] = (await once(asked, 'response')) as [AsyncIterable<Buffer> & { statusCode: number }];
    let text = '';
    for await (const chunk of response) text += chunk.toString();
    expect(response.statusCode).toBe(400);
    expect(JSON.parse(text)).toMatchObject({ error: { code: 'invalid_request', type: 'invalid_request_error' } });
  });
});

it('a run id in raw UTF-8, as curl and Go send it, is the run that events and readers name', async () => {
  stage.provider.will(answer(200, SSE, DELTA + ENDING));
  await raw(post('fürstenzug-🙂'));
  expect(await stage.settledRun('fürstenzug-🙂')).toMatchObject({ run_id: 'fürstenzug-🙂' });
});
