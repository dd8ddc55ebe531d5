import { once } from 'node:events';
import { createServer, request, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { openFrontDoor, type FrontDoor } from './front-door.ts';
import { closeServer, readBody } from './stub-model/server.ts';

/** Stands for the gateway: keeps what arrived and answers with a trailer. */
const arrived: { readonly url: string; readonly body: string }[] = [];
const gateway = createServer((incoming, response) => {
  void readBody(incoming).then((body) => {
    arrived.push({ url: incoming.url ?? '', body });
    response.writeHead(202, { 'content-type': 'application/json', trailer: 'x-cost' });
    response.write('{"ok":true}');
    response.addTrailers({ 'x-cost': '0.002' });
    response.end();
  });
});
let gatewayUrl: string;
let door: FrontDoor;

beforeEach(async () => {
  arrived.length = 0;
  gateway.listen(0, '127.0.0.1');
  await once(gateway, 'listening');
  gatewayUrl = `http://127.0.0.1:${(gateway.address() as AddressInfo).port}`;
});
afterEach(async () => {
  await door.close();
  await closeServer(gateway);
});

function post(path: string, body: object): Promise<{ readonly response: IncomingMessage; readonly text: string }> {
  return new Promise((resolve, reject) => {
    const call = request(new URL(path, door.url), { method: 'POST', headers: { 'content-type': 'application/json' } }, (response) => {
      readBody(response).then((text) => resolve({ response, text }), reject);
    });
    call.on('error', reject);
    call.end(JSON.stringify(body));
  });
}

const BATCH = { events: [{ event_id: 'one' }, { event_id: 'two' }] };

describe('the way between adapter and gateway', () => {
  it('passes calls and answers on as they are, trailers too, and notes reports', async () => {
    door = await openFrontDoor(gatewayUrl);
    const { response, text } = await post('/v1/chat/completions?a=1', { model: 'm' });
    expect({ status: response.statusCode, text, trailers: response.trailers }).toEqual({
      status: 202,
      text: '{"ok":true}',
      trailers: { 'x-cost': '0.002' },
    });
    await post('/v1/agent/events', BATCH);
    expect(arrived).toEqual([
      { url: '/v1/chat/completions?a=1', body: '{"model":"m"}' },
      { url: '/v1/agent/events', body: JSON.stringify(BATCH) },
    ]);
    expect(door.reports).toEqual([JSON.stringify(BATCH)]);
  });

  it('disturbed, loses the first answer to a report, delivers it again and backwards, and leaves questions alone', async () => {
    door = await openFrontDoor(gatewayUrl, { disturb: true });
    await expect(post('/v1/agent/events', BATCH)).rejects.toThrow();
    expect((await post('/v1/agent/events', BATCH)).response.statusCode).toBe(202);
    expect((await post('/v1/agent/events?enforce=true', BATCH)).response.statusCode).toBe(202);
    const backwards = JSON.stringify({ events: BATCH.events.toReversed() });
    expect(arrived.map(({ body }) => body)).toEqual([backwards, backwards, backwards, JSON.stringify(BATCH)]);
  });

  it('once fallen away, refuses connections', async () => {
    door = await openFrontDoor(gatewayUrl);
    await door.fallAway();
    await expect(post('/v1/agent/events', BATCH)).rejects.toThrow(/ECONNREFUSED/);
  });
});
